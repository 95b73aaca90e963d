//! The model's writer on its way to a new segment.
use super::world::{Deed, Site, World, violation};
use super::writer::{Writer, size};
use crate::writer::plan::{Farewell, Stage};

#[derive(Debug)]
pub struct Rotation {
    pub stage: Stage,
    pub new: u64,
}

impl Writer {
    /// Leaves the live segment for a new one.
    pub fn move_on(&mut self, world: &mut World<'_>) -> Deed<bool> {
        let (kept, old) = (self.offset, self.live);
        if !self.begin_segment(world)? {
            return Ok(false);
        }
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
                Farewell::Settle => {}
            }
            deed = world.rules.farewell(Some(now));
        }
        Ok(true)
    }

    fn begin_segment(&mut self, world: &mut World<'_>) -> Deed<bool> {
        let rotation = self.rotation.get_or_insert(Rotation { stage: Stage::Create, new: 0 });
        if !rotation.run(world)? {
            return Ok(false);
        }
        let old = std::mem::replace(&mut self.live, rotation.new);
        self.rotation = None;
        self.offset = 0;
        self.rotate_requested = false;
        world.tally.rotations += 1;
        if !world.record.is_tampered(old) {
            self.closing.push(old);
        }
        Ok(true)
    }
}

impl Rotation {
    /// Goes through the stages. False: one failed, and is next again.
    pub fn run(&mut self, world: &mut World<'_>) -> Deed<bool> {
        loop {
            let site = match self.stage {
                Stage::Create => match world.disk.create(false) {
                    Ok(sequence) => {
                        self.new = sequence;
                        Site::Created
                    }
                    Err(_) => return Ok(false),
                },
                Stage::Sync => {
                    if world.disk.sync(self.new).is_err() {
                        return Ok(false);
                    }
                    world.disk.sync_names();
                    Site::NewSynced
                }
                Stage::Fill | Stage::Note | Stage::Name => return violation("nothing is to be saved"),
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
            match world.rules.next_stage(self.stage) {
                Some(next) => self.stage = next,
                None => return Ok(true),
            }
        }
    }
}
