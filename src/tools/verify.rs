//! `verify`: whether a store is whole, record by record.
//!
//! Checked: names; sequence numbers without gap or repeat from the lowest file to the highest; every record's grammar; every
//! connection's message numbers without gap or repeat over all files; `current` a hard link to one of them. Each problem
//! stands on one line, `FILE:LINE:BYTE: what` (the line from 1, the byte in the file from 0), bad bytes with their range; the summary on the last.
//! Changes nothing. Memory: one entry for each connection.
use std::io::{self, Write};
use std::path::Path;

use crate::exit;
use crate::store::reader::Listing;

mod records;
use records::{Records, Report};

/// Checks the store in `directory` and prints what is wrong and a summary; returns the exit code: 0, 1 with problems, 74 if it is
/// no store that can be read.
pub fn run(directory: &Path) -> u8 {
    let result = match Listing::new(directory) {
        Ok(listing) => check(&listing, &mut io::BufWriter::new(io::stdout().lock())),
        Err(error) => {
            eprintln!("echostored: {error}");
            return exit::STORE;
        }
    };
    match result {
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files of records.
    pub files: u64,
    /// Well-formed records.
    pub records: u64,
    /// Different connections; 0 in `raw`, which does not say.
    pub connections: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong.
    pub problems: u64,
}

/// The same to any output.
///
/// # Errors
/// `out` cannot be written. What cannot be read is a problem instead.
pub fn check(listing: &Listing, out: &mut impl Write) -> io::Result<Summary> {
    let mut report = Report::new(out);
    check_names(listing, &mut report)?;
    tell_failed(listing, &mut report)?;
    let first = listing.segments.first();
    let from_first = first.is_some_and(|segment| segment.name.sequence == 1);
    let mut records = Records::new(report, from_first);
    if let Some(live) = listing.live() {
        for (index, segment) in listing.segments.iter().enumerate().take(live + 1) {
            match listing.open(segment) {
                Ok(lines) => {
                    let unfinished = records.file(&segment.file, segment.format, lines)?;
                    let writing = index == live && unfinished.is_some() && daemon_holds(listing);
                    records.torn(&segment.file, unfinished, writing)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => records.pruned(&segment.file)?,
                Err(error) => records.report.problem(format_args!("{}: cannot open: {error}", segment.file))?,
            }
        }
    }
    records.finish(listing.segments.len() as u64)
}

fn check_names(listing: &Listing, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    for name in &listing.foreign {
        report.problem(format_args!("{name}: not the name of a regular file of records"))?;
    }
    for pair in listing.segments.windows(2) {
        let [before, after] = pair else { continue };
        match after.name.sequence - before.name.sequence {
            0 => report.problem(format_args!("{}: has the same sequence number as {}", after.file, before.file))?,
            1 => {}
            2 => report.problem(format_args!(
                "{}: number {} before it is missing",
                after.file,
                after.name.sequence - 1
            ))?,
            _ => {
                let (first, last) = (before.name.sequence + 1, after.name.sequence - 1);
                report.problem(format_args!("{}: numbers {first} to {last} before it are missing", after.file))?;
            }
        }
    }
    if !listing.current_is_a_segment() && !daemon_holds(listing) {
        report.note(format_args!(
            "current: a file of its own, as in a copy; a daemon here would keep it under another name"
        ))?;
    } else if !listing.current_is_a_segment() {
        report.problem(format_args!("current: not a hard link to a file of records"))?;
    }
    Ok(())
}

/// What the manifest says of segments that failed: no problem, if what followed was saved.
fn tell_failed(listing: &Listing, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    for entry in &listing.failed {
        let Some(segment) = listing.segments.iter().find(|segment| segment.file == entry.segment) else { continue };
        let (file, good_to) = (&segment.file, entry.good_to);
        match entry.moved_to.as_ref().filter(|_| segment.cut.is_some()) {
            Some(target) => report.note(format_args!(
                "{file}: a write or sync of it failed; what followed byte {good_to} was saved to {target}"
            ))?,
            None => report.note(format_args!(
                "{file}: a write or sync of it failed; what follows byte {good_to} may not survive a power cut until a daemon saves it"
            ))?,
        }
        for (from, to) in &entry.lost {
            report.note(format_args!(
                "{file}: bytes {from} to {to} could not be saved; as far as they could be read they are in {file}.torn"
            ))?;
        }
    }
    Ok(())
}

/// Whether a daemon holds the store, so that an unfinished line may be one that it is writing.
fn daemon_holds(listing: &Listing) -> bool {
    // Where it cannot be known, as in a sandbox without /proc/locks, do not cry torn.
    listing.is_locked().unwrap_or(true)
}

#[cfg(test)]
mod tests;
