//! The access log: who came, who left, how much, and why. (TLS and proxies: `tests/entry/access.rs`.)
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};
use support::control;
use support::daemon::{Daemon, Setup};
use support::home::Home;
use support::small::Small;
use support::{DEADLINE, wait_until};

fn setup() -> Setup {
    Setup::default().set("log.access", true).set("log.format", "json")
}

/// All lines of an event.
fn lines(daemon: &Daemon, event: &str) -> Vec<Value> {
    let log = daemon.log();
    let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let lines = whole.map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    lines.filter(|line| line["event"] == event).collect()
}

fn connect(daemon: &Daemon) -> (TcpStream, String) {
    let stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let own = stream.local_addr().unwrap().to_string();
    (stream, own)
}

/// Sends `messages` and hears them.
fn converse(stream: &mut TcpStream, messages: &str) {
    stream.write_all(messages.as_bytes()).unwrap();
    stream.read_exact(&mut vec![0; messages.len()]).unwrap();
}

/// The line that tells of this client's end.
fn closed(daemon: &Daemon, peer: &str) -> Value {
    let mut found = None;
    wait_until(DEADLINE, &format!("the end of {peer}"), || {
        found = lines(daemon, "connection-closed").into_iter().find(|line| line["peer"] == peer);
        found.is_some()
    });
    found.unwrap()
}

fn reason(daemon: &Daemon, peer: &str) -> String {
    closed(daemon, peer)["reason"].as_str().unwrap().to_owned()
}

#[test]
fn who_comes_and_goes_is_told_with_what_was_said() {
    let mut daemon = setup().start();
    let (mut stream, own) = connect(&daemon);
    converse(&mut stream, "one\ntwo\r\nthree\n");
    drop(stream);
    let end = closed(&daemon, &own);
    let begin = lines(&daemon, "connection-opened").into_iter().find(|line| line["peer"] == own.as_str()).unwrap();
    assert_eq!(begin["listener"], daemon.address.to_string());
    assert_eq!((&begin["transport"], &begin["level"]), (&"tcp".into(), &"info".into()));
    assert!(begin["role"].as_str().unwrap().starts_with("worker "), "{begin}");
    assert_eq!(begin["connection"], end["connection"]);
    let stored = std::fs::read_to_string(daemon.current()).unwrap();
    let id = format!(" {}-3 three\n", end["connection"].as_str().unwrap());
    assert!(stored.ends_with(&id), "{stored:?} has not {id:?}");
    assert_eq!((&end["messages"], &end["bytes_in"], &end["bytes_echoed"]), (&3.into(), &15.into(), &15.into()));
    assert_eq!(end["reason"], "client closed");
    assert!(end["seconds"].as_f64().is_some_and(|seconds| seconds < 60.0), "{end}");
    daemon.stop();
}

#[test]
fn without_it_nothing_is_told() {
    let mut daemon = Setup::default().set("log.format", "json").start();
    let (mut stream, first) = connect(&daemon);
    converse(&mut stream, "one\n");
    drop(stream);
    wait_until(DEADLINE, "an empty house", || control::status(&daemon)["connections"] == 0);
    // A reload turns it on, for those that are there, too.
    daemon.reconfigure(|setup| setup.set("log.access", true));
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "a client that is told of", || {
        let (mut stream, own) = connect(&daemon);
        converse(&mut stream, "two\n");
        drop(stream);
        lines(&daemon, "connection-opened").iter().any(|line| line["peer"] == own.as_str())
    });
    daemon.stop();
    for event in ["connection-opened", "connection-closed"] {
        assert!(!lines(&daemon, event).iter().any(|line| line["peer"] == first.as_str()), "it was off");
    }
    let before = lines(&daemon, "connection-opened").len();
    daemon.reconfigure(|setup| setup.set("log.level", "notice"));
    daemon.start_again();
    let (mut stream, _) = connect(&daemon);
    converse(&mut stream, "three\n");
    drop(stream);
    daemon.stop();
    assert_eq!(lines(&daemon, "connection-opened").len(), before, "they have level info");
}

#[test]
fn each_end_has_its_reason() {
    let mut daemon = setup()
        .set("limits.first-message-timeout", "3s")
        .set("limits.idle-timeout", "5s")
        .set("limits.max-connections-per-ip", 2)
        .set("server.max-message-size", "1KiB")
        .start();
    let (mut stream, own) = connect(&daemon);
    converse(&mut stream, "x\n");
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert_eq!(reason(&daemon, &own), "reset");
    let (mut stream, own) = connect(&daemon);
    converse(&mut stream, "x\n");
    assert_eq!(reason(&daemon, &own), "idle");
    let (silent, own) = connect(&daemon);
    assert_eq!(reason(&daemon, &own), "late");
    drop(silent);
    let (mut stream, own) = connect(&daemon);
    stream.write_all(&[b'x'; 2000]).unwrap();
    assert_eq!(reason(&daemon, &own), "oversize");
    drop(stream);
    let (mut stream, own) = connect(&daemon);
    stream.write_all(b"a\nb").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let end = closed(&daemon, &own);
    assert_eq!((&end["reason"], &end["messages"], &end["bytes_in"]), (&"client closed".into(), &2.into(), &3.into()));
    drop(stream);
    let first = [connect(&daemon), connect(&daemon)];
    wait_until(DEADLINE, "two that are in", || {
        first.iter().all(|(_, own)| lines(&daemon, "connection-opened").iter().any(|line| line["peer"] == own.as_str()))
    });
    let (_third, own) = connect(&daemon);
    let end = closed(&daemon, &own);
    assert_eq!((&end["reason"], &end["connection"], &end["messages"]), (&"too many".into(), &"-".into(), &0.into()));
    assert!(!lines(&daemon, "connection-opened").iter().any(|line| line["peer"] == own.as_str()));
    drop(first);
    daemon.stop();
}

