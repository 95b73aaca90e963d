//! Variables that a service manager sets, set by somebody who is none; and those of libraries.
use crate::support::checker::{self, Expect};
use crate::support::daemon::{Daemon, Setup};
use crate::support::framing::Format;
use crate::support::home::Home;
use crate::support::{DEADLINE, wait_until};
use crate::ten_echoes;
use nix::sys::signal::Signal;
use std::net::TcpStream;
use std::path::Path;

/// It serves and stops as always. It may not be heard of by the service manager.
fn serves(setup: Setup) -> Daemon {
    let mut daemon = Daemon::new(Home::new(), setup);
    daemon.spawn();
    wait_until(DEADLINE, "it serves", || TcpStream::connect(daemon.address).is_ok());
    let history = ten_echoes(&daemon);
    daemon.remember();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit(DEADLINE), 0);
    checker::check(&daemon.store(), Format::Text, &[history], Expect::default());
    daemon
}

#[test]
fn a_notify_socket_that_is_none() {
    let long = format!("/{}", "x".repeat(300));
    for name in ["garbage", "", "/nowhere/notify", "@", "vsock:1:2", "\u{1b}[2J", &long] {
        println!("{name:?}");
        let daemon = serves(Setup::default().environment("NOTIFY_SOCKET", name));
        assert!(!daemon.log().contains('\u{1b}'));
    }
}

/// Meant for it, but wrong: refused with the reason, or left aside; never taken for descriptors, and no memory for a claim.
#[test]
fn passed_descriptors_that_are_not_there() {
    for count in ["-1", "1000000000", "3", "4294967295", "18446744073709551616", "garbage", ""] {
        println!("LISTEN_FDS={count:?}");
        let setup = Setup::default().environment("LISTEN_FDS", count).own_pid("LISTEN_PID");
        let mut daemon = Daemon::new(Home::new(), setup);
        assert_eq!(daemon.launch(), Err(78), "{count:?}");
        assert!(daemon.log().contains("cannot understand LISTEN_FDS"), "{}", daemon.log());
    }
    let names = Setup::default().environment("LISTEN_FDS", "0").environment("LISTEN_FDNAMES", "a:b:c");
    let mut daemon = Daemon::new(Home::new(), names.own_pid("LISTEN_PID"));
    assert_eq!(daemon.launch(), Err(78));
}

/// A manager that means another process says nothing to this one.
#[test]
fn passed_descriptors_of_another_process() {
    for pid in ["1", "garbage", "-1", "99999999999999999999"] {
        println!("LISTEN_PID={pid:?}");
        let mut daemon =
            Daemon::new(Home::new(), Setup::default().environment("LISTEN_FDS", "2").environment("LISTEN_PID", pid));
        match daemon.launch() {
            Ok(()) => daemon.stop(),
            Err(code) => assert_eq!((code, daemon.log().contains("cannot understand LISTEN_FDS")), (78, true)),
        }
    }
}

#[test]
fn a_watchdog_that_is_none() {
    for interval in ["0", "-1", "1", "garbage", "", "18446744073709551615", "99999999999999999999"] {
        println!("WATCHDOG_USEC={interval:?}");
        serves(Setup::default().environment("WATCHDOG_USEC", interval).own_pid("WATCHDOG_PID"));
    }
}

#[test]
fn directories_and_streams_of_a_manager_that_are_none() {
    for value in ["garbage", "", "relative/path", ":", "/nowhere:/else", "\u{1b}]0;x\u{7}"] {
        println!("{value:?}");
        let names = [
            "RUNTIME_DIRECTORY",
            "STATE_DIRECTORY",
            "CREDENTIALS_DIRECTORY",
            "JOURNAL_STREAM",
            "INVOCATION_ID",
            "FDSTORE",
            "MAINPID",
        ];
        let setup = names.iter().fold(Setup::default(), |setup, name| setup.environment(name, value));
        let daemon = serves(setup);
        assert!(!daemon.log().contains('\u{1b}'));
    }
}

/// A time zone that is none counts for nothing; a file that it names is read only if it may be one: `/dev/zero` has no end.
#[test]
fn a_time_zone_that_is_none() {
    let long = "x".repeat(5000);
    let nothing = ["garbage", "", ":", "/etc/passwd", "\u{1b}[2J", "Europe/Berlin", &long];
    let refused = ["../../../../etc/passwd", "../../../../dev/zero", ":/dev/zero", "/dev/zero", "/nowhere"];
    for zone in nothing.into_iter().chain(refused) {
        println!("TZ={zone:?}");
        let setup =
            Setup::default().set("rotate.timezone", "local").set("rotate.interval", "1d").environment("TZ", zone);
        let daemon = serves(setup);
        let names: Vec<_> = checker::files(&daemon.store()).into_iter().map(|file| file.path).collect();
        assert!(names.iter().all(|path| is_of_now(path)), "names are in UTC, whatever the zone: {names:?}");
        assert!(!daemon.log().contains("root:") && !daemon.log().contains('\u{1b}'), "{}", daemon.log());
        assert_eq!(daemon.log().contains("is not used"), refused.contains(&zone), "{}", daemon.log());
    }
}

fn is_of_now(path: &Path) -> bool {
    let today = chrono::Utc::now();
    let days = [today, today - chrono::Duration::minutes(5)].map(|day| format!("-{}T", day.format("%Y%m%d")));
    days.iter().any(|day| path.to_str().unwrap().contains(day))
}

/// Knobs of the C library and of Rust. `LD_*` are the loader's: who starts the daemon may run anything in its place.
#[test]
fn knobs_of_libraries() {
    let mut setup = Setup::default();
    for (name, value) in [
        ("MALLOC_ARENA_MAX", "0"),
        ("MALLOC_PERTURB_", "165"),
        ("MALLOC_TRIM_THRESHOLD_", "-1"),
        ("GLIBC_TUNABLES", "glibc.malloc.perturb=1:garbage=:="),
        ("LC_ALL", "xx_XX.garbage"),
        ("RUST_BACKTRACE", "full"),
        ("RUST_MIN_STACK", "0"),
        ("CLICOLOR_FORCE", "1"),
        ("TERM", "\u{1b}[31m"),
        ("COLUMNS", "0"),
        ("TMPDIR", "/nowhere"),
        ("HOME", "garbage"),
        ("PATH", ""),
        ("IFS", "/"),
    ] {
        setup = setup.environment(name, value);
    }
    let daemon = serves(setup);
    assert!(!daemon.log().contains('\u{1b}'));
}
