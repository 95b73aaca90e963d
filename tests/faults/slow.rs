//! A disk that takes seconds, or does not answer at all: in `synced` its answer is waited for, in `stored` nobody waits
//! until too many closed files do; signals are obeyed, nothing grows, nothing is lost.
use crate::shim::Shim;
use crate::support::checker::{self, Expect};
use crate::support::daemon::{Daemon, Setup};
use crate::support::framing::Format;
use crate::support::home::Home;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, came_true, processes, wait_until};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// Closed segments that may wait for their sync.
const MOST_CLOSING: usize = 4;
/// What a process may grow by under load, in KiB: its buffers are bounded.
const MOST_GROWTH: u64 = 64 << 10;

/// A daemon whose disk is well, until the shim is armed.
fn daemon(rule: &str, setup: Setup) -> Option<(Shim, Daemon)> {
    let home = Home::new();
    let shim = Shim::new(&home)?;
    shim.arm(false);
    let setup = setup.set("store.sync-interval", "20ms").set("server.shutdown-timeout", "1s");
    let daemon = shim.equip(setup, Some(rule)).start_in(home);
    Some((shim, daemon))
}

fn load(daemon: &Daemon, on_break: OnBreak) -> Load {
    Load::start(daemon.address, Shape { on_break, ..Shape::default() })
}

/// KiB of memory, of the process that has most.
fn memory(daemon: &Daemon) -> u64 {
    let family = processes::family(daemon.supervisor()).into_iter();
    family.map(|pid| processes::status(pid, "VmRSS")[0].parse().unwrap()).max().unwrap()
}

fn files(daemon: &Daemon) -> usize {
    checker::files(&daemon.store()).len()
}

/// Every call takes two seconds: slow, and nothing else.
fn is_just_slow(rule: &str, echo: &str, told: &str) {
    let setup = Setup::default().set("server.echo", echo).set("rotate.max-size", "256KiB");
    let Some((shim, mut daemon)) = daemon(rule, setup) else { return };
    let load = load(&daemon, OnBreak::Fail);
    let before = memory(&daemon);
    shim.arm(true);
    wait_until(DEADLINE, "a slow call", || shim.fired() > 0);
    load.progress(200);
    let had = files(&daemon);
    daemon.signal(Signal::SIGUSR1);
    wait_until(DEADLINE, "a new file", || files(&daemon) > had);
    daemon.signal(Signal::SIGHUP);
    let ready = |daemon: &Daemon| daemon.manager().heard().iter().filter(|line| *line == "READY=1").count();
    wait_until(DEADLINE, "the reload", || ready(&daemon) == 2);
    load.progress(200);
    wait_until(DEADLINE, "a word of it", || daemon.log().contains(told));
    let grown = memory(&daemon).saturating_sub(before);
    assert!(grown < MOST_GROWTH, "{grown} KiB more");
    assert_eq!(load.broken(), 0, "a connection was lost");
    let histories = load.finish();
    daemon.stop();
    assert!(shim.fired() > 1, "only one slow call");
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

#[test]
fn slow_syncs_in_synced() {
    is_just_slow("writer:fdatasync:delay=2000:0", "synced", "the disk is slow: the sync of");
}

#[test]
fn slow_syncs_in_stored() {
    is_just_slow("writer:fdatasync:delay=2000:0", "stored", "a sync is not done after 1s");
}

#[test]
fn slow_writes() {
    is_just_slow("writer:pwritev:delay=2000:0", "stored", "the disk is slow: the write of");
}

/// No echo comes: what is on its way when this is called may.
fn is_silent(load: &Load) -> bool {
    // All clients' windows.
    let most = load.echoed() + 8 * 16;
    !came_true(Duration::from_millis(500), || load.echoed() > most)
}

/// The disk does not answer: no echo, and no connection lost; when it does, all goes on.
#[test]
fn a_hung_sync_in_synced_is_waited_for() {
    let setup = Setup::default().set("server.echo", "synced");
    let Some((shim, mut daemon)) = daemon("writer:fdatasync:hang:0", setup) else { return };
    let load = load(&daemon, OnBreak::Fail);
    shim.arm(true);
    wait_until(DEADLINE, "a hung sync", || shim.fired() > 0);
    assert!(is_silent(&load), "echoes without a sync");
    daemon.signal(Signal::SIGUSR1);
    daemon.signal(Signal::SIGHUP);
    assert!(is_silent(&load), "echoes without a sync");
    assert_eq!(load.broken(), 0, "a connection was lost");
    shim.release();
    load.progress(1000);
    wait_until(DEADLINE, "a new file", || files(&daemon) > 1);
    let histories = load.finish();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

/// Who stops a daemon whose disk does not answer has it within seconds of the second signal, and is told.
fn stops_on_a_hung_disk(echo: &str) {
    let setup = Setup::default().set("server.echo", echo);
    let Some((shim, mut daemon)) = daemon("writer:fdatasync:hang:0", setup) else { return };
    let load = load(&daemon, OnBreak::Leave);
    shim.arm(true);
    wait_until(DEADLINE, "a hung sync", || shim.fired() > 0);
    daemon.remember();
    daemon.signal(Signal::SIGTERM);
    let begin = Instant::now();
    wait_until(DEADLINE, "the end of the workers", || daemon.workers().is_empty());
    // server.shutdown-timeout and a second to leave at once.
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?} for the workers", begin.elapsed());
    // Two signals at once are one wish.
    wait_until(DEADLINE, "another wish", || begin.elapsed() > Duration::from_millis(100));
    daemon.signal(Signal::SIGTERM);
    let begin = Instant::now();
    assert_eq!(daemon.wait_exit(DEADLINE), 1);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?} after the second signal", begin.elapsed());
    assert!(daemon.log().contains("the writer cannot store what is left in time"), "it is told");
    let histories = load.finish();
    daemon.reconfigure(Setup::without_environment);
    daemon.start_again();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect { empty_files: true, ..Expect::default() });
}

