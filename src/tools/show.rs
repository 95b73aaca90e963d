//! How to print records: in which format, with or without colours, always safe for a terminal.
//!
//! - As stored (no format asked for, or a file's own): printable ASCII is copied, not judged; any other line is printed
//!   only as the record that it must be.
//! - `text`, `jsonl`: converted; a line that is no record is reported and left out.
//! - `raw`: each message's exact bytes and one LF, on a terminal, too: it was asked for. A `raw` store that is printed
//!   without being asked is escaped on a terminal.
//!
//! Places are reported as `FILE:LINE:BYTE`, the line from 1, `?` if reading began in the middle of the file; the byte from 0.
use std::fmt;
use std::io::{self, Write};

use super::select::Selection;
use crate::config::Format;
use crate::store::escape;
use crate::store::parse::{Record, parse};
use crate::store::reader::{Unfinished, without_lf};
use crate::store::record::{self, Source, Stamp};

/// What is judged at once.
const BLOCK: usize = 4096;

/// The appearance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// The format that was asked for.
    pub format: Option<Format>,
    /// Colours in `text`.
    pub colour: bool,
    /// It goes to a terminal.
    pub terminal: bool,
}

/// Lines of one file.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a> {
    /// The file's name.
    pub file: &'a str,
    /// Their format.
    pub format: Format,
    /// Where they begin.
    pub offset: u64,
    /// The number of the first, if it is known.
    pub number: Option<u64>,
    /// The lines, whole.
    pub bytes: &'a [u8],
}

/// Prints what is wanted to `out`, and what is wrong to `complaints`.
pub struct Show<O, C> {
    look: Look,
    /// Which records are wanted.
    pub selection: Selection,
    out: O,
    complaints: C,
    scratch: Vec<u8>,
    /// Something could not be printed that should have been.
    pub failed: bool,
}

impl<O: Write, C: Write> Show<O, C> {
    /// Prints in this look.
    pub fn new(look: Look, selection: Selection, out: O, complaints: C) -> Self {
        Self { look, selection, out, complaints, scratch: Vec::new(), failed: false }
    }

