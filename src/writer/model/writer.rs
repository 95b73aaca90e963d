//! The model's writer: it dies with all that is in it, and acts on the [`World`] only by steps that may be its last.
//!
//! Each deed stands where its twin in the acting code stands; what to do is asked of the [`Rules`](super::rules::Rules).
use super::disk::Failure;
use super::moving::{Closing, Rotation};
use super::world::{Deed, Halt, Site, World, violation};
use crate::ipc::commit::{Mark, State};
use crate::protocol::ack::{self, Ack};
use crate::protocol::frame::{Header, Kind};
use crate::store::segment::Identity;
use crate::writer::batch::Decision;
use crate::writer::file::MOST_CLOSING;
use crate::writer::intake::{self, Frame};
use crate::writer::plan::{self, Remedy, Step};
use std::collections::VecDeque;

#[derive(Debug)]
pub struct Uplink {
    /// By index.
    pub link: usize,
    pub mark: Mark,
    pub buffer: Vec<u8>,
    pub frames: VecDeque<Frame>,
    pub consumed: usize,
    pub resync: bool,
    pub unseen: bool,
    pub hung_up: bool,
    pub acked: Option<u64>,
}

#[derive(Debug)]
pub struct Pending {
    pub parts: Vec<(usize, usize)>,
    pub next: State,
    pub step: Step,
}

#[derive(Debug, Default)]
pub struct Writer {
    pub live: u64,
    pub offset: u64,
    pub uplinks: Vec<Uplink>,
    pub turn: usize,
    pub pending: Option<Pending>,
    pub uncommitted: bool,
    pub rotation: Option<Rotation>,
    pub rotate_requested: bool,
    /// Of the live segment, what a sync has covered.
    pub good_to: u64,
    pub leaving: bool,
    /// Closed segments that wait for their sync.
    pub closing: Vec<Closing>,
    /// What the sync thread has to do, and the segments of which a sync has failed there.
    pub jobs: Vec<(u64, Option<u64>)>,
    pub jobs_failed: Vec<u64>,
}

enum Fault {
    Halt(Halt),
    Wait,
    Suspect,
}

impl From<Halt> for Fault {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl Writer {
    /// One turn of the loop: news, some batches, rotation, links at their end.
    pub fn turn(&mut self, world: &mut World<'_>) -> Deed<()> {
        world.step(Site::Idle)?;
        for index in 0..self.uplinks.len() {
            let uplink = &mut self.uplinks[index];
            let link = &mut world.links[uplink.link];
            if std::mem::take(&mut link.edge) {
                uplink.unseen = true;
                uplink.hung_up |= link.hung_up;
            }
            if std::mem::take(&mut link.room) {
                let mark = uplink.mark;
                self.acknowledge(index, mark, world)?;
            }
        }
        for _ in 0..3 {
            for index in 0..self.uplinks.len() {
                if self.uplinks[index].unseen && self.uplinks[index].frames.is_empty() {
                    self.look(index, world)?;
                }
            }
            if !self.store_some(world)? {
                break;
            }
        }
        self.rotate_requested &= self.offset > 0;
        let may = self.pending.is_none() && self.closing.len() < MOST_CLOSING;
        if may && (self.rotate_requested || self.rotation.is_some()) {
            self.move_on(world)?;
        }
        self.sweep(world)
    }

    pub fn look(&mut self, index: usize, world: &mut World<'_>) -> Deed<()> {
        let uplink = &mut self.uplinks[index];
        let seen_before = uplink.buffer.len() - uplink.consumed;
        uplink.unseen = false;
        uplink.consumed = 0;
        uplink.buffer.clear();
        let link = &world.links[uplink.link];
        uplink.buffer.extend_from_slice(&link.data[..link.data.len().min(world.sizes.1)]);
        let terms = link.terms;
        let mut skipped = 0;
        if uplink.resync {
            let stale = match intake::stale(&uplink.buffer, &terms, uplink.mark) {
                Ok(stale) => stale,
                Err(broken) => return violation(broken.0),
            };
            consume(world, uplink.link, stale, [Site::StalePart, Site::Stale])?;
            uplink.buffer.drain(..stale);
            skipped = stale;
            uplink.resync = intake::may_be_stale(&uplink.buffer);
        }
        if let Err(broken) = intake::whole_frames(&uplink.buffer, &terms, uplink.mark, &mut uplink.frames) {
            return violation(format!("a link carries {}", broken.0));
        }
        let wide = world.sizes.1 >= world.sizes.0;
        let grew = uplink.buffer.len() > seen_before;
        uplink.unseen |= world.rules.look_again(wide, !uplink.frames.is_empty(), skipped, grew);
        world.step(Site::Looked)
    }

    pub fn must_move(&self, world: &World<'_>) -> bool {
        let past_return = |rotation: &Rotation| !world.rules.may_be_given_up(rotation.stage, rotation.saves.is_some());
        self.leaving || world.record.failed().is_some() || self.rotation.as_ref().is_some_and(past_return)
    }

