//! Configuration: what the file says becomes what the daemon means.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The effective configuration: validated, with all units resolved and all paths absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub server: Server,
    pub limits: Limits,
    pub store: Store,
    pub rotate: Rotate,
    pub daemon: Daemon,
    pub log: Log,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub listen: Vec<SocketAddr>,
    pub workers: Workers,
    pub framing: Framing,
    pub echo: Echo,
    /// Bytes, without framing; 1 ..= 16 MiB.
    pub max_message_size: usize,
    pub on_oversize: OnOversize,
    pub shutdown_timeout: Duration,
    /// `None`: until the old connections end.
    pub reload_timeout: Option<Duration>,
    /// `None`: off.
    pub keepalive: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One per CPU the process may run on.
    Auto,
    Count(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Line,
    Nul,
    OctetCounted,
    LengthPrefixed,
    Chunk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    Received,
    Stored,
    Synced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOversize {
    Close,
    Split,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `None`: no limit.
    pub max_connections: Option<u32>,
    /// `None`: off.
    pub write_timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub directory: PathBuf,
    pub prefix: String,
    pub format: Format,
    pub file_mode: u32,
    /// `None`: no background sync.
    pub sync_interval: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Jsonl,
    Raw,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotate {
    /// Bytes; `None`: off.
    pub max_size: Option<u64>,
    /// `None`: off. Whole seconds; divides a day, or is whole days.
    pub interval: Option<Duration>,
    pub timezone: Timezone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timezone {
    Utc,
    Local,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    pub pid_file: PathBuf,
    pub user: Option<String>,
    pub group: Option<String>,
    pub log_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warn,
    Notice,
    Info,
    Debug,
}
