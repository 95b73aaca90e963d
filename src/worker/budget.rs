//! The worker's memory bound: how many bytes all its connections may hold, and who may go on when it is reached.
//!
//! Promise: memory is bounded by the limit and its reserve plus one connection's bound, and some connection always makes progress. Pure.
use super::table::Key;
use crate::config::Config;

/// How long (milliseconds) a connection may take to finish a message beyond the limit.
const LEASE: u64 = 5000;

/// Counts bytes held, and gives one connection at a time the right to read when the limit is reached: otherwise a
/// thousand unfinished messages could hold all the memory and none could be finished. Who does not finish its message
/// in time has to give its bytes back.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    held: usize,
    lease: Option<(Key, u64)>,
}

/// What a connection that holds nothing may read when the limit is reached: enough for a short message. There is a reserve for
/// that, so that those who hold much do not keep out those who want next to nothing.
pub const LITTLE: usize = 4 << 10;
/// The reserve is this part of the limit.
const RESERVE: usize = 4;

/// Whether a connection may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may.
    Read,
    /// Not now.
    Wait,
    /// It may, a little: [`LITTLE`] at most.
    ReadLittle,
    /// It may, and this one, whose time is up, must be closed.
    Evict(Key),
}

impl Budget {
    /// The budget of a worker: `limits.max-buffered`, and at least four connections' own bounds.
    pub fn of(config: &Config) -> Self {
        let connection = config.server.max_message_size + 4 * config.limits.max_buffered_per_connection;
        Self::new(config.limits.max_buffered.max(4 * connection))
    }

    /// A budget of `limit` bytes.
    fn new(limit: usize) -> Self {
        Self { limit, held: 0, lease: None }
    }

    /// A connection's memory went from `before` to `after`.
    pub fn changed(&mut self, before: usize, after: usize) {
        self.held = (self.held + after).saturating_sub(before);
    }

    fn is_tight(&self) -> bool {
        self.held >= self.limit
    }

    /// Whether `key`, which holds so many bytes, may read at `now` (milliseconds).
    pub fn may_read(&mut self, key: Key, held: usize, now: u64) -> Answer {
        if !self.is_tight() {
            self.lease = None;
            return Answer::Read;
        }
        if held == 0 && self.held < self.limit + self.limit / RESERVE {
            return Answer::ReadLittle;
        }
        let answer = match self.lease {
            Some((holder, _)) if holder == key => return Answer::Read,
            Some((_, until)) if now < until => return Answer::Wait,
            Some((holder, _)) => Answer::Evict(holder),
            None => Answer::Read,
        };
        self.lease = Some((key, now + LEASE));
        answer
    }

    /// The connection is gone, or has no unfinished message: the next one may have its right.
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
    use Answer::*;

    #[test]
    fn when_memory_is_short_one_at_a_time_goes_on_and_gives_back() {
        let [a, b] = [0, 1].map(|n| Key::from_token(Key::FIRST_TOKEN + n));
        let mut budget = Budget::new(100);
        assert_eq!([budget.may_read(a, 1, 0), budget.may_read(b, 1, 0)], [Read, Read]);
        budget.changed(0, 100);
        assert_eq!(
            [budget.may_read(a, 1, 10), budget.may_read(b, 1, 20), budget.may_read(a, 1, 4999)],
            [Read, Wait, Read]
        );
        assert!(!budget.is_open(5009));
        assert!(budget.is_open(5010));
        assert_eq!([budget.may_read(b, 1, 5010), budget.may_read(a, 1, 5011)], [Evict(a), Wait]);
        budget.release(b);
        assert_eq!([budget.may_read(a, 1, 5012), budget.may_read(b, 1, 5013)], [Read, Wait]);
        budget.changed(100, 40);
        assert_eq!(budget.may_read(b, 1, 5014), Read);
    }

    #[test]
    fn who_holds_nothing_reads_a_little_from_the_reserve() {
        let [a, b] = [0, 1].map(|n| Key::from_token(Key::FIRST_TOKEN + n));
        let mut budget = Budget::new(100);
        budget.changed(0, 100);
        assert_eq!([budget.may_read(a, 50, 0), budget.may_read(b, 50, 0)], [Read, Wait]);
        assert_eq!(budget.may_read(b, 0, 0), ReadLittle);
        budget.changed(0, 25);
        assert_eq!(budget.may_read(b, 0, 0), Wait);
    }
}
