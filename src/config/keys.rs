//! The table of keys, the one place that names them all: the parser, the printer, the error texts, the hints and the
//! manual page follow it. A new key is one row here, a field of its type and a default.
use std::time::Duration;

use super::doors::DOORS;
use super::key::{Key, put};
use super::limits::LIMITS;
use super::log::LOG;
use super::metrics::METRICS;
use super::print::{array, choice, path, quoted, size, space, time, time_or_off};
use super::read::Refused;
use super::types::Workers;

/// The tables, in the order of the documentation.
pub const TABLES: &[&str] = &[
    "server", "limits", "tls", "proxy", "store", "rotate", "retain", "compress", "daemon", "log", "control",
    "security", "metrics",
];

pub(super) const MAX_TIME: Duration = Duration::from_secs(366 * 86_400);
const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const TEN_MILLISECONDS: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// The kernel's `MAX_TCP_KEEPIDLE`.
const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);
const MAX_MESSAGE: u64 = 16 << 20;
const MIN_ROTATE: u64 = 4 << 10;
const MAX_AGE: Duration = Duration::from_secs(36_600 * 86_400);

/// Every key, by table, in the order of the documentation.
pub const KEYS: &[Key] = &joined::<
    { SERVER.len() + LIMITS.len() + DOORS.len() + STORE_AND_MORE.len() + LOG.len() + LAST.len() + METRICS.len() },
>(&[SERVER, LIMITS, DOORS, STORE_AND_MORE, LOG, LAST, METRICS]);

const fn joined<const COUNT: usize>(parts: &[&[Key]]) -> [Key; COUNT] {
    let mut all = [parts[0][0]; COUNT];
    let (mut part, mut row, mut at) = (0, 0, 0);
    while part < parts.len() {
        if row == parts[part].len() {
            (part, row) = (part + 1, 0);
        } else {
            all[at] = parts[part][row];
            (row, at) = (row + 1, at + 1);
        }
    }
    all
}

