//! The scoreboard: one small shared mapping for each role instance, with its counters and its heartbeat; and the
//! admission board, on which workers count connections so that the limit holds for all of them together.
//!
//! Promise: plain atomic stores, no lock, no system call; each value has one writer.
use crate::sys::memory::{SharedWords, memfd};
use crate::sys::{BorrowedFd, OwnedFd};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::link::MAX_LINKS;

/// What a role counts. Each in its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Count {
    /// Turns of the role's loop: it moves while the role lives.
    Heartbeat,
    /// Connections open now.
    Connections,
    /// Connections accepted.
    Accepted,
    /// Messages framed (worker) or stored (writer).
    Messages,
    /// Bytes of messages received (worker) or of records stored (writer).
    Bytes,
    /// Bytes echoed.
    Echoed,
    /// Messages above `server.max-message-size`.
    Oversize,
    /// Connections closed for malformed framing.
    Malformed,
    /// Unfinished messages of connections that ended.
    Incomplete,
    /// Connections closed because the client did not read its echoes.
    TimedOut,
    /// Connections of `proxy.from` closed for want of a PROXY header.
    BadProxyHeaders,
    /// Connections closed for a TLS handshake that failed, or took too long.
    HandshakeFailures,
    /// Times that accepting was paused for want of descriptors or by `limits.max-connections`.
    AcceptPauses,
    /// Batches committed, stored or refused.
    Batches,
    /// Syncs done.
    Syncs,
    /// Syncs or writes that failed.
    Faults,
    /// Segments begun.
    Rotations,
    /// Unfinished frames of workers that died, discarded; none of their messages was echoed.
    TornFrames,
    /// Torn records set aside at start.
    TornRecords,
    /// Messages refused for want of room (writer); connections closed for that (worker).
    Refused,
    /// 1 while the store takes nothing for want of room.
    Full,
    /// Records saved from segments that failed.
    Rescued,
    /// Acknowledged bytes that could not be read back from them.
    LostBytes,
    /// 1 while the writer is in a call that may wait for the disk.
    OnDisk,
    /// Used space of the store's file system in percent, as df(1) shows it, plus 1; 0: not known.
    DiskUsed,
    /// Bytes examined or copied at a start after an unclean end.
    Recovered,
    /// Closed segments there are now.
    Closed,
    /// Bytes of their files.
    ClosedBytes,
    /// Closed segments that are not sealed yet.
    Unsealed,
    /// Closed segments that are to be compressed.
    Uncompressed,
    /// Closed segments for which the hook is still to be run.
    Unhooked,
    /// Segments sealed.
    Sealed,
    /// Segments compressed.
    Compressed,
    /// Segments deleted by retention, or to make room.
    Pruned,
    /// Runs of the hook that ended well.
    Hooked,
    /// Runs of the hook that did not.
    HookFailures,
    /// Deeds of the archiver that failed; they are tried again.
    ArchiveFaults,
    /// Number of words.
    End,
}

const WORDS: usize = Count::End as usize;

/// The counters of one role instance.
#[derive(Debug)]
pub struct Scoreboard(SharedWords);

impl Scoreboard {
    /// Makes the memory of one, all zero.
    pub fn memory() -> io::Result<OwnedFd> {
        memfd("scoreboard", (WORDS * size_of::<AtomicU64>()) as u64)
    }

    /// Maps it.
    pub fn map(memory: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(SharedWords::map(memory, WORDS)?))
    }

    /// Adds to a value; only its one writer calls this.
    pub fn add(&self, count: Count, amount: u64) {
        let word = &self.0.words()[count as usize];
        word.store(word.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Sets a value; only its one writer calls this.
    pub fn set(&self, count: Count, value: u64) {
        self.0.words()[count as usize].store(value, Relaxed);
    }

    /// Reads a value.
    pub fn get(&self, count: Count) -> u64 {
        self.0.words()[count as usize].load(Relaxed)
    }
}

/// A cache line holds eight words: one line for each seat keeps workers out of each other's way.
const STRIDE: usize = 8;

/// How many connections each worker has, by seat.
#[derive(Debug)]
pub struct Admission(SharedWords);

impl Admission {
    /// Makes the memory of the board, all zero.
    pub fn memory() -> io::Result<OwnedFd> {
        memfd("admission", (MAX_LINKS * STRIDE * size_of::<AtomicU64>()) as u64)
    }

    /// Maps it.
    pub fn map(memory: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(SharedWords::map(memory, MAX_LINKS * STRIDE)?))
    }

    /// Counts one more connection for `seat` unless `limit` would be passed.
    ///
    /// The own count is raised before the sum is taken, and taken back if it is too high: two workers that do this at
    /// once may both step back, never both go through.
    pub fn enter(&self, seat: usize, limit: Option<u32>) -> bool {
        let own = self.seat(seat);
        own.store(own.load(Relaxed) + 1, std::sync::atomic::Ordering::SeqCst);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let admitted = limit.is_none_or(|limit| self.total() <= u64::from(limit));
        if !admitted {
            self.leave(seat);
        }
        admitted
    }

    /// Counts one connection less.
    pub fn leave(&self, seat: usize) {
        let own = self.seat(seat);
        own.store(own.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Forgets what a worker that is gone has counted.
    pub fn clear(&self, seat: usize) {
        self.seat(seat).store(0, Relaxed);
    }

    /// Connections of the worker at `seat`.
    pub fn of(&self, seat: usize) -> u64 {
        self.seat(seat).load(Relaxed)
    }

    /// Connections of all workers.
    pub fn total(&self) -> u64 {
        self.0.words().iter().step_by(STRIDE).map(|word| word.load(Relaxed)).sum()
    }

    fn seat(&self, seat: usize) -> &AtomicU64 {
        &self.0.words()[seat * STRIDE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_limit_holds_over_all_seats() {
        let memory = Admission::memory().unwrap();
        let (a, b) = (Admission::map(memory.as_fd()).unwrap(), Admission::map(memory.as_fd()).unwrap());
        assert!(a.enter(0, Some(2)) && b.enter(1, Some(2)));
        assert!(!a.enter(0, Some(2)) && !b.enter(1, Some(2)));
        assert_eq!(a.total(), 2);
        a.leave(0);
        assert!(b.enter(1, Some(2)));
        b.clear(1);
        assert_eq!(a.total(), 0);
        assert!(a.enter(5, None));
    }

    #[test]
    fn counters_are_seen_by_the_other_side() {
        let memory = Scoreboard::memory().unwrap();
        let (role, supervisor) = (Scoreboard::map(memory.as_fd()).unwrap(), Scoreboard::map(memory.as_fd()).unwrap());
        role.add(Count::Messages, 5);
        role.set(Count::Connections, 2);
        assert_eq!((supervisor.get(Count::Messages), supervisor.get(Count::Connections)), (5, 2));
    }
}
