//! The messages. Pure.
//!
//! A connection's messages are an endless stream of bytes that its number and the run's name determine, so that any part of it is
//! made again to be sent, and again to be compared, and nothing of what is in flight is kept. Each message begins with what no other
//! message has, `RUN-CONNECTION-NUMBER`; one that is shorter has the end of that. What follows is the same in all.
use std::ops::Range;

use crate::tools::send::Framing;

/// The length of `RUN-CONNECTION-NUMBER`.
pub const ID: usize = RUN + 1 + CONNECTION + 1 + NUMBER;
/// The longest framed message.
pub const LONGEST: usize = MAX_BODY + 16;

const RUN: usize = 8;
const CONNECTION: usize = 5;
const NUMBER: usize = 12;
/// The last digits of a number: they change from message to message.
const LOW: usize = 8;
const LOW_END: u64 = 100_000_000;
const MAX_BODY: usize = 16 << 20;
/// So much is made at once, if a message is not longer: it stays in a core's cache.
const BLOCK: usize = 128 << 10;
/// No end of a message, and nothing that a record's format escapes.
const FILLER: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// A run's name: letters and digits.
pub type Run = [u8; RUN];

/// A run's name out of a random word.
pub fn run(mut word: u64) -> Run {
    std::array::from_fn(|_| {
        let letter = FILLER[(word % 36) as usize];
        word /= 36;
        letter
    })
}

/// How a message of a given length is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The framed length.
    pub size: usize,
    header: Vec<u8>,
    trailer: &'static [u8],
}

impl Shape {
    /// The shape of messages of `size` bytes, framed.
    ///
    /// # Errors
    /// There is none with this framing.
    pub fn new(framing: Framing, size: usize) -> Result<Self, String> {
        let trailer = framing.trailer();
        // The header's own length depends on what it counts; all that fit stand close together.
        let fits = |body: usize| framing.header(body).len() + body + trailer.len();
        let Some(most) = size.checked_sub(trailer.len() + framing.header(0).len()) else {
            return Err(format!("a message has at least {} bytes with this framing", fits(0)));
        };
        match (most.saturating_sub(12)..=most).rev().find(|body| fits(*body) <= size) {
            Some(body) if body > MAX_BODY => Err("an echostored takes messages of at most 16 MiB".to_owned()),
            Some(body) if fits(body) == size => Ok(Self { size, header: framing.header(body), trailer }),
            found => {
                let near = found.unwrap_or(0);
                let (below, above) = (fits(near), fits(near + 1));
                Err(format!("no message has {size} bytes with this framing: {below} or {above}"))
            }
        }
    }

    /// Where the message itself stands in the framed one.
    pub fn body(&self) -> Range<usize> {
        self.header.len()..self.size - self.trailer.len()
    }

    /// Whether each message can be told from all others.
    pub fn has_id(&self) -> bool {
        self.body().len() >= ID
    }

    /// The least `size` that has.
    pub fn least_with_id(framing: Framing) -> usize {
        framing.header(ID).len() + ID + framing.trailer().len()
    }
}

/// What a stored message says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    /// The connection, from 0.
    pub connection: u64,
    /// The message on it, from 0.
    pub number: u64,
}

impl Id {
    /// Reads it off a message of this run; `None`: it is of another one, or none of a load at all.
    pub fn of(run: &Run, message: &[u8]) -> Option<Self> {
        let rest = message.strip_prefix(run)?.strip_prefix(b"-")?;
        let (connection, rest) = rest.split_at_checked(CONNECTION)?;
        let number = rest.strip_prefix(b"-")?.get(..NUMBER)?;
        Some(Self { connection: digits(connection)?, number: digits(number)? })
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |n, byte| byte.is_ascii_digit().then(|| n * 10 + u64::from(byte - b'0')))
}

/// Makes messages: a row of them, of which only the ids are written anew.
#[derive(Debug)]
pub struct Block {
    shape: Shape,
    run: Run,
    bytes: Vec<u8>,
}

impl Block {
    /// Makes messages of this run.
    pub fn new(shape: Shape, run: Run) -> Self {
        let mut one = Vec::with_capacity(shape.size);
        one.extend_from_slice(&shape.header);
        // Runs through all places of the row before it repeats: what is shifted is seen.
        let filler = |at: usize| FILLER[(at * 7 + at / FILLER.len()) % FILLER.len()];
        one.extend((0..shape.body().len()).map(filler));
        one.extend_from_slice(shape.trailer);
        let bytes = one.repeat((BLOCK / shape.size).max(1));
        Self { shape, run, bytes }
    }

    /// A connection's stream from byte `from` on: `most` bytes, or as many as are made at once.
    pub fn stream(&mut self, connection: u64, from: u64, most: usize) -> &[u8] {
        let size = self.shape.size as u64;
        // Below `size`, which is a usize.
        let offset = (from % size) as usize;
        let end = offset.saturating_add(most).min(self.bytes.len());
        self.fill(connection, from / size, end.div_ceil(self.shape.size));
        &self.bytes[offset..end]
    }

    fn fill(&mut self, connection: u64, first: u64, count: usize) {
        let body = self.shape.body();
        let row = self.bytes[..count * self.shape.size].chunks_exact_mut(self.shape.size);
        let ids = Ids::new(&self.run, connection, first);
        if body.len() >= ID {
            for (message, id) in row.zip(ids) {
                // Of a constant length: a few stores.
                message[body.start..body.start + ID].copy_from_slice(&id);
            }
        } else if !body.is_empty() {
            for (message, id) in row.zip(ids) {
                message[body.clone()].copy_from_slice(&id[ID - body.len()..]);
            }
        }
    }
}

/// A connection's ids, one after the other.
struct Ids {
    head: [u8; ID - LOW],
    /// The last digits as they stand in the message, and as a number.
    low: [u8; LOW],
    next: u64,
    high: u64,
}

impl Ids {
    fn new(run: &Run, connection: u64, first: u64) -> Self {
        let mut ids = Self { head: [b'-'; ID - LOW], low: [0; LOW], next: first % LOW_END, high: first / LOW_END };
        ids.head[..RUN].copy_from_slice(run);
        write(&mut ids.head[RUN + 1..RUN + 1 + CONNECTION], connection);
        ids.write_all();
        ids
    }

    fn write_all(&mut self) {
        write(&mut self.head[ID - NUMBER..], self.high);
        write(&mut self.low, self.next);
    }

    fn advance(&mut self) {
        self.next += 1;
        if self.next == LOW_END {
            (self.next, self.high) = (0, self.high + 1);
            self.write_all();
        } else if self.low[LOW - 1] < b'9' {
            // As one word: a store of a byte would hold up the next load of all.
            self.low = (u64::from_be_bytes(self.low) + 1).to_be_bytes();
        } else {
            write(&mut self.low, self.next);
        }
    }
}

impl Iterator for Ids {
    type Item = [u8; ID];

    fn next(&mut self) -> Option<Self::Item> {
        let mut id = [0; ID];
        id[..ID - LOW].copy_from_slice(&self.head);
        id[ID - LOW..].copy_from_slice(&self.low);
        self.advance();
        Some(id)
    }
}

/// Writes a number's last digits.
fn write(place: &mut [u8], mut number: u64) {
    for byte in place.iter_mut().rev() {
        // Below 10.
        *byte = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests;