    /// Prints whole lines. False: the file cannot be printed in this way, which was said.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn lines(&mut self, lines: &Lines<'_>) -> io::Result<bool> {
        let Lines { file, format, bytes, .. } = *lines;
        let asked = self.look.format.unwrap_or(format);
        if format == Format::Raw && asked != Format::Raw {
            self.fail(format_args!(
                "{file}: is stored as raw, which has no time, peer and number: only --format raw can print it"
            ));
            return Ok(false);
        }
        if format == Format::Raw && self.selection.needs_fields() {
            self.fail(format_args!(
                "{file}: is stored as raw, which has no time and peer: only --grep can select from it"
            ));
            return Ok(false);
        }
        let escaped = format == Format::Raw && self.look.format.is_none() && self.look.terminal;
        let coloured = self.look.colour && asked == Format::Text;
        if !self.selection.is_all() || asked != format || coloured || escaped {
            self.each(lines, asked, escaped)?;
        } else if format == Format::Raw {
            self.out.write_all(bytes)?;
        } else {
            self.copy(lines)?;
        }
        Ok(true)
    }

    /// Copies runs of lines of printable ASCII, and judges each of the others.
    fn copy(&mut self, lines: &Lines<'_>) -> io::Result<()> {
        let bytes = lines.bytes;
        let (mut from, mut number) = (0, lines.number);
        let feeds = |part: &[u8]| memchr::memchr_iter(b'\n', part).count() as u64;
        while let Some(odd) = plain_prefix(&bytes[from..]) {
            let start = memchr::memrchr(b'\n', &bytes[from..from + odd]).map_or(from, |feed| from + feed + 1);
            let end = memchr::memchr(b'\n', &bytes[from + odd..]).map_or(bytes.len(), |feed| from + odd + feed + 1);
            self.out.write_all(&bytes[from..start])?;
            number = number.map(|number| number + feeds(&bytes[from..start]));
            let line = Lines { offset: lines.offset + start as u64, number, bytes: &bytes[start..end], ..*lines };
            self.each(&line, lines.format, false)?;
            number = number.map(|number| number + 1);
            from = end;
        }
        self.out.write_all(&bytes[from..])
    }

    fn each(&mut self, lines: &Lines<'_>, asked: Format, escaped: bool) -> io::Result<()> {
        let Lines { format, mut offset, mut number, .. } = *lines;
        for line in lines.bytes.split_inclusive(|&byte| byte == b'\n') {
            match parse(format, without_lf(line)) {
                Ok(record) if self.selection.wants(&record) => self.record(format, asked, escaped, line, &record)?,
                Ok(_) => {}
                Err(bad) => {
                    let place = Place { file: lines.file, number, at: offset + bad.at as u64 };
                    self.fail(format_args!("{place}: {bad}; not printed"));
                }
            }
            offset += line.len() as u64;
            number = number.map(|number| number + 1);
        }
        Ok(())
    }

    /// Prints one record, which stands in `line` in the format `from`.
    fn record(&mut self, from: Format, to: Format, escaped: bool, line: &[u8], record: &Record<'_>) -> io::Result<()> {
        self.scratch.clear();
        match to {
            Format::Raw if escaped => {
                escape::append_text(&mut self.scratch, &record.message);
                self.scratch.push(b'\n');
            }
            Format::Raw => {
                self.out.write_all(&record.message)?;
                return self.out.write_all(b"\n");
            }
            // A record has one form only: what is one stands in it.
            _ if to == from => self.scratch.extend_from_slice(line),
            _ => {
                let Some(stamp) = Stamp::parse(record.time.as_bytes()) else { return Ok(()) };
                let source = Source::named(to, record.peer, record.subject.as_deref(), record.connection);
                record::append(&mut self.scratch, to, &stamp, &source, record.n, &record.message);
            }
        }
        if self.look.colour && to == Format::Text {
            return self.colour(record.peer.len());
        }
        self.out.write_all(&self.scratch)
    }

    /// Prints the `text` record in `scratch`: time and id dim, the peer cyan.
    fn colour(&mut self, peer: usize) -> io::Result<()> {
        let (time, rest) = self.scratch.split_at(Stamp::LEN);
        let (peer, rest) = rest[1..].split_at(peer);
        let id = memchr::memchr(b' ', &rest[1..]).unwrap_or(rest.len() - 1);
        let (id, message) = rest[1..].split_at(id);
        for part in [&b"\x1b[2m"[..], time, b"\x1b[0m \x1b[36m", peer, b"\x1b[0m \x1b[2m", id, b"\x1b[0m", message] {
            self.out.write_all(part)?;
        }
        Ok(())
    }

    /// A line that no record can be.
    pub fn too_long(&mut self, file: &str, number: Option<u64>, at: u64, length: u64) {
        let place = Place { file, number, at };
        self.fail(format_args!("{place}: a line of {length} bytes, longer than any record; not printed"));
    }

    /// A last line without its end, in a file that does not grow any more.
    pub fn torn(&mut self, file: &str, numbered: bool, Unfinished { offset, number, length }: Unfinished) {
        let place = Place { file, number: numbered.then_some(number), at: offset };
        self.fail(format_args!("{place}: torn record, bytes {offset}-{}; not printed", offset + length - 1));
    }

    /// Hands on everything that was printed.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Says something beside the records.
    pub fn say(&mut self, what: fmt::Arguments<'_>) {
        // Standard error may be closed; the exit code still tells.
        let _ = writeln!(self.complaints, "{what}");
    }

    /// The same of something that was not printed.
    pub fn fail(&mut self, what: fmt::Arguments<'_>) {
        self.failed = true;
        self.say(what);
    }
}

