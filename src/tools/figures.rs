//! Figures as people read them, short enough for a column. Pure.

/// With separators: `84,123`; from a thousand million on shortened: `1.23 G`.
pub fn count(n: u64) -> String {
    if n >= 1_000_000_000 {
        return scaled(n as f64, 1000.0, &["", "k", "M", "G", "T", "P", "E"]);
    }
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.3 MiB`.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// `250 µs`, `1.20 ms`, `2.50 s`, `3m 20s`.
pub fn micros(n: u64) -> String {
    if n >= 100_000_000 { time(n / 1_000_000) } else { scaled(n as f64, 1000.0, &["µs", "ms", "s"]) }
}

/// The two greatest units: `3d 4h`, `5m 6s`.
pub fn time(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let part = |index: usize| {
        let above = index.checked_sub(1).and_then(|above| units.get(above)).filter(|_| index > first);
        let rest = above.map_or(seconds, |(size, _)| seconds % size);
        format!("{}{}", rest / units[index].0, units[index].1)
    };
    (first..units.len().min(first + 2)).map(part).collect::<Vec<_>>().join(" ")
}

/// The same of milliseconds.
pub fn millis(n: u64) -> String {
    if n < 1000 { format!("{n} ms") } else { micros(n.saturating_mul(1000)) }
}

/// A bound of a histogram: `25µs`, `2.5ms`, `1s`.
pub fn bound(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros}µs"),
        1000..1_000_000 => format!("{}ms", micros as f64 / 1e3),
        _ => format!("{}s", micros as f64 / 1e6),
    }
}

/// `51 %` of 0.51.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// `part` of `whole`, from 0 to 1; of nothing: 0.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}

/// Three digits, and the unit.
fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // What would be rounded to the next unit belongs to it.
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", units[unit]).trim_end().to_owned()
}

/// The time of day in `time` (RFC 3339, UTC), with month and day if it is not of the day of `now`.
pub fn of_day(time: &str, now: &str) -> String {
    let part = |text: &'_ str, range| text.get::<std::ops::Range<usize>>(range).unwrap_or("").to_owned();
    let clock = part(time, 11..19);
    if part(time, 0..10) == part(now, 0..10) {
        return clock;
    }
    format!("{} {}", part(time, 5..10), part(time, 11..16)).trim().to_owned()
}

/// How a value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Written {
    /// [`count`].
    #[default]
    Number,
    /// [`bytes`].
    Bytes,
}

impl Written {
    /// In words.
    pub fn text(self, value: u64) -> String {
        match self {
            Self::Number => count(value),
            Self::Bytes => bytes(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let counts = [(0, "0"), (999, "999"), (1000, "1,000"), (84_123, "84,123"), (999_999_999, "999,999,999")];
        counts.iter().for_each(|(n, text)| assert_eq!(count(*n), *text));
        assert_eq!((count(1_234_000_000).as_str(), count(u64::MAX).as_str()), ("1.23 G", "18.4 E"));
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (13_000_000, "12.4 MiB"), (1 << 30, "1.00 GiB")];
        sizes.iter().for_each(|(n, text)| assert_eq!(bytes(*n), *text));
        assert_eq!((bytes((1 << 20) - 1).as_str(), bytes(u64::MAX).as_str()), ("1.00 MiB", "16.0 EiB"));
        let times = [(0, "0 µs"), (999, "999 µs"), (1200, "1.20 ms"), (25_000_000, "25.0 s"), (200_000_000, "3m 20s")];
        times.iter().for_each(|(n, text)| assert_eq!(micros(*n), *text));
        assert_eq!((millis(3).as_str(), millis(12_345).as_str()), ("3 ms", "12.3 s"));
        assert!(millis(u64::MAX).len() < 24 && micros(u64::MAX).len() < 24);
        let bounds = [(25, "25µs"), (2500, "2.5ms"), (100_000, "100ms"), (2_500_000, "2.5s"), (10_000_000, "10s")];
        bounds.iter().for_each(|(n, text)| assert_eq!(bound(*n), *text));
    }

    #[test]
    fn times_are_of_two_units() {
        let cases =
            [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3_661, "1h 1m"), (90_000, "1d 1h"), (8_640_000, "100d 0h")];
        for (seconds, text) in cases {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn shares() {
        assert_eq!((share(1, 2), share(1, 0), share(u64::MAX, 1)), (0.5, 0.0, 1.0));
        assert_eq!(percent(0.507), "51 %");
    }

    #[test]
    fn times_of_today_and_of_other_days() {
        let now = "2026-11-22T08:42:00.123456Z";
        let cases =
            [("2026-11-22T08:41:59.5Z", "08:41:59"), ("2026-11-23T00:00:00Z", "11-23 00:00"), ("", ""), ("é", "")];
        for (time, text) in cases {
            assert_eq!(of_day(time, now), text);
        }
    }
}