const SERVER: &[Key] = &[
    Key {
        table: "server",
        name: "listen",
        default: r#"["127.0.0.1:7007", "[::1]:7007"]"#,
        doc: "Addresses and Unix sockets to listen at; not used for sockets that systemd passes; port 0: the kernel chooses",
        allowed: r#"an array of up to 64 different "IP:port" and "unix:PATH" strings, such as "127.0.0.1:7007" or "[::1]:7007""#,
        restart: None,
        set: |c, v| put(&mut c.server.listen, v.listen()),
        get: |c| array(&c.server.listen),
    },
    Key {
        table: "server",
        name: "unix-mode",
        default: r#""0660""#,
        doc: "Permission bits of the Unix sockets of server.listen: who may write may connect",
        allowed: r#"an octal string with at least "0600", such as "0660" or "0666""#,
        restart: None,
        set: |c, v| put(&mut c.server.unix_mode, v.socket_mode()),
        get: |c| quoted(&format!("{:04o}", c.server.unix_mode)),
    },
    Key {
        table: "server",
        name: "workers",
        default: r#""auto""#,
        doc: "Number of pre-forked workers; auto: one per CPU",
        allowed: r#""auto" or a whole number from 1 to 64"#,
        restart: None,
        set: |c, v| put(&mut c.server.workers, v.workers()),
        get: |c| match c.server.workers {
            Workers::Auto => quoted("auto"),
            Workers::Count(count) => count.to_string(),
        },
    },
    Key {
        table: "server",
        name: "framing",
        default: r#""line""#,
        doc: "How bytes become messages",
        allowed: r#"one of "line", "nul", "octet-counted", "length-prefixed", "chunk""#,
        restart: None,
        set: |c, v| put(&mut c.server.framing, v.choice()),
        get: |c| choice(c.server.framing),
    },
    Key {
        table: "server",
        name: "echo",
        default: r#""stored""#,
        doc: "What has happened to a message before its echo is sent",
        allowed: r#"one of "received", "stored", "synced""#,
        restart: None,
        set: |c, v| put(&mut c.server.echo, v.choice()),
        get: |c| choice(c.server.echo),
    },
    Key {
        table: "server",
        name: "max-message-size",
        default: r#""64KiB""#,
        doc: "The largest message, without its framing",
        allowed: r#"a size from 1B to 16MiB, such as "64KiB""#,
        restart: None,
        set: |c, v| {
            let bytes = v.size_between(1..=MAX_MESSAGE)?;
            put(&mut c.server.max_message_size, usize::try_from(bytes).map_err(|_| Refused::default()))
        },
        get: |c| size(c.server.max_message_size as u64),
    },
    Key {
        table: "server",
        name: "on-oversize",
        default: r#""close""#,
        doc: "A larger message: close the connection, or split it into messages of their own",
        allowed: r#"one of "close", "split""#,
        restart: None,
        set: |c, v| put(&mut c.server.on_oversize, v.choice()),
        get: |c| choice(c.server.on_oversize),
    },
    Key {
        table: "server",
        name: "shutdown-timeout",
        default: r#""10s""#,
        doc: "After TERM, connections are closed without further echo when this has passed",
        allowed: r#"a time up to 366d, such as "10s"; "0": at once"#,
        restart: None,
        set: |c, v| put(&mut c.server.shutdown_timeout, v.time_between(Duration::ZERO..=MAX_TIME)),
        get: |c| time(c.server.shutdown_timeout),
    },
    Key {
        table: "server",
        name: "reload-timeout",
        default: r#""0""#,
        doc: "After HUP, how long old connections may stay",
        allowed: r#"a time from 1ms to 366d, such as "1h"; "0": until they end"#,
        restart: None,
        set: |c, v| put(&mut c.server.reload_timeout, v.time_or_off(MILLISECOND..=MAX_TIME)),
        get: |c| time_or_off(c.server.reload_timeout),
    },
    Key {
        table: "server",
        name: "keepalive",
        default: r#""60s""#,
        doc: "TCP keep-alive: idle time before a peer is probed",
        allowed: r#"whole seconds from 1s to 32767s, such as "60s"; "0": off"#,
        restart: None,
        set: |c, v| put(&mut c.server.keepalive, v.keepalive(SECOND..=MAX_KEEPALIVE)),
        get: |c| time_or_off(c.server.keepalive),
    },
];

