//! Who is connected: asked of the workers when a command asks, gathered as they answer.
//!
//! Promise: a worker names so many at most, and only when asked; one that does not answer delays the command for some
//! seconds, and nobody else.
use super::Supervisor;
use crate::ipc::command::Reply;
use crate::ipc::control::{ToSupervisor, ToWorker};
use crate::ipc::report::{Guest, MOST_GUESTS};
use std::time::{Duration, Instant};

/// How long the workers have. They count for a second.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What one worker has said.
#[derive(Debug, Default)]
pub struct Census {
    /// It was asked, and has named these so far.
    gathering: Option<Vec<Guest>>,
    /// When it had named all, and whom.
    done: Option<(Instant, Vec<Guest>)>,
}

impl Census {
    /// True: the worker is to be asked, which was not done yet.
    fn begin(&mut self) -> bool {
        let idle = self.gathering.is_none();
        self.gathering.get_or_insert_default();
        idle
    }

    /// Takes what a worker says; false: it was not asked that.
    pub fn take(&mut self, word: &ToSupervisor, now: Instant) -> bool {
        match (word, &mut self.gathering) {
            (ToSupervisor::Guest(guest), Some(named)) if named.len() < MOST_GUESTS => named.push(guest.clone()),
            (ToSupervisor::Counted, Some(named)) => {
                self.done = Some((now, std::mem::take(named)));
                self.gathering = None;
            }
            _ => return false,
        }
        true
    }

    /// It was not there when the others were asked.
    fn is_newer(&self) -> bool {
        self.gathering.is_none()
    }

    fn since(&self, asked: Instant) -> Option<&[Guest]> {
        self.done.as_ref().filter(|(at, _)| *at >= asked).map(|(_, guests)| guests.as_slice())
    }
}

impl Supervisor {
    /// Asks all workers.
    pub(super) fn begin_census(&mut self) {
        for worker in self.workers.iter_mut().filter(|worker| worker.ready) {
            if worker.census.begin() {
                worker.channel.send(ToWorker::Count);
            }
        }
    }

    /// Whom they have named since `asked`; `None`: some have not, and it is not `overdue`.
    pub(super) fn census(&self, asked: Instant, overdue: bool) -> Option<Reply> {
        let (mut busiest, mut missing) = (Vec::new(), Vec::new());
        for worker in self.workers.iter().filter(|worker| worker.ready) {
            match worker.census.since(asked) {
                Some(guests) => busiest.extend_from_slice(guests),
                None if worker.census.is_newer() => {}
                None if overdue => missing.push(worker.number),
                None => return None,
            }
        }
        busiest.sort_by(Guest::busier_first);
        busiest.truncate(MOST_GUESTS);
        Some(Reply::Connections { busiest, missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_counts_and_no_more() {
        let (mut census, now) = (Census::default(), Instant::now());
        let guest = || ToSupervisor::Guest(Guest::default());
        assert!(!census.take(&guest(), now) && !census.take(&ToSupervisor::Counted, now));
        assert!(census.is_newer());
        assert!(census.begin() && !census.begin() && !census.is_newer());
        for _ in 0..MOST_GUESTS {
            assert!(census.take(&guest(), now));
        }
        assert!(!census.take(&guest(), now) && !census.take(&ToSupervisor::Ready, now));
        assert_eq!(census.since(now), None);
        assert!(census.take(&ToSupervisor::Counted, now));
        assert_eq!(census.since(now).map(<[Guest]>::len), Some(MOST_GUESTS));
        assert_eq!(census.since(now + PATIENCE), None);
        assert!(census.begin());
    }
}
