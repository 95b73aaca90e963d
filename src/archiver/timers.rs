//! What the archiver does without being asked, and when it wakes for it.
use super::Archiver;
use super::age::News;
use super::faults::Deed;
use crate::ipc::scoreboard::Count;
use crate::log;
use crate::store::clock;
use crate::store::manifest::MANIFEST;
use crate::sys::{file, process};
use std::io;
use std::time::{Duration, Instant};

/// The clock, the place and the directory are looked at so often.
const SECOND: Duration = Duration::from_secs(1);
/// Retention is.
const RETAIN: Duration = Duration::from_millis(400);
/// A file system tells of room that deletions make only after a moment.
const FREED: Duration = Duration::from_millis(400);
/// Numbers for the status are counted so often.
const PUBLISH: Duration = Duration::from_millis(200);

/// When what is due.
#[derive(Debug)]
pub(super) struct Timers {
    second: Instant,
    retain: Instant,
    /// The file system's free space is not believed before.
    pub space: Instant,
    publish: Instant,
    /// Numbers have changed since, perhaps.
    unpublished: bool,
}

impl Timers {
    pub fn new(now: Instant) -> Self {
        Self { second: now, retain: now, space: now, publish: now, unpublished: false }
    }

    /// Whether retention is due, and when it is the next time.
    pub fn takes_retain(&mut self, now: Instant) -> bool {
        let due = now >= self.retain;
        if due {
            self.retain = now + RETAIN;
        }
        due
    }

    /// Retention is due at once.
    pub fn retain_now(&mut self) {
        self.retain = Instant::now();
    }

    /// Deletions were to make room.
    pub fn freed(&mut self, now: Instant) {
        self.space = now + FREED;
    }
}

impl Archiver {
    /// How long to wait for news after a turn at `turned`. What was due then and is still could not be done: no reason
    /// to spin.
    pub(super) fn sleep(&self, turned: Instant) -> Duration {
        let now = Instant::now();
        let until = |at: Instant| at.saturating_duration_since(now);
        let retain = &self.config.retain;
        let watches = retain.max_age.is_some() || retain.max_total_size.is_some() || retain.min_free_space.is_some();
        let timers = [
            Some(self.timers.second),
            Some(self.timers.retain).filter(|_| watches),
            self.shelf.next_look().filter(|_| self.shelf.is_settled()),
            self.hook.wake(),
            self.pace.rests_until(now),
            Some(self.timers.publish).filter(|_| self.timers.unpublished),
        ];
        let waits = timers.into_iter().flatten().filter(|at| *at > turned).map(until);
        waits.chain([SECOND, self.tick]).min().unwrap_or(SECOND)
    }

    /// Whether the store's path still leads to the directory that is held. If not, nothing is touched: the supervisor sees
    /// to it.
    pub(super) fn is_in_place(&self) -> bool {
        let held = file::stat(&self.shelf.directory);
        let there = file::stat_path(&self.config.store.directory);
        match (held, there) {
            (Ok(held), Ok(there)) => (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino),
            _ => false,
        }
    }

    /// What is looked at each second. True: it was.
    pub(super) fn each_second(&mut self, now: Instant) -> bool {
        if now < self.timers.second {
            return false;
        }
        self.timers.second = now + SECOND;
        self.look_at_clock(clock::now_micros(), now);
        self.fold(now);
        self.note_deleted(now);
        true
    }

    /// Notes a clock that was set, if it shows `wall` now: before anything is judged by it.
    pub(super) fn look_at_clock(&mut self, wall: i64, now: Instant) {
        let Some(boot) = &self.boot else { return };
        let uptime =
            process::since_boot().and_then(|uptime| i64::try_from(uptime.as_micros()).map_err(io::Error::other));
        let uptime = match uptime {
            Ok(uptime) => uptime,
            // Without it the clock is trusted.
            Err(error) => return debug!("cannot look at the time since boot: {error}"),
        };
        let news = self.ages.observe(boot, wall, uptime);
        if let News::Step(by) = news {
            let seconds = by / 1_000_000;
            let effect =
                if by > 0 { "files that were closed before do not age by it" } else { "files do not age by it" };
            notice!(CLOCK_SET, "the clock was set by {seconds} s; {effect}");
            self.timers.retain_now();
        }
        let forgot = self.forget_steps(wall);
        if (news != News::None || forgot)
            && let Err(error) = self.ages.save(self.shelf.fd())
        {
            self.faults.note(Deed::Note, ".archiver", None, &error, now);
        }
    }

    /// Keeps the manifest short.
    fn fold(&mut self, now: Instant) {
        if self.faults.rests(Deed::Manifest, None, now) || !self.shelf.was_looked_at() {
            return;
        }
        let doomed: Vec<u64> = self.doomed.keys().map(|name| name.sequence).collect();
        let is_there = |number: u64| self.shelf.has_number(number) || doomed.contains(&number);
        match self.ledger.fold(self.shelf.fd(), is_there) {
            Ok(true) => debug!("{MANIFEST}: lines of deleted files are folded into one"),
            Ok(false) => {}
            Err(error) => self.faults.note(Deed::Manifest, MANIFEST, None, &error, now),
        }
    }

    /// Forgets steps of the clock that no segment is older than. True: there were some.
    fn forget_steps(&mut self, wall: i64) -> bool {
        if !self.shelf.was_looked_at() {
            return false;
        }
        if self.shelf.count() == 0 {
            return self.ages.forget_before(None);
        }
        // Those after it by number count as no older than the first whose time can be.
        let mut times = self.shelf.items().map(|(name, item)| self.closed_at(name, item));
        let oldest = times.find(|closed| *closed <= wall);
        drop(times);
        oldest.is_some() && self.ages.forget_before(oldest)
    }

    /// Sets the numbers that the status shows.
    pub(super) fn publish(&mut self, now: Instant) {
        self.scoreboard.add(Count::ArchiveFaults, self.faults.take_count());
        self.timers.unpublished = now < self.timers.publish;
        if self.timers.unpublished {
            return;
        }
        self.timers.publish = now + PUBLISH;
        let oldest = self.shelf.items().next().and_then(|(name, _)| u64::try_from(name.start).ok()).unwrap_or(0);
        let numbers = [
            (Count::Closed, self.shelf.count()),
            (Count::ClosedBytes, self.shelf.bytes()),
            (Count::OldestClosed, oldest),
            (Count::LogDropped, log::dropped()),
            (Count::Unsealed, (self.unsealed.len() + self.sealed.len() + usize::from(self.sealing.is_some())) as u64),
            (Count::Uncompressed, self.uncompressed.len() as u64),
            (Count::Unhooked, self.unhooked()),
            (Count::HookFailing, self.hook.failures_in_a_row()),
        ];
        numbers.into_iter().for_each(|(count, value)| self.scoreboard.set(count, value));
        self.scoreboard.set(Count::Stocked, u64::from(self.shelf.was_looked_at()));
    }
}
