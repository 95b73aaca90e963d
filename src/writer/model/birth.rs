//! The model's writer begins: from the directory, or from what its predecessor left in the commit record.
use super::client;
use super::moving::Rotation;
use super::world::{Deed, FOREIGN, Halt, Site, World, violation};
use super::writer::{Pending, Uplink, Writer, size};
use crate::config::Format;
use crate::ipc::commit::{Found, State};
use crate::store::names::SegmentName;
use crate::store::reader::LINE_LIMIT;
use crate::store::recovery::{Verdict, scan_back, verdict};
use crate::writer::opening::DOUBTFUL;
use crate::writer::plan::{self, Inherited, Rebirth, Stage, Step};
use std::collections::VecDeque;

impl Writer {
    /// Becomes the writer. A beginning that a fault ends is tried again by the next one, as after a kill.
    pub fn begin(world: &mut World<'_>) -> Deed<Self> {
        world.step(Site::Born)?;
        let found = world.record.read();
        let mut writer = match plan::inheritance(&found) {
            None => Self::recover(world)?,
            Some(base) => Self { live: base.segment.sequence, offset: base.offset, ..Self::default() },
        };
        let pending = matches!(found, Found::Pending { .. });
        if plan::inherited(writer.live, writer.live, None, pending, world.echo) == Inherited::SyncFirst {
            if world.disk.sync(writer.live).is_err() {
                world.record.set_tampered(writer.live);
            }
            world.step(Site::Inherited)?;
        }
        let marks = plan::inheritance(&found).cloned().unwrap_or_default();
        writer.attach(&marks, world);
        writer.go_on(found, world)?;
        world.step(Site::Reborn)?;
        if writer.may_publish(world) {
            writer.publish(world)?;
        }
        for index in 0..writer.uplinks.len() {
            let mark = writer.uplinks[index].mark;
            writer.acknowledge(index, mark, world)?;
        }
        Ok(writer)
    }

    /// Takes up the links that it does not have yet.
    pub fn attach(&mut self, marks: &State, world: &mut World<'_>) {
        for (index, link) in world.links.iter_mut().enumerate() {
            if link.gone || self.uplinks.iter().any(|uplink| uplink.link == index) {
                continue;
            }
            link.edge = true;
            let mark = marks.mark(link.terms.id);
            self.uplinks.push(Uplink {
                link: index,
                mark,
                buffer: Vec::new(),
                frames: VecDeque::new(),
                consumed: 0,
                resync: world.rules.may_be_stale(mark),
                unseen: true,
                hung_up: false,
                acked: world.rules.acked_at_birth(mark),
            });
        }
    }

    fn go_on(&mut self, found: Found, world: &mut World<'_>) -> Deed<()> {
        let newest = world.disk.newest().filter(|file| file.sequence > self.live);
        let (newest, length) = newest.map(|file| (file.sequence, file.bytes.len() as u64)).unzip();
        let rebirth = world.rules.rebirth(found, world.record.is_tampered(self.live), length);
        world.note(|| format!("  a writer begins: {rebirth:?}"));
        match (rebirth, newest) {
            (Rebirth::Adopt { mid_batch }, Some(new)) => {
                world.tally.adopted += 1;
                if mid_batch {
                    world.record.set_tampered(self.live);
                    world.step(Site::Suspected)?;
                    self.uncommitted = true;
                }
                self.rotation = Some(Rotation { stage: Stage::Sync, new });
                self.move_on(world)?;
            }
            (Rebirth::Replay(next), _) => {
                world.tally.replays += 1;
                self.replay(next, world)?;
            }
            (Rebirth::Leave, _) => {
                world.tally.left += 1;
                self.uncommitted = true;
            }
            (Rebirth::Decide | Rebirth::Adopt { .. }, _) => {}
        }
        Ok(())
    }

    fn replay(&mut self, next: State, world: &mut World<'_>) -> Deed<()> {
        let mut parts = Vec::new();
        for mark in &next.marks {
            let Some(index) = self.uplinks.iter().position(|uplink| uplink.mark.id == mark.id) else {
                return violation("an intended link is gone");
            };
            if self.uplinks[index].mark.through < mark.through {
                self.look(index, world)?;
            }
            let uplink = &self.uplinks[index];
            let Some(count) = world.rules.count_to(uplink.mark, mark.through, uplink.frames.len()) else {
                return violation("an intended frame is not in its pipe");
            };
            parts.push((index, count));
        }
        self.uncommitted = true;
        self.pending = Some(Pending { parts, next, step: Step::Write });
        self.store_some(world).map(|_| ())
    }

    fn recover(world: &mut World<'_>) -> Deed<Self> {
        let name = |sequence| SegmentName { prefix: "messages".to_owned(), sequence, start: 0 };
        let resumed = world.disk.newest().map(|file| (file.sequence, file.bytes.len() as u64)).filter(|newest| {
            let verdict = verdict(&name(newest.0), newest.1, None, "messages", Format::Text);
            matches!(verdict, Verdict::Resume { .. })
        });
        let (stage, new) = resumed.map_or((Stage::Create, 0), |(sequence, _)| (Stage::Sync, sequence));
        let mut rotation = Rotation { stage, new };
        if !rotation.run(world)? {
            world.note(|| "  a start fails".to_owned());
            return Err(Halt::Killed);
        }
        world.step(Site::Recovered)?;
        let live = rotation.new;
        let older: Vec<u64> = world.disk.files.iter().rev().map(|file| file.sequence).filter(|n| *n != live).collect();
        for &sequence in older.iter().take(DOUBTFUL) {
            let bytes = &world.disk.file(sequence).bytes;
            let read = |into: &mut [u8], at: u64| {
                into.copy_from_slice(&bytes[size(at)..size(at) + into.len()]);
                Ok(())
            };
            let is_record = |line: &[u8]| {
                let line = [line, b"\n"].concat();
                client::recognize(&line).is_some() || line == FOREIGN
            };
            let length = bytes.len();
            let whole = scan_back(length as u64, LINE_LIMIT as u64, read, is_record).map(size).unwrap_or(length);
            if whole < length {
                world.step(Site::TornCopied)?;
                world.cut(sequence, whole)?;
                world.step(Site::TornCut)?;
            }
        }
        Ok(Self { live, ..Self::default() })
    }
}
