//! Time rotation: which period of the clock an instant belongs to.
//!
//! Promises: windows tile time without gap or overlap, and their edges are wall-clock times of the zone (`1h` on every
//! local hour, `1d` at local midnight). Pure: the time comes in as an argument. Works on the offset at an instant, which
//! always exists, and never on the instant of a local time, which may not exist or exist twice.
//!
//! At a change of the offset: an edge that the clock jumps over is the first instant after the jump; an edge that the
//! clock shows twice counts twice below a day, and only the first time for whole days.
use std::time::Duration;

use chrono::{DateTime, Local, Offset, TimeZone, Utc};

use crate::config::Timezone;

const DAY: i64 = 86_400;
/// No zone has changed its offset twice within an hour.
const PROBE: i64 = 3_600;
/// Zones are asked about no instant beyond the years 0001 to 9998, a range that all can answer.
const ZONE_MIN: i64 = -62_135_596_800;
const ZONE_MAX: i64 = 253_370_764_799;
/// Sums of a few instants, offsets and intervals within this stay far from overflow.
const NOW_MAX: i64 = 1 << 53;

/// A rotation period: Unix seconds, `begin` in, `end` out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first second.
    pub begin: i64,
    /// The first second of the next one.
    pub end: i64,
}

/// Whether `rotate.interval` may be this.
///
/// # Errors
/// What is allowed, as the end of a sentence that begins with the key.
pub fn valid_interval(interval: Duration) -> Result<(), &'static str> {
    let seconds = interval.as_secs();
    if interval.subsec_nanos() != 0 || seconds == 0 {
        return Err("must be one or more whole seconds");
    }
    let day = DAY.unsigned_abs();
    if day % seconds != 0 && seconds % day != 0 {
        return Err("must divide a day (as 15m, 1h or 12h do) or be whole days");
    }
    if seconds > 366 * day {
        return Err("must not be longer than 366 days");
    }
    Ok(())
}

/// Whether a file opened in `opened_in` is due for rotation. True on either side of it: the clock may be set back.
#[must_use]
pub fn due(now: i64, opened_in: Window) -> bool {
    !(opened_in.begin..opened_in.end).contains(&now)
}

/// [`window`] in the zone that `rotate.timezone` names.
#[must_use]
pub fn window_in(timezone: Timezone, now: i64, interval: Duration) -> Window {
    match timezone {
        Timezone::Utc => window(now, interval, &Utc),
        Timezone::Local => window(now, interval, &Local),
    }
}

/// The rotation period that contains `now` (Unix seconds), for an interval that [`valid_interval`] accepts. It asks
/// the zone some hundred times: call it once a window, and [`due`] for each record.
#[must_use]
pub fn window(now: i64, interval: Duration, zone: &impl TimeZone) -> Window {
    let now = now.clamp(-NOW_MAX, NOW_MAX);
    let seconds = i64::try_from(interval.as_secs())
        .unwrap_or(NOW_MAX)
        .clamp(1, 366 * DAY);
    if seconds % DAY == 0 {
        days(now, seconds, zone)
    } else {
        part_of_day(now, seconds, zone)
    }
}

/// Whole days: edges are the first instants that reach local midnight of each n-th day since 1970-01-01.
fn days(now: i64, seconds: i64, zone: &impl TimeZone) -> Window {
    let mut period = (now + offset(zone, now)).div_euclid(seconds);
    let mut end = reach(zone, (period + 1) * seconds);
    // A clock set back over midnight shows the old date once more; the new period has begun all the same.
    while end <= now {
        period += 1;
        end = reach(zone, (period + 1) * seconds);
    }
    Window {
        begin: reach(zone, period * seconds),
        end,
    }
}

