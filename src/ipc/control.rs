//! Control channels: one Unix socket pair between the supervisor and each role, one message a packet.
//!
//! The channel is the role's lifeline too: its end says that the supervisor is dead. Messages to and from a role are
//! different types, so that each has one legal sender.
use super::link::{Link, Terms};
use crate::sys::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd, fdpass, would_block};
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;

/// The longest packet.
const MAX_PACKET: usize = 1024;

/// Supervisor → writer.
#[derive(Debug)]
pub enum ToWriter {
    /// A new worker's link.
    Attach(Link),
    /// Begin a new segment, and say [`ToSupervisor::Rotated`] with this number once that is done.
    Rotate(u64),
    /// Finish the batch at hand and leave; a successor goes on.
    Retire,
    /// Something was deleted: what there was no room for is tried again at once.
    Room,
    /// Say again what is wrong with the store's place.
    Remind,
    /// A stop has begun: what there is no room for is refused, so that nobody waits for it.
    Stop,
    /// No more links will come: when all are at their end, sync, note the clean end, leave.
    Finish,
}

/// Supervisor → worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToWorker {
    /// Stop accepting; serve the connections there are until they end.
    Drain,
    /// Stop accepting and reading; echo what is due, close, leave.
    Close,
    /// Leave at once.
    Abort,
}

/// Supervisor → archiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToArchiver {
    /// Segments with lower numbers are closed and settled: nobody writes to them any more. None of the others may be
    /// touched.
    Settled(u64),
    /// The store is full, and messages wait for room: with `on-disk-full = "prune"` the oldest closed segment goes. Told
    /// again as long as it is.
    Full,
    /// Leave; a successor with another configuration, or nobody, goes on.
    Leave,
}

/// A role → supervisor.
#[derive(Debug)]
pub enum ToSupervisor {
    /// The role serves.
    Ready,
    /// The role ends, for this reason and with this exit code.
    Failed {
        /// Exit code.
        code: u8,
        /// For the operator.
        message: String,
    },
    /// Writer only: a second description of the live segment, to be kept for the next writer.
    Segment {
        /// The segment's sequence number.
        sequence: u64,
        /// Its file's name.
        name: String,
        /// Opened when the segment was, never synced since.
        file: OwnedFd,
    },
    /// Writer only: all that was stored before [`ToWriter::Rotate`] of this number was obeyed is in closed segments.
    Rotated(u64),
    /// Writer only: a segment that was asked for cannot be begun now, for this reason; it is tried again.
    NotRotated(String),
    /// Writer only: this segment is synced, or saved; its description is of no more use.
    Settled(u64),
    /// Writer only: this link is at its end and empty.
    Drained(u64),
    /// Writer only: this link carries what no worker of ours sends.
    Broken(u64),
    /// Writer only: the store's directory, its lock or its mark was deleted; told every second until it is there again.
    Reclaim,
    /// Writer only: messages wait for room; told with each try that fails.
    Full,
    /// Archiver only: a closed segment was deleted to make room.
    Pruned,
}

/// A message that crosses a control channel.
pub trait Message: Sized {
    /// The packet and its descriptors.
    fn encode(&self) -> (Vec<u8>, Vec<RawFd>);
    /// Reads a packet; `None` if it is malformed.
    fn decode(bytes: &[u8], fds: Vec<OwnedFd>) -> Option<Self>;
}

impl Message for ToWriter {
    fn encode(&self) -> (Vec<u8>, Vec<RawFd>) {
        match self {
            Self::Attach(link) => {
                let Terms { id, secret, frame_limit, record_limit } = link.terms;
                let mut bytes = vec![0];
                for word in [id, secret, frame_limit as u64, record_limit as u64] {
                    bytes.extend(word.to_le_bytes());
                }
                (bytes, vec![link.data.as_raw_fd(), link.acks.as_raw_fd(), link.staging.as_raw_fd()])
            }
            Self::Rotate(number) => ([&[1][..], &number.to_le_bytes()].concat(), vec![]),
            Self::Retire => (vec![2], vec![]),
            Self::Finish => (vec![3], vec![]),
            Self::Remind => (vec![4], vec![]),
            Self::Stop => (vec![5], vec![]),
            Self::Room => (vec![6], vec![]),
        }
    }

