//! The model's workers: they send numbered records in frames, some of them in fragments, and read acks.
//!
//! Every record's bytes follow from its worker and its number, so that a store can be checked byte for byte.
use super::chance::Chance;
use crate::ipc::link::Terms;
use crate::protocol::frame::{HEADER, Header, Kind};

/// Bytes of the largest body of a frame.
pub const LARGEST_BODY: usize = 24;
/// Bytes of the largest frame.
pub const LARGEST_FRAME: usize = HEADER + LARGEST_BODY;
/// Bytes of the largest record.
pub const LARGEST_RECORD: usize = 64;
/// Records that one worker sends at most: a set of them is a word.
pub const MOST_RECORDS: u32 = 60;

/// The bytes of a worker's `number`-th record.
pub fn record(serial: u8, number: u32) -> Vec<u8> {
    let mix = (u32::from(serial) * 31 + number * 17) as usize;
    let length = if mix.is_multiple_of(5) { 26 + mix % 30 } else { mix % 9 };
    let mut bytes = vec![b'A' + serial, b'0' + u8::try_from(number).unwrap_or(0)];
    bytes.resize(2 + length, b'.');
    bytes.push(b'\n');
    bytes
}

/// Which record a line of the store, its newline included, is.
pub fn recognize(line: &[u8]) -> Option<(u8, u32)> {
    let &[serial, number, ..] = line else { return None };
    let (serial, number) = (serial.checked_sub(b'A')?, u32::from(number.checked_sub(b'0')?));
    (number < MOST_RECORDS && record(serial, number) == line).then_some((serial, number))
}

/// The bits of records `0..count`.
pub fn first(count: u32) -> u64 {
    (1 << count) - 1
}

#[derive(Debug)]
pub struct Worker {
    pub serial: u8,
    /// Its link, by index.
    pub link: usize,
    pub alive: bool,
    /// How many records are in this many first frames; `frames[0]` is 0.
    frames: Vec<u32>,
    /// Bytes of all its frames that the pipe has not taken yet.
    pub outgoing: Vec<u8>,
    /// Bytes that the pipe took, and the frames that end there.
    taken: usize,
    ends: Vec<usize>,
    /// The highest frame that was called safe.
    pub acked: u64,
    /// Records that must be in the store at the end, whatever happens.
    pub owed: u64,
}

impl Worker {
    pub fn new(serial: u8, link: usize) -> Self {
        let (frames, outgoing, ends) = (vec![0], Vec::new(), Vec::new());
        Self { serial, link, alive: true, frames, outgoing, taken: 0, ends, acked: 0, owed: 0 }
    }

    fn records(&self) -> u32 {
        self.frames.last().copied().unwrap_or(0)
    }

    /// Makes a frame of some small records, or the frames of a large one.
    pub fn produce(&mut self, terms: &Terms, chance: &mut Chance) {
        let first = self.records();
        if first + 4 >= MOST_RECORDS {
            return;
        }
        let record_now = record(self.serial, first);
        if record_now.len() > LARGEST_BODY {
            let mut offset = 0;
            while record_now.len() - offset > LARGEST_BODY {
                self.frame(terms, Kind::Fragment, offset, &record_now[offset..offset + LARGEST_BODY], 0);
                offset += LARGEST_BODY;
            }
            self.frame(terms, Kind::LastFragment, offset, &record_now[offset..], 1);
            return;
        }
        let (mut body, mut count) = (record_now, 1);
        while count < 3 && chance.one_in(2) {
            let more = record(self.serial, first + count);
            if body.len() + more.len() > LARGEST_BODY {
                break;
            }
            body.extend(more);
            count += 1;
        }
        self.frame(terms, Kind::Records, 0, &body, count);
    }

    fn frame(&mut self, terms: &Terms, kind: Kind, offset: usize, body: &[u8], records: u32) {
        let small = |n: usize| u32::try_from(n).unwrap_or(0);
        let sequence = self.frames.len() as u64;
        let (length, offset) = (small(body.len()), small(offset));
        let header = Header { sequence, length, records, kind, offset, fresh: false, promised: false };
        self.outgoing.extend(header.encode(terms.secret));
        self.outgoing.extend(body);
        let end = self.ends.last().copied().unwrap_or(0) + HEADER + body.len();
        self.ends.push(end);
        self.frames.push(self.records() + records);
    }

    /// Moves bytes into the pipe: `room` is there.
    pub fn push(&mut self, pipe: &mut Vec<u8>, room: usize) -> bool {
        let count = self.outgoing.len().min(room);
        pipe.extend(self.outgoing.drain(..count));
        self.taken += count;
        count > 0
    }

    /// Records in all frames that are whole in the pipe, or were.
    pub fn sent(&self) -> u64 {
        let frames = self.ends.iter().take_while(|end| **end <= self.taken).count();
        first(self.frames[frames])
    }

    /// Takes an ack; the records that are safe now, or `None` if such a frame was never sent.
    pub fn acknowledged(&mut self, through: u64) -> Option<u64> {
        let records = *self.frames.get(usize::try_from(through).ok()?)?;
        self.acked = self.acked.max(through);
        let new = first(records) & !self.owed;
        self.owed |= new;
        Some(new)
    }

    /// Whether all its frames were called safe.
    pub fn is_served(&self) -> bool {
        self.outgoing.is_empty() && self.acked + 1 == self.frames.len() as u64
    }
}
