//! Deleting: by the rules of retention, or to make room on a full disk. It is noted before it is done, so that a segment
//! that is missing can be told from one that was pruned.
use super::Archiver;
use super::age::in_order;
use super::faults::{Deed, is_full};
use super::retain::{Around, Closed, Disk, Reason, decide};
use crate::config::OnDiskFull;
use crate::ipc::control::ToSupervisor;
use crate::ipc::scoreboard::Count;
use crate::store::clock;
use crate::store::manifest::{Line, MANIFEST, Pruned};
use crate::store::names::{Form, SegmentName, TORN_SUFFIX};
use crate::sys::{crash, file};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

/// Deleted at once.
const BATCH: usize = 64;
/// Unlinking takes so long between two looks at the supervisor: large files take a while.
const UNLINKING: Duration = Duration::from_millis(20);
/// A rule that does not hold for so long is told.
const UNMET: Duration = Duration::from_secs(10);

impl Archiver {
    /// Applies the rules of retention. True: there is more to delete.
    pub(super) fn retain(&mut self, now: Instant) -> bool {
        let rules = self.config.retain;
        if rules == crate::config::Retain::default() || self.faults.rests(Deed::Manifest, None, now) {
            return false;
        }
        let bytes = self.shelf.bytes() + self.shelf.other_bytes();
        let files = self.shelf.count() + self.shelf.unsettled();
        let disk = rules.min_free_space.filter(|_| now >= self.timers.space).and_then(|_| self.disk());
        let disk = disk.filter(|disk| self.freed.may_go_on(disk.available, bytes, now));
        let wall = clock::now_micros();
        if rules.max_age.is_some() {
            self.look_at_clock(wall, now);
        }
        let times = in_order(self.shelf.items().map(|(name, item)| self.closed_at(name, item)), wall);
        let closed = self.shelf.items().zip(times).map(|((name, item), closed)| Closed {
            name: name.clone(),
            bytes: item.bytes(),
            age: self.ages.age(closed, wall),
            busy: self.is_busy(name),
        });
        let verdict = decide(&rules, Around { files, bytes, disk }, closed, BATCH);
        self.tell_unmet(verdict.unmet, now);
        let for_room = verdict.delete.iter().filter(|(_, reason)| matches!(reason, Reason::MinFreeSpace(_)));
        let freed: u64 = for_room.filter_map(|(name, _)| Some(self.shelf.get(name)?.bytes())).sum();
        if let Some(disk) = disk.filter(|_| freed > 0) {
            self.timers.freed(now);
            self.note_freed(disk.available, freed, bytes, now);
        }
        let more = verdict.delete.len() == BATCH;
        if more {
            self.timers.retain_now();
        }
        self.prune(verdict.delete, now) && more
    }

    /// So much is deleted of a store of `bytes`.
    fn note_freed(&mut self, available: u64, freed: u64, bytes: u64, now: Instant) {
        if self.freed.note(available, freed, bytes.saturating_sub(freed), now) {
            warn!(
                DELETING_MAKES_NO_ROOM,
                "deleting files makes no room: a snapshot may keep their blocks, or a program the files; it is done more and more seldom"
            );
        }
    }

    fn disk(&self) -> Option<Disk> {
        let (total, available) = file::room(&self.shelf.directory).ok()?;
        Some(Disk { total, available })
    }

    /// A rule that stays unmet although all went that may is told once.
    fn tell_unmet(&mut self, unmet: Option<Reason>, now: Instant) {
        self.unmet = match (unmet, self.unmet) {
            (None, _) => None,
            (Some(reason), Some((before, since, told))) if before.name() == reason.name() => {
                if !told && now >= since + UNMET {
                    warn!(RETENTION_NOT_MET, "{reason} does not hold: no closed file is left that may be deleted");
                }
                Some((reason, since, told || now >= since + UNMET))
            }
            (Some(reason), _) => Some((reason, now, false)),
        };
    }

    /// Makes room for the live file, if that is the policy: one segment for each time that the writer has failed.
    pub(super) fn make_room(&mut self, now: Instant) {
        if self.config.store.on_disk_full != OnDiskFull::Prune {
            return;
        }
        // What was under way may have taken the room.
        let written = self.compressing.take().map_or(0, |mut job| job.written());
        self.drop_temporary();
        self.faults.rest(Deed::Compress, None, now);
        if written > 0 {
            return self.channel.send(ToSupervisor::Pruned);
        }
        if !self.doomed.is_empty() {
            let before = self.doomed.len();
            self.unlink_doomed(now);
            if self.doomed.len() < before {
                return self.channel.send(ToSupervisor::Pruned);
            }
        }
        let bytes = self.shelf.bytes() + self.shelf.other_bytes();
        let available = self.disk().map_or(0, |disk| disk.available);
        if !self.freed.may_go_on(available, bytes, now) {
            return;
        }
        let oldest = self.shelf.items().map(|(name, _)| name).find(|name| !self.is_busy(name)).cloned();
        match oldest {
            Some(name) => {
                self.nothing_left = false;
                let freed = self.shelf.get(&name).map_or(0, super::shelf::Item::bytes);
                self.note_freed(available, freed, bytes, now);
                if self.prune(vec![(name.clone(), Reason::DiskFull)], now) && !self.doomed.contains_key(&name) {
                    self.channel.send(ToSupervisor::Pruned);
                }
            }
            None if !self.nothing_left => {
                self.nothing_left = true;
                warn!(NOTHING_TO_PRUNE, "the disk is full, and no closed file is left to be deleted");
            }
            None => {}
        }
    }

