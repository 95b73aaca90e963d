//! A role stopped (`SIGSTOP`) while clients push, and let go again. `ECHOSTORED_TEST_STOP` is for how many seconds (2).
use super::echo;
use crate::support::daemon::Daemon;
use crate::support::harm::Tally;
use crate::support::load::{Load, Shape};
use crate::support::seed::count;
use crate::support::{DEADLINE, came_true, processes, wait_until};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// What one role may hold, in KiB: a worker's connections 64 MiB together, and the program itself.
const MOST: u64 = 96 << 10;

fn span() -> Duration {
    Duration::from_secs(count("ECHOSTORED_TEST_STOP", 2) as u64)
}

/// Clients that have always more to send than the pipes take.
fn pushing() -> Shape {
    Shape { window: 200, smallest: 500, largest: 4_000, ..Shape::default() }
}

fn stop(victim: i32) {
    processes::signal(victim, Signal::SIGSTOP);
    wait_until(DEADLINE, "a stopped process", || processes::status(victim, "State")[0] == "T");
}

/// `VmRSS` of the largest role, in KiB.
fn largest(daemon: &Daemon) -> u64 {
    let size = |pid: i32| processes::status(pid, "VmRSS")[0].parse::<u64>().unwrap();
    processes::family(daemon.supervisor()).into_iter().map(size).max().unwrap()
}

/// No connection is lost, nothing is echoed that is not stored, and what is held in memory is bounded.
#[test]
fn the_writer() {
    for mode in ["received", "stored"] {
        let mut daemon = echo(mode).set("rotate.max-size", "8MiB").start();
        let load = Load::start(daemon.address, pushing());
        let writer = daemon.writer();
        stop(writer);
        // Until everything that can hold something is full; `received` echoes as long as the pipes take more.
        let mut echoed = load.echoed();
        wait_until(DEADLINE, "silence", || {
            let before = std::mem::replace(&mut echoed, load.echoed());
            !came_true(Duration::from_secs(2), || load.echoed() > before)
        });
        assert!(!came_true(span(), || load.echoed() > echoed), "{mode}: echoes without a writer");
        let held = largest(&daemon);
        println!("{mode}: the largest role holds {held} KiB");
        assert!(held < MOST, "{mode}: {held} KiB");
        processes::signal(writer, Signal::SIGCONT);
        println!("{mode}: echoes again after {:.1?}", load.progress(100));
        assert_eq!(daemon.writer(), writer, "the same writer");
        daemon.remember();
        Tally::default().settle(daemon, load);
    }
}

/// Its connections wait; the others, and new ones, are served: the listener is everybody's.
#[test]
fn one_worker() {
    let mut daemon = echo("stored").start();
    let load = Load::start(daemon.address, Shape { messages_a_connection: Some(100), ..Shape::default() });
    // The one with fewer connections: the other has some that go on, and end, and are followed by new ones.
    let victim = daemon.workers().into_iter().min_by_key(|pid| sockets(*pid)).unwrap();
    stop(victim);
    let begin = Instant::now();
    while begin.elapsed() < span() {
        // Eight new connections at least, one after the other.
        load.progress(800);
    }
    assert!(largest(&daemon) < MOST, "{} KiB", largest(&daemon));
    processes::signal(victim, Signal::SIGCONT);
    assert!(daemon.workers().contains(&victim), "the same worker");
    daemon.remember();
    Tally::default().settle(daemon, load);
}

fn sockets(pid: i32) -> usize {
    processes::descriptors(pid).iter().filter(|held| held.target.starts_with("socket:")).count()
}

/// Nobody on the way of a message waits for it: old and new connections are served, files rotate. Only a role that dies is
/// not replaced meanwhile.
#[test]
fn the_supervisor() {
    let mut daemon = echo("synced").start();
    let load = Load::start(daemon.address, Shape { messages_a_connection: Some(100), ..Shape::default() });
    let before = crate::support::checker::files(&daemon.store()).len();
    stop(daemon.supervisor());
    let begin = Instant::now();
    while begin.elapsed() < span() {
        load.progress(800);
    }
    wait_until(DEADLINE, "a rotation", || crate::support::checker::files(&daemon.store()).len() > before);
    let writer = daemon.writer();
    processes::signal(writer, Signal::SIGKILL);
    wait_until(DEADLINE, "its death", || !processes::runs(writer));
    assert!(daemon.roles("writer").is_empty(), "nobody is there to replace it");
    daemon.signal(Signal::SIGCONT);
    load.progress(800);
    assert!(largest(&daemon) < MOST, "{} KiB", largest(&daemon));
    daemon.remember();
    Tally::default().settle(daemon, load);
}
