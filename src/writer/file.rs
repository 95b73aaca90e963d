//! Station 5/7, file: frames of all workers become one write at the live segment's end, and safe.
//!
//! The order of the steps is decided in `plan`; here they are done.
use super::Writer;
use super::batch::{self, Decision};
use super::plan::{self, Farewell, Remedy, Step};
use super::rescue::Closing;
use super::rotation::Begun;
use super::uplink::Uplink;
use crate::ipc::commit::{Mark, State};
use crate::ipc::control::ToSupervisor;
use crate::ipc::scoreboard::Count;
use crate::store::clock;
use crate::store::segment::Segment;
use crate::sys::{crash, file};
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait before a failed write is tried again: space that returns is noticed well within a second.
const WRITE_RETRY: Duration = Duration::from_millis(200);
/// How long to go on with the old segment before a new one is tried again.
const ROTATION_RETRY: Duration = Duration::from_secs(1);
/// Messages to the supervisor that may wait for room; beyond that the live segment goes on.
const MOST_UNSENT: usize = 8;
/// The longest wait between two segments that fail.
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// Closed segments that may wait for their sync: a disk slower than the rotation stops the storing instead of piling
/// up open files, and a power cut can tear only so many.
pub(super) const MOST_CLOSING: usize = 4;

/// A batch under way.
#[derive(Debug)]
pub(super) struct Pending {
    /// Which uplinks take part, by index, in the order of the file; and with how many frames each.
    pub parts: Vec<(usize, usize)>,
    /// The state after it.
    pub next: State,
    /// What is to be done next.
    pub step: Step,
}

impl Writer {
    /// Decides what to store next and does it. False: there is nothing (more) to do now.
    pub(super) fn store_some(&mut self, now: Instant) -> io::Result<bool> {
        if self.must_move() {
            return Ok(self.move_on(now) || self.refuse_for_room()?);
        }
        if self.pending.is_none() {
            if self.refuse_late()? {
                return Ok(true);
            }
            let count = self.uplinks.len();
            let order: Vec<usize> = (0..count).map(|step| (self.turn + step) % count).collect();
            self.turn = self.turn.wrapping_add(1);
            let limit = self.config.rotate.max_size.filter(|_| self.may_rotate(now));
            let offers = order.iter().map(|&index| self.uplinks[index].headers());
            match batch::decide(offers, self.offset, limit) {
                Decision::Wait => return Ok(false),
                Decision::Rotate if self.closing.len() >= MOST_CLOSING => return Ok(false),
                Decision::Rotate => {
                    self.move_on(now);
                    return Ok(true);
                }
                Decision::Store(_) if !self.is_untouched() => return Ok(true),
                Decision::Store(counts) => self.prepare(order.into_iter().zip(counts).collect()),
            }
        }
        let before = self.offset;
        match self.attempt() {
            Ok(()) => {
                self.failures = 0;
                if self.offset > before {
                    self.found_room();
                }
                Ok(true)
            }
            Err(Fault::Wait(error)) => {
                self.scoreboard.add(Count::Faults, 1);
                self.note(&error, now);
                if self.refuse_for_room()? {
                    return Ok(true);
                }
                if self.stalled.is_none() {
                    let (name, offset, remedy) = (self.live.name.build(), self.offset, remedy(&error));
                    error!("cannot write to {name} at byte {offset}: {error}; nothing is echoed until it can{remedy}");
                }
                self.stalled = Some(now + WRITE_RETRY);
                Ok(false)
            }
            Err(Fault::Suspect(error)) => {
                self.condemn(&error, now);
                Ok(self.move_on(now))
            }
            Err(Fault::Internal(error)) => Err(error),
        }
    }

    /// The live segment has failed: it is never written or synced again.
    fn condemn(&mut self, error: &io::Error, now: Instant) {
        self.scoreboard.add(Count::Faults, 1);
        let live = self.live.name.clone();
        self.doubt(&live, self.good_to);
        self.failures += 1;
        // The first failure costs no time; a disk that goes on failing must neither fill its directory nor the log.
        let wait = backoff(self.failures);
        if !wait.is_zero() {
            self.rotation_retry = Some(now + wait);
        }
        let (name, offset) = (self.live.name.build(), self.offset);
        let when = if wait.is_zero() { String::new() } else { format!(" in {wait:?}") };
        error!(
            "cannot store in {name} beyond byte {offset}: {error}; it is not used again, a new segment takes over{when}"
        );
    }

    fn prepare(&mut self, parts: Vec<(usize, usize)>) {
        let taking_part = parts.iter().map(|&(index, count)| {
            let uplink = &self.uplinks[index];
            (uplink.mark(), uplink.headers().take(count))
        });
        let next = plan::after_batch(self.live.identity, self.offset, self.good_to, taking_part);
        self.pending = Some(Pending { parts, next, step: Step::Intend });
    }

