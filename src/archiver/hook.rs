//! `rotate.on-close`: a program of the operator's that is run with each closed segment, one at a time, by number, until it
//! ends well. At least once: it is noted as done after it was.
//!
//! ```text
//! through = 41      # every segment up to this number is done
//! left = [17]       # but for these: they cannot be read for now
//! ```
use super::runner::{Ask, Job, ToHook};
use crate::log::Limiter;
use crate::store::directory;
use crate::store::manifest::Seal;
use crate::store::names::{Form, SegmentName};
use crate::sys::BorrowedFd;
use crate::sys::process::Ending;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::{Duration, Instant};

/// Its state in the store's directory.
const FILE: &str = ".on-close";
const FILE_NEW: &str = ".on-close.new";
/// Between `TERM` and `KILL`.
const GRACE: Duration = Duration::from_secs(5);
/// The longest wait before another try.
const LONGEST: Duration = Duration::from_secs(300);
/// More that cannot be read hold up those after them.
const MOST_LEFT: usize = 100;

/// What is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Done {
    through: u64,
    #[serde(default)]
    left: Vec<u64>,
}

/// Whether a segment can be handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// Now.
    Yes,
    /// There is work to do on it first.
    Soon,
    /// It cannot be read.
    Stuck,
}

/// A run that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// With which segment.
    pub name: SegmentName,
    /// Whether it ended well.
    pub well: bool,
}

#[derive(Debug)]
struct Running {
    name: SegmentName,
    /// `TERM` then, and `KILL` after [`GRACE`].
    deadline: Instant,
    terminated: bool,
}

#[derive(Debug)]
struct Failing {
    name: SegmentName,
    attempts: u32,
    next: Instant,
}

/// The hook.
#[derive(Debug)]
pub(super) struct Hook {
    /// The process that runs it; `None`: there is no hook.
    runner: Option<ToHook>,
    timeout: Duration,
    done: Done,
    /// It is not kept as it is now.
    unsaved: bool,
    running: Option<Running>,
    /// The archiver leaves: a run that ends by that has not failed.
    leaving: bool,
    failing: Option<Failing>,
    told: Limiter,
}

impl Hook {
    /// What was done before is read from the store.
    pub fn new(runner: Option<ToHook>, timeout: Duration, directory: BorrowedFd<'_>) -> Self {
        let mut hook = Self {
            runner,
            timeout,
            done: Done::default(),
            unsaved: false,
            running: None,
            leaving: false,
            failing: None,
            told: Limiter::new(),
        };
        let read = directory::read_small(directory, FILE)
            .and_then(|text| text.map(|text| directory::parse(&text)).transpose());
        match read {
            Ok(done) => hook.done = done.unwrap_or_default(),
            Err(error) if hook.is_on() => {
                warn!(HOOK_STATE_NOT_READ, "cannot read {FILE}: {error}; all closed files are handed on again")
            }
            Err(_) => {}
        }
        hook
    }

    /// Whether there is a program to run.
    pub fn is_on(&self) -> bool {
        self.runner.is_some()
    }

    /// Whether this segment was not handed on yet.
    pub fn is_pending(&self, sequence: u64) -> bool {
        self.is_on() && (sequence > self.done.through || self.done.left.contains(&sequence))
    }

    /// Every segment up to this number was, but for a few.
    pub fn through(&self) -> u64 {
        self.done.through
    }

    /// These few, the lowest first.
    pub fn left(&self) -> &[u64] {
        &self.done.left
    }

    /// The segment that it runs on.
    pub fn busy(&self) -> Option<&SegmentName> {
        self.running.as_ref().map(|running| &running.name)
    }

    /// How often it has failed with one segment, one after the other; 0: the last run went well.
    pub fn failures_in_a_row(&self) -> u64 {
        self.failing.as_ref().map_or(0, |failing| u64::from(failing.attempts))
    }

    /// When it has to be looked at again.
    pub fn wake(&self) -> Option<Instant> {
        self.running.as_ref().map(|running| running.deadline).or(self.failing.as_ref().map(|failing| failing.next))
    }

