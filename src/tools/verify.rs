//! `verify`: whether a store is whole, record by record.
//!
//! Checked: names; sequence numbers without gap or repeat from the lowest file to the highest; every record's grammar; every
//! connection's message numbers without gap or repeat over all files; `current` a hard link to one of them. Each problem
//! stands on one line, `FILE:LINE:BYTE: what` (the line from 1, the byte in the file from 0), the summary on the last.
//! Changes nothing. Memory: one entry for each connection.
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::config::Format;
use crate::exit;
use crate::store::parse::{Record, parse};
use crate::store::reader::{self, LineReader, Listing, Piece, Unfinished};
use crate::sys::file::try_lock_shared;

/// More problems than this are counted, not printed.
const PRINTED: u64 = 100;

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
    let mut report = Report { out, problems: 0 };
    check_names(listing, &mut report)?;
    let mut verify = Verify {
        report,
        summary: Summary {
            files: listing.segments.len() as u64,
            ..Summary::default()
        },
        last: HashMap::new(),
        from_first: listing
            .segments
            .first()
            .is_some_and(|segment| segment.name.sequence == 1),
        raw: 0,
        first_raw: None,
        others: 0,
    };
    if let Some(live) = listing.live() {
        for (index, segment) in listing.segments.iter().enumerate().take(live + 1) {
            match listing.open(segment) {
                Ok(lines) => {
                    let unfinished = verify.file(&segment.file, lines)?;
                    let writing = index == live && unfinished.is_some() && daemon_holds(listing);
                    verify.torn(&segment.file, unfinished, writing)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    verify.pruned(&segment.file)?
                }
                Err(error) => verify
                    .report
                    .problem(format_args!("{}: cannot open: {error}", segment.file))?,
            }
        }
    }
    verify.finish()
}

fn check_names(listing: &Listing, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    for name in &listing.foreign {
        report.problem(format_args!(
            "{name}: not the name of a regular file of records"
        ))?;
    }
    for pair in listing.segments.windows(2) {
        let [before, after] = pair else { continue };
        match after.name.sequence - before.name.sequence {
            0 => report.problem(format_args!(
                "{}: has the same sequence number as {}",
                after.file, before.file
            ))?,
            1 => {}
            2 => report.problem(format_args!(
                "{}: number {} before it is missing",
                after.file,
                after.name.sequence - 1
            ))?,
            _ => {
                let (first, last) = (before.name.sequence + 1, after.name.sequence - 1);
                report.problem(format_args!(
                    "{}: numbers {first} to {last} before it are missing",
                    after.file
                ))?;
            }
        }
    }
    if !listing.current_is_a_segment() {
        report.problem(format_args!(
            "current: not a hard link to a file of records"
        ))?;
    }
    Ok(())
}

/// Whether a daemon holds the store, so that an unfinished line may be one that it is writing.
fn daemon_holds(listing: &Listing) -> bool {
    match listing.open_lock() {
        // Locked exclusively from the start of the daemon to the end of its writer. Given back at once, by the drop.
        Ok(lock) => !try_lock_shared(&lock).unwrap_or(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        // Only its owner may open the lock: who reads as a member of the group cannot know, and must not cry torn.
        Err(_) => true,
    }
}

struct Report<'o, O> {
    out: &'o mut O,
    problems: u64,
}

impl<O: Write> Report<'_, O> {
    fn problem(&mut self, what: fmt::Arguments<'_>) -> io::Result<()> {
        self.problems += 1;
        if self.problems <= PRINTED {
            writeln!(self.out, "{what}")
        } else {
            Ok(())
        }
    }

    fn note(&mut self, what: fmt::Arguments<'_>) -> io::Result<()> {
        writeln!(self.out, "note: {what}")
    }
}

struct Verify<'o, O> {
    report: Report<'o, O>,
    summary: Summary,
    /// The last message number of each connection; 0: not known, any may follow.
    last: HashMap<Box<str>, u64>,
    /// No older file is gone: every connection must begin with its first message.
    from_first: bool,
    /// Files taken as raw, the first of them, and files of the other formats.
    raw: u64,
    first_raw: Option<String>,
    others: u64,
}

