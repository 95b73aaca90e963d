//! The input, cut into messages. Pure.
//!
//! Promises: the messages depend on the bytes alone, never on how they were read; each byte is looked at once; no more is kept than
//! one message and one read.
use std::ops::Range;

use memchr::{memchr, memchr_iter};

/// The longest message that an echostored can be configured to take, in bytes.
pub const MAX: usize = 16 << 20;

/// A message that is longer than [`MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// What was read and is not yet in the window.
#[derive(Debug)]
pub struct Cutter {
    separator: u8,
    buffer: Vec<u8>,
    head: usize,
    /// From `head` on: so many bytes hold no separator.
    scanned: usize,
    /// The next message, without its separator; it stands in `buffer`.
    next: Option<Range<usize>>,
    ended: bool,
}

impl Cutter {
    /// Cuts at each `separator`.
    pub fn new(separator: u8) -> Self {
        Self { separator, buffer: Vec::new(), head: 0, scanned: 0, next: None, ended: false }
    }

    /// Where to append what is read.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.head > 0 && self.next.is_none() {
            self.buffer.drain(..self.head);
            self.head = 0;
        }
        &mut self.buffer
    }

    /// After the end of the input: a rest without a separator is a message, too.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next message, without its separator; the same one until [`Self::take`] is called.
    ///
    /// # Errors
    /// It is too long. Said again if asked again.
    pub fn peek(&mut self) -> Result<Option<&[u8]>, TooLong> {
        if self.next.is_none() {
            let rest = &self.buffer[self.head..];
            match memchr(self.separator, &rest[self.scanned..]) {
                Some(at) => self.next = Some(self.head..self.head + self.scanned + at),
                None if self.ended && !rest.is_empty() => self.next = Some(self.head..self.buffer.len()),
                None => self.scanned = rest.len(),
            }
        }
        let length = self.next.as_ref().map_or(self.scanned, Range::len);
        if length > MAX {
            return Err(TooLong);
        }
        Ok(self.next.clone().map(|range| &self.buffer[range]))
    }

    /// Drops the message that was peeked at.
    pub fn take(&mut self) {
        if let Some(range) = self.next.take() {
            self.head = (range.end + 1).min(self.buffer.len());
            self.scanned = 0;
        }
    }

    /// How many whole messages are left, and how many bytes of one that is not whole.
    pub fn left(&self) -> (u64, usize) {
        let rest = &self.buffer[self.head..];
        let whole = memchr_iter(self.separator, rest).count() as u64;
        let tail = rest.len() - memchr::memrchr(self.separator, rest).map_or(0, |at| at + 1);
        if self.ended && tail > 0 { (whole + 1, 0) } else { (whole, tail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(cutter: &mut Cutter, found: &mut Vec<Vec<u8>>) {
        while let Some(message) = cutter.peek().unwrap() {
            found.push(message.to_vec());
            cutter.take();
        }
    }

    #[test]
    fn a_line_is_seen_when_it_is_whole_and_a_rest_at_the_end() {
        let mut cutter = Cutter::new(b'\n');
        cutter.buffer().extend_from_slice(b"one\r\n\ntw");
        assert_eq!(cutter.peek(), Ok(Some(&b"one\r"[..])));
        assert_eq!(cutter.left(), (2, 2), "what was peeked at is not taken");
        let mut found = Vec::new();
        drain(&mut cutter, &mut found);
        assert_eq!((found.len(), cutter.left()), (2, (0, 2)));
        cutter.end();
        assert_eq!(cutter.left(), (1, 0));
        drain(&mut cutter, &mut found);
        assert_eq!(found, [&b"one\r"[..], b"", b"tw"]);
        assert_eq!(cutter.peek(), Ok(None));
        assert_eq!(cutter.left(), (0, 0));
    }

    #[test]
    fn what_is_too_long_is_told_while_it_comes() {
        let mut cutter = Cutter::new(0);
        cutter.buffer().resize(MAX, b'x');
        assert_eq!(cutter.peek(), Ok(None));
        cutter.buffer().push(0);
        assert_eq!(cutter.peek().unwrap().map(<[u8]>::len), Some(MAX));
        cutter.take();
        cutter.buffer().resize(MAX + 1, b'x');
        assert_eq!(cutter.peek(), Err(TooLong));
    }

    proptest! {
        #[test]
        fn reads_do_not_matter(bytes in prop::collection::vec(prop::sample::select(b"ab\r\n\0".to_vec()), 0..200), size in 1usize..20) {
            let mut cutter = Cutter::new(b'\n');
            let mut found = Vec::new();
            for part in bytes.chunks(size) {
                cutter.buffer().extend_from_slice(part);
                drain(&mut cutter, &mut found);
            }
            cutter.end();
            drain(&mut cutter, &mut found);
            let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            expected.pop_if(|last| last.is_empty());
            prop_assert_eq!(found, expected);
        }
    }
}
