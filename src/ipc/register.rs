//! The register: what a supervisor has to know of a run of the daemon that it did not begin, in memory that outlives it.
//!
//! Descriptors that a service manager keeps come back without a word of what was agreed on over them. That word is here:
//! the terms of every link, the last id given, and which store all that belongs to.
//!
//! Promise: only supervisors map it, one at a time; a link's row counts once its id is there, which is written last and
//! taken away first, so that a kill between leaves no half row.
use super::link::{MAX_LINKS, Terms};
use crate::sys::memory::{SharedWords, memfd};
use crate::sys::{BorrowedFd, OwnedFd};
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const STORE_AT: usize = 0;
const RUN_AT: usize = 1;
const LAST_ID_AT: usize = 2;
const ROWS_AT: usize = 8;
const ROW: usize = 4;
const WORDS: usize = ROWS_AT + ROW * MAX_LINKS;

/// The mapped register.
#[derive(Debug)]
pub struct Register(SharedWords);

impl Register {
    /// Makes its memory, all zero.
    pub fn memory() -> io::Result<OwnedFd> {
        memfd("register", (WORDS * size_of::<AtomicU64>()) as u64)
    }

    /// Maps it.
    ///
    /// # Errors
    /// It is shorter than a register is.
    pub fn map(memory: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(SharedWords::map(memory, WORDS)?))
    }

    /// Which store the run writes to, by a word of the caller's; 0: none yet.
    pub fn store(&self) -> u64 {
        self.0.words()[STORE_AT].load(Acquire)
    }

    /// Notes the store.
    pub fn set_store(&self, store: u64) {
        self.0.words()[STORE_AT].store(store, Release);
    }

    /// The run's id, as the store has it too; 0: it must not be gone on with.
    pub fn run(&self) -> u64 {
        self.0.words()[RUN_AT].load(Acquire)
    }

    /// Notes the run's id.
    pub fn set_run(&self, run: u64) {
        self.0.words()[RUN_AT].store(run, Release);
    }

    /// The next link's id: never one that was given before, also if that link was never used.
    pub fn next_id(&self) -> u64 {
        let id = self.0.words()[LAST_ID_AT].load(Acquire) + 1;
        self.0.words()[LAST_ID_AT].store(id, Release);
        id
    }

    /// Enters a link. There are as many rows as there may be links; one too many is not entered.
    pub fn enter(&self, terms: Terms) {
        let words = self.0.words();
        let Some(row) = (0..MAX_LINKS).map(row).find(|&row| words[row].load(Relaxed) == 0) else { return };
        let rest = [terms.secret, terms.frame_limit as u64, terms.record_limit as u64];
        for (word, value) in words[row + 1..].iter().zip(rest) {
            word.store(value, Relaxed);
        }
        words[row].store(terms.id, Release);
    }

    /// Takes a link out.
    pub fn strike(&self, id: u64) {
        let words = self.0.words();
        for row in (0..MAX_LINKS).map(row).filter(|&row| words[row].load(Relaxed) == id) {
            words[row].store(0, Release);
        }
    }

    /// What was agreed on over every link that is entered.
    pub fn terms(&self) -> Vec<Terms> {
        let words = self.0.words();
        let read = |row: usize| {
            let [id, secret, frame, record] = [0, 1, 2, 3].map(|at| words[row + at].load(Acquire));
            let (frame_limit, record_limit) = (usize::try_from(frame).ok()?, usize::try_from(record).ok()?);
            (id > 0).then_some(Terms { id, secret, frame_limit, record_limit })
        };
        (0..MAX_LINKS).map(row).filter_map(read).collect()
    }
}

fn row(index: usize) -> usize {
    ROWS_AT + ROW * index
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_next_supervisor_reads_what_the_last_one_wrote() {
        let memory = Register::memory().unwrap();
        let first = Register::map(memory.as_fd()).unwrap();
        assert_eq!((first.store(), first.run(), first.terms()), (0, 0, vec![]));
        first.set_store(77);
        first.set_run(3);
        let terms = |id| Terms { id, secret: id * 1000, frame_limit: 4096, record_limit: 70_000 };
        let ids: Vec<u64> = (0..3).map(|_| first.next_id()).collect();
        ids.iter().for_each(|&id| first.enter(terms(id)));
        first.strike(2);
        drop(first);
        let second = Register::map(memory.as_fd()).unwrap();
        assert_eq!((second.store(), second.run()), (77, 3));
        assert_eq!(second.terms(), [terms(1), terms(3)]);
        assert_eq!(second.next_id(), 4, "also of a link that is gone");
        second.enter(terms(4));
        assert_eq!(second.terms(), [terms(1), terms(4), terms(3)]);
    }

    #[test]
    fn one_too_many_is_not_entered() {
        let memory = Register::memory().unwrap();
        let register = Register::map(memory.as_fd()).unwrap();
        for id in 1..=MAX_LINKS as u64 + 1 {
            register.enter(Terms { id, secret: 1, frame_limit: 1, record_limit: 1 });
        }
        assert_eq!(register.terms().len(), MAX_LINKS);
    }

    #[test]
    fn what_is_too_short_is_no_register() {
        assert!(Register::map(memfd("short", 64).unwrap().as_fd()).is_err());
    }
}
