//! The configuration as it is shipped, printed and read back.
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use echostored::config::{
    self, Choice, ClientCertificate, Compress, Config, Control, Daemon, Echo, Format, Framing, KEYS, Level, Limits,
    Listen, Log, LogFormat, Method, Metrics, OnDiskFull, OnOversize, Pem, Proxy, Retain, Rotate, Sandbox, Security,
    Server, Space, Store, TABLES, Timezone, Tls, TlsVersion, Workers,
};
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn parse(text: &str) -> Config {
    config::parse(text, Path::new("c.toml"), Path::new("/srv/here")).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).expect("a shipped file")
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse(""), Config::default());
    assert_eq!(
        parse("[server]\n[limits]\n[store]\n[rotate]\n[daemon]\n[log]\n[control]\n[security]\n[metrics]\n"),
        Config::default()
    );
    assert_eq!(parse("\u{feff}# a comment, after a byte order mark\r\n[log]\r\n"), Config::default());
}

#[test]
fn the_table_of_keys_holds_the_defaults() {
    let mut seen = BTreeSet::new();
    for key in KEYS {
        assert!(TABLES.contains(&key.table), "{}", key.dotted());
        assert!(seen.insert(key.dotted()), "{} twice", key.dotted());
        assert!(!key.doc.is_empty() && !key.doc.ends_with('.') && !key.allowed.is_empty(), "{}", key.dotted());
        assert_eq!(
            parse(&format!("[{}]\n{} = {}\n", key.table, key.name, key.default)),
            Config::default(),
            "{}",
            key.dotted()
        );
    }
    assert_eq!(KEYS.len(), 56);
}

/// `[table]` and `key` of every active line, in order.
fn active(text: &str) -> Vec<(String, String, String)> {
    let mut table = String::new();
    let mut keys = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((name, value)) = line.split_once(" = ") {
            keys.push((table.clone(), name.to_owned(), value.to_owned()));
        } else {
            table = line.trim_matches(['[', ']']).to_owned();
        }
    }
    keys
}

#[test]
fn the_shipped_file_spells_out_every_default() {
    let text = shipped("echostored.toml");
    assert_eq!(parse(&text), Config::default());
    let keys: Vec<_> =
        KEYS.iter().map(|key| (key.table.to_owned(), key.name.to_owned(), key.default.to_owned())).collect();
    assert_eq!(active(&text), keys);
}

#[test]
fn every_key_of_the_shipped_file_has_its_comment() {
    let text = shipped("echostored.toml");
    let lines: Vec<&str> = text.lines().collect();
    for (n, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#')) {
        assert!(lines[n - 1].starts_with("# "), "no comment above {line}");
    }
}

#[test]
fn the_development_file_needs_no_root() {
    let config = parse(&shipped("dev.toml"));
    assert_eq!(config.server.listen, ["127.0.0.1:7007", "[::1]:7007"].map(|a| Listen::Inet(a.parse().unwrap())));
    assert_eq!(config.store.directory, Path::new("/srv/here/var/echostored"));
    let daemon = &config.daemon;
    for path in [&daemon.pid_file, daemon.log_file.as_ref().unwrap(), config.control.socket.as_ref().unwrap()] {
        assert!(path.starts_with("/srv/here/var"), "{}", path.display());
    }
}

/// What [`every_key_is_read`] says of `[server]`.
fn every_server() -> Server {
    Server {
        listen: vec![
            Listen::Inet("0.0.0.0:0".parse().expect("an address")),
            Listen::Inet("[fe80::1%2]:9".parse().expect("an address")),
            Listen::Unix(PathBuf::from("/srv/here/run/s")),
        ],
        unix_mode: 0o666,
        workers: Workers::Count(64),
        framing: Framing::OctetCounted,
        echo: Echo::Synced,
        max_message_size: 16 << 20,
        on_oversize: OnOversize::Split,
        shutdown_timeout: Duration::ZERO,
        reload_timeout: Some(Duration::from_secs(14 * 86_400)),
        keepalive: None,
    }
}

