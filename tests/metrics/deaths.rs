//! The exporter dies, hangs, or has nobody to ask: nobody else notices.
use crate::http::{Connection, get};
use crate::support::checker::{self, Expect};
use crate::support::control::status;
use crate::support::daemon::{Daemon, Setup};
use crate::support::framing::Format;
use crate::support::load::{Load, Shape};
use crate::support::{DEADLINE, processes, wait_until};
use crate::{scrape, start, value};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

fn exporter(daemon: &Daemon) -> i32 {
    let mut found = Vec::new();
    wait_until(DEADLINE, "an exporter", || {
        found = daemon.roles("exporter");
        found.len() == 1
    });
    found[0]
}

#[test]
fn killed_under_load_it_comes_again_and_no_echo_is_lost() {
    let (mut daemon, address) = start(Setup::default());
    let load = Load::start(daemon.address, Shape::default());
    for _ in 0..10 {
        let old = exporter(&daemon);
        processes::signal(old, Signal::SIGKILL);
        wait_until(DEADLINE, "metrics again", || get(address, "/metrics").is_ok_and(|page| page.code == 200));
        assert_ne!(exporter(&daemon), old);
        load.progress(200);
    }
    daemon.remember();
    let histories = load.finish();
    let told = status(&daemon);
    assert!(told["totals"]["exporter"]["scrapes"].as_u64().unwrap() >= 9, "the dead ones' count, too: {told}");
    assert_eq!(told["degraded"], false);
    let log = daemon.log();
    assert_eq!(log.matches("ended: SIGKILL; it is replaced, nothing else is touched").count(), 10, "{log}");
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

/// With a port that is not to be had, say; here by the signal. It comes less and less often, and others are not disturbed.
#[test]
fn one_that_keeps_dying_waits_longer_and_longer() {
    let (mut daemon, _) = start(Setup::default());
    let load = Load::start(daemon.address, Shape::default());
    let begin = Instant::now();
    let mut deaths = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        for pid in daemon.roles("exporter") {
            processes::end(pid);
            deaths += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!((2..40).contains(&deaths), "{deaths} deaths in 3 s");
    load.progress(200);
    load.finish();
    assert!(daemon.log().contains("the exporter keeps dying without serving metrics"), "{}", daemon.log());
    daemon.remember();
    daemon.stop();
}

#[test]
fn a_supervisor_that_does_not_answer_is_503_in_time() {
    let (mut daemon, address) = start(Setup::default());
    scrape(address);
    daemon.signal(Signal::SIGSTOP);
    wait_until(DEADLINE, "a stopped supervisor", || processes::stopped(daemon.supervisor()));
    std::thread::sleep(Duration::from_millis(150));
    let begin = Instant::now();
    let mut all: Vec<Connection> = (0..5).map(|_| Connection::new(address)).collect();
    for (index, connection) in all.iter_mut().enumerate() {
        let path = if index == 0 { "/healthz" } else { "/metrics" };
        connection.say(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
    }
    for connection in &mut all {
        let told = connection.hear(true).unwrap();
        assert_eq!((told.code, told.header("content-type")), (503, Some("text/plain; charset=utf-8")), "{told:?}");
        assert!(told.body.starts_with("the supervisor has not answered for "), "{told:?}");
    }
    assert!(
        begin.elapsed() > Duration::from_millis(1500) && begin.elapsed() < Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
    // Nobody waits for it again.
    let quick = (0..5).any(|_| {
        let begin = Instant::now();
        assert_eq!(get(address, "/metrics").unwrap().code, 503);
        begin.elapsed() < Duration::from_secs(1)
    });
    assert!(quick);
    // What needs no numbers is served.
    assert_eq!(get(address, "/").unwrap().code, 200);
    daemon.signal(Signal::SIGCONT);
    wait_until(DEADLINE, "metrics again", || get(address, "/metrics").unwrap().code == 200);
    assert_eq!(all[1].ask("GET", "/metrics").unwrap().code, 200, "the connection has lived through it");
    daemon.stop();
}

#[test]
fn a_stopped_one_keeps_no_stop_from_ending() {
    let (mut daemon, _) = start(Setup::default());
    daemon.remember();
    let pid = exporter(&daemon);
    processes::signal(pid, Signal::SIGSTOP);
    wait_until(DEADLINE, "a stopped exporter", || processes::stopped(pid));
    let begin = Instant::now();
    daemon.stop();
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    assert!(!processes::runs(pid));
}

#[test]
fn it_leaves_when_the_supervisor_is_killed_and_its_port_is_free() {
    let (mut daemon, address) = start(Setup::default());
    daemon.remember();
    let pid = exporter(&daemon);
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.wait_exit(DEADLINE), -9);
    wait_until(DEADLINE, "its end", || !processes::runs(pid));
    drop(std::net::TcpListener::bind(address).unwrap());
}

/// A storm of scrapes: the supervisor makes few reports, echoes go on, and one answer serves many.
#[test]
fn many_scrapes_are_few_reports() {
    let (mut daemon, address) = start(Setup::default());
    let load = Load::start(daemon.address, Shape::default());
    let begin = Instant::now();
    let pages = std::thread::scope(|scope| {
        let scraper = || {
            let mut connection = Connection::new(address);
            let mut pages = Vec::new();
            while begin.elapsed() < Duration::from_secs(2) {
                pages
                    .push(value(&connection.ask("GET", "/metrics").unwrap().body, "echostored_messages_stored_total")
                        as u64);
            }
            pages
        };
        let all: Vec<_> = (0..4).map(|_| scope.spawn(scraper)).collect();
        all.into_iter().flat_map(|one| one.join().unwrap()).collect::<Vec<u64>>()
    });
    let span = begin.elapsed().as_millis();
    let different = pages.iter().collect::<std::collections::BTreeSet<_>>().len();
    // Under load each report has a number of its own.
    assert!(pages.len() > 3 * different, "{} pages, {different} reports", pages.len());
    assert!(
        (3..=span as usize / 100 + 2).contains(&different),
        "{different} reports for {} pages in {span} ms",
        pages.len()
    );
    load.progress(200);
    load.finish();
    daemon.stop();
}
