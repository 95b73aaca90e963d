//! The service manager's watchdog and its time-outs: fed while every role moves and while a disk is slow, not when a role
//! hangs; more time is asked for as long as a start or stop does work.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "faults/shim.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod shim;
mod support;

use nix::sys::signal::Signal;
use shim::Shim;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};
use support::checker::{self, Expect};
use support::daemon::{Daemon, Setup};
use support::framing::Format;
use support::home::Home;
use support::load::{Load, OnBreak, Shape};
use support::{DEADLINE, came_true, processes, stays_false, wait_until};

const FEED: &str = "WATCHDOG=1";
const EXTEND: &str = "EXTEND_TIMEOUT_USEC=10000000";
/// Two seconds without progress are too many: wide enough for a machine that is busy with other tests.
const INTERVAL: Duration = Duration::from_secs(4);

fn watched() -> Setup {
    Setup::default().environment("WATCHDOG_USEC", &INTERVAL.as_micros().to_string()).own_pid("WATCHDOG_PID")
}

/// A daemon over the shim, which is armed later.
fn over_shim(rule: &str, setup: Setup) -> Option<(Shim, Daemon)> {
    let home = Home::new();
    let shim = Shim::new(&home)?;
    shim.arm(false);
    let daemon = shim.equip(setup, Some(rule)).start_in(home);
    Some((shim, daemon))
}

fn load(daemon: &Daemon, on_break: OnBreak) -> Load {
    Load::start(daemon.address, Shape { on_break, rest: Duration::from_millis(2), ..Shape::default() })
}

fn times(daemon: &Daemon, line: &str) -> Vec<Instant> {
    daemon.manager().times(line)
}

/// When it asked for more time once it served: a start on a busy machine may need some.
fn extensions(daemon: &Daemon) -> Vec<Instant> {
    let ready = times(daemon, "READY=1")[0];
    times(daemon, EXTEND).into_iter().filter(|at| *at >= ready).collect()
}

/// Waits until it was fed so many times more.
fn await_feeds(daemon: &Daemon, more: usize) {
    let goal = times(daemon, FEED).len() + more;
    wait_until(DEADLINE, "feeds", || times(daemon, FEED).len() >= goal);
}

fn told(daemon: &Daemon, what: &str) -> usize {
    daemon.log().matches(what).count()
}

/// The role is said to hang, once, and the watchdog is not fed until `end` lets it go.
fn starves(daemon: &Daemon, who: &str, end: impl FnOnce()) {
    let line = format!("{who} hangs: it has not moved for");
    wait_until(DEADLINE, "a word of it", || told(daemon, &line) > 0);
    // What was sent before is on its way.
    let fed = || times(daemon, FEED).len();
    let mut before = fed();
    wait_until(DEADLINE, "hunger", || {
        let last = std::mem::replace(&mut before, fed());
        last == before && !came_true(INTERVAL / 4, || fed() > before)
    });
    stays_false(INTERVAL, "fed", || fed() > before);
    assert_eq!(told(daemon, " hangs: "), 1, "one line:\n{}", daemon.log());
    assert!(daemon.log().contains("the service manager's watchdog (4.0s) will restart the service"));
    end();
    await_feeds(daemon, 2);
    wait_until(DEADLINE, "a word of its end", || told(daemon, &format!("{who} goes on, after")) == 1);
}