#[test]
fn framing_denial_and_shutdown() {
    let mut daemon = setup().set("server.framing", "octet-counted").start();
    let (mut stream, own) = connect(&daemon);
    stream.write_all(b"nonsense").unwrap();
    assert_eq!(reason(&daemon, &own), "malformed");
    let (mut stream, own) = connect(&daemon);
    converse(&mut stream, "2 ab");
    let client = std::thread::spawn(move || stream.read_to_end(&mut Vec::new()));
    daemon.stop();
    client.join().unwrap().unwrap();
    assert_eq!(reason(&daemon, &own), "shutdown");
    daemon.reconfigure(|setup| setup.set("limits.deny", vec!["127.0.0.0/8"]));
    daemon.start_again();
    let (_stream, own) = connect(&daemon);
    assert_eq!(reason(&daemon, &own), "denied");
    daemon.stop();
}

#[test]
fn who_does_not_read() {
    let mut daemon = setup().set("limits.write-timeout", "500ms").start();
    let (mut stream, own) = connect(&daemon);
    stream.set_nonblocking(true).unwrap();
    let message = [b'x'; 60_000].iter().chain(b"\n").copied().collect::<Vec<u8>>();
    wait_until(DEADLINE, "a client that does not read is closed", || {
        let _ = stream.write(&message);
        lines(&daemon, "connection-closed").iter().any(|line| line["peer"] == own.as_str())
    });
    let end = closed(&daemon, &own);
    assert_eq!(end["reason"], "timed out");
    assert!(end["bytes_echoed"].as_u64() <= end["bytes_in"].as_u64() && end["messages"].as_u64() > Some(0), "{end}");
    daemon.stop();
}

/// Who does not read when the daemon stops: it waits for `server.shutdown-timeout`, and no longer.
#[test]
fn a_stop_that_does_not_wait() {
    let mut daemon = setup().set("server.shutdown-timeout", "500ms").start();
    for attempt in 1.. {
        let late = lines(&daemon, "worker-late").len();
        let (mut stream, own) = connect(&daemon);
        fill(&mut stream);
        daemon.stop();
        // On a disk that hangs a worker hangs in its log, too, and is killed after a second: nobody can tell of the end then.
        let killed = lines(&daemon, "worker-late").len() > late;
        // And it may have been the disk, not the client, that stood still.
        let had_all = || reason(&daemon, &own) == "shutdown";
        if attempt < 5 && (killed || had_all()) {
            eprintln!("attempt {attempt}: the disk hangs; once more");
            daemon.start_again();
            continue;
        }
        let end = closed(&daemon, &own);
        assert_eq!(end["reason"], "aborted");
        assert!(end["bytes_echoed"].as_u64() < end["bytes_in"].as_u64(), "{end}");
        break;
    }
}

/// Sends, and reads nothing, until nothing more goes in: all buffers up to the daemon's own are full of echoes.
fn fill(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let message = b"a short one\n".repeat(5000);
    let began = Instant::now();
    let mut last = began;
    while last.elapsed() < Duration::from_secs(2) {
        match stream.write(&message) {
            Ok(_) => last = Instant::now(),
            Err(_) => std::thread::yield_now(),
        }
        assert!(began.elapsed() < DEADLINE, "it takes for ever");
    }
}

#[test]
fn a_full_disk_that_refuses() {
    let home = Home::new();
    let Some(small) = Small::new(&home, 1 << 20) else { return };
    let mut daemon = setup().set("store.on-disk-full", "reject").set("rotate.max-size", "64MiB").start_in(home);
    let mut refused = false;
    let message = [b'x'; 60_000].iter().chain(b"\n").copied().collect::<Vec<u8>>();
    for _ in 0..100 {
        let (mut stream, own) = connect(&daemon);
        if stream.write_all(&message).is_err() || stream.read_exact(&mut vec![0; message.len()]).is_err() {
            assert_eq!(reason(&daemon, &own), "refused");
            refused = true;
            break;
        }
    }
    assert!(refused, "a megabyte holds six");
    small.give_room();
    daemon.stop();
}
