//! A turn of the archiver: what is most urgent, a piece of it.
//!
//! Deletions that were begun, retention, seals, the hook, compression: in this order, each the oldest first.
use super::Archiver;
use super::compress::{self, Compressing, Progress};
use super::faults::{Deed, is_full};
use super::hook::{Ended, Ready};
use super::seal::Sealing;
use crate::ipc::scoreboard::Count;
use crate::store::directory;
use crate::store::manifest::Line;
use crate::store::names::{Form, SegmentName};
use crate::sys::{crash, file, process};
use std::io;
use std::time::{Duration, Instant};

/// Seals that are added to the manifest at once.
const BATCH: usize = 64;
/// A seal waits no longer for others.
const SEAL_WAITS: Duration = Duration::from_millis(100);

impl Archiver {
    /// Does what is to be done now; `full`: the writer has no room. True: there is more.
    pub(super) fn turn(&mut self, now: Instant, full: bool) -> bool {
        self.hook.tend(now);
        if !self.shelf.is_settled() || !self.is_in_place() {
            return false;
        }
        self.begin();
        let news = self.each_second(now);
        if !self.take_stock(now, news) {
            return false;
        }
        if full {
            self.make_room(now);
        }
        let mut busy = self.unlink_doomed(now);
        if !busy && self.timers.takes_retain(now) {
            busy = self.retain(now);
        }
        busy |= self.work(now);
        self.publish(now);
        busy
    }

