//! Log lines on standard error: one line an event, with level and role.
//!
//! Under systemd (standard error is the journal's stream) a line begins with the priority in angle brackets,
//! sd-daemon(3); elsewhere with the time. Bytes of clients never get here unescaped: control and bidirectional characters are replaced.
//!
//! Promise: a reader that has stopped reading stops nobody here. A line is written if standard error has room for it now;
//! else it is dropped and counted, and the next line that gets through comes after one that tells how many were dropped.
use crate::config::Level;
use crate::sys::AsFd;
use crate::sys::poll::has_room;
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static ROLE: RwLock<String> = RwLock::new(String::new());

/// Bytes of the longest line: what a pipe with room takes at once, `PIPE_BUF` (pipe(7)).
const LINE_MAX: usize = 4096;

static OUTLET: Outlet = Outlet { dropped: AtomicU64::new(0) };

/// Sets which lines are written: this level and the more severe ones.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Sets the role that the lines of this process carry.
pub fn set_role(role: impl Into<String>) {
    *ROLE.write().unwrap_or_else(PoisonError::into_inner) = role.into();
    // A forked role begins with its parent's count, which the parent tells.
    OUTLET.dropped.store(0, Ordering::Relaxed);
}

/// Writes one line, if that can be done at once. Errors are ignored: there is no other place to report to.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    OUTLET.put(std::io::stderr(), &line(level, &message.to_string()));
}

/// The whole line, with its LF, in at most [`LINE_MAX`] bytes.
fn line(level: Level, message: &str) -> String {
    const CUT: &str = "…";
    let text: String = message.chars().map(|c| if is_hostile(c) { '\u{fffd}' } else { c }).collect();
    let role = ROLE.read().unwrap_or_else(PoisonError::into_inner);
    let mut line = if journal() {
        format!("<{}>{role}: {text}", priority(level))
    } else {
        format!("{} {} {role}: {text}", time(), name(level))
    };
    if line.len() >= LINE_MAX {
        let most = LINE_MAX - 1 - CUT.len();
        line.truncate((0..=most).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0));
        line.push_str(CUT);
    }
    line + "\n"
}

/// Controls, and what turns the direction of text: a log is looked at in terminals.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Lets through what can be written without waiting, and counts the rest.
///
/// Processes that share a pipe may see its last free page at the same moment. Their lines go into it together; only if
/// they do not fit there would the last of them wait.
struct Outlet {
    dropped: AtomicU64,
}

impl Outlet {
    fn put(&self, mut out: impl Write + AsFd, line: &str) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let notice = format!("{dropped} lines before this one were not logged: standard error did not take them");
            if !try_write(&mut out, &self::line(Level::Warn, &notice)) {
                self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
                return;
            }
        }
        if !try_write(&mut out, line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn try_write(out: &mut (impl Write + AsFd), line: &str) -> bool {
    has_room(out.as_fd()) && out.write_all(line.as_bytes()).is_ok()
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
    use std::io::Read;

    /// What is in the pipe now.
    fn read(pipe: &mut std::io::PipeReader) -> String {
        let mut bytes = vec![0; 1 << 20];
        let count = pipe.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[test]
    fn a_full_pipe_takes_no_line_and_the_next_one_tells_how_many() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let outlet = Outlet { dropped: AtomicU64::new(0) };
        let line = "x".repeat(99) + "\n";
        let mut put = 0;
        while outlet.dropped.load(Ordering::Relaxed) == 0 {
            outlet.put(&writer, &line);
            put += 1;
            assert!(put < 100_000, "the pipe is never full");
        }
        for _ in 0..6 {
            outlet.put(&writer, &line);
        }
        assert_eq!(outlet.dropped.load(Ordering::Relaxed), 7);
        let kept = read(&mut reader);
        assert_eq!(kept, line.repeat(put - 1), "whole lines, and no other");
        outlet.put(&writer, "after\n");
        outlet.put(&writer, "and after\n");
        let told = read(&mut reader);
        let told: Vec<&str> = told.lines().collect();
        assert!(
            told[0].ends_with("7 lines before this one were not logged: standard error did not take them"),
            "{told:?}"
        );
        assert_eq!(told[1..], ["after", "and after"]);
    }

    #[test]
    fn nobody_at_the_other_end_is_counted_too() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let outlet = Outlet { dropped: AtomicU64::new(0) };
        outlet.put(&writer, "x\n");
        outlet.put(&writer, "x\n");
        assert_eq!(outlet.dropped.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_line_is_one_line_and_never_longer_than_a_pipe_takes_at_once() {
        assert!(line(Level::Info, "a\nb\x1b").ends_with(": a\u{fffd}b\u{fffd}\n"));
        assert!(line(Level::Info, "\u{202e}a\u{2066}\u{9b}").ends_with(": \u{fffd}a\u{fffd}\u{fffd}\n"));
        for shift in 0..3 {
            let long = line(Level::Info, &("x".repeat(shift) + &"€".repeat(LINE_MAX)));
            assert!((LINE_MAX - 3..=LINE_MAX).contains(&long.len()), "{} bytes", long.len());
            assert!(long.ends_with("€…\n"));
        }
    }

    #[test]
    fn a_flood_is_counted_and_told_in_the_next_window() {
        let limiter = Limiter::new();
        let through = (0..100).filter(|_| limiter.admit(1000).is_some()).count();
        assert_eq!(through, 5);
        assert_eq!(limiter.admit(1010), Some(95));
        assert_eq!(limiter.admit(1011), Some(0));
    }
}
