//! Station 5/7, file: frames of all workers become one write at the live segment's end, and safe.
//!
//! The order of the steps is decided in `plan`; here they are done.
use super::Writer;
use super::batch::{self, Decision};
use super::fault::Fault;
use super::plan::{self, Step};
use super::uplink::Uplink;
use crate::ipc::commit::{Mark, State};
use crate::ipc::histogram::{self, Series};
use crate::ipc::scoreboard::Count;
use crate::sys::{crash, file};
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem;
use std::time::{Duration, Instant};

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

/// Memory of the last batch, for the next.
#[derive(Debug, Default)]
pub(super) struct Spare {
    counts: Vec<usize>,
    parts: Vec<(usize, usize)>,
    marks: Vec<Mark>,
    slices: Vec<IoSlice<'static>>,
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
            let order = order(self.turn, self.uplinks.len());
            self.turn = self.turn.wrapping_add(1);
            let limit = self.config.rotate.max_size.filter(|_| self.may_rotate(now));
            let offers = order.clone().map(|index| self.uplinks[index].headers());
            match batch::decide(offers, self.offset, limit, &mut self.spare.counts) {
                Decision::Wait => return Ok(false),
                Decision::Rotate if self.closing.len() >= MOST_CLOSING => return Ok(false),
                Decision::Rotate => {
                    self.move_on(now);
                    return Ok(true);
                }
                Decision::Store if !self.is_untouched() => return Ok(true),
                Decision::Store => self.prepare(order),
            }
        } else if !self.is_untouched() {
            return Ok(true);
        }
        let before = self.offset;
        match self.attempt() {
            Ok(()) => {
                if self.offset > before {
                    self.found_room();
                }
                Ok(true)
            }
            Err(Fault::Wait(error)) => self.wait_for_room(&error, now),
            Err(Fault::Suspect(error)) => {
                self.note(&error, now);
                self.condemn(&error);
                Ok(self.move_on(now))
            }
            Err(Fault::Internal(error)) => Err(error),
        }
    }

    /// The live segment has failed: it is never written or synced again.
    fn condemn(&mut self, error: &io::Error) {
        self.scoreboard.add(Count::Faults, 1);
        let live = self.live.name.clone();
        self.doubt(&live, self.good_to);
        let (name, offset, wait) = (live.build(), self.offset, self.back_off());
        let when = if wait.is_zero() { String::new() } else { format!(" in {wait:?}") };
        error!(
            WRITE_FAILED { file: &name },
            "cannot store in {name} beyond byte {offset}: {error}; it is not used again, a new segment takes over{when}"
        );
    }

    fn prepare(&mut self, order: impl Iterator<Item = usize>) {
        let (mut parts, marks) = (mem::take(&mut self.spare.parts), mem::take(&mut self.spare.marks));
        parts.clear();
        parts.extend(order.zip(self.spare.counts.iter().copied()));
        let taking_part = parts.iter().map(|&(index, count)| {
            let uplink = &self.uplinks[index];
            (uplink.mark(), uplink.headers().take(count))
        });
        let mut next = plan::after_batch(self.live.identity, self.offset, self.good_to, marks, taking_part);
        let records = parts.iter().map(|&(index, count)| self.uplinks[index].records(count)).sum::<u64>();
        next.stored = self.stored.and(records, next.offset - self.offset);
        self.pending = Some(Pending { parts, next, step: Step::Intend });
    }

    /// Goes on with the batch under way, to its end or to a step that fails: that one is next again.
    fn attempt(&mut self) -> Result<(), Fault> {
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        loop {
            // Only what waits for the disk is worth two looks at the clock.
            let done = match pending.step {
                Step::Write | Step::Sync => {
                    let begin = Instant::now();
                    let done = self.on_disk(|writer| writer.carry_out(&pending));
                    self.took(pending.step, done.is_ok(), begin);
                    done
                }
                _ => self.carry_out(&pending),
            };
            if let Err(fault) = done {
                self.pending = Some(pending);
                return Err(fault);
            }
            match pending.step.next(self.config.server.echo) {
                Some(next) => pending.step = next,
                None => break,
            }
        }
        (self.spare.parts, self.spare.marks) = (pending.parts, pending.next.marks);
        Ok(())
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
                self.failures = 0;
            }
            Step::Commit => {
                self.record.commit();
                self.uncommitted = false;
                // Here and not later: it is the progress that a supervisor asks for when this writer has died.
                self.scoreboard.add(Count::Batches, 1);
                crash::point("after-commit");
                self.scoreboard.observe(Series::Batch, pending.next.stored.messages - self.stored.messages, 1);
                self.stored = pending.next.stored;
                self.offset = pending.next.offset;
                self.tell_stored();
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

    /// A step that waits for the disk has ended.
    fn took(&mut self, step: Step, well: bool, begin: Instant) {
        let end = Instant::now();
        let took = end - begin;
        self.slowness.took(step, &self.live.name, took, end);
        match step {
            Step::Sync => {
                self.scoreboard.add(Count::Syncs, 1);
                self.tell_sync(took, well.then_some(end));
            }
            _ if well => {
                self.scoreboard.observe(Series::Write, histogram::micros(took), 1);
                self.scoreboard.stamp(Count::LastWrite, end);
            }
            _ => {}
        }
    }

    /// A sync took so long; one that ended well, at `end`.
    pub(super) fn tell_sync(&self, took: Duration, end: Option<Instant>) {
        let micros = histogram::micros(took);
        self.scoreboard.observe(Series::Sync, micros, 1);
        if let Some(end) = end {
            self.scoreboard.stamp(Count::LastSync, end);
            self.scoreboard.set(Count::SyncTook, micros);
        }
    }

    /// The committed counts, and where the live segment ends.
    pub(super) fn tell_stored(&self) {
        let (stored, before) = (self.stored, self.stored_before);
        self.scoreboard.set(Count::Messages, stored.messages.wrapping_sub(before.messages));
        self.scoreboard.set(Count::Bytes, stored.bytes.wrapping_sub(before.bytes));
        self.scoreboard.set(Count::Live, self.offset);
    }

    fn write(&mut self, parts: &[(usize, usize)]) -> Result<(), Fault> {
        for &(index, count) in parts {
            self.uplinks[index].assemble(count).map_err(Fault::Internal)?;
        }
        let mut slices = emptied(mem::take(&mut self.spare.slices));
        for &(index, count) in parts {
            slices.extend(self.uplinks[index].bodies(count).map(IoSlice::new));
        }
        let written = write(&self.live.file, &mut slices, self.offset);
        self.spare.slices = emptied(slices);
        written.map_err(Fault::of_write)
    }

    fn consume(&mut self, parts: &[(usize, usize)]) -> io::Result<()> {
        for &(index, count) in parts.iter().filter(|(_, count)| *count > 0) {
            self.uplinks[index].consume(count, &self.null)?;
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
        State { segment, offset, good_to, marks, overhang: self.room.overhang, stored: self.stored }
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
}

/// Every uplink once, beginning with another one each time.
fn order(turn: usize, count: usize) -> impl Iterator<Item = usize> + Clone {
    (0..count).map(move |step| (turn + step) % count)
}

/// The same memory for other slices: a vector that is collected from another one's items takes its memory over.
fn emptied<'a>(mut slices: Vec<IoSlice<'_>>) -> Vec<IoSlice<'a>> {
    slices.clear();
    slices.into_iter().map(|_| IoSlice::new(&[])).collect()
}

fn write(file: &File, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
    if crash::strikes("partial-write") {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        file::write_all_at(file, &mut [IoSlice::new(&bytes[..bytes.len() / 2])], offset)?;
        crash::die();
    }
    file::write_all_at(file, slices, offset)
}
