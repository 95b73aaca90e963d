//! `log.level` and `log.format` are reloadable: in the supervisor, which stays, and in the roles, which are replaced.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use support::control;
use support::daemon::{Daemon, Setup, free_address};
use support::{DEADLINE, processes, wait_until};

/// One conversation with each kind of role: the writer and the archiver by a rotation, a worker by a message that is too large.
fn stir(daemon: &Daemon) {
    for _ in 0..2 {
        let mut client = TcpStream::connect(daemon.address).unwrap();
        client.write_all(b"x\n").unwrap();
        client.read_exact(&mut [0; 2]).unwrap();
        let live = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(daemon.current()).unwrap());
        let old = live();
        daemon.signal(Signal::SIGUSR1);
        wait_until(DEADLINE, "a rotation", || live() != old);
    }
    wait_until(DEADLINE, "one closed file", || {
        let names = std::fs::read_dir(daemon.store()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().ends_with(".log")).count() == 2
    });
    let mut client = TcpStream::connect(daemon.address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let _ = client.write_all(&[b'x'; 70_000]);
    let _ = client.read(&mut [0; 1]);
}

fn reload(daemon: &mut Daemon, changes: &[(&str, &str)]) -> usize {
    let [writer, archiver] = ["writer", "archiver"].map(|role| daemon.roles(role));
    let before = daemon.log().len();
    let workers = daemon.workers();
    daemon.reconfigure(|setup| changes.iter().fold(setup, |setup, (key, value)| setup.set(key, *value)));
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "new processes", || {
        let [new_writer, new_archiver] = ["writer", "archiver"].map(|role| daemon.roles(role));
        let now = daemon.workers();
        let replaced = |old: &[i32], new: &[i32]| !new.is_empty() && !new.iter().any(|pid| old.contains(pid));
        replaced(&writer, &new_writer)
            && replaced(&archiver, &new_archiver)
            && replaced(&workers, &now)
            && now.len() == 2
    });
    daemon.remember();
    before
}

/// The roles, without numbers, of the lines that came behind `from`, in text and in JSON.
fn who(daemon: &Daemon, from: usize) -> [Vec<String>; 2] {
    let log = daemon.log();
    let (mut text, mut json) = (Vec::new(), Vec::new());
    for line in log[from..].split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let (list, role) = match serde_json::from_str::<serde_json::Value>(line) {
            Ok(line) => (&mut json, line["role"].as_str().unwrap().to_owned()),
            Err(_) => (&mut text, line.split(' ').nth(2).unwrap().trim_end_matches(':').to_owned()),
        };
        list.push(role.split(' ').next().unwrap().to_owned());
    }
    [&mut text, &mut json].map(|roles| {
        roles.sort();
        roles.dedup();
        std::mem::take(roles)
    })
}

#[test]
fn every_role_follows_level_and_format() {
    let mut daemon = Setup::default().set("retain.max-files", 1).start();
    let all = ["archiver", "supervisor", "worker", "writer"];
    let none: [&str; 0] = [];
    stir(&daemon);
    wait_until(DEADLINE, "text of all roles", || who(&daemon, 0) == [all.to_vec(), none.to_vec()]);
    let from = reload(&mut daemon, &[("log.format", "json")]);
    stir(&daemon);
    wait_until(DEADLINE, "JSON of all roles", || who(&daemon, from)[1] == all);
    // What was begun before the reload ends in text, if it says anything.
    assert!(!who(&daemon, from)[0].contains(&"supervisor".to_owned()), "{}", &daemon.log()[from..]);
    reload(&mut daemon, &[("log.level", "error")]);
    let from = daemon.log().len();
    stir(&daemon);
    // Whoever would speak has spoken once the next reload is through.
    reload(&mut daemon, &[("log.level", "info"), ("log.format", "text")]);
    let quiet = who(&daemon, from);
    assert_eq!(quiet[1], none, "{}", &daemon.log()[from..]);
    let from = daemon.log().len();
    stir(&daemon);
    wait_until(DEADLINE, "text of the roles", || {
        let [text, json] = who(&daemon, from);
        json.is_empty() && ["archiver", "worker", "writer"].iter().all(|role| text.iter().any(|is| is == role))
    });
    daemon.stop();
}

