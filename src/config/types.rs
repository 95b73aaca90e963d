//! The effective configuration: plain values, no file, no defaults by themselves, no behaviour. A `Config` that
//! [`super::parse`] returns holds to every limit named here; one put together by hand is trusted, never checked.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

mod doors;
mod log;

pub use doors::{ClientCertificate, Listen, Pem, Proxy, Tls, TlsVersion};
pub use log::{Level, Log, LogFormat};

/// The effective configuration: validated, with all units resolved and all paths absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[server]`: what clients meet.
    pub server: Server,
    /// `[limits]`: what clients may use up.
    pub limits: Limits,
    /// `[tls]`: clients that come encrypted.
    pub tls: Tls,
    /// `[proxy]`: whose word on a client's address is taken.
    pub proxy: Proxy,
    /// `[store]`: where and how messages are stored.
    pub store: Store,
    /// `[rotate]`: when a new file begins.
    pub rotate: Rotate,
    /// `[retain]`: how long closed files stay.
    pub retain: Retain,
    /// `[compress]`: what becomes of closed files.
    pub compress: Compress,
    /// `[daemon]`: used by `run --daemon` only.
    pub daemon: Daemon,
    /// `[log]`: the daemon's own log.
    pub log: Log,
    /// `[control]`: how commands reach the running daemon.
    pub control: Control,
    /// `[security]`: what the processes take from themselves.
    pub security: Security,
    /// `[metrics]`: numbers for Prometheus.
    pub metrics: Metrics,
}

/// `[server]`: what clients meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Places to listen at, 1 to 64, all different; not used for sockets that systemd passes. Port 0: the kernel
    /// chooses. Default: 127.0.0.1:7007 and `[::1]:7007`.
    pub listen: Vec<Listen>,
    /// Permission bits of the Unix sockets among them; who may write may connect. Default: 0660.
    pub unix_mode: u32,
    /// Number of pre-forked workers. Default: [`Workers::Auto`].
    pub workers: Workers,
    /// How bytes become messages. Default: [`Framing::Line`].
    pub framing: Framing,
    /// What an echo proves. Default: [`Echo::Stored`].
    pub echo: Echo,
    /// Bytes, without framing; 1 ..= 16 MiB. Default: 64 KiB.
    pub max_message_size: usize,
    /// What happens to a message over `max_message_size`. Default: [`OnOversize::Close`].
    pub on_oversize: OnOversize,
    /// After `TERM`, how long until connections are closed without further echo; zero: at once; at most 366 d.
    /// Default: 10 s.
    pub shutdown_timeout: Duration,
    /// After `HUP`, how long old connections may stay; 1 ms to 366 d. `None`: until the old connections end (default).
    pub reload_timeout: Option<Duration>,
    /// TCP keep-alive: idle time before the first probe (tcp(7), `TCP_KEEPIDLE`); whole seconds, 1 to 32767.
    /// `None`: off. Default: 60 s.
    pub keepalive: Option<Duration>,
}

/// `server.workers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One per CPU the process may run on.
    Auto,
    /// This many: 1 ..= 64.
    Count(u16),
}

/// `server.framing`: how bytes become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// LF or CRLF ends a message.
    Line,
    /// NUL ends a message.
    Nul,
    /// A decimal length and a space go before each message (RFC 6587, section 3.4.1).
    OctetCounted,
    /// A 32-bit big-endian length goes before each message.
    LengthPrefixed,
    /// Every read is a message.
    Chunk,
}

/// `server.echo`: what has happened to a message before its echo is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// The message is in the data pipe.
    Received,
    /// `write` of the whole record has returned.
    Stored,
    /// `fdatasync` of the file has returned 0.
    Synced,
}

/// `server.on-oversize`: what happens to a message over `server.max-message-size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOversize {
    /// What came before is stored and echoed, then the connection is closed.
    Close,
    /// The parts become messages of their own.
    Split,
}

