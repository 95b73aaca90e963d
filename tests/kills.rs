//! `kill -9` of each role, of two at once, and of everything, under load: nothing is lost, doubled, reordered or left waiting.
//!
//! `ECHOSTORED_TEST_KILLS` is the number of kills of the writer (270); workers die 2/5 as often, the supervisor 1/5,
//! everything 1/5, two roles in one moment 1/10. Every [`ROUND`] kills the whole store is checked, and a fresh one begins. One
//! line a kind tells what was seen:
//!
//! ```sh
//! ECHOSTORED_TEST_KILLS=10000 cargo test --test kills -- --nocapture
//! ```
//!
//! `ECHOSTORED_TEST_SEED` plays a run again.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::time::{Duration, Instant};
use support::daemon::{Daemon, Setup};
use support::framing::Framing;
use support::harm::{self, Tally, kill_supervisor, kill_worker, kill_writer, some_time, some_worker};
use support::load::{Load, OnBreak, Shape};
use support::seed::{Chance, count, seed};

/// Kills of one store.
const ROUND: usize = 125;
const MODES: [&str; 3] = ["received", "stored", "synced"];
/// The longest time from one kill's end to the next kill.
const PAUSE: Duration = Duration::from_millis(25);

/// A part of the kills that were asked for.
fn part(of: usize) -> usize {
    (count("ECHOSTORED_TEST_KILLS", 270) / of).max(1)
}

/// Small files, so that rotations are hit, too.
fn small_files() -> Setup {
    Setup::default().set("rotate.max-size", "512KiB")
}

/// Few messages under way: the writer is always in the middle of a batch, and the batches are small.
fn small_batches() -> Shape {
    Shape { connections: 6, window: 4, ..Shape::default() }
}

fn reconnecting() -> Shape {
    Shape { on_break: OnBreak::Reconnect, ..small_batches() }
}

/// More than can be under way from before a kill, so that only the new role can have answered it.
fn beyond_what_is_under_way(shape: &Shape) -> u64 {
    (shape.connections * shape.window) as u64 + 1
}

/// Kills roles of a daemon whose supervisor lives, in rounds. What is felt: the longest that any connection that lives on
/// waited for its next echo.
fn roles_die(
    tally: &mut Tally,
    kills: usize,
    setup: &Setup,
    shape: Shape,
    mut harm: impl FnMut(&mut Daemon, &mut Chance) -> usize,
) {
    let mut chance = Chance::new(seed());
    for round in (0..kills).step_by(ROUND) {
        let mut daemon = setup.clone().start();
        let load = Load::start(daemon.address, shape);
        let mut victims = 0;
        for _ in round..kills.min(round + ROUND) {
            some_time(&mut chance, PAUSE);
            load.longest_wait();
            victims += harm(&mut daemon, &mut chance);
            load.progress(beyond_what_is_under_way(&shape));
            some_time(&mut chance, PAUSE);
            tally.felt(load.longest_wait());
        }
        assert_eq!(daemon.log().matches("ended: SIGKILL").count(), victims, "deaths as the supervisor saw them");
        tally.kills += victims;
        assert!(shape.on_break == OnBreak::Fail || load.broken() > 0, "a killed worker takes its connections along");
        tally.settle(daemon, load);
    }
}

fn writer_dies(tally: &mut Tally, kills: usize, setup: &Setup, shape: Shape) {
    roles_die(tally, kills, setup, shape, |daemon, _| {
        kill_writer(daemon);
        1
    });
}

#[test]
fn the_writer() {
    let mut tally = Tally::default();
    for echo in MODES {
        writer_dies(&mut tally, part(3), &small_files().set("server.echo", echo), small_batches());
    }
    tally.tell("writer", "longest wait of a connection for its next echo");
}

#[test]
fn the_writer_between_fragments_of_large_records() {
    let setup = Setup::default().set("server.max-message-size", "1MiB").set("server.framing", "length-prefixed");
    let (framing, smallest, largest) = (Framing::LengthPrefixed, 100, 700_000);
    let shape = Shape { framing, smallest, largest, window: 2, connections: 4, ..Shape::default() };
    let mut tally = Tally::default();
    writer_dies(&mut tally, part(20), &setup.set("rotate.max-size", "8MiB"), shape);
    tally.tell("writer, between fragments", "longest wait of a connection for its next echo");
}

#[test]
fn workers() {
    let mut tally = Tally::default();
    for echo in MODES {
        let setup = small_files().set("server.echo", echo);
        roles_die(&mut tally, part(3) * 2 / 5, &setup, reconnecting(), |daemon, chance| {
            kill_worker(daemon, chance);
            1
        });
    }
    tally.tell("workers", "longest wait of a connection that lives on");
}