    /// Goes on with the batch under way, to its end or to a step that fails: that one is next again.
    fn attempt(&mut self) -> Result<(), Fault> {
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        loop {
            let (begin, step) = (Instant::now(), pending.step);
            let done = self.carry_out(&pending);
            self.slowness.took(step, &self.live.name, begin.elapsed());
            if let Err(fault) = done {
                self.pending = Some(pending);
                return Err(fault);
            }
            match pending.step.next(self.config.server.echo) {
                Some(next) => pending.step = next,
                None => return Ok(()),
            }
        }
    }

    fn carry_out(&mut self, pending: &Pending) -> Result<(), Fault> {
        match pending.step {
            Step::Intend => {
                self.record.intend(&pending.next);
                crash::point("after-intent");
            }
            Step::Write => {
                self.ask_for_room(pending.next.offset - self.offset).map_err(Fault::Wait)?;
                self.uncommitted = true;
                self.write(&pending.parts)?;
                self.dirty = true;
                crash::point("after-write");
            }
            Step::Sync => {
                self.live.file.sync_data().map_err(Fault::Suspect)?;
                (self.dirty, self.good_to) = (false, pending.next.offset);
                self.scoreboard.add(Count::Syncs, 1);
            }
            Step::Commit => {
                self.record.commit();
                self.uncommitted = false;
                // Here and not later: it is the progress that a supervisor asks for when this writer has died.
                self.scoreboard.add(Count::Batches, 1);
                crash::point("after-commit");
                self.scoreboard.add(Count::Bytes, pending.next.offset - self.offset);
                self.offset = pending.next.offset;
            }
            Step::Consume => self.consume(&pending.parts).map_err(Fault::Internal)?,
            Step::Acknowledge => {
                crash::point("before-ack");
                for &(index, _) in &pending.parts {
                    self.uplinks[index].acknowledge().map_err(Fault::Internal)?;
                }
            }
        }
        Ok(())
    }

    fn write(&self, parts: &[(usize, usize)]) -> Result<(), Fault> {
        let mut bodies = Vec::with_capacity(parts.len());
        for &(index, count) in parts {
            bodies.push(self.uplinks[index].bodies(count).map_err(Fault::Internal)?);
        }
        let mut slices = Vec::with_capacity(bodies.iter().map(Vec::len).sum());
        for (&(index, _), bodies) in parts.iter().zip(&bodies) {
            let uplink = &self.uplinks[index];
            slices.extend(bodies.iter().map(|body| IoSlice::new(uplink.bytes(body))));
        }
        write(&self.live.file, &mut slices, self.offset).map_err(Fault::of_write)
    }

    fn consume(&mut self, parts: &[(usize, usize)]) -> io::Result<()> {
        for &(index, count) in parts.iter().filter(|(_, count)| *count > 0) {
            let uplink = &mut self.uplinks[index];
            self.scoreboard.add(Count::Messages, uplink.records(count));
            uplink.consume(count, &self.null)?;
        }
        Ok(())
    }

    /// The committed state, as it is between two batches.
    fn state(&self) -> State {
        self.state_with(self.uplinks.iter().map(Uplink::mark).collect())
    }

    /// The committed state with these marks instead.
    pub(super) fn state_with(&self, marks: Vec<Mark>) -> State {
        let (segment, offset, good_to) = (self.live.identity, self.offset, self.good_to);
        State { segment, offset, good_to, marks, overhang: self.room.overhang }
    }

    pub(super) fn may_publish(&self) -> bool {
        // An overhang is in the state itself.
        plan::may_publish(self.pending.is_some(), self.uncommitted && !self.room.overhang)
    }

    /// Publishes the committed state: after a rotation, or when links came or went.
    pub(super) fn publish(&self) {
        debug_assert!(self.may_publish());
        self.record.intend(&self.state());
        self.record.commit();
    }

    /// Whether a rotation failed where the old segment may not be written any more.
    fn is_past_return(&self) -> bool {
        self.rotation.as_ref().is_some_and(|rotation| !rotation.may_be_given_up())
    }

    fn may_rotate(&self, now: Instant) -> bool {
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
        if !self.may_rotate(now) {
            return false;
        }
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
        self.stalled = None;
        true
    }

    fn cut_uncommitted(&mut self, old: &File, name: &str, kept: u64) {
        let length = old.metadata().map(|metadata| metadata.len());
        let cut = length.map(|length| plan::cut(length, kept, self.uncommitted));
        if let Err(error) = cut.and_then(|cut| cut.map_or(Ok(()), |at| old.set_len(at))) {
            error!("cannot cut {name} at byte {kept}: {error}; what follows there is not part of the store");
        }
        self.uncommitted = false;
    }

