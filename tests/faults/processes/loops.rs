//! A role that dies at once, every time: it is tried less and less often, the others go on, and it is over when its cause is.
use super::{echo, reconnecting};
use crate::support::daemon::Daemon;
use crate::support::harm::Tally;
use crate::support::home::Home;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, came_true, processes, wait_until};
use nix::sys::signal::Signal;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// With 0, 100, 200, 400, 800 and 1600 ms from one to the next: what fits into the three seconds looked at, and one more.
const MOST: usize = 8;

/// A daemon whose processes die at this crash point as long as the file exists.
fn mortal(point: &str, mode: &str) -> (Daemon, PathBuf) {
    let home = Home::new();
    let cause = home.join("dying");
    let setup = echo(mode).environment("ECHOSTORED_CRASH", point);
    (setup.environment("ECHOSTORED_CRASH_WHILE", cause.to_str().unwrap()).start_in(home), cause)
}

fn deaths(daemon: &Daemon, role: &str) -> usize {
    let died = |line: &&str| line.contains(&format!("supervisor: {role}")) && line.contains("ended: SIGKILL");
    daemon.log().lines().filter(died).count()
}

fn last_status(daemon: &Daemon) -> String {
    let heard = daemon.manager().heard();
    heard.iter().rev().find(|line| line.starts_with("STATUS=")).cloned().unwrap_or_default()
}

/// Connections to the other worker are served all the while, and new ones, too.
#[test]
fn a_worker_that_dies_at_birth() {
    let (mut daemon, cause) = mortal("worker 2", "stored");
    let load = Load::start(daemon.address, Shape { messages_a_connection: Some(100), ..reconnecting() });
    fs::write(&cause, "").unwrap();
    let second = *daemon.roles("worker 2").first().unwrap();
    processes::signal(second, Signal::SIGKILL);
    let begin = Instant::now();
    while begin.elapsed() < SECOND * 3 {
        load.progress(500);
        daemon.remember();
    }
    let seen = deaths(&daemon, "worker 2");
    println!("{seen} deaths in {:.1?}", begin.elapsed());
    // The longer this took, the longer the delays have become.
    assert!((3..=MOST).contains(&seen), "{seen} deaths in {:?}", begin.elapsed());
    assert!(daemon.log().contains("worker 2 keeps dying; next try in"), "the log says so");
    assert!(last_status(&daemon).starts_with("STATUS=degraded: 1 worker"), "{}", last_status(&daemon));
    fs::remove_file(&cause).unwrap();
    wait_until(DEADLINE, "both workers", || daemon.workers().len() == 2);
    wait_until(DEADLINE, "a status that is not degraded", || last_status(&daemon).starts_with("STATUS=2 workers"));
    load.progress(500);
    Tally::default().settle(daemon, load);
}

/// Nothing is echoed, since nothing is stored; the connections stay, and so does what they have sent.
#[test]
fn a_writer_that_dies_at_every_batch() {
    for (point, mode) in [("after-write", "stored"), ("partial-write", "synced"), ("writer", "stored")] {
        let (mut daemon, cause) = mortal(point, mode);
        let load = Load::start(daemon.address, Shape { on_break: OnBreak::Fail, ..Shape::default() });
        fs::write(&cause, "").unwrap();
        processes::signal(daemon.writer(), Signal::SIGKILL);
        wait_until(DEADLINE, "a loop of deaths", || daemon.log().contains("keeps dying without storing anything"));
        let (begin, before, echoed) = (Instant::now(), deaths(&daemon, "writer"), load.echoed());
        assert!(!came_true(SECOND * 3, || load.echoed() > echoed), "{point}: something was echoed");
        daemon.remember();
        let seen = deaths(&daemon, "writer") - before;
        println!("{point}: {seen} deaths in {:.1?}", begin.elapsed());
        assert!((1..=MOST).contains(&seen), "{point}: {seen} deaths in {:?}", begin.elapsed());
        fs::remove_file(&cause).unwrap();
        load.progress(1_000);
        Tally::default().settle(daemon, load);
    }
}

/// Each of its lives stores something: it is replaced at once, and the service goes on, slowly. After an intent it is its
/// successor that stores the batch.
#[test]
fn a_writer_that_dies_after_every_batch() {
    for point in ["after-commit", "before-ack", "after-intent"] {
        let (mut daemon, cause) = mortal(point, "stored");
        let load = Load::start(daemon.address, Shape::default());
        fs::write(&cause, "").unwrap();
        processes::signal(daemon.writer(), Signal::SIGKILL);
        let begin = Instant::now();
        wait_until(DEADLINE, "20 deaths", || deaths(&daemon, "writer") >= 20);
        load.progress(2_000);
        let rate = deaths(&daemon, "writer") as f64 / begin.elapsed().as_secs_f64();
        println!("{point}: {rate:.0} deaths a second");
        assert!(!daemon.log().contains("without storing anything"), "{point}: it has stored");
        fs::remove_file(&cause).unwrap();
        load.progress(1_000);
        daemon.remember();
        Tally::default().settle(daemon, load);
    }
}
