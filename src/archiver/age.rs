//! How old a closed segment is, by a wall clock that may be set: a jump forward must not delete everything.
//!
//! The age is the time since the last record. A clock that was set forward while the machine ran is noticed against the time
//! since boot, and what was closed before that does not age by it. From one boot to the next the clock is trusted: nothing
//! tells how long the machine was off. Pure but for [`Ages::load`] and [`Ages::save`].
//!
//! ```text
//! boot = "…"            # kernel's boot id
//! offset = 1795336000000000   # wall clock − time since boot, µs
//! [[steps]]
//! before = 1795336920000000   # the wall clock when it was set forward, µs
//! by = 31536000000000
//! ```
use crate::store::directory;
use crate::sys::BorrowedFd;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::Duration;

/// Its name in the store's directory.
const FILE: &str = ".archiver";
const FILE_NEW: &str = ".archiver.new";
/// A clock is adjusted by less, and set by more: µs.
const STEP: i64 = 300_000_000;
/// What adjusting may come to before it is noted: µs.
const DRIFT: i64 = 60_000_000;
/// A clock that is set to and fro for ever fills no disk: two that follow each other count as one then.
const MOST: usize = 32;

/// One time that the clock was set forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Step {
    /// What it showed before: µs since 1970.
    before: i64,
    /// By how much: µs.
    by: i64,
}

/// What is known of the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Ages {
    boot: String,
    offset: i64,
    #[serde(default)]
    steps: Vec<Step>,
}

/// What a look at the clock has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing to be noted.
    None,
    /// To be noted: another boot, or the clock was adjusted.
    Note,
    /// To be noted and told: it was set by so many µs.
    Step(i64),
}

impl Ages {
    /// Looks at the clock: `wall` and `uptime` in µs.
    pub fn observe(&mut self, boot: &str, wall: i64, uptime: i64) -> News {
        let offset = wall.saturating_sub(uptime);
        if self.boot != boot {
            (self.boot, self.offset) = (boot.to_owned(), offset);
            return News::Note;
        }
        let by = offset.saturating_sub(self.offset);
        if by.saturating_abs() <= DRIFT {
            return News::None;
        }
        if by.saturating_abs() <= STEP {
            self.offset = offset;
            return News::Note;
        }
        if by > 0 {
            self.forward(Step { before: uptime.saturating_add(self.offset), by });
        } else {
            self.back(by.saturating_neg());
        }
        self.offset = offset;
        News::Step(by)
    }

    fn forward(&mut self, step: Step) {
        self.steps.push(step);
        if self.steps.len() > MOST {
            // The older of two merges into the younger: what lies between them ages later than it might.
            let Step { by, .. } = self.steps.remove(0);
            self.steps[0].by = self.steps[0].by.saturating_add(by);
        }
    }

    /// Set back: that undoes steps forward, the last one first. What is beyond them makes segments younger, which deletes
    /// nothing.
    fn back(&mut self, mut by: i64) {
        while let Some(last) = self.steps.last_mut() {
            if last.by > by {
                last.by -= by;
                return;
            }
            by -= last.by;
            self.steps.pop();
        }
    }

