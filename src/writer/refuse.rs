//! Refusing: what to do with frames for which the disk has no room, when they shall not wait.
//!
//! Promise: a refused frame is never stored, and neither is any later frame of its link up to a fresh one, so that no
//! connection has a hole; a frame whose messages were echoed already is never refused. The refusal is settled in the
//! commit record before a frame leaves its pipe, in one step with giving up the batch that found no room.
use super::Writer;
use super::uplink::Uplink;
use crate::config::OnDiskFull;
use crate::ipc::commit::Mark;
use crate::ipc::control::ToSupervisor;
use crate::ipc::scoreboard::Count;
use crate::log::Limiter;
use crate::store::clock;
use crate::sys::{crash, file};
use std::io;
use std::time::{Duration, Instant};

/// How long after want of room each batch asks for room before it writes: a write that fails in its middle leaves bytes
/// behind, and costs a segment.
const CAUTION: Duration = Duration::from_secs(60);

/// What the writer knows of the room on its disk.
#[derive(Debug)]
pub(super) struct Room {
    /// A stop has begun: nothing waits for room any more.
    pub stopping: bool,
    /// Bytes behind the committed ones are of a batch that was given up: the live segment has to be left, and cut.
    pub overhang: bool,
    /// The error of the last write, or of the last new segment, if it was want of room.
    full: Option<i32>,
    cautious_until: Instant,
    /// Whether frames are refused for want of room now, and whether that was logged.
    refusing: Option<bool>,
    /// Messages refused that no line of the log has counted.
    refused: u64,
    told: Limiter,
}

impl Room {
    /// As at the beginning of a writer, which knows nothing: it is careful.
    pub fn new(now: Instant) -> Self {
        Self {
            stopping: false,
            overhang: false,
            full: None,
            cautious_until: now + CAUTION,
            refusing: None,
            refused: 0,
            told: Limiter::new(),
        }
    }
}

/// Whether the error means that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    use nix::libc::{EDQUOT, ENOSPC};
    matches!(error.raw_os_error(), Some(ENOSPC | EDQUOT))
}

impl Writer {
    /// Notes why something could not be stored.
    pub(super) fn note(&mut self, error: &io::Error, now: Instant) {
        self.room.full = error.raw_os_error().filter(|_| is_full(error));
        if self.room.full.is_some() {
            self.room.cautious_until = now + CAUTION;
        }
        self.scoreboard.set(Count::Full, u64::from(self.room.full.is_some()));
        let prune = self.config.store.on_disk_full == OnDiskFull::Prune && self.channel.unsent() == 0;
        if self.room.full.is_some() && prune {
            self.channel.send(ToSupervisor::Full);
        }
    }

    /// Something was deleted: what there was no room for is tried again at once.
    pub(super) fn room_was_made(&mut self) {
        if self.room.full.is_some() {
            let now = Instant::now();
            self.stalled = self.stalled.map(|_| now);
            self.rotation_retry = self.rotation_retry.map(|_| now);
        }
    }

    /// Whether frames are refused rather than wait for room.
    fn may_refuse(&self) -> bool {
        self.room.stopping || self.config.store.on_disk_full == OnDiskFull::Reject
    }

    /// Has the file system keep room for the batch, where it lately had none.
    pub(super) fn ask_for_room(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 || !self.may_refuse() || Instant::now() >= self.room.cautious_until {
            return Ok(());
        }
        match file::reserve(&self.live.file, self.offset, bytes) {
            Err(error) if is_full(&error) => Err(error),
            // A file system that cannot, for example: the write tells what there is to be told.
            _ => Ok(()),
        }
    }

    /// Refuses all that is at hand, if want of room was what stopped the storing and the policy is not to wait. False:
    /// there was nothing to refuse.
    pub(super) fn refuse_for_room(&mut self) -> io::Result<bool> {
        let Some(code) = self.room.full.filter(|_| self.may_refuse()) else { return Ok(false) };
        if !self.refuse(|uplink| uplink.late().max(uplink.refusable()))? {
            return Ok(false);
        }
        self.tell_refusing(code);
        Ok(true)
    }

    /// Refuses the frames that were made before their workers learned of a refusal. False: there are none.
    pub(super) fn refuse_late(&mut self) -> io::Result<bool> {
        self.refuse(Uplink::late)
    }

    fn refuse(&mut self, count: impl Fn(&Uplink) -> usize) -> io::Result<bool> {
        // Asked before every batch: nothing is allocated for the answer "none".
        if self.uplinks.iter().all(|uplink| count(uplink) == 0) {
            return Ok(false);
        }
        let counts: Vec<usize> = self.uplinks.iter().map(count).collect();
        let marks: Vec<Mark> =
            self.uplinks.iter().zip(&counts).map(|(uplink, &count)| uplink.mark_refused(count)).collect();
        let longer = |writer: &mut Self| writer.live.length().map_or(true, |length| length > writer.offset);
        let left = self.uncommitted && self.on_disk(longer);
        self.room.overhang |= left;
        self.record.settle(&self.state_with(marks));
        (self.uncommitted, self.pending) = (self.room.overhang, None);
        crash::point("refuse-committed");
        let mut records = 0;
        for (uplink, &count) in self.uplinks.iter_mut().zip(&counts).filter(|(_, count)| **count > 0) {
            records += uplink.records(count);
            uplink.drop_refused(count, &self.null)?;
        }
        self.scoreboard.add(Count::Batches, 1);
        self.scoreboard.add(Count::Refused, records);
        self.room.refused += records;
        crash::point("refuse-consumed");
        for (uplink, _) in self.uplinks.iter_mut().zip(&counts).filter(|(_, count)| **count > 0) {
            uplink.acknowledge()?;
        }
        Ok(true)
    }

    fn tell_refusing(&mut self, code: i32) {
        if self.room.refusing.is_some() {
            return;
        }
        let now = u64::try_from(clock::now_seconds()).unwrap_or(0);
        let logged = self.room.told.admit(now).is_some();
        self.room.refusing = Some(logged);
        if logged {
            let (name, offset, error) = (self.live.name.build(), self.offset, io::Error::from_raw_os_error(code));
            error!(
                "cannot write to {name} at byte {offset}: {error}; refusing: who sends is closed without an echo; make room there, it goes on by itself"
            );
        }
    }

    /// Something was stored.
    pub(super) fn found_room(&mut self) {
        if self.room.full.take().is_some() {
            self.scoreboard.set(Count::Full, 0);
        }
        match (self.room.refusing.take(), self.stalled.take()) {
            (Some(true), _) => {
                let (name, refused) = (self.live.name.build(), std::mem::take(&mut self.room.refused));
                notice!("storing again in {name}; {refused} messages were refused for want of room");
            }
            (_, Some(_)) => notice!("storing again in {}", self.live.name.build()),
            _ => {}
        }
    }

    /// A stop has begun. What waits for room is tried once more, and refused if there is none.
    pub(super) fn stop_waiting(&mut self) {
        self.room.stopping = true;
        self.stalled = self.stalled.map(|_| Instant::now());
    }

    /// Whether the live segment ends in bytes of a batch that was given up, and can still be left for another.
    pub(super) fn has_to_cut(&self) -> bool {
        self.room.overhang && self.rotation_retry.is_none()
    }

    /// At the end: counts what was refused and not told.
    pub(super) fn tell_refused(&self) {
        if self.room.refused > 0 {
            warn!("{} messages were refused for want of room; none of them was echoed", self.room.refused);
        }
    }
}
