//! Station 5/7, file: frames of all workers become one write at the live segment's end, and safe.
//!
//! The order is the promise: intent → write → (in `synced`: sync) → commit → consume → ack. Killed before the commit,
//! the batch is written again, the same bytes at the same place; killed after it, it is not.
use super::Writer;
use super::batch::{self, Decision, file_bytes};
use super::rotation::Rotation;
use super::syncer::Job;
use crate::config::Echo;
use crate::ipc::commit::{Mark, State};
use crate::ipc::control::ToSupervisor;
use crate::ipc::scoreboard::Count;
use crate::store::clock;
use crate::store::segment::Segment;
use crate::sys::{OwnedFd, crash, file};
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait before a failed write is tried again: space that returns is noticed well within a second.
const WRITE_RETRY: Duration = Duration::from_millis(200);
/// How long to go on with the old segment before a new one is tried again.
const ROTATION_RETRY: Duration = Duration::from_secs(1);
/// Closed segments that may wait for their sync: a disk slower than the rotation stops the storing instead of piling
/// up open files, and a power cut can tear only so many.
pub(super) const MOST_CLOSING: usize = 4;

/// A batch whose intent is published.
#[derive(Debug)]
pub(super) struct Pending {
    /// Which uplinks take part, by index, in the order of the file; and with how many frames each.
    pub parts: Vec<(usize, usize)>,
    /// The state after it.
    pub next: State,
}

impl Writer {
    /// Decides what to store next and does it. False: there is nothing (more) to do now.
    pub(super) fn store_some(&mut self, now: Instant) -> io::Result<bool> {
        if self.is_past_swap() && !self.may_rotate(now) {
            return Ok(false);
        }
        if self.pending.is_none() {
            let count = self.uplinks.len();
            let order: Vec<usize> = (0..count).map(|step| (self.turn + step) % count).collect();
            self.turn = self.turn.wrapping_add(1);
            let limit = self.config.rotate.max_size.filter(|_| self.may_rotate(now));
            let offers = order.iter().map(|&index| self.uplinks[index].headers());
            match batch::decide(offers, self.offset, limit) {
                Decision::Wait => return Ok(false),
                Decision::Rotate if self.closing >= MOST_CLOSING => return Ok(false),
                Decision::Rotate => {
                    self.rotate(now);
                    return Ok(true);
                }
                Decision::Store(counts) => self.intend(order.into_iter().zip(counts).collect()),
            }
        }
        match self.attempt() {
            Ok(()) => {
                if self.stalled.take().is_some() {
                    notice!("storing again in {}", self.live.name.build());
                }
                Ok(true)
            }
            Err(Fault::Write(error)) => {
                self.scoreboard.add(Count::Faults, 1);
                if self.stalled.is_none() {
                    error!(
                        "cannot write to {} at byte {}: {error}; nothing is echoed until it can; trying again every {WRITE_RETRY:?}",
                        self.live.name.build(),
                        self.offset
                    );
                }
                self.stalled = Some(now + WRITE_RETRY);
                Ok(false)
            }
            Err(Fault::Sync(error)) => {
                self.scoreboard.add(Count::Faults, 1);
                error!(
                    "cannot sync {}: {error}; it is not used again, its unsynced end goes to a new segment",
                    self.live.name.build()
                );
                self.rotation.get_or_insert_with(Rotation::new);
                self.move_pending(now)
            }
            Err(Fault::Internal(error)) => Err(error),
        }
    }

    fn intend(&mut self, parts: Vec<(usize, usize)>) {
        let bytes: u64 =
            parts.iter().flat_map(|&(index, count)| self.uplinks[index].headers().take(count)).map(file_bytes).sum();
        let marks = parts.iter().map(|&(index, count)| self.uplinks[index].mark_after(count)).collect();
        let next = State { segment: self.live.identity, offset: self.offset + bytes, marks };
        self.record.intend(&next);
        crash::point("after-intent");
        self.pending = Some(Pending { parts, next });
    }

    /// Carries out the published intent. May be repeated until it succeeds.
    pub(super) fn attempt(&mut self) -> Result<(), Fault> {
        let Some(pending) = &self.pending else { return Ok(()) };
        let mut bodies = Vec::with_capacity(pending.parts.len());
        for &(index, count) in &pending.parts {
            bodies.push(self.uplinks[index].bodies(count).map_err(Fault::Internal)?);
        }
        let mut slices = Vec::with_capacity(bodies.iter().map(Vec::len).sum());
        for (&(index, _), bodies) in pending.parts.iter().zip(&bodies) {
            let uplink = &self.uplinks[index];
            slices.extend(bodies.iter().map(|body| IoSlice::new(uplink.bytes(body))));
        }
        write(&self.live.file, &mut slices, self.offset).map_err(Fault::Write)?;
        crash::point("after-write");
        if self.config.server.echo == Echo::Synced {
            self.live.file.sync_data().map_err(Fault::Sync)?;
            self.scoreboard.add(Count::Syncs, 1);
        } else {
            self.dirty = true;
        }
        self.record.commit();
        crash::point("after-commit");
        self.settle().map_err(Fault::Internal)
    }

