//! How fast each address is: what it has taken is written down as time, shared by all workers. Part of the admission board.
//!
//! A ledger has one word for each address that was lately active: until when it has paid (microseconds of the board's clock).
//! Whoever takes something moves that on by the time that it costs at the allowed rate; if that leads beyond now, it waits
//! until then. Who took nothing for a while has a second's worth ahead, no more: an entry from before that says nothing that
//! an empty place does not say, and anybody may have its place.
//!
//! Promise: no lock; each word changes by one compare-and-swap. Those that wait do so in the order in which they came. Where all
//! places are taken by others, an address that is new is not held up: a rate slows clients down, it refuses nobody.
use super::visitors::Name;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

const WAYS: usize = 8;
const BUCKETS: usize = 4096;
/// Words of a ledger.
pub(super) const WORDS: usize = WAYS * BUCKETS;
/// Microseconds' worth that may be taken at once.
const BURST: u64 = 1_000_000;
/// The clock begins here, so that "a second ago" can be told from "never".
pub const BEGIN: u64 = 2 * BURST;

/// An entry: 16 bits of the name, and until when it has paid: enough for 8 years.
const UNTIL_BITS: u32 = 48;
const UNTIL: u64 = (1 << UNTIL_BITS) - 1;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole messages.
    Messages,
    /// Bytes received.
    Bytes,
}

/// One ledger.
#[derive(Clone, Copy, Debug)]
pub struct Ledger<'a>(pub(super) &'a [AtomicU64]);

impl Ledger<'_> {
    /// Writes down that `name` takes what costs so many microseconds; how long it has to wait first, in microseconds.
    pub fn pay(self, name: Name, cost: u64, now: u64) -> u64 {
        let (bucket, tag) = self.bucket(name);
        loop {
            let mut free = None;
            let mut own = None;
            for word in bucket {
                let entry = word.load(Relaxed);
                if entry != 0 && entry >> UNTIL_BITS == tag {
                    own = Some((word, entry));
                    break;
                }
                if free.is_none() && (entry & UNTIL) + BURST <= now {
                    free = Some((word, entry, 0));
                }
            }
            let Some((word, entry, until)) = own.map(|(word, entry)| (word, entry, entry & UNTIL)).or(free) else {
                return 0;
            };
            let until = paid_until(until, now, cost).min(UNTIL);
            if word.compare_exchange_weak(entry, tag << UNTIL_BITS | until, Relaxed, Relaxed).is_ok() {
                return until.saturating_sub(now);
            }
        }
    }

    /// Gives back what was paid for and not taken.
    pub fn refund(self, name: Name, cost: u64) {
        let (bucket, tag) = self.bucket(name);
        for word in bucket {
            let back = |entry: u64| {
                (entry != 0 && entry >> UNTIL_BITS == tag)
                    .then(|| tag << UNTIL_BITS | (entry & UNTIL).saturating_sub(cost).max(1))
            };
            if word.fetch_update(Relaxed, Relaxed, back).is_ok() {
                return;
            }
        }
    }

    fn bucket(&self, name: Name) -> (&[AtomicU64], u64) {
        let (bucket, tag) = name.place(BUCKETS);
        (&self.0[bucket * WAYS..(bucket + 1) * WAYS], tag)
    }
}

/// Until when is paid after `cost` more, with a credit of at most [`BURST`].
fn paid_until(until: u64, now: u64, cost: u64) -> u64 {
    until.max(now.saturating_sub(BURST)).saturating_add(cost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::RandomState;
    use std::net::IpAddr;

    fn words() -> Vec<AtomicU64> {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    fn name(n: u32, key: &RandomState) -> Name {
        Name::of(IpAddr::V4(n.into()), key)
    }

    #[test]
    fn a_second_at_once_then_in_line() {
        let (words, key) = (words(), RandomState::new());
        let (ledger, one, other) = (Ledger(&words), name(1, &key), name(2, &key));
        let cost = BURST / 4;
        let waits: Vec<u64> = (0..6).map(|_| ledger.pay(one, cost, BEGIN)).collect();
        assert_eq!(waits, [0, 0, 0, 0, cost, 2 * cost]);
        assert_eq!(ledger.pay(other, cost, BEGIN), 0);
        ledger.refund(one, 2 * cost);
        assert_eq!(ledger.pay(one, cost, BEGIN), cost);
        // However long nothing came, there is one second's worth.
        let later = BEGIN + 1000 * BURST;
        let waits: Vec<u64> = (0..5).map(|_| ledger.pay(one, cost, later)).collect();
        assert_eq!(waits, [0, 0, 0, 0, cost]);
    }

    #[test]
    fn old_entries_make_room_and_a_full_bucket_holds_nobody_up() {
        let (words, key) = (words(), RandomState::new());
        let ledger = Ledger(&words);
        let wait = |n, cost, now| ledger.pay(name(n, &key), cost, now);
        // A name shares its entry with another in one of 2^28 cases; here there are 200,000 in 4096 buckets.
        assert!((0..200_000).filter(|&n| wait(n, BURST, BEGIN) > 0).count() < 200);
        assert!(words.iter().all(|word| word.load(Relaxed) != 0));
        let later = BEGIN + 10 * BURST;
        assert!((0..100).filter(|&n| wait(n, 2 * BURST, later) == BURST).count() > 95);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whoever asks, however often, and waits as told, takes no more than the rate and one second's worth.
        #[test]
        fn nobody_is_faster_than_allowed(costs in proptest::collection::vec((1u64..400_000, 0u64..700_000), 1..100)) {
            let (words, key) = (words(), RandomState::new());
            let (ledger, one) = (Ledger(&words), name(7, &key));
            let (mut now, mut taken) = (BEGIN, 0);
            for (cost, pause) in costs {
                now += pause;
                now += ledger.pay(one, cost, now);
                taken += cost;
                prop_assert!(taken <= now - BEGIN + BURST, "{taken} in {}", now - BEGIN);
            }
        }
    }

    #[test]
    fn threads_together_keep_to_the_rate() {
        let (words, key) = (words(), RandomState::new());
        let (ledger, one) = (Ledger(&words), name(3, &key));
        let most = |_| (0..10_000).map(|_| ledger.pay(one, 100, BEGIN)).max().unwrap();
        let longest = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || most(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
        });
        // Not one payment is lost.
        assert_eq!(longest, 40_000 * 100 - BURST);
    }
}
