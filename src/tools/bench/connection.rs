//! One connection: what it has sent and heard of its stream.
//!
//! Promise: every byte that comes is compared with the one that was sent in its place, and nothing is sent beyond the window.
use std::collections::VecDeque;
use std::fmt;

use super::message::Block;

use crate::sys::would_block;
use crate::tools::carrier::Carrier;

/// One read, in bytes.
pub const READ: usize = 128 << 10;
/// So many bytes of each side of a difference are shown.
const SHOWN: usize = 24;

/// Why an echostored may end a connection.
const REASONS: &str = "; its log may say why (server.max-message-size, limits, a full disk, another framing)";

/// Messages whose first byte was sent at one time.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// The number behind the last of them.
    end: u64,
    /// In nanoseconds of the run.
    at: u64,
}

/// Whole messages that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echoed {
    /// How many.
    pub count: u64,
    /// How long they took, in nanoseconds.
    pub took: u64,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more to do at once.
    More,
    /// The kernel will tell.
    Wait,
    /// The server has closed it, with nothing due.
    Closed,
}

/// Why a connection is no good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another byte came.
    Differs {
        /// The message it is in, from 0.
        message: u64,
        /// The byte in that.
        byte: u64,
        /// From there on.
        expected: Vec<u8>,
        /// From there on.
        received: Vec<u8>,
    },
    /// Bytes came that were not sent.
    Foreign(Vec<u8>),
    /// The server closed it: so many bytes are due.
    Closed(u64),
    /// It broke.
    Broken(String),
    /// Nothing came for too long: so many bytes are due, and so many wait to be sent.
    Silent(u64),
}

/// The connection.
#[derive(Debug)]
pub struct Connection {
    /// From 0.
    pub number: u64,
    stream: Carrier,
    size: u64,
    in_flight: u64,
    /// Bytes of the stream.
    sent: u64,
    heard: u64,
    /// No byte beyond is sent.
    limit: u64,
    begun: u64,
    times: VecDeque<Sent>,
    /// Messages before this one are not measured.
    pub unmeasured: u64,
    /// The server has closed its side.
    pub is_closed: bool,
    /// When it last heard something, or had nothing to hear.
    pub progress: u64,
}

impl Connection {
    /// One that has sent nothing, and has no limit.
    pub fn new(number: u64, stream: Carrier, size: u64, in_flight: u64) -> Self {
        let times = VecDeque::new();
        Self {
            number,
            stream,
            size,
            in_flight,
            sent: 0,
            heard: 0,
            limit: u64::MAX,
            begun: 0,
            times,
            unmeasured: 0,
            is_closed: false,
            progress: 0,
        }
    }

    /// For the poller, and for messages.
    pub fn stream(&self) -> &Carrier {
        &self.stream
    }

    /// Whole messages echoed.
    pub fn echoed(&self) -> u64 {
        self.heard / self.size
    }

    /// Messages of which at least a byte was sent.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Begins at most so many messages more, and ends those that are begun.
    pub fn limit(&mut self, more: u64) {
        self.limit = (self.begun.saturating_add(more)).saturating_mul(self.size);
    }

    /// Whether all is sent and echoed.
    pub fn is_done(&self) -> bool {
        self.heard == self.limit
    }

    /// Whether something sent is not echoed.
    pub fn is_due(&self) -> bool {
        self.heard < self.sent
    }

    /// Bytes sent and not echoed.
    pub fn due(&self) -> u64 {
        self.sent - self.heard
    }