const STORE_AND_MORE: &[Key] = &[
    Key {
        table: "store",
        name: "directory",
        default: r#""/var/lib/echostored""#,
        doc: "Where the files are; made with its parents if it is not there",
        allowed: r#"the path of a directory, such as "/var/lib/echostored""#,
        restart: Some("the lock and the files stay where they are"),
        set: |c, v| put(&mut c.store.directory, v.directory()),
        get: |c| path(&c.store.directory),
    },
    Key {
        table: "store",
        name: "prefix",
        default: r#""messages""#,
        doc: "The first part of every file name",
        allowed: r#"1 to 64 of A-Z a-z 0-9 . _ - not beginning with "." or "-", and not "current""#,
        restart: Some("the files of a store share it"),
        set: |c, v| put(&mut c.store.prefix, v.prefix()),
        get: |c| quoted(&c.store.prefix),
    },
    Key {
        table: "store",
        name: "format",
        default: r#""text""#,
        doc: "The form of a record; raw only with line framing",
        allowed: r#"one of "text", "jsonl", "raw""#,
        restart: Some("the live file holds records of one form"),
        set: |c, v| put(&mut c.store.format, v.choice()),
        get: |c| choice(c.store.format),
    },
    Key {
        table: "store",
        name: "file-mode",
        default: r#""0640""#,
        doc: "Permission bits of new files",
        allowed: r#"an octal string with at least "0600", not executable, not writable by everyone, such as "0640""#,
        restart: None,
        set: |c, v| put(&mut c.store.file_mode, v.file_mode()),
        get: |c| quoted(&format!("{:04o}", c.store.file_mode)),
    },
    Key {
        table: "store",
        name: "sync-interval",
        default: r#""1s""#,
        doc: "Time between background syncs in received and stored mode",
        allowed: r#"a time from 10ms to 1d, such as "1s"; "0": off"#,
        restart: None,
        set: |c, v| put(&mut c.store.sync_interval, v.time_or_off(TEN_MILLISECONDS..=DAY)),
        get: |c| time_or_off(c.store.sync_interval),
    },
    Key {
        table: "store",
        name: "on-disk-full",
        default: r#""wait""#,
        doc: "What happens to messages for which there is no room",
        allowed: r#"one of "wait", "reject", "prune""#,
        restart: None,
        set: |c, v| put(&mut c.store.on_disk_full, v.choice()),
        get: |c| choice(c.store.on_disk_full),
    },
    Key {
        table: "rotate",
        name: "max-size",
        default: r#""64MiB""#,
        doc: "A write that would pass this size goes to a new file",
        allowed: r#"a size of at least 4KiB, such as "64MiB"; "0": off"#,
        restart: None,
        set: |c, v| put(&mut c.rotate.max_size, v.size_or_off(MIN_ROTATE..=u64::MAX)),
        get: |c| size(c.rotate.max_size.unwrap_or_default()),
    },
    Key {
        table: "rotate",
        name: "interval",
        default: r#""1d""#,
        doc: "A new file begins at each multiple of this time on the clock",
        allowed: r#"whole seconds that divide a day, such as "1h", or whole days up to 366d; "0": off"#,
        restart: None,
        set: |c, v| put(&mut c.rotate.interval, v.interval(SECOND..=MAX_TIME)),
        get: |c| time_or_off(c.rotate.interval),
    },
    Key {
        table: "rotate",
        name: "timezone",
        default: r#""utc""#,
        doc: "The clock that the interval is aligned to",
        allowed: r#"one of "utc", "local""#,
        restart: None,
        set: |c, v| put(&mut c.rotate.timezone, v.choice()),
        get: |c| choice(c.rotate.timezone),
    },
    Key {
        table: "rotate",
        name: "on-close",
        default: "[]",
        doc: "A program that is run with the name of each closed file, again until it exits 0, and its arguments",
        allowed: r#"an array of strings, the first an absolute path, such as ["/usr/local/bin/ship", "--fast"]; []: none"#,
        restart: None,
        set: |c, v| put(&mut c.rotate.on_close, v.program()),
        get: |c| array(&c.rotate.on_close),
    },
    Key {
        table: "rotate",
        name: "on-close-timeout",
        default: r#""5m""#,
        doc: "How long that program may take before it is ended and tried again",
        allowed: r#"a time from 1s to 1d, such as "5m""#,
        restart: None,
        set: |c, v| put(&mut c.rotate.on_close_timeout, v.time_between(SECOND..=DAY)),
        get: |c| time(c.rotate.on_close_timeout),
    },
    Key {
        table: "retain",
        name: "max-files",
        default: "0",
        doc: "How many closed files stay; the oldest goes first",
        allowed: "a whole number from 1 to 1000000000; 0: off",
        restart: None,
        set: |c, v| put(&mut c.retain.max_files, v.count_or_off(1..=1_000_000_000)),
        get: |c| c.retain.max_files.unwrap_or_default().to_string(),
    },
    Key {
        table: "retain",
        name: "max-age",
        default: r#""0""#,
        doc: "A closed file whose last record is older than this is deleted",
        allowed: r#"a time from 1s to 36600d, such as "30d"; "0": off"#,
        restart: None,
        set: |c, v| put(&mut c.retain.max_age, v.time_or_off(SECOND..=MAX_AGE)),
        get: |c| time_or_off(c.retain.max_age),
    },
    Key {
        table: "retain",
        name: "max-total-size",
        default: r#""0""#,
        doc: "All files of the store together, the live one included, take no more than this",
        allowed: r#"a size of at least 4KiB, such as "10GiB"; "0": off"#,
        restart: None,
        set: |c, v| put(&mut c.retain.max_total_size, v.size_or_off(MIN_ROTATE..=u64::MAX)),
        get: |c| size(c.retain.max_total_size.unwrap_or_default()),
    },
    Key {
        table: "retain",
        name: "min-free-space",
        default: r#""0""#,
        doc: "So much of the file system is kept free, as far as closed files can be deleted",
        allowed: r#"a size such as "1GiB", or from "1%" to "99%" of the file system; "0": off"#,
        restart: None,
        set: |c, v| put(&mut c.retain.min_free_space, v.space_or_off()),
        get: |c| space(c.retain.min_free_space),
    },
    Key {
        table: "compress",
        name: "method",
        default: r#""none""#,
        doc: "How closed files are compressed",
        allowed: r#"one of "none", "gzip", "zstd""#,
        restart: None,
        set: |c, v| put(&mut c.compress.method, v.choice()),
        get: |c| choice(c.compress.method),
    },
    Key {
        table: "daemon",
        name: "pid-file",
        default: r#""/run/echostored/echostored.pid""#,
        doc: "Locked and written by run --daemon",
        allowed: r#"the path of a file, such as "/run/echostored/echostored.pid""#,
        restart: Some("it is locked, and other programs know it"),
        set: |c, v| put(&mut c.daemon.pid_file, v.file()),
        get: |c| path(&c.daemon.pid_file),
    },
    Key {
        table: "daemon",
        name: "user",
        default: r#""""#,
        doc: "The user to become after run --daemon has bound its addresses",
        allowed: r#"a user name without spaces, ":" or "/"; "": stay"#,
        restart: Some("the right to change users is gone"),
        set: |c, v| put(&mut c.daemon.user, v.account_or_none()),
        get: |c| quoted(c.daemon.user.as_deref().unwrap_or_default()),
    },
    Key {
        table: "daemon",
        name: "group",
        default: r#""""#,
        doc: "The group to become with the user",
        allowed: r#"a group name without spaces, ":" or "/"; "": the user's own"#,
        restart: Some("the right to change groups is gone"),
        set: |c, v| put(&mut c.daemon.group, v.account_or_none()),
        get: |c| quoted(c.daemon.group.as_deref().unwrap_or_default()),
    },
    Key {
        table: "daemon",
        name: "log-file",
        default: r#""""#,
        doc: "Where run --daemon writes its log",
        allowed: r#"the path of a file, such as "/var/log/echostored.log"; "": none"#,
        restart: Some("it is opened before the user is changed"),
        set: |c, v| put(&mut c.daemon.log_file, v.file_or_none()),
        get: |c| c.daemon.log_file.as_deref().map_or_else(|| quoted(""), path),
    },
];

const LAST: &[Key] = &[
    Key {
        table: "control",
        name: "socket",
        default: r#""""#,
        doc: "The socket by which status, reload and rotate reach the daemon; its group may use it",
        allowed: r#"the path of a socket, such as "/run/echostored/control.sock"; "": control.sock in $RUNTIME_DIRECTORY, else in /run/echostored"#,
        restart: None,
        set: |c, v| put(&mut c.control.socket, v.file_or_none()),
        get: |c| c.control.socket.as_deref().map_or_else(|| quoted(""), path),
    },
    Key {
        table: "security",
        name: "sandbox",
        default: r#""auto""#,
        doc: "Each process gives up all that it does not need (Landlock, seccomp): as far as the kernel can, or no start without",
        allowed: r#"one of "auto", "required", "off""#,
        restart: Some("what a process has given up, it never gets back"),
        set: |c, v| put(&mut c.security.sandbox, v.choice()),
        get: |c| choice(c.security.sandbox),
    },
];
