//! Names, numbers, the manifest as such: what can be told without reading a record.
use std::collections::BTreeMap;
use std::io::{self, Write};

use super::report::{Kind, Place, Report};
use crate::store::manifest::{MANIFEST, Manifest};
use crate::store::names::Form;
use crate::store::reader::Listing;

/// All of it.
pub fn check(listing: &Listing, manifest: &Manifest, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    for name in &listing.foreign {
        report.problem(Kind::Name, Place::file(name), format_args!("not the name of a regular file of records"))?;
    }
    check_numbers(listing, manifest, report)?;
    check_current(listing, report)?;
    check_manifest(listing, manifest, report)?;
    check_harmed(listing, manifest, report)?;
    tell_failed(listing, report)
}

/// The manifest cannot be read.
pub fn unreadable_manifest(report: &mut Report<'_, impl Write>, error: &io::Error) -> io::Result<()> {
    let what = format_args!("cannot read: {error}; no file is held against its seal");
    report.problem(Kind::Manifest, Place::file(MANIFEST), what)
}

/// Whether a daemon holds the store, so that an unfinished line may be one that it is writing.
pub fn daemon_holds(listing: &Listing) -> bool {
    // Where it cannot be known, as in a sandbox without /proc/locks, do not cry torn.
    listing.is_locked().unwrap_or(true)
}