/// `[limits]`: what clients may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, over all workers; 1 to 1,000,000. `None`: no limit. Default: 10,000.
    pub max_connections: Option<u32>,
    /// Connections at once of one address, over all workers; 1 to 1,000,000. `None`: no limit (default).
    pub max_connections_per_ip: Option<u32>,
    /// Whole messages a second of one address, over all workers; 1 to 1,000,000. `None`: no limit (default).
    pub max_rate_per_ip: Option<u32>,
    /// Bytes a second of one address, over all workers; 1 KiB to 1 TiB. `None`: no limit (default).
    pub max_byte_rate_per_ip: Option<u64>,
    /// How long a client that nothing is owed to may send no whole message; 10 ms to 366 d. `None`: for ever (default).
    pub idle_timeout: Option<Duration>,
    /// How long a new client may take for its first whole message; 10 ms to 366 d. `None`: for ever (default).
    pub first_message_timeout: Option<Duration>,
    /// How long a client may leave its echoes unread; 10 ms to 366 d. `None`: off. Default: 30 s.
    pub write_timeout: Option<Duration>,
    /// What a connection may hold beyond one message; 4 KiB to 64 MiB. Default: 256 KiB.
    pub max_buffered_per_connection: usize,
    /// What the connections of a worker may hold together; 1 MiB to 1 TiB. Default: 64 MiB.
    pub max_buffered: usize,
    /// Networks that may connect; empty: all (default).
    pub allow: Vec<IpNet>,
    /// Networks that may not. Of all rules that match an address the most specific one counts; default: none.
    pub deny: Vec<IpNet>,
}

/// `[store]`: where and how messages are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Absolute; made with its parents if it is not there. Default: `/var/lib/echostored`.
    pub directory: PathBuf,
    /// The first part of every file name: 1 to 64 of `A-Z a-z 0-9 . _ -`, not beginning with `.` or `-`, not
    /// `current`. Default: `messages`.
    pub prefix: String,
    /// The form of a record. Default: [`Format::Text`].
    pub format: Format,
    /// Permission bits of new files: at least 0600, no execute bits, not writable by everyone. Default: 0640.
    pub file_mode: u32,
    /// Time between background syncs in the echo modes `received` and `stored`; 10 ms to 1 d.
    /// `None`: no background sync. Default: 1 s.
    pub sync_interval: Option<Duration>,
    /// What happens to messages for which there is no room. Default: [`OnDiskFull::Wait`].
    pub on_disk_full: OnDiskFull,
}

/// `store.on-disk-full`: what happens to messages for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDiskFull {
    /// They wait, and their clients with them.
    Wait,
    /// They are refused: the connections that sent them are closed without an echo.
    Reject,
    /// The oldest closed file is deleted, and the next, until there is room; without one they wait.
    Prune,
}

/// `store.format`: the form of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line of four fields: time, peer, id, message (escaped).
    Text,
    /// One JSON object a line.
    Jsonl,
    /// The message's bytes and LF; only with [`Framing::Line`].
    Raw,
}

/// `[rotate]`: when a new file begins. The rules hold at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotate {
    /// Bytes, at least 4 KiB: a write that would pass this goes to a new file. `None`: off. Default: 64 MiB.
    pub max_size: Option<u64>,
    /// `None`: off. Whole seconds; divides a day, or is whole days, at most 366. Default: 1 d.
    pub interval: Option<Duration>,
    /// The clock that `interval` is aligned to. Default: [`Timezone::Utc`].
    pub timezone: Timezone,
    /// The program that is run with each closed file, and its arguments. Empty: none (default).
    pub on_close: Vec<String>,
    /// How long it may take before it is ended and tried again; 1 s to 1 d. Default: 5 min.
    pub on_close_timeout: Duration,
}

/// `[retain]`: how long closed files stay. All rules hold at once; the oldest goes first. Default: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retain {
    /// At most so many closed files. `None`: off.
    pub max_files: Option<u32>,
    /// None whose last record is older; 1 s to 36600 d. `None`: off.
    pub max_age: Option<Duration>,
    /// All files of the store together, the live one included, take at most so many bytes, at least 4 KiB. `None`: off.
    pub max_total_size: Option<u64>,
    /// So much of the file system stays free. `None`: off.
    pub min_free_space: Option<Space>,
}

