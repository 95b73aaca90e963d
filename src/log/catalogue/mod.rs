//! What the log may say: every line of level info and above is of one of these events, each with a name, an id that never
//! changes, what it means, and what to do. `docs/messages.md` and the journal's catalogue are this table.
//!
//! An id is random, made once, and never given to another event: `journalctl -x` and other people's scripts go by it.
mod archiving;
mod life;
mod metrics;
mod serving;
mod storing;

use crate::config::Level;
pub use archiving::*;
pub use life::*;
pub use metrics::*;
pub use serving::*;
pub use storing::*;

/// A kind of line.
#[derive(Debug)]
pub struct Event {
    /// Its name, for people and for filters.
    pub name: &'static str,
    /// The journal's `MESSAGE_ID`.
    pub id: u128,
    /// How severe each line of it is.
    pub level: Level,
    /// Which roles may log it.
    pub roles: &'static [Role],
    /// A line of it, from which one can be told apart from others.
    pub example: &'static str,
    /// What has happened.
    pub means: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// Who logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The supervisor.
    Supervisor,
    /// A worker.
    Worker,
    /// The writer.
    Writer,
    /// The archiver.
    Archiver,
    /// The exporter.
    Exporter,
    /// The process that starts `rotate.on-close`.
    HookRunner,
}

impl Role {
    /// As in a line of the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Worker => "worker",
            Self::Writer => "writer",
            Self::Archiver => "archiver",
            Self::Exporter => "exporter",
            Self::HookRunner => "hook runner",
        }
    }
}

/// All events, by who says them.
pub const CHAPTERS: [(&str, &[Event]); 5] = [
    ("The service and its processes", life::ALL),
    ("Storing", storing::ALL),
    ("Closed files", archiving::ALL),
    ("Clients", serving::ALL),
    ("Metrics", metrics::ALL),
];

/// One row an event: constant, name, id, level, roles; example; meaning; remedy.
macro_rules! events {
    ($($event:ident, $name:literal, $id:literal, $level:ident, [$($role:ident),+], $example:literal, $means:literal, $remedy:literal;)+) => {
        $(
            #[doc = $means]
            pub const $event: Event = Event {
                name: $name,
                id: $id,
                level: crate::config::Level::$level,
                roles: &[$(super::Role::$role),+],
                example: $example,
                means: $means,
                remedy: $remedy,
            };
        )+
        pub(super) const ALL: &[Event] = &[$($event),+];
    };
}
use events;
