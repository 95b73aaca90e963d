//! The writer dies at each step of a refusal, once: before and behind the frames' leaving the pipe, and while the segment is
//! left in which a batch was given up.
use super::{SIZE, check, load, setup};
use crate::support::daemon::{Daemon, Setup};
use crate::support::home::Home;
use crate::support::load::Load;
use crate::support::small::Small;
use crate::support::{DEADLINE, wait_until};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};

const STEPS: [&str; 3] = ["refuse-committed", "refuse-consumed", "half-refuse"];
/// The states of the rotation by which a segment is left.
const LEAVING: [&str; 5] = ["rotate-created", "rotate-synced", "rotate-linked", "rotate-swapped", "rotate-published"];

/// A daemon that dies once at the `passage`-th time that its writer comes by `point`, unless the file is there, which also
/// tells that it has happened.
fn doomed(home: &Home, point: &str, passage: usize) -> (Setup, PathBuf) {
    println!("{point}@{passage}");
    let happened = home.join("crashed");
    let setup = setup("stored").environment("ECHOSTORED_CRASH", &format!("{point}@{passage}"));
    (setup.environment("ECHOSTORED_CRASH_ONCE", happened.to_str().unwrap()), happened)
}

/// It goes on refusing, and then storing.
fn goes_on(mut daemon: Daemon, small: &Small, load: Load, happened: &Path) {
    wait_until(DEADLINE, "the crash", || happened.exists());
    let broken = load.broken();
    wait_until(DEADLINE, "refusals by the next writer", || load.broken() > broken + 10);
    daemon.remember();
    small.give_room();
    load.progress(100);
    let histories = load.finish();
    check(&mut daemon, &histories);
}

#[test]
fn at_every_step_of_a_refusal() {
    for point in STEPS {
        for passage in [1, 2, 9] {
            let home = Home::new();
            let Some(small) = Small::new(&home, SIZE) else { return };
            let (setup, happened) = doomed(&home, point, passage);
            let daemon = setup.start_in(home);
            let load = load(&daemon);
            goes_on(daemon, &small, load, &happened);
        }
    }
}

/// A batch waits with a part of it in the file; then the policy changes, and it is given up.
#[test]
fn at_every_state_of_leaving_a_segment() {
    for point in LEAVING {
        let home = Home::new();
        let Some(small) = Small::new(&home, SIZE) else { return };
        let (setup, happened) = doomed(&home, point, 1);
        std::fs::write(&happened, "not yet").unwrap();
        let mut daemon = setup.set("store.on-disk-full", "wait").start_in(home);
        let load = load(&daemon);
        wait_until(DEADLINE, "a full disk", || daemon.log().contains("nothing is echoed until it can"));
        std::fs::remove_file(&happened).unwrap();
        daemon.reconfigure(|setup| setup.set("store.on-disk-full", "reject"));
        daemon.signal(Signal::SIGHUP);
        goes_on(daemon, &small, load, &happened);
    }
}
