//! Station 2/7, frame: bytes become messages by `server.framing`.
//!
//! Promises: the messages, the bytes they consume and the end depend on the bytes alone, never on how they were split
//! into reads (but for `chunk`, where the read is the message). Each byte is looked at once. Never allocates, never
//! believes a claimed length beyond `max`, never panics on any input.
use std::ops::Range;

use memchr::memchr;

use crate::config::{Framing, OnOversize};

/// RFC 6587 §3.4.1 leaves the number of digits open; ten hold every length that a 32-bit one can.
const MAX_DIGITS: usize = 10;
const PREFIX: usize = 4;

/// What the bytes at hand amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One message: `body` is what to store, the first `consumed` bytes of the input are what to echo and drop.
    Message {
        /// The message without header and terminator.
        body: Range<usize>,
        /// Bytes from the input's beginning, at least 1.
        consumed: usize,
    },
    /// Nothing yet: call again when more bytes have come. Never said by [`Decoder::finish`].
    More,
    /// The message that begins here is longer than `max`, and `on-oversize` is `close`. Said again if asked again.
    Oversize,
    /// The framing is broken here, for this reason. Said again if asked again.
    Malformed(&'static str),
    /// Only from [`Decoder::finish`]: the stream ended inside a frame; the fragment is not to be stored.
    Incomplete,
    /// Only from [`Decoder::finish`]: the stream ended between two messages.
    End,
}

/// An incremental decoder: one per connection, 32 bytes.
#[derive(Clone, Debug)]
pub struct Decoder {
    max: usize,
    /// Delimited framings: so many bytes of the input hold no delimiter.
    scanned: usize,
    /// Counted framings: bytes of the current frame's body that no message has taken yet.
    left: u64,
    /// Counted framings: length of the current frame's header; 0 once a part has consumed it, or before it is whole.
    header: u8,
    framing: Framing,
    on_oversize: OnOversize,
}

impl Decoder {
    /// `max`: the longest body in bytes, at least 1 (0 counts as 1).
    #[must_use]
    pub fn new(framing: Framing, max: usize, on_oversize: OnOversize) -> Self {
        let max = max.clamp(1, u32::MAX as usize);
        Self { max, scanned: 0, left: 0, header: 0, framing, on_oversize }
    }

    /// So many unconsumed bytes always suffice for an answer other than [`Step::More`]: the size of an input buffer.
    #[must_use]
    pub fn enough(&self) -> usize {
        self.max
            + match self.framing {
                Framing::Line => 2,
                Framing::Nul => 1,
                Framing::OctetCounted => MAX_DIGITS + 1,
                Framing::LengthPrefixed => PREFIX,
                Framing::Chunk => 0,
            }
    }

    /// Whether a connection that breaks now, with `rest` not consumed, breaks in mid-message.
    #[must_use]
    pub fn is_mid_message(&self, rest: &[u8]) -> bool {
        !rest.is_empty() || self.header > 0 || self.left > 0
    }

    /// Decodes the next message. `input` is all that was received and not consumed; it begins at the first such byte,
    /// and between two calls it may only lose what was consumed at its front and grow at its end.
    /// `chunk`: all of `input`, up to `max`, is one message, so call this after every read.
    pub fn next(&mut self, input: &[u8]) -> Step {
        match self.framing {
            Framing::Line => self.delimited(input, b'\n'),
            Framing::Nul => self.delimited(input, 0),
            Framing::OctetCounted => self.counted(input, octet_count),
            Framing::LengthPrefixed => self.counted(input, length_prefix),
            Framing::Chunk if input.is_empty() => Step::More,
            Framing::Chunk => whole(input.len().min(self.max)),
        }
    }

    /// After EOF: what the rest means. Call until it says something other than [`Step::Message`].
    pub fn finish(&mut self, input: &[u8]) -> Step {
        match (self.next(input), self.framing) {
            (Step::More, _) if !self.is_mid_message(input) => Step::End,
            (Step::More, Framing::OctetCounted | Framing::LengthPrefixed) => Step::Incomplete,
            // A CR that still waited for its LF: now it is content, and one byte too many.
            (Step::More, _) if input.len() > self.max => self.oversize(),
            (Step::More, _) => {
                self.scanned = 0;
                whole(input.len())
            }
            (step, _) => step,
        }
    }

