//! What a connection, and a worker, may hold.
use crate::connect_from;
use crate::support::daemon::Setup;
use crate::support::drive::held_up;
use crate::support::{DEADLINE, raise_open_files, stays_false, wait_until};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// What a client that does not read could send before it was held up.
fn taken(most: &str) -> usize {
    let setup = Setup::default().set("limits.max-buffered-per-connection", most).set("limits.write-timeout", "0");
    let mut daemon = setup.start();
    let clients = held_up(daemon.address);
    let sent = clients[0].history.sent_bytes;
    drop(clients);
    daemon.stop();
    sent
}

#[test]
fn what_a_connection_may_hold_is_as_configured() {
    // Beside it there are the kernel's buffers for the socket, which are a few megabytes.
    let (small, large) = (taken("4KiB"), taken("16MiB"));
    println!("{small} and {large} bytes");
    assert!(large > small + (12 << 20), "{small} and {large} bytes");
}

fn unfinished(most: &str) -> (crate::support::daemon::Daemon, Vec<TcpStream>) {
    raise_open_files();
    let setup = Setup::default().set("server.workers", 1).set("limits.max-buffered", most);
    let daemon = setup.set("limits.max-buffered-per-connection", "4KiB").start();
    let stream = |_| {
        let mut stream = connect_from("127.0.0.1", daemon.address);
        stream.write_all(&[b'x'; 60_000]).unwrap();
        stream
    };
    let streams = (0..100).map(stream).collect();
    (daemon, streams)
}

const SHORT_OF_MEMORY: &str = "did not finish a message while memory was short";

#[test]
fn what_a_worker_may_hold_is_as_configured() {
    let (mut daemon, streams) = unfinished("1MiB");
    wait_until(DEADLINE, "one is closed, for the others", || daemon.log().contains(SHORT_OF_MEMORY));
    drop(streams);
    daemon.stop();
    let (mut daemon, streams) = unfinished("64MiB");
    stays_false(Duration::from_secs(6), "memory is short", || daemon.log().contains(SHORT_OF_MEMORY));
    drop(streams);
    daemon.stop();
}
