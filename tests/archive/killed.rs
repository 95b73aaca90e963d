//! The archiver dies at each of its steps, once or always: the next one finishes what it began.
use crate::small_files;
use crate::store::{closed, expand, feed, manifest, verify};
use crate::support::checker::{self, Expect};
use crate::support::daemon::{Daemon, Setup};
use crate::support::framing::Format;
use crate::support::home::Home;
use crate::support::{DEADLINE, came_true, wait_until};
use std::path::{Path, PathBuf};
use std::time::Duration;

const POINTS: [&str; 7] = [
    "archive-seal-appended",
    "archive-compress-written",
    "archive-compress-renamed",
    "archive-compress-unlinked",
    "archive-prune-noted",
    "archive-prune-unlinked",
    "archive-hook-done",
];

/// A daemon whose archiver dies at the `passage`-th time that it comes by `point`; the file tells when that has happened.
fn doomed(home: &Home, setup: Setup, point: &str, passage: usize) -> (Setup, PathBuf) {
    let happened = home.join("crashed");
    let setup = setup.environment("ECHOSTORED_CRASH", &format!("{point}@{passage}"));
    (setup.environment("ECHOSTORED_CRASH_ONCE", happened.to_str().unwrap()), happened)
}

/// Seals and deletions are noted many at once: messages come in portions, as long as it needs.
fn until_it_happens(daemon: &Daemon, happened: &Path) {
    wait_until(2 * DEADLINE, "the crash", || {
        feed(daemon, 60);
        came_true(Duration::from_millis(200), || happened.exists())
    });
}

fn finished(daemon: &Daemon, most: usize) -> bool {
    let files = closed(&daemon.store());
    let seals = manifest(&daemon.store()).seals;
    let sealed = files.iter().all(|file| file.suffix == ".zst" && seals.contains_key(&file.sequence));
    sealed && files.len() == most && !daemon.store().join(".archiver.tmp").exists()
}

#[test]
fn at_every_step() {
    for point in POINTS {
        for passage in [1, 4] {
            println!("{point}@{passage}");
            let home = Home::new();
            let done = home.write("done", "");
            let script = format!("echo $ECHOSTORED_SEQUENCE >>{}", done.display());
            let setup = small_files().set("compress.method", "zstd").set("retain.max-files", 5);
            let setup = setup.set("rotate.on-close", vec!["/bin/sh", "-c", &script]);
            let (setup, happened) = doomed(&home, setup, point, passage);
            let mut daemon = setup.start_in(home);
            until_it_happens(&daemon, &happened);
            feed(&daemon, 200);
            wait_until(DEADLINE, "five compressed files", || finished(&daemon, 5));
            let wanted: Vec<String> = closed(&daemon.store()).iter().map(|file| file.sequence.to_string()).collect();
            let handed_on = || {
                let done = std::fs::read_to_string(&done).unwrap();
                wanted.iter().all(|sequence| done.lines().any(|line| line == sequence))
            };
            wait_until(DEADLINE, "all are handed on", handed_on);
            daemon.remember();
            daemon.stop();
            let manifest = manifest(&daemon.store());
            assert!(manifest.flaws.is_empty() && manifest.gone.is_empty(), "{point}: {manifest:?}");
            // The one that the hook ran on may be older than some that went.
            let there: Vec<u64> = closed(&daemon.store()).iter().map(|file| file.sequence).collect();
            let last = there.last().copied().unwrap();
            let missing = (1..last).find(|number| !there.contains(number) && !manifest.was_pruned(*number));
            assert_eq!(missing, None, "{point}: away without a line");
        }
    }
}

/// Nothing is deleted, and nothing is lost, however often it dies.
#[test]
fn again_and_again_and_every_record_is_there() {
    for point in ["archive-seal-appended", "archive-compress-written", "archive-compress-renamed"] {
        println!("{point}");
        let home = Home::new();
        let armed = home.write("armed", "");
        let setup = small_files().set("compress.method", "zstd").environment("ECHOSTORED_CRASH", point);
        let mut daemon = setup.environment("ECHOSTORED_CRASH_WHILE", armed.to_str().unwrap()).start_in(home);
        let mut histories = Vec::new();
        let deaths = || daemon.log().matches("ended: SIGKILL").count();
        wait_until(2 * DEADLINE, "five deaths", || {
            histories.push(feed(&daemon, 60));
            came_true(Duration::from_millis(200), || deaths() >= 5)
        });
        std::fs::remove_file(&armed).unwrap();
        // A plain file and its compressed one are one.
        let mut numbers: Vec<u64> = closed(&daemon.store()).iter().map(|file| file.sequence).collect();
        numbers.dedup();
        let count = numbers.len();
        wait_until(DEADLINE, "compressed files", || finished(&daemon, count));
        daemon.remember();
        daemon.stop();
        checker::check(expand(&daemon).path(), Format::Text, &histories, Expect::default());
    }
}

/// The lines of files that are long away are folded; killed just then, the next one goes on from there.
#[test]
fn while_it_folds_the_manifest() {
    let home = Home::new();
    let setup = small_files().set("retain.max-files", 2);
    let (setup, happened) = doomed(&home, setup, "archive-fold-renamed", 1);
    let mut daemon = setup.start_in(home);
    wait_until(2 * DEADLINE, "a fold", || {
        feed(&daemon, 1000);
        happened.exists()
    });
    feed(&daemon, 200);
    let folded = || {
        let manifest = manifest(&daemon.store());
        manifest.anchor.through > 100 && closed(&daemon.store()).len() == 2
    };
    wait_until(DEADLINE, "an anchor", folded);
    daemon.remember();
    daemon.stop();
    let manifest = manifest(&daemon.store());
    assert!(manifest.flaws.is_empty() && manifest.gone.is_empty(), "{:?}", manifest.flaws);
    verify(&daemon);
}
