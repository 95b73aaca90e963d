//! The daemon's own log.
use super::Choice;

/// `[log]`: the daemon's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is logged. Default: [`Level::Info`].
    pub level: Level,
    /// How a line is written. Default: [`LogFormat::Text`].
    pub format: LogFormat,
    /// Whether each connection is logged, when it is opened and when it is closed. Default: no.
    pub access: bool,
}

/// `log.level`; a lower one is more important (syslog(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed, and someone should look.
    Error,
    /// Something is wrong, and the daemon goes on.
    Warn,
    /// Normal, and worth knowing: start, stop, reload.
    Notice,
    /// Normal: rotations, connections refused.
    Info,
    /// For finding faults.
    Debug,
}

/// `log.format`: how a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; under systemd with the journal's fields.
    Text,
    /// A JSON object.
    Json,
}

impl Choice for Level {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("notice", Self::Notice),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];
}

impl Choice for LogFormat {
    const NAMES: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}
