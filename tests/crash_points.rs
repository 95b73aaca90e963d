//! The writer dies at each of its steps, once, under load: each time exactly once, and nobody is left waiting.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use support::checker::{self, Expect};
use support::client::{Client, History, Messages};
use support::daemon::{Daemon, Setup};
use support::drive::serve;
use support::framing::{Format, Framing};
use support::harm;
use support::home::Home;
use support::load::{Load, OnBreak, Shape};
use support::{DEADLINE, processes, wait_until};

const WRITER: [&str; 6] =
    ["after-intent", "partial-write", "after-write", "after-commit", "half-consume", "before-ack"];
const ROTATION: [&str; 6] = [
    "rotate-created",
    "rotate-synced",
    "rotate-linked",
    "rotate-swapped",
    "rotate-published",
    "rotate-before-old-sync",
];
/// A recovery begins with a new file, by the steps of a rotation.
const RECOVERY: [&str; 7] = [
    "rotate-created",
    "rotate-synced",
    "rotate-linked",
    "rotate-swapped",
    "recover-swapped",
    "recover-torn-copied",
    "recover-cut",
];
const KILLED: Expect = Expect { max_size: None, empty_files: true, gaps: false };

/// A daemon that dies at the `passage`-th time that its writer comes by `point`; the file tells when that has happened.
fn doomed(home: &Home, point: &str, passage: usize) -> (Setup, PathBuf) {
    let happened = home.join("crashed");
    let setup = Setup::default().environment("ECHOSTORED_CRASH", &format!("{point}@{passage}"));
    (setup.environment("ECHOSTORED_CRASH_ONCE", happened.to_str().unwrap()), happened)
}

/// Under load: it happens, the service goes on, and the store is exact.
fn dies_at(point: &str, passage: usize, echo: &str) {
    println!("{point}@{passage} with echo {echo}");
    let home = Home::new();
    let (setup, happened) = doomed(&home, point, passage);
    let mut daemon = setup.set("server.echo", echo).set("rotate.max-size", "64KiB").start_in(home);
    let first = daemon.writer();
    let shape = Shape { connections: 6, ..Shape::default() };
    let load = Load::start(daemon.address, shape);
    wait_until(DEADLINE, &format!("the crash at {point}@{passage}"), || happened.exists());
    wait_until(DEADLINE, "another writer", || passage == 1 || daemon.roles("writer").iter().any(|pid| *pid != first));
    daemon.remember();
    load.progress(2000);
    assert_eq!(load.broken(), 0, "a connection was lost");
    let histories = load.finish();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, KILLED);
}

/// Everybody dies as soon as the writer has died there, before it is replaced; the service manager keeps the pipes, and
/// the next daemon's writer goes on as its successor.
fn all_die_at(point: &str, passage: usize, echo: &str) {
    println!("all at {point}@{passage} with echo {echo}");
    let home = Home::new();
    let (setup, happened) = doomed(&home, point, passage);
    let mut daemon = setup.set("server.echo", echo).set("rotate.max-size", "64KiB").start_in(home);
    daemon.restarted_by_manager();
    // Nobody replaces the writer that is about to die.
    processes::signal(daemon.supervisor(), Signal::SIGSTOP);
    let load = Load::start(daemon.address, Shape { connections: 6, on_break: OnBreak::Reconnect, ..Shape::default() });
    wait_until(DEADLINE, &format!("the crash at {point}@{passage}"), || happened.exists());
    daemon.kill_all();
    daemon.setup = daemon.setup.clone().without_environment();
    daemon.start_again();
    assert!(daemon.log().contains("going on where the last run was killed"));
    load.progress(200);
    let histories = load.finish();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, KILLED);
    harm::verify(&daemon);
}

#[test]
fn of_all_at_every_step_with_a_descriptor_store() {
    for echo in ["received", "synced"] {
        for points in [&WRITER, &ROTATION] {
            for pair in points.chunks(2) {
                std::thread::scope(|scope| {
                    for point in pair {
                        // The start has passed the states of a rotation once.
                        let passage = if WRITER.contains(point) { 17 } else { 3 };
                        scope.spawn(move || all_die_at(point, passage, echo));
                    }
                });
            }
        }
    }
}

