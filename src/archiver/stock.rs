//! Taking stock: what a look at the directory means, which segments want which work, and who is missing.
use super::Archiver;
use super::faults::Deed;
use super::ledger::Looked;
use super::shelf::{Found, Item};
use super::{compress, shelf};
use crate::store::clock;
use crate::store::failed::{FAILED, Failures, exists};
use crate::store::manifest::{Failed, Gone, Line, MANIFEST};
use crate::store::names::{Form, SegmentName};
use crate::sys::file;
use std::io;
use std::time::Instant;

impl Archiver {
    /// Looks at the store where there may be news; false if nothing is known of it.
    pub(super) fn take_stock(&mut self, now: Instant, news: bool) -> bool {
        let due = news || self.shelf.next_look().is_some() || !self.shelf.was_looked_at();
        if due && self.shelf.is_due(now) && !self.faults.rests(Deed::Look, None, now) {
            match self.look(now) {
                Ok(()) => self.faults.well(Deed::Look, None),
                Err(error) => self.faults.note(Deed::Look, "the store", None, &error, now),
            }
        }
        self.shelf.was_looked_at()
    }

    fn look(&mut self, now: Instant) -> io::Result<()> {
        let failures = self.read_failures()?;
        let read = self.ledger.look(self.shelf.fd())?;
        self.tell_flaws(&read);
        let first = !self.shelf.was_looked_at();
        let manifest = self.ledger.manifest();
        let found = self.shelf.look(|name| manifest.seal(name).is_some())?;
        let Found { came, left, foreign } = found;
        for file in foreign {
            warn!(
                FILE_OF_OTHERS { file: &file },
                "{file} is none of the store's: another file has its number, or it is no regular file; it is left alone"
            );
        }
        came.iter().for_each(|name| self.take_in(name));
        left.iter().for_each(|name| self.let_go(name));
        if failures {
            self.copy_failures(now);
        }
        if failures || read == Looked::Read {
            self.sort_all();
        }
        let missing = if first || read == Looked::Read { self.all_sealed() } else { left };
        self.note_gone(missing, now);
        Ok(())
    }

    /// Says what is wrong with a manifest that was read.
    fn tell_flaws(&self, read: &Looked) {
        let manifest = self.ledger.manifest();
        if *read == Looked::Read
            && let Some(flaw) = manifest.flaws.first()
        {
            warn!(
                MANIFEST_FLAWED,
                "{MANIFEST}, line {}: {} ({} lines are flawed); it is gone on with",
                flaw.line,
                flaw.what,
                manifest.flaws.len()
            );
        }
    }

    fn all_sealed(&self) -> Vec<SegmentName> {
        self.ledger.manifest().seals.values().filter_map(|seal| SegmentName::parse(&seal.segment)).collect()
    }

    /// A segment that is new here. One that was to be deleted is: its deletion was interrupted.
    fn take_in(&mut self, name: &SegmentName) {
        let pruned = self.ledger.manifest().pruned.get(&name.sequence);
        let pruned =
            pruned.filter(|pruned| pruned.segment == name.build() && !self.was_brought_back(name, &pruned.time));
        if let Some(pruned) = pruned {
            let why = format!("what was begun is finished ({})", pruned.reason);
            self.shelf.remove(name);
            self.doomed.insert(name.clone(), why);
        }
        self.changed.remove(name);
        self.sort_in(name);
    }

    /// Whether a file came to be after the line that says that it was deleted: somebody wants it here again.
    fn was_brought_back(&self, name: &SegmentName, pruned: &str) -> bool {
        let Some(pruned) = clock::micros_of(pruned) else { return false };
        let text = name.build();
        let mut found = Form::ALL.iter().filter_map(|form| file::stat_at(self.shelf.fd(), &form.of(&text)).ok());
        found.any(|stat| stat.st_ctime > pruned / 1_000_000 + 1)
    }

    /// A segment that is away.
    pub(super) fn let_go(&mut self, name: &SegmentName) {
        self.sort_in(name);
        self.sealing.take_if(|sealing| sealing.name == *name);
        if self.compressing.take_if(|job| job.name == *name).is_some() {
            self.drop_temporary();
        }
        self.changed.remove(name);
        self.faults.forget(name);
    }

    /// Puts a segment among those that want work, or takes it from there.
    pub(super) fn sort_in(&mut self, name: &SegmentName) {
        let sealed = self.ledger.manifest().seal(name).is_some() || self.is_noted(name);
        let (mut wants_seal, mut wants_form) = (false, false);
        if let Some(item) = self.shelf.get(name).filter(|_| !self.is_unsaved(name)) {
            let target = compress::form(self.config.compress.method);
            wants_seal = !sealed;
            wants_form = item.has(Form::Plain) && (target.is_some() || item.twins().next().is_some());
        }
        wants_form &= !self.changed.contains(name);
        for (set, wants) in [(&mut self.unsealed, wants_seal), (&mut self.uncompressed, wants_form)] {
            if wants {
                set.insert(name.clone());
            } else {
                set.remove(name);
            }
        }
    }

    /// Whether its seal waits to be added to the manifest.
    pub(super) fn is_noted(&self, name: &SegmentName) -> bool {
        !self.sealed.is_empty() && self.sealed.iter().any(|line| line.segment() == Some(&name.build()))
    }

