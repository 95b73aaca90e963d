//! The model's writer on its way to a new segment, and what it does about syncs that fail.
use super::client;
use super::disk::Entry;
use super::world::{Deed, FOREIGN, Site, World, violation};
use super::writer::{Writer, size};
use crate::config::Echo;
use crate::writer::plan::{Farewell, Stage};

/// A closed segment that waits for its sync.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    pub sequence: u64,
    pub good_to: u64,
    pub end: u64,
}

/// The end of a segment that is to be saved.
pub type Source = Closing;

#[derive(Debug)]
pub struct Rotation {
    pub stage: Stage,
    pub new: u64,
    /// The oldest failed segment that is saved with it, and how many bytes of the new one that makes.
    pub saves: Option<u64>,
    pub filled: u64,
    sources: Vec<Source>,
    hidden: Vec<u8>,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { stage: Stage::Create, new: 0, saves: None, filled: 0, sources: Vec::new(), hidden: Vec::new() }
    }
}

impl Writer {
    /// Leaves the live segment for a new one.
    pub fn move_on(&mut self, world: &mut World<'_>) -> Deed<bool> {
        let (kept, old) = (self.offset, self.live);
        let Some(saves) = self.begin_segment(world)? else { return Ok(false) };
        let mut deed = world.rules.farewell(None);
        while let Some(now) = deed {
            match now {
                Farewell::Cut => {
                    let length = world.disk.file(old).bytes.len() as u64;
                    if let Some(at) = world.rules.cut(length, kept, self.uncommitted) {
                        world.cut(old, size(at))?;
                    }
                    self.uncommitted = false;
                    world.step(Site::Cut)?;
                }
                Farewell::Forget => {
                    self.pending = None;
                    world.step(Site::Forgotten)?;
                }
                Farewell::Publish => self.publish(world)?,
                Farewell::Settle => {
                    if saves.is_some() && saves == world.record.failed() {
                        world.record.clear_failed();
                        world.step(Site::Settled)?;
                        world.disk.cut_moved();
                    }
                }
            }
            deed = world.rules.farewell(Some(now));
        }
        Ok(true)
    }

    /// On success the live segment is the new one; tells what was saved with it.
    fn begin_segment(&mut self, world: &mut World<'_>) -> Deed<Option<Option<u64>>> {
        let failed = world.record.failed();
        let mut rotation = match self.rotation.take() {
            Some(mut rotation) if failed.is_some() && rotation.saves != failed => {
                if rotation.give_up(world) {
                    self.wanted_rotation(world)
                } else {
                    rotation
                }
            }
            Some(rotation) => rotation,
            None => self.wanted_rotation(world),
        };
        if !rotation.run(world)? {
            self.rotation = Some(rotation);
            return Ok(None);
        }
        let (old, saves, filled) = (self.live, rotation.saves, rotation.filled);
        self.live = rotation.new;
        if let Some(oldest) = saves {
            world.tally.rescues += 1;
            self.closing.retain(|closing| closing.sequence < oldest);
        }
        let (good_to, end) = (self.good_to, self.offset);
        (self.good_to, self.offset) = (filled, filled);
        (self.leaving, self.rotate_requested) = (false, false);
        self.tell_segment(world);
        world.tally.rotations += 1;
        if saves.is_some() {
            world.kept.retain(|kept| *kept != old);
        } else {
            self.closing.push(Closing { sequence: old, good_to, end });
            self.jobs.push((old, None));
        }
        Ok(Some(saves))
    }

    /// The supervisor keeps a description of the live segment.
    pub fn tell_segment(&self, world: &mut World<'_>) {
        if !world.kept.contains(&self.live) {
            world.kept.push(self.live);
        }
    }

    fn wanted_rotation(&self, world: &World<'_>) -> Rotation {
        let Some(oldest) = world.record.failed() else { return Rotation::default() };
        let live = Source { sequence: self.live, good_to: self.good_to, end: self.offset };
        let ends = self.closing.iter().copied().chain([live]).filter(|end| end.sequence >= oldest);
        let from = |end: Source| Source { good_to: if end.sequence == oldest { end.good_to } else { 0 }, ..end };
        let mut sources: Vec<Source> = ends.map(from).collect();
        sources.sort_by_key(|source| source.sequence);
        Rotation::rescuing(sources)
    }

    /// From now on the segment is neither written nor synced, by no writer.
    pub fn doubt(&mut self, sequence: u64, good_to: u64, world: &mut World<'_>) -> Deed<()> {
        world.record.set_failed(sequence);
        world.step(Site::Suspected)?;
        let _ = world.disk.note(&[Entry { segment: sequence, good_to, moved_to: None }]);
        world.step(Site::Doubted)
    }

    /// What a sync has come to; `live`: of a segment that was live, what it covers.
    pub fn judge(&mut self, sequence: u64, live: Option<u64>, well: bool, world: &mut World<'_>) -> Deed<()> {
        let is_live = sequence == self.live;
        let closing = self.closing.iter().position(|closing| closing.sequence == sequence);
        let failed = world.record.failed();
        match closing {
            _ if well && is_live => self.good_to = self.good_to.max(live.unwrap_or(0)),
            _ if well && failed.is_some_and(|failed| failed < sequence) => {}
            Some(index) if well && live.is_none() => drop(self.closing.remove(index)),
            _ if well || failed.is_some_and(|failed| failed <= sequence) => {}
            _ if is_live => self.doubt(sequence, self.good_to, world)?,
            Some(index) => self.doubt(sequence, self.closing[index].good_to, world)?,
            None => {}
        }
        Ok(())
    }

