//! Every fault that one machine can make, against the guarantee. What each shows to clients, on disk and in the log stands in
//! `docs/failure-modes.md`, one row per fault, with the test of this folder that shows it.
//!
//! Seeded (`ECHOSTORED_TEST_SEED`); a failed test prints the command that replays it and keeps its store. Counts can be
//! raised by the environment variables named in each module. What needs root says `SKIPPED` without it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod bytes;
mod clock;
mod directory;
mod disks;
mod lasting;
mod power;
mod processes;
mod refuse;
mod rescue;
mod shim;
mod slow;
mod sweep;
