//! A full disk (a tmpfs of 1 MiB): nothing is echoed that is not stored, nothing is lost, and it goes on by itself.
//!
//! Mounting needs root; without it each test says that it is SKIPPED.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use support::checker::{self, Expect};
use support::daemon::{Daemon, Setup};
use support::framing::Format;
use support::harm;
use support::home::Home;
use support::load::{Load, OnBreak, Shape};
use support::small::Small;
use support::{DEADLINE, came_true, processes, wait_until};

const SIZE: u64 = 1 << 20;

/// A daemon under load whose disk has just become full.
fn full(echo: &str) -> Option<(Small, Daemon, Load)> {
    let home = Home::new();
    let small = Small::new(&home, SIZE)?;
    let daemon = Setup::default().set("server.echo", echo).set("rotate.max-size", "64MiB").start_in(home);
    let load = Load::start(daemon.address, Shape { on_break: OnBreak::Leave, ..Shape::default() });
    wait_until(DEADLINE, "a full disk", || daemon.log().contains("No space left on device"));
    Some((small, daemon, load))
}

/// No more echoes come: what is not stored is not echoed.
fn assert_silence(load: &Load) {
    let before = load.echoed();
    assert!(!came_true(Duration::from_millis(500), || load.echoed() > before + 200), "echoes from a full disk");
}

#[test]
fn it_waits_and_goes_on_within_a_second_of_room() {
    for echo in ["stored", "synced"] {
        let Some((small, mut daemon, load)) = full(echo) else { return };
        assert_silence(&load);
        small.give_room();
        let begin = Instant::now();
        load.progress(500);
        // A second by design; five, since the machine may be busy.
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?} to go on", begin.elapsed());
        let told = daemon.log().matches("nothing is echoed until it can").count();
        assert!((1..=3).contains(&told), "{told} lines tell of the full disk");
        let histories = load.finish();
        daemon.stop();
        checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
    }
}

/// The writer dies while its batch waits for room: its successor repeats the batch, and room or another death do not
/// make it forget what it has done since.
#[test]
fn writers_that_die_on_a_full_disk_lose_and_double_nothing() {
    let Some((small, mut daemon, load)) = full("stored") else { return };
    for _ in 0..3 {
        let victim = daemon.writer();
        processes::signal(victim, Signal::SIGKILL);
        wait_until(DEADLINE, "another writer", || daemon.roles("writer").iter().any(|pid| *pid != victim));
        daemon.remember();
    }
    small.give_room();
    load.progress(50);
    let victim = daemon.writer();
    processes::signal(victim, Signal::SIGKILL);
    load.progress(50);
    assert_eq!(load.broken(), 0, "a connection was lost");
    daemon.remember();
    let histories = load.finish();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

/// Room is made in the worst way: the live file itself is emptied, or deleted, while a batch waits for its place behind
/// what was in it. Nobody may find a hole there.
#[test]
fn the_live_file_is_emptied_or_deleted_to_make_room() {
    for delete in [false, true] {
        let Some((_small, mut daemon, load)) = full("stored") else { return };
        let live = checker::files(&daemon.store()).pop().unwrap().path;
        if delete {
            std::fs::remove_file(&live).unwrap();
            std::fs::remove_file(daemon.current()).unwrap();
        } else {
            std::fs::File::options().write(true).open(&live).unwrap().set_len(0).unwrap();
        }
        let said = if delete { "was deleted by somebody else" } else { "was changed by somebody else: 0 bytes" };
        wait_until(DEADLINE, said, || daemon.log().contains(said));
        load.progress(500);
        // It may have become full again.
        daemon.remember();
        daemon.signal(Signal::SIGTERM);
        daemon.wait_exit(DEADLINE);
        load.finish();
        for file in checker::files(&daemon.store()) {
            checker::for_each_record(Format::Text, &file.path, |_, _| {});
        }
    }
}

#[test]
fn an_orphaned_writer_leaves_a_full_disk_and_frees_the_lock() {
    let Some((small, mut daemon, load)) = full("stored") else { return };
    // Two seconds by design.
    let span = harm::kill_supervisor(&mut daemon);
    assert!(span < Duration::from_secs(10), "{span:?} until all had ended");
    let histories = load.finish();
    small.give_room();
    daemon.start_again();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect { empty_files: true, ..Expect::default() });
}
