//! Stopping, in order: workers stop accepting, wait for their last acks, echo, close, leave; the writer stores what is
//! left, syncs and leaves last. For what the disk has no room nobody waits: it is refused. A second signal, and `server.shutdown-timeout`, cut the first half short.
use super::Supervisor;
use super::crew::Worker;
use super::listeners::Listeners;
use crate::exit;
use crate::ipc::control::{ToWorker, ToWriter};
use crate::sys::process::{self, Ending};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// Two signals this close together are one wish.
const SAME_WISH: Duration = Duration::from_millis(20);
/// How long a worker that was told to leave at once may take.
const ABORT_GRACE: Duration = Duration::from_secs(1);
/// How long the writer may take to store what is left, at least.
const WRITER_GRACE: Duration = Duration::from_secs(30);
/// The same after a second signal.
const WRITER_HURRY: Duration = Duration::from_secs(2);
/// A writer that dies while stopping is replaced so often: its frames are still in the pipes.
const WRITER_LIVES: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Workers finish what they have received.
    Closing,
    /// Workers leave at once.
    Aborting,
    /// The writer stores what is left.
    Finishing,
}

/// A stop under way.
#[derive(Debug)]
pub struct Stop {
    stage: Stage,
    began: Instant,
    /// When the stage's patience ends.
    deadline: Instant,
    hurry: bool,
    /// The start failed: whatever ends is not replaced.
    given_up: bool,
    /// The writer was killed: once it is gone, so is its hold on the lock.
    killed: bool,
    /// The writer knows of the stop.
    warned: bool,
    /// The writer knows that all workers are gone.
    told: bool,
    writer_deaths: u32,
    writer_code: Option<u8>,
    /// The exit code if the writer ends well.
    code: u8,
}

impl Stop {
    fn new(began: Instant, deadline: Instant, code: u8) -> Self {
        let stage = Stage::Closing;
        Self {
            stage,
            began,
            deadline,
            hurry: false,
            given_up: false,
            killed: false,
            warned: false,
            told: false,
            writer_deaths: 0,
            writer_code: None,
            code,
        }
    }

    /// Notes the writer's end: true if it need not be replaced.
    pub fn writer_ended(&mut self, ending: Ending) -> bool {
        self.tell_again();
        match ending {
            _ if self.given_up => self.writer_code = Some(exit::OK),
            _ if self.killed => self.writer_code = Some(exit::FAILED),
            Ending::Exit(exit::OK) if self.stage == Stage::Finishing => self.writer_code = Some(exit::OK),
            _ => {
                // Its frames are still in the pipes, and some may have been echoed: another one may do better.
                self.writer_deaths += 1;
                if self.writer_deaths > WRITER_LIVES {
                    self.writer_code = Some(exit::FAILED);
                }
            }
        }
        self.writer_code.is_some()
    }

    /// Whether a process may end so in this stop: in order, or `killed` by us, which was told then; after a start that failed
    /// however it will.
    pub fn expects(&self, ending: Ending, killed: bool) -> bool {
        self.given_up || killed || ending == Ending::Exit(exit::OK)
    }

    /// Whether the writer may end so.
    pub fn expects_writer(&self, ending: Ending) -> bool {
        self.expects(ending, self.killed)
    }

    /// The next writer is to be told of the stop, and to finish.
    pub fn tell_again(&mut self) {
        (self.warned, self.told) = (false, false);
    }

    /// When there is something to do without any event.
    pub fn wakes_at(&self) -> Option<Instant> {
        // Once the writer has left, the archiver is waited for.
        Some(self.deadline).filter(|_| self.writer_code.is_none())
    }
}

impl Supervisor {
    /// `TERM` or `INT`: the first stops gracefully, the second at once.
    pub(super) fn stop_asked(&mut self, signal: Signal) {
        let now = Instant::now();
        match &mut self.stop {
            None => {
                crate::notice!(STOPPING, "{signal}: stopping; a second signal stops at once");
                self.begin_stop(now, exit::OK);
            }
            // One action often sends two: to the process and to its group. That is not somebody who cannot wait.
            Some(stop) if now < stop.began + SAME_WISH => {}
            Some(stop) => {
                crate::notice!(
                    STOPPING_AT_ONCE,
                    "{signal} again: stopping at once; what is not acknowledged is not echoed"
                );
                stop.hurry = true;
                let patience = if stop.stage == Stage::Finishing { WRITER_HURRY } else { Duration::ZERO };
                stop.deadline = stop.deadline.min(now + patience);
            }
        }
    }

