//! Lets through a few lines of a kind in a while and counts the rest: clients must not be able to flood the log.
use std::sync::atomic::{AtomicU64, Ordering};

/// For lines of one kind.
#[derive(Debug)]
pub struct Limiter {
    window: AtomicU64,
    lines: AtomicU64,
    held_back: AtomicU64,
}

impl Limiter {
    const SECONDS: u64 = 10;
    const LINES: u64 = 5;

    /// A limiter that has let nothing through yet.
    pub const fn new() -> Self {
        Self { window: AtomicU64::new(0), lines: AtomicU64::new(0), held_back: AtomicU64::new(0) }
    }

    /// Whether a line may be written at `now` (seconds of any clock), and how many were held back before it.
    pub fn admit(&self, now: u64) -> Option<u64> {
        if self.window.swap(now / Self::SECONDS, Ordering::Relaxed) != now / Self::SECONDS {
            self.lines.store(0, Ordering::Relaxed);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) < Self::LINES {
            Some(self.held_back.swap(0, Ordering::Relaxed))
        } else {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_in_the_next_window() {
        let limiter = Limiter::new();
        let through = (0..100).filter(|_| limiter.admit(1000).is_some()).count();
        assert_eq!(through, 5);
        assert_eq!(limiter.admit(1010), Some(95));
        assert_eq!(limiter.admit(1011), Some(0));
    }
}
