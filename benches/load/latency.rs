//! A histogram of times: 32 steps to each doubling, so that a quantile is right within 3 %.
use std::time::Duration;

const STEPS: u32 = 5;

/// Counts by nanoseconds.
#[derive(Clone, Default)]
pub struct Latency {
    counts: Vec<u64>,
    total: u64,
}

impl Latency {
    /// Counts one.
    pub fn record(&mut self, span: Duration) {
        let slot = slot(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        if slot >= self.counts.len() {
            self.counts.resize(slot + 1, 0);
        }
        self.counts[slot] += 1;
        self.total += 1;
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, more)| *own += more);
        self.total += other.total;
    }

    /// The time that this share of all stayed within; zero if nothing was counted.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted && seen > 0
        });
        Duration::from_nanos(found.map_or(0, lower_bound))
    }
}

fn slot(nanos: u64) -> usize {
    let doublings = (63 - nanos.max(1).leading_zeros()).saturating_sub(STEPS);
    (u64::from(doublings) << STEPS) as usize + (nanos >> doublings) as usize
}

fn lower_bound(slot: usize) -> u64 {
    let (slot, steps) = (slot as u64, 1 << STEPS);
    if slot < 2 * steps {
        return slot;
    }
    let doublings = (slot >> STEPS) - 1;
    (steps + (slot & (steps - 1))) << doublings
}
