//! What was sealed against what is there.
use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::names::daemon_holds;
use super::records::Seen;
use super::report::{Kind, Place, Report};
use crate::store::manifest::{Manifest, Seal};
use crate::store::reader::{Listing, Segment};

/// Where a sealed file's content ends: what was moved away after a failed sync is no part of it, nor of the seal.
pub fn end(segment: &Segment, seal: Option<&Seal>) -> u64 {
    let moved = seal.and_then(|seal| seal.good_to.filter(|good_to| seal.bytes <= *good_to));
    moved.or(segment.cut).unwrap_or(u64::MAX)
}

/// Reads through, and takes the measure of what is read.
pub struct Measuring<R> {
    source: R,
    bytes: u64,
    /// How many were sealed; without a seal nothing is hashed.
    sealed: Option<u64>,
    hasher: blake3::Hasher,
    at_sealed: Option<blake3::Hash>,
}

/// The measure of a file's content.
#[derive(Debug)]
pub struct Measured {
    /// As far as it could be read.
    pub bytes: u64,
    hash: String,
    /// The hash of the first bytes, as many as were sealed.
    at_sealed: Option<String>,
}

impl<R> Measuring<R> {
    pub fn new(source: R, sealed: Option<u64>) -> Self {
        Self { source, bytes: 0, sealed, hasher: blake3::Hasher::new(), at_sealed: None }
    }

    pub fn measured(self) -> Measured {
        let hex = |hash: blake3::Hash| hash.to_hex().to_string();
        Measured { bytes: self.bytes, hash: hex(self.hasher.finalize()), at_sealed: self.at_sealed.map(hex) }
    }

    fn hash(&mut self, bytes: &[u8], sealed: u64) {
        let until = sealed.saturating_sub(self.bytes).min(bytes.len() as u64);
        let (inside, behind) = bytes.split_at(until as usize);
        self.hasher.update(inside);
        if !behind.is_empty() {
            self.at_sealed.get_or_insert_with(|| self.hasher.finalize());
            self.hasher.update(behind);
        }
    }
}

impl<R: Read> Read for Measuring<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        if let Some(sealed) = self.sealed {
            self.hash(&buffer[..count], sealed);
        }
        self.bytes += count as u64;
        Ok(count)
    }
}

/// The hash of a whole file, wherever its descriptor stands.
pub fn hash_of(mut file: &File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    Ok(blake3::Hasher::new().update_reader(file)?.finalize().to_hex().to_string())
}

/// All seals, and how many files have one.
pub struct Seals<'a> {
    manifest: &'a Manifest,
    /// The number of the last seal.
    last: u64,
    /// A daemon may be about to seal what is not.
    daemon: OnceCell<bool>,
    listing: &'a Listing,
    failed: BTreeSet<u64>,
    by_hash: OnceCell<HashMap<&'a str, &'a Seal>>,
    sealed: u64,
    unsealed: u64,
}

impl<'a> Seals<'a> {
    pub fn new(listing: &'a Listing, manifest: &'a Manifest) -> Self {
        let failed = listing.failed.iter().filter_map(|entry| Some(entry.name()?.sequence));
        Self {
            manifest,
            last: manifest.seals.keys().last().copied().unwrap_or(0),
            daemon: OnceCell::new(),
            listing,
            failed: failed.chain(manifest.failed.keys().copied()).collect(),
            by_hash: OnceCell::new(),
            sealed: 0,
            unsealed: 0,
        }
    }

    /// How many files have a seal, and how many should.
    pub fn counts(&self) -> (u64, u64) {
        (self.sealed, self.unsealed)
    }

