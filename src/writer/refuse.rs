//! Refusing: what to do with frames for which the disk has no room, when they shall not wait.
//!
//! Promise: a refused frame is never stored, and neither is any later frame of its link up to a fresh one, so that no
//! connection has a hole; a frame whose messages were echoed already is never refused. The refusal is settled in the
//! commit record before a frame leaves its pipe, in one step with giving up the batch that found no room.
use super::Writer;
use super::uplink::Uplink;
use crate::config::OnDiskFull;
use crate::ipc::commit::Mark;
use crate::ipc::scoreboard::Count;
use crate::store::clock;
use crate::sys::crash;
use std::io;
use std::time::Instant;

impl Writer {
    /// Whether frames are refused rather than wait for room.
    pub(super) fn may_refuse(&self) -> bool {
        self.room.stopping || self.config.store.on_disk_full == OnDiskFull::Reject
    }

    /// Refuses all that is at hand, if want of room was what stopped the storing and the policy is not to wait. False:
    /// there was nothing to refuse.
    pub(super) fn refuse_for_room(&mut self) -> io::Result<bool> {
        let Some(code) = self.room.wanted().filter(|_| self.may_refuse()) else { return Ok(false) };
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
        // One that was not told, since it comes and goes, is told once it lasts.
        if self.room.refusing == Some(true) {
            return;
        }
        let now = u64::try_from(clock::now_seconds()).unwrap_or(0);
        let logged = self.room.told.admit(now).is_some();
        self.room.refusing = Some(logged);
        if logged {
            let (name, offset, error) = (self.live.name.build(), self.offset, io::Error::from_raw_os_error(code));
            error!(
                DISK_FULL_REFUSING { file: &name },
                "cannot write to {name} at byte {offset}: {error}; refusing: who sends is closed without an echo; make room there, it goes on by itself"
            );
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
            warn!(
                MESSAGES_REFUSED,
                "{} messages were refused for want of room; none of them was echoed", self.room.refused
            );
        }
    }
}
