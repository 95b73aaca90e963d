//! Start and stop of a daemon in the foreground, under load.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use support::checker::{self, Expect};
use support::client::{Client, End, History, Messages};
use support::daemon::{Daemon, Setup, free_address};
use support::drive::{hear_out, held_up, serve};
use support::framing::{Format, Framing};
use support::load::{Load, OnBreak, Shape};
use support::{DEADLINE, processes, stays_false, wait_until};

const SECOND: Duration = Duration::from_secs(1);

fn client(address: SocketAddr) -> Client {
    Client::connect(address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap()
}

fn check(daemon: &Daemon, histories: &[History]) {
    checker::check(&daemon.store(), Format::Text, histories, Expect::default());
}

#[test]
fn a_graceful_stop_under_load_keeps_what_was_echoed() {
    for (echo, signal) in [("received", Signal::SIGTERM), ("stored", Signal::SIGINT), ("synced", Signal::SIGTERM)] {
        let mut daemon = Setup::default().set("server.echo", echo).start();
        let load = Load::start(daemon.address, Shape { on_break: OnBreak::Leave, window: 200, ..Shape::default() });
        load.progress(1000);
        daemon.remember();
        daemon.signal(signal);
        assert_eq!(daemon.wait_exit(DEADLINE), 0, "exit code with {echo}");
        let histories = load.finish();
        // A lingering close: each got its echoes and an orderly end, not a reset.
        for history in &histories {
            assert_eq!(history.end, Some(End::Eof), "{echo}: end of {}", history.peer);
        }
        wait_until(DEADLINE, "STOPPING=1", || daemon.notified("STOPPING=1"));
        check(&daemon, &histories);
        // What it took in before the stop was stored, and so it was echoed, too.
        daemon.start_again();
        daemon.stop();
        check(&daemon, &histories);
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut daemon = Setup::default().set("server.shutdown-timeout", "60s").set("limits.write-timeout", "60s").start();
    let clients = held_up(daemon.address);
    daemon.remember();
    daemon.signal(Signal::SIGTERM);
    let supervisor = daemon.supervisor();
    stays_false(SECOND * 3 / 2, "an end while echoes are due", || !processes::runs(supervisor));
    daemon.signal(Signal::SIGTERM);
    daemon.wait_exit(SECOND * 5);
    let histories = hear_out(clients);
    daemon.start_again();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect { empty_files: true, ..Expect::default() });
}

#[test]
fn connections_end_at_the_shutdown_timeout() {
    let mut daemon = Setup::default().set("server.shutdown-timeout", "1s").set("limits.write-timeout", "60s").start();
    let clients = held_up(daemon.address);
    let begin = Instant::now();
    daemon.stop();
    assert!(begin.elapsed() >= SECOND * 9 / 10, "the client had its second");
    check(&daemon, &hear_out(clients));
}

#[test]
fn an_orphaned_family_drains_and_ends() {
    for echo in ["received", "stored"] {
        let mut daemon = Setup::default().set("server.echo", echo).start();
        let load = Load::start(daemon.address, Shape { on_break: OnBreak::Leave, ..Shape::default() });
        load.progress(500);
        daemon.remember();
        let family = || processes::family(daemon.supervisor());
        wait_until(DEADLINE, "supervisor, writer, archiver, two workers", || family().len() == 5);
        let family = family();
        daemon.signal(Signal::SIGKILL);
        assert_eq!(daemon.wait_exit(DEADLINE), -9);
        wait_until(DEADLINE, "the end of the others", || !family.iter().any(|pid| processes::runs(*pid)));
        let histories = load.finish();
        check(&daemon, &histories);
        // The lock is free, and the writer's end was a clean one.
        daemon.start_again();
        daemon.stop();
        check(&daemon, &histories);
    }
}

#[test]
fn status_and_titles_tell_who_runs() {
    let mut daemon = Setup::default().set("server.workers", 3).set("metrics.listen", "127.0.0.1:0").start();
    wait_until(DEADLINE, "a status line", || daemon.notified("STATUS=3 workers · 0 connections · 0 msg/s · disk "));
    let heard = daemon.manager().heard();
    let disk = heard.iter().find_map(|line| line.split(" · disk ").nth(1)?.strip_suffix(" %")?.parse::<u64>().ok());
    let df = Command::new("df").arg("--output=pcent").arg(daemon.store()).output().unwrap();
    let df = String::from_utf8_lossy(&df.stdout).lines().nth(1).unwrap().trim().trim_end_matches('%').parse::<u64>();
    // Others write to that disk, too.
    assert!(disk.unwrap().abs_diff(df.unwrap()) <= 1, "{heard:?}");
    let expected = ["archiver", "exporter", "supervisor", "worker 1", "worker 2", "worker 3", "writer"];
    let expected = expected.map(|role| format!("echostored: {role}"));
    let mut titles: Vec<String> = Vec::new();
    wait_until(DEADLINE, "a process for each role", || {
        titles = processes::family(daemon.supervisor()).into_iter().filter_map(processes::title).collect();
        titles.sort();
        titles.len() == expected.len()
    });
    assert_eq!(titles, expected);
    daemon.stop();
}

#[test]
fn several_addresses_of_both_families() {
    let first = free_address();
    let Ok(six) = std::net::TcpListener::bind("[::1]:0") else {
        support::skip("this machine has no IPv6 loopback");
        return;
    };
    let second = six.local_addr().unwrap();
    drop(six);
    let mut daemon = Setup::default().listen(&[first, second]).start();
    let histories = serve(vec![client(first).quota(20).half_close(), client(second).quota(20).half_close()]);
    assert!(histories[1].peer.is_ipv6());
    daemon.stop();
    check(&daemon, &histories);
}
