//! One client connection: a state machine over one buffer.
//!
//! The buffer holds the bytes exactly as they came. Four positions in that stream only ever move forward:
//!
//! ```text
//!  … dropped │ echoed ≤ released ≤ decoded ≤ received
//!            └ base (start of the buffer)
//! ```
//! `decoded`: messages up to here are in frames. `released`: their records are safe, so they may be echoed. The echo is
//! thus byte-exact and in order by construction, and no byte of another connection can get into it.
mod echoing;
mod entering;

use super::access::{Ending, Story};
use super::guests::Visit;
use super::pace::Paid;
use super::spare::{KEEP, Spare};
use super::transport::{End, Transport};
use crate::ipc::visitors::Name;
use crate::protocol::framing::{Decoder, Step};
use crate::store::record::Head;
use crate::sys::poll::Event;
use crate::sys::socket::Peer;
use std::io;
use std::ops::Range;

/// The first read of a connection, and the least; reads grow while they fill the room given.
const READ_MIN: usize = 4 << 10;
const READ_MAX: usize = 256 << 10;

/// What the connection is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has still to come in: see [`super::entry`].
    Entering,
    /// Read, decode, echo.
    Open,
    /// The client has sent everything: echo what is due, then close.
    HalfClosed,
    /// Nothing more is taken from the client, for this reason: echo what is due, then close lingering.
    Refusing,
    /// Everything is echoed, `SHUT_WR` is sent: discard input until the client closes too, for a second at most.
    Lingering,
    /// To be dropped.
    Closed,
}

/// Why nothing more is taken from a client, or what was lost with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A message above the limit.
    Oversize,
    /// The framing is broken.
    Malformed(&'static str),
    /// The connection ended within a message.
    Incomplete,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    pub transport: Transport,
    /// The client.
    pub peer: Peer,
    buffer: Vec<u8>,
    /// The stream position of the buffer's first byte.
    base: u64,
    echoed: u64,
    released: u64,
    decoded: u64,
    decoder: Decoder,
    /// Of its next record.
    pub head: Head,
    /// The socket may have bytes for us.
    readable: bool,
    /// A short read does not mean that the socket is empty, see [`Event::ending`].
    ending: bool,
    /// The socket may have room for us.
    writable: bool,
    /// Undecoded bytes are worth a look: they grew, or the outbox was full.
    undecoded: bool,
    /// The daemon stops, or the client was cut off: no more reading.
    stopping: bool,
    /// Cut off, within TLS: what has no end is no message.
    cut: bool,
    /// See [`break_off`](Self::break_off).
    broken: bool,
    read_size: usize,
    /// How many bytes may be held beyond one message, so that there is always something to decode.
    slack: usize,
    phase: Phase,
    /// It stands in a list of those that wait, see [`super::parking`].
    pub parked: bool,
    /// When it must have come in (milliseconds of the worker's clock).
    pub enters_by: u64,
    /// A PROXY header must still come.
    pub proxied: bool,
    /// When a lingering close ends (milliseconds of the worker's clock).
    pub lingers_until: u64,
    /// Its stay, once its address is known to be welcome.
    pub visit: Option<Visit>,
    /// What it has paid for of its address's rate.
    pub paid: Paid,
    /// It waits for its address's rate: no reading, no decoding.
    pub delayed: bool,
    /// It has sent a whole message.
    pub heard: bool,
    /// When its client was last not idle (milliseconds of the worker's clock).
    pub active: u64,
    /// A deadline of it stands in the timers.
    pub timed: bool,
    /// Since when (milliseconds of the worker's clock) the client has not taken what is due.
    pub stalled_since: Option<u64>,
    /// What the access log tells at its end.
    pub story: Story,
}

impl Connection {
    /// A connection that was just accepted, at `now`; it may hold `slack` bytes beyond one message.
    pub fn new(transport: Transport, peer: Peer, decoder: Decoder, slack: usize, now: u64) -> Self {
        Self {
            transport,
            peer,
            buffer: Vec::new(),
            base: 0,
            echoed: 0,
            released: 0,
            decoded: 0,
            decoder,
            head: Head::unknown(),
            readable: true,
            ending: false,
            writable: true,
            undecoded: false,
            stopping: false,
            cut: false,
            broken: false,
            read_size: READ_MIN,
            slack,
            phase: Phase::Open,
            parked: false,
            enters_by: 0,
            proxied: false,
            lingers_until: 0,
            visit: None,
            paid: Paid::default(),
            delayed: false,
            heard: false,
            active: now,
            timed: false,
            stalled_since: None,
            story: Story::new(now),
        }
    }

