//! How the messages stand in packets: a tag, then words or text. Pure.
use super::{MAX_PACKET, Message, ToArchiver, ToSupervisor, ToWorker, ToWriter};
use crate::config::{Choice, Level, Log, LogFormat};
use crate::ipc::link::{Link, Terms};
use crate::ipc::report::Guest;
use crate::sys::{AsRawFd, OwnedFd, RawFd};

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
        let bytes = match self {
            Self::Drain => vec![0],
            Self::Close => vec![1],
            Self::Abort => vec![2],
            Self::Count => vec![3],
            Self::Log(Log { level, format, access }) => vec![4, *level as u8, *format as u8, u8::from(*access)],
        };
        (bytes, vec![])
    }

    fn decode(bytes: &[u8], _: Vec<OwnedFd>) -> Option<Self> {
        match *bytes {
            [0] => Some(Self::Drain),
            [1] => Some(Self::Close),
            [2] => Some(Self::Abort),
            [3] => Some(Self::Count),
            [4, level, format, access @ 0..=1] => Some(Self::Log(Log {
                level: choice(level, |level: Level| level as u8)?,
                format: choice(format, |format: LogFormat| format as u8)?,
                access: access == 1,
            })),
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
            Self::Guest(guest) => {
                let Guest { messages_per_second, bytes_per_second, messages, bytes, seconds, .. } = *guest;
                let words = [messages_per_second, bytes_per_second, messages, bytes, seconds].map(u64::to_le_bytes);
                let names = format!("{}\n{}", guest.connection, guest.peer);
                ([&[11], words.as_flattened(), cut_to(&names, MAX_PACKET - 41).as_bytes()].concat(), vec![])
            }
            Self::Counted => (vec![12], vec![]),
            Self::Ask => (vec![13], vec![]),
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
            (11, rest) => {
                let (words, names) = rest.split_at_checked(40)?;
                let (words, []) = words.as_chunks::<8>() else { return None };
                let words: [[u8; 8]; 5] = words.try_into().ok()?;
                let [messages_per_second, bytes_per_second, messages, bytes, seconds] = words.map(u64::from_le_bytes);
                let names = text(names);
                let (connection, peer) = names.split_once('\n')?;
                let (connection, peer) = (connection.into(), peer.into());
                Some(Self::Guest(Guest {
                    peer,
                    connection,
                    messages_per_second,
                    bytes_per_second,
                    messages,
                    bytes,
                    seconds,
                }))
            }
            (12, []) => Some(Self::Counted),
            (13, []) => Some(Self::Ask),
            _ => None,
        }
    }
}

/// As much of it as fits into a packet beside a tag and a word.
fn cut(text: &str) -> &str {
    cut_to(text, MAX_PACKET - 9)
}

fn cut_to(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The value of a choice that has this number.
fn choice<C: Choice>(byte: u8, number: fn(C) -> u8) -> Option<C> {
    C::NAMES.iter().map(|(_, value)| *value).find(|value| number(*value) == byte)
}