    fn delimited(&mut self, input: &[u8], delimiter: u8) -> Step {
        // A delimiter beyond `max` cannot make a message of at most `max` bytes (CRLF apart, below).
        let window = &input[..input.len().min(self.max + 1)];
        if let Some(at) = find(delimiter, window.get(self.scanned..).unwrap_or_default()) {
            let end = self.scanned + at;
            self.scanned = 0;
            let crlf = self.framing == Framing::Line && end > 0 && input[end - 1] == b'\r';
            return Step::Message { body: 0..end - usize::from(crlf), consumed: end + 1 };
        }
        self.scanned = window.len();
        if window.len() <= self.max {
            return Step::More;
        }
        if self.framing == Framing::Line && input[self.max] == b'\r' {
            match input.get(self.max + 1) {
                None => return Step::More,
                Some(b'\n') => {
                    self.scanned = 0;
                    return Step::Message { body: 0..self.max, consumed: self.max + 2 };
                }
                Some(_) => {}
            }
        }
        self.oversize()
    }

    fn counted(&mut self, input: &[u8], parse: fn(&[u8]) -> Header) -> Step {
        if self.header == 0 && self.left == 0 {
            match parse(input) {
                Header::Whole { header, length } => (self.header, self.left) = (header, length),
                Header::More => return Step::More,
                Header::Malformed(reason) => return Step::Malformed(reason),
            }
        }
        let header = usize::from(self.header);
        let max = self.max as u64;
        // Close decides when the header is whole: a part is never at hand in this mode, so `left` is the claimed length.
        if self.left > max && self.on_oversize == OnOversize::Close {
            return Step::Oversize;
        }
        let part = usize::try_from(self.left.min(max)).unwrap_or(self.max);
        if input.len() < header + part {
            return Step::More;
        }
        self.header = 0;
        self.left -= part as u64;
        Step::Message { body: header..header + part, consumed: header + part }
    }

    /// The bytes at hand hold more than `max` bytes of body, for certain.
    fn oversize(&mut self) -> Step {
        match self.on_oversize {
            OnOversize::Close => Step::Oversize,
            OnOversize::Split => {
                self.scanned = 0;
                whole(self.max)
            }
        }
    }
}

fn whole(length: usize) -> Step {
    Step::Message { body: 0..length, consumed: length }
}

fn find(needle: u8, haystack: &[u8]) -> Option<usize> {
    #[cfg(test)]
    tests::SCANNED.with(|total| total.set(total.get() + haystack.len()));
    memchr(needle, haystack)
}

enum Header {
    Whole { header: u8, length: u64 },
    More,
    Malformed(&'static str),
}

/// RFC 6587 §3.4.1 `MSG-LEN SP`, with `0 ` for an empty message.
fn octet_count(input: &[u8]) -> Header {
    let mut length = 0u64;
    for (digits, &byte) in (0u8..).zip(input.iter().take(MAX_DIGITS + 1)) {
        match byte {
            b' ' if digits > 0 => {
                return Header::Whole { header: digits + 1, length };
            }
            b'0'..=b'9' if usize::from(digits) == MAX_DIGITS => {
                return Header::Malformed("the length has more than 10 digits");
            }
            b'0'..=b'9' if digits > 0 && length == 0 => {
                return Header::Malformed("the length begins with 0");
            }
            b'0'..=b'9' => length = length * 10 + u64::from(byte - b'0'),
            _ if digits == 0 => {
                return Header::Malformed("a frame must begin with its length in decimal digits");
            }
            _ => return Header::Malformed("the length must be followed by one space"),
        }
    }
    Header::More
}

/// A 32-bit big-endian length.
fn length_prefix(input: &[u8]) -> Header {
    match input.first_chunk::<PREFIX>() {
        Some(bytes) => Header::Whole { header: PREFIX as u8, length: u64::from(u32::from_be_bytes(*bytes)) },
        None => Header::More,
    }
}

#[cfg(test)]
mod tests;
