//! Sizes and times as people write them. Pure: text in, number out and back; what is not understood is an error that
//! names the part, never a guess.
use std::time::Duration;

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1000),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Longest first: the order in which the parts of a time are written.
const TIMES: &[(&str, u64)] =
    &[("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A size in bytes: `"64KiB"`, `"1MB"`, `"512B"`, or digits alone for bytes. KiB, MiB, GiB, TiB count by 1024; KB, MB,
/// GB, TB by 1000.
///
/// # Errors
/// What in the text is wrong, in a few words.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit, rest) = part(text)?;
    if !rest.is_empty() {
        return Err("a size is one number and one unit".to_owned());
    }
    if unit.is_empty() {
        return Ok(number);
    }
    let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("unknown unit \"{}\"", unit.escape_debug()));
    };
    number.checked_mul(*factor).ok_or_else(|| "too large".to_owned())
}

/// A time: `"30s"`, `"250ms"`, `"1h30m"`, `"2w"`; the units are w, d, h, m, s, ms, each at most once and the longest
/// first; a day is 24 hours. `"0"` needs no unit.
///
/// # Errors
/// What in the text is wrong, in a few words.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut allowed = TIMES;
    let mut total = 0u64;
    loop {
        let (number, unit, after) = part(rest)?;
        if unit.is_empty() {
            return Err("a time needs a unit".to_owned());
        }
        let Some(at) = allowed.iter().position(|(name, _)| *name == unit) else {
            let known = TIMES.iter().any(|(name, _)| *name == unit);
            let why = if known { "units must stand once each, the longest first; found" } else { "unknown unit" };
            return Err(format!("{why} \"{}\"", unit.escape_debug()));
        };
        let milliseconds = number.checked_mul(allowed[at].1).and_then(|more| total.checked_add(more));
        total = milliseconds.ok_or_else(|| "too large".to_owned())?;
        allowed = &allowed[at + 1..];
        rest = after;
        if rest.is_empty() {
            return Ok(Duration::from_millis(total));
        }
    }
}

/// Splits off one number and its unit: `"1h30m"` is 1, `h`, and `30m` left over.
fn part(text: &str) -> Result<(u64, &str, &str), String> {
    if text.is_empty() {
        return Err("empty".to_owned());
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if digits == 0 {
        return Err("a number must come first".to_owned());
    }
    let number = text[..digits].parse().map_err(|_| "too large".to_owned())?;
    let after = &text[digits..];
    if after.starts_with(['.', ',']) {
        return Err("only whole numbers".to_owned());
    }
    let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
    Ok((number, &after[..end], &after[end..]))
}

/// The shortest exact form, by 1024: `"64KiB"`, `"1000B"`; 0 is `"0"`. [`parse_size`] reads it back.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0".to_owned();
    }
    let binary = SIZES.iter().rev().filter(|(name, _)| name.ends_with("iB") || *name == "B");
    for (name, factor) in binary {
        if bytes.is_multiple_of(*factor) {
            return format!("{}{name}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// The canonical form: `"1h30m"`, `"1d"`; zero is `"0"`. Days are the longest unit used, and what is below a
/// millisecond is left out. [`parse_time`] reads it back.
#[must_use]
pub fn format_time(time: Duration) -> String {
    let mut left = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0".to_owned();
    }
    let mut text = String::new();
    for (name, factor) in &TIMES[1..] {
        if left >= *factor {
            text.push_str(&format!("{}{name}", left / factor));
            left %= factor;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        let good = [
            ("0", 0),
            ("17", 17),
            ("512B", 512),
            ("1KB", 1000),
            ("1kB", 1000),
            ("64KiB", 65_536),
            ("1MiB", 1 << 20),
            ("2GiB", 2 << 30),
            ("3MB", 3_000_000),
            ("16777215TiB", 16_777_215 << 40),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        let bad = [
            ("", "empty"),
            ("KiB", "a number must come first"),
            ("-1", "a number must come first"),
            (" 1", "a number must come first"),
            ("1.5MiB", "only whole numbers"),
            ("1KiB2", "a size is one number and one unit"),
            ("64K", "unknown unit \"K\""),
            ("64 KiB", "unknown unit \" KiB\""),
            ("64kib", "unknown unit \"kib\""),
            ("1\u{1b}[2J", "a size is one number and one unit"),
            ("1é", "unknown unit \"é\""),
            ("16777216TiB", "too large"),
            ("18446744073709551616", "too large"),
        ];
        for (text, why) in bad {
            assert_eq!(parse_size(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn times() {
        let good = [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("2w", 1_209_600_000),
            ("1w1d1h1m1s1ms", 694_861_001),
        ];
        for (text, milliseconds) in good {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        let bad = [
            ("", "empty"),
            ("30", "a time needs a unit"),
            ("1h30", "a time needs a unit"),
            ("s", "a number must come first"),
            ("-1s", "a number must come first"),
            ("1.5s", "only whole numbers"),
            ("1us", "unknown unit \"us\""),
            ("1S", "unknown unit \"S\""),
            ("1 s", "unknown unit \" s\""),
            ("1m1h", "units must stand once each, the longest first; found \"h\""),
            ("1s1s", "units must stand once each, the longest first; found \"s\""),
            ("99999999999999999999s", "too large"),
            ("18446744073709551615s", "too large"),
            ("30500568904w7d", "too large"),
        ];
        for (text, why) in bad {
            assert_eq!(parse_time(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn canonical_forms() {
        for (bytes, text) in
            [(0, "0"), (1, "1B"), (1000, "1000B"), (65_536, "64KiB"), (3 << 20, "3MiB"), (1025, "1025B")]
        {
            assert_eq!(format_size(bytes), text);
        }
        for (milliseconds, text) in
            [(0, "0"), (250, "250ms"), (60_000, "1m"), (5_400_000, "1h30m"), (1_209_600_000, "14d")]
        {
            assert_eq!(format_time(Duration::from_millis(milliseconds)), text);
        }
    }

    proptest! {
        #[test]
        fn a_size_reads_back(bytes: u64) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn a_time_reads_back(milliseconds: u64) {
            let time = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_time(&format_time(time)), Ok(time));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse_size(&text);
            let _ = parse_time(&text);
        }
    }
}
