//! Leaving the live segment for a new one: by a rotation that was asked for, or because the old one must not be written.
//!
//! Promise: the old one goes on if it may and a new one cannot be had; what a batch left in it without a commit is cut.
use super::Writer;
use super::fault::remedy;
use super::plan::{self, Farewell};
use super::rescue::Closing;
use super::rotation::Begun;
use crate::ipc::control::ToSupervisor;
use crate::ipc::scoreboard::Count;
use crate::store::clock;
use crate::store::segment::Segment;
use crate::sys::crash;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to go on with the old segment before a new one is tried again.
const ROTATION_RETRY: Duration = Duration::from_secs(1);
/// Messages to the supervisor that may wait for room; beyond that the live segment goes on.
const MOST_UNSENT: usize = 8;

/// What became of a rotation.
enum Progress {
    /// The live segment is the new one; this was the old, and from this one on all that failed is saved.
    Begun(Arc<File>, Option<u64>),
    /// There is more to do.
    UnderWay,
    /// It is tried again later.
    Failed,
}

impl Writer {
    /// Whether a rotation failed where the old segment may not be written any more.
    fn is_past_return(&self) -> bool {
        self.rotation.as_ref().is_some_and(|rotation| !rotation.may_be_given_up())
    }

    /// Whether a new segment may be tried now.
    pub(super) fn may_rotate(&self, now: Instant) -> bool {
        // A supervisor that takes no messages would let descriptions of segments pile up here.
        self.rotation_retry.is_none_or(|at| now >= at) && self.channel.unsent() <= MOST_UNSENT
    }

    /// Whether the live segment must not be written any more: it failed, a batch was given up in its middle, or a
    /// rotation got as far as its swap.
    pub(super) fn must_move(&self) -> bool {
        let spoilt = self.room.overhang || self.record.is_tampered(self.live.identity.sequence);
        self.leaving || spoilt || self.record.failed().is_some() || self.is_past_return()
    }

    /// Leaves the live segment for a new one. If it cannot, the old one goes on, unless it [must not](Self::must_move).
    ///
    /// Also in the middle of a batch: its frames are still in the pipes and are decided on anew. What the batch may have
    /// left in the old segment was not acknowledged, and is cut off.
    pub(super) fn move_on(&mut self, now: Instant) -> bool {
        self.may_rotate(now) && self.on_disk(|writer| writer.leave_live(now))
    }

    fn leave_live(&mut self, now: Instant) -> bool {
        let (kept, name) = (self.offset, self.live.name.build());
        let (old, saves) = match self.begin_segment(now) {
            Progress::Begun(old, saves) => (old, saves),
            Progress::UnderWay => return true,
            Progress::Failed => return false,
        };
        let mut deed = Some(Farewell::FIRST);
        while let Some(now) = deed {
            match now {
                Farewell::Cut => self.cut_uncommitted(&old, &name, kept),
                Farewell::Forget => (self.pending, self.room.overhang) = (None, false),
                Farewell::Publish => {
                    self.publish();
                    crash::point("rotate-published");
                }
                Farewell::Settle => self.settle_saved(saves),
            }
            deed = now.next();
        }
        // Only now: who hears it may compress or delete them.
        for sequence in std::mem::take(&mut self.settled) {
            self.channel.send(ToSupervisor::Settled(sequence));
        }
        self.stalled = None;
        self.room.look_soon(now);
        true
    }

    fn cut_uncommitted(&mut self, old: &File, name: &str, kept: u64) {
        let length = old.metadata().map(|metadata| metadata.len());
        let cut = length.map(|length| plan::cut(length, kept, self.uncommitted));
        if let Err(error) = cut.and_then(|cut| cut.map_or(Ok(()), |at| old.set_len(at))) {
            error!(
                NOT_CUT { file: &name },
                "cannot cut {name} at byte {kept}: {error}; what follows there is not part of the store"
            );
            self.disown(name, kept);
        }
        self.uncommitted = false;
    }

