//! The life of a closed file, by the real daemon: sealed, compressed, kept, handed on, deleted; the archiver killed at each
//! of its steps.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../faults/shim.rs"]
#[allow(dead_code)]
mod shim;
#[path = "../support/mod.rs"]
mod support;

mod hook;
mod killed;
mod life;
mod retention;
mod store;

use nix::sys::signal::Signal;
use shim::Shim;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use store::{closed, expand, feed, live, manifest, verify};
use support::checker::{self, Expect};
use support::control::status;
use support::daemon::{Daemon, Setup};
use support::framing::Format;
use support::home::Home;
use support::load::{Load, Shape};
use support::{DEADLINE, processes, stays_false, wait_until};

/// Small files: some twenty messages each.
pub fn small_files() -> Setup {
    Setup::default().set("rotate.max-size", "4KiB")
}

/// Waits until every closed file is in this form and sealed.
pub fn is_done(daemon: &Daemon, suffix: &str) {
    wait_until(DEADLINE, "sealed and compressed files", || {
        let files = closed(&daemon.store());
        let manifest = manifest(&daemon.store());
        !files.is_empty()
            && files.iter().all(|file| file.suffix == suffix && manifest.seals.contains_key(&file.sequence))
    });
}

#[test]
fn closed_files_are_sealed_and_compressed_with_mode_and_owner() {
    for (method, suffix) in [("gzip", ".gz"), ("zstd", ".zst")] {
        let mut daemon = small_files().set("compress.method", method).start_in(Home::new());
        let histories = vec![feed(&daemon, 500)];
        is_done(&daemon, suffix);
        let live = fs::metadata(live(&daemon.store())).unwrap();
        for file in closed(&daemon.store()) {
            let metadata = fs::metadata(&file.path).unwrap();
            assert_eq!((metadata.mode(), metadata.uid(), metadata.gid()), (live.mode(), live.uid(), live.gid()));
        }
        wait_until(DEADLINE, "the numbers in the status", || {
            let archiver = &status(&daemon)["archiver"];
            archiver["closed"] == closed(&daemon.store()).len() as u64 && archiver["unsealed"] == 0
        });
        daemon.stop();
        verify(&daemon);
        let copy = expand(&daemon);
        checker::check(copy.path(), Format::Text, &histories, Expect::default());
    }
}

/// A segment whose sync hangs is not settled, nor is any after it.
#[test]
fn nothing_is_touched_while_a_sync_hangs() {
    let home = Home::new();
    let Some(shim) = Shim::new(&home) else { return };
    shim.arm(false);
    let setup = small_files().set("compress.method", "zstd").set("store.sync-interval", "1h");
    let mut daemon = shim.equip(setup, Some("writer:fdatasync:hang:0")).start_in(home);
    feed(&daemon, 100);
    is_done(&daemon, ".zst");
    let done = closed(&daemon.store()).len();
    shim.arm(true);
    feed(&daemon, 40);
    wait_until(DEADLINE, "closed files", || closed(&daemon.store()).len() > done);
    let compressed = || closed(&daemon.store()).iter().filter(|file| file.suffix == ".zst").count();
    stays_false(Duration::from_secs(3), "one is compressed that is not synced", || compressed() > done);
    shim.release();
    is_done(&daemon, ".zst");
    daemon.stop();
}

#[test]
fn what_somebody_else_deletes_is_told() {
    let mut daemon = small_files().start_in(Home::new());
    feed(&daemon, 200);
    is_done(&daemon, "");
    let victim = closed(&daemon.store()).remove(1);
    fs::remove_file(&victim.path).unwrap();
    wait_until(DEADLINE, "a line about it", || manifest(&daemon.store()).gone.contains(&victim.sequence));
    assert!(daemon.log().contains("is gone: somebody else has deleted it"), "{}", daemon.log());
    daemon.stop();
}

/// In the midst of a large compression it leaves at once, also for a reload; the next one goes on.
#[test]
fn a_stop_does_not_wait_for_a_compression() {
    let setup = Setup::default().set("rotate.max-size", "8MiB").set("compress.method", "gzip");
    let mut daemon = setup.start_in(Home::new());
    let load = Load::start(daemon.address, Shape { connections: 4, largest: 30_000, ..Shape::default() });
    let temporary = daemon.store().join(".archiver.tmp");
    wait_until(DEADLINE, "a compression", || temporary.exists());
    load.finish();
    wait_until(DEADLINE, "a compression", || temporary.exists());
    daemon.remember();
    let begin = std::time::Instant::now();
    daemon.stop();
    // 0.5 s of patience by design, and the rest of a stop.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(!daemon.log().contains("archiver was killed"));
    daemon.start_again();
    is_done(&daemon, ".gz");
    assert!(!temporary.exists());
    daemon.stop();
    verify(&daemon);
}

#[test]
fn its_priority_is_low() {
    let daemon = Setup::default().start_in(Home::new());
    let nice = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(16).unwrap();
        fields.parse::<i32>().unwrap()
    };
    wait_until(DEADLINE, "a nice archiver", || daemon.roles("archiver").iter().any(|pid| nice(*pid) >= 10));
    assert!(nice(daemon.writer()) < 10);
}

/// Nothing is done for nothing: an idle daemon with all rules set does not spin.
#[test]
fn an_idle_archiver_rests() {
    let setup = small_files().set("compress.method", "zstd").set("retain.max-files", 3).set("retain.max-age", "1h");
    let setup = setup.set("retain.max-total-size", "1GiB").set("retain.min-free-space", "1MiB");
    let daemon = setup.start_in(Home::new());
    feed(&daemon, 300);
    is_done(&daemon, ".zst");
    let archiver = daemon.roles("archiver")[0];
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{archiver}/stat")).unwrap();
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .map(|n| n.parse().unwrap())
            .collect();
        fields.iter().sum::<u64>()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(3));
    assert!(ticks() - before < 30, "{} ticks of 10 ms in 3 s", ticks() - before);
}

/// Killed again and again, it goes on each time; nobody else notices.
#[test]
fn killed_under_load_it_starts_again() {
    let setup = small_files().set("compress.method", "zstd").set("retain.max-files", 50);
    let mut daemon = setup.start_in(Home::new());
    let writer = daemon.writer();
    let load = Load::start(daemon.address, Shape { connections: 4, ..Shape::default() });
    for _ in 0..10 {
        load.progress(300);
        wait_until(DEADLINE, "an archiver", || {
            let found = daemon.roles("archiver");
            found.iter().for_each(|pid| processes::signal(*pid, Signal::SIGKILL));
            !found.is_empty()
        });
    }
    daemon.remember();
    assert_eq!((load.broken(), daemon.writer()), (0, writer));
    load.finish();
    is_done(&daemon, ".zst");
    wait_until(DEADLINE, "fifty files", || closed(&daemon.store()).len() <= 50);
    daemon.stop();
    let manifest = manifest(&daemon.store());
    assert!(manifest.flaws.is_empty() && manifest.gone.is_empty(), "{:?} {:?}", manifest.flaws, manifest.gone);
    verify(&daemon);
}
