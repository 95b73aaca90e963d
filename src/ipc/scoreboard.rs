//! The scoreboard: one small shared mapping for each role instance, with its counters and its heartbeat; and the
//! admission board, on which workers count connections so that the limit holds for all of them together.
//!
//! Promise: plain atomic stores, no lock, no system call; each value has one writer.
use crate::sys::memory::{SharedWords, memfd};
use crate::sys::{BorrowedFd, OwnedFd};
use std::hash::RandomState;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::link::MAX_LINKS;
use super::rates::{self, Kind, Ledger};
use super::visitors::{self, Name, Visitors};

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
    /// What keeps the role from doing more than its work (`ipc::sandbox::InForce`).
    Sandbox,
    /// Links that carried what no worker of ours sends; their workers were killed.
    BrokenLinks,
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
const SEATS: usize = MAX_LINKS * STRIDE;
/// Of the whole board. A page of it that nobody has used takes no memory.
const BOARD: usize = SEATS + visitors::WORDS + 2 * rates::WORDS;

/// Why a connection of an address is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncounted {
    /// The address has as many as it may have.
    TooMany,
    /// The worker's table has no place for another address.
    NoPlace,
}

/// How many connections each worker has, by seat; and behind that, by address (see [`visitors`]), and how fast each address
/// is (see [`rates`]).
#[derive(Debug)]
pub struct Admission {
    words: SharedWords,
    /// The key of [`Name`]s: drawn once, the same in all processes, known to nobody else.
    key: RandomState,
    /// When the board's clock began.
    begun: Instant,
}

impl Admission {
    /// Makes the memory of the board, all zero.
    pub fn memory() -> io::Result<OwnedFd> {
        memfd("admission", (BOARD * size_of::<AtomicU64>()) as u64)
    }

    /// Maps it, with a key and a clock that begin now.
    pub fn map(memory: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { words: SharedWords::map(memory, BOARD)?, key: RandomState::new(), begun: Instant::now() })
    }

    /// Maps the same memory in another process, with the same key and clock.
    pub fn map_again(&self, memory: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { words: SharedWords::map(memory, BOARD)?, key: self.key.clone(), begun: self.begun })
    }

    /// The name of the host at `ip` on this board.
    pub fn name(&self, ip: IpAddr) -> Name {
        Name::of(ip, &self.key)
    }

    /// What the board's clock shows at `moment`, in microseconds.
    pub fn clock(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.begun).as_micros();
        rates::BEGIN.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
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
        if self.of(seat) > 0 {
            self.visitors().clear(seat);
        }
        self.seat(seat).store(0, Relaxed);
    }

    /// Counts one more connection of `name` for `seat`, unless `limit` would be passed. The connection has entered, and
    /// leaves only after [`depart`](Self::depart).
    ///
    /// # Errors
    /// It is not counted, and why.
    pub fn visit(&self, seat: usize, name: Name, limit: Option<u32>) -> Result<(), Uncounted> {
        if !self.visitors().add(seat, name) {
            return Err(Uncounted::NoPlace);
        }
        let Some(limit) = limit else { return Ok(()) };
        // As in `enter`: first the own count, then the sum.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let inside = (0..MAX_LINKS).filter(|&seat| self.of(seat) > 0).map(|seat| self.visitors().of(seat, name));
        if inside.sum::<u64>() <= u64::from(limit) {
            return Ok(());
        }
        self.depart(seat, name);
        Err(Uncounted::TooMany)
    }

    /// Counts one connection of `name` less.
    pub fn depart(&self, seat: usize, name: Name) {
        self.visitors().remove(seat, name);
    }

    fn visitors(&self) -> Visitors<'_> {
        Visitors(&self.words.words()[SEATS..SEATS + visitors::WORDS])
    }

    /// How much each address has taken.
    pub fn ledger(&self, kind: Kind) -> Ledger<'_> {
        let ledgers = &self.words.words()[SEATS + visitors::WORDS..];
        let (messages, bytes) = ledgers.split_at(rates::WORDS);
        Ledger(if kind == Kind::Messages { messages } else { bytes })
    }

    /// Connections of the worker at `seat`.
    pub fn of(&self, seat: usize) -> u64 {
        self.seat(seat).load(Relaxed)
    }

    /// Connections of all workers.
    pub fn total(&self) -> u64 {
        self.words.words()[..SEATS].iter().step_by(STRIDE).map(|word| word.load(Relaxed)).sum()
    }

    fn seat(&self, seat: usize) -> &AtomicU64 {
        &self.words.words()[seat * STRIDE]
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
    fn the_limit_of_an_address_holds_over_all_seats_and_outlives_no_worker() {
        let memory = Admission::memory().unwrap();
        let first = Admission::map(memory.as_fd()).unwrap();
        let again = first.map_again(memory.as_fd()).unwrap();
        let boards = [first, again];
        // Each process names an address alike.
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| boards[1].name(ip.parse().unwrap()));
        assert_eq!(one, boards[0].name("192.0.2.1".parse().unwrap()));
        let visit = |seat: usize, name| {
            assert!(boards[seat].enter(seat, None));
            let visit = boards[seat].visit(seat, name, Some(3));
            if visit.is_err() {
                boards[seat].leave(seat);
            }
            visit
        };
        assert_eq!([visit(0, one), visit(1, one), visit(1, one)], [Ok(()); 3]);
        assert_eq!([visit(0, one), visit(1, one)], [Err(Uncounted::TooMany); 2]);
        assert_eq!(visit(0, other), Ok(()));
        // The worker of seat 1 dies: its two are forgotten, and nobody else's.
        boards[0].clear(1);
        assert_eq!([visit(0, one), visit(0, one), visit(0, one)], [Ok(()), Ok(()), Err(Uncounted::TooMany)]);
        boards[0].depart(0, one);
        boards[0].leave(0);
        assert_eq!(visit(1, one), Ok(()));
    }

    /// Many that come at once, in as many seats: never more inside than the limit.
    #[test]
    fn nobody_slips_in_between_two_looks() {
        const LIMIT: u32 = 3;
        let memory = Admission::memory().unwrap();
        let name = Name::of("192.0.2.1".parse().unwrap(), &RandomState::new());
        let inside = AtomicU64::new(0);
        let come_and_go = |seat: usize| {
            let board = Admission::map(memory.as_fd()).unwrap();
            for _ in 0..20_000 {
                board.enter(seat, None);
                if board.visit(seat, name, Some(LIMIT)).is_ok() {
                    let now = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                    assert!(now <= u64::from(LIMIT), "{now} are inside");
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    board.depart(seat, name);
                }
                board.leave(seat);
            }
        };
        let come_and_go = &come_and_go;
        std::thread::scope(|scope| (0..6).for_each(|seat| drop(scope.spawn(move || come_and_go(seat)))));
        let board = Admission::map(memory.as_fd()).unwrap();
        assert_eq!((0..6).map(|seat| board.visitors().of(seat, name)).sum::<u64>(), 0);
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
