//! When a role that died is replaced. Pure: a table of unit tests.
use std::time::{Duration, Instant};

/// The delay after the second death in a row without progress; it doubles with each one after.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay: it keeps trying.
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// The longest time until a fork that failed is tried again: trying costs little, and nobody else is harmed by it.
const LONGEST_FORK_DELAY: Duration = Duration::from_secs(1);
/// A role that lived this long has made progress by living.
const LONG_LIFE: Duration = Duration::from_secs(10);

/// What is known of a role's deaths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    in_a_row: u32,
}

impl Deaths {
    /// Counts a death and says how long to wait before the role is replaced: not at all, unless it died before without
    /// `progress` (nothing accepted, nothing committed).
    pub fn next_delay(&mut self, progress: bool, lived: Duration) -> Duration {
        if progress || lived >= LONG_LIFE {
            self.in_a_row = 0;
            return Duration::ZERO;
        }
        self.in_a_row += 1;
        match self.in_a_row {
            1 => Duration::ZERO,
            n => LONGEST_DELAY.min(FIRST_DELAY.saturating_mul(1u32.checked_shl(n - 2).unwrap_or(u32::MAX))),
        }
    }

    /// Deaths in a row without progress.
    pub fn in_a_row(self) -> u32 {
        self.in_a_row
    }
}

/// When to replace a role that has died at `now`.
pub fn replace_at(deaths: &mut Deaths, progress: bool, lived: Duration, now: Instant) -> Instant {
    now + deaths.next_delay(progress, lived)
}

/// How long after a failed fork, with `before` of them in a row before it, the next one is tried.
pub fn after_failed_fork(before: u32) -> Duration {
    LONGEST_FORK_DELAY.min(FIRST_DELAY.saturating_mul(1u32.checked_shl(before).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(deaths: &[(bool, u64)]) -> Vec<u128> {
        let mut state = Deaths::default();
        deaths
            .iter()
            .map(|&(progress, lived)| state.next_delay(progress, Duration::from_secs(lived)).as_millis())
            .collect()
    }

    #[test]
    fn deaths_with_progress_cost_nothing() {
        assert_eq!(delays(&[(true, 0); 100]), [0; 100]);
        assert_eq!(delays(&[(false, 60); 3]), [0; 3]);
    }

    #[test]
    fn deaths_without_progress_wait_longer_and_longer_and_never_give_up() {
        assert_eq!(delays(&[(false, 0); 11]), [0, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000]);
        assert_eq!(*delays(&[(false, 0); 100]).last().unwrap(), 10000);
        assert_eq!(delays(&[(false, 0), (false, 0), (true, 0), (false, 0), (false, 0)]), [0, 100, 0, 0, 100]);
    }
    #[test]
    fn failed_forks_wait_up_to_a_second() {
        let delays = [0, 1, 2, 3, 4, 31, 32, u32::MAX].map(|before| after_failed_fork(before).as_millis());
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000, 1000, 1000]);
    }
}
