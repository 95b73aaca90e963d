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