#[test]
fn a_stop_on_a_hung_disk_in_synced() {
    stops_on_a_hung_disk("synced");
}

#[test]
fn a_stop_on_a_hung_disk_in_stored() {
    stops_on_a_hung_disk("stored");
}

/// In `stored` nobody waits for a sync, until as many closed files wait for theirs as may.
#[test]
fn a_hung_sync_in_stored_stops_nobody_until_too_many_files_wait() {
    let setup = Setup::default().set("rotate.max-size", "256KiB");
    let Some((shim, mut daemon)) = daemon("writer:fdatasync:hang:0", setup) else { return };
    let load = load(&daemon, OnBreak::Fail);
    let had = files(&daemon);
    shim.arm(true);
    wait_until(DEADLINE, "a hung sync", || shim.fired() > 0);
    load.progress(500);
    // The last of them is filled first.
    wait_until(DEADLINE, "no echo beyond what may wait for a sync", || is_silent(&load));
    // One more or less, as the moment was.
    let waiting = files(&daemon) - had;
    assert!((MOST_CLOSING - 1..=MOST_CLOSING + 2).contains(&waiting), "{waiting} files wait for their sync");
    assert_eq!(load.broken(), 0, "a connection was lost");
    let told = |what: &str| daemon.log().matches(what).count();
    wait_until(DEADLINE, "a word of it", || told("the disk is slow or hangs") > 0);
    shim.release();
    load.progress(5000);
    wait_until(DEADLINE, "a word of its end", || told("the disk syncs again") > 0);
    assert_eq!(told("the disk is slow or hangs"), 1, "lines for one wait");
    let histories = load.finish();
    daemon.stop();
    checker::check(
        &daemon.store(),
        Format::Text,
        &histories,
        Expect { max_size: Some(256 << 10), ..Expect::default() },
    );
}
