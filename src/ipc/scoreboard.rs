//! The scoreboard: one small shared mapping for each role instance, with its counters, its histograms and its heartbeat.
//!
//! Promise: plain atomic stores, no lock, no system call; each value has one writer, and no two writers share a cache line:
//! each instance has pages of its own. What goes wrong keeps the time when it last did.
use super::histogram::{self, Buckets, Series};
use crate::sys::memory::{SharedWords, memfd};
use crate::sys::{BorrowedFd, OwnedFd};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a role counts. Each in its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Count {
    /// Turns of the role's loop: it moves while the role lives.
    Heartbeat,
    /// When the last one was ([`Scoreboard::stamp`]).
    Turned,
    /// Connections open now.
    Connections,
    /// Connections accepted.
    Accepted,
    /// Messages framed (worker) or stored (writer).
    Messages,
    /// Bytes of messages received (worker) or of records stored (writer).
    Bytes,
    /// Messages that the commit record knew as stored when this writer began, plus 1; 0: it has not looked yet.
    MessagesBefore,
    /// Bytes of their records.
    BytesBefore,
    /// Bytes echoed.
    Echoed,
    /// Messages whose echo was released.
    Echoes,
    /// Since when the oldest message waits that is not acknowledged (a stamp); 0: none waits.
    Oldest,
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
    /// Connections closed for TLS that failed, or a handshake that took too long.
    HandshakeFailures,
    /// Clients turned away by `limits.allow` and `limits.deny`.
    Denied,
    /// Clients turned away because their address had enough connections.
    TooMany,
    /// Connections closed because no whole message came for `limits.idle-timeout`.
    Idle,
    /// Connections closed because their first message took too long.
    Late,
    /// Times that a connection had to wait for its address's rate.
    Delayed,
    /// Times that accepting was paused for want of descriptors or by `limits.max-connections`; while that holds, another each second.
    AcceptPauses,
    /// Batches committed, stored or refused.
    Batches,
    /// Syncs done.
    Syncs,
    /// Syncs or writes that failed, but for want of room for a write.
    Faults,
    /// Segments begun.
    Rotations,
    /// Unfinished frames of workers that died, discarded; none of their messages was echoed.
    TornFrames,
    /// Torn records set aside at start.
    TornRecords,
    /// Messages refused for want of room (writer); connections closed for that (worker).
    Refused,
    /// Batches that had to wait for room.
    WaitsForRoom,
    /// 1 while the store takes nothing for want of room.
    Full,
    /// 1 while no new segment can be begun.
    Stuck,
    /// Records saved from segments that failed.
    Rescued,
    /// Acknowledged bytes that could not be read back from them.
    LostBytes,
    /// Acknowledged bytes that somebody else has destroyed in the live segment.
    DestroyedBytes,
    /// 1 while the writer is in a call that may wait for the disk.
    OnDisk,
    /// When a batch was written last (a stamp).
    LastWrite,
    /// When a sync ended well last (a stamp).
    LastSync,
    /// How long that took, in microseconds.
    SyncTook,
    /// Committed bytes of the live segment.
    Live,
    /// When the clock asks for the next rotation (seconds since 1970); 0: never.
    NextRotation,
    /// Used space of the store's file system in percent, as df(1) shows it, plus 1; 0: not known.
    DiskUsed,
    /// Its free bytes, for the daemon's user, and all of them, if `DiskUsed` is known.
    DiskFree,
    /// See `DiskFree`.
    DiskSize,
    /// Bytes examined or copied at a start after an unclean end.
    Recovered,
    /// 1: the archiver has looked at the store, and what it tells of closed segments holds.
    Stocked,
    /// Closed segments there are now.
    Closed,
    /// Bytes of their files.
    ClosedBytes,
    /// When the oldest of them was begun (seconds since 1970); 0: there is none.
    OldestClosed,
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
    /// Those on one segment, one after the other; 0: the last run went well.
    HookFailing,
    /// Deeds of the archiver that failed; they are tried again.
    ArchiveFaults,
    /// What keeps the role from doing more than its work (`ipc::sandbox::InForce`).
    Sandbox,
    /// Links that carried what no worker of ours sends; their workers were killed.
    BrokenLinks,
    /// Requests for metrics that were answered with them.
    Scrapes,
    /// Requests that were refused, and connections that did not come to one, or did not take its response, in time.
    BadRequests,
    /// Lines for the log that nobody took.
    LogDropped,
    /// Number of words.
    End,
}

impl Count {
    /// Whether it counts what goes wrong, or is refused: the time of the last one is kept.
    pub const fn is_trouble(self) -> bool {
        use Count::*;
        matches!(
            self,
            Oversize
                | Malformed
                | Incomplete
                | TimedOut
                | BadProxyHeaders
                | HandshakeFailures
                | Denied
                | TooMany
                | Idle
                | Late
                | Delayed
                | AcceptPauses
                | Faults
                | TornFrames
                | TornRecords
                | Refused
                | Rescued
                | WaitsForRoom
                | LostBytes
                | DestroyedBytes
                | HookFailures
                | ArchiveFaults
                | BrokenLinks
        )
    }
}

