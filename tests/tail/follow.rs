//! `tail -f`: over rotations, compression, deletion, stops and starts.
use super::support::client::{Client, Messages};
use super::support::daemon::{Daemon, as_user, command};
use super::support::follower::{Follower, Printed};
use super::support::framing::Framing;
use super::support::load::{Load, OnBreak, Shape};
use super::support::shelf::{self, Hand};
use super::support::{DEADLINE, came_true, home, remove_all, skip, stays_false, wait_until};
use super::{GENTLE, Rotations, daemon};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// All records, then those that come.
const EVERYTHING: &[&str] = &["-n", "1000000000"];

/// Waits for all that is stored; ends it.
fn finish(follower: Follower, stored: &[u8]) -> Printed {
    follower.await_length(stored.len());
    let printed = follower.end(Signal::SIGINT);
    assert_eq!(printed.code, 0, "{printed:?}");
    printed
}

/// Where the two differ.
fn same(printed: &[u8], stored: &[u8]) {
    if printed != stored {
        let at = printed.iter().zip(stored).position(|(a, b)| a != b).unwrap_or(printed.len().min(stored.len()));
        let show = |bytes: &[u8]| {
            bytes[at.saturating_sub(60).min(bytes.len())..(at + 100).min(bytes.len())].escape_ascii().to_string()
        };
        panic!(
            "{} bytes printed, {} stored; at {at}\nprinted {}\nstored  {}",
            printed.len(),
            stored.len(),
            show(printed),
            show(stored)
        );
    }
}

#[test]
fn every_record_once_over_rotations_and_compression() {
    let mut daemon = daemon();
    let follower = Follower::start(&daemon.store(), EVERYTHING);
    let (load, rotations) = (Load::start(daemon.address, GENTLE), Rotations::start(&daemon));
    let hand = Hand::start(&daemon.store(), usize::MAX >> 1);
    wait_until(2 * DEADLINE, "a hundred files", || shelf::segments(&daemon.store()).len() > 100);
    drop(rotations);
    load.finish();
    hand.finish();
    daemon.stop();
    let stored = shelf::all(&shelf::contents(&daemon.store()));
    let printed = finish(follower, &stored);
    same(&printed.stdout, &stored);
    assert_eq!(printed.stderr, "");
}

/// Numbers of segments that it says were deleted before they were read.
fn told_missing(said: &str) -> Vec<u64> {
    let mut missing = Vec::new();
    for line in said.lines() {
        let (_, rest) = line.split_once(", number ").unwrap_or_else(|| panic!("{line}"));
        let (numbers, _) = rest.split_once(',').unwrap();
        let (from, to) = numbers.split_once(" to ").unwrap_or((numbers, numbers));
        missing.extend(from.parse::<u64>().unwrap()..=to.parse().unwrap());
    }
    missing
}

#[test]
fn what_is_deleted_before_it_is_read_is_told_and_the_rest_comes_once() {
    let mut daemon = daemon();
    let follower = Follower::start(&daemon.store(), EVERYTHING);
    let (load, rotations) = (Load::start(daemon.address, GENTLE), Rotations::start(&daemon));
    let hand = Hand::start(&daemon.store(), 5);
    // Held up now and then, so that something is deleted under it.
    for round in 0..4 {
        load.progress(500);
        super::processes::signal(follower.pid(), Signal::SIGSTOP);
        let newest = || shelf::segments(&daemon.store()).last_key_value().map_or(0, |(sequence, _)| *sequence);
        let before = newest();
        wait_until(2 * DEADLINE, "rotations", || newest() > before + 8 + round);
        super::processes::signal(follower.pid(), Signal::SIGCONT);
    }
    drop(rotations);
    load.finish();
    let mut contents = hand.finish();
    daemon.stop();
    let last = shelf::contents(&daemon.store()).pop_last().unwrap().1;
    contents.extend(shelf::contents(&daemon.store()));
    let ended = || follower.printed().ends_with(&last[last.len().saturating_sub(200)..]);
    wait_until(2 * DEADLINE, "the last record", ended);
    let printed = follower.end(Signal::SIGINT);
    let missing = told_missing(&printed.stderr);
    assert!(!missing.is_empty(), "nothing was deleted before it was read");
    assert!(missing.is_sorted() && printed.code == 0, "{printed:?}");
    missing.iter().for_each(|sequence| drop(contents.remove(sequence).expect("a segment that was there")));
    same(&printed.stdout, &shelf::all(&contents));
}

#[test]
fn over_stops_kills_and_starts_of_the_daemon() {
    let mut daemon = daemon();
    let follower = Follower::start(&daemon.store(), EVERYTHING);
    for round in 0..6 {
        let load = Load::start(daemon.address, Shape { on_break: OnBreak::Leave, ..GENTLE });
        load.progress(300);
        if round % 2 == 0 {
            daemon.kill_all()
        } else {
            daemon.stop()
        }
        load.finish();
        daemon.start_again();
    }
    daemon.stop();
    let stored = shelf::all(&shelf::contents(&daemon.store()));
    let printed = finish(follower, &stored);
    same(&printed.stdout, &stored);
}

