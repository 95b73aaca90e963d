//! A soak: faults every second or two under load, for as long as asked, with memory, descriptors, processes, disk and log watched.
//!
//! ```sh
//! ECHOSTORED_SOAK=3600 cargo test --release --test soak -- --nocapture
//! ```
//!
//! Seconds; 20 without it. (`--release` for the checker: it reads every record again.) Three daemons run side by side, since memory can only be watched where a process lives on:
//!
//! | house | echo | what happens to it | whose memory is compared |
//! |---|---|---|---|
//! | calm | received | nobody dies: rotations, roles stopped and continued | supervisor, writer, workers |
//! | roles | synced, on a tmpfs if root | also: kills of writer and workers, reloads, a full disk | supervisor |
//! | everything | stored | also: kills of the supervisor and of everything at once | – (shown) |
//!
//! In rounds each settles: no client is left waiting, the processes and descriptors are those of the first round, the own checker and
//! `echostored verify` find the store whole, and the closed files are deleted, as an operator would. Any violation fails the test.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod fault;
mod house;
mod watch;

use house::{House, Kind, Report};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::seed::{count, seed};

const NAME: &str = "faults_every_second_or_two";
/// What memory may grow by in a run that is long enough to tell; the aim is 1 %.
const GROWTH: f64 = 10.0;
const LONG: Duration = Duration::from_secs(600);

#[test]
fn faults_every_second_or_two() {
    let span = Duration::from_secs(count("ECHOSTORED_SOAK", 20) as u64);
    println!("seed {}, {} s", seed(), span.as_secs());
    let failed = AtomicBool::new(false);
    let reports = std::thread::scope(|scope| {
        let failed = &failed;
        let begin = |kind| {
            // Named as the test is, for the command that a failure prints.
            let thread = std::thread::Builder::new().name(NAME.to_owned());
            thread.spawn_scoped(scope, move || {
                let _flag = Flag(failed);
                House::open(kind, span).live(|| failed.load(Ordering::SeqCst))
            })
        };
        let houses = Kind::ALL.map(|kind| begin(kind).unwrap());
        houses.map(|house| house.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    reports.iter().for_each(Report::print);
    println!("violations: 0");
    for report in &reports {
        let growth = report.growth();
        assert!(span < LONG || growth < GROWTH, "memory has grown by {growth:.1} %");
    }
}

/// Raised when a house fails: the others need not go on.
struct Flag<'a>(&'a AtomicBool);

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}
