//! The time of receipt as it stands in a record: RFC 3339, UTC, microseconds, always 27 bytes.
//!
//! Pure: the clock is read elsewhere, once per event-loop turn. Must never allocate.

/// Days from 0000-01-01 to 1970-01-01 in the proleptic Gregorian calendar.
const EPOCH_DAY: i64 = 719_528;
const MICROS_PER_DAY: i64 = 86_400_000_000;
const FIRST: i64 = -EPOCH_DAY * MICROS_PER_DAY;
/// The last microsecond of the year 9999.
const LAST: i64 = 253_402_300_799_999_999;

/// Receipt time, formatted once per event-loop turn: RFC 3339 UTC with 6 fractional digits,
/// `2026-11-22T08:42:00.123456Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([u8; Stamp::LEN]);

impl Stamp {
    /// Length of every stamp in bytes.
    pub const LEN: usize = 27;

    /// Formats microseconds since 1970-01-01T00:00:00Z. Four digits hold no more than the years 0 to 9999, so times
    /// outside them become the first or the last microsecond of that range.
    pub fn new(micros_since_epoch: i64) -> Self {
        let micros = micros_since_epoch.clamp(FIRST, LAST);
        let (year, month, day) = date(micros.div_euclid(MICROS_PER_DAY) + EPOCH_DAY);
        let within_day = micros.rem_euclid(MICROS_PER_DAY);
        let (second_of_day, fraction) = (within_day / 1_000_000, within_day % 1_000_000);

        let mut text = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], second_of_day / 3600);
        digits(&mut text[14..16], second_of_day / 60 % 60);
        digits(&mut text[17..19], second_of_day % 60);
        digits(&mut text[20..26], fraction);
        Self(text)
    }

    /// Takes a stamp that stands in a record; `None` unless it has exactly this form and names a real date and time
    /// (a leap second is not one: the system clock never shows it).
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text: [u8; Self::LEN] = text.try_into().ok()?;
        let form = b"0000-00-00T00:00:00.000000Z";
        let fits = |(&byte, &model): (&u8, &u8)| {
            if model == b'0' { byte.is_ascii_digit() } else { byte == model }
        };
        if !text.iter().zip(form).all(fits) {
            return None;
        }
        let number =
            |from: usize, to: usize| text[from..to].iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
        let real = (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && number(11, 13) < 24
            && number(14, 16) < 60
            && number(17, 19) < 60;
        real.then_some(Self(text))
    }

    /// The 27 ASCII bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn digits(place: &mut [u8], mut value: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month, day of a day counted from 0000-01-01.
fn date(day: i64) -> (i64, i64, i64) {
    // 400 years have 146,097 days; the estimate is at most one year off.
    let mut year = day * 400 / 146_097;
    if days_before(year) > day {
        year -= 1;
    } else if days_before(year + 1) <= day {
        year += 1;
    }
    let (mut rest, mut month) = (day - days_before(year), 1);
    while rest >= days_in_month(year, month) {
        rest -= days_in_month(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

/// Days from 0000-01-01 to the first day of `year`.
fn days_before(year: i64) -> i64 {
    year * 365 + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(micros: i64) -> String {
        String::from_utf8(Stamp::new(micros).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn known_times() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(text(1_795_336_920_123_456), "2026-11-22T08:42:00.123456Z");
        assert_eq!(text(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
    }

    #[test]
    fn years_outside_four_digits_are_clamped() {
        assert_eq!(text(i64::MIN), "0000-01-01T00:00:00.000000Z");
        assert_eq!(text(FIRST), "0000-01-01T00:00:00.000000Z");
        assert_eq!(text(LAST), "9999-12-31T23:59:59.999999Z");
        assert_eq!(text(i64::MAX), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn the_borders_of_every_month_of_ten_thousand_years() {
        let mut day = 0;
        for year in 0..10_000 {
            assert_eq!(days_before(year), day);
            for month in 1..=12 {
                assert_eq!(date(day), (year, month, 1));
                day += days_in_month(year, month);
                assert_eq!(date(day - 1), (year, month, days_in_month(year, month)));
            }
        }
    }

    #[test]
    fn only_real_times_parse() {
        for good in ["2024-02-29T23:59:59.999999Z", "0000-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"] {
            assert!(Stamp::parse(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "2023-02-29T00:00:00.000000Z",
            "1900-02-29T00:00:00.000000Z",
            "2026-00-22T08:42:00.123456Z",
            "2026-13-22T08:42:00.123456Z",
            "2026-11-00T08:42:00.123456Z",
            "2026-11-31T08:42:00.123456Z",
            "2026-11-22T24:00:00.000000Z",
            "2026-11-22T08:60:00.000000Z",
            "2026-11-22T08:42:60.000000Z",
            "2026-11-22T08:42:00.12345Z",
            "2026-11-22T08:42:00.1234567Z",
            "2026-11-22t08:42:00.123456Z",
            "2026-11-22T08:42:00.123456z",
            "2026-11-22 08:42:00.123456Z",
            "+026-11-22T08:42:00.123456Z",
            "",
        ] {
            assert!(Stamp::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_formatted_parses(micros in FIRST..=LAST) {
            let stamp = Stamp::new(micros);
            prop_assert_eq!(Stamp::parse(stamp.as_bytes()), Some(stamp));
            let expected = chrono::DateTime::from_timestamp_micros(micros).unwrap().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            prop_assert_eq!(text(micros), expected);
        }
    }
}