/// What [`every_key_is_read`] says of `[limits]`.
fn every_limit() -> Limits {
    Limits {
        max_connections: None,
        max_connections_per_ip: Some(5),
        max_rate_per_ip: Some(6),
        max_byte_rate_per_ip: Some(7 << 10),
        idle_timeout: Some(Duration::from_secs(3600)),
        first_message_timeout: Some(Duration::from_secs(8)),
        write_timeout: Some(Duration::from_millis(10)),
        max_buffered_per_connection: 4 << 10,
        max_buffered: 9 << 20,
        allow: vec!["10.0.0.0/8".parse().expect("a network"), "::1/128".parse().expect("a network")],
        deny: vec!["10.0.0.1/32".parse().expect("a network")],
    }
}

#[test]
fn every_key_is_read() {
    let config = parse(
        "[server]\nlisten = ['0.0.0.0:0', '[fe80::1%2]:9', 'unix:run/./s']\nunix-mode = '666'\nworkers = 64\nframing = 'octet-counted'\necho = 'synced'\n\
         max-message-size = '16MiB'\non-oversize = 'split'\nshutdown-timeout = 0\nreload-timeout = '2w'\nkeepalive = '0'\n\
         [limits]\nmax-connections = '0'\nmax-connections-per-ip = 5\nmax-rate-per-ip = 6\nmax-byte-rate-per-ip = '7KiB'\n\
         idle-timeout = '1h'\nfirst-message-timeout = '8s'\nwrite-timeout = '10ms'\nmax-buffered-per-connection = '4KiB'\n\
         max-buffered = '9MiB'\nallow = ['10.0.0.0/8', '::1']\ndeny = ['10.0.0.1/32']\n\
         [store]\ndirectory = '../a/./b//'\nprefix = 'a.B_c-9'\nformat = 'jsonl'\nfile-mode = '660'\nsync-interval = 0\n\
         on-disk-full = 'reject'\n\
         [rotate]\nmax-size = 4096\ninterval = '1h30m'\ntimezone = 'local'\non-close = ['/bin/ship', '--fast']\non-close-timeout = '10s'\n\
         [retain]\nmax-files = 3\nmax-age = '30d'\nmax-total-size = '1GiB'\nmin-free-space = '5%'\n\
         [compress]\nmethod = 'zstd'\n\
         [daemon]\npid-file = 'p'\nuser = 'u'\ngroup = '99'\nlog-file = '/l'\n[log]\nlevel = 'debug'\nformat = 'json'\naccess = true\n\
         [control]\nsocket = 'c.sock'\n[security]\nsandbox = 'required'\n[metrics]\nlisten = '[::1]:9464'\n",
    );
    let expected = Config {
        server: every_server(),
        limits: every_limit(),
        tls: Tls::default(),
        proxy: Proxy::default(),
        store: Store {
            directory: PathBuf::from("/srv/here/../a/b"),
            prefix: "a.B_c-9".to_owned(),
            format: Format::Jsonl,
            file_mode: 0o660,
            sync_interval: None,
            on_disk_full: OnDiskFull::Reject,
        },
        rotate: Rotate {
            max_size: Some(4096),
            interval: Some(Duration::from_secs(5400)),
            timezone: Timezone::Local,
            on_close: vec!["/bin/ship".to_owned(), "--fast".to_owned()],
            on_close_timeout: Duration::from_secs(10),
        },
        retain: Retain {
            max_files: Some(3),
            max_age: Some(Duration::from_secs(30 * 86_400)),
            max_total_size: Some(1 << 30),
            min_free_space: Some(Space::Percent(5)),
        },
        compress: Compress { method: Method::Zstd },
        daemon: Daemon {
            pid_file: PathBuf::from("/srv/here/p"),
            user: Some("u".to_owned()),
            group: Some("99".to_owned()),
            log_file: Some(PathBuf::from("/l")),
        },
        log: Log { level: Level::Debug, format: LogFormat::Json, access: true },
        control: Control { socket: Some(PathBuf::from("/srv/here/c.sock")) },
        security: Security { sandbox: Sandbox::Required },
        metrics: Metrics { listen: Some("[::1]:9464".parse().expect("an address")) },
    };
    assert_eq!(config, expected);
}

