//! Time rotation: which period of the clock an instant belongs to.
//!
//! Promises: windows tile time without gap or overlap, and their edges are wall-clock times of the zone (`1h` on every
//! local hour, `1d` at local midnight). Pure: the time comes in as an argument. Works on the offset at an instant, which
//! always exists, and never on the instant of a local time, which may not exist or exist twice.
//!
//! At a change of the offset: an edge that the clock jumps over is the first instant after the jump; an edge that the
//! clock shows twice counts twice below a day, and only the first time for whole days. So a window may be longer than
//! the interval, by no more than the clock is set back.
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
    if !day.is_multiple_of(seconds) && !seconds.is_multiple_of(day) {
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
    let seconds = i64::try_from(interval.as_secs()).unwrap_or(NOW_MAX).clamp(1, 366 * DAY);
    if seconds % DAY == 0 { days(now, seconds, zone) } else { part_of_day(now, seconds, zone) }
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
    Window { begin: reach(zone, period * seconds), end }
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
        let jumped =
            before.is_some_and(|offset| shown(stretch.start, stretch.offset) > shown(stretch.start - 1, offset));
        let around = [floor(now.min(stretch.end - 1)), floor(now.max(stretch.start - 1)) + seconds];
        let edges = around.into_iter().filter(|edge| (stretch.start..stretch.end).contains(edge));
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
    let mut current = Stretch { start: from, end: to, offset: offset(zone, from) };
    let mut same = from;
    while same < to - 1 {
        let probe = (same + PROBE).min(to - 1);
        let next = offset(zone, probe);
        if next != current.offset {
            let (mut old, mut new) = (same, probe);
            while new - old > 1 {
                let middle = old + (new - old) / 2;
                *(if offset(zone, middle) == current.offset { &mut old } else { &mut new }) = middle;
            }
            found.push(Stretch { end: new, ..current });
            current = Stretch { start: new, end: to, offset: next };
        }
        same = probe;
    }
    found.push(current);
    found
}

/// Local time minus UTC at an instant, in seconds.
fn offset(zone: &impl TimeZone, at: i64) -> i64 {
    let instant = DateTime::from_timestamp(at.clamp(ZONE_MIN, ZONE_MAX), 0).unwrap_or_default();
    i64::from(zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc())
}

#[cfg(test)]
mod tests;
