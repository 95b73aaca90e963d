//! Histograms on the scoreboard: how long, or how many, in buckets that never change.
//!
//! Promise: one event costs a walk over a few bounds and two plain stores.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of times, inclusive, in microseconds; what is above the last has a bucket of its own.
pub const TIMES: [u64; BOUNDS] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];
/// Upper bounds of numbers.
pub const NUMBERS: [u64; BOUNDS] =
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536];

const BOUNDS: usize = 17;
/// Buckets of a histogram.
pub const BUCKETS: usize = BOUNDS + 1;
/// Words from one to the next: whole cache lines.
pub(super) const STRIDE: usize = (BUCKETS + 1).next_multiple_of(8);
pub(super) const WORDS: usize = STRIDE * Series::ALL.len();

/// A time as a histogram counts it.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What there are histograms of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Series {
    /// Worker: from the turn in which a message was received to that in which its echo was released.
    Echo,
    /// Writer: one write of a batch.
    Write,
    /// Writer: one sync of a segment.
    Sync,
    /// Writer: messages of a batch that was stored.
    Batch,
}

impl Series {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Echo, Self::Write, Self::Sync, Self::Batch];

    /// The upper bounds of its buckets.
    pub const fn bounds(self) -> &'static [u64; BOUNDS] {
        match self {
            Self::Batch => &NUMBERS,
            Self::Echo | Self::Write | Self::Sync => &TIMES,
        }
    }
}

/// The content of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Events by bucket, each in one only.
    pub counts: [u64; BUCKETS],
    /// The sum of their values.
    pub sum: u64,
}

impl Buckets {
    /// Adds another one of the same series.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// All events.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

pub(super) fn observe(words: &[AtomicU64], series: Series, value: u64, times: u64) {
    let bucket = series.bounds().iter().position(|&bound| value <= bound).unwrap_or(BOUNDS);
    let more = |word: &AtomicU64, amount: u64| word.store(word.load(Relaxed).wrapping_add(amount), Relaxed);
    more(&words[bucket], times);
    more(&words[BUCKETS], value.saturating_mul(times));
}

pub(super) fn read(words: &[AtomicU64]) -> Buckets {
    Buckets { counts: std::array::from_fn(|bucket| words[bucket].load(Relaxed)), sum: words[BUCKETS].load(Relaxed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_are_inclusive() {
        for series in Series::ALL {
            assert!(series.bounds().is_sorted());
            let words: Vec<AtomicU64> = (0..STRIDE).map(|_| AtomicU64::new(0)).collect();
            for (bucket, &bound) in series.bounds().iter().enumerate() {
                observe(&words, series, bound, 1);
                assert_eq!(read(&words).counts[bucket], 1);
                observe(&words, series, bound + 1, 2);
                assert_eq!(read(&words).counts[bucket + 1], 2);
                words.iter().for_each(|word| word.store(0, Relaxed));
            }
        }
    }

    #[test]
    fn sums_add_up() {
        let words: Vec<AtomicU64> = (0..STRIDE).map(|_| AtomicU64::new(0)).collect();
        observe(&words, Series::Echo, 0, 5);
        observe(&words, Series::Echo, u64::MAX / 4, 2);
        let mut buckets = read(&words);
        assert_eq!((buckets.total(), buckets.counts[0], buckets.counts[BOUNDS]), (7, 5, 2));
        buckets.add(&read(&words));
        assert_eq!((buckets.total(), buckets.sum), (14, u64::MAX / 4 * 4));
    }
}
