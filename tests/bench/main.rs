//! `bench`: what it measures is counted and checked, and a server that does not echo, or a store that does not hold, is found.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod capacity;
mod daemon;
mod servers;
mod store;

use serde_json::Value;
use std::path::Path;
use support::daemon::{Ended, command, run};
use support::home::Home;

/// Runs `echostored bench` to its end.
fn bench(address: &str, arguments: &[&str]) -> Ended {
    run(&Home::new(), command(&[&["bench", address], arguments].concat()))
}

/// The same with `--json`, which must go well.
fn figures(address: &str, arguments: &[&str]) -> Value {
    let ended = bench(address, &[arguments, &["--json"]].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    json(&ended)
}

/// Its only line.
fn json(ended: &Ended) -> Value {
    assert_eq!(ended.stdout.lines().count(), 1, "{}{}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// It failed, and these words told why.
fn failed(ended: &Ended, code: i32, told: &[&str]) {
    assert_eq!(ended.code, code, "{}{}", ended.stdout, ended.stderr);
    for told in told {
        assert!(ended.stderr.contains(told), "{told:?} is missing:\n{}", ended.stderr);
    }
}
