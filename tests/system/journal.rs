//! The journal: lines come with their fields, and `journalctl -x` explains them. One that hangs: the data path goes on, and
//! what could not be logged is counted.
use crate::service::{CONFIG, Service, address};
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
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

/// The first line of an event, with all that the journal knows of it.
fn entry(service: &Service, event: &str) -> Value {
    let mut found = None;
    wait_until(DEADLINE, event, || {
        let said = service.run(&format!("journalctl -u {} -o json --no-pager ECHOSTORED_EVENT={event}", service.unit));
        found = said.stdout.lines().next().map(|line| serde_json::from_str(line).unwrap());
        found.is_some()
    });
    found.unwrap()
}

/// The id and the text of an event, as the package's catalogue has it.
fn explained(event: &str) -> (String, String) {
    let catalog =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/journal/echostored.catalog")).unwrap();
    let entry =
        catalog.split("\n-- ").find(|entry| entry.contains(&format!("\nSubject: echostored: {event}\n"))).unwrap();
    let (head, text) = entry.split_once("\n\n").unwrap();
    (head.lines().next().unwrap().to_owned(), text.lines().next().unwrap().to_owned())
}

fn is_explained(service: &Service) {
    let writer = service.roles("writer")[0];
    processes::signal(writer, Signal::SIGKILL);
    // Of the supervisor, and of a role in its sandbox.
    for (event, role, priority) in [("writer-ended", "supervisor", "4"), ("writer-continues", "writer", "5")] {
        let (entry, (id, text)) = (entry(service, event), explained(event));
        let field = |name: &str| entry[name].as_str().unwrap_or_else(|| panic!("no {name} in {entry}")).to_owned();
        assert_eq!([field("MESSAGE_ID"), field("ECHOSTORED_ROLE"), field("PRIORITY")], [&id, role, priority]);
        assert_eq!([field("SYSLOG_IDENTIFIER"), field("_TRANSPORT")], ["echostored", "journal"]);
        assert!(field("MESSAGE").starts_with(&format!("{role}: ")), "{entry}");
        let who = if role == "writer" { service.roles("writer")[0] } else { service.supervisor() };
        assert_eq!(service.host_pid(field("_PID").parse().unwrap()), Some(who), "{entry}");
        let said = service.must(&format!("journalctl -x -u {} --no-pager MESSAGE_ID={id}", service.unit));
        assert!(said.contains(&text) && said.contains("What to do: "), "{said}");
    }
    // No line goes both ways.
    let said = service.must(&format!("journalctl -u {} -o json --no-pager _TRANSPORT=stdout", service.unit));
    assert!(!said.contains("ended: "), "{said}");
}

#[test]
fn journalctl_explains_the_lines() {
    let Some(mut service) = Service::install() else { return };
    is_explained(&service);
    service.isolate();
    is_explained(&service);
}