    /// Where in its stream it stands: bytes heard.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        // A fault here shows in the next read.
        let _ = self.stream.finish();
    }

    /// Reads once and compares, at most [`READ`] bytes.
    ///
    /// # Errors
    /// What came is not what was sent, or nothing will come.
    pub fn receive(&mut self, input: &mut Vec<u8>, block: &mut Block, ending: bool) -> Result<Next, Fault> {
        input.clear();
        match self.stream.read(input, READ) {
            Ok(0) if self.is_done() => {
                self.is_closed = true;
                Ok(Next::Closed)
            }
            Ok(0) => Err(Fault::Closed(self.due())),
            Ok(count) => {
                self.compare(&input[..count], block)?;
                // A short read has emptied it, unless its end is there.
                Ok(if ending || !self.stream.is_drained(count, READ) { Next::More } else { Next::Wait })
            }
            Err(error) if would_block(&error) => Ok(Next::Wait),
            Err(error) => Err(Fault::Broken(error.to_string())),
        }
    }

    fn compare(&mut self, received: &[u8], block: &mut Block) -> Result<(), Fault> {
        let due = usize::try_from(self.due()).unwrap_or(usize::MAX).min(received.len());
        let (mut rest, foreign) = received.split_at(due);
        while !rest.is_empty() {
            let expected = block.stream(self.number, self.heard, rest.len());
            let (now, later) = rest.split_at(expected.len());
            if now != expected {
                let at = now.iter().zip(expected).take_while(|(came, sent)| came == sent).count();
                let shown = |bytes: &[u8]| bytes[at..].iter().copied().take(SHOWN).collect();
                let (expected, received) = (shown(expected), shown(now));
                self.heard += at as u64;
                let (message, byte) = (self.heard / self.size, self.heard % self.size);
                return Err(Fault::Differs { message, byte, expected, received });
            }
            self.heard += now.len() as u64;
            rest = later;
        }
        if foreign.is_empty() { Ok(()) } else { Err(Fault::Foreign(foreign.iter().copied().take(SHOWN).collect())) }
    }

    /// Takes the messages to be measured that are whole since `before` messages were, and how long they took, group by group.
    pub fn echoes(&mut self, before: u64, now: u64, mut take: impl FnMut(Echoed)) {
        let (mut from, whole) = (before, self.echoed());
        while from < whole
            && let Some(front) = self.times.front().copied()
        {
            let end = front.end.min(whole);
            let count = end.saturating_sub(from.max(self.unmeasured));
            if count > 0 {
                take(Echoed { count, took: now.saturating_sub(front.at) });
            }
            from = end;
            if front.end == end {
                self.times.pop_front();
            }
        }
    }

    /// Sends once, as much as the window and the block have.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send(&mut self, block: &mut Block, now: u64) -> Result<Next, Fault> {
        let window = (self.echoed() + self.in_flight).saturating_mul(self.size);
        let wanted = window.min(self.limit) - self.sent;
        if wanted == 0 {
            return Ok(Next::Wait);
        }
        if !self.is_due() {
            self.progress = now;
        }
        let bytes = block.stream(self.number, self.sent, usize::try_from(wanted).unwrap_or(usize::MAX));
        match self.stream.write(bytes) {
            Ok(count) => {
                let is_all = count == bytes.len();
                self.sent += count as u64;
                let begun = self.sent.div_ceil(self.size);
                if begun > self.begun {
                    self.begun = begun;
                    self.times.push_back(Sent { end: begun, at: now });
                }
                Ok(if is_all && (count as u64) < wanted { Next::More } else { Next::Wait })
            }
            Err(error) if would_block(&error) => Ok(Next::Wait),
            Err(error) => Err(Fault::Broken(error.to_string())),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: &[u8]| format!("\"{}\"", bytes.escape_ascii());
        match self {
            Self::Differs { message, byte, expected, received } => {
                let (expected, received) = (shown(expected), shown(received));
                let message = message + 1;
                write!(f, "byte {byte} of message {message}: expected {expected}, received {received}")
            }
            Self::Foreign(bytes) => write!(f, "received what was not sent: {}", shown(bytes)),
            Self::Closed(due) => write!(f, "the server closed it with {due} bytes to be echoed{REASONS}"),
            Self::Broken(why) => write!(f, "it broke: {why}{REASONS}"),
            Self::Silent(due) => write!(f, "no echo any more; {due} bytes are not echoed"),
        }
    }
}
