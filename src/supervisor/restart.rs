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
    told: bool,
}

impl Deaths {
    /// Counts a death and says how long to wait before the role is replaced: not at all, unless it died before without
    /// `progress` (nothing accepted, nothing committed).
    pub fn next_delay(&mut self, progress: bool, lived: Duration) -> Duration {
        if has_lived(progress, lived) {
            self.in_a_row = 0;
            return Duration::ZERO;
        }
        self.in_a_row += 1;
        match self.in_a_row {
            1 => Duration::ZERO,
            n => LONGEST_DELAY.min(FIRST_DELAY.saturating_mul(1u32.checked_shl(n - 2).unwrap_or(u32::MAX))),
        }
    }

    /// Whether it is to be said now that the role keeps dying: once, until it is [`well`](Self::well) again.
    pub fn tells(&mut self) -> bool {
        self.in_a_row > 1 && !std::mem::replace(&mut self.told, true)
    }

    /// Whether it is to be said now that the role lives again, which has made `progress` or lived for so long.
    pub fn well(&mut self, progress: bool, lived: Duration) -> bool {
        let well = self.told && has_lived(progress, lived);
        if well {
            *self = Self::default();
        }
        well
    }

    /// Deaths in a row without progress.
    pub fn in_a_row(self) -> u32 {
        self.in_a_row
    }
}

fn has_lived(progress: bool, lived: Duration) -> bool {
    progress || lived >= LONG_LIFE
}

/// What is said of the next tries: they come less and less often.
pub fn next_tries(delay: Duration) -> String {
    format!("next try in {delay:?}, and at last every {LONGEST_DELAY:?}")
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
    fn a_loop_of_deaths_is_told_once_and_its_end_once() {
        let (mut deaths, short) = (Deaths::default(), Duration::ZERO);
        let mut told = Vec::new();
        for _ in 0..5 {
            deaths.next_delay(false, short);
            told.push(deaths.tells());
            assert!(!deaths.well(false, short));
        }
        assert_eq!(told, [false, true, false, false, false]);
        assert!(deaths.well(false, LONG_LIFE) && !deaths.well(true, short));
        deaths.next_delay(false, short);
        assert!(!deaths.tells());
        deaths.next_delay(false, short);
        // Some of its lives store something, and no tick has seen it.
        assert!(deaths.tells() && deaths.next_delay(true, short).is_zero() && !deaths.tells());
        assert!(deaths.well(true, short));
    }

    #[test]
    fn failed_forks_wait_up_to_a_second() {
        let delays = [0, 1, 2, 3, 4, 31, 32, u32::MAX].map(|before| after_failed_fork(before).as_millis());
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000, 1000, 1000]);
    }
}
