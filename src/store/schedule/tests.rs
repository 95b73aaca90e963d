use std::collections::BTreeSet;
use std::sync::LazyLock;

use chrono::{LocalResult, NaiveDate, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;

const ZONES: [Tz; 13] = [
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
    Tz::Africa__Monrovia,
    Tz::Antarctica__Troll,
];
const FIRST: i64 = 0;
const LAST: i64 = 2_114_380_800; // 2037

/// About when each zone changed its offset, so that the tests look there.
static CHANGES: LazyLock<Vec<(Tz, i64)>> = LazyLock::new(|| {
    let sample =
        |zone: Tz| (FIRST..LAST).step_by(6 * 3600).filter(move |&at| offset(&zone, at) != offset(&zone, at + 6 * 3600));
    ZONES.into_iter().flat_map(|zone| sample(zone).map(move |at| (zone, at)).collect::<Vec<_>>()).collect()
});

fn any_instant() -> impl Strategy<Value = (Tz, i64)> {
    let anywhere = (prop::sample::select(&ZONES[..]), FIRST..LAST);
    let near =
        (any::<prop::sample::Index>(), prop_oneof![-2 * DAY..2 * DAY, -3600..7 * 3600i64]).prop_map(|(index, by)| {
            let (zone, at) = *index.get(&CHANGES);
            (zone, at + by)
        });
    prop_oneof![1 => anywhere, 4 => near]
}

/// The rules read literally, by way of local times: all edges of the days around `from..=to`.
fn edges(zone: Tz, seconds: i64, from: i64, to: i64) -> BTreeSet<i64> {
    let midnight = |at: i64| zone.timestamp_opt(at, 0).unwrap().date_naive().and_hms_opt(0, 0, 0).unwrap();
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
    (1..=26 * 3600)
        .map(|s| gap + TimeDelta::seconds(s))
        .find(|l| zone.from_local_datetime(l) != LocalResult::None)
        .unwrap()
}

/// The rule for less than a day, read literally: the clock shows a multiple at `at`, or has just jumped over one.
fn is_edge(zone: Tz, seconds: i64, at: i64) -> bool {
    let shown = |at| at + offset(&zone, at);
    shown(at).rem_euclid(seconds) == 0 || shown(at).div_euclid(seconds) > shown(at - 1).div_euclid(seconds)
}

fn short_window(zone: Tz, now: i64, seconds: i64) -> Result<(), TestCaseError> {
    let found = tile(zone, now, Duration::from_secs(seconds.unsigned_abs()))?;
    prop_assert!(is_edge(zone, seconds, found.begin) && is_edge(zone, seconds, found.end), "{:?}", found);
    prop_assert!(!(found.begin + 1..found.end).any(|at| is_edge(zone, seconds, at)), "{:?}", found);
    let set_back = offset(&zone, found.begin) - offset(&zone, found.end - 1);
    prop_assert!(found.end - found.begin <= seconds + set_back, "{:?} {}", found, set_back);
    Ok(())
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
    // PROPTEST_CASES may ask for more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(600)))]

    #[test]
    fn windows_lie_between_the_clocks_edges(
        (zone, now) in any_instant(),
        seconds in prop::sample::select(vec![
            675, 900, 1800, 2700, 3600, 7200, 6 * 3600, DAY / 2, DAY, 2 * DAY, 7 * DAY, 30 * DAY,
        ]),
    ) {
        let found = tile(zone, now, Duration::from_secs(seconds.unsigned_abs()))?;
        let edges = edges(zone, seconds, found.begin, found.end);
        let expected = Window { begin: *edges.range(..=now).next_back().unwrap(), end: *edges.range(now + 1..).next().unwrap() };
        prop_assert_eq!(found, expected, "{} {}", zone, zone.timestamp_opt(now, 0).unwrap());
    }

    #[test]
    fn short_windows_tile((zone, now) in any_instant(), seconds in prop::sample::select(vec![1, 5, 60, 675, 2700])) {
        short_window(zone, now, seconds)?;
    }

    #[test]
    fn a_day_is_a_day_by_the_clock((zone, now) in any_instant()) {
        let found = window(now, Duration::from_secs(86_400), &zone);
        let change = found.end - found.begin - DAY;
        // Monrovia moved by 44 min 30 s, Troll moves by two hours.
        prop_assert!([0, 900, 1800, 2670, 3600, 7200].contains(&change.abs()), "{} {}", zone, change);
    }
}

fn at(zone: Tz, text: &str) -> i64 {
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap();
    zone.from_local_datetime(&local).earliest().unwrap().timestamp()
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
    let hours = |zone, from| lengths(zone, from, 86_400, 3).into_iter().map(|m| m as f64 / 60.0).collect::<Vec<_>>();
    assert_eq!(hours(Tz::Europe__Berlin, "2026-03-28 00:00:00"), [24.0, 23.0, 24.0]);
    assert_eq!(hours(Tz::Europe__Berlin, "2026-10-24 00:00:00"), [24.0, 25.0, 24.0]);
    assert_eq!(hours(Tz::America__Sao_Paulo, "2017-10-14 00:00:00"), [24.0, 23.0, 24.0]);
    assert_eq!(hours(Tz::Pacific__Apia, "2011-12-28 00:00:00"), [24.0, 24.0, 24.0]);
    assert_eq!(at(Tz::Pacific__Apia, "2011-12-29 00:00:00") + DAY, at(Tz::Pacific__Apia, "2011-12-31 00:00:00"));
    assert_eq!(hours(Tz::Pacific__Kwajalein, "1993-08-20 00:00:00"), [24.0; 3]);
    // Midnight shown twice (01:00 becomes 00:00), and passed twice (00:01 becomes 23:01): the first one counts.
    assert_eq!(hours(Tz::America__Havana, "2026-10-31 00:00:00"), [24.0, 25.0, 24.0]);
    assert_eq!(hours(Tz::America__St_Johns, "2010-11-06 00:00:00"), [24.0, 25.0, 24.0]);
}

#[test]
fn known_hours() {
    assert_eq!(lengths(Tz::Europe__Berlin, "2026-10-25 01:00:00", 3600, 4), [60; 4]);
    assert_eq!(lengths(Tz::Europe__Berlin, "2026-03-29 01:00:00", 3600, 3), [60; 3]);
    // Lord Howe moves by half an hour: 01:30 to 02:00 is shown twice, then 02:00 to 02:30 not at all.
    assert_eq!(lengths(Tz::Australia__Lord_Howe, "2026-04-05 00:00:00", 3600, 4), [60, 90, 60, 60]);
    assert_eq!(lengths(Tz::Australia__Lord_Howe, "2026-10-04 00:00:00", 3600, 4), [60, 60, 30, 60]);
    assert_eq!(lengths(Tz::Europe__Berlin, "2026-10-25 00:00:00", 2 * 3600, 3), [120, 60, 120]);
}

#[test]
fn a_clock_set_back_makes_a_window_longer() {
    let st_johns = Tz::America__St_Johns;
    // 02:00 becomes 01:00 before the clock shows 02:15: the next edge is 01:30 once more.
    assert_eq!(lengths(st_johns, "2011-11-06 00:45:00", 2700, 3), [45, 60, 45]);
    for seconds in [675, 2700] {
        short_window(st_johns, 1_320_552_000, seconds).unwrap();
    }
    // 00:01 becomes 23:01: midnight is shown twice, and 23:15 follows the first.
    assert_eq!(lengths(st_johns, "2010-11-06 23:15:00", 2700, 4), [45, 15, 45, 45]);
    // In the old date's second 23:30 the new day has begun.
    let midnight = at(st_johns, "2010-11-07 00:00:00");
    let day = window(midnight + 30 * 60, Duration::from_secs(86_400), &st_johns);
    assert_eq!(day, Window { begin: midnight, end: midnight + 25 * 3600 });
    // 02:00 becomes 01:30 before the clock shows 02:00.
    let lord_howe = at(Tz::Australia__Lord_Howe, "2026-04-05 01:45:00");
    for seconds in [675, 2700] {
        short_window(Tz::Australia__Lord_Howe, lord_howe, seconds).unwrap();
    }
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
