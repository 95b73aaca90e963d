//! The wall clock.
use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, UTC; negative before. It jumps when somebody sets it.
pub fn now_micros() -> i64 {
    let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }
}

/// Seconds since 1970, UTC.
pub fn now_seconds() -> i64 {
    now_micros().div_euclid(1_000_000)
}

/// The time now to the second, as it stands in the manifest: `2026-11-22T08:42:00Z`.
pub fn now_text() -> String {
    let time = chrono::DateTime::from_timestamp(now_seconds(), 0).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time (microseconds since 1970) as `status` tells it: `2026-11-22T08:42:00.123Z`.
pub fn text(micros: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A time in RFC 3339 as microseconds since 1970.
pub fn micros_of(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())
}