/// Less than a day: edges are all instants whose local time is a multiple, and the ends of jumps over a multiple.
fn part_of_day(now: i64, seconds: i64, zone: &impl TimeZone) -> Window {
    // Two edges are never further apart than one interval and one change of the offset, which is at most a day.
    let far = seconds + DAY + PROBE;
    let (mut begin, mut end) = (now - far, now + far);
    let mut before = None;
    for stretch in stretches(zone, now - far, now + far) {
        let floor = |at: i64| at - (at + stretch.offset).rem_euclid(seconds);
        let shown = |at: i64, offset: i64| (at + offset).div_euclid(seconds);
        let jumped = before.is_some_and(|offset| {
            shown(stretch.start, stretch.offset) > shown(stretch.start - 1, offset)
        });
        let around = [
            floor(now.min(stretch.end - 1)),
            floor(now.max(stretch.start - 1)) + seconds,
        ];
        let edges = around
            .into_iter()
            .filter(|edge| (stretch.start..stretch.end).contains(edge));
        for edge in edges.chain(jumped.then_some(stretch.start)) {
            if edge <= now {
                begin = begin.max(edge);
            } else {
                end = end.min(edge);
            }
        }
        before = Some(stretch.offset);
    }
    Window { begin, end }
}

/// The first instant whose local time is `local` or later.
fn reach(zone: &impl TimeZone, local: i64) -> i64 {
    // Offsets are less than a day.
    let mut first = local + DAY;
    for stretch in stretches(zone, local - DAY, local + DAY).into_iter().rev() {
        let at = stretch.start.max(local - stretch.offset);
        if at < stretch.end {
            first = at;
        }
    }
    first
}

/// Time with one offset from UTC, in seconds.
struct Stretch {
    start: i64,
    end: i64,
    offset: i64,
}

/// Cuts `from..to` at the changes of the zone's offset.
fn stretches(zone: &impl TimeZone, from: i64, to: i64) -> Vec<Stretch> {
    let mut found = Vec::with_capacity(2);
    let mut current = Stretch {
        start: from,
        end: to,
        offset: offset(zone, from),
    };
    let mut same = from;
    while same < to - 1 {
        let probe = (same + PROBE).min(to - 1);
        let next = offset(zone, probe);
        if next != current.offset {
            let (mut old, mut new) = (same, probe);
            while new - old > 1 {
                let middle = old + (new - old) / 2;
                *(if offset(zone, middle) == current.offset {
                    &mut old
                } else {
                    &mut new
                }) = middle;
            }
            found.push(Stretch {
                end: new,
                ..current
            });
            current = Stretch {
                start: new,
                end: to,
                offset: next,
            };
        }
        same = probe;
    }
    found.push(current);
    found
}

