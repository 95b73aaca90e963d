//! A sync or write that fails: what was acknowledged since the last good sync is saved to a new segment, the failed file
//! is cut there and never written or synced again, and all of that may be killed at any step.
use crate::shim::Shim;
use crate::support::checker::{self, Expect};
use crate::support::daemon::{Daemon, Setup};
use crate::support::framing::Format;
use crate::support::harm;
use crate::support::home::Home;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use std::fs;
use std::path::PathBuf;

/// A failed segment may be moved away as a whole, and a killed rotation leaves an empty one.
const FAILED: Expect = Expect { max_size: None, empty_files: true, gaps: false };

/// The store's word on one segment.
#[derive(Debug)]
struct Line {
    segment: PathBuf,
    good_to: u64,
    moved_to: Option<PathBuf>,
}

fn manifest(daemon: &Daemon) -> Vec<Line> {
    let text = fs::read_to_string(daemon.store().join(".failed.jsonl")).unwrap_or_default();
    let line = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let path = |key: &str| value[key].as_str().map(|name| daemon.store().join(name));
        Line {
            segment: path("segment").unwrap(),
            good_to: value["good-to"].as_u64().unwrap(),
            moved_to: path("moved-to"),
        }
    };
    text.lines().map(line).collect()
}

/// What the manifest calls moved is cut there, and in another file.
fn is_settled(daemon: &Daemon) -> bool {
    let lines = manifest(daemon);
    let last_words: Vec<&Line> = lines
        .iter()
        .enumerate()
        .filter(|(index, line)| !lines[index + 1..].iter().any(|later| later.segment == line.segment))
        .map(|(_, line)| line)
        .collect();
    !lines.is_empty()
        && last_words.iter().all(|line| {
            let length = fs::metadata(&line.segment).unwrap().len();
            line.moved_to.as_ref().is_some_and(|target| target.exists()) && length <= line.good_to
        })
}

fn setup(echo: &str) -> Setup {
    Setup::default().set("server.echo", echo).set("store.sync-interval", "20ms").set("rotate.max-size", "256KiB")
}

/// The fault happens under load, once; all goes on, and everything echoed is there once.
fn survives(rule: &str, echo: &str) {
    println!("{rule} with echo {echo}");
    let home = Home::new();
    let Some(shim) = Shim::new(&home) else { return };
    shim.arm(false);
    let mut daemon = shim.equip(setup(echo), Some(rule)).start_in(home);
    let load = Load::start(daemon.address, Shape::default());
    load.progress(300);
    shim.arm(true);
    wait_until(DEADLINE, "the fault", || shim.fired() > 0);
    load.progress(300);
    wait_until(DEADLINE, "the saving", || is_settled(&daemon));
    assert!(daemon.log().contains("saved "), "nothing tells of it");
    load.progress(2000);
    let histories = load.finish();
    daemon.stop();
    assert_eq!((shim.fired(), shim.violations()), (1, 0), "faults, and uses of the failed file");
    checker::check(&daemon.store(), Format::Text, &histories, FAILED);
    harm::verify(&daemon);
}

#[test]
fn a_failed_sync_of_the_live_segment() {
    for echo in ["received", "stored", "synced"] {
        for k in [1, 3] {
            survives(&format!("writer:fdatasync:5:{k}"), echo);
        }
    }
}

#[test]
fn a_failed_sync_for_want_of_room() {
    for errno in [nix::libc::ENOSPC, nix::libc::EDQUOT] {
        survives(&format!("writer:fdatasync:{errno}:2"), "stored");
    }
}

#[test]
fn a_failed_write() {
    for echo in ["received", "stored", "synced"] {
        survives("writer:pwritev:5:50", echo);
    }
}

