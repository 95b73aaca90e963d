//! What a reload may not change. Pure: two configurations in, reasons out; who refuses is the supervisor.
use super::keys::KEYS;
use super::types::Config;

/// Why a running daemon with `old` cannot take `new`, one line for each key; empty: it can.
#[must_use]
pub fn reload_refusals(old: &Config, new: &Config) -> Vec<String> {
    let changed = KEYS.iter().filter_map(|key| {
        let why = key.restart?;
        let (was, is) = (key.value(old), key.value(new));
        (was != is).then(|| format!("{}: a change from {was} to {is} needs a restart: {why}", key.dotted()))
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Echo, Format, Framing, Level, Method, OnDiskFull, OnOversize, Sandbox, Space, Timezone, Workers,
    };
    use std::path::PathBuf;

    #[test]
    fn what_may_change_changes() {
        let old = Config::default();
        let mut new = old.clone();
        new.server.listen.pop();
        new.server.workers = Workers::Count(3);
        new.server.framing = Framing::Nul;
        new.server.echo = Echo::Synced;
        new.server.max_message_size = 1;
        new.server.on_oversize = OnOversize::Split;
        new.limits.max_connections = None;
        new.store.file_mode = 0o600;
        new.store.sync_interval = None;
        new.store.on_disk_full = OnDiskFull::Reject;
        new.rotate.max_size = None;
        new.rotate.interval = None;
        new.rotate.timezone = Timezone::Local;
        new.rotate.on_close = vec!["/bin/true".to_owned()];
        new.retain.max_files = Some(1);
        new.retain.min_free_space = Some(Space::Percent(5));
        new.compress.method = Method::Zstd;
        new.log.level = Level::Debug;
        new.control.socket = Some(PathBuf::from("/run/c"));
        new.metrics.listen = Some("127.0.0.1:9464".parse().unwrap());
        assert_eq!(reload_refusals(&old, &new), Vec::<String>::new());
    }

    #[test]
    fn what_needs_a_restart_is_named_with_both_values() {
        let old = Config::default();
        let mut new = old.clone();
        new.store.directory = PathBuf::from("/srv");
        new.store.prefix = "m".to_owned();
        new.store.format = Format::Raw;
        new.daemon.pid_file = PathBuf::from("/run/p");
        new.daemon.user = Some("u".to_owned());
        new.daemon.group = Some("g".to_owned());
        new.daemon.log_file = Some(PathBuf::from("/l"));
        new.security.sandbox = Sandbox::Off;
        let refusals = reload_refusals(&old, &new);
        let keys: Vec<&str> = refusals.iter().filter_map(|line| line.split(':').next()).collect();
        let expected = [
            "store.directory",
            "store.prefix",
            "store.format",
            "daemon.pid-file",
            "daemon.user",
            "daemon.group",
            "daemon.log-file",
            "security.sandbox",
        ];
        assert_eq!(keys, expected);
        assert_eq!(
            refusals[0],
            "store.directory: a change from \"/var/lib/echostored\" to \"/srv\" needs a restart: the lock and the files stay where they are"
        );
    }
}
