//! A full disk with `store.on-disk-full = "reject"`, and a stop on a full disk: who sends is closed without an echo, and
//! nothing echoed is lost, nothing is doubled, no connection has a hole. On a small tmpfs.
//!
//! `ECHOSTORED_TEST_KILLS` raises (or lowers) the number of kills.
use crate::support::checker::{self, Expect};
use crate::support::client::{Client, End, History, Messages};
use crate::support::daemon::{self, Daemon, Setup};
use crate::support::drive::{drive, serve};
use crate::support::framing::{Format, Framing};
use crate::support::home::Home;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::seed::{Chance, count, seed};
use crate::support::small::Small;
use crate::support::{DEADLINE, came_true, processes, wait_until};
use nix::sys::signal::Signal;
use std::net::TcpStream;
use std::time::{Duration, Instant};

mod steps;

const SIZE: u64 = 1 << 20;
/// What is left when room goes again.
const LITTLE: u64 = 64 << 10;
/// Leaving a segment, and dying in a rotation, may leave one without a record.
const LEFT: Expect = Expect { max_size: None, empty_files: true, gaps: false };
const REFUSING: &str = "refusing: who sends is closed without an echo";

fn setup(echo: &str) -> Setup {
    Setup::default().set("server.echo", echo).set("rotate.max-size", "64MiB").set("store.on-disk-full", "reject")
}

fn load(daemon: &Daemon) -> Load {
    Load::start(daemon.address, Shape { on_break: OnBreak::Reconnect, ..Shape::default() })
}

/// A daemon that refuses under load, since its disk has become full.
fn refusing(setup: Setup) -> Option<(Small, Daemon, Load)> {
    let home = Home::new();
    let small = Small::new(&home, SIZE)?;
    let daemon = setup.start_in(home);
    let load = load(&daemon);
    wait_until(DEADLINE, "refusing", || daemon.log().contains(REFUSING) && load.broken() > 0);
    Some((small, daemon, load))
}

fn client(daemon: &Daemon, bytes: usize) -> Client {
    Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, bytes, bytes)).unwrap()
}

/// A new client sends a message too large for what may be left: it is closed in order, without an echo.
fn is_closed(daemon: &Daemon) -> History {
    let mut clients = [client(daemon, 60_000).quota(1)];
    drive(&mut clients, "the close", |clients| clients[0].ended() || clients[0].history.echoed > 0);
    let [client] = clients;
    assert_eq!((client.history.end, client.history.sent, client.history.echoed_bytes), (Some(End::Eof), 1, 0));
    client.leave()
}

/// The end of all: the store is exact, for us and for `verify`.
fn check(daemon: &mut Daemon, histories: &[History]) {
    daemon.remember();
    daemon.stop();
    is_exact(daemon, histories);
}

fn is_exact(daemon: &Daemon, histories: &[History]) {
    let report = checker::check(&daemon.store(), Format::Text, histories, LEFT);
    let echoed: usize = histories.iter().map(|history| history.echoed).sum();
    println!("{echoed} echoed, {} stored; {} connections", report.records, histories.len());
    let mut command = daemon::command(&["verify", "--directory"]);
    command.arg(daemon.store());
    let verified = daemon::run(daemon.home(), command);
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
    assert!(!daemon.log().contains("exit code 101"), "a role has panicked");
}

#[test]
fn who_sends_is_closed_and_who_does_not_stays_and_is_served_again() {
    for echo in ["stored", "synced"] {
        let home = Home::new();
        let Some(small) = Small::new(&home, SIZE) else { return };
        let mut daemon = setup(echo).start_in(home);
        let mut idle: Vec<Client> = (0..8).map(|_| client(&daemon, 100).quota(1)).collect();
        drive(&mut idle, "an echo each", |idle| idle.iter().all(Client::served));
        let load = load(&daemon);
        wait_until(DEADLINE, "refusing", || daemon.log().contains(REFUSING));
        let mut histories = vec![is_closed(&daemon), is_closed(&daemon)];
        assert!(idle.iter().all(|client| !client.ended()));
        small.give_room();
        let begin = Instant::now();
        idle.iter_mut().for_each(|client| client.allow(1));
        drive(&mut idle, "echoes again", |idle| idle.iter().all(Client::served));
        assert!(idle.iter().all(|client| !client.ended() && client.history.echoed == 2), "an idle client was closed");
        // At once by design; five seconds, since the machine may be busy.
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?} to go on", begin.elapsed());
        load.progress(500);
        wait_until(DEADLINE, "the end told", || daemon.log().contains("messages were refused for want of room"));
        let told = daemon.log().matches(REFUSING).count();
        // Small batches may still fit now and then; the log is limited to a few lines in ten seconds.
        assert!((1..=10).contains(&told), "{told} lines tell of the full disk");
        histories.extend(load.finish());
        histories.extend(idle.into_iter().map(Client::leave));
        check(&mut daemon, &histories);
    }
}

/// Room comes and goes, many times.
#[test]
fn a_disk_on_the_edge() {
    let Some((small, mut daemon, load)) = refusing(setup("stored")) else { return };
    for _ in 0..10 {
        small.give_room();
        load.progress(20);
        small.leave_room(LITTLE);
        let broken = load.broken();
        wait_until(DEADLINE, "refused again", || load.broken() > broken);
    }
    small.give_room();
    load.progress(20);
    let histories = load.finish();
    check(&mut daemon, &histories);
}

