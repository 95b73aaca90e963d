//! Control channels: one Unix socket pair between the supervisor and each role, one message a packet.
//!
//! The channel is the role's lifeline too: its end says that the supervisor is dead. Messages to and from a role are
//! different types, so that each has one legal sender.
mod channel;
mod exporter;
mod packets;

use super::link::Link;
use super::report::Guest;
use crate::config::Log;
use crate::sys::{OwnedFd, RawFd};

pub use channel::{Channel, Received};
pub use exporter::{Sheet, ToExporter};

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
    /// Name the busiest connections, counted for a second: [`ToSupervisor::Guest`] for each, and [`ToSupervisor::Counted`].
    Count,
    /// Log so from now on: a reload has changed it, and old connections may live long.
    Log(Log),
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
    /// Worker only, when asked: one of its connections.
    Guest(Guest),
    /// Worker only: these were all that are to be named.
    Counted,
    /// Exporter only: a report is wanted; not again until it has come.
    Ask,
}

/// A message that crosses a control channel.
pub trait Message: Sized {
    /// The packet and its descriptors.
    fn encode(&self) -> (Vec<u8>, Vec<RawFd>);
    /// Reads a packet; `None` if it is malformed.
    fn decode(bytes: &[u8], fds: Vec<OwnedFd>) -> Option<Self>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Level, LogFormat};
    use crate::ipc::link;
    use crate::sys::fdpass;

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
    fn a_guest_comes_back() {
        let (peer, connection) = ("[2001:db8::1]:5".to_owned(), "01JD9Z0Q4X".to_owned());
        let (messages_per_second, bytes_per_second) = (5, 60);
        let guest =
            Guest { peer, connection, messages_per_second, bytes_per_second, messages: 1, bytes: u64::MAX, seconds: 3 };
        let (bytes, _) = ToSupervisor::Guest(guest.clone()).encode();
        assert!(matches!(ToSupervisor::decode(&bytes, vec![]), Some(ToSupervisor::Guest(back)) if back == guest));
        assert!((0..41).all(|end| ToSupervisor::decode(&bytes[..end], vec![]).is_none()));
    }

    #[test]
    fn how_to_log_comes_back() {
        for level in [Level::Error, Level::Warn, Level::Notice, Level::Info, Level::Debug] {
            let log = Log { level, format: LogFormat::Json, access: level == Level::Info };
            assert_eq!(ToWorker::decode(&ToWorker::Log(log).encode().0, vec![]), Some(ToWorker::Log(log)));
        }
    }

    #[test]
    fn malformed_packets_are_refused() {
        assert!(ToWriter::decode(&[], vec![]).is_none());
        assert!(ToWriter::decode(&[0, 1, 2], vec![]).is_none());
        assert!(ToWriter::decode(&[9], vec![]).is_none());
        assert!(ToWorker::decode(&[4], vec![]).is_none());
        assert!(
            [[4, 5, 0, 0], [4, 0, 2, 0], [4, 0, 0, 2]].iter().all(|bytes| ToWorker::decode(bytes, vec![]).is_none())
        );
        assert!(ToSupervisor::decode(&[2, 0, 0, 0, 0, 0, 0, 0, 0], vec![]).is_none());
    }
}