    /// The sync thread does a job: a closed segment, or in the modes that do not wait for it the live one.
    pub fn sync_aside(&mut self, world: &mut World<'_>) -> Deed<()> {
        let idle = world.echo == Echo::Synced || self.must_move(world);
        let job = if self.jobs.is_empty() { None } else { Some(self.jobs.remove(0)) };
        let Some((sequence, live)) = job.or_else(|| (!idle).then_some((self.live, Some(self.offset)))) else {
            return Ok(());
        };
        let well = !self.jobs_failed.contains(&sequence) && world.disk.sync(sequence).is_ok();
        if !well {
            world.tally.faults += 1;
            self.jobs_failed.push(sequence);
        }
        world.note(|| format!("a sync of segment {sequence}: {well}"));
        self.judge(sequence, live, well, world)?;
        if live.is_none() && world.record.failed().is_none_or(|failed| failed > sequence) {
            world.kept.retain(|kept| *kept != sequence);
        }
        Ok(())
    }
}

impl Rotation {
    pub fn adopt(new: u64, saves: Option<u64>, filled: u64) -> Self {
        Self { stage: Stage::Sync, new, saves, filled, ..Self::default() }
    }

    pub fn rescuing(sources: Vec<Source>) -> Self {
        Self { saves: sources.first().map(|source| source.sequence), sources, ..Self::default() }
    }

    fn give_up(&mut self, world: &mut World<'_>) -> bool {
        let may = world.rules.may_be_given_up(self.stage, self.saves.is_some());
        if may {
            world.disk.discard(self.new);
        }
        may
    }

    /// Goes through the stages. False: one failed, and is next again.
    pub fn run(&mut self, world: &mut World<'_>) -> Deed<bool> {
        loop {
            if !self.carry_out(world)? {
                let begins_anew = self.stage == Stage::Fill || (self.stage == Stage::Sync && self.saves.is_none());
                if begins_anew {
                    world.disk.discard(self.new);
                    self.stage = Stage::Create;
                }
                return Ok(false);
            }
            match world.rules.next_stage(self.stage, self.saves.is_some()) {
                Some(next) => self.stage = next,
                None => return Ok(true),
            }
        }
    }

    fn carry_out(&mut self, world: &mut World<'_>) -> Deed<bool> {
        let site = match self.stage {
            Stage::Create if self.saves.is_some() => {
                self.hidden.clear();
                Site::Created
            }
            Stage::Create => match world.disk.create(false) {
                Ok(sequence) => {
                    self.new = sequence;
                    Site::Created
                }
                Err(_) => return Ok(false),
            },
            Stage::Fill => {
                if std::mem::take(&mut world.disk.next_write_fails) || world.disk.full {
                    return Ok(false);
                }
                self.fill(world)?;
                if std::mem::take(&mut world.disk.next_sync_fails) {
                    return Ok(false);
                }
                Site::Filled
            }
            Stage::Note => {
                self.new = world.disk.newest().map_or(0, |file| file.sequence) + 1;
                let moved_to = Some(self.new);
                let entry = |source: &Source| Entry { segment: source.sequence, good_to: source.good_to, moved_to };
                if world.disk.note(&self.sources.iter().map(entry).collect::<Vec<_>>()).is_err() {
                    return Ok(false);
                }
                Site::Noted
            }
            Stage::Name => {
                if world.disk.name(self.new, self.hidden.clone()).is_err() {
                    return Ok(false);
                }
                Site::Named
            }
            Stage::Sync => {
                if self.saves.is_none() && world.disk.sync(self.new).is_err() {
                    return Ok(false);
                }
                world.disk.sync_names();
                Site::NewSynced
            }
            Stage::Link => Site::Linked,
            Stage::Swap => {
                let fails = std::mem::take(&mut world.disk.next_swap_fails);
                if !fails || world.chance.one_in(2) {
                    world.disk.current = Some(self.new);
                }
                if fails {
                    return Ok(false);
                }
                Site::Swapped
            }
        };
        world.step(site)?;
        Ok(true)
    }

    /// Copies the records that are to be saved; whatever is none was never acknowledged.
    fn fill(&mut self, world: &mut World<'_>) -> Deed<()> {
        self.hidden.clear();
        for source in &self.sources {
            let bytes = &world.disk.file(source.sequence).bytes;
            let end = size(source.end).min(bytes.len());
            for line in bytes[size(source.good_to).min(end)..end].split_inclusive(|byte| *byte == b'\n') {
                if client::recognize(line).is_some() || line == FOREIGN {
                    self.hidden.extend(line);
                }
            }
        }
        self.filled = self.hidden.len() as u64;
        if self.filled == 0 && self.sources.is_empty() {
            return violation("a rescue of nothing");
        }
        Ok(())
    }
}
