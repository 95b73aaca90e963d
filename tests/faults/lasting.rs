//! A call that fails every time, for a while, under load: nobody spins, the log is not flooded, nothing is lost, and all goes
//! on by itself when the fault is over.
use crate::shim::Shim;
use crate::support::checker::{self, Expect};
use crate::support::daemon::Setup;
use crate::support::framing::Format;
use crate::support::home::Home;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, came_true, wait_until};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// How long a fault lasts.
const WHILE: Duration = Duration::from_millis(700);
/// System calls in that time when nothing is echoed: timers and clients' bytes, but no loop.
const MOST_CALLS: u64 = 20_000;
/// Lines that it may cost.
const MOST_LINES: usize = 60;

const WRITER: [(&str, &[Errno]); 10] = [
    ("pwritev", &[Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS]),
    ("fdatasync", &[Errno::EIO, Errno::ENOSPC, Errno::EDQUOT]),
    ("fsync", &[Errno::EIO, Errno::ENOSPC]),
    ("openat", &[Errno::EMFILE, Errno::ENOSPC, Errno::EIO]),
    ("linkat", &[Errno::ENOSPC, Errno::EIO]),
    ("renameat", &[Errno::ENOSPC, Errno::EIO]),
    ("unlinkat", &[Errno::EROFS]),
    ("fstatat", &[Errno::EIO]),
    ("fchmod", &[Errno::EIO]),
    ("sendmsg", &[Errno::ETOOMANYREFS]),
];
const SUPERVISOR: [(&str, &[Errno]); 7] = [
    ("fork", &[Errno::EAGAIN, Errno::ENOMEM]),
    ("pipe2", &[Errno::EMFILE]),
    ("socketpair", &[Errno::EMFILE]),
    ("memfd_create", &[Errno::EMFILE]),
    ("mmap", &[Errno::ENOMEM]),
    ("epoll_ctl", &[Errno::ENOMEM]),
    ("sendmsg", &[Errno::ENOMEM]),
];
const WORKER: [(&str, &[Errno]); 2] =
    [("accept", &[Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS]), ("epoll_ctl", &[Errno::ENOMEM])];

fn lasts(role: &str, call: &str, error: Errno, echo: &str) {
    println!("{role}:{call}:{error:?} {echo}");
    let home = Home::new();
    let Some(shim) = Shim::new(&home) else { return };
    shim.arm(false);
    let setup = Setup::default()
        .set("server.echo", echo)
        .set("rotate.max-size", "64KiB")
        .set("store.sync-interval", "200ms")
        .set("server.reload-timeout", "30s");
    let rule = format!("{role}:{call}:{}:0", error as i32);
    let mut daemon = shim.equip(setup, Some(&rule)).start_in(home);
    // Connections come and go where accepting is what fails.
    let coming = (role == "worker").then_some(20);
    let on_break = if role == "worker" { OnBreak::Reconnect } else { OnBreak::Fail };
    let load = Load::start(daemon.address, Shape { on_break, messages_a_connection: coming, ..Shape::default() });
    let lines = daemon.log().lines().count();
    shim.arm(true);
    daemon.signal(if role == "supervisor" { Signal::SIGHUP } else { Signal::SIGUSR1 });
    wait_until(DEADLINE, "the fault", || shim.fired() > 0);
    let (calls, echoed) = (shim.total(), load.echoed());
    came_true(WHILE, || false);
    let (calls, echoed) = (shim.total() - calls, load.echoed() - echoed);
    assert!(echoed > 100 || calls < MOST_CALLS, "{calls} system calls for {echoed} messages");
    shim.arm(false);
    load.progress(500);
    // A rotation that failed is tried again every second.
    wait_until(DEADLINE, "a rotation", || {
        let newest = checker::files(&daemon.store()).pop().expect("a file");
        std::fs::metadata(daemon.current()).unwrap().ino() == newest.inode
    });
    daemon.remember();
    let histories = load.finish();
    daemon.stop();
    let told = daemon.log().lines().filter(|line| !line.starts_with("shim:") && !line.contains("live segment")).count();
    assert!(told < lines + MOST_LINES, "{told} lines");
    assert_eq!(shim.violations(), 0, "uses of a file whose sync has failed");
    checker::check(&daemon.store(), Format::Text, &histories, Expect { empty_files: true, ..Expect::default() });
}

/// Four at a time: most of it is waiting.
fn all(role: &str, calls: &[(&str, &[Errno])], echos: &[&str]) {
    let pairs: Vec<(&str, Errno)> =
        calls.iter().flat_map(|(call, errors)| errors.iter().map(move |error| (*call, *error))).collect();
    for some in pairs.chunks(4) {
        std::thread::scope(|scope| {
            for (call, error) in some {
                scope.spawn(move || echos.iter().for_each(|echo| lasts(role, call, *error, echo)));
            }
        });
    }
}

#[test]
fn calls_of_the_writer() {
    all("writer", &WRITER, &["stored", "synced"]);
}

#[test]
fn calls_of_the_supervisor() {
    all("supervisor", &SUPERVISOR, &["stored"]);
}

#[test]
fn calls_of_the_workers() {
    all("worker", &WORKER, &["stored"]);
}