    /// What it is about to do.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Bytes of memory that its buffer takes.
    pub fn held(&self) -> usize {
        self.buffer.capacity() + self.transport.held()
    }

    /// The socket has news.
    pub fn wake(&mut self, event: &Event) {
        self.readable |= event.input;
        self.writable |= event.output;
        self.ending |= event.ending;
    }

    /// Whether a read may bring something that is wanted.
    pub fn wants_reading(&self) -> bool {
        self.readable && (self.phase == Phase::Lingering || (self.phase == Phase::Open && !self.stopping))
    }

    /// Whether its buffer is within its bound. One that is full drops its echoed bytes first, were they ever so few: at
    /// most once a message, since a whole message fits into what is then left.
    pub fn has_room(&mut self) -> bool {
        let bound = self.decoder.enough() + self.slack;
        if self.buffer.len() >= bound && self.echoed > self.base {
            self.drop_echoed();
        }
        self.buffer.len() < bound
    }

    /// Whether there are bytes to try to decode.
    pub fn wants_decoding(&self) -> bool {
        self.undecoded && matches!(self.phase, Phase::Open | Phase::HalfClosed)
    }

    /// Reads once, at most `most` bytes, if need be into a buffer of `spare`. The bytes read; `Ok(0)`: nothing there now, or the end.
    ///
    /// # Errors
    /// The connection is broken; what was not decoded is lost.
    pub fn read(&mut self, spare: &mut Spare, most: usize) -> io::Result<usize> {
        let limit = self.read_size.min(self.decoder.enough() + self.slack).min(most);
        if self.buffer.capacity() == 0 {
            self.buffer = spare.take(limit);
        }
        let taken = self.transport.read(&mut self.buffer, limit, spare)?;
        match taken.end {
            Some(End::Said) => {
                self.readable = false;
                self.phase = Phase::HalfClosed;
                self.undecoded = true;
            }
            Some(End::Cut) => {
                self.readable = false;
                (self.cut, self.stopping) = (true, true);
                // To be decoded once more: what is left then is lost.
                self.undecoded = true;
            }
            None if taken.bytes == 0 => {
                self.readable = !taken.drained || (self.ending && taken.wire > 0);
                if self.buffer.is_empty() {
                    self.give_back(spare);
                }
            }
            None => {
                if !taken.drained {
                    self.read_size = (limit * 2).min(READ_MAX);
                } else if taken.bytes < limit / 4 {
                    self.read_size = (limit / 2).max(READ_MIN);
                }
                // A socket that is empty wakes us when more comes; unless an end, or urgent data, came with these bytes.
                self.readable = !taken.drained || self.ending;
                self.undecoded = true;
            }
        }
        Ok(taken.wire)
    }

    /// Reads and forgets, in `Lingering`. The end of it is the end of the connection.
    pub fn discard(&mut self, scratch: &mut Vec<u8>) {
        scratch.clear();
        match self.transport.stream().read(scratch, READ_MAX) {
            Ok(0) => self.phase = Phase::Closed,
            Ok(_) => {}
            Err(error) if crate::sys::would_block(&error) => self.readable = false,
            Err(_) => self.phase = Phase::Closed,
        }
    }

    /// The next message, as a range for [`bytes`](Self::bytes), and the position up to which it may be echoed.
    /// `None`: nothing more for now; a notice if that is for good.
    pub fn decode(&mut self) -> Result<(Range<usize>, u64), Option<Notice>> {
        let start = usize::try_from(self.decoded - self.base).unwrap_or(usize::MAX);
        let rest = self.buffer.get(start..).unwrap_or_default();
        let ended = self.phase == Phase::HalfClosed;
        match if ended { self.decoder.finish(rest) } else { self.decoder.next(rest) } {
            Step::Message { body, consumed } => {
                self.decoded += consumed as u64;
                Ok((start + body.start..start + body.end, self.decoded))
            }
            Step::More | Step::End => {
                self.undecoded = false;
                let lost = self.cut && self.is_mid_message();
                if self.stopping && self.phase == Phase::Open {
                    self.refuse(if self.cut { Ending::Cut } else { Ending::Shutdown });
                }
                Err(lost.then_some(Notice::Incomplete))
            }
            Step::Incomplete => {
                self.undecoded = false;
                Err(Some(Notice::Incomplete))
            }
            Step::Oversize => self.stop(Notice::Oversize, Ending::Oversize),
            Step::Malformed(why) => self.stop(Notice::Malformed(why), Ending::Malformed),
        }
    }