    fn decode(bytes: &[u8], fds: Vec<OwnedFd>) -> Option<Self> {
        match bytes.split_first()? {
            (0, rest) => {
                let (words, []) = rest.as_chunks::<8>() else {
                    return None;
                };
                let &[id, secret, frame_limit, record_limit] = words else {
                    return None;
                };
                let [id, secret, frame_limit, record_limit] =
                    [id, secret, frame_limit, record_limit].map(u64::from_le_bytes);
                let [data, acks, staging] = fds.try_into().ok()?;
                let terms = Terms {
                    id,
                    secret,
                    frame_limit: usize::try_from(frame_limit).ok()?,
                    record_limit: usize::try_from(record_limit).ok()?,
                };
                Some(Self::Attach(Link { terms, data, acks, staging }))
            }
            (1, number) => Some(Self::Rotate(u64::from_le_bytes(number.try_into().ok()?))),
            (2, []) => Some(Self::Retire),
            (3, []) => Some(Self::Finish),
            (4, []) => Some(Self::Remind),
            (5, []) => Some(Self::Stop),
            (6, []) => Some(Self::Room),
            _ => None,
        }
    }
}

impl Message for ToWorker {
    fn encode(&self) -> (Vec<u8>, Vec<RawFd>) {
        (vec![*self as u8], vec![])
    }

    fn decode(bytes: &[u8], _: Vec<OwnedFd>) -> Option<Self> {
        match bytes {
            [0] => Some(Self::Drain),
            [1] => Some(Self::Close),
            [2] => Some(Self::Abort),
            _ => None,
        }
    }
}

impl Message for ToArchiver {
    fn encode(&self) -> (Vec<u8>, Vec<RawFd>) {
        let bytes = match self {
            Self::Settled(below) => [&[0][..], &below.to_le_bytes()].concat(),
            Self::Full => vec![1],
            Self::Leave => vec![2],
        };
        (bytes, vec![])
    }

    fn decode(bytes: &[u8], _: Vec<OwnedFd>) -> Option<Self> {
        match bytes.split_first()? {
            (0, below) => Some(Self::Settled(u64::from_le_bytes(below.try_into().ok()?))),
            (1, []) => Some(Self::Full),
            (2, []) => Some(Self::Leave),
            _ => None,
        }
    }
}

impl Message for ToSupervisor {
    fn encode(&self) -> (Vec<u8>, Vec<RawFd>) {
        let tagged = |tag: u8, word: u64| [&[tag][..], &word.to_le_bytes()].concat();
        match self {
            Self::Ready => (vec![0], vec![]),
            Self::Failed { code, message } => ([&[1, *code], cut(message).as_bytes()].concat(), vec![]),
            Self::Segment { sequence, name, file } => {
                ([&tagged(2, *sequence), cut(name).as_bytes()].concat(), vec![file.as_raw_fd()])
            }
            Self::Drained(id) => (tagged(3, *id), vec![]),
            Self::Broken(id) => (tagged(4, *id), vec![]),
            Self::Settled(sequence) => (tagged(5, *sequence), vec![]),
            Self::Reclaim => (vec![6], vec![]),
            Self::Rotated(number) => (tagged(7, *number), vec![]),
            Self::NotRotated(reason) => ([&[8], cut(reason).as_bytes()].concat(), vec![]),
            Self::Full => (vec![9], vec![]),
            Self::Pruned => (vec![10], vec![]),
        }
    }

    fn decode(bytes: &[u8], mut fds: Vec<OwnedFd>) -> Option<Self> {
        let word = |rest: &[u8]| Some(u64::from_le_bytes(rest.try_into().ok()?));
        match bytes.split_first()? {
            (0, []) => Some(Self::Ready),
            (1, [code, message @ ..]) => Some(Self::Failed { code: *code, message: text(message) }),
            (2, rest) => {
                let (sequence, name) = rest.split_at_checked(8)?;
                Some(Self::Segment { sequence: word(sequence)?, name: text(name), file: fds.pop()? })
            }
            (3, rest) => Some(Self::Drained(word(rest)?)),
            (4, rest) => Some(Self::Broken(word(rest)?)),
            (5, rest) => Some(Self::Settled(word(rest)?)),
            (6, []) => Some(Self::Reclaim),
            (7, rest) => Some(Self::Rotated(word(rest)?)),
            (8, reason) => Some(Self::NotRotated(text(reason))),
            (9, []) => Some(Self::Full),
            (10, []) => Some(Self::Pruned),
            _ => None,
        }
    }
}

