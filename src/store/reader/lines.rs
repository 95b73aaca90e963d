//! Whole lines of a file in large pieces, with offset and line number, however the reads fall.
//!
//! Bounded: a line longer than any record is passed over, and told. Every byte is read and searched once.
use std::io::{self, Read};

use crate::config::Format;
use crate::store::record;

/// No record is longer: the largest message that can be configured (16 MiB), in the longest form.
pub const LINE_LIMIT: usize = record::max_len(Format::Jsonl, 16 << 20);

/// The same of a small file: a large buffer for each of many would cost more than its bytes.
const SMALL: usize = 1 << 16;
/// What is read at once: it stays in a core's cache until it has been looked at.
const READ: usize = 256 << 10;

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

    /// Reads `source`, whose first byte is at `offset` in the file, and the beginning of a line; that one is counted as the first.
    /// About `length` bytes are expected.
    pub fn starting_at(source: R, offset: u64, length: u64) -> Self {
        let first = usize::try_from(length).unwrap_or(READ).clamp(SMALL, READ);
        Self { offset, ..Self::with_sizes(source, first, LINE_LIMIT) }
    }

    /// Where the bytes begin that have not been handed out.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Forgets what is behind the last LF: the source goes on at [`offset`](Self::offset), to be read again.
    pub fn forget_unfinished(&mut self) -> &mut R {
        (self.start, self.whole, self.end, self.passed) = (0, 0, 0, 0);
        &mut self.source
    }

    /// What is being read.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// What is being read, to change where it ends.
    pub fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    /// With a buffer of `first` bytes, which grows to `limit`, the longest line.
    pub(crate) fn with_sizes(source: R, first: usize, limit: usize) -> Self {
        Self { source, limit, buffer: vec![0; first], start: 0, whole: 0, end: 0, offset: 0, number: 1, passed: 0 }
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
        Ok(Some(Piece::Lines { offset, number, bytes }))
    }

    /// At the end of the file: what is behind the last LF.
    pub fn unfinished(&self) -> Option<Unfinished> {
        let length = self.passed + (self.end - self.start) as u64;
        (length > 0).then_some(Unfinished { offset: self.offset, number: self.number, length })
    }

    /// Reads once, behind what there is, and looks for whole lines in it; false at the end of the file.
    fn read(&mut self) -> io::Result<bool> {
        self.make_room();
        let room = (self.buffer.len() - self.end).min(READ);
        let count = loop {
            match self.source.read(&mut self.buffer[self.end..self.end + room]) {
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
            self.buffer.resize((self.buffer.len() * 2).min(self.limit), 0);
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
        Piece::TooLong { offset, number, length }
    }
}

#[cfg(test)]
mod tests;
