//! Whole lines of a file in large pieces, with offset and line number, however the reads fall.
//!
//! Bounded: a line longer than any record is passed over, and told. Every byte is read and searched once.
use std::io::{self, Read};

use crate::config::Format;
use crate::store::record;

/// No record is longer: the largest message that can be configured (16 MiB), in the longest form.
pub const LINE_LIMIT: usize = record::max_len(Format::Jsonl, 16 << 20);

/// What is read at once.
const READ: usize = 1 << 20;

/// Something that was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// One or more whole lines, each with its LF.
    Lines {
        /// Where they begin in the file, from 0.
        offset: u64,
        /// The number of the first, from 1.
        number: u64,
        /// The lines.
        bytes: &'a [u8],
    },
    /// One whole line that is too long to be a record.
    TooLong {
        /// Where it begins in the file, from 0.
        offset: u64,
        /// Its number, from 1.
        number: u64,
        /// Its length with its LF.
        length: u64,
    },
}

/// Bytes behind the last LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Where they begin in the file, from 0.
    pub offset: u64,
    /// The number of that line, from 1.
    pub number: u64,
    /// How many they are, at least 1.
    pub length: u64,
}

/// Reads a file's lines.
#[derive(Debug)]
pub struct LineReader<R> {
    source: R,
    limit: usize,
    buffer: Vec<u8>,
    /// In `buffer`: what has not been handed out, up to `whole` as whole lines, up to `end` all that was read.
    start: usize,
    whole: usize,
    end: usize,
    /// Of `start` in the file, or of the line that is being passed over.
    offset: u64,
    number: u64,
    /// How many bytes of a too long line were passed over.
    passed: u64,
}

impl<R: Read> LineReader<R> {
    /// Reads `source` from where it stands, which counts as offset 0.
    pub fn new(source: R) -> Self {
        Self::with_sizes(source, READ, LINE_LIMIT)
    }

    fn with_sizes(source: R, first: usize, limit: usize) -> Self {
        Self {
            source,
            limit,
            buffer: vec![0; first],
            start: 0,
            whole: 0,
            end: 0,
            offset: 0,
            number: 1,
            passed: 0,
        }
    }

