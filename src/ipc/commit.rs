//! The commit record: what the writer is about to do, and what it has done, in memory that outlives it.
//!
//! Promise: at whatever instruction a writer is killed, its successor reads here either a settled state or one intent
//! on top of it. A slot that is not in use is filled first and published by one atomic store after; there are three, so
//! that an intent can be replaced by another (a batch that moves to a new segment) without touching what it replaces.
//! The supervisor keeps the memory and never maps it; a worker never sees it, so that a broken-into worker cannot forge
//! a commit.
use super::link::MAX_LINKS;
use crate::store::segment::Identity;
use crate::sys::memory::{SharedWords, memfd};
use crate::sys::{BorrowedFd, OwnedFd};
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Version of this layout: an upgraded daemon may find the memory of the one before.
const VERSION: u64 = 3;

const VERSION_AT: usize = 0;
const INTENT_AT: usize = 1;
const COMMIT_AT: usize = 2;
const FAILED_AT: usize = 3;
const TAMPERED_AT: usize = 4;
const SLOTS_AT: usize = 8;
const FLAGS: usize = 7;
const STORED_AT: usize = 8;
const MARKS_AT: usize = 10;
const MARK: usize = 4;
const SLOT: usize = MARKS_AT + MARK * MAX_LINKS;
const SLOTS: u64 = 3;
const WORDS: usize = SLOTS_AT + 3 * SLOT;

/// Bits of a slot's word of flags.
const SETTLED: u64 = 1;
const OVERHANG: u64 = 2;

/// How far one link has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The link.
    pub id: u64,
    /// All its frames up to this one are in the store, or refused.
    pub through: u64,
    /// Bytes in its staging area of a record that is not complete.
    pub staged: u64,
    /// 0: the last one was stored. Else all from this one on were refused, and all that follow will be until a fresh one
    /// comes.
    pub refused_from: u64,
}

/// What was stored since the memory of the record was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Messages.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
}

impl Stored {
    /// With so much more.
    pub fn and(self, messages: u64, bytes: u64) -> Self {
        Self { messages: self.messages.wrapping_add(messages), bytes: self.bytes.wrapping_add(bytes) }
    }
}

/// All that a writer has to know to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The live segment.
    pub segment: Identity,
    /// Its bytes that are whole, committed records.
    pub offset: u64,
    /// Of these, what a successful sync is known to have covered.
    pub good_to: u64,
    /// Every link that is not yet at its end; of an intent, in the order of its frames in the file.
    pub marks: Vec<Mark>,
    /// Behind `offset` stand bytes of a batch that was given up: the segment has to be left, and cut there.
    pub overhang: bool,
    /// All that was stored: it is counted with the commit, so that no death is between the two.
    pub stored: Stored,
}

impl State {
    /// How far a link has come; a new one has not begun.
    pub fn mark(&self, id: u64) -> Mark {
        self.marks.iter().copied().find(|mark| mark.id == id).unwrap_or(Mark { id, ..Mark::default() })
    }
}

/// What a writer finds when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: no writer has committed anything in this run of the daemon.
    Nothing,
    /// The last writer was between two batches.
    Settled(State),
    /// It was in the middle of one: `next` on top of `base`. How much of it is in the file is unknown.
    Pending {
        /// What was committed.
        base: State,
        /// What was intended.
        next: State,
    },
}

/// The mapped record.
#[derive(Debug)]
pub struct CommitRecord(SharedWords);

impl CommitRecord {
    /// Makes its memory, all zero.
    pub fn memory() -> io::Result<OwnedFd> {
        memfd("commit-record", (WORDS * 8) as u64)
    }

    /// Maps it.
    ///
    /// # Errors
    /// It is of another version.
    pub fn map(memory: BorrowedFd<'_>) -> io::Result<Self> {
        let words = SharedWords::map(memory, WORDS)?;
        match words.words()[VERSION_AT].load(Acquire) {
            0 => words.words()[VERSION_AT].store(VERSION, Release),
            VERSION => {}
            other => return Err(io::Error::other(format!("a commit record of version {other}, not {VERSION}"))),
        }
        Ok(Self(words))
    }