fn at_every(points: &'static [&'static str], passages: &'static [usize]) {
    for echo in ["received", "stored", "synced"] {
        // Two at a time: the machine of the reference has two cores.
        for pair in points.chunks(2) {
            std::thread::scope(|scope| {
                for point in pair {
                    scope.spawn(move || passages.iter().for_each(|passage| dies_at(point, *passage, echo)));
                }
            });
        }
    }
}

#[test]
fn at_every_step_of_the_data_path() {
    at_every(&WRITER, &[1, 2, 17]);
}

#[test]
fn at_every_state_of_a_rotation() {
    at_every(&ROTATION, &[2, 5]);
}

#[test]
fn between_fragments_of_large_records() {
    for point in WRITER {
        let home = Home::new();
        let (setup, happened) = doomed(&home, point, 9);
        let setup = setup.set("server.max-message-size", "1MiB").set("server.framing", "length-prefixed");
        let mut daemon = setup.start_in(home);
        let (framing, smallest, largest) = (Framing::LengthPrefixed, 300_000, 1 << 20);
        let shape = Shape { framing, smallest, largest, window: 2, connections: 3, ..Shape::default() };
        let load = Load::start(daemon.address, shape);
        wait_until(DEADLINE, &format!("the crash at {point}"), || happened.exists());
        load.progress(20);
        let histories = load.finish();
        daemon.stop();
        checker::check(&daemon.store(), Format::Text, &histories, KILLED);
    }
}

fn one_client(daemon: &Daemon) -> History {
    let client = Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap();
    serve(vec![client.quota(20).half_close()]).remove(0)
}

/// Half a record; what a power cut may leave: zeros, and garbage with newlines in it.
const TAILS: [&[u8]; 3] = [
    b"2026-11-22T08:42:00.123456Z 127.0.0.1:53210 01JD9Z0Q4X-17 torn in the mid",
    &[0; 70_000],
    b"\x00\xff\n2026-11-22T\n\n\x80garbage\nwith newlines\n",
];

/// A crashed store with such a tail, in the hands of a daemon that will die at `point`.
fn torn_store(point: &str, tail: &[u8]) -> (Daemon, Vec<History>, PathBuf, PathBuf) {
    let home = Home::new();
    let (setup, happened) = doomed(&home, point, 1);
    // As long as this file exists, no point kills.
    fs::write(&happened, "").unwrap();
    let mut daemon = setup.start_in(home);
    let histories = vec![one_client(&daemon)];
    daemon.kill_all();
    let live = checker::files(&daemon.store()).pop().unwrap().path;
    File::options().append(true).open(&live).unwrap().write_all(tail).unwrap();
    fs::remove_file(&happened).unwrap();
    (daemon, histories, live, happened)
}

/// It serves again, everything is there, and the torn bytes are aside, once.
fn is_whole_again(mut daemon: Daemon, mut histories: Vec<History>, live: &Path, tail: &[u8], point: &str) {
    histories.push(one_client(&daemon));
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, KILLED);
    let aside = PathBuf::from(format!("{}.torn", live.display()));
    assert!(fs::read(&aside).unwrap() == tail, "{point}: the torn bytes are kept");
}

/// The writer dies once in the midst of the repair: its successor finishes it.
#[test]
fn at_every_step_of_a_recovery() {
    for (point, tail) in RECOVERY.into_iter().flat_map(|point| TAILS.map(|tail| (point, tail))) {
        println!("{point} with {} bytes", tail.len());
        let (mut daemon, histories, live, happened) = torn_store(point, tail);
        daemon.start_again();
        assert!(happened.exists(), "{point}: nothing was killed");
        is_whole_again(daemon, histories, &live, tail, point);
    }
}

/// Every writer dies there, so the start fails; the next one, without the fault, finishes what they all began.
#[test]
fn at_every_step_of_a_recovery_again_and_again() {
    for (point, tail) in RECOVERY.into_iter().flat_map(|point| TAILS.map(|tail| (point, tail))) {
        println!("{point} with {} bytes", tail.len());
        let (mut daemon, histories, live, _) = torn_store(point, tail);
        daemon.reconfigure(|setup| setup.without_environment().environment("ECHOSTORED_CRASH", point));
        match daemon.launch() {
            // Nothing is left to do there once the first has done it.
            Ok(()) => daemon.kill_all(),
            Err(code) => assert_eq!(code, 1, "{point}: a start that failed"),
        }
        daemon.reconfigure(Setup::without_environment);
        daemon.start_again();
        is_whole_again(daemon, histories, &live, tail, point);
    }
}