    /// Behind the commit: takes the frames out of the pipes and sends the acks.
    fn settle(&mut self) -> io::Result<()> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        self.scoreboard.add(Count::Batches, 1);
        self.scoreboard.add(Count::Bytes, pending.next.offset - self.offset);
        self.offset = pending.next.offset;
        for &(index, count) in pending.parts.iter().filter(|(_, count)| *count > 0) {
            let uplink = &mut self.uplinks[index];
            let records: u64 = uplink.headers().take(count).map(|header| u64::from(header.records)).sum();
            self.scoreboard.add(Count::Messages, records);
            uplink.consume(count, &self.null)?;
        }
        crash::point("before-ack");
        for (index, _) in pending.parts {
            self.uplinks[index].acknowledge()?;
        }
        Ok(())
    }

    /// The committed state, as it is between two batches.
    fn state(&self) -> State {
        let marks: Vec<Mark> = self.uplinks.iter().map(super::uplink::Uplink::mark).collect();
        State { segment: self.live.identity, offset: self.offset, marks }
    }

    /// Publishes the committed state: after a rotation, or when links came or went.
    pub(super) fn publish(&self) {
        self.record.intend(&self.state());
        self.record.commit();
    }

    /// Whether a rotation failed where the old segment may not be written any more.
    fn is_past_swap(&self) -> bool {
        self.rotation.as_ref().is_some_and(|rotation| !rotation.before_swap())
    }

    fn may_rotate(&self, now: Instant) -> bool {
        self.rotation_retry.is_none_or(|at| now >= at)
    }

    /// Begins a new segment, between two batches. If it cannot, the old one goes on.
    pub(super) fn rotate(&mut self, now: Instant) {
        if self.begin_segment(now).is_some() {
            self.publish();
            crash::point("rotate-published");
        }
    }

    /// The same in the middle of a batch whose segment failed to sync: the batch moves to the new segment, and what it
    /// may have left in the old one, none of it acknowledged, is cut off.
    fn move_pending(&mut self, now: Instant) -> io::Result<bool> {
        let Some(old) = self.begin_segment(now) else {
            self.stalled = Some(now + WRITE_RETRY);
            return Ok(false);
        };
        let kept = self.offset;
        let Some(pending) = &mut self.pending else { return Ok(true) };
        pending.next.offset -= kept;
        pending.next.segment = self.live.identity;
        self.offset = 0;
        self.record.intend(&pending.next);
        if let Err(error) = old.set_len(kept) {
            error!(
                "cannot cut the failed segment at byte {kept}: {error}; what follows there is not part of the store"
            );
        }
        Ok(true)
    }

    /// Runs the rotation under way, or a new one; on success the live segment is the new one. Returns the old one.
    fn begin_segment(&mut self, now: Instant) -> Option<Arc<File>> {
        let rotation = self.rotation.get_or_insert_with(Rotation::new);
        match rotation.run(&mut self.shelf, clock::now_seconds()) {
            Ok((segment, second)) => {
                self.rotation = None;
                self.rotation_retry = None;
                Some(self.install(segment, second))
            }
            Err(error) => {
                if self.rotation_retry.is_none() {
                    let after = if rotation.before_swap() { "going on with the old one" } else { "waiting for it" };
                    warn!("cannot begin a new segment: {error}; {after}, trying again every {ROTATION_RETRY:?}");
                }
                self.rotation_retry = Some(now + ROTATION_RETRY);
                None
            }
        }
    }

    fn install(&mut self, segment: Segment, second: OwnedFd) -> Arc<File> {
        self.channel.send(ToSupervisor::Segment { sequence: segment.identity.sequence, file: second });
        self.scoreboard.add(Count::Rotations, 1);
        let old = std::mem::replace(&mut self.live, segment);
        if self.pending.is_none() {
            self.offset = 0;
        }
        self.dirty = false;
        self.rotate_requested = false;
        self.open_window();
        crash::point("rotate-before-old-sync");
        self.close(old.identity.sequence, Arc::clone(&old.file));
        old.file
    }
}

impl Writer {
    /// Has a closed segment synced, off the ack path.
    pub(super) fn close(&mut self, sequence: u64, file: Arc<File>) {
        self.closing += 1;
        self.syncer.submit(Job::Closed { sequence, file, directory: Arc::clone(&self.shelf.directory) });
    }
}

/// Why a batch could not be carried out.
#[derive(Debug)]
pub(super) enum Fault {
    /// The write failed: it can be tried again.
    Write(io::Error),
    /// The sync failed: this file must never be written or synced again.
    Sync(io::Error),
    /// Pipes or memory failed: the writer cannot go on, its successor may.
    Internal(io::Error),
}

fn write(file: &File, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
    if crash::strikes("partial-write") {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        file::write_all_at(file, &mut [IoSlice::new(&bytes[..bytes.len() / 2])], offset)?;
        crash::die();
    }
    file::write_all_at(file, slices, offset)
}