    pub fn store_some(&mut self, world: &mut World<'_>) -> Deed<bool> {
        if self.must_move(world) {
            return self.move_on(world);
        }
        if self.pending.is_none() {
            let count = self.uplinks.len();
            let order: Vec<usize> = (0..count).map(|step| (self.turn + step) % count).collect();
            self.turn += 1;
            let offers: Vec<_> = order.iter().map(|&index| &self.uplinks[index].frames).collect();
            let (decision, counts) = world.rules.decide(&offers, self.offset, world.limit);
            match decision {
                Decision::Wait => return Ok(false),
                Decision::Rotate if self.closing.len() >= MOST_CLOSING => return Ok(false),
                Decision::Rotate => return self.move_on(world).map(|_| true),
                Decision::Store if world.disk.file(self.live).bytes.len() as u64 != self.offset => {
                    return violation("the live segment does not end where its committed records do");
                }
                Decision::Store => self.prepare(order.into_iter().zip(counts).collect(), world)?,
            }
        }
        match self.attempt(world) {
            Ok(()) => Ok(true),
            Err(Fault::Wait) => Ok(false),
            Err(Fault::Suspect) => {
                world.step(Site::Failed)?;
                self.doubt(self.live, self.good_to, world)?;
                self.move_on(world)
            }
            Err(Fault::Halt(halt)) => Err(halt),
        }
    }

    fn prepare(&mut self, parts: Vec<(usize, usize)>, world: &World<'_>) -> Deed<()> {
        let share = |&(index, count): &(usize, usize)| {
            let uplink = &self.uplinks[index];
            (uplink.mark, uplink.frames.iter().take(count).map(|frame| &frame.header).collect::<Vec<&Header>>())
        };
        let segment = Identity { sequence: self.live, ..Identity::default() };
        let shares = parts.iter().map(share).collect();
        let next = world.rules.after_batch(segment, self.offset, self.good_to, shares);
        let frames: usize = parts.iter().map(|part| part.1).sum();
        if world.limit.is_some_and(|limit| next.offset > limit)
            && self.offset > 0
            && frames > 0
            && next.offset > self.offset
        {
            return violation("a batch passes rotate.max-size");
        }
        self.pending = Some(Pending { parts, next, step: world.rules.first_step() });
        Ok(())
    }

    fn attempt(&mut self, world: &mut World<'_>) -> Result<(), Fault> {
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        loop {
            if let Err(fault) = self.carry_out(&pending, world) {
                self.pending = Some(pending);
                return Err(fault);
            }
            match world.rules.next_step(pending.step, world.echo) {
                Some(next) => pending.step = next,
                None => return Ok(()),
            }
        }
    }