    fn stop<T>(&mut self, notice: Notice, why: Ending) -> Result<T, Option<Notice>> {
        self.refuse(why);
        Err(Some(notice))
    }

    /// Appends the record of the message that [`decode`](Self::decode) has just given.
    pub fn append_record(&mut self, out: &mut Vec<u8>, message: Range<usize>) {
        self.head.append(out, &self.buffer[message]);
    }

    /// Whether a break of the connection now loses part of a message.
    pub fn is_mid_message(&self) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        if self.transport.holds_a_part() {
            return true;
        }
        let start = usize::try_from(self.decoded - self.base).unwrap_or(usize::MAX);
        self.decoder.is_mid_message(self.buffer.get(start..).unwrap_or_default())
    }

    /// Takes nothing more from the client, for this reason.
    pub fn refuse(&mut self, why: Ending) {
        self.story.ends(why);
        if matches!(self.phase, Phase::Entering | Phase::Open | Phase::HalfClosed) {
            self.phase = Phase::Refusing;
            self.undecoded = false;
        }
    }

    /// What is decoded and not released was refused: echoes that are due still go out, nothing behind them ever does.
    /// Whether this is news.
    pub fn give_up(&mut self) -> bool {
        let news = self.released < self.decoded;
        self.decoded = self.released;
        self.undecoded = false;
        self.refuse(Ending::Refused);
        news
    }

    /// The daemon stops: whole messages that have arrived are still stored and echoed, then the close lingers.
    pub fn finish_up(&mut self) {
        self.stopping = true;
        self.delayed = false;
        if self.phase == Phase::Entering || (self.phase == Phase::Open && !self.undecoded) {
            self.refuse(Ending::Shutdown);
        }
    }

    /// By what its address's rate goes, if one holds for it: what has arrived when the daemon stops does not wait.
    pub fn paced(&self) -> Option<Name> {
        self.visit.as_ref().filter(|_| !self.stopping).map(|visit| visit.name)
    }

    /// Whether it is we who keep it waiting: for an echo, for memory, for its rate, for the writer.
    pub fn waits_for_us(&self) -> bool {
        self.echoed < self.decoded || self.undecoded || self.parked || self.delayed || self.stopping
    }

    /// All messages up to `position` are safe.
    pub fn release(&mut self, position: u64) {
        if !self.broken {
            self.released = self.released.max(position);
        }
    }

    /// Its transport is broken: nothing can be echoed any more but what that itself has to say.
    pub fn break_off(&mut self) {
        self.broken = true;
        self.undecoded = false;
        (self.released, self.decoded) = (self.echoed, self.echoed);
        self.refuse(Ending::TlsBroken);
    }

    fn is_due(&self) -> bool {
        self.echoed < self.released
    }

    /// Whether echoes are due and the client does not take them.
    pub fn is_stuck(&self) -> bool {
        (self.is_due() || self.transport.is_pending()) && !self.writable
    }

    /// Forgets all bytes; gives a large buffer back, and any if nothing more is there to be read.
    fn give_back(&mut self, spare: &mut Spare) {
        self.base += self.buffer.len() as u64;
        self.buffer.clear();
        if self.buffer.capacity() > KEEP || !self.readable {
            self.give_up_buffer(spare);
        }
    }

    /// Gives its buffer back, whatever is in it.
    pub fn give_up_buffer(&mut self, spare: &mut Spare) {
        spare.give(std::mem::take(&mut self.buffer));
    }

    /// Bytes that have come from the client, and those of them that were echoed.
    pub fn bytes(&self) -> [u64; 2] {
        [self.base + self.buffer.len() as u64, self.echoed]
    }

    /// Ends it without further ado; `None`: the client has.
    pub fn close(&mut self, why: Option<Ending>) {
        why.into_iter().for_each(|why| self.story.ends(why));
        self.phase = Phase::Closed;
    }
}
