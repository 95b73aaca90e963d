//! How fast the archiver works: as fast as it can on an idle machine, with a small part of one processor where others want it.
//!
//! A low priority is not enough: whenever all others wait for each other for a moment, the scheduler gives it the processor,
//! and takes it away again a moment later, with the caches full of closed files. So it rests once it was interrupted.
//! Pure.
use std::time::{Duration, Instant};

/// It rests so many times as long as it has worked.
const SHARE: u32 = 9;
/// One rest is not longer.
const LONGEST: Duration = Duration::from_millis(200);
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
    /// away (getrusage(2), `ru_nivcsw`).
    pub fn worked(&mut self, begin: Instant, end: Instant, interrupted: u64) {
        let was_interrupted = interrupted > std::mem::replace(&mut self.interrupted, interrupted);
        self.gives_way = if was_interrupted { QUIET } else { self.gives_way.saturating_sub(1) };
        let rest = ((end - begin) * SHARE).min(LONGEST);
        self.until = (self.gives_way > 0).then_some(end + rest);
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
        let begin = Instant::now();
        let end = begin + PIECE;
        pace.worked(begin, end, interrupted);
        pace.rests_until(end).map_or(Duration::ZERO, |until| until - end)
    }

    #[test]
    fn it_rests_from_an_interruption_until_there_were_none_for_a_while() {
        let mut pace = Pace::default();
        assert_eq!([rest(&mut pace, 0), rest(&mut pace, 0)], [Duration::ZERO; 2]);
        assert_eq!(rest(&mut pace, 3), PIECE * SHARE);
        for _ in 0..QUIET - 1 {
            assert_eq!(rest(&mut pace, 3), PIECE * SHARE);
        }
        assert_eq!(rest(&mut pace, 3), Duration::ZERO);
        assert_eq!(rest(&mut pace, 4), PIECE * SHARE);
    }

    #[test]
    fn a_rest_ends() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let end = begin + Duration::from_secs(5);
        pace.worked(begin, end, 1);
        assert_eq!(pace.rests_until(end), Some(end + LONGEST));
        assert_eq!(pace.rests_until(end + LONGEST), None);
    }
}
