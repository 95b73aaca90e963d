//! A process that crashes in a stop is told of like any other; one that leaves as it should is not.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use support::daemon::Setup;
use support::{DEADLINE, processes, wait_until};

#[test]
fn a_crash_in_a_stop_is_told_and_an_orderly_end_is_not() {
    let mut daemon = Setup::default().set("server.workers", 2).set("server.shutdown-timeout", "60s").start();
    wait_until(DEADLINE, "the archiver", || daemon.log().contains("looks after closed files"));
    let (archiver, worker) = (daemon.roles("archiver")[0], daemon.workers()[0]);
    // So that they are there when the stop begins.
    [archiver, worker].into_iter().for_each(|pid| processes::signal(pid, Signal::SIGSTOP));
    daemon.remember();
    daemon.signal(Signal::SIGTERM);
    wait_until(DEADLINE, "the stop", || daemon.log().contains("TERM: stopping"));
    for (pid, role) in [(archiver, "archiver"), (worker, "worker")] {
        // It is delivered with what lets it go on.
        processes::signal(pid, Signal::SIGABRT);
        processes::signal(pid, Signal::SIGCONT);
        let told = || {
            daemon.log().lines().any(|line| {
                let warning = line.contains(&format!(" warning supervisor: {role} "));
                warning && line.contains(&pid.to_string()) && line.contains(" ended in the stop: SIGABRT; ")
            })
        };
        wait_until(DEADLINE, role, told);
    }
    assert_eq!(daemon.wait_exit(DEADLINE), 0);
    assert_eq!(daemon.log().matches(" ended").count(), 2, "{}", daemon.log());
}
