//! Rotation, resume and repair: every record is in exactly one file, `current` is never absent, and `tail -F` sees it all.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::checker::{self, Expect, LogFile};
use support::client::{Client, History, Messages};
use support::daemon::{Daemon, Setup};
use support::drive::{drive, serve};
use support::framing::{Format, Framing};
use support::home::Home;
use support::load::{Load, Shape};
use support::{DEADLINE, came_true, processes, stays_false, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// Looks at `current` in a tight loop: never absent, and the newest file or its predecessor.
struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, usize)>,
}

impl Watcher {
    fn start(store: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut looks, mut changes, mut last) = (0, 0, 0);
            while !stopped.load(Ordering::SeqCst) {
                let before = newest_sequence(&store);
                let inode = fs::metadata(store.join("current")).expect("current is never absent").ino();
                let files = checker::files(&store);
                let file = files.iter().find(|file| file.inode == inode).expect("current is one of the files");
                let newest = files.last().expect("a file").sequence;
                // Between the two looks the newest was one of before..=newest.
                assert!(
                    (before.saturating_sub(1)..=newest).contains(&file.sequence),
                    "current is {}, newest {before} to {newest}",
                    file.sequence
                );
                changes += usize::from(inode != last);
                (last, looks) = (inode, looks + 1);
            }
            (looks, changes)
        });
        Self { stop, thread }
    }

    /// How often it looked, and how many different files it saw.
    fn finish(self) -> (usize, usize) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("current was right every time")
    }
}