const COUNTS: usize = Count::End as usize;
/// Where the times stand, of each count one.
const TIMES: usize = COUNTS;
/// Where the histograms stand: at the beginning of a cache line.
const SERIES: usize = (2 * COUNTS).next_multiple_of(8);
const WORDS: usize = SERIES + histogram::WORDS;

/// The counters of one role instance.
#[derive(Debug)]
pub struct Scoreboard {
    words: SharedWords,
    /// When its clock began.
    begun: Instant,
}

impl Scoreboard {
    /// Makes the memory of one, all zero.
    pub fn memory() -> io::Result<OwnedFd> {
        memfd("scoreboard", (WORDS * size_of::<AtomicU64>()) as u64)
    }

    /// Maps it, with a clock that begins now.
    pub fn map(memory: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { words: SharedWords::map(memory, WORDS)?, begun: Instant::now() })
    }

    /// Maps the same memory in another process, with the same clock.
    pub fn map_again(&self, memory: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { words: SharedWords::map(memory, WORDS)?, begun: self.begun })
    }

    /// Adds to a value; only its one writer calls this.
    pub fn add(&self, count: Count, amount: u64) {
        let word = self.word(count as usize);
        word.store(word.load(Relaxed).wrapping_add(amount), Relaxed);
        if count.is_trouble() && amount > 0 {
            self.word(TIMES + count as usize).store(self.clock(Instant::now()), Relaxed);
        }
    }

    /// Sets a value; only its one writer calls this.
    pub fn set(&self, count: Count, value: u64) {
        self.word(count as usize).store(value, Relaxed);
    }

    /// Sets a value to a stamp: `moment` by the board's clock.
    pub fn stamp(&self, count: Count, moment: Instant) {
        self.set(count, self.clock(moment));
    }

    /// Reads a value.
    pub fn get(&self, count: Count) -> u64 {
        self.word(count as usize).load(Relaxed)
    }

    /// The moment that a stamp tells of.
    pub fn moment(&self, count: Count) -> Option<Instant> {
        self.read_clock(self.get(count))
    }

    /// When a count of trouble was added to last.
    pub fn last(&self, count: Count) -> Option<Instant> {
        self.read_clock(self.word(TIMES + count as usize).load(Relaxed))
    }

    /// Counts `times` events of `value` in a histogram; only its one writer calls this.
    pub fn observe(&self, series: Series, value: u64, times: u64) {
        histogram::observe(self.series(series), series, value, times);
    }

    /// Reads a histogram. One that is being written may be read between its words.
    pub fn buckets(&self, series: Series) -> Buckets {
        histogram::read(self.series(series))
    }

    /// Milliseconds of the board's clock, from 1.
    fn clock(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.begun).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn read_clock(&self, stamp: u64) -> Option<Instant> {
        self.begun.checked_add(Duration::from_millis(stamp.checked_sub(1)?))
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        &self.words.words()[index]
    }

    fn series(&self, series: Series) -> &[AtomicU64] {
        let begin = SERIES + series as usize * histogram::STRIDE;
        &self.words.words()[begin..begin + histogram::STRIDE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn pair() -> (Scoreboard, Scoreboard) {
        let memory = Scoreboard::memory().unwrap();
        let supervisor = Scoreboard::map(memory.as_fd()).unwrap();
        let role = supervisor.map_again(memory.as_fd()).unwrap();
        (role, supervisor)
    }

    #[test]
    fn counters_are_seen_by_the_other_side() {
        let (role, supervisor) = pair();
        role.add(Count::Messages, 5);
        role.set(Count::Connections, 2);
        role.observe(Series::Write, 70, 3);
        assert_eq!((supervisor.get(Count::Messages), supervisor.get(Count::Connections)), (5, 2));
        let buckets = supervisor.buckets(Series::Write);
        assert_eq!((buckets.total(), buckets.sum), (3, 210));
        assert_eq!(supervisor.buckets(Series::Sync), Buckets::default());
    }

    #[test]
    fn trouble_keeps_its_time_and_nothing_else_does() {
        let (role, supervisor) = pair();
        assert_eq!((supervisor.last(Count::Oversize), supervisor.moment(Count::Turned)), (None, None));
        role.add(Count::Oversize, 1);
        role.add(Count::Late, 0);
        role.add(Count::Messages, 1);
        assert!(supervisor.last(Count::Oversize).is_some_and(|last| last.elapsed() < Duration::from_secs(60)));
        assert_eq!((supervisor.last(Count::Late), supervisor.last(Count::Messages)), (None, None));
        let moment = Instant::now() + Duration::from_secs(5);
        role.stamp(Count::Turned, moment);
        assert!(moment - supervisor.moment(Count::Turned).unwrap() <= Duration::from_millis(1));
    }
}
