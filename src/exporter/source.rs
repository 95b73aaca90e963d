//! Where the numbers come from: the supervisor is asked, one question at a time, and one answer is for all who ask at
//! about the same time. Pure: time comes in.
//!
//! Promise: at most one question is open; what is given out is at most [`FRESH`] old, or was asked for not longer than
//! [`PATIENCE`] before.
use std::time::{Duration, Instant};

/// How long one answer serves.
pub const FRESH: Duration = Duration::from_millis(100);
/// How long an answer may take; those who wait are refused then.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How a wish is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// From what there is.
    Now,
    /// By the answer to the open question.
    Wait,
    /// By a new question, which is to be put now.
    Ask,
    /// Not: the supervisor has not answered for so long.
    Never(Duration),
}

/// What is known, and what was asked.
#[derive(Debug)]
pub struct Source<T> {
    /// The last answer, and when it came.
    last: Option<(T, Instant)>,
    /// When the open question was put.
    asked: Option<Instant>,
}

impl<T> Source<T> {
    /// Nothing is known, and nothing asked.
    pub fn new() -> Self {
        Self { last: None, asked: None }
    }

    /// Somebody wants an answer.
    pub fn want(&mut self, now: Instant) -> Supply {
        if self.fresh(now).is_some() {
            return Supply::Now;
        }
        match self.silence(now) {
            Some(silence) if silence >= PATIENCE => Supply::Never(silence),
            Some(_) => Supply::Wait,
            None => {
                self.asked = Some(now);
                Supply::Ask
            }
        }
    }

    /// The answer to the open question; false: it took so long that nobody can tell how old it is.
    pub fn answered(&mut self, answer: T, now: Instant) -> bool {
        let in_time = self.silence(now).is_some_and(|silence| silence < PATIENCE);
        self.asked = None;
        if in_time {
            self.last = Some((answer, now));
        }
        in_time
    }

    /// The last answer, if it still serves.
    pub fn fresh(&self, now: Instant) -> Option<&T> {
        let (answer, came) = self.last.as_ref()?;
        (now.saturating_duration_since(*came) < FRESH).then_some(answer)
    }

    /// How long the open question has been open.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        self.asked.map(|asked| now.saturating_duration_since(asked))
    }

    /// When those who wait are refused.
    pub fn gives_up_at(&self) -> Option<Instant> {
        self.asked.map(|asked| asked + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_serves_all_who_come_meanwhile_and_shortly_after() {
        let (mut source, begin) = (Source::new(), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        assert_eq!([0, 1, 50].map(|millis| source.want(at(millis))), [Supply::Ask, Supply::Wait, Supply::Wait]);
        assert!(source.answered('a', at(60)));
        assert_eq!(
            (source.want(at(60)), source.want(at(159)), source.fresh(at(159))),
            (Supply::Now, Supply::Now, Some(&'a'))
        );
        assert_eq!(source.fresh(at(160)), None);
        assert_eq!(source.want(at(160)), Supply::Ask);
    }

    #[test]
    fn a_silent_supervisor_is_asked_once_and_what_it_says_late_is_not_used() {
        let (mut source, begin) = (Source::new(), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        assert_eq!(source.want(begin), Supply::Ask);
        assert_eq!(source.gives_up_at(), Some(at(2000)));
        assert_eq!(source.want(at(1999)), Supply::Wait);
        assert_eq!(source.want(at(5000)), Supply::Never(Duration::from_secs(5)));
        assert!(!source.answered('a', at(6000)), "it may be from the beginning of the silence");
        assert_eq!(source.want(at(6000)), Supply::Ask);
        assert!(source.answered('b', at(6001)));
        assert_eq!(source.fresh(at(6002)), Some(&'b'));
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_not_used() {
        let (mut source, now) = (Source::new(), Instant::now());
        assert!(!source.answered('a', now));
        assert_eq!(source.fresh(now), None);
    }
}
