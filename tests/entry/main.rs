//! How clients come in beside plain TCP: by Unix sockets, behind a proxy, with TLS.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod broken;
mod haproxy;
mod proxied;
mod tls;
mod unix;

use std::io::{Read, Write};
use support::checker;
use support::daemon::Daemon;

/// Sends `message` and hears its echo.
fn say(stream: &mut (impl Read + Write), message: &str) {
    stream.write_all(message.as_bytes()).unwrap();
    hear(stream, message);
}

/// What comes is `expected`.
fn hear(stream: &mut impl Read, expected: &str) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).unwrap_or_else(|error| panic!("no {expected:?}: {error}"));
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

/// The server closes, in order, with nothing more to say.
fn hangs_up(stream: &mut impl Read) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}

/// The lines of the stopped daemon's store.
fn stored(daemon: &Daemon) -> Vec<String> {
    let files = checker::files(&daemon.store());
    files.iter().flat_map(|file| read_lines(&file.path)).collect()
}

fn read_lines(path: &std::path::Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// Second and fourth field of a line in `text`.
fn peer_and_message(line: &str) -> (&str, &str) {
    let mut fields = line.splitn(4, ' ');
    (fields.nth(1).unwrap(), fields.nth(1).unwrap())
}

/// A counter of `status --json`.
fn count(daemon: &Daemon, name: &str) -> u64 {
    let status = support::control::status(daemon);
    status["totals"]["workers"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {status}"))
}
