//! How many connections of an address, and which addresses at all.
use crate::support::daemon::{Daemon, Setup};
use crate::support::harm;
use crate::support::{DEADLINE, control, processes, wait_until};
use crate::{Answer, ask, connect_from, counted, ends_within, enter, hear};
use nix::sys::signal::Signal;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: usize = 5;

fn start(workers: u16, limit: usize) -> Daemon {
    let limit = i64::try_from(limit).unwrap();
    Setup::default().set("server.workers", i64::from(workers)).set("limits.max-connections-per-ip", limit).start()
}

/// Comes again and again until `count` of this address are inside, and asserts that one more is not.
fn fill(ip: &str, daemon: &Daemon, inside: &mut Vec<TcpStream>, count: usize) {
    wait_until(DEADLINE, &format!("{count} of {ip} are inside, not {}", inside.len()), || {
        inside.extend(enter(ip, daemon));
        inside.len() >= count
    });
    for _ in 0..8 {
        assert!(enter(ip, daemon).is_none(), "{} of {ip} are inside", count + 1);
    }
}

#[test]
fn many_that_come_at_once_are_no_more_than_the_limit() {
    let mut daemon = start(4, LIMIT);
    for round in 0..3 {
        let here = |n: usize| format!("127.0.{round}.{}", 2 + n % 3);
        // All keep their connection until all have been answered.
        let answered: Vec<Vec<Option<TcpStream>>> = std::thread::scope(|scope| {
            let come = |n: usize| (0..6).map(|_| enter(&here(n), &daemon)).collect::<Vec<_>>();
            let threads: Vec<_> = (0..12).map(|n| scope.spawn(move || come(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for address in 0..3 {
            let of_it = answered.iter().enumerate().filter(|(n, _)| n % 3 == address);
            let inside = of_it.flat_map(|(_, answers)| answers).flatten().count();
            // Of two that come at once, both may be sent away.
            assert!((1..=LIMIT).contains(&inside), "{inside} of an address are inside");
        }
    }
    let mut inside = Vec::new();
    fill("127.0.9.1", &daemon, &mut inside, LIMIT);
    assert!(counted(&daemon, "too_many") >= 8 && daemon.log().contains("is one too many"));
    // Others are not concerned; who leaves makes room.
    assert!(enter("127.0.9.2", &daemon).is_some());
    inside.truncate(LIMIT - 2);
    fill("127.0.9.1", &daemon, &mut inside, LIMIT);
    assert!(inside.iter().all(|stream| ask(stream) == Answer::Echo));
    daemon.stop();
}

#[test]
fn what_a_killed_worker_has_counted_is_forgotten() {
    let mut daemon = start(2, LIMIT);
    for _ in 0..3 {
        let mut inside = Vec::new();
        fill("127.0.0.2", &daemon, &mut inside, LIMIT);
        let victim = daemon.workers()[0];
        harm::kill(&mut daemon, &[victim], |daemon| daemon.workers().iter().filter(|pid| **pid != victim).count() == 2);
        inside.retain(|stream| ask(stream) == Answer::Echo);
        // Those of the other worker still count, those of the dead one do not.
        fill("127.0.0.2", &daemon, &mut inside, LIMIT);
    }
    daemon.stop();
}

#[test]
fn the_limit_holds_over_a_reload() {
    let mut daemon = start(2, 0);
    let mut old: Vec<TcpStream> = (0..4).map(|_| enter("127.0.0.2", &daemon).expect("no limit")).collect();
    // Also those from before there was a limit.
    daemon.reconfigure(|setup| setup.set("limits.max-connections-per-ip", 5));
    assert_eq!(control::tell(&daemon, &["reload"]).code, 0);
    let mut new = Vec::new();
    fill("127.0.0.2", &daemon, &mut new, 1);
    old.truncate(1);
    fill("127.0.0.2", &daemon, &mut new, 4);
    assert_eq!(ask(&old[0]), Answer::Echo);
    daemon.reconfigure(|setup| setup.set("limits.max-connections-per-ip", 8));
    assert_eq!(control::tell(&daemon, &["reload"]).code, 0);
    // The third generation closes the first.
    fill("127.0.0.2", &daemon, &mut new, 8);
    daemon.stop();
}

#[test]
fn the_most_specific_rule_says_who_may_come_in() {
    let setup = Setup::default()
        .set("limits.allow", vec!["127.0.0.0/16", "127.0.1.9", "127.0.2.7"])
        .set("limits.deny", vec!["127.0.1.0/24", "127.0.2.7/32"]);
    let mut daemon = setup.start();
    let verdicts = |daemon: &Daemon| {
        ["127.0.0.1", "127.0.1.8", "127.0.1.9", "127.0.2.7", "127.0.2.8", "127.1.0.1"]
            .map(|ip| enter(ip, daemon).is_some())
    };
    assert_eq!(verdicts(&daemon), [true, false, true, false, true, false]);
    assert_eq!(counted(&daemon, "denied"), 3);
    assert!(daemon.log().contains("may not connect (limits.allow, limits.deny); closed"), "{}", daemon.log());
    let text = control::tell(&daemon, &["status"]).stdout;
    assert!(text.contains("turned away   3 denied, 0 too many of an address"), "{text}");
    // A reload changes the rules for those that come; who is inside stays.
    let inside = enter("127.0.0.1", &daemon).expect("allowed");
    let none: Vec<String> = Vec::new();
    daemon.reconfigure(|setup| setup.set("limits.allow", none).set("limits.deny", vec!["127.0.0.0/24"]));
    assert_eq!(control::tell(&daemon, &["reload"]).code, 0);
    assert_eq!(verdicts(&daemon), [false, true, true, true, true, true]);
    assert_eq!(ask(&inside), Answer::Echo);
    daemon.stop();
}

/// What docs/failure-modes.md promises: an end, or RST where bytes of the client had come already; nothing is stored.
#[test]
fn who_is_sent_away_sees_the_end_or_a_reset() {
    let mut daemon = Setup::default().set("limits.deny", vec!["127.0.0.2"]).start();
    let workers = daemon.workers();
    workers.iter().for_each(|pid| processes::signal(*pid, Signal::SIGSTOP));
    wait_until(DEADLINE, "stopped workers", || workers.iter().all(|pid| processes::stopped(*pid)));
    let silent = connect_from("127.0.0.2", daemon.address);
    let mut talker = connect_from("127.0.0.2", daemon.address);
    talker.write_all(b"hello\n").unwrap();
    workers.iter().for_each(|pid| processes::signal(*pid, Signal::SIGCONT));
    assert!(ends_within(&silent, DEADLINE));
    assert_eq!(hear(&talker, b"hello\n"), Answer::Reset);
    assert_eq!(counted(&daemon, "denied"), 2);
    assert_eq!([counted(&daemon, "messages"), counted(&daemon, "accepted")], [0, 0]);
    wait_until(Duration::from_secs(5), "nobody is inside", || control::status(&daemon)["connections"] == 0);
    daemon.stop();
}