#[test]
fn every_key_of_the_other_doors_is_read() {
    let config = parse(
        "[tls]\nlisten = ['127.0.0.1:9']\ncertificate = 'c.pem'\nkey = 'credential:key'\nclient-ca = '/ca'\nclient-certificate = 'optional'\n\
         min-version = '1.3'\nhandshake-timeout = '1s'\n\
         [proxy]\nfrom = ['10.0.0.0/8', '::1']\nheader-timeout = '10ms'\n",
    );
    let tls = Tls {
        listen: vec!["127.0.0.1:9".parse().unwrap()],
        certificate: Some(Pem::File(PathBuf::from("/srv/here/c.pem"))),
        key: Some(Pem::Credential("key".to_owned())),
        client_ca: Some(Pem::File(PathBuf::from("/ca"))),
        client_certificate: ClientCertificate::Optional,
        min_version: TlsVersion::V1_3,
        handshake_timeout: Duration::from_secs(1),
    };
    let proxy = Proxy {
        from: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        header_timeout: Duration::from_millis(10),
    };
    assert_eq!((config.tls, config.proxy), (tls, proxy));
}

#[test]
fn dotted_keys_and_inline_tables_are_read() {
    let dotted =
        parse("server.workers = 2\nlimits = { max-connections = 0 }\nrotate.interval = '0'\nrotate.max-size = 0\n");
    assert_eq!((dotted.server.workers, dotted.limits.max_connections), (Workers::Count(2), None));
    assert_eq!((dotted.rotate.interval, dotted.rotate.max_size), (None, None));
}

#[test]
fn relative_paths_start_from_the_directory_that_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    fs::write(&path, "[store]\ndirectory = 'd'\n").unwrap();
    let given = config::load_from(&path, Path::new("/elsewhere")).unwrap().config;
    assert_eq!(given.store.directory, Path::new("/elsewhere/d"));
    let now = config::load(&path).unwrap().config;
    assert_eq!(now.store.directory, std::env::current_dir().unwrap().join("d"));
}

#[test]
fn names_go_both_ways() {
    fn each<T: Choice + std::fmt::Debug>(key: &str) {
        let row = KEYS.iter().find(|row| row.dotted() == key).unwrap();
        let names: Vec<String> = T::NAMES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        assert_eq!(row.allowed, format!("one of {}", names.join(", ")));
        for (name, value) in T::NAMES {
            assert_eq!((T::from_name(name), value.name()), (Some(*value), *name));
        }
        assert_eq!(T::from_name(""), None);
    }
    each::<Framing>("server.framing");
    each::<Echo>("server.echo");
    each::<OnOversize>("server.on-oversize");
    each::<ClientCertificate>("tls.client-certificate");
    each::<Format>("store.format");
    each::<OnDiskFull>("store.on-disk-full");
    each::<Timezone>("rotate.timezone");
    each::<Level>("log.level");
    each::<LogFormat>("log.format");
}

fn time(from: u64, to: u64) -> impl Strategy<Value = Duration> {
    (from..=to).prop_map(Duration::from_millis)
}

fn any_choice<T: Choice + std::fmt::Debug>() -> impl Strategy<Value = T> {
    select(T::NAMES).prop_map(|(_, value)| value)
}

fn any_path() -> impl Strategy<Value = PathBuf> {
    vec("[^/\u{0}]{1,8}".prop_filter("no dots", |part| !matches!(part.as_str(), "." | "..")), 1..4)
        .prop_map(|parts| PathBuf::from(format!("/{}", parts.join("/"))))
}

fn any_server() -> impl Strategy<Value = Server> {
    let workers = prop_oneof![Just(Workers::Auto), (1u16..=64).prop_map(Workers::Count)];
    let place = prop_oneof![any_address().prop_map(Listen::Inet), any_path().prop_map(Listen::Unix)];
    let listen = vec(place, 1..=64).prop_map(different);
    let mode = select(&[0o600, 0o660, 0o666, 0o622][..]);
    (
        ((listen, mode), workers, any_choice(), any_choice(), 1usize..=16 << 20),
        (any_choice(), time(0, 31_622_400_000), option::of(time(1, 31_622_400_000)), option::of(1u64..=32_767)),
    )
        .prop_map(
            |(
                ((listen, unix_mode), workers, framing, echo, max_message_size),
                (on_oversize, shutdown_timeout, reload_timeout, keepalive),
            )| Server {
                listen,
                unix_mode,
                workers,
                framing,
                echo,
                max_message_size,
                on_oversize,
                shutdown_timeout,
                reload_timeout,
                keepalive: keepalive.map(Duration::from_secs),
            },
        )
}

