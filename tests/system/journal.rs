//! A journal that hangs: the data path goes on, and what could not be logged is counted.
use crate::service::{CONFIG, Service, address};
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use std::fs;
use std::time::{Duration, Instant};

const HANGS_FOR: Duration = Duration::from_secs(10);

#[test]
fn a_stopped_journald_stops_nobody() {
    let Some(service) = Service::install() else { return };
    let good = fs::read_to_string(service.path(CONFIG)).unwrap();
    service.write(CONFIG, "nonsense");
    let load = Load::start(address(), Shape { on_break: OnBreak::Reconnect, ..Shape::default() });
    let journald = service.host_pid(service.show("systemd-journald", "MainPID").parse().unwrap()).unwrap();
    let supervisor = service.supervisor();
    processes::signal(journald, Signal::SIGSTOP);
    let (begin, mut longest, mut rotations) = (Instant::now(), Duration::ZERO, 0);
    while begin.elapsed() < HANGS_FOR {
        // More lines than a socket holds: a reload that is refused makes one each time.
        for _ in 0..20 {
            processes::signal(supervisor, Signal::SIGUSR1);
            processes::signal(supervisor, Signal::SIGHUP);
            rotations += 1;
            longest = load.progress(200).max(longest);
        }
        let victim = processes::family(supervisor).pop().expect("a child");
        processes::signal(victim, Signal::SIGKILL);
        longest = load.progress(200).max(longest);
    }
    processes::signal(journald, Signal::SIGCONT);
    println!(
        "journald stopped for {:.1?}, {rotations} rotations; the longest time for 200 echoes: {longest:.1?}",
        begin.elapsed()
    );
    assert!(longest < Duration::from_secs(5), "{longest:?} without echoes");
    assert_eq!(service.supervisor(), supervisor, "the service was restarted");
    wait_until(DEADLINE, "new lines in the journal", || {
        let lines = || service.journal(&service.unit).lines().count();
        let before = lines();
        processes::signal(supervisor, Signal::SIGUSR1);
        load.progress(200);
        lines() > before
    });
    service.write(CONFIG, &good);
    let told = service.journal(&service.unit).contains("lines before this one were not logged");
    assert!(told, "every line found room, so that nothing was shown; or what was dropped is not counted");
    let histories = load.finish();
    service.settle(&histories);
}
