//! `cat`: all records of a store, in order, on standard output.
//!
//! - As stored (no format asked for, or a file's own): whole lines are copied, not judged.
//! - `text`, `jsonl`: converted; a line that is no record is reported on standard error and left out, exit code 1.
//! - `raw`: each message's exact bytes and one LF, as in a `raw` file. A message that holds LF itself cannot be told apart
//!   from two afterwards: `jsonl` keeps them apart.
//!
//! Works on a live store and on a copy. The last line of the newest file, as long as it has no LF, is not a record yet and not
//! printed. Places are reported as `FILE:LINE:BYTE`, the line from 1, the byte in the file from 0.
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use crate::config::Format;
use crate::exit;
use crate::store::parse::{Record, parse};
use crate::store::reader::{self, LineReader, Listing, Piece, Segment, Unfinished};
use crate::store::record::{self, Source, Stamp};

/// What is gathered before a write; larger pieces go out as they are.
const OUTPUT: usize = 256 << 10;

/// Prints the records of the store in `directory`, as `format` or as stored; returns the exit code. A reader that goes away
/// (`EPIPE`) ends it well.
pub fn run(directory: &Path, format: Option<Format>) -> u8 {
    // Not `io::stdout()`: its line buffer would cost a second copy.
    let out = match io::stdout().as_fd().try_clone_to_owned() {
        Ok(fd) => BufWriter::with_capacity(OUTPUT, File::from(fd)),
        Err(error) => return failed(&error),
    };
    match copy(directory, format, out, io::stderr().lock()) {
        Ok(code) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => failed(&error),
    }
}

fn failed(error: &io::Error) -> u8 {
    eprintln!("echostored: cannot write to standard output: {error}");
    exit::FAILED
}

/// The same to any output; `complaints` takes what is meant for standard error.
///
/// # Errors
/// `out` cannot be written. What cannot be read is a complaint instead.
pub fn copy(directory: &Path, format: Option<Format>, out: impl Write, complaints: impl Write) -> io::Result<u8> {
    let mut cat = Cat { asked: format, out, complaints, converted: Vec::new(), failed: false };
    let listing = match Listing::new(directory) {
        Ok(listing) => listing,
        Err(error) => {
            cat.complain(format_args!("echostored: {error}"));
            return Ok(exit::STORE);
        }
    };
    let Some(live) = listing.live() else {
        return Ok(exit::OK);
    };
    for (index, segment) in listing.segments.iter().enumerate().take(live + 1) {
        match listing.open(segment) {
            Ok(lines) => cat.file(segment, index == live, lines)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                cat.complain(format_args!("{}: deleted before it was read", segment.file));
            }
            Err(error) => cat.fail(format_args!("{}: cannot open: {error}", segment.file)),
        }
    }
    cat.out.flush()?;
    Ok(if cat.failed { exit::FAILED } else { exit::OK })
}

struct Cat<O, C> {
    asked: Option<Format>,
    out: O,
    complaints: C,
    converted: Vec<u8>,
    failed: bool,
}

impl<O: Write, C: Write> Cat<O, C> {
    fn file(&mut self, segment: &Segment, live: bool, mut lines: LineReader<impl Read>) -> io::Result<()> {
        let file = &segment.file;
        let mut stored = segment.format;
        loop {
            match lines.next_piece() {
                Ok(Some(Piece::Lines { offset, number, bytes })) => {
                    let stored = *stored.get_or_insert_with(|| reader::detect(bytes));
                    match self.asked {
                        Some(asked) if asked == stored && is_plain(bytes, stored) => self.out.write_all(bytes)?,
                        None if is_plain(bytes, stored) => self.out.write_all(bytes)?,
                        None => self.convert(file, (stored, stored), (offset, number), bytes)?,
                        Some(_) if stored == Format::Raw => {
                            self.fail(format_args!(
                                "{file}: is stored as raw, which has no time, peer and number: only --format raw can print it"
                            ));
                            return Ok(());
                        }
                        Some(asked) => self.convert(file, (stored, asked), (offset, number), bytes)?,
                    }
                }
                Ok(Some(Piece::TooLong { offset, number, length })) => self.fail(format_args!(
                    "{file}:{number}:{offset}: a line of {length} bytes, longer than any record; not printed"
                )),
                Ok(None) => break,
                Err(error) => {
                    self.fail(format_args!("{file}: cannot read: {error}"));
                    return Ok(());
                }
            }
        }
        if let Some(Unfinished { offset, number, length }) = lines.unfinished()
            && !live
        {
            let end = offset + length - 1;
            self.fail(format_args!("{file}:{number}:{offset}: torn record, bytes {offset}-{end}; not printed"));
        }
        Ok(())
    }

    fn convert(&mut self, file: &str, (from, to): (Format, Format), place: (u64, u64), lines: &[u8]) -> io::Result<()> {
        let (mut offset, number) = place;
        for (line, number) in lines.split_inclusive(|&byte| byte == b'\n').zip(number..) {
            match parse(from, reader::without_lf(line)) {
                Ok(record) => self.record(to, &record)?,
                Err(bad) => {
                    let at = offset + bad.at as u64;
                    self.fail(format_args!("{file}:{number}:{at}: {bad}; not printed"));
                }
            }
            offset += line.len() as u64;
        }
        Ok(())
    }

    fn record(&mut self, format: Format, record: &Record<'_>) -> io::Result<()> {
        if format == Format::Raw {
            self.out.write_all(&record.message)?;
            return self.out.write_all(b"\n");
        }
        let stamp = Stamp::parse(record.time.as_bytes()).expect("the parser accepts valid times only");
        let source = Source::new(format, record.peer, record.connection);
        self.converted.clear();
        record::append(&mut self.converted, format, &stamp, &source, record.n, &record.message);
        self.out.write_all(&self.converted)
    }

    fn complain(&mut self, what: fmt::Arguments<'_>) {
        // Standard error may be closed; the exit code still tells.
        let _ = writeln!(self.complaints, "{what}");
    }

    fn fail(&mut self, what: fmt::Arguments<'_>) {
        self.failed = true;
        self.complain(what);
    }
}

/// Whether whole lines can be printed as they are: `raw` is the exact bytes by definition; in the other formats printable
/// ASCII cannot attack a terminal, and anything else is printed only as the record that it must be.
fn is_plain(lines: &[u8], format: Format) -> bool {
    format == Format::Raw || lines.iter().all(|&byte| matches!(byte, b' '..=b'~' | b'\n'))
}

#[cfg(test)]
mod tests;