/// Local time minus UTC at an instant, in seconds.
fn offset(zone: &impl TimeZone, at: i64) -> i64 {
    let instant = DateTime::from_timestamp(at.clamp(ZONE_MIN, ZONE_MAX), 0).unwrap_or_default();
    i64::from(
        zone.offset_from_utc_datetime(&instant.naive_utc())
            .fix()
            .local_minus_utc(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use chrono::{LocalResult, NaiveDate, NaiveDateTime, TimeDelta};
    use chrono_tz::Tz;
    use proptest::prelude::*;

    use super::*;

    const ZONES: [Tz; 11] = [
        Tz::UTC,
        Tz::Europe__Berlin,
        Tz::America__New_York,
        Tz::Australia__Lord_Howe,
        Tz::America__Sao_Paulo,
        Tz::Asia__Beirut,
        Tz::Pacific__Apia,
        Tz::America__Havana,
        Tz::America__St_Johns,
        Tz::Pacific__Kwajalein,
        Tz::Asia__Kathmandu,
    ];
    const FIRST: i64 = 631_152_000; // 1990
    const LAST: i64 = 2_114_380_800; // 2037

    /// About when each zone changed its offset, so that the tests look there.
    static CHANGES: LazyLock<Vec<(Tz, i64)>> = LazyLock::new(|| {
        let sample = |zone: Tz| {
            (FIRST..LAST)
                .step_by(6 * 3600)
                .filter(move |&at| offset(&zone, at) != offset(&zone, at + 6 * 3600))
        };
        ZONES
            .into_iter()
            .flat_map(|zone| sample(zone).map(move |at| (zone, at)).collect::<Vec<_>>())
            .collect()
    });

    fn any_instant() -> impl Strategy<Value = (Tz, i64)> {
        let anywhere = (prop::sample::select(&ZONES[..]), FIRST..LAST);
        let near = (any::<prop::sample::Index>(), -2 * DAY..2 * DAY).prop_map(|(index, by)| {
            let (zone, at) = *index.get(&CHANGES);
            (zone, at + by)
        });
        prop_oneof![1 => anywhere, 4 => near]
    }

    /// The rules read literally, by way of local times: all edges of the days around `from..=to`.
    fn edges(zone: Tz, seconds: i64, from: i64, to: i64) -> BTreeSet<i64> {
        let midnight = |at: i64| {
            zone.timestamp_opt(at, 0)
                .unwrap()
                .date_naive()
                .and_hms_opt(0, 0, 0)
                .unwrap()
        };
        let last = midnight(to) + TimeDelta::days(3);
        let mut local = midnight(from) - TimeDelta::days(3);
        let mut found = BTreeSet::new();
        while local < last {
            let epoch_day = (local.date() - NaiveDate::default()).num_days();
            if seconds < DAY || epoch_day.rem_euclid(seconds / DAY) == 0 {
                found.extend(instants(zone, local, seconds < DAY));
            }
            local += TimeDelta::seconds(seconds.min(DAY));
        }
        found
    }

    fn instants(zone: Tz, local: NaiveDateTime, both: bool) -> Vec<i64> {
        match zone.from_local_datetime(&local) {
            LocalResult::Single(at) => vec![at.timestamp()],
            LocalResult::Ambiguous(a, b) if both => vec![a.timestamp(), b.timestamp()],
            LocalResult::Ambiguous(a, b) => vec![a.timestamp().min(b.timestamp())],
            LocalResult::None => instants(zone, first_shown_after(zone, local), false),
        }
    }

    fn first_shown_after(zone: Tz, gap: NaiveDateTime) -> NaiveDateTime {
        (1..=26 * 60)
            .map(|m| gap + TimeDelta::minutes(m))
            .find(|l| zone.from_local_datetime(l) != LocalResult::None)
            .unwrap()
    }

    fn tile(zone: Tz, now: i64, interval: Duration) -> Result<Window, TestCaseError> {
        let found = window(now, interval, &zone);
        prop_assert!(found.begin <= now && now < found.end, "{:?}", found);
        prop_assert_eq!(window(found.begin, interval, &zone), found);
        prop_assert_eq!(window(found.end - 1, interval, &zone), found);
        prop_assert_eq!(window(found.end, interval, &zone).begin, found.end);
        prop_assert_eq!(window(found.begin - 1, interval, &zone).end, found.begin);
        prop_assert!(!due(now, found) && due(found.end, found) && due(found.begin - 1, found));
        Ok(found)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn windows_lie_between_the_clocks_edges(
            (zone, now) in any_instant(), seconds in prop::sample::select(vec![900, 1800, 3600, 7200, 6 * 3600, DAY / 2, DAY, 2 * DAY, 7 * DAY, 30 * DAY]),
        ) {
            let found = tile(zone, now, Duration::from_secs(seconds.unsigned_abs()))?;
            let edges = edges(zone, seconds, found.begin, found.end);
            let expected = Window { begin: *edges.range(..=now).next_back().unwrap(), end: *edges.range(now + 1..).next().unwrap() };
            prop_assert_eq!(found, expected, "{} {}", zone, zone.timestamp_opt(now, 0).unwrap());
        }

        #[test]
        fn short_windows_tile((zone, now) in any_instant(), seconds in prop::sample::select(vec![1u64, 5, 60, 675, 2700])) {
            let found = tile(zone, now, Duration::from_secs(seconds))?;
            prop_assert!(found.end - found.begin <= seconds.cast_signed());
        }

        #[test]
        fn a_day_is_a_day_by_the_clock((zone, now) in any_instant()) {
            let hours = |w: Window| (w.end - w.begin) as f64 / 3600.0;
            let length = hours(window(now, Duration::from_secs(86_400), &zone));
            prop_assert!([23.0, 23.5, 24.0, 24.5, 25.0].contains(&length) || zone == Tz::Asia__Beirut, "{} {}", zone, length);
        }
    }

    fn at(zone: Tz, text: &str) -> i64 {
        let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap();
        zone.from_local_datetime(&local)
            .earliest()
            .unwrap()
            .timestamp()
    }

    fn lengths(zone: Tz, from: &str, seconds: u64, count: usize) -> Vec<i64> {
        let mut next = at(zone, from);
        let mut step = || {
            let found = window(next, Duration::from_secs(seconds), &zone);
            assert_eq!(found.begin, next);
            next = found.end;
            (found.end - found.begin) / 60
        };
        (0..count).map(|_| step()).collect()
    }

    #[test]
    fn known_days() {
        let hours = |zone, from| {
            lengths(zone, from, 86_400, 3)
                .into_iter()
                .map(|m| m as f64 / 60.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            hours(Tz::Europe__Berlin, "2026-03-28 00:00:00"),
            [24.0, 23.0, 24.0]
        );
        assert_eq!(
            hours(Tz::Europe__Berlin, "2026-10-24 00:00:00"),
            [24.0, 25.0, 24.0]
        );
        assert_eq!(
            hours(Tz::America__Sao_Paulo, "2017-10-14 00:00:00"),
            [24.0, 23.0, 24.0]
        );
        assert_eq!(
            hours(Tz::Pacific__Apia, "2011-12-28 00:00:00"),
            [24.0, 24.0, 24.0]
        );
        assert_eq!(
            at(Tz::Pacific__Apia, "2011-12-29 00:00:00") + DAY,
            at(Tz::Pacific__Apia, "2011-12-31 00:00:00")
        );
    }

    #[test]
    fn known_hours() {
        assert_eq!(
            lengths(Tz::Europe__Berlin, "2026-10-25 01:00:00", 3600, 4),
            [60; 4]
        );
        assert_eq!(
            lengths(Tz::Europe__Berlin, "2026-03-29 01:00:00", 3600, 3),
            [60; 3]
        );
        // Lord Howe moves by half an hour: 01:30 to 02:00 is shown twice, then 02:00 to 02:30 not at all.
        assert_eq!(
            lengths(Tz::Australia__Lord_Howe, "2026-04-05 00:00:00", 3600, 4),
            [60, 90, 60, 60]
        );
        assert_eq!(
            lengths(Tz::Australia__Lord_Howe, "2026-10-04 00:00:00", 3600, 4),
            [60, 60, 30, 60]
        );
        assert_eq!(
            lengths(Tz::Europe__Berlin, "2026-10-25 00:00:00", 2 * 3600, 3),
            [120, 60, 120]
        );
    }

    #[test]
    fn intervals() {
        let day = 86_400;
        for good in [1, 2, 60, 900, 3600, 12 * 3600, day, 2 * day, 366 * day] {
            assert_eq!(valid_interval(Duration::from_secs(good)), Ok(()), "{good}");
        }
        for bad in [0, 7, 5 * 3600, day + 1, 36 * 3600, 367 * day, u64::MAX] {
            assert!(valid_interval(Duration::from_secs(bad)).is_err(), "{bad}");
        }
        assert!(valid_interval(Duration::from_millis(1500)).is_err());
    }

    #[test]
    fn configured_zones_answer_at_any_time() {
        for now in [0, 1_795_336_920, ZONE_MIN, ZONE_MAX, -NOW_MAX, NOW_MAX - 1] {
            for timezone in [Timezone::Utc, Timezone::Local] {
                for seconds in [1, 3600, 86_400, 30 * 86_400] {
                    assert!(
                        !due(now, window_in(timezone, now, Duration::from_secs(seconds))),
                        "{now} {timezone:?} {seconds}"
                    );
                }
            }
        }
        for now in [i64::MIN, i64::MAX] {
            let _ = window_in(Timezone::Local, now, Duration::ZERO);
        }
    }
}