/// How many lines of an event there are, by whichever role.
fn told(daemon: &Daemon, event: &str) -> usize {
    let log = daemon.log();
    let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.filter(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"] == event).count()
}

#[test]
fn every_change_of_state_is_told_once() {
    let mut daemon = Setup::default().set("log.format", "json").start();
    wait_until(DEADLINE, "the archiver", || told(&daemon, "archiver-ready") == 1);
    let more = free_address();
    let first = daemon.address.to_string();
    reload(&mut daemon, &[("log.level", "debug")]);
    wait_until(DEADLINE, "the reload", || told(&daemon, "reload-done") == 1);
    wait_until(DEADLINE, "the old workers' end", || told(&daemon, "worker-left") == 2);
    for listen in [vec![first.clone(), more.to_string()], vec![first]] {
        let before = told(&daemon, "reload-done");
        daemon.reconfigure(|setup| setup.set("server.listen", listen));
        daemon.signal(Signal::SIGHUP);
        wait_until(DEADLINE, "the reload", || told(&daemon, "reload-done") > before);
    }
    assert_eq!((told(&daemon, "listening"), told(&daemon, "listening-ended"), told(&daemon, "ready")), (2, 1, 1));
    wait_until(DEADLINE, "the old workers' end", || told(&daemon, "worker-left") == 6);
    assert_eq!(told(&daemon, "worker-replaced"), 0);
    let victim = daemon.workers()[0];
    processes::signal(victim, Signal::SIGKILL);
    wait_until(DEADLINE, "another worker", || told(&daemon, "worker-replaced") == 1);
    assert_eq!(told(&daemon, "worker-ended"), 1);
    daemon.remember();
    assert_eq!(told(&daemon, "supervisor-gone"), 0);
    daemon.signal(Signal::SIGKILL);
    // A worker may be through with the signal that comes with it before it sees the end of its channel.
    wait_until(DEADLINE, "the writer has told", || told(&daemon, "supervisor-gone") > 0);
    daemon.kill_all();
}

#[test]
fn an_orderly_stop_misses_nobody() {
    let mut daemon = Setup::default().set("log.format", "json").start();
    stir_a_little(&daemon);
    daemon.stop();
    for event in ["supervisor-gone", "worker-ended", "writer-ended", "worker-left", "lines-dropped"] {
        assert_eq!(told(&daemon, event), 0, "{event}: {}", daemon.log());
    }
    assert_eq!((told(&daemon, "stopping"), told(&daemon, "stopped"), told(&daemon, "live-segment-end")), (1, 1, 1));
}

fn stir_a_little(daemon: &Daemon) {
    let mut client = TcpStream::connect(daemon.address).unwrap();
    client.write_all(b"x\n").unwrap();
    client.read_exact(&mut [0; 2]).unwrap();
}

/// A connection may outlive many reloads.
#[test]
fn who_finishes_old_connections_follows() {
    let mut daemon = Setup::default().start();
    let client = || {
        let mut client = TcpStream::connect(daemon.address).unwrap();
        client.write_all(b"x\n").unwrap();
        client.read_exact(&mut [0; 2]).unwrap();
        client
    };
    let mut old: Vec<TcpStream> = (0..20).map(|_| client()).collect();
    let own: Vec<String> = old.iter().map(|client| client.local_addr().unwrap().to_string()).collect();
    daemon.reconfigure(|setup| setup.set("log.format", "json").set("log.access", true));
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "the reload", || daemon.log().contains(r#""event":"reload-done""#));
    // The end of one that leaves before its worker has looked up is not told: that of the next one is.
    let told = (0..old.len()).rev().any(|rest| {
        old.truncate(rest);
        wait_until(DEADLINE, "its end", || control::status(&daemon)["connections"] == rest);
        let log = daemon.log();
        let json = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut ends = json.filter(|line| line["event"] == "connection-closed");
        ends.any(|line| own.iter().any(|own| line["peer"] == own.as_str()))
    });
    assert!(told, "{}", daemon.log());
    daemon.stop();
}
