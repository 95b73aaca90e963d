//! What an operator sees of a fault that is made for real: the screen and the JSON of `status`, its exit code, the metrics, the
//! log by its events; before, during and after. Trouble is told once, has its cause, and is over when the fault is.
//!
//! `docs/failure-modes.md` has it as a table, which `page` compares with the code.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../faults/shim.rs"]
#[allow(dead_code)]
mod shim;
#[path = "../support/mod.rs"]
mod support;

mod clients;
mod closed;
mod disk;
mod page;
mod processes;
mod runbook;
mod speed;
mod view;

use support::daemon::{Daemon, Setup};
use support::home::Home;

/// What all daemons here have: events in the log, and metrics.
fn watched(setup: Setup) -> Setup {
    setup.set("log.format", "json").set("metrics.listen", "127.0.0.1:0")
}

/// One without a fault of its own.
fn start(setup: Setup) -> Daemon {
    watched(setup).start_in(Home::new())
}
