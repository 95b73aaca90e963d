//! `rm -rf` of the whole store while the daemon runs: it makes a new one, and echoes nothing that is not in it.
use super::super::support::daemon::Daemon;
use super::super::support::drive::serve;
use super::super::support::load::{Load, OnBreak, Shape};
use super::super::support::seed::{Chance, count, seed};
use super::super::support::{DEADLINE, came_true, checker, processes, remove_all, stays_false, wait_until};
use super::{check_runs, client, echoes, epoch, numbers, says, setup, times, verified};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const AGAIN: &str = "the store goes on in";

/// Nobody holds anything of the deleted store any more.
fn nothing_deleted_is_held(daemon: &Daemon) {
    let store = daemon.store().display().to_string();
    let held = |pid: i32| {
        processes::descriptors(pid).iter().any(|it| it.target.starts_with(&store) && it.target.ends_with("(deleted)"))
    };
    let clean = came_true(DEADLINE, || !processes::family(daemon.supervisor()).into_iter().any(held));
    assert!(clean, "a descriptor of the deleted store is still open");
}

/// What is sent once the directory is gone is echoed when it is in the new one, and not before.
#[test]
fn what_is_sent_after_it_is_in_the_new_directory() {
    for echo in ["stored", "synced", "received"] {
        let mut daemon = setup(echo).start();
        let stored = || numbers(&daemon.store()).values().map(|it| it.1.len()).sum::<usize>();
        echoes(&daemon, 10);
        // `received` echoes from the pipe, before the writer has stored it.
        wait_until(DEADLINE, "10 records", || stored() == 10);
        let before = (epoch(&daemon.store()), numbers(&daemon.store()));
        remove_all(&daemon.store());
        let history = echoes(&daemon, 10);
        says(&daemon, AGAIN);
        assert_eq!(times(&daemon, AGAIN), 1, "it is said once");
        assert_eq!(times(&daemon, "was deleted, and all records in it"), 1, "it is said once");
        nothing_deleted_is_held(&daemon);
        echoes(&daemon, 5);
        // `received` echoes from the pipe, before the writer has a place for it.
        wait_until(DEADLINE, "15 records", || stored() == 15);
        let after = numbers(&daemon.store());
        assert!(
            after.values().any(|(peer, n)| *peer == history.peer.to_string() && n[..] == (1..=10).collect::<Vec<_>>())
        );
        assert_eq!(epoch(&daemon.store()), before.0, "the run's own epoch");
        daemon.stop();
        verified(&daemon, &daemon.store());
        daemon.start_again();
        assert_eq!(epoch(&daemon.store()), before.0 + 1, "the next start counts on");
        echoes(&daemon, 1);
        let names = |found: &std::collections::HashMap<String, _>| found.keys().cloned().collect::<Vec<_>>();
        wait_until(DEADLINE, "three connections' records", || numbers(&daemon.store()).len() == 3);
        let last = names(&numbers(&daemon.store()));
        assert!(names(&before.1).iter().all(|name| !last.contains(name)), "a connection's name came twice");
        daemon.stop();
    }
}

/// Under load: no connection is lost, and whatever a connection has in the new directory is without gap up to its last echo.
#[test]
fn under_load_no_connection_is_lost() {
    for echo in ["stored", "synced", "received"] {
        let mut daemon = setup(echo).set("rotate.max-size", "256KiB").start();
        let load = Load::start(daemon.address, Shape::default());
        for round in 1..=3 {
            load.progress(2000);
            remove_all(&daemon.store());
            wait_until(DEADLINE, "another directory", || times(&daemon, AGAIN) == round);
            daemon.remember();
        }
        load.progress(2000);
        assert_eq!(load.broken(), 0, "a connection was lost");
        let histories = load.finish();
        daemon.stop();
        let records = check_runs(&daemon.store(), &histories);
        assert!(records >= 2000, "{records} records in the last directory");
        verified(&daemon, &daemon.store());
    }
}

