//! What the black-box tests share: the real daemon on a fresh directory, clients with a history, an independent reader of the store.
//!
//! Nothing here uses the daemon's own code: a mistake there must not hide itself.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of this; a failed unwrap is a failed test"
)]

pub mod certificates;
pub mod checker;
pub mod client;
pub mod control;
pub mod daemon;
pub mod disk;
pub mod drive;
pub mod follower;
pub mod framing;
pub mod harm;
pub mod home;
pub mod load;
pub mod manager;
pub mod messages;
pub mod passing;
pub mod processes;
pub mod record;
pub mod seed;
pub mod setup;
pub mod shelf;
pub mod small;

use std::time::{Duration, Instant};

/// Long enough for a loaded machine with two cores; a test that waits this long has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Says that a test, or a part of it, cannot run here. Written past the test runner, which shows only what failing tests
/// print: nothing is skipped silently.
pub fn skip(why: &str) {
    use std::io::Write;
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // In one write, so that no other thread's lines get into it.
    let _ = std::io::stderr().write_all(format!("SKIPPED {name}: {why}\n").as_bytes());
}

/// Waits for an event that can only be looked for, and fails with `what` after `deadline`.
pub fn wait_until(deadline: Duration, what: &str, mut happened: impl FnMut() -> bool) {
    assert!(came_true(deadline, &mut happened), "not within {deadline:?}: {what}");
}

/// `rm -rf` of a directory in which a daemon may just make a file: until it is gone.
pub fn remove_all(directory: &std::path::Path) {
    use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
    let mut gone = || match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == DirectoryNotEmpty => false,
        Err(error) if error.kind() != NotFound => panic!("cannot remove {}: {error}", directory.display()),
        _ => true,
    };
    assert!(came_true(DEADLINE, &mut gone), "{} is not to be emptied", directory.display());
}

/// Looks every 2 ms whether `happened`, for at most `span`.
pub fn came_true(span: Duration, mut happened: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + span;
    loop {
        if happened() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Asserts that something does *not* happen for `span`: the only honest use of time in a test.
pub fn stays_false(span: Duration, what: &str, happened: impl FnMut() -> bool) {
    assert!(!came_true(span, happened), "must not happen: {what}");
}

/// Raises the soft limit of open files to the hard one, for tests with many connections.
pub fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    }
}
