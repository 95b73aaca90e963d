//! Kills in the middle of what happens seldom: rotation, start, reload, stop. Which step they hit is left to chance;
//! `tests/crash_points.rs` hits each step by name.
use super::{echo, part, reconnecting};
use crate::support::checker;
use crate::support::daemon::Daemon;
use crate::support::harm::{Tally, kill_writer, some_time, some_worker};
use crate::support::load::{Load, Shape};
use crate::support::seed::{Chance, seed};
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

const MILLISECOND: Duration = Duration::from_millis(1);

/// More than can be under way from before.
const BEYOND: u64 = 200;

#[test]
fn in_the_middle_of_rotations() {
    let mut tally = Tally::default();
    for mode in ["stored", "synced"] {
        let mut chance = Chance::new(seed());
        let mut daemon = echo(mode).set("rotate.max-size", "16KiB").start();
        let load = Load::start(daemon.address, Shape::default());
        for _ in 0..part(18) {
            daemon.signal(Signal::SIGUSR1);
            some_time(&mut chance, MILLISECOND * 4);
            load.longest_wait();
            kill_writer(&mut daemon);
            load.progress(BEYOND);
            tally.kills += 1;
            tally.felt(load.longest_wait());
        }
        let files = checker::files(&daemon.store()).len();
        assert!(files > part(18), "{files} files: it did not rotate");
        tally.settle(daemon, load);
    }
    tally.tell("writer, rotating", "longest wait of a connection for its next echo");
}

/// A recovery after an unclean end, killed while it starts, several times in a row.
#[test]
fn in_the_middle_of_starts_after_an_unclean_end() {
    let (mut chance, mut tally, mut unready) = (Chance::new(seed()), Tally::default(), 0);
    let begin = Instant::now();
    let mut daemon = echo("stored").start();
    let start = begin.elapsed();
    let load = Load::start(daemon.address, reconnecting());
    for _ in 0..part(36) {
        let begin = Instant::now();
        daemon.kill_all();
        for _ in 0..3 {
            daemon.spawn();
            some_time(&mut chance, start * 2);
            unready += usize::from(!daemon.notified("READY=1"));
            daemon.kill_all();
            tally.kills += 1;
        }
        daemon.start_again();
        load.progress(BEYOND);
        tally.felt(begin.elapsed());
    }
    assert!(unready > 0, "no start was interrupted");
    println!("{unready} of {} starts killed before they were ready", tally.kills);
    tally.settle(daemon, load);
    tally.tell("everything, starting", "nobody served");
}

/// Each reload changes what the writer works by, so that it is replaced, too.
#[test]
fn in_the_middle_of_reloads() {
    let (mut chance, mut tally) = (Chance::new(seed()), Tally::default());
    let mut daemon = echo("stored").start();
    let load = Load::start(daemon.address, reconnecting());
    for turn in 0..part(9) {
        let size = 400 + i64::try_from(turn % 100).unwrap();
        daemon.reconfigure(|setup| setup.set("rotate.max-size", format!("{size}KiB")));
        daemon.signal(Signal::SIGHUP);
        some_time(&mut chance, MILLISECOND * 20);
        let begin = Instant::now();
        let victims =
            if chance.below(2) == 0 { daemon.roles("writer") } else { vec![some_worker(&daemon, &mut chance)] };
        // One that has just left as told is not killed.
        tally.kills += victims.iter().filter(|victim| strike(**victim)).count();
        load.progress(BEYOND);
        tally.felt(begin.elapsed());
    }
    assert!(tally.kills > part(9) / 6, "only {} kills", tally.kills);
    wait_until(DEADLINE, "all replaced, and no worker of an old generation for ever", || {
        daemon.roles("writer").len() == 1
    });
    tally.settle(daemon, load);
    tally.tell("writer and workers, reloading", "from the kill to new echoes");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Writer,
    Worker,
    Supervisor,
    Everything,
}

const VICTIMS: [Victim; 4] = [Victim::Writer, Victim::Worker, Victim::Supervisor, Victim::Everything];

/// A writer that dies while it stores what is left is replaced; a worker that dies has lost its connections, no more. Both
/// leave the exit code 0.
#[test]
fn in_the_middle_of_a_stop() {
    let (mut chance, mut tally) = (Chance::new(seed()), Tally::default());
    for mode in ["stored", "synced"] {
        let mut daemon = echo(mode).start();
        let load = Load::start(daemon.address, Shape { window: 100, ..reconnecting() });
        for turn in 0..part(27) {
            load.progress(BEYOND);
            let begin = Instant::now();
            tally.kills += usize::from(stop_and_kill(&mut daemon, VICTIMS[turn % 4], &mut chance));
            daemon.start_again();
            load.progress(BEYOND);
            tally.felt(begin.elapsed());
        }
        tally.settle(daemon, load);
    }
    assert!(tally.kills > part(27), "only {} kills came before the end", tally.kills);
    tally.tell("any role, or everything, stopping", "nobody served");
}

/// Whether the victim still was there.
fn stop_and_kill(daemon: &mut Daemon, victim: Victim, chance: &mut Chance) -> bool {
    daemon.remember();
    let family = processes::family(daemon.supervisor());
    let victims = match victim {
        Victim::Writer => vec![daemon.writer()],
        Victim::Worker => vec![some_worker(daemon, chance)],
        Victim::Supervisor => vec![daemon.supervisor()],
        Victim::Everything => family.clone(),
    };
    daemon.signal(Signal::SIGTERM);
    some_time(chance, MILLISECOND * 8);
    let struck = victims.into_iter().filter(|victim| strike(*victim)).count() > 0;
    let code = daemon.wait_exit(DEADLINE);
    match victim {
        Victim::Writer | Victim::Worker => assert_eq!(code, 0, "exit code, {victim:?} killed"),
        // It may have left before, and well.
        Victim::Supervisor | Victim::Everything => assert!([0, -9].contains(&code), "{victim:?} killed: {code}"),
    }
    wait_until(DEADLINE, "the end of all", || !family.iter().any(|pid| processes::runs(*pid)));
    struck
}

/// `kill -9`; whether there was a process to kill.
fn strike(victim: i32) -> bool {
    processes::runs(victim) && kill(Pid::from_raw(victim), Signal::SIGKILL).is_ok()
}
