//! Says that the disk is slow: in the batch, where everybody waits for it, and beside it, where only closed files do. Once
//! when it begins and once when it is over, however many calls are slow in between.
use super::file::MOST_CLOSING;
use super::plan::Step;
use crate::log::{Spell, Turn};
use crate::store::names::SegmentName;
use std::time::{Duration, Instant};

/// What takes longer is worth a line.
const LONG: Duration = Duration::from_secs(1);

/// What was told of a slow disk.
#[derive(Debug)]
pub(super) struct Slowness {
    born: Instant,
    /// In the batch.
    steps: Spell,
    longest: Duration,
    /// Beside it: the waits for the sync thread.
    waits: Spell,
}

impl Slowness {
    /// Nothing was slow so far.
    pub fn new() -> Self {
        Self { born: Instant::now(), steps: Spell::default(), longest: Duration::ZERO, waits: Spell::default() }
    }

    /// A step of a batch took this long, and everybody has waited.
    pub fn took(&mut self, step: Step, name: &SegmentName, took: Duration, now: Instant) {
        let what = match step {
            Step::Write => "write",
            Step::Sync => "sync",
            _ => return,
        };
        self.longest = self.longest.max(took);
        match self.steps.note(took > LONG, now.saturating_duration_since(self.born)) {
            Turn::Nothing => {}
            Turn::Begun => warn!(
                DISK_SLOW { file: &name.build() },
                "the disk is slow: the {what} of {} took {took:.1?}; the next line of it is that it is over",
                name.build()
            ),
            Turn::Over(count) => {
                let longest = std::mem::take(&mut self.longest);
                notice!(
                    DISK_QUICK,
                    "the disk is quick again; {count} writes or syncs took more than {LONG:?}, the longest {longest:.1?}"
                );
            }
        }
    }

    /// The sync thread has owed its oldest answer for this long.
    pub fn waits(&mut self, waited: Option<Duration>, now: Instant) {
        let late = waited.is_some_and(|waited| waited > LONG);
        match self.waits.note(late, now.saturating_duration_since(self.born)) {
            Turn::Nothing => {}
            Turn::Begun => warn!(
                SYNC_LATE,
                "the disk is slow or hangs: a sync is not done after {LONG:?}; storing goes on until {MOST_CLOSING} closed files wait for theirs"
            ),
            Turn::Over(_) => notice!(SYNC_AGAIN, "the disk syncs again"),
        }
    }
}
