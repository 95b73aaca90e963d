//! A full disk (a tmpfs of 1 MiB): nothing is echoed that is not stored, nothing is lost, and it goes on by itself.
//!
//! Mounting needs root; without it each test says that it is SKIPPED.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::File;
use std::time::{Duration, Instant};
use support::checker::{self, Expect};
use support::client::{Client, Messages};
use support::control;
use support::daemon::{Daemon, Setup};
use support::drive::{drive, serve};
use support::framing::{Format, Framing};
use support::harm;
use support::home::Home;
use support::load::{Load, OnBreak, Shape};
use support::small::Small;
use support::{DEADLINE, came_true, processes, stays_false, wait_until};

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

fn told(daemon: &Daemon) -> Value {
    control::hear(control::connect(&control::socket(daemon), b"status\n"))
}

fn is_full(daemon: &Daemon) -> bool {
    let told = told(daemon);
    let named = told["health"].to_string().contains("the disk is full");
    assert_eq!(told["full"] == true, named, "{told}");
    named
}

/// One who sends a message of `bytes`.
fn client(daemon: &Daemon, bytes: usize) -> Client {
    Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, bytes, bytes)).unwrap().quota(1)
}

/// Who looks at the health before it sends, as a load balancer does, sends no more: no write finds out that there is room.
#[test]
fn who_refuses_and_hears_no_more_notices_that_there_is_room_again() {
    let home = Home::new();
    let Some(small) = Small::new(&home, SIZE) else { return };
    let mut daemon = Setup::default().set("store.on-disk-full", "reject").start_in(home);
    let mut histories = serve(vec![client(&daemon, 100)]);
    small.leave_room(0);
    let mut refused = [client(&daemon, 60_000)];
    drive(&mut refused, "the close", |refused| refused[0].ended());
    histories.extend(refused.map(Client::leave));
    wait_until(DEADLINE, "a full disk", || is_full(&daemon));
    stays_false(Duration::from_secs(3), "it is not full, without room", || !is_full(&daemon));
    small.leave_room(16 << 10);
    stays_false(Duration::from_secs(3), "it is not full, with room for less than was refused", || !is_full(&daemon));
    let before = small.used();
    small.give_room();
    wait_until(DEADLINE, "it is not full", || !is_full(&daemon));
    assert!(daemon.log().contains("; 1 messages were refused for want of room"), "the log does not tell of the end");
    assert_eq!(small.used(), before, "room is kept");
    histories.extend(serve(vec![client(&daemon, 100)]));
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect { empty_files: true, ..Expect::default() });
}

/// No new file can be begun. While the old one goes on, everything is stored; when it must not be used any more, nothing is,
/// until a rotation that nobody asks for again goes well.
#[test]
fn a_rotation_that_finds_no_inode_is_a_full_disk_only_if_it_must_be() {
    let home = Home::new();
    let Some(small) = Small::new(&home, SIZE) else { return };
    let mut daemon = Setup::default().start_in(home);
    serve(vec![client(&daemon, 100)]);
    small.leave_no_inodes();
    daemon.signal(Signal::SIGUSR1);
    wait_until(DEADLINE, "a rotation that cannot be", || told(&daemon)["rotation_stuck"] == true);
    // It is tried again each second.
    stays_false(Duration::from_millis(2500), "it counts as full, and everything is stored", || is_full(&daemon));
    serve(vec![client(&daemon, 100)]);
    File::options().write(true).open(daemon.current()).unwrap().set_len(0).unwrap();
    wait_until(DEADLINE, "nothing can be stored", || is_full(&daemon));
    small.give_inodes();
    wait_until(DEADLINE, "it is not full", || !is_full(&daemon));
    assert_eq!(told(&daemon)["rotation_stuck"], false);
    assert_eq!(daemon.log().matches("new segments can be begun again").count(), 1);
    serve(vec![client(&daemon, 100)]);
    daemon.stop();
}