impl<O: Write> Verify<'_, O> {
    fn file(
        &mut self,
        file: &str,
        mut lines: LineReader<impl Read>,
    ) -> io::Result<Option<Unfinished>> {
        let mut format = None;
        loop {
            match lines.next_piece() {
                Ok(Some(Piece::Lines {
                    offset,
                    number,
                    bytes,
                })) => {
                    let format = *format.get_or_insert_with(|| reader::detect(bytes));
                    self.lines(file, format, (offset, number), bytes)?;
                }
                Ok(Some(Piece::TooLong {
                    offset,
                    number,
                    length,
                })) => {
                    self.summary.bytes += length;
                    let what = format_args!(
                        "{file}:{number}:{offset}: a line of {length} bytes, longer than any record"
                    );
                    self.report.problem(what)?;
                }
                Ok(None) => break,
                Err(error) => {
                    self.report
                        .problem(format_args!("{file}: cannot read: {error}"))?;
                    break;
                }
            }
        }
        match format {
            Some(Format::Raw) => {
                self.raw += 1;
                self.first_raw.get_or_insert_with(|| file.to_owned());
            }
            Some(_) => self.others += 1,
            None => {}
        }
        Ok(lines.unfinished())
    }

    fn lines(
        &mut self,
        file: &str,
        format: Format,
        place: (u64, u64),
        lines: &[u8],
    ) -> io::Result<()> {
        let (mut offset, number) = place;
        for (line, number) in lines.split_inclusive(|&byte| byte == b'\n').zip(number..) {
            match parse(format, reader::without_lf(line)) {
                Ok(record) => {
                    self.summary.records += 1;
                    if format != Format::Raw {
                        self.in_turn(file, (offset, number), &record)?;
                    }
                }
                Err(bad) => {
                    let at = offset + bad.at as u64;
                    self.report
                        .problem(format_args!("{file}:{number}:{at}: {bad}"))?;
                }
            }
            offset += line.len() as u64;
        }
        self.summary.bytes += lines.len() as u64;
        Ok(())
    }

    /// Whether this is the connection's next message.
    fn in_turn(
        &mut self,
        file: &str,
        (offset, number): (u64, u64),
        record: &Record<'_>,
    ) -> io::Result<()> {
        let Record { connection, n, .. } = *record;
        let Some(last) = self.last.get_mut(connection) else {
            self.last.insert(connection.into(), n);
            if self.from_first && n > 1 {
                let what = format_args!(
                    "{file}:{number}:{offset}: connection {connection} begins with message {n}"
                );
                self.report.problem(what)?;
            }
            return Ok(());
        };
        let before = *last;
        *last = before.max(n);
        if before == 0 || before.checked_add(1) == Some(n) {
            return Ok(());
        }
        let report = &mut self.report;
        if n <= before {
            report.problem(format_args!("{file}:{number}:{offset}: connection {connection}: message {n} comes after message {before}"))
        } else {
            let (first, last) = (before + 1, n - 1);
            report.problem(format_args!("{file}:{number}:{offset}: connection {connection}: messages {first} to {last} are missing"))
        }
    }

    fn torn(
        &mut self,
        file: &str,
        unfinished: Option<Unfinished>,
        writing: bool,
    ) -> io::Result<()> {
        let Some(Unfinished {
            offset,
            number,
            length,
        }) = unfinished
        else {
            return Ok(());
        };
        let end = offset + length - 1;
        self.summary.bytes += length;
        if writing {
            self.report.note(format_args!("{file}:{number}:{offset}: unfinished record, bytes {offset}-{end}: a daemon is at work"))
        } else {
            self.report.problem(format_args!(
                "{file}:{number}:{offset}: torn record, bytes {offset}-{end}"
            ))
        }
    }

    /// A file has gone since the listing, and with it all older ones: whatever comes next may follow.
    fn pruned(&mut self, file: &str) -> io::Result<()> {
        self.from_first = false;
        self.last.values_mut().for_each(|last| *last = 0);
        self.report
            .note(format_args!("{file}: deleted before it was read"))
    }

    fn finish(mut self) -> io::Result<Summary> {
        if let Some(first) = self.first_raw.as_ref().filter(|_| self.others > 0) {
            let raw = self.raw;
            self.report.note(format_args!(
                "{raw} files are taken as raw, others are not; the first: {first}"
            ))?;
        }
        self.summary.connections = self.last.len() as u64;
        self.summary.problems = self.report.problems;
        let Summary {
            files,
            records,
            connections,
            bytes,
            problems,
        } = self.summary;
        let out = self.report.out;
        if problems > PRINTED {
            writeln!(out, "{} more problems", problems - PRINTED)?;
        }
        write!(
            out,
            "{files} files, {records} records, {connections} connections, {bytes} bytes: "
        )?;
        if problems == 0 {
            writeln!(out, "ok")?
        } else {
            writeln!(out, "{problems} problems")?
        }
        out.flush()?;
        Ok(self.summary)
    }
}

#[cfg(test)]
mod tests;
