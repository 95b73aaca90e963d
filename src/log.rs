//! Log lines on standard error: one line an event, with level and role.
//!
//! Under systemd (standard error is the journal's stream) a line begins with the priority in angle brackets,
//! sd-daemon(3); elsewhere with the time. Bytes of clients never get here unescaped: control characters are replaced.
use crate::config::Level;
use std::fmt;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static ROLE: RwLock<String> = RwLock::new(String::new());

/// Sets which lines are written: this level and the more severe ones.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Sets the role that the lines of this process carry.
pub fn set_role(role: impl Into<String>) {
    *ROLE.write().unwrap_or_else(PoisonError::into_inner) = role.into();
}

/// Writes one line. Errors are ignored: there is no other place to report to.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let text: String = message.to_string().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let role = ROLE.read().unwrap_or_else(PoisonError::into_inner);
    let line = if journal() {
        format!("<{}>{role}: {text}\n", priority(level))
    } else {
        format!("{} {} {role}: {text}\n", time(), name(level))
    };
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Notice => 5,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Notice => "notice",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

fn time() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = chrono::DateTime::from_timestamp(i64::try_from(seconds).unwrap_or(0), 0).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether standard error is the stream that `JOURNAL_STREAM` names by device and inode (systemd.exec(5)).
fn journal() -> bool {
    static JOURNAL: OnceLock<bool> = OnceLock::new();
    *JOURNAL.get_or_init(|| {
        let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
            return false;
        };
        let Ok(stat) = crate::sys::file::stat(std::io::stderr().as_fd()) else {
            return false;
        };
        stream == format!("{}:{}", stat.st_dev, stat.st_ino)
    })
}

/// Lets through a few lines of a kind in a while and counts the rest: clients must not be able to flood the log.
#[derive(Debug)]
pub struct Limiter {
    window: AtomicU64,
    lines: AtomicU64,
    held_back: AtomicU64,
}

impl Limiter {
    const SECONDS: u64 = 10;
    const LINES: u64 = 5;

    /// A limiter that has let nothing through yet.
    pub const fn new() -> Self {
        Self { window: AtomicU64::new(0), lines: AtomicU64::new(0), held_back: AtomicU64::new(0) }
    }

    /// Whether a line may be written at `now` (seconds of any clock), and how many were held back before it.
    pub fn admit(&self, now: u64) -> Option<u64> {
        if self.window.swap(now / Self::SECONDS, Ordering::Relaxed) != now / Self::SECONDS {
            self.lines.store(0, Ordering::Relaxed);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) < Self::LINES {
            Some(self.held_back.swap(0, Ordering::Relaxed))
        } else {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

/// Logs something that needs a person.
#[macro_export]
macro_rules! error { ($($part:tt)*) => { $crate::log::write($crate::config::Level::Error, format_args!($($part)*)) } }
/// Logs something that may need a person soon.
#[macro_export]
macro_rules! warn { ($($part:tt)*) => { $crate::log::write($crate::config::Level::Warn, format_args!($($part)*)) } }
/// Logs a change of state worth keeping.
#[macro_export]
macro_rules! notice { ($($part:tt)*) => { $crate::log::write($crate::config::Level::Notice, format_args!($($part)*)) } }
/// Logs what is going on.
#[macro_export]
macro_rules! info { ($($part:tt)*) => { $crate::log::write($crate::config::Level::Info, format_args!($($part)*)) } }
/// Logs what only a developer asks for.
#[macro_export]
macro_rules! debug { ($($part:tt)*) => { $crate::log::write($crate::config::Level::Debug, format_args!($($part)*)) } }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_in_the_next_window() {
        let limiter = Limiter::new();
        let through = (0..100).filter(|_| limiter.admit(1000).is_some()).count();
        assert_eq!(through, 5);
        assert_eq!(limiter.admit(1010), Some(95));
        assert_eq!(limiter.admit(1011), Some(0));
    }
}
