//! The messages that were read and not yet echoed. Pure.
//!
//! Promises: they go out in order and are dropped in order, each only when every byte of it has come back on one connection; after
//! [`Window::lost`] all that are left go out again; bounded by a number of messages and of bytes, but a single message always fits.
use std::collections::VecDeque;

use super::options::Framing;
use super::resent::Resent;

/// What came back is not what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Another byte.
    Differs {
        /// The message, from 1.
        line: u64,
        /// The byte in it as it stands on the wire, from 1.
        byte: usize,
        /// What was sent.
        sent: u8,
        /// What came back.
        came: u8,
    },
    /// Bytes that answer nothing; the first of them.
    Unasked(Vec<u8>),
}

/// The messages in flight, and those that are to go out next.
#[derive(Debug)]
pub struct Window {
    framing: Framing,
    most: usize,
    most_bytes: usize,
    /// From `head` on: all messages, as on the wire.
    wire: Vec<u8>,
    head: usize,
    /// Of each message, on the wire.
    lengths: VecDeque<usize>,
    /// The first message's number, from 1.
    first: u64,
    /// From `head` on: sent over this connection.
    sent: usize,
    /// From `head` on: come back over this connection; less than the first message.
    heard: usize,
    /// The first message that this connection carries.
    opened: u64,
    /// The last one that an earlier connection took as a whole: the server may have it.
    doubtful: u64,
    resent: Resent,
}

impl Window {
    /// At most so many messages, and so many bytes of them.
    pub fn new(framing: Framing, most: usize, most_bytes: usize) -> Self {
        Self {
            framing,
            most,
            most_bytes,
            wire: Vec::new(),
            head: 0,
            lengths: VecDeque::new(),
            first: 1,
            sent: 0,
            heard: 0,
            opened: 1,
            doubtful: 0,
            resent: Resent::default(),
        }
    }

    /// Whether a message of this length may come in.
    pub fn fits(&self, length: usize) -> bool {
        self.lengths.is_empty() || (self.lengths.len() < self.most && self.bytes() + length <= self.most_bytes)
    }

    /// Takes in a message, without its terminator.
    pub fn push(&mut self, message: &[u8]) {
        if self.head > self.wire.len() / 2 {
            self.wire.drain(..self.head);
            self.head = 0;
        }
        let before = self.wire.len();
        self.wire.extend_from_slice(&self.framing.header(message.len()));
        self.wire.extend_from_slice(message);
        self.wire.extend_from_slice(self.framing.trailer());
        self.lengths.push_back(self.wire.len() - before);
    }

    /// What is to be sent next.
    pub fn unsent(&self) -> &[u8] {
        &self.wire[self.head + self.sent..]
    }

    /// So many bytes of it were sent.
    pub fn sent(&mut self, count: usize) {
        self.sent += count;
    }

    /// Whether so many more bytes would end with the end of a message.
    pub fn ends_message(&self, count: usize) -> bool {
        // From the end it is not far.
        let unsent = self.bytes() - self.sent - count;
        let mut end = 0;
        for length in self.lengths.iter().rev() {
            if end >= unsent {
                break;
            }
            end += length;
        }
        end == unsent
    }

    /// Whether anything is sent and not echoed.
    pub fn in_flight(&self) -> bool {
        self.sent > 0
    }

    /// Whether the first message is sent as a whole.
    pub fn first_is_sent(&self) -> bool {
        self.lengths.front().is_some_and(|length| self.sent >= *length)
    }

    /// Takes what came back. Whether a whole message was echoed by it.
    ///
    /// # Errors
    /// It is not the echo of what was sent.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<bool, Foreign> {
        let due = &self.wire[self.head + self.heard..self.head + self.sent];
        let common = due.len().min(bytes.len());
        let good = match due[..common] == bytes[..common] {
            true => common,
            false => due.iter().zip(bytes).take_while(|(sent, came)| sent == came).count(),
        };
        let foreign = match bytes.get(good) {
            None => None,
            Some(_) if good == due.len() => Some(Foreign::Unasked(bytes[good..].iter().take(60).copied().collect())),
            Some(came) => Some(self.differs(good, due[good], *came)),
        };
        // What came before it is an echo all the same.
        let echoed = self.drop_echoed(good);
        foreign.map_or(Ok(echoed), Err)
    }

    /// So many bytes more have come back.
    fn drop_echoed(&mut self, count: usize) -> bool {
        self.heard += count;
        let before = self.first;
        while let Some(length) = self.lengths.front().copied().filter(|length| *length <= self.heard) {
            self.lengths.pop_front();
            self.head += length;
            self.heard -= length;
            self.sent -= length;
            self.first += 1;
        }
        self.relax();
        self.first > before
    }

    fn differs(&self, at: usize, sent: u8, came: u8) -> Foreign {
        let (mut line, mut byte) = (self.first, self.heard + at);
        for length in &self.lengths {
            if byte < *length {
                break;
            }
            byte -= length;
            line += 1;
        }
        Foreign::Differs { line, byte: byte + 1, sent, came }
    }

    /// A single long message must not hold memory for ever.
    fn relax(&mut self) {
        if self.lengths.is_empty() {
            self.wire.clear();
            self.head = 0;
            self.wire.shrink_to(self.most_bytes);
        }
    }

    /// The connection is gone: everything goes out again over the next one.
    pub fn lost(&mut self) {
        let mut whole = self.first - 1;
        let mut at = 0;
        for length in &self.lengths {
            let wire = &self.wire[self.head + at..self.head + at + length];
            if self.sent < at + self.framing.storable(wire) {
                break;
            }
            whole += 1;
            at += length;
        }
        self.resent.add(self.opened, whole.min(self.doubtful));
        self.doubtful = self.doubtful.max(whole);
        self.opened = self.first;
        (self.sent, self.heard) = (0, 0);
    }

    /// How many are not echoed.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether everything is echoed.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    fn bytes(&self) -> usize {
        self.wire.len() - self.head
    }

    /// The number of the first message that is not echoed, from 1.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Its length on the wire; 0 if there is none.
    pub fn first_length(&self) -> usize {
        self.lengths.front().copied().unwrap_or(0)
    }

    /// Which messages were sent again, up to the last lost connection.
    pub fn resent(&mut self) -> &mut Resent {
        &mut self.resent
    }
}

#[cfg(test)]
mod tests;
