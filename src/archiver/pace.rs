//! How fast the archiver seals: as fast as it can on an idle machine, with a small part of one processor where others want it.
//!
//! A low priority is not enough: whenever all others wait for each other for a moment, the scheduler gives it the processor,
//! and takes it away again a moment later, with the caches full of closed files. So it rests once it was interrupted.
//! Pure.
use std::time::{Duration, Instant};

/// It rests so many times as long as it has worked, less one for each segment that waits.
const SHARE: u32 = 10;
/// One rest is not longer.
const LONGEST: Duration = Duration::from_millis(50);
/// After so many pieces without an interruption nobody else wants the processor.
const QUIET: u32 = 16;

/// Decides on rests between two pieces of work.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Pieces to go without an interruption until it does not rest any more.
    gives_way: u32,
    /// Interruptions so far, as the kernel counts them.
    interrupted: u64,
    until: Option<Instant>,
}

impl Pace {
    /// A piece of work was done, from `begin` to `end`; `interrupted`: how often the kernel has ever taken the processor
    /// away (getrusage(2), `ru_nivcsw`); `backlog`: segments that want it.
    pub fn worked(&mut self, begin: Instant, end: Instant, interrupted: u64, backlog: usize) {
        let was_interrupted = interrupted > std::mem::replace(&mut self.interrupted, interrupted);
        self.gives_way = if was_interrupted { QUIET } else { self.gives_way.saturating_sub(1) };
        let share = SHARE.saturating_sub(u32::try_from(backlog).unwrap_or(SHARE));
        let rest = ((end - begin) * share).min(LONGEST);
        self.until = (self.gives_way > 0 && share > 0).then_some(end + rest);
    }

    /// When the rest under way ends, if it has not at `now`.
    pub fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: Duration = Duration::from_millis(2);

    /// The rest after a piece.
    fn rest(pace: &mut Pace, interrupted: u64) -> Duration {
        rest_with(pace, interrupted, 1)
    }

    fn rest_with(pace: &mut Pace, interrupted: u64, backlog: usize) -> Duration {
        let begin = Instant::now();
        let end = begin + PIECE;
        pace.worked(begin, end, interrupted, backlog);
        pace.rests_until(end).map_or(Duration::ZERO, |until| until - end)
    }

    #[test]
    fn it_rests_from_an_interruption_until_there_were_none_for_a_while() {
        let mut pace = Pace::default();
        assert_eq!([rest(&mut pace, 0), rest(&mut pace, 0)], [Duration::ZERO; 2]);
        assert_eq!(rest(&mut pace, 3), PIECE * (SHARE - 1));
        for _ in 0..QUIET - 1 {
            assert_eq!(rest(&mut pace, 3), PIECE * (SHARE - 1));
        }
        assert_eq!(rest(&mut pace, 3), Duration::ZERO);
        assert_eq!(rest(&mut pace, 4), PIECE * (SHARE - 1));
    }

    #[test]
    fn the_more_waits_the_less_it_rests() {
        let mut pace = Pace::default();
        assert_eq!(rest_with(&mut pace, 1, 4), PIECE * (SHARE - 4));
        for backlog in [10, 11, usize::MAX] {
            assert_eq!(rest_with(&mut pace, 2, backlog), Duration::ZERO);
        }
    }

    #[test]
    fn a_rest_ends() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let end = begin + Duration::from_secs(5);
        pace.worked(begin, end, 1, 0);
        assert_eq!(pace.rests_until(end), Some(end + LONGEST));
        assert_eq!(pace.rests_until(end + LONGEST), None);
    }
}