/// What is known of a number.
enum Known<'a> {
    There(&'a str),
    /// Deleted by retention.
    Pruned(&'a str),
    Gone(&'a str),
    Sealed(&'a str, u64),
}

/// Every number that the directory or the manifest names.
fn known<'a>(listing: &'a Listing, manifest: &'a Manifest) -> BTreeMap<u64, Known<'a>> {
    // The later ones count more.
    let sealed = manifest.seals.iter().map(|(number, seal)| (*number, Known::Sealed(&seal.segment, seal.records)));
    let gone = manifest.gone.iter().map(|number| (*number, Known::Gone(manifest.gone_at(*number).unwrap_or("?"))));
    let pruned = manifest.pruned.iter().map(|(number, pruned)| (*number, Known::Pruned(&pruned.segment)));
    let there = listing.segments.iter().map(|segment| (segment.name.sequence, Known::There(&segment.file)));
    sealed.chain(gone).chain(pruned).chain(there).collect()
}

fn check_numbers(listing: &Listing, manifest: &Manifest, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    let known = known(listing, manifest);
    let mut before = Some(manifest.anchor.through).filter(|through| *through > 0);
    for (&number, known) in known.iter() {
        let name = match known {
            Known::There(name) | Known::Pruned(name) | Known::Sealed(name, _) => *name,
            Known::Gone(_) => manifest.seals.get(&number).map_or(MANIFEST, |seal| &seal.segment),
        };
        let missing = before.map_or(0, |before| number.saturating_sub(before).saturating_sub(1));
        match missing {
            0 => {}
            1 => report.problem(
                Kind::Sequence,
                Place::file(name),
                format_args!("number {} before it is missing", number - 1),
            )?,
            _ => report.problem(
                Kind::Sequence,
                Place::file(name),
                format_args!("numbers {} to {} before it are missing", number - missing, number - 1),
            )?,
        }
        tell_number(listing, manifest, report, (number, name, known))?;
        before = before.max(Some(number));
    }
    for pair in listing.segments.windows(2) {
        if let [before, after] = pair
            && before.name.sequence == after.name.sequence
        {
            let what = format_args!("has the same sequence number as {}", before.file);
            report.problem(Kind::Sequence, Place::file(&after.file), what)?;
        }
    }
    Ok(())
}

fn tell_number(
    listing: &Listing,
    manifest: &Manifest,
    report: &mut Report<'_, impl Write>,
    (number, name, known): (u64, &str, &Known<'_>),
) -> io::Result<()> {
    let place = Place::file(name);
    match known {
        Known::Pruned(_) => Ok(()),
        Known::There(_) if manifest.was_pruned(number) => report.note(
            Some(place),
            format_args!("the manifest says that retention deletes it: that is under way, or it was brought back"),
        ),
        Known::There(_) => match manifest.gone_at(number) {
            Some(time) => report.note(
                Some(place),
                format_args!("was not there at {time}, deleted by somebody else; it is there again"),
            ),
            None => Ok(()),
        },
        Known::Gone(_) if number <= manifest.anchor.through => Ok(()),
        Known::Gone(time) => match manifest.seals.get(&number) {
            Some(_) => report.problem(Kind::Gone, place, format_args!("deleted by somebody else, seen at {time}")),
            None => report.problem(
                Kind::Gone,
                place,
                format_args!("number {number} was deleted by somebody else, before it was sealed, seen at {time}"),
            ),
        },
        // Made, or compressed, or deleted, since the directory was read?
        Known::Sealed(_, _) if listing.has(name) => Ok(()),
        Known::Sealed(_, _) if listing.manifest().is_ok_and(|now| now.was_pruned(number)) => Ok(()),
        Known::Sealed(_, records) => report.problem(
            Kind::Missing,
            place,
            format_args!("missing, with {records} records: it was sealed, and not deleted by retention"),
        ),
    }
}

fn check_current(listing: &Listing, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    if listing.current_is_a_segment() {
        return Ok(());
    }
    let place = Place::file("current");
    if daemon_holds(listing) {
        return report.problem(Kind::Current, place, format_args!("not a hard link to a file of records"));
    }
    let what = format_args!("a file of its own, as in a copy; a daemon here would keep it under another name");
    report.note(Some(place), what)
}

fn check_manifest(listing: &Listing, manifest: &Manifest, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    for flaw in &manifest.flaws {
        let place = Place::line(MANIFEST, flaw.line, flaw.offset);
        report.problem(Kind::Manifest, place, format_args!("{}", flaw.what))?;
    }
    let more = manifest.flaw_count - manifest.flaws.len() as u64;
    if more > 0 {
        report.problem(
            Kind::Manifest,
            Place::file(MANIFEST),
            format_args!("{more} more lines are not as they should be"),
        )?;
    }
    for remnant in &manifest.remnants {
        let place = Place::line(MANIFEST, remnant.line, remnant.offset);
        report.note(Some(place), format_args!("half a line, as a power cut leaves it; the chain goes on behind it"))?;
    }
    if manifest.torn > 0 && manifest.flaws.last().is_none_or(|flaw| flaw.line != manifest.lines) {
        let what = format_args!(
            "the last line is not whole: {} bytes, as a power cut leaves them, or as they are being written; a daemon says it again",
            manifest.torn
        );
        report.note(Some(Place { line: Some(manifest.lines), ..Place::file(MANIFEST) }), what)?;
    }
    if manifest.anchor.gone > 0 {
        let (gone, through) = (manifest.anchor.gone, manifest.anchor.through);
        let what = format_args!("{gone} of the files up to number {through} were deleted by somebody else");
        report.note(Some(Place::file(MANIFEST)), what)?;
    }
    let closed = listing.live().unwrap_or(0);
    if manifest.lines == 0 && closed > 0 {
        let what = format_args!(
            "{closed} closed files, and none is sealed: what their grammar and numbers do not show is not seen"
        );
        report.note(None, what)?;
    }
    tell_doubles(listing, report)
}

fn tell_doubles(listing: &Listing, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    for segment in &listing.segments {
        for other in listing.other_forms(segment) {
            let what =
                format_args!("{} is the one that counts; compression is under way, or was interrupted", segment.file);
            report.note(Some(Place::file(&other)), what)?;
        }
    }
    Ok(())
}

/// Files that were not as the writer had left them: what was sealed of one is what was found of it.
fn check_harmed(listing: &Listing, manifest: &Manifest, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    for segment in &listing.segments {
        let (name, seal) = (segment.name.build(), manifest.seal(&segment.name));
        let acknowledged = match seal {
            Some(seal) => seal.acknowledged,
            None => listing.harmed.iter().find(|harm| harm.segment == name).map(|harm| harm.acknowledged),
        };
        // Of one that failed, too, the end is elsewhere; and how long a compressed one is stands in its seal.
        let known = seal.is_some() || segment.form == Form::Plain;
        let moved = segment.cut.is_some() || seal.is_some_and(|seal| seal.good_to.is_some());
        let bytes = seal.map_or(segment.length, |seal| seal.bytes);
        let Some(acknowledged) = acknowledged.filter(|one| *one != bytes && known && !moved) else { continue };
        let place = Place::file(&segment.file).to(acknowledged.max(bytes) - 1);
        if bytes < acknowledged {
            let what = format_args!(
                "somebody else changed it while it was live: {acknowledged} bytes of it had been acknowledged, {bytes} were left: bytes {bytes}-{} are lost, or as many elsewhere",
                acknowledged - 1
            );
            report.problem(Kind::Harmed, place, what)?;
        } else {
            let what = format_args!(
                "somebody else changed it while it was live: {acknowledged} bytes of it had been acknowledged, {bytes} were there: bytes {acknowledged}-{} are none of the daemon's, or as many elsewhere",
                bytes - 1
            );
            report.problem(Kind::Harmed, place, what)?;
        }
    }
    Ok(())
}

/// What the writer has noted of segments that failed: no problem, if what followed was saved.
fn tell_failed(listing: &Listing, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    for entry in &listing.failed {
        let Some(name) = entry.name() else { continue };
        let Some(segment) = listing.segments.iter().find(|segment| segment.name == name) else { continue };
        let (place, file, good_to) = (Some(Place::file(&segment.file)), &segment.file, entry.good_to);
        match entry.moved_to.as_ref().filter(|_| segment.cut.is_some()) {
            Some(target) => report.note(
                place,
                format_args!("a write or sync of it failed; what followed byte {good_to} was saved to {target}"),
            )?,
            None => report.note(
                place,
                format_args!(
                    "a write or sync of it failed; what follows byte {good_to} may not survive a power cut until a daemon saves it"
                ),
            )?,
        }
        for (from, to) in &entry.lost {
            report.note(
                place,
                format_args!(
                    "bytes {from} to {to} could not be saved; as far as they could be read they are in {file}.torn"
                ),
            )?;
        }
    }
    Ok(())
}