    /// The seal of a file; what is to be said if there is none. `is_last`: it need not have one.
    pub fn of(
        &mut self,
        segment: &Segment,
        is_last: bool,
        report: &mut Report<'_, impl Write>,
    ) -> io::Result<Option<&'a Seal>> {
        let (sequence, place) = (segment.name.sequence, Place::file(&segment.file));
        let seal = self.manifest.seal(&segment.name);
        if seal.is_some() {
            self.sealed += 1;
            return Ok(seal);
        }
        if let Some(other) = self.manifest.seals.get(&sequence) {
            let name = &other.segment;
            report.problem(Kind::Seal, place, format_args!("the file that was sealed with its number is {name}"))?;
        }
        let is_below = sequence < self.last;
        let is_covered = self.manifest.was_pruned(sequence) || segment.length == 0;
        if (is_last && !is_below) || is_covered {
            return Ok(None);
        }
        self.unsealed += 1;
        let daemon = || *self.daemon.get_or_init(|| daemon_holds(self.listing));
        if is_below && !self.failed.contains(&sequence) && !daemon() {
            let what =
                format_args!("not sealed, though later ones are: a foreign file, or one that the archiver passed over");
            report.problem(Kind::Unsealed, place, what)?;
        } else if self.manifest.lines > 0 {
            report.note(Some(place), format_args!("not sealed yet"))?;
        }
        Ok(None)
    }

    /// Whether files between these numbers are away for a reason that is known, so that connections' numbers may jump.
    pub fn explained(&self, before: u64, after: u64) -> bool {
        let Some(first) = before.checked_add(1).filter(|first| *first < after) else { return false };
        let known = |number: &u64| self.manifest.was_pruned(*number) || self.manifest.gone.contains(number);
        known(&first)
            || self.manifest.pruned.range(first..after).next().is_some()
            || self.manifest.gone.range(first..after).next().is_some()
            || self.manifest.seals.range(first..after).next().is_some()
    }

    /// Holds a file's content against its seal.
    pub fn judge(
        &self,
        report: &mut Report<'_, impl Write>,
        file: &str,
        seal: &Seal,
        measured: &Measured,
        seen: &Seen,
    ) -> io::Result<()> {
        let place = Place::file(file);
        if measured.hash == seal.blake3 && measured.bytes == seal.bytes {
            return judge_counts(report, place, seal, seen);
        }
        if seen.error.is_some() {
            // Already told; how far it was right is not known.
            return Ok(());
        }
        let (bytes, sealed) = (measured.bytes, seal.bytes);
        let place = seen.first_bad.map_or(place, |(line, byte)| Place::line(file, line, byte));
        if let Some(other) = self.by_hash().get(&*measured.hash).filter(|other| other.segment != seal.segment) {
            let name = &other.segment;
            let what =
                format_args!("its content is that of {name}: they were swapped, or one was copied over the other");
            return report.problem(Kind::Seal, Place::file(file), what);
        }
        if bytes < sealed {
            let what = format_args!(
                "{sealed} bytes were sealed, {bytes} are there: bytes {bytes}-{} are missing, or as many elsewhere",
                sealed - 1
            );
            return report.problem(Kind::Seal, place.to(sealed - 1), what);
        }
        if bytes > sealed {
            let intact = measured.at_sealed.as_ref() == Some(&seal.blake3);
            let before = if intact { "what is before is as it was sealed" } else { "what is before was changed, too" };
            let what = format_args!(
                "{sealed} bytes were sealed, {bytes} are there: bytes {sealed}-{} are too many; {before}",
                bytes - 1
            );
            let place = if intact { Place::file(file) } else { place };
            return report.problem(Kind::Seal, place.to(bytes - 1), what);
        }
        let (was, is) = (&seal.blake3, &measured.hash);
        match seen.first_bad {
            Some(_) => report.problem(
                Kind::Seal,
                place,
                format_args!(
                    "content is not what was sealed (BLAKE3 {was}, now {is}): here is what is seen of it first"
                ),
            ),
            None => report.problem(
                Kind::Seal,
                place.to(bytes.saturating_sub(1)),
                format_args!(
                    "content is not what was sealed (BLAKE3 {was}, now {is}): some byte between 0 and {} was changed",
                    bytes.saturating_sub(1)
                ),
            ),
        }
    }

    fn by_hash(&self) -> &HashMap<&'a str, &'a Seal> {
        self.by_hash.get_or_init(|| self.manifest.seals.values().map(|seal| (&*seal.blake3, seal)).collect())
    }
}

/// The content is the very one: then all else that its seal says should be true.
fn judge_counts(report: &mut Report<'_, impl Write>, place: Place<'_>, seal: &Seal, seen: &Seen) -> io::Result<()> {
    if seen.lines != seal.records {
        let what = format_args!("{} records were sealed, its lines are {}", seal.records, seen.lines);
        report.problem(Kind::Seal, place, what)?;
    }
    // Where a line is no record, what its time was is not known.
    if seen.first_bad.is_some() {
        return Ok(());
    }
    let times = [
        ("lowest", &seal.lowest, seen.times.map(|times| times.0)),
        ("highest", &seal.highest, seen.times.map(|times| times.1)),
    ];
    for (which, sealed, is) in times {
        let is = is.as_ref().map(|time| String::from_utf8_lossy(time));
        if sealed.as_deref() != is.as_deref() {
            let none = "none";
            let (sealed, is) = (sealed.as_deref().unwrap_or(none), is.as_deref().unwrap_or(none));
            report.problem(
                Kind::Seal,
                place,
                format_args!("{sealed} was sealed as its {which} time, which is {is}"),
            )?;
        }
    }
    Ok(())
}
