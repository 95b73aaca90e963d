//! What a worker has made and the writer has not acknowledged: the frame being filled, the bytes that the pipe has no
//! room for, and which connection waits for which frame.
//!
//! Promise: a message of a connection is released when its frame is safe, in the order of the frames, and never before;
//! after a refusal none of the messages that were under way is, and the next frame made is marked fresh.
//! At most one frame and one record more than the pipe takes are held here: a full outbox stops the reading of sockets.
use crate::config::Echo;
use crate::ipc::link::Terms;
use crate::protocol::frame::{HEADER, Header, Kind};
use crate::sys::{self, AsFd, BorrowedFd, OwnedFd, file};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

/// A frame of so many bytes is sent at once: the writer stores it while the next one is made.
const ENOUGH: usize = 128 << 10;

/// A frame of fewer bytes waits for the ack of those under way.
const LITTLE: usize = 8 << 10;

/// A connection, and how many bytes of it are released with a frame.
pub type Release<T> = (T, u64);

/// A frame that is not yet acknowledged.
#[derive(Debug)]
struct Flight {
    sequence: u64,
    /// How many releases are its.
    releases: usize,
    /// Messages that end in it and are not released.
    messages: u32,
    /// The turn in which the first of them was received.
    since: Instant,
}

/// The frames of one worker; `T` names a connection.
#[derive(Debug)]
pub struct Outbox<T> {
    pipe: OwnedFd,
    terms: Terms,
    /// Frames are not larger than a segment may be, so that the writer can rotate between two of them.
    body_limit: usize,
    /// The frame being filled: room for its header, then records.
    open: Vec<u8>,
    records: u32,
    /// How many of the releases, the last ones, are the open frame's.
    waiting: usize,
    /// The turn in which the first record of the frame being filled, or of the large record, was added.
    opened: Instant,
    /// The turn at hand.
    turn: Instant,
    /// Messages released in this turn, and since when they had waited.
    freed: Vec<(Instant, u32)>,
    /// Of all frames, in their order.
    releases: VecDeque<Release<T>>,
    /// Whole frames that the pipe has not taken, or not wholly.
    unsent: VecDeque<Vec<u8>>,
    /// Bytes of the first of them that are in the pipe.
    sent: usize,
    /// A record larger than a frame, and how much of it is in frames.
    large: Option<(Vec<u8>, usize, Release<T>)>,
    flights: VecDeque<Flight>,
    /// In `received`, a frame's messages are released as soon as it is in the pipe.
    echo: Echo,
    last_sequence: u64,
    /// All frames up to this one were given up at a refusal, if they were not safe before it.
    refused_through: u64,
    /// The next frame is the first after a refusal.
    fresh: bool,
    /// The last frame that is in the pipe, wholly.
    in_pipe: u64,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
}

impl<T: Copy + PartialEq> Outbox<T> {
    /// An outbox before the worker's end of the data pipe. `max_size`: the segment's limit. `echo`: in
    /// `received`, nothing waits for acks.
    pub fn new(pipe: OwnedFd, terms: Terms, max_size: Option<u64>, echo: Echo) -> Self {
        let limit = terms.frame_limit - HEADER;
        let body_limit = max_size.map_or(limit, |size| limit.min(usize::try_from(size).unwrap_or(limit)));
        Self {
            pipe,
            terms,
            body_limit,
            open: vec![0; HEADER],
            records: 0,
            waiting: 0,
            opened: Instant::now(),
            turn: Instant::now(),
            freed: Vec::new(),
            releases: VecDeque::new(),
            unsent: VecDeque::new(),
            sent: 0,
            large: None,
            flights: VecDeque::new(),
            echo,
            last_sequence: 0,
            refused_through: 0,
            fresh: false,
            in_pipe: 0,
            spare: Vec::new(),
        }
    }

    /// The pipe, to be watched for room.
    pub fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Whether another record may be added.
    pub fn has_room(&self) -> bool {
        self.unsent.is_empty() && self.large.is_none()
    }

