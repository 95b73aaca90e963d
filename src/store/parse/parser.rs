//! Parsing line after line: what a line has in common with those before it, nearly always, is judged once.
//!
//! Promise: exactly the verdict of [`parse`], whatever came before. What is remembered was accepted by it, and is compared
//! byte by byte; anything else goes its way.
use super::{Malformed, Record, escape, parse};
use crate::config::Format;
use crate::store::record::Stamp;

/// `2026-11-22T08:42:00.`: what is behind it is six digits and `Z` in any valid stamp.
const SECOND: usize = 20;
/// A longer peer with its connection is not remembered.
const KNOWN_MAX: usize = 62;
/// How many of them are, at most; a power of two.
const KNOWN: usize = 1024;
/// No number of so many digits is too large.
const SURE_DIGITS: usize = 19;

/// Parses a file's lines.
#[derive(Debug)]
pub struct Parser {
    format: Format,
    /// Of the last line that was parsed in full.
    second: Option<[u8; SECOND]>,
    known: Box<[Known]>,
}

/// `PEER CONNECTION` as it stands in a line.
#[derive(Clone, Copy, Debug)]
struct Known {
    length: u8,
    peer: u8,
    bytes: [u8; KNOWN_MAX],
}

impl Parser {
    /// For lines of one format.
    pub fn new(format: Format) -> Self {
        let count = if format == Format::Text { KNOWN } else { 0 };
        let nothing = Known { length: 0, peer: 0, bytes: [0; KNOWN_MAX] };
        Self { format, second: None, known: vec![nothing; count].into_boxed_slice() }
    }

    /// Of the lines.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The record that `line` (without its LF) is.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn parse<'a>(&mut self, line: &'a [u8]) -> Result<Record<'a>, Malformed> {
        if self.format != Format::Text {
            return parse(self.format, line);
        }
        if let Some(record) = self.alike(line) {
            return Ok(record);
        }
        let record = parse(self.format, line)?;
        self.remember(&record, line);
        Ok(record)
    }

    /// The record, if its second, its peer and connection are known, and all else is as it should be.
    #[inline]
    fn alike<'a>(&self, line: &'a [u8]) -> Option<Record<'a>> {
        let (time, rest) = line.split_at_checked(Stamp::LEN)?;
        let micros = &time[SECOND..Stamp::LEN - 1];
        let is_known = time[..SECOND] == self.second? && micros.iter().all(u8::is_ascii_digit);
        if !is_known || time[Stamp::LEN - 1] != b'Z' {
            return None;
        }
        let rest = rest.strip_prefix(b" ")?;
        let dash = memchr::memchr(b'-', &rest[..rest.len().min(KNOWN_MAX + 1)])?;
        let source = &rest[..dash];
        let known = self.known.get(slot(source))?;
        // A place that was never filled has length 0, as has what stands before a leading `-`.
        if dash == 0 || known.bytes[..usize::from(known.length)] != *source {
            return None;
        }
        let (n, digits) = number(&rest[dash + 1..])?;
        let message = escape::unescape_text(&rest[dash + 1 + digits + 1..]).ok()?;
        // Once for all three: it is the dearest step of the short ones.
        let fields = std::str::from_utf8(&line[..Stamp::LEN + 1 + dash]).ok()?;
        let (time, source) = (&fields[..Stamp::LEN], &fields[Stamp::LEN + 1..]);
        let (peer, connection) = (&source[..usize::from(known.peer)], &source[usize::from(known.peer) + 1..]);
        Some(Record { time, peer, subject: None, connection, n, message })
    }

    fn remember(&mut self, record: &Record<'_>, line: &[u8]) {
        self.second = line.first_chunk().copied();
        let length = record.peer.len() + 1 + record.connection.len();
        let source = &line[Stamp::LEN + 1..Stamp::LEN + 1 + length];
        let Some(place) = self.known.get_mut(slot(source)).filter(|_| length <= KNOWN_MAX) else { return };
        place.bytes[..length].copy_from_slice(source);
        // Both are at most KNOWN_MAX.
        (place.length, place.peer) = (length as u8, record.peer.len() as u8);
    }
}

/// Where a connection is looked for: its id ends with a counter.
fn slot(source: &[u8]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let tail = source.last_chunk().map_or(0, |tail| u64::from_le_bytes(*tail));
    (tail.wrapping_mul(FACTOR) >> (u64::BITS - KNOWN.trailing_zeros())) as usize
}

