//! Names of the store's files: `build` and `parse` side by side, each the other's inverse.
//!
//! Names sort by sequence, whatever the clock does: the start time in them is for people. Never touches the disk.
use std::cmp::Ordering;

use chrono::{DateTime, Datelike, NaiveDate, Timelike};

/// The hard link to the live file. It has no `.log`, so that `*.log` counts each record once.
pub const CURRENT: &str = "current";
/// Appended to a file's name for what was cut off its end after an unclean end.
pub const TORN_SUFFIX: &str = ".torn";

const LOG_SUFFIX: &str = ".log";
/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what four digits of a year can say.
const START_MIN: i64 = -62_167_219_200;
const START_MAX: i64 = 253_402_300_799;

/// The name of one file of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentName {
    /// As [`valid_prefix`] allows; it may hold `-`.
    pub prefix: String,
    /// Counts the store's files.
    pub sequence: u64,
    /// When the file was made: Unix seconds, from year 0000 to 9999.
    pub start: i64,
}

impl SegmentName {
    /// `<prefix>-<sequence, 10 digits or more>-<start, UTC>.log`; a start beyond the years 0000 to 9999 is moved to their edge.
    #[must_use]
    pub fn build(&self) -> String {
        let time = DateTime::from_timestamp(self.start.clamp(START_MIN, START_MAX), 0).unwrap_or_default();
        let (date, clock) = (time.date_naive(), time.time());
        format!(
            "{}-{:010}-{:04}{:02}{:02}T{:02}{:02}{:02}Z{LOG_SUFFIX}",
            self.prefix,
            self.sequence,
            date.year(),
            date.month(),
            date.day(),
            clock.hour(),
            clock.minute(),
            clock.second(),
        )
    }

    /// Accepts exactly what [`build`](Self::build) makes of a valid prefix.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (rest, start) = name.strip_suffix(LOG_SUFFIX)?.rsplit_once('-')?;
        let (prefix, sequence) = rest.rsplit_once('-')?;
        valid_prefix(prefix).ok()?;
        // Every other spelling is not what `build` writes. A directory may have a hundred thousand names: no allocation here.
        let digits = sequence.len() >= 10 && sequence.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || (sequence.len() > 10 && sequence.starts_with('0')) {
            return None;
        }
        Some(Self { prefix: prefix.to_owned(), sequence: sequence.parse().ok()?, start: parse_start(start)? })
    }
}

/// How a segment's bytes stand in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// As they are: `….log`. If a segment is there in several forms, this one counts until it is unlinked.
    Plain,
    /// `….log.gz`, RFC 1952.
    Gzip,
    /// `….log.zst`, RFC 8878.
    Zstd,
}

impl Form {
    /// In the order in which they count.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Zstd, Self::Gzip];

    /// What is behind the segment's name.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    /// The name of the file that has the segment `name` in this form.
    #[must_use]
    pub fn of(self, name: &str) -> String {
        format!("{name}{}", self.suffix())
    }

    /// Takes the name of a file of records apart.
    #[must_use]
    pub fn parse(file: &str) -> Option<(SegmentName, Self)> {
        let form = [Self::Gzip, Self::Zstd].into_iter().find(|form| file.ends_with(form.suffix()));
        let form = form.unwrap_or(Self::Plain);
        Some((SegmentName::parse(file.strip_suffix(form.suffix())?)?, form))
    }
}

/// By sequence first: the order of the records in them.
impl Ord for SegmentName {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |name: &Self| (name.sequence, name.start);
        key(self).cmp(&key(other)).then_with(|| self.prefix.cmp(&other.prefix))
    }
}

impl PartialOrd for SegmentName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether `store.prefix` may be this.
///
/// # Errors
/// What is allowed, as the end of a sentence that begins with the key.
pub fn valid_prefix(prefix: &str) -> Result<(), &'static str> {
    if !(1..=64).contains(&prefix.len()) {
        return Err("must be 1 to 64 bytes long");
    }
    if !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Err("must consist of letters, digits, `.`, `_` and `-`");
    }
    if prefix.starts_with('.') {
        return Err("must not begin with `.`");
    }
    if prefix == CURRENT {
        return Err("must not be `current`, the name of the link to the live file");
    }
    Ok(())
}