    /// The next piece; `None` at the end of the file.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece<'_>>> {
        while self.whole == self.start {
            if !self.read()? {
                return Ok(None);
            }
            if self.passed > 0 && self.whole > self.start {
                return Ok(Some(self.end_of_too_long()));
            }
        }
        let (offset, number) = (self.offset, self.number);
        let bytes = &self.buffer[self.start..self.whole];
        self.offset += bytes.len() as u64;
        self.number += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.start = self.whole;
        Ok(Some(Piece::Lines {
            offset,
            number,
            bytes,
        }))
    }

    /// At the end of the file: what is behind the last LF.
    pub fn unfinished(&self) -> Option<Unfinished> {
        let length = self.passed + (self.end - self.start) as u64;
        (length > 0).then_some(Unfinished {
            offset: self.offset,
            number: self.number,
            length,
        })
    }

    /// Reads once, behind what there is, and looks for whole lines in it; false at the end of the file.
    fn read(&mut self) -> io::Result<bool> {
        self.make_room();
        let room = (self.buffer.len() - self.end).min(READ);
        let count = loop {
            match self
                .source
                .read(&mut self.buffer[self.end..self.end + room])
            {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if let Some(last) = memchr::memrchr(b'\n', &self.buffer[self.end..self.end + count]) {
            self.whole = self.end + last + 1;
        }
        self.end += count;
        Ok(count > 0)
    }

    /// Called when no whole line is left in the buffer.
    fn make_room(&mut self) {
        let full = self.end == self.buffer.len();
        let whole_buffer = full && self.start == 0;
        if self.passed > 0 || (whole_buffer && self.buffer.len() == self.limit) {
            self.passed += (self.end - self.start) as u64;
            (self.start, self.whole, self.end) = (0, 0, 0);
        } else if whole_buffer {
            self.buffer
                .resize((self.buffer.len() * 2).min(self.limit), 0);
        } else if full || self.start == self.end {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            (self.start, self.whole) = (0, 0);
        }
    }

    /// Called when an LF has come after bytes that were passed over.
    fn end_of_too_long(&mut self) -> Piece<'static> {
        let rest = &self.buffer[self.start..self.whole];
        let tail = memchr::memchr(b'\n', rest).map_or(rest.len(), |last| last + 1);
        let (offset, number, length) = (self.offset, self.number, self.passed + tail as u64);
        self.start += tail;
        self.passed = 0;
        self.offset += length;
        self.number += 1;
        Piece::TooLong {
            offset,
            number,
            length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives bytes in reads of given lengths, and an interruption now and then.
    struct Choppy<'a> {
        bytes: &'a [u8],
        lengths: Vec<usize>,
        turn: usize,
    }

    impl Read for Choppy<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.turn += 1;
            let length = self.lengths[self.turn % self.lengths.len()];
            if length == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = length.min(buffer.len()).min(self.bytes.len());
            buffer[..count].copy_from_slice(&self.bytes[..count]);
            self.bytes = &self.bytes[count..];
            Ok(count)
        }
    }

    /// (offset, number, line without LF, or its length if too long)
    type Seen = (u64, u64, Result<Vec<u8>, u64>);

    fn read_all(mut reader: LineReader<impl Read>) -> (Vec<Seen>, Option<Unfinished>) {
        let mut seen = Vec::new();
        while let Some(piece) = reader.next_piece().unwrap() {
            match piece {
                Piece::Lines {
                    mut offset,
                    number,
                    bytes,
                } => {
                    assert_eq!(bytes.last(), Some(&b'\n'));
                    for (line, number) in bytes.split_inclusive(|&byte| byte == b'\n').zip(number..)
                    {
                        seen.push((offset, number, Ok(line[..line.len() - 1].to_vec())));
                        offset += line.len() as u64;
                    }
                }
                Piece::TooLong {
                    offset,
                    number,
                    length,
                } => seen.push((offset, number, Err(length))),
            }
        }
        assert_eq!(reader.next_piece().unwrap(), None);
        (seen, reader.unfinished())
    }

    fn expected(bytes: &[u8], limit: usize) -> (Vec<Seen>, Option<Unfinished>) {
        let (mut seen, mut offset, mut number) = (Vec::new(), 0, 1);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let length = line.len() as u64;
            match line.strip_suffix(b"\n") {
                None => {
                    return (
                        seen,
                        Some(Unfinished {
                            offset,
                            number,
                            length,
                        }),
                    );
                }
                Some(_) if line.len() > limit => seen.push((offset, number, Err(length))),
                Some(line) => seen.push((offset, number, Ok(line.to_vec()))),
            }
            offset += length;
            number += 1;
        }
        (seen, None)
    }

    proptest! {
        #[test]
        fn lines_come_whatever_the_reads(
            lines in prop::collection::vec("[a-z]{0,9}|[a-z]{20,90}", 0..20),
            tail in "[a-z]{0,70}",
            lengths in prop::collection::vec(0..80usize, 1..8),
            first in 1..64usize,
        ) {
            let mut bytes: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
            bytes.extend(tail.bytes());
            let mut lengths = lengths;
            lengths.push(7);
            let source = Choppy { bytes: &bytes, lengths, turn: 0 };
            prop_assert_eq!(read_all(LineReader::with_sizes(source, first, 64)), expected(&bytes, 64));
        }
    }

    #[test]
    fn what_grows_is_read_on() {
        let mut reader = LineReader::with_sizes(io::Cursor::new(b"one\ntw".to_vec()), 64, 64);
        assert!(matches!(
            reader.next_piece().unwrap(),
            Some(Piece::Lines {
                bytes: b"one\n",
                ..
            })
        ));
        assert_eq!(reader.next_piece().unwrap(), None);
        assert_eq!(
            reader.unfinished(),
            Some(Unfinished {
                offset: 4,
                number: 2,
                length: 2
            })
        );
        reader.source.get_mut().extend(b"o\n");
        assert_eq!(
            reader.next_piece().unwrap(),
            Some(Piece::Lines {
                offset: 4,
                number: 2,
                bytes: b"two\n"
            })
        );
        assert_eq!(reader.unfinished(), None);
    }

    #[test]
    fn memory_is_bounded_by_the_limit() {
        let source = io::repeat(b'x').take(10 * READ as u64);
        let mut reader = LineReader::with_sizes(source, 64, 2 * READ);
        assert_eq!(reader.next_piece().unwrap(), None);
        assert_eq!(reader.unfinished().unwrap().length, 10 * READ as u64);
        assert_eq!(reader.buffer.len(), 2 * READ);
    }
}
