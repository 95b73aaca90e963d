//! What an attacker, or a careless starter, has prepared before us: planted files, a hostile environment, odd descriptors
//! and signals, and messages that are aimed at terminals. Refused or neutralised, and never a byte written elsewhere.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod environment;
mod names;
mod process;
mod terminal;

use support::client::{Client, History, Messages};
use support::daemon::Daemon;
use support::drive::serve;
use support::framing::Framing;

fn ten_echoes(daemon: &Daemon) -> History {
    let client = Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap();
    serve(vec![client.quota(10).half_close()]).remove(0)
}
