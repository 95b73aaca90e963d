//! The daemon's own log: one line an event, with level and role, of an event of the [`catalogue`].
//!
//! Under systemd (standard error is the journal's stream) a line goes to the journal as a datagram with fields, so that
//! `journalctl -x` explains it; where that cannot be, with the priority in angle brackets on standard error, sd-daemon(3). Elsewhere
//! it begins with the time, or is a JSON object. Bytes of clients never get here unescaped: control and bidirectional characters are replaced.
//!
//! Promise: a reader that has stopped reading stops nobody here. A line is written if there is room for it now;
//! else it is dropped and counted, and the next line that gets through comes after one that tells how many were dropped.
pub mod catalogue;
mod limiter;
mod line;
mod outlet;
mod spell;
mod way;

use crate::config::{Level, Log, LogFormat};
use catalogue::Event;
pub use limiter::Limiter;
use line::Line;
pub use line::{Value, is_hostile};
use outlet::Outlet;
pub use spell::{Spell, Turn};
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{PoisonError, RwLock};
pub use way::{join_journal, journal_socket, look_at_stream};

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static FORMAT: AtomicU8 = AtomicU8::new(LogFormat::Text as u8);
static ROLE: RwLock<String> = RwLock::new(String::new());
static OUTLET: Outlet = Outlet::new();

/// From now on lines of the configured level, and of the more severe ones, are written in the configured format.
pub fn follow(config: Log) {
    LEVEL.store(config.level as u8, Ordering::Relaxed);
    FORMAT.store(config.format as u8, Ordering::Relaxed);
}

/// Tells why there is no start, before it is known how to log: under systemd in the log, elsewhere as any command tells its errors.
pub fn tell_starter(error: &impl fmt::Display) {
    if way::is_journal() {
        crate::error!(START_FAILED, "{error}");
    } else {
        eprintln!("echostored: {error}");
    }
}

/// Sets the role that the lines of this process carry.
pub fn set_role(role: impl Into<String>) {
    *ROLE.write().unwrap_or_else(PoisonError::into_inner) = role.into();
    // A forked role begins with its parent's count, which the parent tells.
    OUTLET.forget();
}

/// Whether lines of this level are written.
pub fn wants(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// How many lines of this process were dropped since it began, for want of room or of a reader.
pub fn dropped() -> u64 {
    OUTLET.dropped()
}

/// Writes one line, if that can be done at once. Errors are ignored: there is no other place to report to.
///
/// Only lines for developers are of no event. A field's name is in snake case, and the same for the same thing everywhere.
pub fn write(
    level: Level,
    event: Option<&'static Event>,
    fields: &[(&'static str, Value<'_>)],
    message: fmt::Arguments<'_>,
) {
    if !wants(level) {
        return;
    }
    let role = ROLE.read().unwrap_or_else(PoisonError::into_inner);
    way::put(&OUTLET, &Line { level, event, fields, role: &role, message: &message.to_string() });
}

/// One line of an event: `log!(Warn, WRITER_ENDED { pid: 12 }, "…")`. The event's level is the line's, or it does not compile.
#[macro_export]
macro_rules! log {
    ($level:ident, $event:ident { $($key:ident: $value:expr),+ $(,)? }, $($part:tt)+) => {
        $crate::log!(@ $level, $event, &[$((stringify!($key), $crate::log::Value::from($value))),+], $($part)+)
    };
    ($level:ident, $event:ident, $($part:tt)+) => { $crate::log!(@ $level, $event, &[], $($part)+) };
    (@ $level:ident, $event:ident, $fields:expr, $($part:tt)+) => {{
        const { assert!($crate::log::catalogue::$event.level as u8 == $crate::config::Level::$level as u8) };
        if $crate::log::wants($crate::config::Level::$level) {
            let event = Some(&$crate::log::catalogue::$event);
            $crate::log::write($crate::config::Level::$level, event, $fields, format_args!($($part)+));
        }
    }};
}

/// Logs something that needs a person.
#[macro_export]
macro_rules! error { ($($part:tt)+) => { $crate::log!(Error, $($part)+) } }
/// Logs something that may need a person soon.
#[macro_export]
macro_rules! warn { ($($part:tt)+) => { $crate::log!(Warn, $($part)+) } }
/// Logs a change of state worth keeping.
#[macro_export]
macro_rules! notice { ($($part:tt)+) => { $crate::log!(Notice, $($part)+) } }
/// Logs what is going on.
#[macro_export]
macro_rules! info { ($($part:tt)+) => { $crate::log!(Info, $($part)+) } }
/// Logs what only a developer asks for; of no event.
#[macro_export]
macro_rules! debug {
    ($($part:tt)+) => { $crate::log::write($crate::config::Level::Debug, None, &[], format_args!($($part)+)) }
}
