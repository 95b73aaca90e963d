//! Whether deletions make room. Where they do not (a snapshot keeps the blocks, a reader the file, a file system tells of it
//! later), deleting on and on would empty the store for nothing. Pure.
use std::time::{Duration, Instant};

/// So many in a row may seem to be in vain: others may have taken the room.
const PATIENCE: u32 = 4;
/// The first pause after that; it doubles with each one.
const FIRST: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST: Duration = Duration::from_secs(10);
/// After so many in vain somebody is told.
const TOLD: u32 = PATIENCE + 3;

/// The last deletion that was to make room.
#[derive(Debug)]
struct Last {
    at: Instant,
    /// Bytes that were available before, and those that it was to free.
    before: u64,
    freed: u64,
    /// Bytes of the store after it.
    store: u64,
}

/// What became of them.
#[derive(Debug, Default)]
pub(super) struct Freed {
    last: Option<Last>,
    in_vain: u32,
}

impl Freed {
    /// Whether more may be deleted for room. `available` now, the store being of `store` bytes.
    pub fn may_go_on(&mut self, available: u64, store: u64, now: Instant) -> bool {
        let Some(last) = &self.last else { return true };
        let grown = store.saturating_sub(last.store);
        if available.saturating_add(grown) >= last.before.saturating_add(last.freed / 2) {
            (self.last, self.in_vain) = (None, 0);
            return true;
        }
        let Some(more) = self.in_vain.checked_sub(PATIENCE) else { return true };
        now >= last.at + FIRST.saturating_mul(1 << more.min(10)).min(LONGEST)
    }

    /// So much is available right behind the deletion, before anybody can have taken it.
    pub fn see(&mut self, available: u64) {
        if self.last.as_ref().is_some_and(|last| available >= last.before.saturating_add(last.freed / 2)) {
            (self.last, self.in_vain) = (None, 0);
        }
    }

    /// `freed` bytes are deleted now. True: the time has come to tell that this makes no room.
    pub fn note(&mut self, available: u64, freed: u64, store: u64, now: Instant) -> bool {
        self.in_vain = if self.last.is_some() { self.in_vain.saturating_add(1) } else { 0 };
        self.last = Some(Last { at: now, before: available, freed, store });
        self.in_vain == TOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    /// Deletes 10 bytes whenever it may, for an hour, looking each 100 ms; how often.
    fn deletions(available: impl Fn(u64) -> u64, store: impl Fn(u64) -> u64) -> u64 {
        let (mut freed, mut deleted, begin) = (Freed::default(), 0, Instant::now());
        for at in (0..HOUR).step_by(100) {
            let now = begin + Duration::from_millis(at);
            if freed.may_go_on(available(deleted), store(deleted), now) {
                freed.note(available(deleted), 10, store(deleted), now);
                deleted += 1;
            }
        }
        deleted
    }

    #[test]
    fn deletions_that_make_room_go_on_and_others_hardly() {
        let looks = HOUR / 100;
        assert_eq!(deletions(|deleted| deleted * 10, |_| 1000), looks);
        let in_vain = deletions(|_| 0, |_| 1000);
        assert!((360..400).contains(&in_vain), "{in_vain}");
        // The writer takes at once what is freed.
        assert_eq!(deletions(|_| 0, |deleted| 1000 + deleted * 20), looks);
    }
}