    /// What the last writer left.
    pub fn read(&self) -> Found {
        let intent = self.0.words()[INTENT_AT].load(Acquire);
        if intent != 0 && self.slot(intent)[FLAGS].load(Relaxed) & SETTLED != 0 {
            // It may have been killed before it published this word too.
            self.commit();
        }
        let commit = self.0.words()[COMMIT_AT].load(Acquire);
        match (commit, intent == commit) {
            (0, _) => Found::Nothing,
            (_, true) => Found::Settled(self.load(commit)),
            (_, false) => Found::Pending { base: self.load(commit), next: self.load(intent) },
        }
    }

    /// Publishes what is about to be done, on top of what was committed last; replaces an intent not yet committed.
    pub fn intend(&self, next: &State) {
        self.publish(next, 0);
    }

    /// Publishes `state` as committed, in one step: an intent not yet committed is given up for it.
    pub fn settle(&self, state: &State) {
        self.publish(state, SETTLED);
        self.commit();
    }

    fn publish(&self, state: &State, flags: u64) {
        let intent = self.0.words()[INTENT_AT].load(Relaxed);
        let commit = self.0.words()[COMMIT_AT].load(Relaxed);
        // A published word is a running number times SLOTS plus the slot, and never 0.
        let number = (intent / SLOTS + 1) * SLOTS;
        let in_use = [intent % SLOTS, commit % SLOTS];
        let free = (0..SLOTS).find(|slot| !in_use.contains(slot)).unwrap_or(0);
        self.store(number + free, state, flags);
        self.0.words()[INTENT_AT].store(number + free, Release);
    }

    /// Publishes that the last intent was carried out.
    pub fn commit(&self) {
        let intent = self.0.words()[INTENT_AT].load(Relaxed);
        self.0.words()[COMMIT_AT].store(intent, Release);
    }

    /// Notes, before anything follows from it, that a write or sync of segment `sequence` failed: no writer may write or
    /// sync it again. Of several, the oldest counts: what follows it is saved with it.
    pub fn set_failed(&self, sequence: u64) {
        let oldest = self.failed().map_or(sequence, |known| known.min(sequence));
        self.0.words()[FAILED_AT].store(oldest, Release);
    }

    /// The oldest segment that failed and is not saved.
    pub fn failed(&self) -> Option<u64> {
        Some(self.0.words()[FAILED_AT].load(Acquire)).filter(|&sequence| sequence > 0)
    }

    /// Notes that everything that failed is saved.
    pub fn clear_failed(&self) {
        self.0.words()[FAILED_AT].store(0, Release);
    }

    /// Notes that others have changed segment `sequence`: no writer may write it again.
    pub fn set_tampered(&self, sequence: u64) {
        self.0.words()[TAMPERED_AT].store(sequence, Release);
    }

    /// Whether that was noted of segment `sequence`.
    pub fn is_tampered(&self, sequence: u64) -> bool {
        self.0.words()[TAMPERED_AT].load(Acquire) == sequence
    }

    /// Makes it as new.
    #[cfg(test)]
    pub(crate) fn reset(&self) {
        for at in [INTENT_AT, COMMIT_AT, FAILED_AT, TAMPERED_AT] {
            self.0.words()[at].store(0, Release);
        }
    }

    fn slot(&self, word: u64) -> &[AtomicU64] {
        let base = SLOTS_AT + usize::try_from(word % SLOTS).unwrap_or(0) * SLOT;
        &self.0.words()[base..base + SLOT]
    }

    fn store(&self, word: u64, state: &State, flags: u64) {
        let slot = self.slot(word);
        let Identity { sequence, start, device, inode } = state.segment;
        let flags = flags | if state.overhang { OVERHANG } else { 0 };
        let count = state.marks.len() as u64;
        let head = [sequence, start.cast_unsigned(), device, inode, state.offset, count, state.good_to, flags];
        for (word, value) in slot.iter().zip(head) {
            word.store(value, Relaxed);
        }
        slot[STORED_AT].store(state.stored.messages, Relaxed);
        slot[STORED_AT + 1].store(state.stored.bytes, Relaxed);
        for (words, mark) in slot[MARKS_AT..].chunks_exact(MARK).zip(&state.marks) {
            for (word, value) in words.iter().zip([mark.id, mark.through, mark.staged, mark.refused_from]) {
                word.store(value, Relaxed);
            }
        }
    }

