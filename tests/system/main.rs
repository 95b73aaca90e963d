//! The package under a real systemd: a clean Debian, booted in a container, with the built `.deb` installed.
//!
//! Each test boots a machine of its own (some seconds), one after another. Needs root, `systemd-nspawn`, `debootstrap` for the first
//! run, and the package (`packaging/build`, or `ECHOSTORED_DEB`); where something is missing each test says `SKIPPED` and what to do.
//! A failed one keeps the machine's journal, console, configuration and store, and says where.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod base;
mod cgroups;
mod checkout;
mod credentials;
mod examples;
mod instances;
mod journal;
mod kills;
mod machine;
mod package;
mod reload;
mod restart;
mod sandbox;
mod service;
mod tail;
mod times;