/// The path is taken by a file, so the directory cannot be made: nothing is echoed, systemd is told; then it heals.
#[test]
fn what_cannot_be_made_again_is_tried_until_it_can() {
    let mut daemon = setup("stored").start();
    echoes(&daemon, 10);
    let (store, doomed) = (daemon.store(), daemon.home().join("doomed"));
    fs::rename(&store, &doomed).unwrap();
    fs::write(&store, "in the way").unwrap();
    remove_all(&doomed);
    says(&daemon, "it is a symlink or no directory");
    wait_until(DEADLINE, "the status", || daemon.notified("STATUS=no store, see the log"));
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.write_all(b"hello\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let heard = stream.read(&mut [0; 16]);
    assert!(heard.is_err(), "an echo of what is nowhere: {heard:?}");
    assert_eq!(times(&daemon, "it is a symlink or no directory"), 1, "it is said once");
    fs::remove_file(&store).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut echo = [0; 6];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello\n");
    says(&daemon, AGAIN);
    assert_eq!(numbers(&store).len(), 1);
    drop(stream);
    daemon.stop();
    verified(&daemon, &store);
}

/// Somebody has put a directory of his own there at once, or restored an older copy of the store: it is gone on in.
#[test]
fn an_older_copy_in_its_place_is_gone_on_in() {
    let mut daemon = setup("stored").start();
    echoes(&daemon, 10);
    let (store, copy) = (daemon.store(), daemon.home().join("copy"));
    let status = std::process::Command::new("cp").arg("-a").arg(&store).arg(&copy).status().unwrap();
    assert!(status.success());
    echoes(&daemon, 10);
    fs::remove_file(copy.join(".lock")).unwrap();
    fs::rename(&store, daemon.home().join("old")).unwrap();
    fs::rename(&copy, &store).unwrap();
    remove_all(&daemon.home().join("old"));
    says(&daemon, AGAIN);
    echoes(&daemon, 10);
    daemon.stop();
    let all = numbers(&store);
    assert_eq!(all.values().map(|it| it.1.len()).collect::<Vec<_>>(), [10, 10]);
    verified(&daemon, &store);
}

/// A store that is ahead of ours is somebody else's: never mixed with this run's records.
#[test]
fn another_store_in_its_place_is_left_alone() {
    let mut daemon = setup("stored").start();
    echoes(&daemon, 10);
    let (store, doomed) = (daemon.store(), daemon.home().join("doomed"));
    let other = daemon.home().make_dir("other");
    let mark = daemon.home().write("other/.store", "version = 1\nepoch = 9\nformat = \"text\"\nsince = 0\n");
    assert!(mark.exists());
    fs::rename(&store, &doomed).unwrap();
    fs::rename(&other, &store).unwrap();
    remove_all(&doomed);
    says(&daemon, "belongs to another store (epoch 9, this one is at 1)");
    stays_false(Duration::from_millis(500), "records in another store", || !checker::files(&store).is_empty());
    daemon.remember();
    daemon.signal(Signal::SIGTERM);
    daemon.signal(Signal::SIGTERM);
    daemon.wait_exit(DEADLINE);
    daemon.start_again();
    assert_eq!(epoch(&store), 10);
    daemon.stop();
}

/// The writer, or all processes, are killed at any moment of it.
#[test]
fn killed_at_any_moment_of_it() {
    let mut chance = Chance::new(seed());
    let rounds = count("ECHOSTORED_TEST_DELETIONS", 8);
    println!("seed {}, {rounds} deletions with kills", seed());
    let mut daemon = setup("stored").start();
    for round in 0..rounds {
        let shape = Shape { on_break: OnBreak::Reconnect, ..Shape::default() };
        let load = Load::start(daemon.address, shape);
        load.progress(500);
        remove_all(&daemon.store());
        // The moment of the kill: part of the fault.
        std::thread::sleep(Duration::from_micros(chance.below(1_300_000)));
        let histories = if round % 2 == 0 {
            let writers = daemon.roles("writer");
            writers.into_iter().for_each(processes::end);
            daemon.remember();
            says(&daemon, AGAIN);
            load.progress(2000);
            assert_eq!(load.broken(), 0, "a connection was lost");
            let histories = load.finish();
            daemon.stop();
            histories
        } else {
            daemon.kill_all();
            drop(load);
            Vec::new()
        };
        if !histories.is_empty() {
            check_runs(&daemon.store(), &histories);
            verified(&daemon, &daemon.store());
        }
        daemon.start_again();
        serve(vec![client(&daemon).quota(10).half_close()]);
    }
    daemon.stop();
    verified(&daemon, &daemon.store());
}