    /// Runs the rotation under way, or a new one; on success the live segment is the new one.
    fn begin_segment(&mut self, now: Instant) -> Progress {
        let failed = self.record.failed();
        let mut rotation = match self.rotation.take() {
            // What has failed since has to be saved as well, if it is not too late for that.
            Some(mut rotation) if failed.is_some() && rotation.saves() != failed => {
                if rotation.give_up(&mut self.shelf) { self.wanted_rotation() } else { rotation }
            }
            Some(rotation) => rotation,
            None => self.wanted_rotation(),
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
                Progress::Begun(self.install(begun), saves)
            }
            Err(error) => {
                self.note(&error, now);
                self.rotation = Some(rotation);
                self.tell_stuck(&error);
                self.rotation_retry = Some(now + ROTATION_RETRY);
                Progress::Failed
            }
        }
    }

    fn tell_stuck(&self, error: &io::Error) {
        if self.rotation_retry.is_none() {
            let after = if self.must_move() { "nothing is echoed until it can" } else { "going on with the old one" };
            let remedy = remedy(error);
            warn!("cannot begin a new segment: {error}; {after}, trying again every {ROTATION_RETRY:?}{remedy}");
        }
    }

    fn install(&mut self, begun: Begun) -> Arc<File> {
        let Begun { segment, filled, second, saves } = begun;
        self.channel.send(ToSupervisor::Segment { sequence: segment.identity.sequence, file: second });
        self.scoreboard.add(Count::Rotations, 1);
        let old = std::mem::replace(&mut self.live, segment);
        let (good_to, end) = (self.good_to, self.offset);
        (self.good_to, self.offset) = (filled, filled);
        (self.dirty, self.leaving, self.rotate_requested) = (false, false, false);
        if let Some(more) = self.rotations_told.admit(u64::try_from(clock::now_seconds()).unwrap_or(0)) {
            let more = if more > 0 { format!(" ({more} more were not logged)") } else { String::new() };
            info!("live segment {}{more}", self.live.name.build());
        }
        self.open_window();
        crash::point("rotate-before-old-sync");
        let Segment { name, identity, file } = old;
        if saves.is_some() || self.record.is_tampered(identity.sequence) {
            // The kernel has marked its pages clean: another sync would say that all is well (fsync(2), "Notes").
            self.channel.send(ToSupervisor::Settled(identity.sequence));
        } else {
            self.close(Closing { name, file: Arc::clone(&file), good_to, end });
        }
        file
    }
}

/// What became of a rotation.
enum Progress {
    /// The live segment is the new one; this was the old, and from this one on all that failed is saved.
    Begun(Arc<File>, Option<u64>),
    /// There is more to do.
    UnderWay,
    /// It is tried again later.
    Failed,
}

/// Why a batch could not be carried out.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is no room, or no permission to write: it may be tried again, at the same place.
    Wait(io::Error),
    /// A write or sync failed in a way that leaves the file's state unknown: it must never be written or synced again.
    Suspect(io::Error),
    /// Pipes or memory failed: the writer cannot go on, its successor may.
    Internal(io::Error),
}

impl Fault {
    fn of_write(error: io::Error) -> Self {
        match plan::failed_write(error.raw_os_error()) {
            Remedy::Wait => Self::Wait(error),
            Remedy::Leave => Self::Suspect(error),
        }
    }
}

/// How long to wait after so many segments failed in a row: not at all, then twice as long each time.
fn backoff(failures: u32) -> Duration {
    match failures.checked_sub(2) {
        None => Duration::ZERO,
        Some(more) => LONGEST_RETRY.min(WRITE_RETRY * (1 << more.min(10))),
    }
}

/// What the operator can do, as the end of a sentence.
fn remedy(error: &io::Error) -> &'static str {
    use nix::libc::{EDQUOT, EIO, ENOENT, ENOSPC, EROFS};
    match error.raw_os_error() {
        Some(EIO) => "; the disk fails, the kernel's log (dmesg) tells how",
        Some(ENOENT) => "; the store's directory is gone: it is made again if that is allowed",
        Some(ENOSPC | EDQUOT) => "; make room there, it goes on by itself",
        Some(EROFS) => "; remount it writable, or add ReadWritePaths= to the service unit",
        _ => "",
    }
}

fn write(file: &File, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
    if crash::strikes("partial-write") {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        file::write_all_at(file, &mut [IoSlice::new(&bytes[..bytes.len() / 2])], offset)?;
        crash::die();
    }
    file::write_all_at(file, slices, offset)
}
