//! Every record's grammar, and every connection's numbers, file after file.
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};

use super::Summary;
use crate::config::Format;
use crate::store::parse::{Record, parse};
use crate::store::reader::{self, LineReader, Piece, Unfinished};

/// More problems than this are counted, not printed.
const PRINTED: u64 = 100;

/// Where problems go.
pub struct Report<'o, O> {
    out: &'o mut O,
    problems: u64,
}

impl<'o, O: Write> Report<'o, O> {
    pub fn new(out: &'o mut O) -> Self {
        Self { out, problems: 0 }
    }

    pub fn problem(&mut self, what: fmt::Arguments<'_>) -> io::Result<()> {
        self.problems += 1;
        if self.problems <= PRINTED { writeln!(self.out, "{what}") } else { Ok(()) }
    }

    pub fn note(&mut self, what: fmt::Arguments<'_>) -> io::Result<()> {
        writeln!(self.out, "note: {what}")
    }
}

/// What the records so far have shown.
pub struct Records<'o, O> {
    pub report: Report<'o, O>,
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

impl<'o, O: Write> Records<'o, O> {
    /// `from_first`: the store has its first file.
    pub fn new(report: Report<'o, O>, from_first: bool) -> Self {
        let (summary, last) = (Summary::default(), HashMap::new());
        Self { report, summary, last, from_first, raw: 0, first_raw: None, others: 0 }
    }

    /// Checks one file; files must come in order. Returns what is behind its last LF, for [`torn`](Self::torn).
    pub fn file(
        &mut self,
        file: &str,
        format: Option<Format>,
        mut lines: LineReader<impl Read>,
    ) -> io::Result<Option<Unfinished>> {
        let mut format = format;
        loop {
            match lines.next_piece() {
                Ok(Some(Piece::Lines { offset, number, bytes })) => {
                    let format = *format.get_or_insert_with(|| reader::detect(bytes));
                    self.lines(file, format, (offset, number), bytes)?;
                }
                Ok(Some(Piece::TooLong { offset, number, length })) => {
                    self.summary.bytes += length;
                    let end = offset + length - 1;
                    let what = format_args!(
                        "{file}:{number}:{offset}: a line of {length} bytes, longer than any record; bytes {offset}-{end} are no record"
                    );
                    self.report.problem(what)?;
                }
                Ok(None) => break,
                Err(error) => {
                    self.report.problem(format_args!("{file}: cannot read: {error}"))?;
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

    fn lines(&mut self, file: &str, format: Format, place: (u64, u64), lines: &[u8]) -> io::Result<()> {
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
                    let (at, end) = (offset + bad.at as u64, offset + line.len() as u64 - 1);
                    let what = format_args!("{file}:{number}:{at}: {bad}; bytes {offset}-{end} are no record");
                    self.report.problem(what)?;
                }
            }
            offset += line.len() as u64;
        }
        self.summary.bytes += lines.len() as u64;
        Ok(())
    }

    /// Whether this is the connection's next message.
    fn in_turn(&mut self, file: &str, (offset, number): (u64, u64), record: &Record<'_>) -> io::Result<()> {
        let Record { connection, n, .. } = *record;
        let Some(last) = self.last.get_mut(connection) else {
            self.last.insert(connection.into(), n);
            if self.from_first && n > 1 {
                let what = format_args!("{file}:{number}:{offset}: connection {connection} begins with message {n}");
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
            report.problem(format_args!(
                "{file}:{number}:{offset}: connection {connection}: message {n} comes after message {before}"
            ))
        } else {
            let (first, last) = (before + 1, n - 1);
            report.problem(format_args!(
                "{file}:{number}:{offset}: connection {connection}: messages {first} to {last} are missing"
            ))
        }
    }

    /// Judges an unfinished last line: `writing`, if a daemon may be about to finish it.
    pub fn torn(&mut self, file: &str, unfinished: Option<Unfinished>, writing: bool) -> io::Result<()> {
        let Some(Unfinished { offset, number, length }) = unfinished else {
            return Ok(());
        };
        let end = offset + length - 1;
        self.summary.bytes += length;
        if writing {
            self.report.note(format_args!(
                "{file}:{number}:{offset}: unfinished record, bytes {offset}-{end}: a daemon is at work"
            ))
        } else {
            self.report.problem(format_args!("{file}:{number}:{offset}: torn record, bytes {offset}-{end}"))
        }
    }

    /// A file has gone since the listing, and with it all older ones: whatever comes next may follow.
    pub fn pruned(&mut self, file: &str) -> io::Result<()> {
        self.from_first = false;
        self.last.values_mut().for_each(|last| *last = 0);
        self.report.note(format_args!("{file}: deleted before it was read"))
    }

    /// Prints the summary.
    pub fn finish(mut self, files: u64) -> io::Result<Summary> {
        if let Some(first) = self.first_raw.as_ref().filter(|_| self.others > 0) {
            let raw = self.raw;
            self.report.note(format_args!("{raw} files are taken as raw, others are not; the first: {first}"))?;
        }
        self.summary.files = files;
        self.summary.connections = self.last.len() as u64;
        self.summary.problems = self.report.problems;
        let Summary { files, records, connections, bytes, problems } = self.summary;
        let out = self.report.out;
        if problems > PRINTED {
            writeln!(out, "{} more problems", problems - PRINTED)?;
        }
        write!(out, "{files} files, {records} records, {connections} connections, {bytes} bytes: ")?;
        if problems == 0 {
            writeln!(out, "ok")?
        } else {
            writeln!(out, "{problems} problems")?
        }
        out.flush()?;
        Ok(self.summary)
    }
}
