//! `status`, `reload`, `rotate`: answered when the deed is done, whatever else is going on, and disturbed by nobody.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod connections;
mod place;

use serde_json::Value;
use support::client::{Client, History, Messages};
use support::daemon::{Daemon, Ended};
use support::drive::serve;
use support::framing::Framing;

/// Echoed messages, `each` on so many connections.
fn store(daemon: &Daemon, connections: usize, each: usize) -> Vec<History> {
    let messages = || Messages::generated(Framing::Line, 20, 100);
    let client = || Client::connect(daemon.address, Framing::Line, messages()).unwrap().quota(each).half_close();
    serve((0..connections).map(|_| client()).collect())
}

fn said(ended: &Ended) -> (i32, &str, &str) {
    (ended.code, ended.stdout.as_str(), ended.stderr.as_str())
}

/// A number of a status, by its JSON pointer.
fn number(status: &Value, path: &str) -> u64 {
    status.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {status}"))
}