    /// The first time that anything may be touched.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.began, true) {
            return;
        }
        self.drop_temporary();
        match super::age::Ages::load(self.shelf.fd()) {
            Ok(ages) => self.ages = ages,
            Err(error) => warn!(CLOCK_STATE_NOT_READ, "cannot read .archiver: {error}; the clock is trusted"),
        }
    }

    /// One piece of work. True: there was one.
    ///
    /// Only sealing is paced: it is what every store needs all the time. Who compresses has asked for what that costs.
    fn work(&mut self, now: Instant) -> bool {
        if self.pace.rests_until(now).is_none() {
            let (begin, backlog) = (Instant::now(), self.unsealed.len());
            if self.seal_on(now) {
                self.pace.worked(begin, Instant::now(), process::interruptions(), backlog);
                return true;
            }
        }
        self.hand_on(now);
        self.compress_on(now)
    }

    /// Seals: a piece of the oldest.
    fn seal_on(&mut self, now: Instant) -> bool {
        if self.sealing.is_none() {
            match self.begin_seal(now) {
                Some(begun) if begun.is_none() => return true,
                begun => self.sealing = begun.flatten(),
            }
        }
        let late = self.sealed_since.is_some_and(|since| now >= since + SEAL_WAITS);
        if self.sealed.len() >= BATCH || late || (self.sealing.is_none() && !self.sealed.is_empty()) {
            self.flush_seals(now);
        }
        let Some(mut sealing) = self.sealing.take() else { return false };
        match sealing.step() {
            Ok(None) => self.sealing = Some(sealing),
            // Replaced by another file meanwhile: that one is looked at.
            Ok(Some(_)) if !self.is_same(&sealing.name, sealing.id) => self.look_again_at(&sealing.name),
            Ok(Some(seal)) => {
                self.faults.well(Deed::Seal, Some(&sealing.name));
                self.sealed.push(Line::Seal(seal));
                self.sealed_since.get_or_insert(now);
                self.sort_in(&sealing.name);
            }
            Err(error) => self.cannot_seal(&sealing.name, &error, now),
        }
        true
    }

    /// `None`: there is nothing to seal. Inside, it could not be begun.
    fn begin_seal(&mut self, now: Instant) -> Option<Option<Sealing>> {
        // What cannot be added to the manifest is not read either.
        if self.sealed.len() >= BATCH || self.faults.rests(Deed::Manifest, None, now) {
            return None;
        }
        let may = |name: &&SegmentName| !self.faults.rests(Deed::Seal, Some(name), now) && !self.shelf.is_live(name);
        let name = self.unsealed.iter().find(may)?.clone();
        let form = self.shelf.get(&name)?.form()?;
        let era = directory::era(self.shelf.fd()).filter(|era| name.sequence >= era.since);
        let (cut, acknowledged) = (self.cut(&name), self.failures.acknowledged(&name.build()));
        match Sealing::begin(self.shelf.fd(), &name, form, cut, acknowledged, era.map(|era| era.format)) {
            Ok(sealing) => Some(Some(sealing)),
            Err(error) => {
                self.cannot_seal(&name, &error, now);
                Some(None)
            }
        }
    }

    fn cannot_seal(&mut self, name: &SegmentName, error: &io::Error, now: Instant) {
        if error.kind() == io::ErrorKind::NotFound {
            return self.look_again_at(name);
        }
        self.faults.note(Deed::Seal, &name.build(), Some(name), error, now);
    }

    /// Adds the seals to the manifest.
    pub(super) fn flush_seals(&mut self, now: Instant) {
        if self.sealed.is_empty() || self.faults.rests(Deed::Manifest, None, now) {
            return;
        }
        let count = self.sealed.len() as u64;
        if !self.add(self.sealed.clone(), false, now) {
            return;
        }
        crash::point("archive-seal-appended");
        self.scoreboard.add(Count::Sealed, count);
        self.sealed_since = None;
        let lines = std::mem::take(&mut self.sealed);
        for name in lines.iter().filter_map(|line| SegmentName::parse(line.segment()?)) {
            self.sort_in(&name);
        }
    }

    fn look_again_at(&mut self, name: &SegmentName) {
        self.shelf.refresh(name);
        self.sort_in(name);
    }

    /// Runs the hook with the next segment, if it is its turn.
    fn hand_on(&mut self, now: Instant) {
        if !self.hook.is_on() {
            return;
        }
        let left = self.hook.left().iter().filter_map(|number| self.shelf.of_number(*number));
        let pending = left.chain(self.shelf.items_from(self.hook.through() + 1).map(|(name, _)| name));
        let name = self.hook.choose(pending, |name| self.ready(name, now), now).cloned();
        let Some(name) = name else { return };
        let form = self.shelf.get(&name).and_then(super::shelf::Item::form);
        let Some((form, seal)) = form.zip(self.ledger.manifest().seal(&name)) else { return };
        self.hook.start(&name, form, seal, now);
    }

    /// Whether a segment can be handed on: in the form that it keeps, or one that could not be changed so far.
    fn ready(&self, name: &SegmentName, now: Instant) -> Ready {
        if self.ledger.manifest().seal(name).is_none() {
            let stuck = self.faults.rests(Deed::Seal, Some(name), now) || self.is_unsaved(name);
            return if stuck { Ready::Stuck } else { Ready::Soon };
        }
        let is_under_way = self.compressing.as_ref().is_some_and(|job| job.name == *name);
        let failed = self.faults.has_failed(Deed::Compress, name) || self.faults.rests(Deed::Compress, None, now);
        let waits = self.uncompressed.contains(name) && !failed;
        if is_under_way || waits { Ready::Soon } else { Ready::Yes }
    }

    /// A run of the hook has ended.
    pub(super) fn hooked(&mut self, ended: &Ended) {
        if !ended.well {
            return self.scoreboard.add(Count::HookFailures, 1);
        }
        self.scoreboard.add(Count::Hooked, 1);
        crash::point("archive-hook-done");
        let passed: Vec<u64> = {
            let items = self.shelf.items_from(self.hook.through() + 1).map(|(name, _)| name.sequence);
            items.take_while(|sequence| *sequence < ended.name.sequence).collect()
        };
        if let Err(error) = self.hook.note_done(ended.name.sequence, passed.into_iter(), self.shelf.fd()) {
            self.faults.note(Deed::Note, ".on-close", None, &error, Instant::now());
        }
    }

    /// How many segments wait for the hook.
    pub(super) fn unhooked(&self) -> u64 {
        if !self.hook.is_on() {
            return 0;
        }
        self.shelf.items_from(self.hook.through() + 1).count() as u64 + self.hook.left().len() as u64
    }

    /// Compresses: a piece of the oldest.
    fn compress_on(&mut self, now: Instant) -> bool {
        let job = self.compressing.take().map(Some).or_else(|| self.begin_compression(now));
        let Some(Some(mut job)) = job else { return job.is_some() };
        let name = job.name.clone();
        let placed = match job.step() {
            Ok(Progress::More) => {
                self.shelf.note_other(compress::TEMPORARY, job.written());
                self.compressing = Some(job);
                return true;
            }
            Ok(Progress::Changed) => Ok(false),
            Ok(Progress::Whole(packed)) if self.add(vec![Line::Packed(packed.clone())], true, now) => {
                job.place(self.shelf.fd())
            }
            // Told already; all of it is done again.
            Ok(Progress::Whole(_)) => return self.put_off_compression(job, now),
            Err(error) => Err(error),
        };
        match placed {
            Ok(true) => {
                self.shelf.note_other(compress::TEMPORARY, 0);
                self.scoreboard.add(Count::Compressed, 1);
                self.faults.well(Deed::Compress, Some(&name));
                self.look_again_at(&name);
            }
            Ok(false) => {
                drop(job);
                self.drop_temporary();
                if self.is_there(&name) {
                    warn!(
                        SEAL_DOES_NOT_FIT { file: &name.build() },
                        "{} is not what was sealed: somebody has changed it; it is not compressed",
                        name.build()
                    );
                    self.changed.insert(name.clone());
                }
                self.look_again_at(&name);
            }
            Err(error) => {
                drop(job);
                self.cannot_compress(&name, &error, now);
            }
        }
        true
    }

    fn put_off_compression(&mut self, job: Compressing, now: Instant) -> bool {
        self.faults.rest(Deed::Compress, Some(&job.name), now);
        self.faults.rest(Deed::Compress, None, now);
        drop(job);
        self.drop_temporary();
        true
    }

    fn is_there(&self, name: &SegmentName) -> bool {
        file::stat_at(self.shelf.fd(), &name.build()).is_ok()
    }

    /// The temporary file goes; want of room is everybody's, so that all wait, and the next one comes first.
    fn cannot_compress(&mut self, name: &SegmentName, error: &io::Error, now: Instant) {
        self.drop_temporary();
        if error.kind() == io::ErrorKind::NotFound && !self.is_there(name) {
            return self.look_again_at(name);
        }
        self.faults.note(Deed::Compress, &name.build(), Some(name), error, now);
        if is_full(error) {
            self.faults.rest(Deed::Compress, Some(name), now);
            self.faults.rest(Deed::Compress, None, now);
        }
        self.look_again_at(name);
    }

    /// `None`: there is nothing to compress. Inside, it could not be begun, or was done at once.
    fn begin_compression(&mut self, now: Instant) -> Option<Option<Compressing>> {
        let may = |name: &&SegmentName| {
            !self.faults.rests(Deed::Compress, Some(name), now)
                && !self.is_busy(name)
                && self.ledger.manifest().seal(name).is_some()
        };
        let name = self.uncompressed.iter().find(may)?.clone();
        let Some(form) = compress::form(self.config.compress.method) else {
            self.drop_twins(&name, now);
            return Some(None);
        };
        let seal = self.ledger.manifest().seal(&name)?;
        match Compressing::begin(self.shelf.fd(), &name, form, seal) {
            Ok(job) => Some(Some(job)),
            Err(error) => {
                self.cannot_compress(&name, &error, now);
                Some(None)
            }
        }
    }

    /// Nothing is compressed any more: the plain file counts, and what an interrupted compression has left goes; but only
    /// if the plain one is what was sealed: somebody may just be unpacking the other.
    fn drop_twins(&mut self, name: &SegmentName, now: Instant) {
        let text = name.build();
        let seal = self.ledger.manifest().seal(name).cloned();
        let plain = seal.map_or(Ok(false), |seal| compress::is_sealed(self.shelf.fd(), name, &seal));
        match plain {
            Ok(true) => {}
            Ok(false) => {
                warn!(
                    SEAL_DOES_NOT_FIT { file: &text },
                    "{text} is not what was sealed, and its compressed form is there: both are left as they are"
                );
                self.changed.insert(name.clone());
                return self.look_again_at(name);
            }
            Err(error) => return self.faults.note(Deed::Compress, &text, Some(name), &error, now),
        }
        let mut twins = Form::ALL.into_iter().filter(|form| *form != Form::Plain);
        match twins.try_for_each(|form| file::unlink_at(self.shelf.fd(), &form.of(&text))) {
            Ok(()) => self.look_again_at(name),
            Err(error) => self.faults.note(Deed::Compress, &text, Some(name), &error, now),
        }
    }
}