/// Part of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Bytes, at least 1.
    Bytes(u64),
    /// Of its size; 1 to 99.
    Percent(u8),
}

/// `[compress]`: what becomes of closed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compress {
    /// Default: [`Method::None`].
    pub method: Method,
}

/// `compress.method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// They stay as they are.
    None,
    /// `.gz`, RFC 1952.
    Gzip,
    /// `.zst`, RFC 8878.
    Zstd,
}

/// `rotate.timezone`: whose midnight counts. Names and records hold UTC in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timezone {
    /// UTC.
    Utc,
    /// The system's time zone.
    Local,
}

/// `[daemon]`: used by `run --daemon` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Absolute; in a directory of the daemon's own. Default: `/run/echostored/echostored.pid`.
    pub pid_file: PathBuf,
    /// The user to become. `None`: stay (default).
    pub user: Option<String>,
    /// The group to become. `None`: the user's own (default).
    pub group: Option<String>,
    /// Absolute; where the log goes. `None`: nowhere of its own (default).
    pub log_file: Option<PathBuf>,
}

/// `[control]`: how commands reach the running daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Absolute; the socket, mode 0660. `None`: `control.sock` in `$RUNTIME_DIRECTORY`, else in `/run/echostored`
    /// (default); the environment is looked at by who opens it.
    pub socket: Option<PathBuf>,
}

/// `[security]`: what the processes take from themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Security {
    /// Default: [`Sandbox::Auto`].
    pub sandbox: Sandbox,
}

/// `[metrics]`: numbers for Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Where they are read, not in [`Server::listen`] or [`Tls::listen`]. Port 0: the kernel chooses. `None`: nowhere
    /// (default).
    pub listen: Option<SocketAddr>,
}

/// `security.sandbox`: whether each process is kept from all that it does not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// As far as the kernel can.
    Auto,
    /// Without it there is no start.
    Required,
    /// No.
    Off,
}

/// A value with a fixed set of names, as the file writes them.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every value with its name, in the order of the documentation.
    const NAMES: &'static [(&'static str, Self)];

    /// The value of that name; `None` if there is none. Names are exact (lower case).
    fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The name of this value.
    fn name(self) -> &'static str {
        // A test walks every variant, so "?" is never seen.
        Self::NAMES.iter().find(|(_, value)| *value == self).map_or("?", |(name, _)| name)
    }
}

impl Choice for Framing {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("line", Self::Line),
        ("nul", Self::Nul),
        ("octet-counted", Self::OctetCounted),
        ("length-prefixed", Self::LengthPrefixed),
        ("chunk", Self::Chunk),
    ];
}

impl Choice for Echo {
    const NAMES: &'static [(&'static str, Self)] =
        &[("received", Self::Received), ("stored", Self::Stored), ("synced", Self::Synced)];
}

impl Choice for OnOversize {
    const NAMES: &'static [(&'static str, Self)] = &[("close", Self::Close), ("split", Self::Split)];
}

impl Choice for Format {
    const NAMES: &'static [(&'static str, Self)] = &[("text", Self::Text), ("jsonl", Self::Jsonl), ("raw", Self::Raw)];
}

impl Choice for OnDiskFull {
    const NAMES: &'static [(&'static str, Self)] =
        &[("wait", Self::Wait), ("reject", Self::Reject), ("prune", Self::Prune)];
}

impl Choice for Method {
    const NAMES: &'static [(&'static str, Self)] = &[("none", Self::None), ("gzip", Self::Gzip), ("zstd", Self::Zstd)];
}

impl Choice for Timezone {
    const NAMES: &'static [(&'static str, Self)] = &[("utc", Self::Utc), ("local", Self::Local)];
}

impl Choice for Sandbox {
    const NAMES: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("required", Self::Required), ("off", Self::Off)];
}
