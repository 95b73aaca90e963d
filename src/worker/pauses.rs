//! Says that accepting pauses, and why: once when it begins, and once when it was not for a while, however often it is
//! tried in between. A limit that holds on is noted again and again: it is not over because nothing new has happened.
use crate::log::{Spell, Turn};
use std::io;
use std::time::Duration;

/// How often (milliseconds) a pause by `limits.max-connections` that goes on is another one.
const ANOTHER: u64 = 1000;

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// For want of descriptors or memory.
    exhausted: Spell,
    /// By `limits.max-connections`.
    full: Spell,
    /// When that was told last.
    full_at: u64,
}

impl Pauses {
    /// The connections of all workers are at the limit; `now` in milliseconds, as below.
    pub fn tell_full(&mut self, now: u64) {
        self.full_at = now;
        if self.full.note(true, Duration::from_millis(now)) == Turn::Begun {
            warn!(CONNECTIONS_FULL, "limits.max-connections is reached; new clients wait until others leave");
        }
    }

    /// They still are: whether that is another pause, to be told and counted.
    pub fn is_another(&self, now: u64) -> bool {
        now.saturating_sub(self.full_at) >= ANOTHER
    }

    /// No connection can be accepted.
    pub fn tell_exhausted(&mut self, error: &io::Error, now: u64) {
        if self.exhausted.note(true, Duration::from_millis(now)) == Turn::Begun {
            warn!(
                ACCEPT_FAILED,
                "cannot accept a connection: {error}; it is tried ten times a second; raise LimitNOFILE= if this lasts"
            );
        }
    }

    /// Says what is over; true: something is.
    pub fn look(&mut self, now: u64) -> bool {
        let mut over = false;
        for spell in [&mut self.exhausted, &mut self.full] {
            if let Turn::Over(pauses) = spell.note(false, Duration::from_millis(now)) {
                notice!(ACCEPTING_AGAIN, "connections are accepted again without a pause, after {pauses} of them");
                over = true;
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_holds_is_one_spell_and_a_pause_each_second() {
        let (mut pauses, mut counted) = (Pauses::default(), 1);
        pauses.tell_full(5_000);
        // As a worker looks: every 20 ms, for half a minute.
        for now in (5_020..=35_000).step_by(20) {
            assert!(!pauses.look(now), "over at {now}");
            if pauses.is_another(now) {
                pauses.tell_full(now);
                counted += 1;
            }
        }
        assert_eq!(counted, 31);
        assert!(!pauses.look(44_999) && pauses.look(45_000) && !pauses.look(45_001));
    }
}