/// `20261122T084200Z` as Unix seconds.
fn parse_start(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let sound = bytes.len() == 16
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 => *byte == b'T',
            15 => *byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    if !sound {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok();
    let date = NaiveDate::from_ymd_opt(number(0, 4)?.try_into().ok()?, number(4, 6)?, number(6, 8)?)?;
    Some(date.and_hms_opt(number(9, 11)?, number(11, 13)?, number(13, 15)?)?.and_utc().timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(prefix: &str, sequence: u64, start: i64) -> SegmentName {
        SegmentName { prefix: prefix.to_owned(), sequence, start }
    }

    #[test]
    fn known_names() {
        let known = name("messages", 42, 1_795_336_920);
        assert_eq!(known.build(), "messages-0000000042-20261122T084200Z.log");
        assert_eq!(SegmentName::parse("messages-0000000042-20261122T084200Z.log"), Some(known));
        assert_eq!(name("a-b", 12_345_678_901, 0).build(), "a-b-12345678901-19700101T000000Z.log");
        assert_eq!(name("m", 1, i64::MAX).build(), "m-0000000001-99991231T235959Z.log");
        assert_eq!(name("m", 1, i64::MIN).build(), "m-0000000001-00000101T000000Z.log");
    }

    #[test]
    fn other_spellings_are_not_names() {
        for bad in [
            "current",
            "messages-0000000042-20261122T084200Z",
            "messages-0000000042-20261122T084200Z.log.gz",
            "messages-0000000042-20261122T084200Z.log.torn",
            "messages-42-20261122T084200Z.log",
            "messages-00000000042-20261122T084200Z.log",
            "messages-+000000042-20261122T084200Z.log",
            "messages-0000000042-20261322T084200Z.log",
            "messages-0000000042-20261122T084260Z.log",
            "messages-0000000042-20261122 084200Z.log",
            "messages-0000000042-20261122T084200.log",
            "messages-0000000042-20261122T0842000Z.log",
            "messages-0000000042-é0261122T08420Z.log",
            "messages-99999999999999999999-20261122T084200Z.log",
            "-0000000042-20261122T084200Z.log",
            ".x-0000000042-20261122T084200Z.log",
            "0000000042-20261122T084200Z.log",
        ] {
            assert_eq!(SegmentName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn prefixes() {
        for good in ["messages", "a", "A-b_c.9", "-", "currents", &"x".repeat(64)] {
            assert_eq!(valid_prefix(good), Ok(()), "{good}");
        }
        for bad in ["", ".", ".hidden", "current", "a/b", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(valid_prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn forms() {
        let plain = "messages-0000000042-20261122T084200Z.log";
        for form in Form::ALL {
            assert_eq!(Form::parse(&form.of(plain)), Some((SegmentName::parse(plain).unwrap(), form)));
        }
        for bad in
            ["messages-0000000042-20261122T084200Z.log.gz.zst", "messages-0000000042-20261122T084200Z.gz", ".zst"]
        {
            assert_eq!(Form::parse(bad), None, "{bad}");
        }
    }

    fn any_name() -> impl Strategy<Value = SegmentName> {
        let sequence = (any::<u64>(), 0u32..64).prop_map(|(value, shift)| value >> shift);
        ("[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", sequence, START_MIN..=START_MAX)
            .prop_filter("the link's name", |(prefix, _, _)| prefix != CURRENT)
            .prop_map(|(prefix, sequence, start)| name(&prefix, sequence, start))
    }

    proptest! {
        #[test]
        fn round_trip(name in any_name()) {
            prop_assert_eq!(SegmentName::parse(&name.build()), Some(name));
        }

        #[test]
        fn what_parses_is_what_builds(text in "[a-z-]{1,3}-[+0-9]{9,12}-[0-9]{4}(0|1)[0-9]{3}T(0|1)[0-9][0-6][0-9]{3}Z?\\.log") {
            if let Some(name) = SegmentName::parse(&text) {
                prop_assert_eq!(name.build(), text);
            }
        }

        #[test]
        fn any_text_is_judged_without_panic(text in "\\PC*") {
            let _ = SegmentName::parse(&text);
            let _ = SegmentName::parse(&format!("a-0000000001-{text}.log"));
        }

        #[test]
        fn order_is_by_sequence_in_memory_and_in_a_listing(a in any_name(), b in any_name(), low in 0u64..9_999_999_999) {
            if a.sequence != b.sequence {
                prop_assert_eq!(a.cmp(&b), a.sequence.cmp(&b.sequence));
            }
            let (first, second) = (name("m", low, a.start), name("m", low + 1, b.start));
            prop_assert!(first < second && first.build() < second.build());
        }
    }
}