#[test]
fn it_is_fed_while_all_is_well_and_not_too_often() {
    let mut daemon = watched().start();
    await_feeds(&daemon, 4);
    let load = load(&daemon, OnBreak::Fail);
    await_feeds(&daemon, 4);
    let histories = load.finish();
    let fed = times(&daemon, FEED);
    for pair in fed.windows(2) {
        let gap = pair[1] - pair[0];
        // The collector's own delay may shorten a gap.
        assert!(gap < INTERVAL && gap > INTERVAL / 8, "{gap:?}");
    }
    assert!(fed[fed.len() - 1] - fed[0] >= INTERVAL / 5 * u32::try_from(fed.len() - 1).unwrap(), "a flood");
    daemon.stop();
    assert!(extensions(&daemon).is_empty(), "no time is needed");
    assert_eq!(told(&daemon, " hangs: "), 0);
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

#[test]
fn a_stopped_writer_starves_it() {
    let mut daemon = watched().start();
    let load = load(&daemon, OnBreak::Fail);
    await_feeds(&daemon, 1);
    let writer = daemon.writer();
    processes::signal(writer, Signal::SIGSTOP);
    starves(&daemon, &format!("the writer ({writer})"), || processes::signal(writer, Signal::SIGCONT));
    load.progress(100);
    let histories = load.finish();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

#[test]
fn a_stopped_worker_starves_it() {
    let mut daemon = watched().start();
    await_feeds(&daemon, 1);
    let worker = daemon.workers()[0];
    let title = processes::title(worker).unwrap();
    let name = title.strip_prefix("echostored: ").unwrap();
    processes::signal(worker, Signal::SIGSTOP);
    starves(&daemon, &format!("{name} ({worker})"), || processes::signal(worker, Signal::SIGCONT));
    daemon.stop();
}

/// A call that does not return: clients wait, nobody is restarted for it. `begin`: what makes the writer call it.
fn a_hung_disk_is_no_hang(rule: &str, echo: &str, begin: impl FnOnce(&Daemon)) {
    let setup = watched().set("server.echo", echo).set("store.sync-interval", "20ms");
    let Some((shim, mut daemon)) = over_shim(rule, setup) else { return };
    let load = load(&daemon, OnBreak::Fail);
    await_feeds(&daemon, 1);
    shim.arm(true);
    begin(&daemon);
    wait_until(DEADLINE, "a hung call", || shim.fired() > 0);
    let since = Instant::now();
    let waits = format!("the writer ({}) has waited for the disk for", daemon.writer());
    // One feed each quarter of the interval: for longer than any role may stand still.
    await_feeds(&daemon, 6);
    assert!(since.elapsed() > INTERVAL);
    assert_eq!(told(&daemon, &waits), 1, "{}", daemon.log());
    assert_eq!(told(&daemon, " hangs: "), 0, "{}", daemon.log());
    shim.release();
    load.progress(100);
    await_feeds(&daemon, 1);
    let histories = load.finish();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

#[test]
fn a_hung_write() {
    a_hung_disk_is_no_hang("writer:pwritev:hang:0", "stored", |_| ());
}

#[test]
fn a_hung_sync() {
    a_hung_disk_is_no_hang("writer:fdatasync:hang:0", "synced", |_| ());
}

#[test]
fn a_hung_rotation() {
    a_hung_disk_is_no_hang("writer:renameat:hang:0", "stored", |daemon| daemon.signal(Signal::SIGUSR1));
}

#[test]
fn a_hung_look_at_the_store() {
    a_hung_disk_is_no_hang("writer:fstatat:hang:0", "stored", |_| ());
}

#[test]
fn a_writer_stopped_in_a_hung_write_starves_it() {
    let Some((shim, mut daemon)) = over_shim("writer:pwritev:hang:0", watched()) else { return };
    let load = load(&daemon, OnBreak::Fail);
    shim.arm(true);
    wait_until(DEADLINE, "a hung write", || shim.fired() > 0);
    let writer = daemon.writer();
    processes::signal(writer, Signal::SIGSTOP);
    starves(&daemon, &format!("the writer ({writer})"), || {
        processes::signal(writer, Signal::SIGCONT);
        shim.release();
    });
    load.progress(100);
    let histories = load.finish();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

#[test]
fn a_dead_writer_that_waits_to_be_replaced_does_not_starve_it() {
    let home = Home::new();
    // Its successors die at birth as long as the file exists, and wait longer and longer.
    let deadly = home.join("deadly");
    let setup = watched().environment("ECHOSTORED_CRASH", "writer");
    let mut daemon = setup.environment("ECHOSTORED_CRASH_WHILE", deadly.to_str().unwrap()).start_in(home);
    await_feeds(&daemon, 1);
    File::create(&deadly).unwrap();
    processes::signal(daemon.writer(), Signal::SIGKILL);
    wait_until(DEADLINE, "a back-off", || told(&daemon, "the writer keeps dying") > 0 && told(&daemon, " ended: ") > 4);
    await_feeds(&daemon, 6);
    assert_eq!(told(&daemon, " hangs: "), 0, "{}", daemon.log());
    std::fs::remove_file(&deadly).unwrap();
    daemon.stop();
}

#[test]
fn who_is_not_asked_does_not_answer() {
    let pid_of_another = watched().without_environment().environment("WATCHDOG_USEC", "4000000");
    for setup in [pid_of_another.environment("WATCHDOG_PID", "1"), Setup::default()] {
        let mut daemon = setup.start();
        stays_false(INTERVAL, "fed", || daemon.notified("WATCHDOG"));
        daemon.stop();
    }
}

/// A store whose last end was not clean, with bytes at its end that are no records.
fn torn_store() -> Option<(Shim, Daemon)> {
    let home = Home::new();
    let shim = Shim::new(&home)?;
    shim.arm(false);
    let mut daemon = Setup::default().start_in(home);
    let load = load(&daemon, OnBreak::Leave);
    load.progress(100);
    daemon.kill_all();
    drop(load.finish());
    File::options().append(true).open(daemon.current()).unwrap().write_all(&vec![0; 3 << 20]).unwrap();
    Some((shim, daemon))
}

#[test]
fn a_long_recovery_gets_more_time() {
    let Some((shim, mut daemon)) = torn_store() else { return };
    daemon.setup = shim.equip(watched(), Some("writer:pread64:delay=100:0"));
    // The manager still has the listener.
    daemon.choose_address();
    shim.arm(true);
    daemon.start_again();
    let ready = times(&daemon, "READY=1")[0];
    let extended = times(&daemon, EXTEND);
    assert!(extended.iter().filter(|at| **at < ready).count() >= 2, "{:?}\n{}", daemon.manager().heard(), daemon.log());
    assert!(extended.windows(2).all(|pair| pair[1] - pair[0] > Duration::from_millis(500)), "one a second");
    assert!(times(&daemon, FEED).iter().all(|at| *at >= ready), "fed before it serves");
    assert_eq!(told(&daemon, "unclean end: "), 1);
    daemon.stop();
}

#[test]
fn a_recovery_that_hangs_gets_none() {
    let Some((shim, mut daemon)) = torn_store() else { return };
    daemon.setup = shim.equip(watched(), Some("writer:pread64:hang:0"));
    // The manager still has the listener.
    daemon.choose_address();
    shim.arm(true);
    daemon.spawn();
    wait_until(DEADLINE, "a hung read", || shim.fired() > 0);
    // The first second's work was the fork.
    let asked = || times(&daemon, EXTEND).len();
    stays_false(Duration::from_secs(4), "time for nothing", || asked() > 1);
    shim.release();
    wait_until(DEADLINE, "readiness", || daemon.notified("READY=1"));
    daemon.stop();
}

#[test]
fn a_long_drain_gets_more_time() {
    let setup = watched().set("server.shutdown-timeout", "60s");
    let Some((shim, mut daemon)) = over_shim("writer:pwritev:delay=1500:0", setup) else { return };
    let shape = Shape { window: 40, smallest: 30_000, largest: 60_000, on_break: OnBreak::Leave, ..Shape::default() };
    let load = Load::start(daemon.address, shape);
    await_feeds(&daemon, 1);
    assert!(extensions(&daemon).is_empty());
    shim.arm(true);
    // Meanwhile the pipes fill: several writes are left to do.
    wait_until(DEADLINE, "slow writes", || shim.fired() >= 3);
    daemon.remember();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit(3 * DEADLINE), 0);
    let stopping = times(&daemon, "STOPPING=1")[0];
    let (extended, fed) = (extensions(&daemon), times(&daemon, FEED));
    println!("asked for time {} times in a stop of {:.1?}", extended.len(), stopping.elapsed());
    assert!(!extended.is_empty() && extended.iter().all(|at| *at >= stopping), "{extended:?}, stopping {stopping:?}");
    assert!(fed.iter().any(|at| *at > stopping), "the watchdog is still awake");
    let histories = load.finish();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

#[test]
fn a_drain_that_hangs_gets_none() {
    let setup = watched().set("server.shutdown-timeout", "60s");
    let Some((shim, mut daemon)) = over_shim("writer:pwritev:hang:0", setup) else { return };
    let load = load(&daemon, OnBreak::Leave);
    shim.arm(true);
    wait_until(DEADLINE, "a hung write", || shim.fired() > 0);
    let mut echoed = load.echoed();
    wait_until(DEADLINE, "silence", || {
        let before = std::mem::replace(&mut echoed, load.echoed());
        before == echoed && !came_true(Duration::from_secs(2), || load.echoed() > echoed)
    });
    daemon.remember();
    daemon.signal(Signal::SIGTERM);
    wait_until(DEADLINE, "STOPPING=1", || daemon.notified("STOPPING=1"));
    // A worker that has no connection leaves at once: that is work.
    let asked = || extensions(&daemon).len();
    stays_false(Duration::from_secs(4), "time for nothing", || asked() > 1);
    shim.release();
    assert_eq!(daemon.wait_exit(DEADLINE), 0);
    let histories = load.finish();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}