    /// The next segment to be handed on, if it can be: the lowest number first. `pending`: in this order. Those that
    /// cannot be read are passed over, and tried when they can.
    pub fn choose<'a>(
        &self,
        pending: impl Iterator<Item = &'a SegmentName>,
        ready: impl Fn(&SegmentName) -> Ready,
        now: Instant,
    ) -> Option<&'a SegmentName> {
        let rests = self.failing.as_ref().is_some_and(|failing| now < failing.next);
        if !self.is_on() || self.running.is_some() || rests {
            return None;
        }
        let mut stuck = 0;
        for name in pending.filter(|name| self.is_pending(name.sequence)) {
            match ready(name) {
                Ready::Yes => return Some(name),
                Ready::Soon => return None,
                Ready::Stuck if stuck + 1 >= MOST_LEFT => return None,
                Ready::Stuck => stuck += 1,
            }
        }
        None
    }

    /// Has the program run with a segment's file.
    pub fn start(&mut self, name: &SegmentName, form: Form, seal: &Seal, now: Instant) {
        let Some(runner) = &mut self.runner else { return };
        runner.send(Ask::Run(Job::new(name, form, seal)));
        self.running = Some(Running { name: name.clone(), deadline: now + self.timeout, terminated: false });
    }

    /// It could not be started.
    pub fn not_run(&mut self, why: &str, now: Instant) -> Option<Ended> {
        let running = self.running.take()?;
        Some(self.failed(running.name, &format!("it cannot be run: {why}"), now))
    }

    /// It has ended.
    pub fn ended(&mut self, ending: Ending, now: Instant) -> Option<Ended> {
        let running = self.running.take()?;
        let name = running.name;
        if ending == Ending::Exit(0) && (self.leaving || !running.terminated) {
            if let Some(failing) = self.failing.take() {
                notice!(
                    HOOK_WENT_WELL { file: &name.build() },
                    "on-close went well with {} after {} failures",
                    name.build(),
                    failing.attempts
                );
            } else {
                debug!("on-close went well with {}", name.build());
            }
            return Some(Ended { name, well: true });
        }
        if self.leaving {
            debug!("on-close was ended with {}; it is run again", name.build());
            return None;
        }
        let late = if running.terminated { ", after rotate.on-close-timeout" } else { "" };
        Some(self.failed(name, &format!("{ending}{late}"), now))
    }

    fn failed(&mut self, name: SegmentName, why: &str, now: Instant) -> Ended {
        let attempts =
            self.failing.take().filter(|failing| failing.name == name).map_or(0, |failing| failing.attempts) + 1;
        let wait = back_off(attempts);
        let seconds = u64::try_from(crate::store::clock::now_seconds()).unwrap_or(0);
        if let Some(held) = self.told.admit(seconds) {
            let more = if held > 0 { format!("; {held} failures before it were not logged") } else { String::new() };
            warn!(
                HOOK_FAILED { file: &name.build() },
                "on-close failed with {}: {why} (attempt {attempts}); the next try is in {} s{more}",
                name.build(),
                wait.as_secs()
            );
        }
        self.failing = Some(Failing { name: name.clone(), attempts, next: now + wait });
        Ended { name, well: false }
    }

    /// Notes a segment as done. `passed_over`: numbers below it that could not be handed on.
    pub fn note_done(
        &mut self,
        sequence: u64,
        passed_over: impl Iterator<Item = u64>,
        directory: BorrowedFd<'_>,
    ) -> io::Result<()> {
        if sequence > self.done.through {
            let passed: Vec<u64> =
                passed_over.filter(|other| *other > self.done.through && *other < sequence).collect();
            self.done.left.extend(passed);
            self.done.left.sort_unstable();
            self.done.through = sequence;
        } else {
            self.done.left.retain(|left| *left != sequence);
        }
        self.unsaved = true;
        self.save(directory)
    }

    /// Keeps what is done, durably, if it is not kept.
    pub fn save(&mut self, directory: BorrowedFd<'_>) -> io::Result<()> {
        if self.unsaved {
            directory::replace(directory, FILE, FILE_NEW, &self.done)?;
            self.unsaved = false;
        }
        Ok(())
    }

    /// A segment was deleted. True: it was never handed on.
    pub fn forget(&mut self, name: &SegmentName) -> bool {
        let was_pending = self.is_pending(name.sequence);
        self.unsaved |= self.done.left.contains(&name.sequence);
        self.done.left.retain(|left| *left != name.sequence);
        self.failing.take_if(|failing| failing.name == *name);
        was_pending
    }

    /// Ends a run that takes too long: `TERM`, then `KILL`, to its whole group.
    pub fn tend(&mut self, now: Instant) {
        let Some(running) = self.running.as_mut().filter(|running| now >= running.deadline) else { return };
        let ask = if running.terminated { Ask::Kill } else { Ask::End };
        (running.terminated, running.deadline) = (true, now + GRACE);
        self.ask(ask);
    }

    /// The archiver leaves: so does the program, and is run again. True: there is one to wait for.
    pub fn leave(&mut self) -> bool {
        self.leaving = true;
        let Some(running) = &mut self.running else { return false };
        running.terminated = true;
        self.ask(Ask::Leave);
        true
    }

    /// It was waited for long enough.
    pub fn kill(&mut self) {
        if self.running.is_some() {
            self.ask(Ask::Kill);
        }
    }

    /// Its runner.
    pub fn runner(&mut self) -> Option<&mut ToHook> {
        self.runner.as_mut()
    }

    /// The same, given up.
    pub fn dismiss(&mut self) -> Option<ToHook> {
        self.runner.take()
    }

    fn ask(&mut self, ask: Ask) {
        if let Some(runner) = &mut self.runner {
            runner.send(ask);
        }
    }
}

/// The wait before another try.
pub(super) fn back_off(attempts: u32) -> Duration {
    Duration::from_secs(1u64.checked_shl(attempts.saturating_sub(1).min(20)).unwrap_or(u64::MAX)).min(LONGEST)
}

#[cfg(test)]
mod tests;