    fn load(&self, word: u64) -> State {
        let slot = self.slot(word);
        let word = |at: usize| slot[at].load(Relaxed);
        let segment = Identity { sequence: word(0), start: word(1).cast_signed(), device: word(2), inode: word(3) };
        let count = usize::try_from(word(5)).unwrap_or(0).min(MAX_LINKS);
        let mark = |at: usize| {
            let [id, through, staged, refused_from] = [at, at + 1, at + 2, at + 3].map(word);
            Mark { id, through, staged, refused_from }
        };
        let marks = (0..count).map(|index| mark(MARKS_AT + MARK * index)).collect();
        let stored = Stored { messages: word(STORED_AT), bytes: word(STORED_AT + 1) };
        State { segment, offset: word(4), good_to: word(6), marks, overhang: word(FLAGS) & OVERHANG != 0, stored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn state(offset: u64) -> State {
        let segment = Identity { sequence: 3, start: -5, device: 1, inode: 2 };
        let mark = |id| Mark { id, through: offset * 10, staged: offset, refused_from: offset + id };
        let marks = (0..offset % 7).map(mark).collect();
        let stored = Stored { messages: offset + 1, bytes: offset + 2 };
        State { segment, offset, good_to: offset / 2, marks, overhang: offset.is_multiple_of(2), stored }
    }

    #[test]
    fn of_several_failures_the_oldest_counts() {
        let memory = CommitRecord::memory().unwrap();
        let record = CommitRecord::map(memory.as_fd()).unwrap();
        assert_eq!(record.failed(), None);
        for (sequence, oldest) in [(7, 7), (9, 7), (5, 5), (6, 5)] {
            record.set_failed(sequence);
            assert_eq!(record.failed(), Some(oldest));
        }
        record.clear_failed();
        assert_eq!(record.failed(), None);
    }

    #[test]
    fn filling_a_slot_touches_nothing_published() {
        let memory = CommitRecord::memory().unwrap();
        let writer = CommitRecord::map(memory.as_fd()).unwrap();
        writer.intend(&state(1));
        writer.commit();
        for offset in 2..20 {
            let before = writer.0.words()[INTENT_AT].load(Relaxed);
            writer.intend(&state(offset));
            let after = writer.0.words()[INTENT_AT].load(Relaxed);
            assert_ne!(before % SLOTS, after % SLOTS);
            assert_ne!(writer.0.words()[COMMIT_AT].load(Relaxed) % SLOTS, after % SLOTS);
            if offset % 3 == 0 {
                writer.commit();
            }
        }
    }

    #[test]
    fn settling_is_one_step_that_gives_up_an_intent() {
        let memory = CommitRecord::memory().unwrap();
        let writer = CommitRecord::map(memory.as_fd()).unwrap();
        writer.intend(&state(1));
        writer.commit();
        for offset in 2..20 {
            writer.intend(&state(100));
            // Killed between the two stores of `settle`, and then a successor that is killed in its first batch.
            writer.publish(&state(offset), SETTLED);
            let successor = CommitRecord::map(memory.as_fd()).unwrap();
            assert_eq!(successor.read(), Found::Settled(state(offset)));
            successor.intend(&state(200));
            assert_eq!(successor.read(), Found::Pending { base: state(offset), next: state(200) });
            successor.settle(&state(offset + 1));
            assert_eq!(successor.read(), Found::Settled(state(offset + 1)));
        }
    }

    #[test]
    fn a_successor_reads_what_was_published_and_nothing_else() {
        let memory = CommitRecord::memory().unwrap();
        let successor = || CommitRecord::map(memory.as_fd()).unwrap().read();
        let writer = CommitRecord::map(memory.as_fd()).unwrap();
        assert_eq!(successor(), Found::Nothing);
        writer.intend(&state(1));
        assert_eq!(successor(), Found::Nothing);
        writer.commit();
        for offset in 2..20 {
            assert_eq!(successor(), Found::Settled(state(offset - 1)));
            for attempt in 0..offset % 4 {
                writer.intend(&state(100 + attempt));
                assert_eq!(successor(), Found::Pending { base: state(offset - 1), next: state(100 + attempt) });
            }
            writer.intend(&state(offset));
            assert_eq!(successor(), Found::Pending { base: state(offset - 1), next: state(offset) });
            writer.commit();
        }
    }
}