    /// Deletes segments; false if that could not even be noted.
    fn prune(&mut self, segments: Vec<(SegmentName, Reason)>, now: Instant) -> bool {
        if segments.is_empty() {
            return true;
        }
        self.flush_seals(now);
        let mut left = VecDeque::from(segments);
        while !left.is_empty() {
            let lines: Vec<Line> = self.unnoted.iter().cloned().chain(left.iter().map(line)).collect();
            match self.ledger.append(self.shelf.fd(), lines, true) {
                Ok(looked) => {
                    self.unnoted.clear();
                    self.faults.well(Deed::Manifest, None);
                    crash::point("archive-prune-noted");
                    if looked == super::ledger::Looked::Read {
                        self.sort_all();
                    }
                    left.drain(..).for_each(|(name, reason)| self.doom(name, &reason));
                }
                // Not even the lines fit: one goes first, and its line with those of the others, which then may.
                Err(error) if is_full(&error) => {
                    if let Some(first) = left.pop_front() {
                        self.unnoted.push(line(&first));
                        self.doom(first.0, &first.1);
                    }
                }
                Err(error) => {
                    self.faults.note(Deed::Manifest, MANIFEST, None, &error, now);
                    return false;
                }
            }
            self.unlink_doomed(now);
        }
        self.note_deleted(now);
        if let Some(disk) = self.disk() {
            self.freed.see(disk.available);
        }
        true
    }

    /// Notes what had to be deleted before there was room for its line.
    pub(super) fn note_deleted(&mut self, now: Instant) {
        let unnoted = std::mem::take(&mut self.unnoted);
        if !unnoted.is_empty() && !self.add(unnoted.clone(), true, now) {
            self.unnoted = unnoted;
        }
    }

    /// Its deletion is decided.
    fn doom(&mut self, name: SegmentName, reason: &Reason) {
        self.shelf.remove(&name);
        self.let_go(&name);
        self.scoreboard.add(Count::Pruned, 1);
        if self.hook.forget(&name) {
            let seconds = u64::try_from(clock::now_seconds()).unwrap_or(0);
            if let Some(more) = self.unhooked_told.admit(seconds) {
                let more = if more > 0 { format!(" ({more} more were not logged)") } else { String::new() };
                warn!(
                    HOOK_MISSED { file: &name.build() },
                    "{} is deleted before rotate.on-close went well with it{more}",
                    name.build()
                );
            }
        }
        self.doomed.insert(name, reason.to_string());
    }

    /// Unlinks what was noted as deleted. True: there is more to do now.
    pub(super) fn unlink_doomed(&mut self, now: Instant) -> bool {
        let begin = Instant::now();
        let names: Vec<SegmentName> = self.doomed.keys().cloned().collect();
        for name in names {
            if self.faults.rests(Deed::Delete, Some(&name), now) {
                continue;
            }
            if begin.elapsed() > UNLINKING {
                return true;
            }
            match self.unlink(&name) {
                Ok(()) => {
                    let why = self.doomed.remove(&name).unwrap_or_default();
                    self.faults.forget(&name);
                    self.faults.well(Deed::Delete, None);
                    self.tell_deleted(&name, &why);
                }
                Err(error) => self.faults.note(Deed::Delete, &name.build(), Some(&name), &error, now),
            }
        }
        false
    }

    fn unlink(&self, name: &SegmentName) -> io::Result<()> {
        let text = name.build();
        for form in Form::ALL {
            file::unlink_at(self.shelf.fd(), &form.of(&text))?;
            crash::point("archive-prune-unlinked");
        }
        file::unlink_at(self.shelf.fd(), &format!("{text}{TORN_SUFFIX}"))
    }

    fn tell_deleted(&self, name: &SegmentName, why: &str) {
        let seconds = u64::try_from(clock::now_seconds()).unwrap_or(0);
        match self.deletions_told.admit(seconds) {
            Some(0) => info!(DELETED { file: &name.build() }, "deleted {}: {why}", name.build()),
            Some(held) => info!(
                DELETED { file: &name.build() },
                "deleted {}: {why} ({held} deletions before it were not logged)",
                name.build()
            ),
            None => {}
        }
    }
}

fn line((name, reason): &(SegmentName, Reason)) -> Line {
    let (segment, reason) = (name.build(), reason.name().to_owned());
    Line::Pruned(Pruned { segment, reason, time: clock::now_text() })
}