/// Only closed segments are synced: the oldest that fails takes all after it along, lest the order suffer.
#[test]
fn a_failed_sync_of_a_closed_segment() {
    let home = Home::new();
    let Some(shim) = Shim::new(&home) else { return };
    let setup = setup("stored").set("store.sync-interval", "0").set("rotate.max-size", "16KiB");
    let mut daemon = shim.equip(setup, Some("writer:fdatasync:5:3")).start_in(home);
    let load = Load::start(daemon.address, Shape::default());
    wait_until(DEADLINE, "the fault", || shim.fired() > 0);
    wait_until(DEADLINE, "the saving", || is_settled(&daemon));
    load.progress(2000);
    let histories = load.finish();
    daemon.stop();
    assert_eq!(shim.violations(), 0);
    checker::check(&daemon.store(), Format::Text, &histories, FAILED);
    harm::verify(&daemon);
}

/// At the end of all: the last sync fails, and what it should have covered is saved before the daemon leaves.
#[test]
fn a_failed_sync_at_the_end() {
    let home = Home::new();
    let Some(shim) = Shim::new(&home) else { return };
    shim.arm(false);
    let setup = setup("stored").set("store.sync-interval", "0").set("rotate.max-size", "64MiB");
    let mut daemon = shim.equip(setup, Some("writer:fsync:5:1")).start_in(home);
    let load = Load::start(daemon.address, Shape::default());
    load.progress(500);
    let histories = load.finish();
    shim.arm(true);
    daemon.stop();
    assert_eq!((shim.fired(), shim.violations()), (1, 0));
    assert!(is_settled(&daemon), "{:?}", manifest(&daemon));
    checker::check(&daemon.store(), Format::Text, &histories, FAILED);
    daemon.start_again();
    assert!(daemon.log().contains("resumed at byte"), "the end was a clean one");
    daemon.stop();
    harm::verify(&daemon);
}

const STEPS: [&str; 8] = [
    "rescue-created",
    "rescue-filled",
    "rescue-noted",
    "rescue-named",
    "rotate-synced",
    "rotate-linked",
    "rotate-swapped",
    "rotate-published",
];

/// The writer dies at every step of the saving: its successor finishes it.
#[test]
fn the_writer_dies_while_it_saves() {
    for (index, point) in STEPS.into_iter().enumerate() {
        let echo = ["stored", "received", "synced"][index % 3];
        println!("{point} with echo {echo}");
        let home = Home::new();
        let happened = home.join("crashed");
        fs::write(&happened, "").unwrap();
        let Some(shim) = Shim::new(&home) else { return };
        shim.arm(false);
        let setup = setup(echo)
            .set("rotate.max-size", "64MiB")
            .environment("ECHOSTORED_CRASH", point)
            .environment("ECHOSTORED_CRASH_ONCE", happened.to_str().unwrap());
        // From now on: the start has passed by the points of a rotation, without dying there.
        let mut daemon = shim.equip(setup, Some("writer:fdatasync:5:1")).start_in(home);
        let load = Load::start(daemon.address, Shape::default());
        load.progress(300);
        kill_writer_once(&daemon);
        load.progress(300);
        fs::remove_file(&happened).unwrap();
        shim.arm(true);
        wait_until(DEADLINE, "the fault", || shim.fired() > 0);
        wait_until(DEADLINE, &format!("the crash at {point}"), || happened.exists());
        wait_until(DEADLINE, "the saving", || is_settled(&daemon));
        load.progress(2000);
        assert_eq!(load.broken(), 0, "a connection was lost");
        daemon.remember();
        let histories = load.finish();
        daemon.stop();
        assert_eq!(shim.violations(), 0);
        checker::check(&daemon.store(), Format::Text, &histories, FAILED);
        harm::verify(&daemon);
    }
}

/// A fresh writer has not counted any passage of its crash point.
fn kill_writer_once(daemon: &Daemon) {
    let victim = daemon.writer();
    processes::signal(victim, Signal::SIGKILL);
    wait_until(DEADLINE, "another writer", || daemon.roles("writer").iter().any(|pid| *pid != victim));
}

/// Everybody dies at every step of the saving: the next start finishes it.
#[test]
fn everybody_dies_in_the_midst_of_saving() {
    everybody_dies_while_saving(&STEPS, setup("stored").set("rotate.max-size", "64MiB"), false);
}