fn newest_sequence(store: &Path) -> u64 {
    checker::files(store).last().expect("a file").sequence
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// Eight clients send while `rotate` happens; the rest is the checker's.
fn rotates(setup: Setup, expect: Expect, least: usize, rotate: impl FnOnce(&Daemon)) -> Vec<LogFile> {
    let mut daemon = setup.start();
    let watcher = Watcher::start(daemon.store());
    let load = Load::start(daemon.address, Shape::default());
    rotate(&daemon);
    let histories = load.finish();
    let (looks, changes) = watcher.finish();
    daemon.stop();
    let report = checker::check(&daemon.store(), Format::Text, &histories, expect);
    println!(
        "{} files, {} records, {looks} looks at current, {changes} changes seen",
        report.files.len(),
        report.records
    );
    assert!(report.files.len() > least, "{} files", report.files.len());
    assert!(looks > least && changes > 1, "{looks} looks, {changes} changes");
    report.files
}

#[test]
fn by_size_while_clients_send() {
    for echo in ["received", "stored", "synced"] {
        let setup = Setup::default().set("rotate.max-size", "64KiB").set("server.echo", echo);
        let expect = Expect { max_size: Some(65536), ..Expect::default() };
        rotates(setup, expect, 20, |daemon| {
            wait_until(DEADLINE, "20 files", || checker::files(&daemon.store()).len() > 21)
        });
    }
}

#[test]
fn by_time_while_clients_send() {
    let files = rotates(Setup::default().set("rotate.interval", "1s"), Expect::default(), 3, |daemon| {
        wait_until(DEADLINE, "4 files", || checker::files(&daemon.store()).len() > 3);
    });
    // Aligned to the clock: a new one each second, so no two names have the same second but perhaps the first.
    let second =
        |file: &LogFile| file.path.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().to_owned();
    let names: Vec<String> = files.iter().skip(1).map(second).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
}

#[test]
fn by_signal_while_clients_send() {
    rotates(Setup::default(), Expect::default(), 20, |daemon| {
        for _ in 0..20 {
            let before = inode(&daemon.current());
            daemon.signal(Signal::SIGUSR1);
            wait_until(DEADLINE, "a rotation", || inode(&daemon.current()) != before);
            // Let something be written into it, else there is nothing to rotate.
            wait_until(DEADLINE, "a record", || fs::metadata(daemon.current()).unwrap().len() > 0);
        }
    });
}

/// The writer dies with the request in its channel, or before it came.
#[test]
fn a_rotation_asked_of_a_dead_writer_is_done_by_the_next() {
    let mut daemon = Setup::default().start();
    for signal_first in [false, true] {
        one_client(&daemon, 3);
        let (before, writer) = (inode(&daemon.current()), daemon.writer());
        if signal_first {
            daemon.signal(Signal::SIGUSR1);
        }
        processes::signal(writer, Signal::SIGKILL);
        if !signal_first {
            daemon.signal(Signal::SIGUSR1);
        }
        wait_until(DEADLINE, "a rotation", || inode(&daemon.current()) != before);
    }
    daemon.stop();
}

#[test]
fn a_record_larger_than_the_maximum_makes_a_larger_file() {
    let mut daemon = Setup::default().set("rotate.max-size", "4KiB").start();
    let large: &[u8] = &[b'x'; 10_000];
    let messages = Messages::listed(Framing::Line, &[b"small", large, b"small", large, large]);
    let histories = serve(vec![Client::connect(daemon.address, Framing::Line, messages).unwrap()]);
    daemon.stop();
    let report =
        checker::check(&daemon.store(), Format::Text, &histories, Expect { max_size: Some(4096), ..Expect::default() });
    assert_eq!(report.files.len(), 5);
}

#[test]
fn an_empty_file_is_not_rotated() {
    let mut daemon = Setup::default().set("rotate.interval", "1s").start();
    let before = inode(&daemon.current());
    let start = Instant::now();
    stays_false(SECOND * 5 / 2, "a rotation of an empty file", || {
        if start.elapsed() < SECOND {
            daemon.signal(Signal::SIGUSR1);
        }
        inode(&daemon.current()) != before || checker::files(&daemon.store()).len() != 1
    });
    daemon.stop();
}

/// `tail -F` as an operator runs it, with its output in a file.
struct Tail {
    child: Child,
    output: PathBuf,
}

impl Tail {
    fn start(daemon: &Daemon) -> Self {
        let output = daemon.home().join("tail.out");
        let errors = File::create(daemon.home().join("tail.err")).unwrap();
        let mut command = Command::new("tail");
        command.args(["-n", "+1", "-F"]).arg(daemon.current()).stdin(Stdio::null());
        let child = command.stdout(File::create(&output).unwrap()).stderr(errors).spawn().expect("tail is installed");
        Self { child, output }
    }

    fn printed(&self) -> Vec<u8> {
        fs::read(&self.output).unwrap()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tail_follows_fifty_rotations() {
    let mut daemon = Setup::default().start();
    let tail = Tail::start(&daemon);
    let mut clients = vec![
        Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap().quota(0),
    ];
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    let mut sent = 0;
    for rotation in 1..=50 {
        // The signal falls between messages that are on their way: no pause of the sender at the swap.
        clients[0].allow(3);
        drive(&mut clients, "three echoes", |clients| clients[0].served());
        if rotation == 1 {
            // Who comes after a rotation does not see what was before it.
            wait_until(DEADLINE, "a tail that follows", || lines(&tail.printed()) == 3);
        }
        let before = inode(&daemon.current());
        daemon.signal(Signal::SIGUSR1);
        clients[0].allow(3);
        drive(&mut clients, "three echoes", |clients| clients[0].served());
        wait_until(DEADLINE, "a rotation", || inode(&daemon.current()) != before);
        sent += 6;
        // The next one only after this: tail may leave out a file that was current for less than its turn. What is written
        // between its reading of a new file and its watching, it sees with what comes next.
        let seen = (0..10).any(|_| {
            came_true(DEADLINE / 10, || lines(&tail.printed()) == sent) || {
                clients[0].allow(1);
                drive(&mut clients, "an echo", |clients| clients[0].served());
                sent += 1;
                false
            }
        });
        assert!(seen, "tail printed {} of {sent} records after rotation {rotation}", lines(&tail.printed()));
    }
    let histories: Vec<History> = clients.into_iter().map(Client::leave).collect();
    daemon.stop();
    let report = checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
    assert!(report.files.len() >= 50);
    let all: Vec<u8> = report.files.iter().flat_map(|file| fs::read(&file.path).unwrap()).collect();
    assert!(tail.printed() == all, "tail printed other bytes than the store holds");
}

fn one_client(daemon: &Daemon, messages: usize) -> History {
    let client = Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap();
    serve(vec![client.quota(messages).half_close()]).remove(0)
}

#[test]
fn a_clean_store_is_resumed() {
    let mut daemon = Setup::default().start();
    let mut histories = vec![one_client(&daemon, 10)];
    daemon.stop();
    let before = inode(&daemon.current());
    for _ in 0..2 {
        daemon.start_again();
        histories.push(one_client(&daemon, 10));
        daemon.stop();
    }
    assert_eq!(inode(&daemon.current()), before, "the live file is the same");
    let report = checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
    assert_eq!((report.files.len(), report.records), (1, 30));
    assert!(torn(&daemon.store()).is_empty());
}

/// The files that hold torn records.
fn torn(store: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "torn")).collect()
}

/// A store as a crash leaves it: the live file ends in `tail`.
fn crashed_store(tail: &[u8]) -> (Daemon, Vec<History>, PathBuf) {
    let mut daemon = Setup::default().start();
    let histories = vec![one_client(&daemon, 10)];
    daemon.kill_all();
    let live = checker::files(&daemon.store()).pop().unwrap().path;
    File::options().append(true).open(&live).unwrap().write_all(tail).unwrap();
    (daemon, histories, live)
}

#[test]
fn a_torn_record_is_set_aside() {
    let tail = b"2026-11-22T08:42:00.123456Z 127.0.0.1:53210 01JD9Z0Q4X-17 torn in the mid";
    let (mut daemon, mut histories, live) = crashed_store(tail);
    let whole = fs::metadata(&live).unwrap().len() - tail.len() as u64;
    daemon.start_again();
    let aside = PathBuf::from(format!("{}.torn", live.display()));
    assert_eq!(torn(&daemon.store()), std::slice::from_ref(&aside));
    assert!(fs::read(&aside).unwrap() == tail, "the torn bytes are kept");
    assert_eq!(fs::metadata(&live).unwrap().len(), whole, "the old file is cut after its last record");
    assert_ne!(inode(&daemon.current()), inode(&live), "current is a new file");
    assert!(daemon.log().contains("torn"), "the log says so");
    histories.push(one_client(&daemon, 10));
    daemon.stop();
    let report = checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
    assert_eq!(report.records, 20);
}

#[test]
fn a_crash_between_records_tears_nothing() {
    let (mut daemon, mut histories, _) = crashed_store(b"");
    daemon.start_again();
    assert!(torn(&daemon.store()).is_empty());
    histories.push(one_client(&daemon, 10));
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect { empty_files: true, ..Expect::default() });
}

#[test]
fn a_crash_under_load_loses_no_echoed_message() {
    for echo in ["stored", "synced"] {
        let mut daemon = Setup::default().set("server.echo", echo).start_in(Home::new());
        let mut histories = Vec::new();
        for _ in 0..3 {
            let shape = Shape { on_break: support::load::OnBreak::Leave, ..Shape::default() };
            let load = Load::start(daemon.address, shape);
            load.progress(500);
            daemon.kill_all();
            histories.extend(load.finish());
            daemon.start_again();
        }
        daemon.stop();
        checker::check(&daemon.store(), Format::Text, &histories, Expect { empty_files: true, ..Expect::default() });
    }
}