/// A number and how many digits it has, if there are not too many and a space is behind them.
#[inline]
fn number(text: &[u8]) -> Option<(u64, usize)> {
    let mut n = 0;
    for (at, &byte) in text.iter().take(SURE_DIGITS + 1).enumerate() {
        match byte {
            b'0' if at == 0 => return None,
            b'0'..=b'9' if at < SURE_DIGITS => n = n * 10 + u64::from(byte - b'0'),
            b' ' if at > 0 => return Some((n, at)),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::{Source, append};
    use proptest::prelude::*;

    fn line(micros: i64, (peer, connection): (&str, &str), n: u64, message: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        let source = Source::new(Format::Text, peer, connection);
        append(&mut line, Format::Text, &Stamp::new(micros), &source, n, message);
        line.pop();
        line
    }

    fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let micros =
            prop_oneof![1_795_336_920_000_000..1_795_336_922_000_000i64, Just(1_795_336_920_999_999i64), any::<i64>(),];
        let source = prop::sample::select(vec![
            ("127.0.0.1:53210", "0001020001"),
            ("127.0.0.1:53210", "0001020002"),
            ("127.0.0.1:53211", "0001020001"),
            ("10.0.0.1:1", "A"),
            ("unix:0", "A"),
            ("unix:17", "B"),
            ("unix:17:1000", "C"),
            ("[fe80:1111:2222:3333:4444:5555:6666:7777%4294967295]:65535", "01JD9Z0Q4X"),
        ]);
        let number =
            prop_oneof![1..20u64, Just(u64::MAX), Just(9_999_999_999_999_999_999), any::<u64>().prop_map(|n| n.max(1))];
        let message = prop_oneof![any::<Vec<u8>>(), "[ -~]{0,80}".prop_map(String::into_bytes)];
        let line = (micros, source, number, message)
            .prop_map(|(micros, source, n, message)| line(micros, source, n, &message));
        prop::collection::vec(line, 1..12)
    }

    fn change(line: &mut Vec<u8>, kind: u8, at: usize, byte: u8) {
        // Mostly in the fields in front of the message.
        let at = (if kind & 8 == 0 { at % 60 } else { at }) % (line.len() + 1);
        match kind % 8 {
            0 => line.insert(at, byte),
            1 => line.truncate(at),
            2 => line.insert(at, b"- 0:\\Z\0."[usize::from(byte % 8)]),
            3 | 4 if at < line.len() => line[at] = byte,
            5 if at < line.len() => drop(line.remove(at)),
            6 | 7 if at < line.len() => line[at] ^= 1 << (byte % 8),
            _ => {}
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn its_verdict_is_that_of_parse(
            mut lines in lines(),
            changes in prop::collection::vec((any::<usize>(), any::<u8>(), any::<usize>(), any::<u8>()), 0..16),
        ) {
            lines.extend(lines.clone());
            let count = lines.len();
            for (which, kind, at, byte) in changes {
                change(&mut lines[which % count], kind, at, byte);
            }
            let mut parser = Parser::new(Format::Text);
            for line in &lines {
                prop_assert_eq!(parser.parse(line), parse(Format::Text, line), "{:?}", String::from_utf8_lossy(line));
            }
        }
    }

    #[test]
    fn what_is_known_is_not_judged_again_and_nothing_is_known_at_first() {
        let known = line(1_795_336_920_000_000, ("127.0.0.1:53210", "0001020001"), 1, b"hello");
        let next = line(1_795_336_920_000_001, ("127.0.0.1:53210", "0001020001"), 2, b"\\");
        let mut parser = Parser::new(Format::Text);
        assert_eq!(parser.alike(&known), None);
        parser.parse(&known).unwrap();
        assert_eq!(parser.alike(&next), parse(Format::Text, &next).ok());
        let zeros = [&[0; SECOND][..], b"000000Z -1 x"].concat();
        assert!(Parser::new(Format::Text).parse(&zeros).is_err());
        let empty = [&known[..Stamp::LEN], b" -1 x"].concat();
        assert!(parser.parse(&empty).is_err());
    }

    #[test]
    fn every_bit_of_a_known_line() {
        let whole =
            line(1_795_336_920_000_000, ("127.0.0.1:53210", "0001020001"), 17, "h\u{e9}llo \\ wor\x07ld".as_bytes());
        let mut parser = Parser::new(Format::Text);
        for bit in 0..whole.len() * 8 {
            parser.parse(&whole).unwrap();
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parser.parse(&changed), parse(Format::Text, &changed), "bit {bit}");
        }
    }
}
