//! A store whose format or prefix changed between two runs, and a raw store whose clients write what looks like records.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use support::checker;
use support::daemon::{Daemon, Setup};
use support::{DEADLINE, processes, wait_until};

/// Sends `lines`, each with its newline, and hears them all.
fn say(daemon: &Daemon, lines: &str) {
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(lines.as_bytes()).unwrap();
    let mut heard = vec![0; lines.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, lines.as_bytes());
}

fn stored(daemon: &Daemon) -> String {
    checker::files(&daemon.store()).iter().map(|file| std::fs::read_to_string(&file.path).unwrap()).collect()
}

/// The first message looks like the beginning of another format. It must not make the next start take the rest for
/// torn records.
#[test]
fn a_raw_store_is_raw_whatever_its_clients_say() {
    let lookalikes = [
        "{\"time\":\"x\n",
        "2026-11-22T08:42:00.123456Z 127.0.0.1:53210 0001010001-1 hello\n",
        "{\"time\":\"2026-11-22T08:42:00.123456Z\",\"peer\":\"127.0.0.1:1\",\"connection\":\"A\",\"n\":1,\"message\":\"\"}\n",
    ];
    for first in lookalikes {
        let mut daemon = Setup::default().set("store.format", "raw").start();
        let all = format!("{first}{}", "one of many\n".repeat(1000));
        say(&daemon, &all);
        daemon.kill_all();
        daemon.start_again();
        daemon.stop();
        assert!(stored(&daemon) == all, "after {first:?}");
    }
}

#[test]
fn a_changed_format_begins_a_new_file_and_keeps_the_old_one() {
    let mut daemon = Setup::default().set("store.format", "raw").start();
    say(&daemon, "raw one\nraw two\n");
    daemon.stop();
    daemon.reconfigure(|setup| setup.set("store.format", "text"));
    daemon.start_again();
    say(&daemon, "text one\n");
    // An unclean end in the new format: the old file is not judged by it.
    daemon.kill_all();
    daemon.start_again();
    daemon.stop();
    let stored = stored(&daemon);
    assert!(stored.starts_with("raw one\nraw two\n2"), "{stored}");
    assert!(stored.ends_with("-1 text one\n"), "{stored}");
}

/// A new prefix begins a new file; the sequence goes on, and so does a writer that follows a dead one.
#[test]
fn a_changed_prefix_begins_a_new_file() {
    let mut daemon = Setup::default().start();
    say(&daemon, "before\n");
    daemon.stop();
    daemon.reconfigure(|setup| setup.set("store.prefix", "other"));
    daemon.start_again();
    say(&daemon, "after\n");
    let victim = daemon.writer();
    processes::signal(victim, Signal::SIGKILL);
    wait_until(DEADLINE, "another writer", || daemon.roles("writer").iter().any(|pid| *pid != victim));
    say(&daemon, "later\n");
    daemon.remember();
    daemon.stop();
    let names: Vec<String> = std::fs::read_dir(daemon.store())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".log"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("messages-0000000001-")), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("other-0000000002-")), "{names:?}");
}