    /// After the manifest or the failures have changed.
    pub(super) fn sort_all(&mut self) {
        let names: Vec<SegmentName> = self.shelf.items().map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.sort_in(name));
    }

    /// Whether its end failed and is nowhere else yet: it is left as it is.
    pub(super) fn is_unsaved(&self, name: &SegmentName) -> bool {
        let text = name.build();
        self.failures.of(&text).is_some()
            && self.failures.unsaved(|other| exists(&self.shelf.directory, other)).any(|entry| entry.segment == text)
    }

    /// Where it ends, if its end was moved to another one.
    pub(super) fn cut(&self, name: &SegmentName) -> Option<u64> {
        self.failures.cut(&name.build(), |other| exists(&self.shelf.directory, other))
    }

    /// Reads the writer's word on failures, if that has changed. True: it has.
    fn read_failures(&mut self) -> io::Result<bool> {
        let from = match file::stat_at(self.shelf.fd(), FAILED) {
            Ok(stat) => Some((stat.st_ino, stat.st_size, stat.st_mtime_nsec)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if from == self.failures_from {
            return Ok(false);
        }
        self.failures = Failures::read(self.shelf.fd())?;
        self.failures_from = from;
        Ok(true)
    }

    /// Copies the writer's word into the manifest, once.
    fn copy_failures(&mut self, now: Instant) {
        let known = &self.ledger.manifest().failed;
        let entries = self.failures.clone().into_entries().into_iter().filter_map(|entry| {
            let sequence = entry.name()?.sequence;
            let failed = Failed::from(entry);
            (known.get(&sequence) != Some(&failed) && self.shelf.has_number(sequence)).then_some(Line::Failed(failed))
        });
        let lines: Vec<Line> = entries.chain(self.harmed_and_away().map(Line::Gone)).collect();
        if !self.add(lines, false, now) {
            // Looked at again.
            self.failures_from = Some((0, 0, 0));
        }
    }

    /// Segments that somebody else has deleted while they were live: they have no seal that could be missed.
    fn harmed_and_away(&self) -> impl Iterator<Item = Gone> {
        let manifest = self.ledger.manifest();
        let away = self.failures.harms().iter().filter(move |harm| {
            let Some(SegmentName { sequence, .. }) = harm.name() else { return false };
            let known = manifest.was_pruned(sequence) || manifest.gone.contains(&sequence);
            !known && !self.shelf.has_number(sequence) && self.is_away(&harm.segment)
        });
        away.map(|harm| Gone { segment: harm.segment.clone(), time: clock::now_text() })
    }

    /// Adds lines to the manifest; a failure is noted.
    pub(super) fn add(&mut self, lines: Vec<Line>, durable: bool, now: Instant) -> bool {
        if lines.is_empty() {
            return true;
        }
        match self.ledger.append(self.shelf.fd(), lines, durable) {
            Ok(looked) => {
                self.faults.well(Deed::Manifest, None);
                if looked == Looked::Read {
                    self.tell_flaws(&looked);
                    self.sort_all();
                }
                true
            }
            Err(error) => {
                self.faults.note(Deed::Manifest, MANIFEST, None, &error, now);
                false
            }
        }
    }

    /// Notes sealed segments that somebody else has deleted.
    fn note_gone(&mut self, missing: Vec<SegmentName>, now: Instant) {
        let manifest = self.ledger.manifest();
        let gone: Vec<SegmentName> = missing
            .into_iter()
            .filter(|name| {
                let known = manifest.seal(name).is_some() && !manifest.gone.contains(&name.sequence);
                let text = name.build();
                let ours = manifest.was_pruned(name.sequence)
                    || self.unnoted.iter().any(|line| line.segment() == Some(&text))
                    || self.doomed.contains_key(name);
                let is_open = || self.shelf.open.iter().any(|open| open.name == *name);
                known && !ours && self.shelf.get(name).is_none() && !is_open() && self.is_away(&text)
            })
            .collect();
        for name in &gone {
            warn!(FILE_GONE { file: &name.build() }, "{} is gone: somebody else has deleted it", name.build());
            if self.hook.forget(name) {
                warn!(
                    HOOK_MISSED { file: &name.build() },
                    "{} is gone before rotate.on-close went well with it",
                    name.build()
                );
            }
        }
        let line = |name: &SegmentName| Line::Gone(Gone { segment: name.build(), time: clock::now_text() });
        self.add(gone.iter().map(line).collect(), false, now);
    }

    /// Certainly: an error is no answer.
    fn is_away(&self, name: &str) -> bool {
        let is_away = |form: Form| {
            let stat = file::stat_at(self.shelf.fd(), &form.of(name));
            stat.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        Form::ALL.into_iter().all(is_away)
    }

    /// When a segment was closed, as far as its records or its file tell: µs since 1970.
    pub(super) fn closed_at(&self, name: &SegmentName, item: &Item) -> i64 {
        let highest = self.ledger.manifest().seal(name).and_then(|seal| clock::micros_of(seal.highest.as_deref()?));
        highest.unwrap_or(item.mtime)
    }

    /// Removes what an interrupted compression has left.
    pub(super) fn drop_temporary(&mut self) {
        if let Err(error) = compress::drop_temporary(self.shelf.fd()) {
            debug!("cannot remove {}: {error}", compress::TEMPORARY);
        }
        self.shelf.note_other(compress::TEMPORARY, 0);
    }

    /// Whether it is not to be touched: the live file, or one that the hook runs on.
    pub(super) fn is_busy(&self, name: &SegmentName) -> bool {
        self.hook.busy() == Some(name) || self.shelf.is_live(name)
    }

    /// The file of a segment that was read is the one on the shelf.
    pub(super) fn is_same(&self, name: &SegmentName, id: shelf::FileId) -> bool {
        self.shelf.get(name).is_some_and(|item| item.id == id)
    }
}
