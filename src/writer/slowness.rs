//! Says that the disk is slow: in the batch, where everybody waits for it, and beside it, where only closed files do.
use super::file::MOST_CLOSING;
use super::plan::Step;
use crate::log::Limiter;
use crate::store::clock;
use crate::store::names::SegmentName;
use std::time::Duration;

/// What takes longer is worth a line.
const LONG: Duration = Duration::from_secs(1);

/// What was told of a slow disk.
#[derive(Debug, Default)]
pub(super) struct Slowness {
    told: Limiter,
    /// The wait for the sync thread that is going on now.
    wait_told: bool,
}

/// What to say of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Nothing,
    Slow,
    Over,
}

/// Once when it gets long, once when it is over.
fn word(waited: Option<Duration>, told: bool) -> Word {
    match waited {
        Some(waited) if waited > LONG && !told => Word::Slow,
        Some(waited) if waited > LONG => Word::Nothing,
        _ if told => Word::Over,
        _ => Word::Nothing,
    }
}

impl Slowness {
    /// A step of a batch took this long, and everybody has waited.
    pub fn took(&self, step: Step, name: &SegmentName, took: Duration) {
        let what = match step {
            _ if took <= LONG => return,
            Step::Write => "write",
            Step::Sync => "sync",
            _ => return,
        };
        if let Some(more) = self.told.admit(u64::try_from(clock::now_seconds()).unwrap_or(0)) {
            let more = if more > 0 { format!(" ({more} more were not logged)") } else { String::new() };
            warn!("the disk is slow: the {what} of {} took {took:.1?}{more}", name.build());
        }
    }

    /// The sync thread has owed its oldest answer for this long.
    pub fn waits(&mut self, waited: Option<Duration>) {
        match word(waited, self.wait_told) {
            Word::Nothing => return,
            Word::Slow => warn!(
                "the disk is slow or hangs: a sync is not done after {LONG:?}; storing goes on until {MOST_CLOSING} closed files wait for theirs"
            ),
            Word::Over => notice!("the disk syncs again"),
        }
        self.wait_told = !self.wait_told;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_is_told_once_and_its_end_once() {
        let (short, long) = (Some(LONG), Some(LONG * 2));
        assert_eq!(
            [word(None, false), word(short, false), word(long, false)],
            [Word::Nothing, Word::Nothing, Word::Slow]
        );
        assert_eq!([word(long, true), word(short, true), word(None, true)], [Word::Nothing, Word::Over, Word::Over]);
    }
}