    /// The age at `now` of what was closed at `closed`: µs since 1970.
    pub fn age(&self, closed: i64, now: i64) -> Duration {
        let steps =
            self.steps.iter().filter(|step| closed <= step.before).fold(0i64, |sum, step| sum.saturating_add(step.by));
        let micros = now.saturating_sub(closed).saturating_sub(steps);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// Forgets steps that no segment is older than. True: there were some.
    pub fn forget_before(&mut self, oldest: Option<i64>) -> bool {
        let known = self.steps.len();
        self.steps.retain(|step| oldest.is_some_and(|oldest| oldest <= step.before));
        self.steps.len() < known
    }

    /// Reads it; what cannot be read is as none: the clock is trusted then.
    pub fn load(directory: BorrowedFd<'_>) -> io::Result<Self> {
        let text = directory::read_small(directory, FILE)?;
        Ok(text.and_then(|text| directory::parse(&text).ok()).unwrap_or_default())
    }

    /// Keeps it, durably.
    pub fn save(&self, directory: BorrowedFd<'_>) -> io::Result<()> {
        directory::replace(directory, FILE, FILE_NEW, self)
    }
}

/// When each segment was closed, in the order of their numbers: no earlier than those before it, and a time that is
/// yet to come is nobody's.
pub(super) fn in_order(times: impl Iterator<Item = i64>, now: i64) -> impl Iterator<Item = i64> {
    times.scan(None, move |latest: &mut Option<i64>, time| {
        if time <= now {
            *latest = Some(latest.map_or(time, |latest| latest.max(time)));
        }
        // Nothing is known: as if it were new.
        Some(latest.unwrap_or(now))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::AsFd;
    use crate::sys::file::open_directory;

    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400 * SECOND;
    const START: i64 = 1_795_000_000 * SECOND;

    /// A clock that is looked at each second.
    struct Clock {
        ages: Ages,
        uptime: i64,
        offset: i64,
    }

    impl Clock {
        fn new() -> Self {
            let mut clock = Self { ages: Ages::default(), uptime: 100 * SECOND, offset: START };
            assert_eq!(clock.look(), News::Note);
            clock
        }

        fn now(&self) -> i64 {
            self.uptime + self.offset
        }

        fn look(&mut self) -> News {
            self.ages.observe("a", self.now(), self.uptime)
        }

        fn pass(&mut self, time: i64) {
            self.uptime += time;
            assert_ne!(self.look(), News::Step(0));
        }

        fn set(&mut self, by: i64) -> News {
            self.offset += by;
            self.look()
        }

        fn age(&self, closed: i64) -> i64 {
            i64::try_from(self.ages.age(closed, self.now()).as_micros()).unwrap()
        }
    }

    #[test]
    fn a_jump_of_a_year_forward_makes_nothing_older() {
        let mut clock = Clock::new();
        let old = clock.now();
        clock.pass(DAY);
        assert_eq!(clock.set(365 * DAY), News::Step(365 * DAY));
        assert_eq!(clock.age(old), DAY);
        let new = clock.now();
        clock.pass(2 * DAY);
        assert_eq!((clock.age(old), clock.age(new)), (3 * DAY, 2 * DAY), "both age on");
        assert_eq!(clock.look(), News::None);
    }

    #[test]
    fn a_jump_that_is_taken_back_leaves_nothing() {
        let mut clock = Clock::new();
        let old = clock.now();
        clock.pass(SECOND);
        clock.set(365 * DAY);
        clock.pass(DAY);
        let between = clock.now();
        clock.pass(SECOND);
        assert_eq!(clock.set(-365 * DAY), News::Step(-365 * DAY));
        clock.pass(SECOND);
        assert_eq!(clock.age(old), DAY + 3 * SECOND);
        assert_eq!(clock.age(between), 0, "it lies in the future now");
        assert!(clock.ages.steps.is_empty());
    }

    #[test]
    fn a_part_taken_back_counts_as_part() {
        let mut clock = Clock::new();
        let old = clock.now();
        clock.set(10 * DAY);
        clock.set(5 * DAY);
        clock.set(-12 * DAY);
        assert_eq!(clock.age(old), 0);
        assert_eq!(clock.ages.steps.iter().map(|step| step.by).sum::<i64>(), 3 * DAY);
    }

    #[test]
    fn a_clock_that_is_adjusted_is_no_step() {
        let mut clock = Clock::new();
        let old = clock.now();
        for _ in 0..100 {
            assert_ne!(clock.set(50 * SECOND), News::Step(50 * SECOND));
        }
        assert!(clock.ages.steps.is_empty());
        assert_eq!(clock.age(old), 5000 * SECOND);
        assert_eq!(clock.set(STEP), News::Note);
        assert!(matches!(clock.set(STEP + SECOND), News::Step(_)));
    }

    #[test]
    fn another_boot_is_trusted_and_steps_before_it_stay() {
        let mut clock = Clock::new();
        let old = clock.now();
        clock.set(DAY);
        assert_eq!(clock.ages.observe("b", clock.now() + 9 * DAY, 0), News::Note);
        assert_eq!(clock.ages.age(old, old + 10 * DAY), Duration::from_secs(9 * 86_400));
    }

    #[test]
    fn steps_are_forgotten_when_nothing_is_older_and_never_too_many() {
        let mut clock = Clock::new();
        let old = clock.now();
        for _ in 0..100 {
            clock.set(DAY);
        }
        assert_eq!((clock.ages.steps.len(), clock.age(old)), (MOST, 0));
        assert!(!clock.ages.forget_before(Some(old)));
        assert!(clock.ages.forget_before(Some(clock.now())));
        assert!(clock.ages.steps.is_empty());
        clock.set(DAY);
        assert!(clock.ages.forget_before(None));
    }

    #[test]
    fn it_is_kept() {
        let place = tempfile::tempdir().unwrap();
        let directory = open_directory(place.path()).unwrap();
        assert_eq!(Ages::load(directory.as_fd()).unwrap(), Ages::default());
        let mut clock = Clock::new();
        for _ in 0..100 {
            clock.set(DAY);
        }
        clock.ages.save(directory.as_fd()).unwrap();
        assert_eq!(Ages::load(directory.as_fd()).unwrap(), clock.ages);
        std::fs::write(place.path().join(FILE), "\0\u{1}garbage").unwrap();
        assert_eq!(Ages::load(directory.as_fd()).unwrap(), Ages::default());
    }

    #[test]
    fn times_go_by_number_and_the_future_is_nobodys() {
        let ordered = |times: &[i64], now| in_order(times.iter().copied(), now).collect::<Vec<_>>();
        assert_eq!(ordered(&[1, 5, 3, 7], 10), [1, 5, 5, 7]);
        assert_eq!(ordered(&[1, 50, 3], 10), [1, 1, 3]);
        assert_eq!(ordered(&[50, 3], 10), [10, 3]);
    }
}