#[test]
fn workers_and_the_writer_in_one_moment() {
    let mut tally = Tally::default();
    roles_die(&mut tally, part(10), &small_files(), reconnecting(), |daemon, chance| {
        let (writer, worker) = (daemon.writer(), some_worker(daemon, chance));
        let victims = if chance.below(2) == 0 { [writer, worker] } else { [worker, writer] };
        harm::kill(daemon, &victims, |daemon| {
            let (writers, workers) = (daemon.roles("writer"), daemon.workers());
            writers.len() == 1 && writers[0] != writer && workers.len() == 2 && !workers.contains(&worker)
        });
        2
    });
    tally.tell("writer and worker", "longest wait of a connection that lives on");
}

/// Kills the supervisor, or everything, in rounds; each time a new daemon on the same store takes over at once. What is felt:
/// how long no client was served.
fn daemon_dies(tally: &mut Tally, kills: usize, setup: &Setup, mut harm: impl FnMut(&mut Daemon)) {
    daemons_die(tally, kills, setup, reconnecting(), false, &mut harm);
}

/// `kept`: what the next writer needs outlives them in the service manager's descriptor store, and so do the listeners.
fn daemons_die(
    tally: &mut Tally,
    kills: usize,
    setup: &Setup,
    shape: Shape,
    kept: bool,
    mut harm: impl FnMut(&mut Daemon),
) {
    let mut chance = Chance::new(seed());
    for round in (0..kills).step_by(ROUND) {
        let mut daemon = setup.clone().start();
        if kept {
            daemon.restarted_by_manager();
        }
        let load = Load::start(daemon.address, shape);
        for _ in round..kills.min(round + ROUND) {
            some_time(&mut chance, PAUSE * 2);
            let begin = Instant::now();
            harm(&mut daemon);
            daemon.start_again();
            load.progress(beyond_what_is_under_way(&shape));
            tally.felt(begin.elapsed());
            tally.kills += 1;
        }
        assert!(!kept || load.refused() == 0, "a connection was refused");
        tally.settle(daemon, load);
    }
}

/// Without a service manager that would kill the rest: they drain and end within 2 s (five times that here, since the
/// machine may be busy), then the lock is free. What was echoed is stored in every mode, `received` too: the writer lives on until the
/// pipes are empty.
#[test]
fn the_supervisor() {
    let (mut tally, mut drains) = (Tally::default(), Vec::new());
    for echo in MODES {
        daemon_dies(&mut tally, part(3) / 5, &small_files().set("server.echo", echo), |daemon| {
            let drained = kill_supervisor(daemon);
            assert!(drained < Duration::from_secs(10), "{drained:?} until the others had ended");
            drains.push(drained);
        });
    }
    tally.tell("supervisor", "nobody served");
    drains.sort();
    let (median, longest) = (drains[drains.len() / 2], drains[drains.len() - 1]);
    println!("supervisor: the others drained and ended in: median {median:.1?}, max {longest:.1?}");
}

/// `received` promises nothing here: what is in the pipes goes with the last process.
#[test]
fn everything_at_once() {
    let mut tally = Tally::default();
    for echo in &MODES[1..] {
        let setup = small_files().set("server.echo", *echo);
        daemon_dies(&mut tally, part(2) / 5, &setup, Daemon::kill_all);
    }
    tally.tell("everything", "nobody served");
}

/// With a service manager that keeps the pipes, `received` too: what was echoed is stored by the next daemon's writer.
#[test]
fn everything_at_once_with_a_descriptor_store() {
    let mut tally = Tally::default();
    for echo in MODES {
        let setup = small_files().set("server.echo", echo);
        daemons_die(&mut tally, part(3) / 5, &setup, reconnecting(), true, Daemon::kill_all);
    }
    tally.tell("everything, with a descriptor store", "nobody served");
}

#[test]
fn everything_between_fragments_with_a_descriptor_store() {
    let setup = Setup::default().set("server.max-message-size", "1MiB").set("server.framing", "length-prefixed");
    let (framing, smallest, largest) = (Framing::LengthPrefixed, 100, 700_000);
    let shape = Shape { framing, smallest, largest, window: 2, connections: 4, ..reconnecting() };
    let mut tally = Tally::default();
    for echo in ["received", "stored"] {
        let setup = setup.clone().set("rotate.max-size", "8MiB").set("server.echo", echo);
        daemons_die(&mut tally, part(108), &setup, shape, true, Daemon::kill_all);
    }
    tally.tell("everything, between fragments, with a descriptor store", "nobody served");
}
