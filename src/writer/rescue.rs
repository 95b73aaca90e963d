//! Segments that failed: what is noted, what is saved from them, and what the log says.
//!
//! Promise: a segment of which a write or sync failed is never written or synced again; nothing more is acknowledged
//! until what was acknowledged since its last good sync stands in a new segment, synced; at every instruction a kill
//! leaves each record in the store once. See `store::failed` for the one step that counts.
use super::Writer;
use super::rotation::{Begun, Rotation, Source};
use super::syncer::{Job, Outcome};
use crate::ipc::scoreboard::Count;
use crate::store::directory::Era;
use crate::store::failed::{self, Failures, GoodTo, exists};
use crate::store::names::SegmentName;
use crate::store::rescue;
use crate::store::segment::Segment;
use crate::sys::{AsFd, OwnedFd, file};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// A closed segment that waits for its sync.
#[derive(Debug)]
pub(super) struct Closing {
    pub name: SegmentName,
    pub file: Arc<File>,
    /// What a sync is known to have covered; 0 where a predecessor closed it.
    pub good_to: u64,
    /// Its acknowledged bytes.
    pub end: u64,
}

impl Writer {
    /// Has a closed segment synced, off the ack path.
    pub(super) fn close(&mut self, closing: Closing) {
        let (sequence, file) = (closing.name.sequence, Arc::clone(&closing.file));
        self.closing.push(closing);
        self.syncer.submit(Job::Closed { sequence, file, directory: Arc::clone(&self.shelf.directory) });
    }

    /// What a sync has come to.
    pub(super) fn judge(&mut self, outcome: &Outcome) {
        self.scoreboard.add(Count::Syncs, 1);
        self.tell_sync(outcome.took, outcome.result.is_ok().then_some(outcome.ended));
        let sequence = outcome.sequence;
        if let Err(error) = &outcome.names {
            self.scoreboard.add(Count::Faults, 1);
            error!(
                DIRECTORY_SYNC_FAILED,
                "cannot sync the store's directory: {error}; the names of its newest files may not survive a power cut"
            );
        }
        let live = sequence == self.live.identity.sequence;
        let closing = self.closing.iter().position(|closing| closing.name.sequence == sequence);
        match &outcome.result {
            Ok(()) if live => {
                self.good_to = self.good_to.max(outcome.live.unwrap_or(0));
                self.failures = 0;
            }
            // One that is safe itself stays where an older one failed: its records are saved behind that one's.
            Ok(()) if self.record.failed().is_some_and(|failed| failed < sequence) => {}
            Ok(()) => {
                let closed = closing.filter(|_| outcome.live.is_none());
                if closed.map(|index| self.closing.remove(index)).is_some() {
                    self.failures = 0;
                }
            }
            // With the oldest that failed, all after it are saved.
            Err(_) if self.record.failed().is_some_and(|failed| failed <= sequence) => {}
            Err(error) if live => {
                let name = self.live.name.clone();
                self.note_failure(&name, self.good_to, self.offset, error);
            }
            Err(error) => {
                if let Some(Closing { name, good_to, end, .. }) = closing.map(|index| &self.closing[index]) {
                    let (name, good_to, end) = (name.clone(), *good_to, *end);
                    self.note_failure(&name, good_to, end, error);
                }
            }
        }
    }

    fn note_failure(&mut self, name: &SegmentName, good_to: u64, end: u64, error: &io::Error) {
        self.scoreboard.add(Count::Faults, 1);
        self.doubt(name, good_to);
        let (name, wait) = (name.build(), self.back_off());
        let when = if wait.is_zero() { String::new() } else { format!(" in {wait:?}") };
        error!(
            SYNC_FAILED { file: &name },
            "cannot sync {name}: {error}; bytes {good_to} to {end} are acknowledged and may not be on the disk: they are saved to a new segment{when}"
        );
    }

    /// From now on the segment is neither written nor synced, by no writer: what follows `good_to` has to be saved.
    pub(super) fn doubt(&mut self, name: &SegmentName, good_to: u64) {
        self.record.set_failed(name.sequence);
        self.syncer.forbid(name.sequence);
        // For a start after the end of all: it would find nothing wrong with the file.
        let entry = GoodTo { segment: name.build(), good_to, moved_to: None, lost: Vec::new() };
        if let Err(error) = self.on_disk(|writer| failed::append(writer.shelf.directory.as_fd(), &[entry])) {
            error!(FAILURE_NOT_NOTED, "cannot note in {} that {} failed: {error}", failed::FAILED, name.build());
        }
    }