    /// Whether something made has found no room in the pipe.
    pub fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether everything made is in the pipe and was acknowledged or given up.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty() && self.unsent.is_empty() && self.records == 0 && self.large.is_none()
    }

    /// A turn of the worker's loop begins.
    pub fn begin_turn(&mut self, now: Instant) {
        self.turn = now;
    }

    /// Since when the oldest message waits that is not acknowledged.
    pub fn oldest(&self) -> Option<Instant> {
        let made = self.records > 0 || self.large.is_some();
        self.flights.front().map(|flight| flight.since).or(made.then_some(self.opened))
    }

    /// The messages that were released since this was asked last: how many, and for how long they had waited.
    pub fn freed(&mut self) -> impl Iterator<Item = (Duration, u32)> {
        let now = self.turn;
        self.freed.drain(..).map(move |(since, messages)| (now.saturating_duration_since(since), messages))
    }

    /// Adds the record that `write` appends. `upto`: the bytes of `connection` that may be echoed once it is safe.
    pub fn add(&mut self, connection: T, upto: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.open.len();
        if self.records == 0 {
            self.opened = self.turn;
        }
        write(&mut self.open);
        if self.open.len() - HEADER > self.body_limit {
            // The record does not fit any more: it becomes the first of the next frame, or goes in fragments.
            let record = self.open.split_off(start);
            self.seal();
            self.opened = self.turn;
            if record.len() > self.terms.frame_limit - HEADER {
                self.large = Some((record, 0, (connection, upto)));
                return;
            }
            self.open.extend_from_slice(&record);
        }
        self.records += 1;
        match self.releases.back_mut() {
            Some(last) if self.waiting > 0 && last.0 == connection => last.1 = upto,
            _ => {
                self.releases.push_back((connection, upto));
                self.waiting += 1;
            }
        }
        if self.open.len() >= ENOUGH.min(self.body_limit + HEADER) {
            self.seal();
        }
    }

    /// Whether what was made may wait for the next ack, which wakes the worker: many small frames would cost the writer and
    /// the worker a wake-up each (the same thought as Nagle's, RFC 896). Not if an ack may take as long as a sync does:
    /// the next sync is to find all there is.
    pub fn gathers(&self) -> bool {
        self.echo == Echo::Stored && self.has_room() && !self.flights.is_empty() && self.open.len() < LITTLE
    }

    /// Ends the frame being filled, if there is anything in it.
    pub fn seal(&mut self) {
        if self.records == 0 {
            return;
        }
        let records = std::mem::take(&mut self.records);
        let releases = std::mem::take(&mut self.waiting);
        let next = self.empty_frame();
        let frame = std::mem::replace(&mut self.open, next);
        self.enqueue(frame, Kind::Records, records, 0, releases);
    }

    /// A frame with room for its header.
    fn empty_frame(&mut self) -> Vec<u8> {
        let mut frame = self.spare.pop().unwrap_or_default();
        frame.resize(HEADER, 0);
        frame
    }

    /// `releases`: so many, the last ones, are this frame's.
    fn enqueue(&mut self, mut frame: Vec<u8>, kind: Kind, records: u32, offset: u32, releases: usize) {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        let length = u32::try_from(frame.len() - HEADER).unwrap_or(u32::MAX);
        let fresh = std::mem::take(&mut self.fresh);
        let header = Header { sequence, length, records, kind, offset, fresh, promised: self.echo == Echo::Received };
        frame[..HEADER].copy_from_slice(&header.encode(self.terms.secret));
        self.unsent.push_back(frame);
        self.flights.push_back(Flight { sequence, releases, messages: records, since: self.opened });
    }

    /// Cuts the next fragment off the large record.
    fn fragment(&mut self) {
        let Some((record, done, release)) = self.large.take() else { return };
        let part = (record.len() - done).min(self.terms.frame_limit - HEADER);
        let mut frame = self.empty_frame();
        frame.extend_from_slice(&record[done..done + part]);
        let offset = u32::try_from(done).unwrap_or(u32::MAX);
        if done + part == record.len() {
            self.releases.push_back(release);
            self.enqueue(frame, Kind::LastFragment, 1, offset, 1);
        } else {
            self.enqueue(frame, Kind::Fragment, 0, offset, 0);
            self.large = Some((record, done + part, release));
        }
    }

    /// Writes into the pipe what it takes, after sealing the open frame; `released` is told what needs no ack.
    pub fn flush(&mut self, released: impl FnMut(Release<T>)) -> io::Result<()> {
        if self.large.is_none() {
            self.seal();
        }
        loop {
            let Some(frame) = self.unsent.front() else {
                if self.large.is_none() {
                    break;
                }
                self.fragment();
                continue;
            };
            match file::write(self.pipe.as_fd(), &frame[self.sent..]) {
                Err(error) if sys::would_block(&error) => break,
                Err(error) => return Err(error),
                Ok(count) => self.sent += count,
            }
            if self.sent == frame.len() {
                self.sent = 0;
                self.in_pipe += 1;
                if let Some(mut frame) = self.unsent.pop_front() {
                    frame.clear();
                    if frame.capacity() <= 1 << 21 && self.spare.len() < 2 {
                        self.spare.push(frame);
                    }
                }
            }
        }
        if self.echo == Echo::Received {
            self.release_early(released);
        }
        Ok(())
    }

    fn release_early(&mut self, mut released: impl FnMut(Release<T>)) {
        let in_pipe = self.in_pipe;
        for flight in self.flights.iter_mut().filter(|flight| flight.sequence <= in_pipe) {
            let messages = std::mem::take(&mut flight.messages);
            if messages > 0 {
                self.freed.push((flight.since, messages));
            }
            self.releases.drain(..std::mem::take(&mut flight.releases)).for_each(&mut released);
        }
    }

    /// All frames up to `through` are safe: `released` is told of each connection that waited for one of them.
    pub fn acknowledge(&mut self, through: u64, mut released: impl FnMut(Release<T>)) {
        while let Some(flight) = self.flights.front().filter(|flight| flight.sequence <= through) {
            if flight.messages > 0 {
                self.freed.push((flight.since, flight.messages));
            }
            self.releases.drain(..flight.releases).for_each(&mut released);
            self.flights.pop_front();
        }
    }

    /// A frame up to `through` was refused. What was made after it may hold the next messages of the same connections,
    /// so all that is under way is given up: `refused` is told of each connection with a message in it. What is sealed
    /// still goes into the pipe, in its turn; the writer refuses it too, up to the next frame made, which is fresh.
    ///
    /// A refusal that was met already by giving up is no news.
    pub fn refuse(&mut self, through: u64, refused: impl FnMut(T)) {
        if through <= self.refused_through {
            return;
        }
        self.refused_through = self.last_sequence;
        self.fresh = true;
        let large = self.large.take().map(|(_, _, release)| release);
        self.flights.clear();
        self.waiting = 0;
        let under_way = self.releases.drain(..).chain(large);
        under_way.map(|(connection, _)| connection).for_each(refused);
        self.open.truncate(HEADER);
        self.records = 0;
    }
}

#[cfg(test)]
mod tests;
