//! What a worker has made and the writer has not acknowledged: the frame being filled, the bytes that the pipe has no
//! room for, and which connection waits for which frame.
//!
//! Promise: a message of a connection is released when its frame is safe, in the order of the frames, and never before;
//! after a refusal none of the messages that were under way is, and the next frame made is marked fresh.
//! At most one frame and one record more than the pipe takes are held here: a full outbox stops the reading of sockets.
use crate::ipc::link::Terms;
use crate::protocol::frame::{HEADER, Header, Kind};
use crate::sys::{self, AsFd, BorrowedFd, OwnedFd, file};
use std::collections::VecDeque;
use std::io;

/// A connection, and how many bytes of it are released with a frame.
pub type Release<T> = (T, u64);

/// A frame that is not yet acknowledged.
#[derive(Debug)]
struct Flight<T> {
    sequence: u64,
    releases: Vec<Release<T>>,
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
    releases: Vec<Release<T>>,
    /// Whole frames that the pipe has not taken, or not wholly.
    unsent: VecDeque<Vec<u8>>,
    /// Bytes of the first of them that are in the pipe.
    sent: usize,
    /// A record larger than a frame, and how much of it is in frames.
    large: Option<(Vec<u8>, usize, Release<T>)>,
    flights: VecDeque<Flight<T>>,
    /// Release as soon as the frame is in the pipe (`received`).
    eager: bool,
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
    /// An outbox before the worker's end of the data pipe. `max_size`: the segment's limit. `eager`: do not wait for acks.
    pub fn new(pipe: OwnedFd, terms: Terms, max_size: Option<u64>, eager: bool) -> Self {
        let limit = terms.frame_limit - HEADER;
        let body_limit = max_size.map_or(limit, |size| limit.min(usize::try_from(size).unwrap_or(limit)));
        Self {
            pipe,
            terms,
            body_limit,
            open: vec![0; HEADER],
            records: 0,
            releases: Vec::new(),
            unsent: VecDeque::new(),
            sent: 0,
            large: None,
            flights: VecDeque::new(),
            eager,
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

    /// Adds the record that `write` appends. `upto`: the bytes of `connection` that may be echoed once it is safe.
    pub fn add(&mut self, connection: T, upto: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.open.len();
        write(&mut self.open);
        if self.open.len() - HEADER > self.body_limit {
            // The record does not fit any more: it becomes the first of the next frame, or goes in fragments.
            let record = self.open.split_off(start);
            self.seal();
            if record.len() > self.terms.frame_limit - HEADER {
                self.large = Some((record, 0, (connection, upto)));
                return;
            }
            self.open.extend_from_slice(&record);
        }
        self.records += 1;
        match self.releases.last_mut() {
            Some(last) if last.0 == connection => last.1 = upto,
            _ => self.releases.push((connection, upto)),
        }
        if self.open.len() - HEADER >= self.body_limit {
            self.seal();
        }
    }

    /// Ends the frame being filled, if there is anything in it.
    pub fn seal(&mut self) {
        if self.records == 0 {
            return;
        }
        let records = std::mem::take(&mut self.records);
        let releases = std::mem::take(&mut self.releases);
        let mut next = self.spare.pop().unwrap_or_default();
        next.resize(HEADER, 0);
        let frame = std::mem::replace(&mut self.open, next);
        self.enqueue(frame, Kind::Records, records, 0, releases);
    }

    fn enqueue(&mut self, mut frame: Vec<u8>, kind: Kind, records: u32, offset: u32, releases: Vec<Release<T>>) {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        let length = u32::try_from(frame.len() - HEADER).unwrap_or(u32::MAX);
        let fresh = std::mem::take(&mut self.fresh);
        let header = Header { sequence, length, records, kind, offset, fresh, promised: self.eager };
        frame[..HEADER].copy_from_slice(&header.encode(self.terms.secret));
        self.unsent.push_back(frame);
        self.flights.push_back(Flight { sequence, releases });
    }

    /// Cuts the next fragment off the large record.
    fn fragment(&mut self) {
        let Some((record, done, release)) = self.large.take() else { return };
        let part = (record.len() - done).min(self.terms.frame_limit - HEADER);
        let mut frame = vec![0; HEADER];
        frame.extend_from_slice(&record[done..done + part]);
        let offset = u32::try_from(done).unwrap_or(u32::MAX);
        if done + part == record.len() {
            self.enqueue(frame, Kind::LastFragment, 1, offset, vec![release]);
        } else {
            self.enqueue(frame, Kind::Fragment, 0, offset, Vec::new());
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
        if self.eager {
            self.release_early(released);
        }
        Ok(())
    }

    fn release_early(&mut self, mut released: impl FnMut(Release<T>)) {
        let in_pipe = self.in_pipe;
        for flight in self.flights.iter_mut().filter(|flight| flight.sequence <= in_pipe) {
            flight.releases.drain(..).for_each(&mut released);
        }
    }

    /// All frames up to `through` are safe: `released` is told of each connection that waited for one of them.
    pub fn acknowledge(&mut self, through: u64, mut released: impl FnMut(Release<T>)) {
        while self.flights.front().is_some_and(|flight| flight.sequence <= through) {
            let flight = self.flights.pop_front();
            flight.into_iter().flat_map(|flight| flight.releases).for_each(&mut released);
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
        let flights = self.flights.drain(..).flat_map(|flight| flight.releases);
        let under_way = flights.chain(self.releases.drain(..)).chain(large);
        under_way.map(|(connection, _)| connection).for_each(refused);
        self.open.truncate(HEADER);
        self.records = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pipe;

    fn outbox(limit: usize, max_size: Option<u64>) -> (Outbox<char>, OwnedFd) {
        let (read, write) = pipe::pipe().unwrap();
        let terms = Terms { id: 1, secret: 7, frame_limit: limit, record_limit: 1 << 20 };
        (Outbox::new(write, terms, max_size, false), read)
    }

    fn headers(pipe: &OwnedFd, limit: usize) -> Vec<(Kind, u32, u32)> {
        let mut bytes = Vec::new();
        pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
        let (mut at, mut sequence, mut found) = (0, 1, Vec::new());
        while let Ok(Some(header)) = Header::decode(&bytes[at..], 7, sequence, limit) {
            found.push((header.kind, header.records, header.length));
            at += header.frame_len();
            sequence += 1;
        }
        assert_eq!(at, bytes.len());
        found
    }

    fn released(outbox: &mut Outbox<char>, through: u64) -> Vec<Release<char>> {
        let mut all = Vec::new();
        outbox.acknowledge(through, |release| all.push(release));
        all
    }

    #[test]
    fn a_turn_is_one_frame_and_its_ack_releases_each_connection_once() {
        let (mut outbox, pipe) = outbox(4096, None);
        for (connection, upto) in [('a', 10), ('a', 20), ('b', 5)] {
            outbox.add(connection, upto, |out| out.extend(b"record\n"));
        }
        outbox.flush(|_| panic!("nothing is released without an ack")).unwrap();
        assert_eq!(headers(&pipe, 4096), [(Kind::Records, 3, 21)]);
        assert!(!outbox.is_empty());
        assert_eq!(released(&mut outbox, 0), []);
        assert_eq!(released(&mut outbox, 1), [('a', 20), ('b', 5)]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn frames_keep_below_the_segment_limit() {
        let (mut outbox, pipe) = outbox(4096, Some(100));
        for _ in 0..10 {
            outbox.add('a', 1, |out| out.extend([b'x'; 39].iter().chain(b"\n")));
        }
        outbox.add('a', 1, |out| out.extend([b'x'; 200].iter().chain(b"\n")));
        outbox.flush(|_| {}).unwrap();
        assert_eq!(headers(&pipe, 4096), [vec![(Kind::Records, 2, 80); 5], vec![(Kind::Records, 1, 201)]].concat());
    }

    #[test]
    fn a_large_record_goes_in_fragments_and_is_released_by_the_last() {
        let (mut outbox, pipe) = outbox(4096, None);
        outbox.add('a', 1, |out| out.extend(b"small\n"));
        outbox.add('b', 2, |out| out.extend([b'x'; 9999].iter().chain(b"\n")));
        assert!(!outbox.has_room());
        outbox.flush(|_| {}).unwrap();
        assert!(outbox.has_room());
        let part = 4096 - HEADER as u32;
        let expected = [
            (Kind::Records, 1, 6),
            (Kind::Fragment, 0, part),
            (Kind::Fragment, 0, part),
            (Kind::LastFragment, 1, 10000 - 2 * part),
        ];
        assert_eq!(headers(&pipe, 4096), expected);
        assert_eq!(released(&mut outbox, 3), [('a', 1)]);
        assert_eq!(released(&mut outbox, 4), [('b', 2)]);
    }

    #[test]
    fn a_full_pipe_holds_the_rest_back() {
        let (mut outbox, pipe) = outbox(1 << 16, None);
        let mut added = 0;
        while outbox.has_room() {
            outbox.add('a', added, |out| out.extend([b'x'; 9999].iter().chain(b"\n")));
            outbox.flush(|_| {}).unwrap();
            added += 1;
        }
        assert!(added < 10);
        let mut bytes = Vec::new();
        pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
        outbox.flush(|_| {}).unwrap();
        assert!(outbox.has_room());
        pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
        assert_eq!(bytes.len() as u64, added * (HEADER as u64 + 10000));
    }

    fn refused(outbox: &mut Outbox<char>, through: u64) -> Vec<char> {
        let mut all = Vec::new();
        outbox.refuse(through, |connection| all.push(connection));
        all
    }

    fn sent(pipe: &OwnedFd) -> Vec<Header> {
        let mut bytes = Vec::new();
        pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
        let mut found: Vec<Header> = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let sequence = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap());
            let header = Header::decode(&bytes[at..], 7, sequence, 1 << 16).unwrap().unwrap();
            at += header.frame_len();
            found.push(header);
        }
        found
    }

    #[test]
    fn a_refusal_gives_up_all_that_is_under_way_and_the_next_frame_is_fresh() {
        let (mut outbox, pipe) = outbox(4096, None);
        for connection in ['a', 'b', 'c'] {
            outbox.add(connection, 10, |out| out.extend(b"record\n"));
            outbox.flush(|_| {}).unwrap();
        }
        // Still in the open frame.
        outbox.add('d', 10, |out| out.extend(b"record\n"));
        assert_eq!(released(&mut outbox, 1), [('a', 10)]);
        assert_eq!(refused(&mut outbox, 2), ['b', 'c', 'd']);
        assert!(outbox.is_empty());
        // The writer refuses what was made before it was heard, and repeats itself.
        assert_eq!(refused(&mut outbox, 3), []);
        for _ in 0..2 {
            outbox.add('e', 10, |out| out.extend(b"record\n"));
            outbox.flush(|_| {}).unwrap();
        }
        let fresh: Vec<(u64, bool)> = sent(&pipe).iter().map(|header| (header.sequence, header.fresh)).collect();
        assert_eq!(fresh, [(1, false), (2, false), (3, false), (4, true), (5, false)]);
        assert_eq!(refused(&mut outbox, 3), []);
        assert_eq!(released(&mut outbox, 4), [('e', 10)]);
        // Full again.
        assert_eq!(refused(&mut outbox, 5), ['e']);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_large_record_is_given_up_between_its_fragments() {
        let (mut outbox, pipe) = outbox(1 << 16, None);
        pipe::resize(pipe.as_fd(), 4096).unwrap();
        outbox.add('a', 1, |out| out.extend([b'x'; 199_999].iter().chain(b"\n")));
        outbox.flush(|_| {}).unwrap();
        assert!(outbox.is_blocked());
        assert_eq!(refused(&mut outbox, 1), ['a']);
        assert!(!outbox.is_empty(), "the frame that is partly in the pipe still goes there");
        assert!(!outbox.has_room());
        let mut bytes = Vec::new();
        while !outbox.is_empty() {
            pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
            outbox.flush(|_| {}).unwrap();
        }
        pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
        assert_eq!(bytes.len(), 1 << 16, "one whole frame and nothing behind it");
        outbox.add('b', 1, |out| out.extend(b"small\n"));
        outbox.flush(|_| {}).unwrap();
        let next = sent(&pipe);
        assert_eq!((next[0].kind, next[0].sequence, next[0].fresh), (Kind::Records, 2, true));
    }

    #[test]
    fn received_releases_what_is_in_the_pipe() {
        let (read, write) = pipe::pipe().unwrap();
        let terms = Terms { id: 1, secret: 7, frame_limit: 4096, record_limit: 1 << 20 };
        let mut outbox = Outbox::new(write, terms, None, true);
        outbox.add('a', 9, |out| out.extend(b"record\n"));
        let mut all = Vec::new();
        outbox.flush(|release| all.push(release)).unwrap();
        assert_eq!(all, [('a', 9)]);
        assert!(!outbox.is_empty(), "the ack still tells when the worker may leave");
        assert_eq!(released(&mut outbox, 1), []);
        assert!(sent(&read)[0].promised, "the writer is told that it must not be refused");
    }
}