    fn carry_out(&mut self, pending: &Pending, world: &mut World<'_>) -> Result<(), Fault> {
        match pending.step {
            Step::Intend => {
                world.record.intend(&pending.next);
                world.step(Site::Intended)?;
            }
            Step::Write => {
                self.uncommitted = true;
                self.write(&pending.parts, world)?;
                world.step(Site::Written)?;
            }
            Step::Sync => {
                world.disk.sync(self.live).map_err(|_| Fault::Suspect)?;
                self.good_to = pending.next.offset;
                world.step(Site::Synced)?;
            }
            Step::Commit => {
                world.record.commit();
                self.uncommitted = false;
                self.offset = pending.next.offset;
                world.step(Site::Committed)?;
            }
            Step::Consume => {
                for &(index, count) in pending.parts.iter().filter(|(_, count)| *count > 0) {
                    self.consume(index, count, world)?;
                }
            }
            Step::Acknowledge => {
                world.step(Site::BeforeAck)?;
                for &(index, _) in &pending.parts {
                    let mark = pending.next.mark(self.uplinks[index].mark.id);
                    self.acknowledge(index, mark, world)?;
                }
            }
        }
        if world.rules.frees_staging(pending.step) {
            for &(index, count) in &pending.parts {
                let uplink = &self.uplinks[index];
                if pending.step != Step::Consume && uplink.frames.iter().take(count).any(ends_staging) {
                    world.links[uplink.link].staging.clear();
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, parts: &[(usize, usize)], world: &mut World<'_>) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        for &(index, count) in parts {
            let uplink = &self.uplinks[index];
            for Frame { header, at } in uplink.frames.iter().take(count) {
                let body = &uplink.buffer[*at..*at + header.length as usize];
                let (staging, offset) = (&mut world.links[uplink.link].staging, header.offset as usize);
                match header.kind {
                    Kind::Records => bytes.extend_from_slice(body),
                    Kind::Fragment => {
                        let end = offset + body.len();
                        staging.resize(staging.len().max(end), 0);
                        staging[offset..end].copy_from_slice(body);
                        world.step(Site::Staged)?;
                    }
                    Kind::LastFragment => {
                        if staging.len() < offset {
                            violation("a fragment is missing in the staging area")?;
                        }
                        bytes.extend_from_slice(&staging[..offset]);
                        bytes.extend_from_slice(body);
                    }
                }
            }
        }
        if world.record.failed().is_some_and(|failed| failed <= self.live) {
            violation("a segment that failed is written again")?;
        }
        if world.disk.current.is_some_and(|current| current != self.live) {
            violation("a segment is written that is not current")?;
        }
        let length = world.disk.file(self.live).bytes.len() as u64;
        let place = size(world.rules.place(self.offset, length));
        let first = world.chance.below(bytes.len() + 1);
        for (part, site) in [(0..first, Some(Site::WrittenPart)), (first..bytes.len(), None)] {
            let at = place + part.start;
            match world.disk.write(self.live, at, &bytes[part], &mut world.chance) {
                Ok(()) => {}
                Err(failure) => return Err(self.failed(failure, world)),
            }
            if let Some(site) = site {
                world.step(site)?;
            }
        }
        Ok(())
    }

    fn failed(&self, failure: Failure, world: &mut World<'_>) -> Fault {
        world.tally.faults += 1;
        world.note(|| format!("  the write fails: {failure:?}"));
        match world.rules.failed_write(failure.errno()) {
            Remedy::Wait => Fault::Wait,
            Remedy::Leave => Fault::Suspect,
        }
    }

    fn consume(&mut self, index: usize, count: usize, world: &mut World<'_>) -> Deed<()> {
        let uplink = &mut self.uplinks[index];
        let mark = world.rules.mark_after(uplink.mark, uplink.frames.get(count - 1).map(|frame| &frame.header));
        let bytes = uplink.frames.iter().take(count).map(|frame| frame.header.frame_len()).sum();
        consume(world, uplink.link, bytes, [Site::ConsumedPart, Site::Consumed])?;
        uplink.consumed += bytes;
        if uplink.frames.drain(..count).any(|frame| ends_staging(&frame)) && world.rules.frees_staging(Step::Consume) {
            world.links[uplink.link].staging.clear();
        }
        uplink.mark = mark;
        Ok(())
    }

    /// Sends the ack for `mark`, unless it was sent, or finds no room.
    pub fn acknowledge(&mut self, index: usize, mark: Mark, world: &mut World<'_>) -> Deed<()> {
        let uplink = &mut self.uplinks[index];
        let Some(through) = world.rules.ack_due(mark, uplink.acked) else { return Ok(()) };
        let link = &mut world.links[uplink.link];
        if link.acks.len() + ack::ACK > world.sizes.2 * ack::ACK {
            return Ok(());
        }
        let found = world.record.read();
        // Whatever becomes of this writer: its successor must know that this batch is not to be cut off any more.
        if plan::inheritance(&found).map_or(0, |base| base.mark(link.terms.id).through) < through {
            return violation("I1: an ack for what is not committed");
        }
        link.acks.extend(Ack::Safe(through).encode());
        uplink.acked = Some(through);
        world.step(Site::Acked)
    }

    pub fn may_publish(&self, world: &World<'_>) -> bool {
        world.rules.may_publish(self.pending.is_some(), self.uncommitted)
    }

    /// Publishes the committed state.
    pub fn publish(&self, world: &mut World<'_>) -> Deed<()> {
        let marks = self.uplinks.iter().map(|uplink| uplink.mark).collect();
        let segment = Identity { sequence: self.live, ..Identity::default() };
        world.record.intend(&State { segment, offset: self.offset, good_to: self.good_to, marks, ..State::default() });
        world.step(Site::PublishIntended)?;
        world.record.commit();
        world.step(Site::Published)
    }

    fn sweep(&mut self, world: &mut World<'_>) -> Deed<()> {
        let mut index = 0;
        while self.may_publish(world) && index < self.uplinks.len() {
            let uplink = &self.uplinks[index];
            if !(uplink.hung_up && !uplink.unseen && uplink.frames.is_empty()) {
                index += 1;
                continue;
            }
            let link = self.uplinks.swap_remove(index).link;
            world.links[link].gone = true;
            world.step(Site::DrainTold)?;
            self.publish(world)?;
        }
        Ok(())
    }
}

fn ends_staging(frame: &Frame) -> bool {
    frame.header.kind == Kind::LastFragment
}

/// Takes bytes out of a pipe, in two parts.
fn consume(world: &mut World<'_>, link: usize, bytes: usize, sites: [Site; 2]) -> Deed<()> {
    let first = world.chance.below(bytes + 1);
    for (count, site) in [(first, sites[0]), (bytes - first, sites[1])] {
        world.links[link].data.drain(..count);
        world.step(site)?;
    }
    Ok(())
}

pub fn size(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
