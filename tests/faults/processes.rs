//! Roles killed at bad moments, stopped, dying again and again, and not to be forked. Kills at any moment, by the hundred,
//! are in `tests/kills.rs`, and their counts are raised by the same `ECHOSTORED_TEST_KILLS`.
use crate::support::daemon::Setup;
use crate::support::load::{OnBreak, Shape};
use crate::support::seed::count;

mod forks;
mod loops;
mod moments;
mod stopped;
mod storm;

/// A part of the kills that were asked for.
fn part(of: usize) -> usize {
    (count("ECHOSTORED_TEST_KILLS", 540) / of).max(1)
}

fn echo(mode: &str) -> Setup {
    Setup::default().set("server.echo", mode).set("rotate.max-size", "512KiB")
}

fn reconnecting() -> Shape {
    Shape { on_break: OnBreak::Reconnect, ..Shape::default() }
}
