//! A journal that hangs: the data path goes on, and what could not be logged is counted.
use crate::service::{CONFIG, Service, address};
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use std::fs;
use std::time::{Duration, Instant};

const HANGS_FOR: Duration = Duration::from_secs(10);
/// Signals of one kind that come together count as one.
const BETWEEN: Duration = Duration::from_millis(1);

#[test]
fn a_stopped_journald_stops_nobody() {
    let Some(service) = Service::install() else { return };
    let good = fs::read_to_string(service.path(CONFIG)).unwrap();
    // A reload that is refused with a long line: systemd gives a service's log a socket that holds megabytes.
    service.configure(&[("store.directory", "/elsewhere".repeat(350).into())]);
    let load = Load::start(address(), Shape { on_break: OnBreak::Reconnect, ..Shape::default() });
    let journald = service.host_pid(service.show("systemd-journald", "MainPID").parse().unwrap()).unwrap();
    let supervisor = service.supervisor();
    processes::signal(journald, Signal::SIGSTOP);
    let (begin, mut longest, mut turns) = (Instant::now(), Duration::ZERO, 0);
    while begin.elapsed() < HANGS_FOR {
        for _ in 0..10 {
            processes::signal(supervisor, Signal::SIGHUP);
            std::thread::sleep(BETWEEN);
        }
        turns += 1;
        if turns % 10 == 0 {
            processes::signal(supervisor, Signal::SIGUSR1);
        }
        if turns % 100 == 0 {
            let victim = processes::family(supervisor).pop().expect("a child");
            processes::signal(victim, Signal::SIGKILL);
        }
        longest = load.progress(20).max(longest);
    }
    processes::signal(journald, Signal::SIGCONT);
    println!(
        "journald stopped for {:.1?}, {turns}0 reloads refused; the longest time for 20 echoes: {longest:.1?}",
        begin.elapsed()
    );
    assert!(longest < Duration::from_secs(5), "{longest:?} without echoes");
    assert_eq!(service.supervisor(), supervisor, "the service was restarted");
    // The next line that gets through tells of those that did not; without any the socket never was full, and nothing was shown.
    wait_until(DEADLINE, "what could not be logged is counted", || {
        processes::signal(supervisor, Signal::SIGHUP);
        service.journal(&service.unit).contains("lines before this one were not logged")
    });
    let journal = service.journal(&service.unit);
    let told = journal.lines().find(|line| line.contains("were not logged: ")).unwrap();
    println!("the journal holds {} lines; {told}", journal.lines().count());
    service.write(CONFIG, &good);
    let histories = load.finish();
    service.settle(&histories);
}
