//! `kill -9` of each role and of everything, a writer that hangs, a journal that hangs: under load, with systemd as the one who restarts.
//!
//! `ECHOSTORED_TEST_KILLS` is the number of rounds for each echo mode (5); each kills a worker, the writer, the main process, and
//! everything twice.
use crate::service::{Service, address};
use crate::support::client::History;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::seed::{Chance, count, seed};
use crate::support::{DEADLINE, harm, processes, wait_until};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

fn shape() -> Shape {
    Shape { connections: 8, window: 8, on_break: OnBreak::Reconnect, ..Shape::default() }
}

/// More than can be under way from before, so that only the new processes can have answered.
fn goes_on(load: &Load) -> Duration {
    load.progress((shape().connections * shape().window) as u64 + 1)
}

/// Waits until another supervisor serves.
fn await_successor(service: &Service, killed: i32) {
    wait_until(DEADLINE, "a restarted service", || {
        let main = service.show(&service.unit, "MainPID");
        main != "0" && service.is_active() && service.host_pid(main.parse().unwrap()).is_some_and(|pid| pid != killed)
    });
}

fn kill_role(service: &Service, role: &str, chance: &mut Chance) {
    let running = service.roles(role);
    let victim = running[usize::try_from(chance.below(running.len() as u64)).unwrap()];
    processes::signal(victim, Signal::SIGKILL);
    wait_until(DEADLINE, "another one in its place", || {
        let now = service.roles(role);
        now.len() == running.len() && !now.contains(&victim)
    });
}

fn kill_main(service: &Service) {
    let main = service.supervisor();
    processes::signal(main, Signal::SIGKILL);
    await_successor(service, main);
}

/// As an operator would.
fn kill_group(service: &Service) {
    let main = service.supervisor();
    service.systemctl("kill --signal=KILL --kill-who=all");
    await_successor(service, main);
}

/// Stopped first, so that nobody sees another die and ends in order.
fn kill_at_once(service: &Service) {
    let main = service.supervisor();
    processes::signal(main, Signal::SIGSTOP);
    wait_until(DEADLINE, "a stopped supervisor", || processes::stopped(main));
    let all = processes::family(main);
    all.iter().for_each(|pid| processes::signal(*pid, Signal::SIGSTOP));
    all.iter().for_each(|pid| processes::end(*pid));
    await_successor(service, main);
}

fn kills(service: &Service) -> Vec<History> {
    let mut chance = Chance::new(seed());
    let load = Load::start(address(), shape());
    let mut longest = [Duration::ZERO; 5];
    for _ in 0..count("ECHOSTORED_TEST_KILLS", 5) {
        let steps: [&dyn Fn(&mut Chance); 5] = [
            &|chance| kill_role(service, "worker", chance),
            &|chance| kill_role(service, "writer", chance),
            &|_| kill_main(service),
            &|_| kill_group(service),
            &|_| kill_at_once(service),
        ];
        for (step, longest) in steps.iter().zip(&mut longest) {
            harm::some_time(&mut chance, Duration::from_millis(100));
            let begin = Instant::now();
            step(&mut chance);
            goes_on(&load);
            *longest = begin.elapsed().max(*longest);
        }
    }
    println!("until served again, longest: worker, writer, main, group, all at once: {longest:.1?}");
    assert_eq!(load.refused(), 0, "connections refused while the service was dead");
    load.finish()
}

fn kills_in(echo: &str, isolated: bool) {
    let Some(mut service) = Service::install() else { return };
    if isolated {
        service.isolate();
    }
    service.configure(&[("server.echo", echo.into()), ("rotate.max-size", "1MiB".into())]);
    service.systemctl("restart");
    let histories = kills(&service);
    let report = service.settle(&histories);
    let echoed: usize = histories.iter().map(|history| history.echoed).sum();
    println!("{}, {echo}: {echoed} messages echoed, {} stored, 0 violations", service.unit, report.records);
}

#[test]
fn stored_survives_every_kill() {
    kills_in("stored", false);
}

/// What was echoed may still be in the pipes: systemd keeps them.
#[test]
fn received_survives_every_kill() {
    kills_in("received", false);
}

#[test]
fn received_survives_every_kill_isolated() {
    kills_in("received", true);
}

#[test]
fn a_writer_that_hangs_trips_the_watchdog() {
    let Some(service) = Service::install() else { return };
    service.drop_in("watchdog", "[Service]\nWatchdogSec=3s\n");
    service.configure(&[("server.echo", "received".into())]);
    service.systemctl("restart");
    let load = Load::start(address(), shape());
    for _ in 0..2 {
        let (main, writer) = (service.supervisor(), service.roles("writer")[0]);
        processes::signal(writer, Signal::SIGSTOP);
        let begin = Instant::now();
        wait_until(DEADLINE, "the hung writer is gone", || !processes::runs(writer));
        if !processes::runs(main) {
            await_successor(&service, main);
        }
        goes_on(&load);
        println!("from SIGSTOP of the writer to echoes {:.1?}", begin.elapsed());
    }
    let journal = service.must("journalctl --no-pager -o cat");
    assert!(journal.to_lowercase().contains("watchdog"), "the journal does not tell of a watchdog");
    let histories = load.finish();
    service.settle(&histories);
}

/// What an idle service must not do.
#[test]
fn a_watchdog_leaves_an_idle_service_alone() {
    let Some(service) = Service::install() else { return };
    service.drop_in("watchdog", "[Service]\nWatchdogSec=1s\n");
    service.systemctl("restart");
    let (main, writer) = (service.supervisor(), service.roles("writer"));
    crate::support::stays_false(Duration::from_secs(5), "a restart of an idle service", || {
        !processes::runs(main) || service.roles("writer") != writer
    });
    assert_eq!(service.show(&service.unit, "NRestarts"), "0");
}
