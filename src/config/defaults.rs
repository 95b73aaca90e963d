//! The defaults, each named once: an empty file is this configuration, and `config/echostored.toml` spells it out.
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;
use std::time::Duration;

use super::types::{
    ClientCertificate, Compress, Daemon, Echo, Format, Framing, Level, Limits, Listen, Log, LogFormat, Method,
    OnDiskFull, OnOversize, Proxy, Rotate, Sandbox, Security, Server, Store, Timezone, Tls, TlsVersion, Workers,
};

/// The configuration that is read if none is named.
pub const CONFIG_FILE: &str = "/etc/echostored/echostored.toml";
/// The port of [`LISTEN`].
pub const PORT: u16 = 7007;
/// `server.listen`: this machine only, IPv4 and IPv6.
pub const LISTEN: [SocketAddr; 2] = [
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT)),
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, PORT, 0, 0)),
];
/// `server.unix-mode`: the daemon's user and group.
pub const UNIX_MODE: u32 = 0o660;
/// `server.workers`.
pub const WORKERS: Workers = Workers::Auto;
/// `server.framing`.
pub const FRAMING: Framing = Framing::Line;
/// `server.echo`.
pub const ECHO: Echo = Echo::Stored;
/// `server.max-message-size`, bytes.
pub const MAX_MESSAGE_SIZE: usize = 64 << 10;
/// `server.on-oversize`.
pub const ON_OVERSIZE: OnOversize = OnOversize::Close;
/// `server.shutdown-timeout`.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// `server.reload-timeout`: until the old connections end.
pub const RELOAD_TIMEOUT: Option<Duration> = None;
/// `server.keepalive`.
pub const KEEPALIVE: Option<Duration> = Some(Duration::from_secs(60));
/// `limits.max-connections`.
pub const MAX_CONNECTIONS: Option<u32> = Some(10_000);
/// `limits.write-timeout`.
pub const WRITE_TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));
/// `tls.client-certificate`.
pub const CLIENT_CERTIFICATE: ClientCertificate = ClientCertificate::Required;
/// `tls.min-version`.
pub const MIN_VERSION: TlsVersion = TlsVersion::V1_2;
/// `tls.handshake-timeout`.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// `proxy.header-timeout`.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// `limits.max-buffered-per-connection`, bytes.
pub const MAX_BUFFERED_PER_CONNECTION: usize = 256 << 10;
/// `limits.max-buffered`, bytes.
pub const MAX_BUFFERED: usize = 64 << 20;
/// `store.directory`.
pub const DIRECTORY: &str = "/var/lib/echostored";
/// `store.prefix`.
pub const PREFIX: &str = "messages";
/// `store.format`.
pub const FORMAT: Format = Format::Text;
/// `store.file-mode`.
pub const FILE_MODE: u32 = 0o640;
/// `store.sync-interval`.
pub const SYNC_INTERVAL: Option<Duration> = Some(Duration::from_secs(1));
/// `store.on-disk-full`.
pub const ON_DISK_FULL: OnDiskFull = OnDiskFull::Wait;
/// `rotate.max-size`, bytes.
pub const ROTATE_MAX_SIZE: Option<u64> = Some(64 << 20);
/// `rotate.interval`: a day.
pub const ROTATE_INTERVAL: Option<Duration> = Some(Duration::from_secs(86_400));
/// `rotate.timezone`.
pub const TIMEZONE: Timezone = Timezone::Utc;
/// `rotate.on-close-timeout`.
pub const ON_CLOSE_TIMEOUT: Duration = Duration::from_secs(300);
/// `compress.method`.
pub const METHOD: Method = Method::None;
/// `daemon.pid-file`.
pub const PID_FILE: &str = "/run/echostored/echostored.pid";
/// `log.level`.
pub const LEVEL: Level = Level::Info;
/// `log.format`.
pub const LOG_FORMAT: LogFormat = LogFormat::Text;
/// `log.access`.
pub const LOG_ACCESS: bool = false;
/// `security.sandbox`.
pub const SANDBOX: Sandbox = Sandbox::Auto;

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: LISTEN.map(Listen::Inet).to_vec(),
            unix_mode: UNIX_MODE,
            workers: WORKERS,
            framing: FRAMING,
            echo: ECHO,
            max_message_size: MAX_MESSAGE_SIZE,
            on_oversize: ON_OVERSIZE,
            shutdown_timeout: SHUTDOWN_TIMEOUT,
            reload_timeout: RELOAD_TIMEOUT,
            keepalive: KEEPALIVE,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            max_connections_per_ip: None,
            max_rate_per_ip: None,
            max_byte_rate_per_ip: None,
            idle_timeout: None,
            first_message_timeout: None,
            write_timeout: WRITE_TIMEOUT,
            max_buffered_per_connection: MAX_BUFFERED_PER_CONNECTION,
            max_buffered: MAX_BUFFERED,
            allow: Vec::new(),
            deny: Vec::new(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            certificate: None,
            key: None,
            client_ca: None,
            client_certificate: CLIENT_CERTIFICATE,
            min_version: MIN_VERSION,
            handshake_timeout: HANDSHAKE_TIMEOUT,
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self { from: Vec::new(), header_timeout: HEADER_TIMEOUT }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            directory: PathBuf::from(DIRECTORY),
            prefix: PREFIX.to_owned(),
            format: FORMAT,
            file_mode: FILE_MODE,
            sync_interval: SYNC_INTERVAL,
            on_disk_full: ON_DISK_FULL,
        }
    }
}

impl Default for Rotate {
    fn default() -> Self {
        Self {
            max_size: ROTATE_MAX_SIZE,
            interval: ROTATE_INTERVAL,
            timezone: TIMEZONE,
            on_close: Vec::new(),
            on_close_timeout: ON_CLOSE_TIMEOUT,
        }
    }
}

impl Default for Compress {
    fn default() -> Self {
        Self { method: METHOD }
    }
}

impl Default for Daemon {
    fn default() -> Self {
        Self { pid_file: PathBuf::from(PID_FILE), user: None, group: None, log_file: None }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LEVEL, format: LOG_FORMAT, access: LOG_ACCESS }
    }
}

impl Default for Security {
    fn default() -> Self {
        Self { sandbox: SANDBOX }
    }
}