/// Where something is wrong.
struct Place<'a> {
    file: &'a str,
    number: Option<u64>,
    at: u64,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "{}:{number}:{}", self.file, self.at),
            None => write!(f, "{}:?:{}", self.file, self.at),
        }
    }
}

/// The first byte that is neither printable ASCII nor LF; `None`: there is none, so that nothing can attack a terminal.
fn plain_prefix(bytes: &[u8]) -> Option<usize> {
    let plain = |byte: u8| (byte.wrapping_sub(b' ') < 0x5f) | (byte == b'\n');
    let mut at = 0;
    for block in bytes.chunks(BLOCK) {
        // Without an early exit inside it, the compiler makes vector instructions of it.
        if !block.iter().fold(true, |all, &byte| all & plain(byte)) {
            return block.iter().position(|&byte| !plain(byte)).map(|odd| at + odd);
        }
        at += block.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::golden::{numbered, record};

    fn shown(look: Look, format: Format, bytes: &[u8]) -> (Vec<u8>, String) {
        let (mut out, mut complaints) = (Vec::new(), Vec::new());
        let mut show = Show::new(look, Selection::default(), &mut out, &mut complaints);
        show.lines(&Lines { file: "f", format, offset: 100, number: Some(7), bytes }).unwrap();
        (out, String::from_utf8(complaints).unwrap())
    }

    #[test]
    fn the_first_byte_that_is_not_plain() {
        let mut bytes = vec![b'~'; 3 * BLOCK];
        assert_eq!(plain_prefix(&bytes), None);
        for at in [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK - 1] {
            for odd in [0, 0x1b, 0x7f, 0x80, 0xff, b'\t', b'\r'] {
                bytes[at] = odd;
                assert_eq!(plain_prefix(&bytes), Some(at));
            }
            bytes[at] = b'\n';
        }
        assert_eq!(plain_prefix(&bytes), None);
    }

    #[test]
    fn odd_lines_among_plain_ones_are_judged_and_the_others_copied() {
        let odd = record(Format::Text, "A", 2, "gr\u{fc}n".as_bytes());
        let bad = b"\x1b[2J attack\n".to_vec();
        let plain = numbered("A", &[1]);
        let bytes = [&plain[..], &odd, &plain, &bad, b"no record\n", &odd].concat();
        let (out, complaints) = shown(Look::default(), Format::Text, &bytes);
        assert_eq!(out, [&plain[..], &odd, &plain, b"no record\n", &odd].concat());
        let at = 100 + 2 * plain.len() + odd.len();
        assert!(complaints.starts_with(&format!("f:10:{at}: not a time")), "{complaints}");
        assert_eq!(complaints.lines().count(), 1);
    }

    #[test]
    fn colours_stand_around_the_fields() {
        let look = Look { colour: true, ..Look::default() };
        let (out, _) = shown(look, Format::Text, &record(Format::Text, "A", 1, b"a b"));
        let text = "\x1b[2m2026-11-22T08:42:00.123456Z\x1b[0m \x1b[36m127.0.0.1:53210\x1b[0m \x1b[2mA-1\x1b[0m a b\n";
        assert_eq!(String::from_utf8(out).unwrap(), text);
        let (out, _) = shown(look, Format::Jsonl, &record(Format::Jsonl, "A", 1, b"a b"));
        assert_eq!(out, record(Format::Jsonl, "A", 1, b"a b"));
    }

    #[test]
    fn a_raw_store_attacks_no_terminal_unless_asked_to() {
        let look = Look { terminal: true, ..Look::default() };
        assert_eq!(shown(look, Format::Raw, b"\x1b[2J\n").0, b"\\x1b[2J\n");
        assert_eq!(shown(Look { format: Some(Format::Raw), ..look }, Format::Raw, b"\x1b[2J\n").0, b"\x1b[2J\n");
        assert_eq!(shown(Look::default(), Format::Raw, b"\x1b[2J\n").0, b"\x1b[2J\n");
    }
}
