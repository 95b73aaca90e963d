//! The admission board: workers count connections on it, so that a limit holds for all of them together; and by address,
//! how many and how fast.
//!
//! Promise: plain atomic stores, no lock, no system call; each value has one writer, but for the rates.
use super::link::MAX_LINKS;
use super::rates::{self, Kind, Ledger};
use super::visitors::{self, Name, Visitors};
use crate::sys::memory::{SharedWords, memfd};
use crate::sys::{BorrowedFd, OwnedFd};
use std::hash::RandomState;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

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
}
