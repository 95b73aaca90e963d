//! When to try again, and when to give up. Pure.
use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// After so many connections that ended without an echo the same message is suspect.
const SUSPECT: u32 = 5;

/// Counts what went wrong since the last echo.
#[derive(Debug)]
pub struct Patience {
    retries: Option<u32>,
    /// Attempts that failed, and connections lost.
    faults: u32,
    /// Of these, connections over which something was sent.
    unanswered: u32,
}

impl Patience {
    /// Gives up after so many retries in a row; `None`: never.
    pub fn new(retries: Option<u32>) -> Self {
        Self { retries, faults: 0, unanswered: 0 }
    }

    /// A message was echoed.
    pub fn progress(&mut self) {
        (self.faults, self.unanswered) = (0, 0);
    }

    /// An attempt failed, or a connection was lost: how long to wait before the next one. `None`: give up.
    pub fn fault(&mut self) -> Option<Duration> {
        self.faults = self.faults.saturating_add(1);
        if self.retries.is_some_and(|retries| self.faults > retries) {
            return None;
        }
        Some((SHORTEST * (1 << (self.faults - 1).min(16))).min(LONGEST))
    }

    /// The connection that is lost had carried messages, and brought no echo. True once, when that is no accident any more.
    pub fn unanswered(&mut self) -> bool {
        self.unanswered = self.unanswered.saturating_add(1);
        self.unanswered == SUSPECT
    }

    /// How many connections were such, since the last echo.
    pub fn unanswered_so_far(&self) -> u32 {
        self.unanswered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_ten_seconds() {
        let mut patience = Patience::new(None);
        let waits: Vec<u128> = (0..9).map(|_| patience.fault().unwrap().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        patience.progress();
        assert_eq!(patience.fault(), Some(SHORTEST));
        patience.faults = u32::MAX - 1;
        assert_eq!((patience.fault(), patience.fault()), (Some(LONGEST), Some(LONGEST)));
    }

    #[test]
    fn retries_in_a_row_are_counted() {
        assert_eq!(Patience::new(Some(0)).fault(), None);
        let mut patience = Patience::new(Some(2));
        assert!(patience.fault().is_some() && patience.fault().is_some());
        patience.progress();
        assert!(patience.fault().is_some() && patience.fault().is_some() && patience.fault().is_none());
    }

    #[test]
    fn a_suspect_message_is_told_once() {
        let mut patience = Patience::new(None);
        let told: Vec<bool> = (0..7).map(|_| patience.unanswered()).collect();
        assert_eq!(told, [false, false, false, false, true, false, false]);
        patience.progress();
        assert_eq!(patience.unanswered_so_far(), 0);
    }
}
