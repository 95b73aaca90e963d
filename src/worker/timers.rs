//! Deadlines of connections, earliest first. An entry whose reason is gone is dropped when it comes up.
use super::table::Key;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The deadlines, in milliseconds of the worker's clock.
#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<(u64, Key)>>);

impl Timers {
    /// Adds a deadline.
    pub fn push(&mut self, at: u64, key: Key) {
        self.0.push(Reverse((at, key)));
    }

    /// The next connection whose deadline has come.
    pub fn pop(&mut self, now: u64) -> Option<Key> {
        self.0.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.0.pop().map(|Reverse((_, key))| key)
    }

    /// The next deadline.
    pub fn next(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