    /// While the saving does not succeed: the note of the failure, if the failing disk did not take it the first time.
    pub(super) fn note_again(&self) {
        let Some(oldest) = self.record.failed() else { return };
        let closing = self.closing.iter().find(|closing| closing.name.sequence == oldest);
        let (name, good_to) = match closing {
            Some(closing) => (&closing.name, closing.good_to),
            None if self.live.identity.sequence == oldest => (&self.live.name, self.good_to),
            None => return,
        };
        let (segment, directory) = (name.build(), self.shelf.directory.as_fd());
        if Failures::read(directory).is_ok_and(|failures| failures.of(&segment).is_none()) {
            let _ = failed::append(directory, &[GoodTo { segment, good_to, moved_to: None, lost: Vec::new() }]);
        }
    }

    /// What follows `end` in the segment that was just left is not part of the store, though it could not be cut off.
    pub(super) fn disown(&mut self, segment: &str, end: u64) {
        let moved_to = Some(self.live.name.build());
        let entry = GoodTo { segment: segment.to_owned(), good_to: end, moved_to, lost: Vec::new() };
        if let Err(error) = failed::append(self.shelf.directory.as_fd(), &[entry]) {
            error!(FAILURE_NOT_NOTED, "cannot note in {} where {segment} ends: {error}", failed::FAILED);
        }
    }

    /// The rotation that answers what has failed so far.
    pub(super) fn wanted_rotation(&self) -> io::Result<Rotation> {
        match self.record.failed() {
            None => Ok(Rotation::new()),
            Some(oldest) => Ok(Rotation::rescuing(oldest, self.sources(oldest)?)),
        }
    }

    /// The ends to save: of the oldest segment that failed what follows its last good sync, and all of those after it,
    /// lest their records stand before it. What was moved away from one before is in a later one.
    fn sources(&self, oldest: u64) -> io::Result<Vec<Source>> {
        let directory = self.shelf.directory.as_fd();
        let failures = Failures::read(directory)?;
        let live = self.live.identity.sequence;
        let mut sources = Vec::new();
        for name in self.shelf.list()?.into_iter().filter(|name| (oldest..=live).contains(&name.sequence)) {
            let closing = self.closing.iter().find(|closing| closing.name == name);
            let (file, good_to, end) = match closing {
                // What others have changed is left as it is.
                _ if name.sequence == live && self.record.is_tampered(live) => continue,
                _ if name == self.live.name => (Arc::clone(&self.live.file), self.good_to, self.offset),
                Some(closing) => (Arc::clone(&closing.file), closing.good_to, closing.end),
                None => {
                    let segment = Segment::open(directory, name.clone())?;
                    let end = segment.length()?;
                    (segment.file, 0, end)
                }
            };
            let good_to = if name.sequence == oldest { rescue::whole_blocks(&file, good_to) } else { 0 };
            let end = failures.end(&name.build(), end, |name| exists(&self.shelf.directory, name));
            sources.push(Source { name, file, good_to, end, format: Some(self.config.store.format) });
        }
        Ok(sources)
    }

    /// A new segment begins with what was saved: says so, and forgets what needs no care any more.
    pub(super) fn tell_saved(&mut self, rotation: &Rotation, begun: &Begun) {
        let Some(oldest) = begun.saves else { return };
        for saved in self.closing.extract_if(.., |closing| closing.name.sequence >= oldest) {
            self.settled.push(saved.name.sequence);
        }
        let into = begun.segment.name.build();
        let Some(rescue) = rotation.rescue() else {
            return notice!(SAVED { file: &into }, "the last writer had saved {} bytes to {into}", begun.filled);
        };
        self.scoreboard.add(Count::Rescued, rescue.records());
        for (source, lost) in rescue.lost() {
            let (name, good_to) = (source.name.build(), source.good_to);
            notice!(SAVED { file: &into }, "what followed byte {good_to} of {name} is now in {into}");
            for (from, to) in lost {
                self.scoreboard.add(Count::LostBytes, to - from);
                error!(
                    RECORDS_LOST { file: &name },
                    "bytes {from} to {to} of {name} were acknowledged and cannot be read back as records: they are lost from the store, and kept as they are in {name}.torn"
                );
            }
        }
        notice!(SAVED { bytes: rescue.written() }, "saved {} records, {} bytes", rescue.records(), rescue.written());
    }