/// Says one line and hears it; when it was heard.
fn say(stream: &mut TcpStream, line: &str) -> Instant {
    stream.write_all(line.as_bytes()).unwrap();
    let mut heard = vec![0; line.len()];
    stream.read_exact(&mut heard).unwrap();
    Instant::now()
}

/// How long after its echo each of some records is printed.
fn latencies(daemon: &Daemon, follower: &Follower) -> Vec<Duration> {
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut all: Vec<Duration> = (0..60)
        .map(|n| {
            if n % 20 == 19 {
                daemon.signal(Signal::SIGUSR1);
            }
            let length = follower.length();
            let heard = say(&mut stream, "how long\n");
            while follower.length() == length {
                assert!(heard.elapsed() < DEADLINE, "not printed");
                std::thread::yield_now();
            }
            heard.elapsed()
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_record_is_shown_at_once() {
    let daemon = daemon();
    let follower = Follower::start(&daemon.store(), &["-n", "0"]);
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    // What comes before it has begun is not shown.
    wait_until(DEADLINE, "it has begun", || {
        say(&mut stream, "first\n");
        follower.length() > 0
    });
    let stored = || std::fs::read(daemon.current()).unwrap();
    wait_until(DEADLINE, "it has caught up", || stored().ends_with(&follower.printed()[follower.length() - 20..]));
    let all = latencies(&daemon, &follower);
    println!("from echo to print: median {:?}, 90 % {:?}, longest {:?}", all[30], all[54], all[59]);
    // Wanted are 5 ms; a loaded machine may take twenty times that.
    assert!(all[30] < Duration::from_millis(100), "{all:?}");
}

#[test]
fn without_inotify_it_looks_by_itself() {
    let script = "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$@\"";
    let in_namespace = || {
        let mut command = Command::new("unshare");
        command.args(["-U", "-r", "sh", "-c", script, "sh"]);
        as_user(&mut command);
        command
    };
    let works = in_namespace().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !works {
        return skip("no user namespace to forbid inotify in");
    }
    let mut daemon = daemon();
    let mut command = in_namespace();
    command.arg(home::binary()).args(["tail", "-f", "--directory"]).arg(daemon.store()).args(EVERYTHING);
    let follower = Follower::spawn(command);
    let (load, rotations) = (Load::start(daemon.address, GENTLE), Rotations::start(&daemon));
    load.progress(3000);
    drop(rotations);
    load.finish();
    daemon.stop();
    let stored = shelf::all(&shelf::contents(&daemon.store()));
    let printed = finish(follower, &stored);
    same(&printed.stdout, &stored);
    assert_eq!(printed.stderr, "");
}

#[test]
fn it_goes_on_with_another_directory_in_the_stores_place() {
    let mut daemon = daemon();
    let follower = Follower::start(&daemon.store(), EVERYTHING);
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    say(&mut stream, "before\n");
    follower.await_length(1);
    daemon.stop();
    let before = shelf::all(&shelf::contents(&daemon.store()));
    remove_all(&daemon.store());
    wait_until(DEADLINE, "a word of it", || follower.said().contains("is gone; waiting"));
    daemon.start_again();
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    say(&mut stream, "after\n");
    let after = shelf::all(&shelf::contents(&daemon.store()));
    let printed = finish(follower, &[before.clone(), after.clone()].concat());
    same(&printed.stdout, &[before, after].concat());
    assert!(printed.stderr.contains("was replaced by another directory; going on with that"), "{}", printed.stderr);
    assert_eq!(printed.stderr.lines().count(), 2, "{}", printed.stderr);
}

#[test]
fn it_ends_when_nobody_reads() {
    let daemon = daemon();
    let mut command = command(&["tail", "-f", "--directory"]);
    command.arg(daemon.store()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    say(&mut stream, "one\n");
    let mut first = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    drop(child.stdout.take());
    // Nothing is written any more.
    let mut status = None;
    assert!(came_true(DEADLINE, || {
        status = child.try_wait().unwrap();
        status.is_some()
    }));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn half_a_record_is_not_shown() {
    let daemon = daemon();
    let follower = Follower::start(&daemon.store(), EVERYTHING);
    let messages = Messages::generated(Framing::Line, 20, 40);
    let client = Client::connect(daemon.address, Framing::Line, messages).unwrap().quota(3).half_close();
    super::support::drive::serve(vec![client]);
    let stored = std::fs::read(daemon.current()).unwrap();
    follower.await_length(stored.len());
    // By a foreign hand: the daemon leaves such a file.
    let mut file = std::fs::File::options().append(true).open(daemon.current()).unwrap();
    file.write_all(b"2026-11-22T08:42:00.123456Z 127.0.0.1:5 A-1 ha").unwrap();
    stays_false(Duration::from_millis(300), "half a record", || follower.length() > stored.len());
    file.write_all(b"lf\n").unwrap();
    follower.await_length(stored.len() + 1);
    assert!(follower.printed().ends_with(b" A-1 half\n"));
}
