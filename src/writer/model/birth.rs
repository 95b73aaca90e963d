//! The model's writer begins: from the directory, or from what its predecessor left in the commit record.
use super::client;
use super::moving::{Closing, Rotation, Source};
use super::world::{Deed, FOREIGN, Halt, Site, World, violation};
use super::writer::{Pending, Uplink, Writer, size};
use crate::config::Format;
use crate::ipc::commit::{Found, State};
use crate::store::names::SegmentName;
use crate::store::reader::LINE_LIMIT;
use crate::store::recovery::{Verdict, scan_back, verdict};
use crate::writer::opening::DOUBTFUL;
use crate::writer::plan::{self, Inherited, Newer, Rebirth, Step};
use std::collections::VecDeque;

impl Writer {
    /// Becomes the writer. A beginning that a fault ends is tried again by the next one, as after a kill.
    pub fn begin(world: &mut World<'_>) -> Deed<Self> {
        world.step(Site::Born)?;
        let found = world.record.read();
        let mut writer = match plan::inheritance(&found) {
            None => Self::recover(world)?,
            Some(base) => {
                Self { live: base.segment.sequence, offset: base.offset, good_to: base.good_to, ..Self::default() }
            }
        };
        let pending = matches!(found, Found::Pending { .. });
        let kept = world.kept.clone();
        writer.tell_segment(world);
        world.disk.cut_moved();
        if world.record.failed().and_then(|failed| world.disk.moved_to(failed)).is_some_and(|to| to <= writer.live) {
            world.record.clear_failed();
        }
        writer.inherit(kept, pending, world)?;
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

    fn inherit(&mut self, kept: Vec<u64>, pending: bool, world: &mut World<'_>) -> Deed<()> {
        let failed = world.record.failed();
        for sequence in kept {
            match plan::inherited(sequence, self.live, failed, pending, world.echo) {
                Inherited::SyncFirst => {
                    let synced = world.disk.sync(sequence).is_ok();
                    world.step(Site::Inherited)?;
                    self.judge(sequence, Some(self.offset), synced, world)?;
                }
                Inherited::SyncAside => self.jobs.push((sequence, Some(self.offset))),
                inherited @ (Inherited::Close | Inherited::Keep) => {
                    if world.disk.moved_to(sequence).is_some() || !world.disk.exists(sequence) {
                        world.kept.retain(|kept| *kept != sequence);
                        continue;
                    }
                    let end = world.disk.file(sequence).bytes.len() as u64;
                    self.closing.push(Closing { sequence, good_to: 0, end });
                    if inherited == Inherited::Close {
                        self.jobs.push((sequence, None));
                    }
                }
                Inherited::Drop => {}
            }
        }
        self.find_failed(world);
        Ok(())
    }

    /// What failed and nobody has kept.
    fn find_failed(&mut self, world: &World<'_>) {
        let Some(failed) = world.record.failed() else { return };
        for file in world.disk.files.iter().filter(|file| (failed..self.live).contains(&file.sequence)) {
            if self.closing.iter().all(|closing| closing.sequence != file.sequence) {
                self.closing.push(Closing { sequence: file.sequence, good_to: 0, end: file.bytes.len() as u64 });
            }
        }
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
        let failed = world.record.failed();
        let newest = world.disk.newest().filter(|file| file.sequence > self.live);
        let newest = newest.map(|file| (file.sequence, file.bytes.len() as u64));
        let saved = newest.zip(failed).is_some_and(|(newest, failed)| world.disk.moved_to(failed) == Some(newest.0));
        let swapped = world.disk.current != Some(self.live);
        let newer = newest.map(|(_, length)| Newer { length, saved, swapped });
        let rebirth = world.rules.rebirth(found, self.must_move(world), newer);
        world.note(|| format!("  a writer begins: {rebirth:?}"));
        match (rebirth, newest) {
            (Rebirth::Adopt { mid_batch, leave }, Some((new, length))) => {
                world.tally.adopted += 1;
                (self.leaving, self.uncommitted) = (leave, mid_batch);
                let saves = failed.filter(|_| saved);
                let filled = if saved { length } else { 0 };
                self.rotation = Some(Rotation::adopt(new, saves, filled));
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
        let mut rotation = match Self::unsaved(world) {
            Some(rescue) => rescue,
            None => resumed.map_or_else(Rotation::default, |(new, _)| Rotation::adopt(new, None, 0)),
        };
        if !rotation.run(world)? {
            world.note(|| "  a start fails".to_owned());
            return Err(Halt::Killed);
        }
        world.step(Site::Recovered)?;
        world.disk.cut_moved();
        let live = rotation.new;
        let older: Vec<u64> = world.disk.files.iter().rev().map(|file| file.sequence).filter(|n| *n != live).collect();
        for &sequence in
            older.iter().take(DOUBTFUL).filter(|older| world.disk.moved_to(**older).is_none()).collect::<Vec<_>>()
        {
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
        Ok(Self { live, offset: rotation.filled, good_to: rotation.filled, ..Self::default() })
    }

    /// What failed in an earlier run and was not saved, and all segments after it.
    fn unsaved(world: &World<'_>) -> Option<Rotation> {
        let disk = &world.disk;
        let entries = disk.manifest.iter().filter(|entry| disk.exists(entry.segment));
        let unsaved = entries.filter(|entry| disk.moved_to(entry.segment).is_none());
        let oldest = unsaved.min_by_key(|entry| entry.segment)?;
        let later = disk.files.iter().filter(|file| file.sequence >= oldest.segment);
        let source = |file: &super::disk::File| Source {
            sequence: file.sequence,
            good_to: if file.sequence == oldest.segment { oldest.good_to } else { 0 },
            end: file.bytes.len() as u64,
        };
        Some(Rotation::rescuing(later.map(source).collect()))
    }
}
