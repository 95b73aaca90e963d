//! `send`: everything is stored at least once, whatever happens between, and what may be stored twice is told.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod cuts;
mod input;
mod proxy;
mod restarts;
mod servers;

use nix::sys::signal::Signal;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use support::daemon::{Daemon, Ended, command};
use support::framing::{Format, Framing};
use support::home::Home;
use support::seed::{Chance, seed};
use support::{DEADLINE, came_true, checker, processes};

/// A running `echostored send`; killed when it is dropped.
struct Sender {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    _home: Home,
}

impl Sender {
    fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, Stdio::piped())
    }

    fn start_with(arguments: &[&str], input: impl Into<Stdio>) -> Self {
        let home = Home::new();
        let (out, err) = (home.join("out"), home.join("err"));
        let mut command = command(&[&["send"], arguments].concat());
        command.stdin(input).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Self { child: command.spawn().unwrap(), out, err, _home: home }
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("piped, and taken once")
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.err).unwrap()).into_owned()
    }

    fn signal(&self, signal: Signal) {
        processes::signal(self.pid(), signal);
    }

    /// Waits for its end.
    fn end(mut self, deadline: Duration) -> Ended {
        let mut status = None;
        let ended = came_true(deadline, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "send did not end within {deadline:?}; it said:\n{}", self.said());
        let stdout = std::fs::read_to_string(&self.out).unwrap();
        Ended { code: status.expect("just seen").code().unwrap_or(-1), stdout, stderr: self.said() }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends `input` to its end.
fn send(arguments: &[&str], input: &[u8]) -> Ended {
    let mut sender = Sender::start(arguments);
    let mut pipe = sender.input();
    let input = input.to_vec();
    // It may end before it has read everything.
    let feeder = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let ended = sender.end(DEADLINE);
    feeder.join().unwrap();
    ended
}

/// Message `index`, from 0: its number, and random bytes that the input can carry; some are empty but for the number.
fn message(framing: Framing, index: u64) -> Vec<u8> {
    let mut chance = Chance::new(seed() ^ index.wrapping_mul(0x85eb_ca6b_27d4));
    let mut message = format!("{index}:").into_bytes();
    let head = message.len();
    let length = if chance.below(100) == 0 { 5000 } else { 80 };
    message.resize(head + usize::try_from(chance.below(length)).unwrap(), 0);
    chance.fill(&mut message[head..]);
    let separator = separator(framing);
    message.iter_mut().filter(|byte| **byte == separator).for_each(|byte| *byte = b'~');
    while framing == Framing::Line && message.last() == Some(&b'\r') {
        message.pop();
    }
    message
}

/// What separates messages in the input.
fn separator(framing: Framing) -> u8 {
    if framing == Framing::Nul { 0 } else { b'\n' }
}

/// Writes messages to a sender until it is told to stop, at some pace.
struct Feeder {
    stop: Arc<AtomicBool>,
    fed: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Feeder {
    fn start(mut input: ChildStdin, framing: Framing) -> Self {
        let (stop, fed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&fed));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut batch = Vec::new();
                for _ in 0..20 {
                    batch.extend(message(framing, count.fetch_add(1, Ordering::Relaxed)));
                    batch.push(separator(framing));
                }
                if input.write_all(&batch).is_err() {
                    return;
                }
                // Not as fast as can be: the store must stay small enough to be read again.
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, fed, thread }
    }

    /// Ends the input; how many messages it had.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.fed.load(Ordering::Relaxed)
    }
}

/// How often each message is stored. All are, in order on each connection; nothing else is.
fn stored(daemon: &Daemon, framing: Framing, count: u64) -> Vec<u32> {
    let mut times = vec![0; usize::try_from(count).unwrap()];
    // By connection: the last message's number in it, and in the input.
    let mut last: HashMap<String, (u64, u64)> = HashMap::new();
    for file in checker::files(&daemon.store()) {
        checker::for_each_record(Format::Text, &file.path, |record, place| {
            let origin = record.origin.expect("text has one");
            let digits = record.message.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let index: u64 = std::str::from_utf8(&record.message[..digits]).unwrap().parse().expect("a number first");
            assert!(index < count, "{place}: message {index} was not sent");
            assert!(record.message == message(framing, index), "{place}: not what was sent as message {index}");
            if let Some((n, before)) = last.insert(origin.connection.clone(), (origin.n, index)) {
                assert_eq!((origin.n, index), (n + 1, before + 1), "{place}: the order on {}", origin.connection);
            }
            times[usize::try_from(index).unwrap()] += 1;
        });
    }
    let missing = times.iter().filter(|times| **times == 0).count();
    assert_eq!(missing, 0, "messages were echoed and are not stored");
    times
}

/// The ranges of `--exactly`, and the total; the lines are from 1.
fn ranges(stdout: &str) -> (Vec<(u64, u64)>, u64) {
    let mut lines: Vec<&str> = stdout.lines().collect();
    let total = lines.pop().and_then(|last| last.strip_prefix("total ")?.parse().ok()).expect("a last line: total N");
    let range = |line: &&str| {
        let (from, to) = line.split_once('-').expect("FIRST-LAST");
        (from.parse().unwrap(), to.parse().unwrap())
    };
    let ranges: Vec<(u64, u64)> = lines.iter().map(range).collect();
    assert!(ranges.iter().all(|(from, to)| from <= to) && ranges.is_sorted_by(|a, b| a.1 + 1 < b.0), "{ranges:?}");
    assert_eq!(ranges.iter().map(|(from, to)| to - from + 1).sum::<u64>(), total);
    (ranges, total)
}

/// Whatever is stored twice is in the ranges; how many are.
fn all_doubles_are_told(times: &[u32], stdout: &str) -> (u64, u64) {
    let (ranges, total) = ranges(stdout);
    let mut doubles = 0;
    for (times, line) in times.iter().zip(1..) {
        if *times > 1 {
            doubles += 1;
            let told = ranges.iter().any(|(from, to)| (*from..=*to).contains(&line));
            assert!(told, "line {line} is stored {times} times and in none of {ranges:?}");
        }
    }
    assert!(total >= doubles, "{doubles} are stored twice, {total} told");
    (doubles, total)
}
