//! `tail` and `cat` on the store of a running daemon: each record once, in order, byte for byte, whatever happens to the files meanwhile.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod bytes;
mod follow;
mod input;
mod many;
mod resume;

use nix::sys::signal::Signal;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::daemon::{Daemon, Setup, command};
use support::framing::Framing;
use support::load::{OnBreak, Shape};
use support::processes;

/// `echostored ARGUMENTS --directory DIRECTORY`, to its end.
fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    command.arg("--directory").arg(directory).output().unwrap()
}

/// Exit code, standard output and standard error of a command.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A load that leaves the machine to others: these tests are about what is done with the records.
const GENTLE: Shape = Shape {
    connections: 8,
    window: 4,
    framing: Framing::Line,
    smallest: 16,
    largest: 300,
    on_break: OnBreak::Fail,
    messages_a_connection: None,
    rest: Duration::from_millis(2),
};

/// A daemon that rotates only when it is told to.
fn daemon() -> Daemon {
    Setup::default().start()
}

/// Has the daemon begin a new file every 20 ms.
struct Rotations(Arc<AtomicBool>);

impl Rotations {
    fn start(daemon: &Daemon) -> Self {
        let (supervisor, stop) = (daemon.supervisor(), Arc::new(AtomicBool::new(false)));
        let theirs = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !theirs.load(Ordering::SeqCst) {
                processes::signal(supervisor, Signal::SIGUSR1);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self(stop)
    }
}

impl Drop for Rotations {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
