//! `fork(2)` fails with EAGAIN, as it does at the limit of processes (RLIMIT_NPROC, or TasksMax= of systemd).
use super::{echo, reconnecting};
use crate::support::daemon::{Daemon, Setup, run};
use crate::support::harm::Tally;
use crate::support::home::{self, Home};
use crate::support::load::{Load, Shape};
use crate::support::{DEADLINE, came_true, processes, skip, wait_until};
use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// What the log says of it.
const TOLD: &str = "Resource temporarily unavailable";

/// `prlimit ARGUMENTS` as the daemon's user, who may limit its own processes.
fn limiter(arguments: &[&str]) -> Command {
    let mut command = Command::new("prlimit");
    if let Some((uid, gid)) = home::user() {
        command.uid(uid).gid(gid);
    }
    command.args(arguments);
    command
}

fn prlimit(arguments: &[&str]) -> Option<String> {
    let output = limiter(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Lets the supervisor fork no more; the limit that it had.
fn forbid(daemon: &Daemon) -> Option<String> {
    let pid = daemon.supervisor().to_string();
    let had = prlimit(&["--pid", &pid, "--nproc", "--output", "SOFT", "--noheadings", "--raw"]);
    let had = had.filter(|_| prlimit(&["--pid", &pid, "--nproc=0:"]).is_some());
    if had.is_none() {
        skip("no prlimit(1) that can limit a process");
    }
    had
}

fn allow(daemon: &Daemon, limit: &str) {
    prlimit(&["--pid", &daemon.supervisor().to_string(), &format!("--nproc={limit}:")])
        .expect("raises the limit again");
}

fn told(daemon: &Daemon, what: &str) -> usize {
    daemon.log().matches(what).count()
}

/// It serves with those there are, says so once, tries again, and is whole again when it may.
#[test]
fn a_worker_cannot_be_replaced() {
    let mut daemon = echo("stored").start();
    let Some(limit) = forbid(&daemon) else { return };
    let load = Load::start(daemon.address, Shape { messages_a_connection: Some(100), ..reconnecting() });
    processes::signal(daemon.workers()[0], Signal::SIGKILL);
    wait_until(DEADLINE, "a fork that fails", || told(&daemon, TOLD) > 0);
    let begin = Instant::now();
    while begin.elapsed() < SECOND * 3 {
        load.progress(500);
    }
    assert_eq!((daemon.workers().len(), told(&daemon, TOLD)), (1, 1), "one worker, one line");
    wait_until(DEADLINE, "STATUS=degraded", || daemon.notified("STATUS=degraded: 1 worker"));
    allow(&daemon, &limit);
    let begin = Instant::now();
    wait_until(DEADLINE, "the other worker", || daemon.workers().len() == 2);
    println!("replaced {:.1?} after it could be", begin.elapsed());
    assert!(begin.elapsed() < SECOND * 5, "{:?}", begin.elapsed());
    assert_eq!(told(&daemon, "processes can be started again"), 1);
    load.progress(500);
    daemon.remember();
    Tally::default().settle(daemon, load);
}

/// Nothing is echoed, the connections stay, and it goes on when it may.
#[test]
fn the_writer_cannot_be_replaced() {
    for mode in ["received", "stored"] {
        let mut daemon = echo(mode).start();
        let Some(limit) = forbid(&daemon) else { return };
        let load = Load::start(daemon.address, Shape::default());
        processes::signal(daemon.writer(), Signal::SIGKILL);
        wait_until(DEADLINE, "a fork that fails", || told(&daemon, TOLD) > 0);
        // In `received`, until the pipes are full.
        let mut echoed = load.echoed();
        wait_until(DEADLINE, "silence", || {
            let before = std::mem::replace(&mut echoed, load.echoed());
            !came_true(SECOND / 2, || load.echoed() > before)
        });
        assert!(!came_true(SECOND * 2, || load.echoed() > echoed), "{mode}: something was echoed");
        assert_eq!((told(&daemon, TOLD), daemon.roles("writer").len()), (1, 0), "one line, no writer");
        allow(&daemon, &limit);
        let waited = load.progress(1_000);
        println!("{mode}: echoes again {waited:.1?} after it could be replaced");
        assert!(waited < SECOND * 5, "{waited:?}");
        daemon.remember();
        Tally::default().settle(daemon, load);
    }
}

/// It could not be replaced, and is not missed: the stop ends as soon as it may be.
#[test]
fn a_stop_without_a_writer_waits_for_one() {
    let mut daemon = echo("stored").start();
    let Some(limit) = forbid(&daemon) else { return };
    let load = Load::start(daemon.address, Shape { window: 200, ..reconnecting() });
    daemon.remember();
    processes::signal(daemon.writer(), Signal::SIGKILL);
    wait_until(DEADLINE, "a fork that fails", || told(&daemon, TOLD) > 0);
    daemon.signal(Signal::SIGTERM);
    wait_until(DEADLINE, "STOPPING=1", || daemon.notified("STOPPING=1"));
    allow(&daemon, &limit);
    assert_eq!(daemon.wait_exit(DEADLINE), 0, "exit code");
    daemon.start_again();
    load.progress(500);
    Tally::default().settle(daemon, load);
}

/// No writer, no start: the reason, and exit code 1, in both ways of starting.
#[test]
fn a_start_without_a_fork() {
    if prlimit(&["--version"]).is_none() {
        return skip("no prlimit(1)");
    }
    for arguments in [&["run"][..], &["run", "--daemon"]] {
        let home = Home::new();
        home.make_dir("run");
        let address = crate::support::daemon::free_address();
        let config = home.write("echostored.toml", &Setup::default().listen(&[address]).text(&home));
        let mut command = limiter(&["--nproc=0"]);
        command.arg(home::binary()).args(arguments).arg("--config").arg(config);
        let begin = Instant::now();
        command.current_dir(home.path());
        let ended = run(&home, command);
        println!("{arguments:?}: {} in {:.1?}: {}", ended.code, begin.elapsed(), ended.stderr.trim());
        assert_eq!(ended.code, 1, "{arguments:?}: {}", ended.stderr);
        // The second is the crate's, which detaches.
        let told = [TOLD, "unable to fork, errno 11"].iter().any(|told| ended.stderr.contains(told));
        assert!(told, "{arguments:?}: {}", ended.stderr);
    }
}
