//! Clients for whom there is no descriptor, or no room by the limit.
use crate::start;
use crate::support::daemon::{Daemon, Setup, as_user};
use crate::support::{DEADLINE, processes, skip};
use crate::view::{is_said, until, until_said, until_sound};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// Leaves each worker descriptors for so many connections; false, and says so, where that is not possible.
fn leave_descriptors(daemon: &Daemon, connections: usize) -> bool {
    daemon.workers().into_iter().all(|pid| {
        let most = processes::descriptors(pid).len() + connections;
        let mut command = Command::new("prlimit");
        command.args(["--pid", &pid.to_string(), &format!("--nofile={most}:{most}")]);
        // Nobody may do this to another user's process without a capability.
        as_user(&mut command);
        match command.status() {
            Ok(status) => {
                assert!(status.success(), "prlimit: {status}");
                true
            }
            Err(error) => {
                skip(&format!("no prlimit: {error}"));
                false
            }
        }
    })
}

/// One that has heard an echo.
pub fn served(daemon: &Daemon) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"x\n").unwrap();
    let mut echo = [0; 2];
    stream.read_exact(&mut echo).unwrap();
    stream
}

#[test]
fn descriptors_are_used_up() {
    const COUNTER: &str = "echostored_last_trouble_timestamp_seconds{counter=\"workers.accept_pauses\"}";
    let mut daemon = start(Setup::default().set("server.workers", 1));
    until_sound(&daemon, "before");
    if !leave_descriptors(&daemon, 10) {
        return;
    }
    let inside = served(&daemon);
    let crowd: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(daemon.address).unwrap()).collect();
    let view = until(&daemon, "no descriptor is left", |view| {
        vec![
            // Who is inside is served.
            ("healthy", view.is_sound(true)),
            ("pauses", view.number("/totals/workers/accept_pauses") >= 30),
            ("by whom", view.number("/workers/0/accept_pauses") >= 30),
            ("their metric", view.metric("echostored_accept_pauses_total") >= 30.0),
            ("when", view.field("/last/workers.accept_pauses").is_string()),
            ("when, on the screen", view.row("workers.accept_pauses").contains("0s ago")),
            ("when, in the metrics", view.metric(COUNTER) > 1.7e9),
        ]
    });
    assert!(view.number("/connections") < 20 && view.metric("echostored_connections") < 20.0, "not all are inside");
    let words = ["cannot accept a connection: ", "Too many open files", "raise LimitNOFILE="];
    is_said(&daemon, "accept-failed", 1, &words);
    drop(crowd);
    drop(served(&daemon));
    until_said(&daemon, "accepting-again", 1);
    is_said(&daemon, "accepting-again", 1, &["connections are accepted again without a pause"]);
    is_said(&daemon, "accept-failed", 1, &words);
    let after = until(&daemon, "after", |view| {
        vec![("healthy", view.is_sound(true)), ("it is over", !view.row("workers.accept_pauses").contains("  0s ago"))]
    });
    let pauses = after.number("/totals/workers/accept_pauses");
    until(&daemon, "no pause more", |view| vec![("the same", view.number("/totals/workers/accept_pauses") == pauses)]);
    drop(inside);
    daemon.stop();
}

/// As long as it lasts it is another pause each second: the time of the last one does not grow old, and a rule sees it rise.
#[test]
fn the_limit_of_connections_is_reached() {
    let mut daemon = start(Setup::default().set("server.workers", 1).set("limits.max-connections", 2));
    let inside = [served(&daemon), served(&daemon)];
    let mut outside = TcpStream::connect(daemon.address).unwrap();
    outside.set_read_timeout(Some(DEADLINE)).unwrap();
    outside.write_all(b"x\n").unwrap();
    until(&daemon, "it lasts", |view| {
        vec![
            ("healthy", view.is_sound(true)),
            ("pauses", view.number("/totals/workers/accept_pauses") >= 4),
            ("their metric", view.metric("echostored_accept_pauses_total") >= 4.0),
            ("the last one", view.row("workers.accept_pauses").contains("  0s ago")),
        ]
    });
    is_said(&daemon, "connections-full", 1, &["limits.max-connections is reached"]);
    is_said(&daemon, "accepting-again", 0, &[]);
    drop(inside);
    let mut echo = [0; 2];
    outside.read_exact(&mut echo).unwrap();
    daemon.stop();
}