    /// Behind the publishing of the new segment: what was saved has one place now.
    pub(super) fn settle_saved(&mut self, saves: Option<u64>) {
        if saves.is_none() {
            return;
        }
        // An older one that has failed since is answered by the next rotation.
        if saves == self.record.failed() {
            self.record.clear_failed();
        }
        cut_moved(&self.shelf.directory);
    }

    /// A failure that a predecessor has dealt with, but for clearing its note.
    pub(super) fn clear_settled(&mut self, segments: &[SegmentName]) {
        let directory = &self.shelf.directory;
        let Some(failed) = self.record.failed() else { return };
        let name = segments.iter().find(|name| name.sequence == failed);
        let target = name.and_then(|name| moved_to(directory, name));
        if target.is_some_and(|target| target.sequence <= self.live.identity.sequence) {
            self.record.clear_failed();
        }
    }
}

/// Where a segment's end was moved, if it was.
pub(super) fn moved_to(directory: &OwnedFd, name: &SegmentName) -> Option<SegmentName> {
    let failures = Failures::read(directory.as_fd()).ok()?;
    let target = failures.of(&name.build())?.moved_to.clone()?;
    SegmentName::parse(&target).filter(|_| exists(directory, &target))
}

/// The oldest segment from `failed` on whose end was saved to `newer`, if there is one.
pub(super) fn saved_in(directory: &OwnedFd, segments: &[SegmentName], failed: u64, newer: &SegmentName) -> Option<u64> {
    let since = segments.iter().filter(|name| name.sequence >= failed);
    let mut saved = since.filter(|name| moved_to(directory, name).is_some_and(|target| target == *newer));
    saved.next().map(|name| name.sequence)
}

/// Cuts what was moved away; whoever reads the store passes over what cannot be cut.
pub(super) fn cut_moved(directory: &Arc<OwnedFd>) {
    let failed = match Failures::read(directory.as_fd()) {
        Ok(failures) => rescue::cut_moved(directory, &failures),
        Err(error) => {
            return error!(
                FAILURES_NOT_READ,
                "cannot read {}: {error}; what failed in an earlier run is not known",
                failed::FAILED
            );
        }
    };
    for (name, error) in failed {
        error!(
            NOT_CUT { file: &name },
            "cannot cut {name}: {error}; what was moved away from its end is still there, and not part of the store"
        );
    }
}

/// At a start: the ends of segments that failed in an earlier run and were not saved, and all segments after them.
pub(super) fn unsaved(directory: &OwnedFd, segments: &[SegmentName], era: Option<Era>) -> io::Result<Vec<Source>> {
    let failures = Failures::read(directory.as_fd())?;
    let mut oldest: Option<(SegmentName, u64)> = None;
    for entry in failures.unsaved(|name| exists(directory, name)) {
        let Some(name) = entry.name().filter(|name| segments.contains(name)) else { continue };
        let length = file::stat_at(directory.as_fd(), &entry.segment)?.st_size;
        // Its end was saved and cut off once; where that went later is nobody's concern.
        let is_done = entry.moved_to.is_some() && u64::try_from(length).is_ok_and(|length| length <= entry.good_to);
        if !is_done && oldest.as_ref().is_none_or(|(oldest, _)| name.sequence < oldest.sequence) {
            oldest = Some((name, entry.good_to));
        }
    }
    let Some((oldest, good_to)) = oldest else { return Ok(Vec::new()) };
    warn!(
        FAILED_IN_EARLIER_RUN { file: &oldest.build() },
        "{} failed in an earlier run: what follows its byte {good_to} is saved to a new segment",
        oldest.build()
    );
    let mut sources = Vec::new();
    for name in segments.iter().filter(|name| name.sequence >= oldest.sequence) {
        let segment = Segment::open(directory.as_fd(), name.clone())?;
        let format = era.filter(|era| name.sequence >= era.since).map(|era| era.format);
        let end = failures.end(&name.build(), segment.length()?, |name| exists(directory, name));
        let file = segment.file;
        let good_to = if *name == oldest { rescue::whole_blocks(&file, good_to) } else { 0 };
        sources.push(Source { name: name.clone(), end, file, good_to, format });
    }
    Ok(sources)
}
