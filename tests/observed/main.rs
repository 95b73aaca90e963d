//! Every field of `status` and every metric is moved by a scenario here: faults are played to real daemons, and looked at
//! over the control socket and by scrapes. What none has moved is printed as a list, and fails the test; so does what is
//! called a constant and moved.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../metrics/http.rs"]
#[allow(dead_code, reason = "another test's client")]
mod http;
#[path = "../faults/shim.rs"]
#[allow(dead_code, reason = "another test's shim")]
mod shim;
#[path = "../support/mod.rs"]
mod support;

mod archive;
mod births;
mod clients;
mod eye;
mod full;
mod reports;
mod seen;
mod store;
mod verdict;

use seen::Seen;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;
use support::daemon::{Daemon, Setup};
use support::home::Home;

/// A scenario: its name, and what is played.
type Scenario = (&'static str, fn(&Seen));

/// The longest first.
const SCENARIOS: &[Scenario] = &[
    ("archive", archive::play),
    ("clients", clients::play),
    ("full", full::play),
    ("stalled", store::stalled),
    ("homeless", store::homeless),
    ("births", births::births),
    ("rescue", store::rescue),
    ("stop", births::stop),
    ("reload", births::reload),
    ("log", births::log),
    ("torn", store::torn),
    ("tampered", store::tampered),
];

/// How many are played at once.
const AT_ONCE: usize = 3;

/// A daemon with metrics, at a port that the kernel chooses.
fn start_in(home: Home, setup: Setup) -> Daemon {
    setup.set("metrics.listen", "127.0.0.1:0").start_in(home)
}

fn start(setup: Setup) -> Daemon {
    start_in(Home::new(), setup)
}

/// `ECHOSTORED_TEST_WITHOUT` names a scenario to leave out: the list then shows what it alone moves.
#[test]
fn every_field_and_every_metric_is_moved() {
    let seen = Seen::default();
    let without = std::env::var("ECHOSTORED_TEST_WITHOUT").unwrap_or_default();
    let left = Mutex::new(SCENARIOS.iter().filter(|(name, _)| *name != without).collect::<Vec<_>>().into_iter());
    let failed = Mutex::new(Vec::new());
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            // What is skipped is told with the thread's name.
            let thread = std::thread::Builder::new().name("every_field_and_every_metric_is_moved".to_owned());
            let play_them = || {
                while let Some((name, play)) = next() {
                    let begin = Instant::now();
                    // The others go on, and the list is printed.
                    if catch_unwind(AssertUnwindSafe(|| play(&seen))).is_err() {
                        failed.lock().unwrap().push(*name);
                    }
                    println!("{name}: {:.1?}", begin.elapsed());
                }
            };
            thread.spawn_scoped(scope, play_them).unwrap();
        }
    });
    let list = verdict::list(&seen);
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "scenarios that failed, see above: {failed:?}");
    assert!(list.is_empty(), "{} that no scenario moves (or that should not move); see the list", list.len());
}
