//! `kill -9` of single roles under load: each is replaced at once, and nothing is lost, doubled, reordered or left waiting.
//!
//! `ECHOSTORED_TEST_SEED` plays a run again; `ECHOSTORED_TEST_KILLS` raises (or lowers) the number of kills.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use support::checker::{self, Expect};
use support::client::History;
use support::daemon::{Daemon, Setup};
use support::framing::{Format, Framing};
use support::load::{Load, OnBreak, Shape};
use support::seed::{Chance, count, seed};
use support::{DEADLINE, processes, wait_until};

/// Kills one process of a role and waits until another has taken its place; how long that took.
fn kill_one(daemon: &mut Daemon, role: &str, victim: i32, replaced: impl Fn(&Daemon) -> bool) -> Duration {
    let title = processes::title(victim).unwrap_or_default();
    assert!(title.starts_with(&format!("echostored: {role}")), "{victim} is {title:?}");
    let begin = Instant::now();
    processes::signal(victim, Signal::SIGKILL);
    wait_until(DEADLINE, &format!("another {role}"), || !processes::runs(victim) && replaced(daemon));
    daemon.remember();
    begin.elapsed()
}

fn kill_writer(daemon: &mut Daemon) -> Duration {
    let victim = daemon.writer();
    kill_one(daemon, "writer", victim, |daemon| daemon.roles("writer").iter().any(|pid| *pid != victim))
}

fn kill_worker(daemon: &mut Daemon, chance: &mut Chance) -> Duration {
    let workers = daemon.workers();
    let victim = workers[usize::try_from(chance.below(workers.len() as u64)).unwrap()];
    kill_one(daemon, "worker", victim, |daemon| {
        daemon.workers().iter().filter(|pid| **pid != victim).count() == workers.len()
    })
}

/// The moment of the next kill: part of the fault, not a wait for anything.
fn some_time(chance: &mut Chance) {
    std::thread::sleep(Duration::from_micros(chance.below(25_000)));
}

/// More than can be under way from before a kill, so that only the new role can have answered it.
fn beyond_what_is_under_way(shape: &Shape) -> u64 {
    (shape.connections * shape.window) as u64 + 1
}

fn finish(mut daemon: Daemon, load: Load) -> Vec<History> {
    let histories = load.finish();
    daemon.stop();
    let expect = Expect { empty_files: true, ..Expect::default() };
    let report = checker::check(&daemon.store(), Format::Text, &histories, expect);
    let (sent, echoed): (usize, usize) =
        histories.iter().fold((0, 0), |(a, b), history| (a + history.sent, b + history.echoed));
    let (connections, files) = (histories.len(), report.files.len());
    println!("{sent} sent, {echoed} echoed, {} stored; {connections} connections, {files} files", report.records);
    histories
}

fn writer_dies(echo: &str, kills: usize, setup: Setup, shape: Shape) {
    let mut chance = Chance::new(seed());
    println!("seed {}, {kills} kills of the writer, echo {echo}", seed());
    let mut daemon = setup.set("server.echo", echo).start();
    let load = Load::start(daemon.address, shape);
    let mut stalls = Vec::new();
    for _ in 0..kills {
        some_time(&mut chance);
        let begin = Instant::now();
        kill_writer(&mut daemon);
        load.progress(beyond_what_is_under_way(&shape));
        stalls.push(begin.elapsed());
    }
    stalls.sort();
    println!("from the kill to new echoes: median {:?}, longest {:?}", stalls[kills / 2], stalls[kills - 1]);
    assert_eq!(load.broken(), 0, "a connection was lost by the death of a writer");
    finish(daemon, load);
}

/// Small files, so that rotations are hit, too.
fn small_files() -> Setup {
    Setup::default().set("rotate.max-size", "512KiB")
}

#[test]
fn the_writer_with_echo_stored() {
    writer_dies("stored", count("ECHOSTORED_TEST_KILLS", 50), small_files(), Shape::default());
}

#[test]
fn the_writer_with_echo_synced() {
    writer_dies("synced", count("ECHOSTORED_TEST_KILLS", 50), small_files(), Shape::default());
}

#[test]
fn the_writer_with_echo_received() {
    writer_dies("received", count("ECHOSTORED_TEST_KILLS", 50), small_files(), Shape::default());
}

#[test]
fn the_writer_between_fragments_of_large_records() {
    let setup = Setup::default().set("server.max-message-size", "1MiB").set("server.framing", "length-prefixed");
    let (framing, smallest, largest) = (Framing::LengthPrefixed, 100, 700_000);
    let shape = Shape { framing, smallest, largest, window: 2, connections: 4, ..Shape::default() };
    writer_dies("stored", count("ECHOSTORED_TEST_KILLS", 50) / 2, setup.set("rotate.max-size", "8MiB"), shape);
}

#[test]
fn workers() {
    let kills = count("ECHOSTORED_TEST_KILLS", 20);
    for echo in ["stored", "synced", "received"] {
        let mut chance = Chance::new(seed());
        println!("seed {}, {kills} kills of a worker, echo {echo}", seed());
        let mut daemon = small_files().set("server.echo", echo).start();
        let shape = Shape { on_break: OnBreak::Reconnect, ..Shape::default() };
        let load = Load::start(daemon.address, shape);
        for _ in 0..kills {
            some_time(&mut chance);
            kill_worker(&mut daemon, &mut chance);
            load.progress(beyond_what_is_under_way(&shape));
        }
        assert!(load.broken() > 0, "a killed worker takes its connections along: none was hit");
        finish(daemon, load);
    }
}

#[test]
fn workers_and_the_writer_in_one_moment() {
    let mut chance = Chance::new(seed());
    let kills = count("ECHOSTORED_TEST_KILLS", 20);
    println!("seed {}, {kills} double kills", seed());
    let mut daemon = small_files().start();
    let shape = Shape { on_break: OnBreak::Reconnect, ..Shape::default() };
    let load = Load::start(daemon.address, shape);
    for _ in 0..kills {
        some_time(&mut chance);
        let writer = daemon.writer();
        let workers = daemon.workers();
        let worker = workers[usize::try_from(chance.below(workers.len() as u64)).unwrap()];
        for victim in if chance.below(2) == 0 { [writer, worker] } else { [worker, writer] } {
            processes::signal(victim, Signal::SIGKILL);
        }
        let replaced = |daemon: &Daemon| {
            let (writers, workers) = (daemon.roles("writer"), daemon.workers());
            writers.len() == 1 && writers[0] != writer && workers.len() == 2 && !workers.contains(&worker)
        };
        wait_until(DEADLINE, "another writer and another worker", || replaced(&daemon));
        daemon.remember();
        load.progress(beyond_what_is_under_way(&shape));
    }
    finish(daemon, load);
}