/// `kill -9` of writers and workers while room comes and goes.
fn dies(roles: &[&str]) {
    let Some((small, mut daemon, load)) = refusing(setup("stored")) else { return };
    let (mut chance, kills) = (Chance::new(seed()), count("ECHOSTORED_TEST_KILLS", 24));
    println!("seed {}, {kills} kills of {roles:?}", seed());
    let mut full = true;
    for kill in 0..kills {
        let role = roles[kill % roles.len()];
        let running = daemon.roles(role);
        let victim = running[usize::try_from(chance.below(running.len() as u64)).unwrap()];
        std::thread::sleep(Duration::from_micros(chance.below(20_000)));
        processes::signal(victim, Signal::SIGKILL);
        wait_until(DEADLINE, "another one", || {
            !processes::runs(victim)
                && daemon.roles(role).len() == running.len()
                && !daemon.roles(role).contains(&victim)
        });
        daemon.remember();
        if chance.below(3) == 0 {
            full = !full;
            if full { small.leave_room(LITTLE) } else { small.give_room() }
        }
    }
    if full {
        small.give_room();
    }
    load.progress(100);
    let histories = load.finish();
    check(&mut daemon, &histories);
}

#[test]
fn writers_that_die_while_refusing() {
    dies(&["writer"]);
}

#[test]
fn workers_and_writers_that_die_while_refusing() {
    dies(&["worker", "writer"]);
}

/// Records that go in fragments (their bytes are escaped, so that they grow), beside small ones.
#[test]
fn records_in_fragments_are_refused_whole() {
    let home = Home::new();
    let Some(small) = Small::new(&home, 3 << 20) else { return };
    let setup = setup("stored").set("server.max-message-size", "1MiB").set("server.framing", "length-prefixed");
    let mut daemon = setup.start_in(home);
    let shape = Shape {
        framing: Framing::LengthPrefixed,
        smallest: 100,
        largest: 700_000,
        window: 2,
        connections: 4,
        on_break: OnBreak::Reconnect,
        ..Shape::default()
    };
    let load = Load::start(daemon.address, shape);
    for turn in 0..4 {
        wait_until(DEADLINE, "refusing", || daemon.log().matches(REFUSING).count() > turn);
        let broken = load.broken();
        wait_until(DEADLINE, "a refusal", || load.broken() > broken);
        let victim = daemon.writer();
        processes::signal(victim, Signal::SIGKILL);
        wait_until(DEADLINE, "another writer", || daemon.writer() != victim);
        daemon.remember();
        small.give_room();
        load.progress(1);
        small.leave_room(LITTLE);
    }
    small.give_room();
    let histories = load.finish();
    check(&mut daemon, &histories);
}

/// What was echoed from the pipe is never refused.
#[test]
fn received_waits() {
    let home = Home::new();
    let Some(small) = Small::new(&home, SIZE) else { return };
    let mut daemon = setup("received").start_in(home);
    let load = Load::start(daemon.address, Shape::default());
    wait_until(DEADLINE, "a full disk", || daemon.log().contains("nothing is echoed until it can"));
    let mut before = 0;
    wait_until(DEADLINE, "full pipes", || {
        let still = load.echoed() == before;
        before = load.echoed();
        still && !came_true(Duration::from_millis(300), || load.echoed() > before)
    });
    assert_eq!(load.broken(), 0);
    small.give_room();
    load.progress(100);
    let histories = load.finish();
    assert!(!daemon.log().contains(REFUSING));
    check(&mut daemon, &histories);
}

/// Connections from before a reload were echoed out of the pipe; the writer now works in another mode.
#[test]
fn what_was_echoed_as_received_waits_after_a_reload_too() {
    let home = Home::new();
    let Some(small) = Small::new(&home, SIZE) else { return };
    let mut daemon = setup("received").start_in(home);
    let old = Load::start(daemon.address, Shape::default());
    wait_until(DEADLINE, "a full disk", || daemon.log().contains("nothing is echoed until it can"));
    // An address of their own, so that it is the new workers that are met.
    let second = daemon::free_address();
    daemon.reconfigure(|setup| setup.set("server.echo", "stored").listen(&[second]));
    daemon.signal(Signal::SIGHUP);
    daemon.address = second;
    wait_until(DEADLINE, "the new workers", || TcpStream::connect(second).is_ok());
    daemon.remember();
    let mut histories = vec![is_closed(&daemon)];
    wait_until(DEADLINE, "refusing", || daemon.log().contains(REFUSING));
    histories.push(is_closed(&daemon));
    assert_eq!(old.broken(), 0, "a connection of the old workers was closed");
    small.give_room();
    old.progress(100);
    histories.extend(serve(vec![client(&daemon, 9000).quota(1)]));
    histories.extend(old.finish());
    check(&mut daemon, &histories);
}

/// Without waiting for `server.shutdown-timeout`, though the policy is to wait.
#[test]
fn a_stop_on_a_full_disk_is_prompt() {
    for policy in ["wait", "reject"] {
        let home = Home::new();
        let Some(_small) = Small::new(&home, SIZE) else { return };
        let setup = setup("stored").set("store.on-disk-full", policy).set("server.shutdown-timeout", "2m");
        let mut daemon = setup.start_in(home);
        let load = Load::start(daemon.address, Shape { on_break: OnBreak::Leave, ..Shape::default() });
        wait_until(DEADLINE, "a full disk", || daemon.log().contains("No space left on device"));
        daemon.remember();
        daemon.signal(Signal::SIGTERM);
        let begin = Instant::now();
        assert_eq!(daemon.wait_exit(DEADLINE), 0, "exit code");
        println!("{policy}: stopped in {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?} to stop", begin.elapsed());
        let histories = load.finish();
        is_exact(&daemon, &histories);
        let torn = std::fs::read_dir(daemon.store())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().ends_with(".torn"));
        assert!(!torn, "a torn record");
        assert!(daemon.log().contains("messages were refused for want of room"), "{policy}");
    }
}
