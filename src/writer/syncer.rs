//! Syncs beside the data path: a thread of the writer that does `fdatasync` and tells how it went.
//!
//! Promise: one sync at a time, in order; a sync never delays an ack in `received` and `stored` mode.
use crate::sys::event::Wake;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What to sync.
#[derive(Debug)]
pub enum Job {
    /// The live segment `sequence`.
    Live {
        /// Its number.
        sequence: u64,
        /// Its committed bytes, all of which are written before this sync begins.
        upto: u64,
        /// The writer's own description of it.
        file: Arc<File>,
    },
    /// The description of the live segment that a dead writer never used: it tells of errors that the dead one was told.
    Inherited {
        /// Its number.
        sequence: u64,
        /// See `Live`.
        upto: u64,
        /// The description.
        file: OwnedFd,
    },
    /// A segment that was just closed, and the directory's names after the swap.
    Closed {
        /// Its number.
        sequence: u64,
        /// The writer's own description of it, or one that a dead writer never used.
        file: Arc<File>,
        /// The store's directory.
        directory: Arc<OwnedFd>,
    },
}

/// How a sync ended.
#[derive(Debug)]
pub struct Outcome {
    /// The segment.
    pub sequence: u64,
    /// Of a segment that was live when the job was given: its bytes that the sync covers.
    pub live: Option<u64>,
    /// What the kernel said of the file.
    pub result: io::Result<()>,
    /// What it said of the directory, if that was synced too.
    pub names: io::Result<()>,
    /// How long it took, and when it ended.
    pub took: Duration,
    /// See `took`.
    pub ended: Instant,
}

/// The thread and the way to it.
#[derive(Debug)]
pub struct Syncer {
    jobs: Option<Sender<Job>>,
    /// When the jobs were handed over whose outcomes have not come.
    asked: VecDeque<Instant>,
    outcomes: Receiver<Outcome>,
    wake: Arc<Wake>,
    /// Segments of which a write or sync has failed, here or in the writer's loop.
    failed: Arc<Mutex<Vec<u64>>>,
    thread: Option<JoinHandle<()>>,
}

fn locked(failed: &Mutex<Vec<u64>>) -> MutexGuard<'_, Vec<u64>> {
    failed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Syncer {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        let (report, outcomes) = channel();
        let wake = Arc::new(Wake::new()?);
        let bell = Arc::clone(&wake);
        let failed = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&failed);
        let thread = thread::Builder::new().name("sync".into()).spawn(move || {
            for job in inbox {
                let outcome = job.run(&known);
                if outcome.result.is_err() {
                    locked(&known).push(outcome.sequence);
                }
                if report.send(outcome).is_err() {
                    break;
                }
                bell.ring();
            }
        })?;
        Ok(Self { jobs: Some(jobs), asked: VecDeque::new(), outcomes, wake, failed, thread: Some(thread) })
    }

    /// Hands over a job.
    pub fn submit(&mut self, job: Job) {
        self.asked.push_back(Instant::now());
        // The thread ends only after `jobs` is dropped.
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }

    /// Has no job of this segment done any more that has not begun: another sync would say that all is well.
    pub fn forbid(&self, sequence: u64) {
        locked(&self.failed).push(sequence);
    }

    /// What to watch for news.
    pub fn bell(&self) -> &Wake {
        &self.wake
    }

    /// The next outcome.
    pub fn outcome(&mut self) -> Option<Outcome> {
        let outcome = self.outcomes.try_recv().ok()?;
        self.asked.pop_front();
        Some(outcome)
    }

    /// Since when the next outcome is waited for.
    pub fn waits_since(&self) -> Option<Instant> {
        self.asked.front().copied()
    }

    /// Lets the thread do what it was given, and returns the outcomes; it takes no more.
    pub fn finish(&mut self) -> Vec<Outcome> {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.outcomes.try_iter().collect()
    }
}

impl Outcome {
    /// A sync of the live segment's first `upto` bytes, which has just ended.
    pub fn of_live(sequence: u64, upto: u64, begun: Instant, result: io::Result<()>) -> Self {
        let ended = Instant::now();
        Self { sequence, live: Some(upto), result, names: Ok(()), took: ended - begun, ended }
    }
}

impl Job {
    /// `failed`: segments of which a sync has failed; another one would say that all is well, whatever is lost.
    fn run(self, failed: &Mutex<Vec<u64>>) -> Outcome {
        let sync = |sequence: u64, file: &File| match locked(failed).contains(&sequence) {
            true => Err(io::Error::other("its last sync failed")),
            false => file.sync_data(),
        };
        let begun = Instant::now();
        match self {
            Self::Live { sequence, upto, file } => Outcome::of_live(sequence, upto, begun, sync(sequence, &file)),
            Self::Inherited { sequence, upto, file } => {
                Outcome::of_live(sequence, upto, begun, sync(sequence, &File::from(file)))
            }
            Self::Closed { sequence, file, directory } => {
                let names = crate::store::segment::sync_names(&directory);
                let outcome = Outcome::of_live(sequence, 0, begun, sync(sequence, &file));
                Outcome { live: None, names, ..outcome }
            }
        }
    }
}