fn different<T: PartialEq>(values: Vec<T>) -> Vec<T> {
    let mut all = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    any::<SocketAddr>().prop_map(plain)
}

fn any_pem() -> impl Strategy<Value = Pem> {
    prop_oneof![any_path().prop_map(Pem::File), "[a-z_][a-z._-]{0,20}".prop_map(Pem::Credential)]
}

/// With or without addresses, but always one that works.
fn any_tls() -> impl Strategy<Value = Tls> {
    let pair = prop_oneof![
        Just((Vec::new(), None, None, None)),
        (vec(any_address(), 0..=64).prop_map(different), any_pem(), any_pem(), option::of(any_pem()))
            .prop_map(|(listen, certificate, key, client_ca)| (listen, Some(certificate), Some(key), client_ca)),
    ];
    (pair, any_choice(), any_choice(), time(10, 86_400_000)).prop_map(
        |((listen, certificate, key, client_ca), client_certificate, min_version, handshake_timeout)| Tls {
            listen,
            certificate,
            key,
            client_ca,
            client_certificate,
            min_version,
            handshake_timeout,
        },
    )
}

fn any_proxy() -> impl Strategy<Value = Proxy> {
    let network = (any::<std::net::IpAddr>(), 0u8..=32)
        .prop_map(|(ip, bits)| format!("{ip}/{bits}").parse::<ipnet::IpNet>().expect("a network").trunc());
    (vec(network, 0..20).prop_map(different), time(10, 86_400_000))
        .prop_map(|(from, header_timeout)| Proxy { from, header_timeout })
}

/// Without the flow label, which no text of an address holds.
fn plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(mut v6) => {
            v6.set_flowinfo(0);
            SocketAddr::V6(v6)
        }
        v4 @ SocketAddr::V4(_) => v4,
    }
}

fn any_store() -> impl Strategy<Value = Store> {
    let prefix = "[A-Za-z0-9_][A-Za-z0-9._-]{0,63}".prop_filter("reserved", |prefix| prefix != "current");
    let mode = select(&[0o600, 0o640, 0o644, 0o660, 0o664, 0o620][..]);
    (any_path(), prefix, any_choice(), mode, option::of(time(10, 86_400_000)), any_choice()).prop_map(
        |(directory, prefix, format, file_mode, sync, on_disk_full)| Store {
            directory,
            prefix,
            format,
            file_mode,
            sync_interval: sync,
            on_disk_full,
        },
    )
}

fn any_rotate() -> impl Strategy<Value = Rotate> {
    let seconds =
        prop_oneof![(1u64..=366).prop_map(|days| days * 86_400), select(&[1u64, 2, 90, 3600, 5400, 43_200][..])];
    let program = prop_oneof![
        Just(Vec::new()),
        ("/[^\0]{0,20}", vec("[^\0]{0,20}", 0..4)).prop_map(|(path, mut words)| {
            words.insert(0, path);
            words
        })
    ];
    let rules = (option::of(4096u64..), option::of(seconds.prop_map(Duration::from_secs)), any_choice());
    (rules, program, time(1000, 86_400_000)).prop_map(|((max_size, interval, timezone), on_close, on_close_timeout)| {
        Rotate { max_size, interval, timezone, on_close, on_close_timeout }
    })
}

fn any_retain() -> impl Strategy<Value = Retain> {
    let space = prop_oneof![(1u8..=99).prop_map(Space::Percent), (1u64..).prop_map(Space::Bytes)];
    let age = option::of(time(1000, 31_622_400_000));
    (option::of(1u32..=1_000_000_000), age, option::of(4096u64..), option::of(space)).prop_map(
        |(max_files, max_age, max_total_size, min_free_space)| Retain {
            max_files,
            max_age,
            max_total_size,
            min_free_space,
        },
    )
}