/// As much of it as fits into a packet beside a tag and a word.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_PACKET - 9);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What was received.
#[derive(Debug)]
pub enum Received<M> {
    /// A message.
    Message(M),
    /// Nothing more for now.
    Nothing,
    /// The other side is gone.
    End,
}

/// One end of a channel: sends `S`, receives `R`. Never blocks; what does not fit now is sent by a later [`flush`](Self::flush).
#[derive(Debug)]
pub struct Channel<S, R> {
    socket: OwnedFd,
    unsent: VecDeque<S>,
    types: PhantomData<fn() -> R>,
}

impl<S: Message, R: Message> Channel<S, R> {
    /// Takes one end of a pair made by [`fdpass::pair`].
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, unsent: VecDeque::new(), types: PhantomData }
    }

    /// Sends `message`, or keeps it until there is room. A dead receiver is not an error here: its end is received.
    pub fn send(&mut self, message: S) {
        self.unsent.push_back(message);
        self.flush();
    }

    /// Sends what did not fit before; true if all is sent. Each side calls it on every turn of its loop.
    pub fn flush(&mut self) -> bool {
        while let Some(message) = self.unsent.front() {
            let (bytes, fds) = message.encode();
            match fdpass::send(self.socket.as_fd(), &bytes, &fds) {
                Err(error) if !is_gone(&error) => return false,
                // Sent, or nobody is left to receive it.
                _ => drop(self.unsent.pop_front()),
            }
        }
        true
    }

    /// How many messages wait for room.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// The next message, if there is one.
    pub fn receive(&self) -> io::Result<Received<R>> {
        let mut buffer = [0; MAX_PACKET];
        match fdpass::receive(self.socket.as_fd(), &mut buffer) {
            Ok((0, _)) => Ok(Received::End),
            Ok((length, fds)) => match R::decode(&buffer[..length], fds) {
                Some(message) => Ok(Received::Message(message)),
                None => Err(io::Error::new(io::ErrorKind::InvalidData, "a malformed control message")),
            },
            Err(error) if would_block(&error) => Ok(Received::Nothing),
            Err(error) => Err(error),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

impl<S, R> AsFd for Channel<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S, R> AsRawFd for Channel<S, R> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::link;

    #[test]
    fn a_link_crosses_with_its_descriptors() {
        let (ours, theirs) = fdpass::pair().unwrap();
        let mut supervisor = Channel::<ToWriter, ToSupervisor>::new(ours);
        let writer = Channel::<ToSupervisor, ToWriter>::new(theirs);
        let (link, _ends) = link::new(7, 1 << 16, 1000).unwrap();
        let terms = link.terms;
        supervisor.send(ToWriter::Attach(link));
        match writer.receive().unwrap() {
            Received::Message(ToWriter::Attach(link)) => assert_eq!(link.terms, terms),
            other => panic!("{other:?}"),
        }
        assert!(matches!(writer.receive().unwrap(), Received::Nothing));
        drop(supervisor);
        assert!(matches!(writer.receive().unwrap(), Received::End));
    }

    #[test]
    fn a_failure_keeps_code_and_text() {
        let (bytes, _) = ToSupervisor::Failed { code: 74, message: "ä".repeat(2000) }.encode();
        assert!(bytes.len() <= MAX_PACKET);
        match ToSupervisor::decode(&bytes, vec![]) {
            Some(ToSupervisor::Failed { code: 74, message }) => {
                assert!(message.chars().all(|c| c == 'ä'))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn malformed_packets_are_refused() {
        assert!(ToWriter::decode(&[], vec![]).is_none());
        assert!(ToWriter::decode(&[0, 1, 2], vec![]).is_none());
        assert!(ToWriter::decode(&[9], vec![]).is_none());
        assert!(ToWorker::decode(&[3], vec![]).is_none());
        assert!(ToSupervisor::decode(&[2, 0, 0, 0, 0, 0, 0, 0, 0], vec![]).is_none());
    }
}