    fn begin_stop(&mut self, now: Instant, code: u8) {
        self.notify.stopping("stopping");
        self.stop = Some(Stop::new(now, now + self.config.server.shutdown_timeout, code));
        self.tell_workers(ToWorker::Close);
        self.archive.retire();
        // Who comes now is refused at once, and can go elsewhere; or waits for the next daemon, if a service manager has the
        // sockets, too.
        self.ground.listeners = Listeners::default();
    }

    /// The start failed: whoever is there leaves, and the daemon with this code.
    pub(super) fn stop_failed(&mut self, code: u8) {
        let now = Instant::now();
        self.begin_stop(now, code);
        if let Some(stop) = &mut self.stop {
            stop.hurry = true;
            stop.deadline = now;
            stop.given_up = true;
            if self.writer.is_none() {
                stop.writer_code = Some(exit::OK);
            }
        }
    }

    /// The next step of a stop under way; the exit code when it is done.
    pub(super) fn advance_stop(&mut self, now: Instant) -> Option<u8> {
        let stop = self.stop.as_mut()?;
        if let Some(writer) = self.writer.as_mut().filter(|_| !stop.warned) {
            stop.warned = true;
            writer.channel.send(ToWriter::Stop);
        }
        if self.workers.is_empty() && stop.stage != Stage::Finishing {
            stop.stage = Stage::Finishing;
            stop.deadline = now + if stop.hurry { WRITER_HURRY } else { WRITER_GRACE };
        }
        if stop.stage == Stage::Finishing {
            if stop.writer_code.is_some() && (self.archiver_lingers(now) || self.exporter_lingers(now)) {
                return None;
            }
            let stop = self.stop.as_mut()?;
            if let Some(code) = stop.writer_code {
                if code == exit::OK && !stop.given_up {
                    // All is stored: the next daemon begins a run of its own.
                    self.ground.run.end(&mut self.notify);
                }
                return Some(if code == exit::OK { stop.code } else { code });
            }
            match &mut self.writer {
                Some(writer) if !stop.told => {
                    stop.told = true;
                    writer.channel.send(ToWriter::Finish);
                }
                None if self.writer_due.is_none() => self.writer_due = Some(now),
                _ => {}
            }
        }
        let stop = self.stop.as_mut()?;
        if now < stop.deadline {
            return None;
        }
        match stop.stage {
            Stage::Closing => {
                stop.stage = Stage::Aborting;
                stop.deadline = now + ABORT_GRACE;
                self.tell_workers(ToWorker::Abort);
            }
            Stage::Aborting => {
                stop.deadline = now + ABORT_GRACE;
                self.workers.iter_mut().for_each(kill_late);
            }
            // In a call that does not return it cannot even be killed.
            Stage::Finishing if stop.killed => stop.writer_code = Some(exit::FAILED),
            Stage::Finishing => {
                tell_lost();
                (stop.killed, stop.deadline) = (true, now + ABORT_GRACE);
                match &self.writer {
                    Some(writer) => drop(process::signal_child(writer.pid, Signal::SIGKILL)),
                    None => stop.writer_code = Some(exit::FAILED),
                }
            }
        }
        None
    }
}

fn kill_late(worker: &mut Worker) {
    let (number, pid) = (worker.number, worker.pid);
    // In a call that does not return it cannot even be killed: told once.
    if !std::mem::replace(&mut worker.killed, true) {
        crate::warn!(
            WORKER_LATE { worker: number, pid: pid.as_raw() },
            "worker {number} ({pid}) does not leave; it is killed"
        );
    }
    let _ = process::signal_child(pid, Signal::SIGKILL);
}

fn tell_lost() {
    crate::error!(
        WRITER_LATE,
        "the writer cannot store what is left in time; what is not in the file yet is lost, unless a service manager keeps it for the next start; none of it was echoed but in received mode"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_in_a_stop_is_news_and_what_was_asked_for_is_not() {
        let now = Instant::now();
        let mut stop = Stop::new(now, now, exit::OK);
        let crash = Ending::Signal(Signal::SIGSEGV);
        assert!(stop.expects(Ending::Exit(exit::OK), false) && stop.expects(Ending::Signal(Signal::SIGKILL), true));
        assert!(!stop.expects(crash, false) && !stop.expects(Ending::Exit(exit::FAILED), false));
        assert!(!stop.expects_writer(crash));
        stop.killed = true;
        assert!(stop.expects_writer(crash) && !stop.expects(crash, false));
        stop.given_up = true;
        assert!(stop.expects(crash, false));
    }
}
