//! `verify`: whether a store is whole, file by file and record by record.
//!
//! Checked: names; sequence numbers without gap, but for files that retention deleted; the manifest and its chain; every
//! sealed file's bytes against its seal, compressed or not; every record's grammar; every connection's message numbers
//! without gap or repeat over all files; `current` a hard link to one of them. Each problem stands on one line,
//! `FILE:LINE:BYTE: what` (the line from 1, the byte in the file from 0), bad bytes with their range; the summary on the last.
//! Changes nothing. Memory: one entry for each connection, file and line of the manifest.
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

use crate::exit;
use crate::store::content::Content;
use crate::store::manifest::{Manifest, Seal};
use crate::store::names::Form;
use crate::store::reader::{LineReader, Listing, Segment};

mod connections;
mod names;
mod progress;
mod records;
mod report;
mod seals;
use progress::Progress;
use records::Records;
pub use report::{Kind, Shown};
use report::{Place, Report};
use seals::{Measuring, Seals};

/// Checks the store in `directory` and prints what is wrong and a summary; returns the exit code: 0, 1 with problems, 74 if it is
/// no store that can be read.
pub fn run(directory: &Path, shown: Shown) -> u8 {
    let listing = match Listing::new(directory) {
        Ok(listing) => listing,
        Err(error) => {
            eprintln!("echostored: {error}");
            return exit::STORE;
        }
    };
    let progress = match shown {
        Shown::Text => Progress::on_terminal(listing.segments.iter().map(|segment| segment.length).sum()),
        Shown::Json => Progress::hidden(),
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    match examine(directory, &listing, Report::new(&mut out, shown, progress)) {
        Ok(summary) if summary.problems == 0 => exit::OK,
        Ok(_) => exit::FAILED,
        Err(error) => {
            // With `| head` the reader is gone: nobody is left to be told, but the verdict is not known.
            if error.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("echostored: cannot write to standard output: {error}");
            }
            exit::FAILED
        }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Files of records.
    pub files: u64,
    /// Of these, checked against their seal.
    pub sealed: u64,
    /// Closed files that have none.
    pub unsealed: u64,
    /// Well-formed records.
    pub records: u64,
    /// Different connections; 0 in `raw`, which does not say.
    pub connections: u64,
    /// Bytes of content read.
    pub bytes: u64,
    /// What is wrong.
    #[serde(rename = "problem_count")]
    pub problems: u64,
}

/// The same to any output, as lines.
///
/// # Errors
/// `out` cannot be written. What cannot be read is a problem instead.
pub fn check(listing: &Listing, out: &mut impl Write) -> io::Result<Summary> {
    examine(Path::new(""), listing, Report::new(out, Shown::Text, Progress::hidden()))
}

fn examine(directory: &Path, listing: &Listing, mut report: Report<'_, impl Write>) -> io::Result<Summary> {
    // After the listing: what had been deleted by then has its line by now.
    let manifest = match listing.manifest() {
        Ok(manifest) => manifest,
        Err(error) => {
            names::unreadable_manifest(&mut report, &error)?;
            Manifest::default()
        }
    };
    names::check(listing, &manifest, &mut report)?;
    let from_first = listing.segments.first().is_some_and(|segment| segment.name.sequence == 1);
    let seals = Seals::new(listing, &manifest);
    let records = Records::new(report, from_first);
    let mut check = Check { listing, manifest: &manifest, seals, records, done: 0, before: None };
    let live = listing.live();
    for (index, segment) in listing.segments.iter().enumerate() {
        let is_live = live.is_none_or(|live| index >= live);
        check.segment(segment, is_live, live == Some(index))?;
    }
    check.records.finish(directory, listing.segments.len() as u64, check.seals.counts())
}

struct Check<'a, 'o, O> {
    listing: &'a Listing,
    manifest: &'a Manifest,
    seals: Seals<'a>,
    records: Records<'o, O>,
    /// Bytes of the files before this one.
    done: u64,
    /// The number of the file before this one.
    before: Option<u64>,
}

impl<O: Write> Check<'_, '_, O> {
    /// `is_last`: it is the last with bytes in it, or behind that.
    fn segment(&mut self, segment: &Segment, is_last: bool, is_live: bool) -> io::Result<()> {
        let report = &mut self.records.report;
        let seal = self.seals.of(segment, is_last, report)?;
        let sequence = segment.name.sequence;
        if self.before.is_some_and(|before| self.seals.explained(before, sequence)) {
            self.records.forget_numbers();
        }
        self.before = Some(sequence);
        // What is behind the live file was empty when it was listed, and is looked at the next time.
        if seal.is_some() || !is_last || is_live {
            match self.listing.open_file(segment) {
                Ok((file, form)) => self.content(segment, file, form, seal, is_live)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.gone(segment, seal)?,
                Err(error) => {
                    let what = format_args!("cannot open: {error}");
                    self.records.report.problem(Kind::Unreadable, Place::file(&segment.file), what)?;
                }
            }
        }
        self.done += segment.length;
        self.records.report.progress.at(self.done);
        Ok(())
    }

    fn content(
        &mut self,
        segment: &Segment,
        file: std::fs::File,
        form: Form,
        seal: Option<&Seal>,
        is_live: bool,
    ) -> io::Result<()> {
        let name = form.of(&segment.name.build());
        let place = Place::file(&name);
        let before = self.records.report.problems();
        let opened = is_not_empty(&file, form).and_then(|()| {
            let raw = file.try_clone()?;
            Ok((raw, Content::new(file, form, seals::end(segment, seal))?))
        });
        let (raw, content) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let what = format_args!("cannot read: {error}");
                return self.records.report.problem(Kind::Unreadable, place, what);
            }
        };
        let mut source = Measuring::new(content, seal.map(|seal| seal.bytes));
        let lines = LineReader::new(&mut source);
        let seen = self.records.file(&name, (self.done, segment.length), segment.format, lines)?;
        let measured = source.measured();
        match &seen.error {
            Some(error) if form != Form::Plain => {
                let what = format_args!(
                    "cannot be unpacked beyond byte {} of its content: {error}; it is damaged, or ends early",
                    measured.bytes
                );
                self.records.report.problem(Kind::Unreadable, place, what)?;
            }
            Some(error) => {
                let what = format_args!("cannot read beyond byte {}: {error}", measured.bytes);
                self.records.report.problem(Kind::Unreadable, place, what)?;
            }
            None => {
                let writing = is_live && seen.unfinished.is_some() && names::daemon_holds(self.listing);
                self.records.torn(&name, seen.unfinished, writing)?;
            }
        }
        if let Some(seal) = seal {
            self.seals.judge(&mut self.records.report, &name, seal, &measured, &seen)?;
        }
        if self.records.report.problems() == before { self.packed(&name, segment, &raw) } else { Ok(()) }
    }

    /// Of a compressed file whose content is as it was: whether the file is, too. Some of its bits mean nothing.
    fn packed(&mut self, name: &str, segment: &Segment, file: &std::fs::File) -> io::Result<()> {
        let Some(packed) = self.manifest.packed.get(&segment.name.sequence).filter(|packed| packed.file == name) else {
            return Ok(());
        };
        let place = Place::file(name);
        match seals::hash_of(file) {
            Ok(hash) if hash == packed.blake3 => Ok(()),
            Ok(hash) => {
                let was = &packed.blake3;
                let what = format_args!(
                    "the compressed file is not what was written (BLAKE3 {was}, now {hash}), though its content is what was sealed"
                );
                self.records.report.problem(Kind::Seal, place, what)
            }
            Err(error) => self.records.report.problem(Kind::Unreadable, place, format_args!("cannot read: {error}")),
        }
    }

    /// It has gone since the listing: deleted by retention, which would have left a line by now, or by somebody else.
    fn gone(&mut self, segment: &Segment, seal: Option<&Seal>) -> io::Result<()> {
        self.records.forget_numbers();
        let pruned = |manifest: &Manifest| manifest.was_pruned(segment.name.sequence);
        let known = pruned(self.manifest) || self.listing.manifest().is_ok_and(|manifest| pruned(&manifest));
        let (place, what) = (Place::file(&segment.file), format_args!("deleted before it was read"));
        if known || seal.is_none() {
            self.records.report.note(Some(place), what)
        } else {
            self.records.report.problem(Kind::Missing, place, format_args!("{what}, and not by retention"))
        }
    }
}

/// An empty compressed file is an error, which a decoder would take for an end.
fn is_not_empty(file: &std::fs::File, form: Form) -> io::Result<()> {
    if form != Form::Plain && file.metadata()?.len() == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "empty, where something compressed should be"));
    }
    Ok(())
}

#[cfg(test)]
mod sealed;
#[cfg(test)]
mod tests;