fn any_daemon() -> impl Strategy<Value = Daemon> {
    let account = || option::of("[^\\s:/\\p{C}]{1,32}");
    (any_path(), account(), account(), option::of(any_path())).prop_map(|(pid_file, user, group, log_file)| Daemon {
        pid_file,
        user,
        group,
        log_file,
    })
}

fn any_networks() -> impl Strategy<Value = Vec<IpNet>> {
    let network = (any::<IpAddr>(), any::<prop::sample::Index>()).prop_map(|(ip, length)| {
        let most = if ip.is_ipv4() { 32 } else { 128 };
        IpNet::new_assert(ip, u8::try_from(length.index(most + 1)).expect("at most 128")).trunc()
    });
    let plain = |network: &IpNet| !matches!(network, IpNet::V6(six) if six.addr().to_ipv4_mapped().is_some());
    proptest::collection::hash_set(network.prop_filter("no IPv4 in disguise", plain), 0..20)
        .prop_map(|set| set.into_iter().collect())
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let count = || option::of(1u32..=1_000_000);
    let time = || option::of(time(10, 31_622_400_000));
    let sizes = (option::of(1024u64..=1 << 40), 4096usize..=64 << 20, 1usize << 20..=1 << 40);
    ((count(), count(), count()), (time(), time(), time()), sizes, (any_networks(), any_networks())).prop_map(
        |(counts, times, (max_byte_rate_per_ip, max_buffered_per_connection, max_buffered), (allow, deny))| Limits {
            max_connections: counts.0,
            max_connections_per_ip: counts.1,
            max_rate_per_ip: counts.2,
            max_byte_rate_per_ip,
            idle_timeout: times.0,
            first_message_timeout: times.1,
            write_timeout: times.2,
            max_buffered_per_connection,
            max_buffered,
            allow,
            deny,
        },
    )
}

prop_compose! {
    fn any_config()(
        server in any_server(), tls in any_tls(), proxy in any_proxy(), store in any_store(), rotate in any_rotate(), daemon in any_daemon(), level in any_choice(), format in any_choice(), access in any::<bool>(),
        retain in any_retain(), method in any_choice(), sandbox in any_choice(), limits in any_limits(), socket in option::of(any_path()),
        metrics in option::of(any_address()),
    ) -> Config {
        let mut config =
            Config {
                server, limits, tls, proxy, store, rotate, retain,
                compress: Compress { method }, daemon, log: Log { level, format, access },
                control: Control { socket }, security: Security { sandbox },
                metrics: Metrics { listen: metrics },
            };
        config.tls.listen.retain(|address| !config.server.listen.contains(&Listen::Inet(*address)));
        let taken = |address: &SocketAddr| config.server.listen.contains(&Listen::Inet(*address)) || config.tls.listen.contains(address);
        config.metrics.listen = config.metrics.listen.filter(|address| !taken(address));
        if config.store.format == Format::Raw {
            config.server.framing = Framing::Line;
        }
        config
    }
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(config in any_config()) {
        let text = config::print(&config);
        prop_assert_eq!(parse(&text), config);
        let printed: Vec<_> = active(&text).into_iter().map(|(table, name, _)| format!("{table}.{name}")).collect();
        prop_assert_eq!(printed, KEYS.iter().map(|key| key.dotted()).collect::<Vec<_>>());
    }

    /// Any text, and any damage to a good one: an answer, never a panic, and an error always on a line of the text.
    #[test]
    fn no_text_panics(noise in "[\\[\\]{}=.,#\"'\\\\a-f0-9 \n\r\t\u{0}\u{e9}-]{0,60}", at: prop::sample::Index, cut in 0usize..40) {
        let good = shipped("echostored.toml");
        let bounds: Vec<usize> = good.char_indices().map(|(n, _)| n).collect();
        let start = *at.get(&bounds);
        let end = (start + cut..=good.len()).find(|end| good.is_char_boundary(*end)).unwrap_or(good.len());
        for text in [noise.clone(), format!("{}{noise}{}", &good[..start], &good[end..])] {
            if let Err(config::ConfigError::Invalid { line, column, .. }) = config::parse(&text, Path::new("c"), Path::new("/")) {
                prop_assert!(line <= text.matches('\n').count() + 1 && column >= 1);
            }
        }
    }
}
