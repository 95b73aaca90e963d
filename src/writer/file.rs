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
/// Messages to the supervisor that may wait for room; beyond that the live segment goes on.
const MOST_UNSENT: usize = 8;
/// The longest wait between two segments that fail.
const LONGEST_RETRY: Duration = Duration::from_secs(10);
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
        if self.must_move() {
            return Ok(self.move_on(now));
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
                    self.move_on(now);
                    return Ok(true);
                }
                Decision::Store(_) if !self.is_untouched() => return Ok(true),
                Decision::Store(counts) => self.intend(order.into_iter().zip(counts).collect()),
            }
        }
        match self.attempt() {
            Ok(()) => {
                self.failures = 0;
                if self.stalled.take().is_some() {
                    notice!("storing again in {}", self.live.name.build());
                }
                Ok(true)
            }
            Err(Fault::Wait(error)) => {
                self.scoreboard.add(Count::Faults, 1);
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
        self.record.set_suspect(self.live.identity.sequence);
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

    fn intend(&mut self, parts: Vec<(usize, usize)>) {
        let bytes: u64 =
            parts.iter().flat_map(|&(index, count)| self.uplinks[index].headers().take(count)).map(file_bytes).sum();
        let marks = parts.iter().map(|&(index, count)| self.uplinks[index].mark_after(count)).collect();
        let next = State { segment: self.live.identity, offset: self.offset + bytes, marks };
        self.record.intend(&next);
        crash::point("after-intent");
        self.uncommitted = true;
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
        write(&self.live.file, &mut slices, self.offset).map_err(Fault::of_write)?;
        crash::point("after-write");
        if self.config.server.echo == Echo::Synced {
            self.live.file.sync_data().map_err(Fault::Suspect)?;
            self.scoreboard.add(Count::Syncs, 1);
        } else {
            self.dirty = true;
        }
        self.record.commit();
        // Here and not later: it is the progress that a supervisor asks for when this writer has died.
        self.scoreboard.add(Count::Batches, 1);
        self.uncommitted = false;
        crash::point("after-commit");
        self.settle().map_err(Fault::Internal)
    }

    /// Behind the commit: takes the frames out of the pipes and sends the acks.
    fn settle(&mut self) -> io::Result<()> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
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
        // It would replace the intent, whose batch may already be in the file.
        debug_assert!(self.pending.is_none());
        self.record.intend(&self.state());
        self.record.commit();
    }

    /// Whether a rotation failed where the old segment may not be written any more.
    fn is_past_swap(&self) -> bool {
        self.rotation.as_ref().is_some_and(|rotation| !rotation.before_swap())
    }

    fn may_rotate(&self, now: Instant) -> bool {
        // A supervisor that takes no messages would let descriptions of segments pile up here.
        self.rotation_retry.is_none_or(|at| now >= at) && self.channel.unsent() <= MOST_UNSENT
    }

    /// Whether the live segment must not be written any more: it failed, or a rotation got as far as its swap.
    pub(super) fn must_move(&self) -> bool {
        self.record.is_suspect(self.live.identity.sequence) || self.is_past_swap()
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
        let Some(old) = self.begin_segment(now) else { return false };
        let uncommitted = std::mem::take(&mut self.uncommitted);
        let cut = old.metadata().and_then(|old_now| match old_now.len() > kept && uncommitted {
            true => old.set_len(kept),
            false => Ok(()),
        });
        if let Err(error) = cut {
            error!("cannot cut {name} at byte {kept}: {error}; what follows there is not part of the store");
        }
        self.pending = None;
        self.publish();
        crash::point("rotate-published");
        self.stalled = None;
        true
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
                    let after =
                        if self.must_move() { "nothing is echoed until it can" } else { "going on with the old one" };
                    let remedy = remedy(&error);
                    warn!(
                        "cannot begin a new segment: {error}; {after}, trying again every {ROTATION_RETRY:?}{remedy}"
                    );
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
        self.offset = 0;
        self.dirty = false;
        self.rotate_requested = false;
        if let Some(more) = self.rotations_told.admit(u64::try_from(clock::now_seconds()).unwrap_or(0)) {
            let more = if more > 0 { format!(" ({more} more were not logged)") } else { String::new() };
            info!("live segment {}{more}", self.live.name.build());
        }
        self.open_window();
        crash::point("rotate-before-old-sync");
        if self.record.is_suspect(old.identity.sequence) {
            // The kernel has marked its pages clean: another sync would say that all is well (fsync(2), "Notes").
            self.channel.send(ToSupervisor::Settled(old.identity.sequence));
        } else {
            self.close(old.identity.sequence, Arc::clone(&old.file));
        }
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
    /// There is no room, or no permission to write: it may be tried again, at the same place.
    Wait(io::Error),
    /// A write or sync failed in a way that leaves the file's state unknown: it must never be written or synced again.
    Suspect(io::Error),
    /// Pipes or memory failed: the writer cannot go on, its successor may.
    Internal(io::Error),
}

impl Fault {
    fn of_write(error: io::Error) -> Self {
        use nix::libc::{EDQUOT, ENOMEM, ENOSPC, EROFS};
        match error.raw_os_error() {
            Some(ENOSPC | EDQUOT | EROFS | ENOMEM) => Self::Wait(error),
            _ => Self::Suspect(error),
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
    use nix::libc::{EDQUOT, ENOENT, ENOSPC, EROFS};
    match error.raw_os_error() {
        Some(ENOENT) => "; the store's directory is gone: restart the daemon once it is back",
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
