//! The worker's memory bound: how many bytes all its connections may hold, and who may go on when it is reached.
//!
//! Promise: memory is bounded by the limit plus one connection's bound, and some connection always makes progress. Pure.
use super::table::Key;

/// How long (milliseconds) a connection keeps the right to read beyond the limit without another's claim.
const LEASE: u64 = 1000;

/// Counts bytes held, and gives one connection at a time the right to read when the limit is reached: otherwise a
/// thousand unfinished messages could hold all the memory and none could be finished.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    held: usize,
    lease: Option<(Key, u64)>,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, held: 0, lease: None }
    }

    /// A connection's memory went from `before` to `after`.
    pub fn changed(&mut self, before: usize, after: usize) {
        self.held = (self.held + after).saturating_sub(before);
    }

    /// Whether the limit is reached.
    pub fn is_tight(&self) -> bool {
        self.held >= self.limit
    }

    /// Whether `key` may read at `now` (milliseconds).
    pub fn may_read(&mut self, key: Key, now: u64) -> bool {
        if !self.is_tight() {
            self.lease = None;
            return true;
        }
        match self.lease {
            Some((holder, _)) if holder == key => true,
            Some((_, until)) if now < until => false,
            _ => {
                self.lease = Some((key, now + LEASE));
                true
            }
        }
    }

    /// The connection is gone, or needs no more.
    pub fn release(&mut self, key: Key) {
        if self.lease.is_some_and(|(holder, _)| holder == key) {
            self.lease = None;
        }
    }

    /// Whether those who had to wait may ask again.
    pub fn is_open(&self, now: u64) -> bool {
        !self.is_tight() || self.lease.is_none_or(|(_, until)| now >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_memory_is_short_one_at_a_time_goes_on() {
        let [a, b] = [0, 1].map(|n| Key::from_token(Key::FIRST_TOKEN + n));
        let mut budget = Budget::new(100);
        assert!(budget.may_read(a, 0) && budget.may_read(b, 0));
        budget.changed(0, 100);
        assert!(budget.may_read(a, 10) && !budget.may_read(b, 20) && budget.may_read(a, 500));
        assert!(!budget.is_open(500));
        assert!(budget.is_open(1010) && budget.may_read(b, 1010) && !budget.may_read(a, 1011));
        budget.release(b);
        assert!(budget.may_read(a, 1012));
        budget.changed(100, 40);
        assert!(budget.may_read(b, 1013));
    }
}