    /// Runs the rotation under way, or a new one; on success the live segment is the new one.
    fn begin_segment(&mut self, now: Instant) -> Progress {
        let failed = self.record.failed();
        let rotation = match self.rotation.take() {
            // What has failed since has to be saved as well, if it is not too late for that.
            Some(mut rotation) if failed.is_some() && rotation.saves() != failed => {
                if rotation.give_up(&mut self.shelf) { self.wanted_rotation() } else { Ok(rotation) }
            }
            Some(rotation) => Ok(rotation),
            None => self.wanted_rotation(),
        };
        let mut rotation = match rotation {
            Ok(rotation) => rotation,
            Err(error) => return self.stuck(&error, now),
        };
        match rotation.run(&mut self.shelf, clock::now_seconds()) {
            Ok(None) => {
                self.rotation = Some(rotation);
                Progress::UnderWay
            }
            Ok(Some(begun)) => {
                self.rotation_retry = None;
                self.tell_saved(&rotation, &begun);
                let saves = begun.saves;
                let old = self.install(begun);
                self.tell_not_stuck();
                Progress::Begun(old, saves)
            }
            Err(error) => {
                self.rotation = Some(rotation);
                self.stuck(&error, now)
            }
        }
    }

    fn stuck(&mut self, error: &io::Error, now: Instant) -> Progress {
        if self.must_move() {
            self.note(error, now);
        } else {
            // Everything is stored, in the old one.
            self.heed(error, now);
        }
        self.note_again();
        self.tell_stuck(error);
        self.rotation_retry = Some(now + ROTATION_RETRY);
        if self.rotate_asked.is_some() && self.channel.unsent() == 0 {
            self.channel
                .send(ToSupervisor::NotRotated(format!("cannot begin a new segment: {error}{}", remedy(error))));
        }
        Progress::Failed
    }

    /// Once for each kind of error: what failed first may not be what goes on failing.
    fn tell_stuck(&mut self, error: &io::Error) {
        self.scoreboard.set(Count::Stuck, 1);
        let kind = Some(error.raw_os_error().unwrap_or(0));
        if std::mem::replace(&mut self.stuck, kind) != kind {
            let after = if self.must_move() { "nothing is echoed until it can" } else { "going on with the old one" };
            let remedy = remedy(error);
            warn!(
                NO_NEW_SEGMENT,
                "cannot begin a new segment: {error}; {after}, trying again every {ROTATION_RETRY:?}{remedy}"
            );
        }
    }

    fn tell_not_stuck(&mut self) {
        if self.stuck.take().is_some() {
            self.scoreboard.set(Count::Stuck, 0);
            let name = self.live.name.build();
            notice!(ROTATING_AGAIN { file: &name }, "new segments can be begun again; {name} is live");
        }
    }

    fn install(&mut self, begun: Begun) -> Arc<File> {
        let Begun { segment, filled, second, saves } = begun;
        let (sequence, name) = (segment.identity.sequence, segment.name.build());
        self.channel.send(ToSupervisor::Segment { sequence, name, file: second });
        self.scoreboard.add(Count::Rotations, 1);
        let old = std::mem::replace(&mut self.live, segment);
        let (good_to, end) = (self.good_to, self.offset);
        (self.good_to, self.offset) = (filled, filled);
        self.tell_stored();
        (self.dirty, self.leaving, self.rotate_requested) = (false, false, false);
        if let Some(more) = self.rotations_told.admit(u64::try_from(clock::now_seconds()).unwrap_or(0)) {
            let more = if more > 0 { format!(" ({more} more were not logged)") } else { String::new() };
            info!(LIVE_SEGMENT { file: &self.live.name.build() }, "live segment {}{more}", self.live.name.build());
        }
        self.open_window();
        crash::point("rotate-before-old-sync");
        let Segment { name, identity, file } = old;
        if saves.is_some() || self.record.is_tampered(identity.sequence) {
            // The kernel has marked its pages clean: another sync would say that all is well (fsync(2), "Notes").
            self.settled.push(identity.sequence);
        } else {
            self.close(Closing { name, file: Arc::clone(&file), good_to, end });
        }
        file
    }
}