/// The same where the service manager keeps the pipes and the commit record: the next daemon's writer finishes it.
#[test]
fn everybody_dies_in_the_midst_of_saving_with_a_descriptor_store() {
    everybody_dies_while_saving(&STEPS, setup("stored").set("rotate.max-size", "64MiB"), true);
}

/// The same where a closed segment has failed, which only the commit record and the directory know of.
#[test]
fn everybody_dies_while_closed_segments_are_saved_with_a_descriptor_store() {
    let only_closed = setup("stored").set("store.sync-interval", "0").set("rotate.max-size", "16KiB");
    // The steps of a rotation are passed all the time here.
    let steps: Vec<&str> = STEPS.into_iter().filter(|step| step.starts_with("rescue-")).collect();
    everybody_dies_while_saving(&steps, only_closed, true);
}

fn everybody_dies_while_saving(steps: &[&str], setup: Setup, kept: bool) {
    for point in steps {
        println!("{point}");
        let home = Home::new();
        let happened = home.join("crashed");
        fs::write(&happened, "").unwrap();
        let Some(shim) = Shim::new(&home) else { return };
        shim.arm(false);
        let doomed = setup
            .clone()
            .environment("ECHOSTORED_CRASH", point)
            .environment("ECHOSTORED_CRASH_ONCE", happened.to_str().unwrap());
        let mut daemon = shim.equip(doomed, Some("writer:fdatasync:5:1")).start_in(home);
        let first = Load::start(daemon.address, Shape { on_break: OnBreak::Leave, ..Shape::default() });
        first.progress(300);
        kill_writer_once(&daemon);
        first.progress(300);
        daemon.remember();
        // Nobody replaces the writer that is about to die.
        processes::signal(daemon.supervisor(), Signal::SIGSTOP);
        fs::remove_file(&happened).unwrap();
        shim.arm(true);
        wait_until(DEADLINE, &format!("the crash at {point}"), || happened.exists());
        daemon.kill_all();
        let mut histories = first.finish();
        assert_eq!(shim.fired(), 1);
        daemon.reconfigure(|setup| shim.equip(setup.without_environment(), None));
        if kept {
            daemon.restarted_by_manager();
        }
        daemon.start_again();
        assert_eq!(daemon.log().contains("going on where the last run was killed"), kept);
        wait_until(DEADLINE, &format!("all is saved ({point})"), || is_settled(&daemon));
        let second = Load::start(daemon.address, Shape::default());
        second.progress(300);
        histories.extend(second.finish());
        daemon.stop();
        assert_eq!(shim.violations(), 0);
        checker::check(&daemon.store(), Format::Text, &histories, FAILED);
        harm::verify(&daemon);
    }
}

/// Everybody dies while the sync of a closed segment hangs: the next daemon's writer syncs it, which is seen by the error that it gets.
#[test]
fn what_a_killed_daemon_had_not_synced_is_synced_with_a_descriptor_store() {
    let home = Home::new();
    let Some(shim) = Shim::new(&home) else { return };
    let setup = setup("stored").set("store.sync-interval", "0").set("rotate.max-size", "64MiB");
    let mut daemon = shim.equip(setup, Some("writer:fdatasync:hang:1")).start_in(home);
    let load = Load::start(daemon.address, Shape { on_break: OnBreak::Leave, ..Shape::default() });
    load.progress(300);
    daemon.signal(Signal::SIGUSR1);
    wait_until(DEADLINE, "a sync that hangs", || shim.fired() == 1);
    load.progress(300);
    daemon.kill_all();
    let histories = load.finish();
    daemon.reconfigure(|setup| shim.equip(setup.without_environment(), Some("writer:fdatasync:5:2")));
    daemon.restarted_by_manager();
    daemon.start_again();
    wait_until(DEADLINE, "a sync", || shim.fired() == 2);
    wait_until(DEADLINE, "the saving", || is_settled(&daemon));
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, FAILED);
    harm::verify(&daemon);
}
