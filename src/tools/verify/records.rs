//! Every record's grammar, and every connection's numbers, file after file.
use std::io::{self, Read, Write};
use std::path::Path;

use super::Summary;
use super::connections::{Connections, Turn};
use super::report::{Kind, Place, Report};
use crate::config::Format;
use crate::store::parse::{Parser, Record};
use crate::store::reader::{self, LineReader, Piece, Unfinished};
use crate::store::record::Stamp;

/// What the records so far have shown.
pub struct Records<'o, O> {
    pub report: Report<'o, O>,
    summary: Summary,
    connections: Connections,
    /// No older file is gone: every connection must begin with its first message.
    from_first: bool,
    /// Files taken as raw, the first of them, and files of the other formats.
    raw: u64,
    first_raw: Option<String>,
    others: u64,
}

/// What one file has shown.
#[derive(Debug, Default)]
pub struct Seen {
    /// What is behind its last LF.
    pub unfinished: Option<Unfinished>,
    /// It could be read so far only.
    pub error: Option<io::Error>,
    /// Its lines.
    pub lines: u64,
    /// The first line, and the byte in the file, where something is wrong.
    pub first_bad: Option<(u64, u64)>,
    /// The lowest and the highest time of a record.
    pub times: Option<([u8; Stamp::LEN], [u8; Stamp::LEN])>,
}

impl Seen {
    fn bad(&mut self, line: u64, byte: u64) {
        self.first_bad.get_or_insert((line, byte));
    }

    #[inline]
    fn time(&mut self, time: &str) {
        let Some(time) = time.as_bytes().first_chunk() else { return };
        match &mut self.times {
            // Nearly always: a worker has one time for all messages of a turn.
            Some((_, highest)) if time == highest => {}
            Some((lowest, highest)) => {
                if time < lowest {
                    *lowest = *time;
                }
                if time > highest {
                    *highest = *time;
                }
            }
            None => self.times = Some((*time, *time)),
        }
    }
}

impl<'o, O: Write> Records<'o, O> {
    /// `from_first`: the store has its first file.
    pub fn new(report: Report<'o, O>, from_first: bool) -> Self {
        let (summary, connections) = (Summary::default(), Connections::new());
        Self { report, summary, connections, from_first, raw: 0, first_raw: None, others: 0 }
    }

    /// Checks one file; files must come in order. `extent`: where it begins in all that is to be done, and its length.
    pub fn file(
        &mut self,
        file: &str,
        extent: (u64, u64),
        format: Option<Format>,
        mut lines: LineReader<impl Read>,
    ) -> io::Result<Seen> {
        let (mut seen, mut parser) = (Seen::default(), None);
        loop {
            match lines.next_piece() {
                Ok(Some(Piece::Lines { offset, number, bytes })) => {
                    let parser =
                        parser.get_or_insert_with(|| Parser::new(format.unwrap_or_else(|| reader::detect(bytes))));
                    self.lines(file, parser, (offset, number), bytes, &mut seen)?;
                    self.report.progress.at(extent.0 + (offset + bytes.len() as u64).min(extent.1));
                }
                Ok(Some(Piece::TooLong { offset, number, length })) => {
                    self.summary.bytes += length;
                    seen.lines += 1;
                    seen.bad(number, offset);
                    let end = offset + length - 1;
                    let what = format_args!(
                        "a line of {length} bytes, longer than any record; bytes {offset}-{end} are no record"
                    );
                    self.report.problem(Kind::Record, Place::line(file, number, offset).to(end), what)?;
                }
                Ok(None) => break,
                Err(error) => {
                    seen.error = Some(error);
                    break;
                }
            }
        }
        match parser.map(|parser| parser.format()).or(format) {
            Some(Format::Raw) => {
                self.raw += 1;
                self.first_raw.get_or_insert_with(|| file.to_owned());
            }
            Some(_) => self.others += 1,
            None => {}
        }
        seen.unfinished = lines.unfinished();
        Ok(seen)
    }

    fn lines(
        &mut self,
        file: &str,
        parser: &mut Parser,
        (first, mut number): (u64, u64),
        lines: &[u8],
        seen: &mut Seen,
    ) -> io::Result<()> {
        let numbered = parser.format() != Format::Raw;
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', lines) {
            let place = (first + start as u64, number);
            match parser.parse(&lines[start..end]) {
                Ok(record) => {
                    self.summary.records += 1;
                    if numbered {
                        seen.time(record.time);
                        self.in_turn(file, place, &record, seen)?;
                    }
                }
                Err(bad) => {
                    let (at, end) = (place.0 + bad.at as u64, first + end as u64);
                    seen.bad(number, at);
                    let what = format_args!("{bad}; bytes {}-{end} are no record", place.0);
                    self.report.problem(Kind::Record, Place::line(file, number, at).to(end), what)?;
                }
            }
            start = end + 1;
            number += 1;
            seen.lines += 1;
        }
        self.summary.bytes += lines.len() as u64;
        Ok(())
    }

    /// Whether this is the connection's next message.
    #[inline]
    fn in_turn(
        &mut self,
        file: &str,
        (offset, number): (u64, u64),
        record: &Record<'_>,
        seen: &mut Seen,
    ) -> io::Result<()> {
        let Record { connection, n, .. } = *record;
        let turn = self.connections.take(connection, n);
        if turn == Turn::Next || (turn == Turn::First && (n == 1 || !self.from_first)) {
            return Ok(());
        }
        seen.bad(number, offset);
        let (place, report) = (Place::line(file, number, offset), &mut self.report);
        match turn {
            Turn::Behind(before) => report.problem(
                Kind::Numbering,
                place,
                format_args!("connection {connection}: message {n} comes after message {before}"),
            ),
            Turn::Ahead(before) => report.problem(
                Kind::Numbering,
                place,
                format_args!("connection {connection}: messages {} to {} are missing", before + 1, n - 1),
            ),
            _ => {
                report.problem(Kind::Numbering, place, format_args!("connection {connection} begins with message {n}"))
            }
        }
    }

    /// Judges an unfinished last line: `writing`, if a daemon may be about to finish it.
    pub fn torn(&mut self, file: &str, unfinished: Option<Unfinished>, writing: bool) -> io::Result<()> {
        let Some(Unfinished { offset, number, length }) = unfinished else {
            return Ok(());
        };
        let end = offset + length - 1;
        self.summary.bytes += length;
        let place = Place::line(file, number, offset).to(end);
        if writing {
            let what = format_args!("unfinished record, bytes {offset}-{end}: a daemon is at work");
            self.report.note(Some(place), what)
        } else {
            self.report.problem(Kind::Torn, place, format_args!("torn record, bytes {offset}-{end}"))
        }
    }

    /// Files are away for a known reason: whatever comes next may follow.
    pub fn forget_numbers(&mut self) {
        self.from_first = false;
        self.connections.forget_numbers();
    }

    /// Prints the summary. `sealed`: how many files have a seal, and how many should.
    pub fn finish(mut self, directory: &Path, files: u64, sealed: (u64, u64)) -> io::Result<Summary> {
        if let Some(first) = self.first_raw.as_ref().filter(|_| self.others > 0) {
            let raw = self.raw;
            let what = format_args!("{raw} files are taken as raw, others are not; the first: {first}");
            self.report.note(None, what)?;
        }
        self.summary.files = files;
        (self.summary.sealed, self.summary.unsealed) = sealed;
        self.summary.connections = self.connections.count();
        self.summary.problems = self.report.problems();
        self.report.finish(directory, &self.summary)?;
        Ok(self.summary)
    }
}
