//! The service manager's watchdog, sd_watchdog_enabled(3): fed as long as every living role makes progress. And more time
//! for a long start or stop, as long as work is done.
//!
//! Promise: a role that hangs is told of once and ends the feeding; one that waits for a disk does neither, for a restart
//! would not make the disk faster, only the clients' connections end. A role that is dead, and waits to be replaced, does
//! not end it either: the others serve. Never more than one message each quarter of the interval. The decision is pure.
use super::Supervisor;
use crate::ipc::scoreboard::{Count, Scoreboard};
use crate::sys::process::{self, Pid};
use std::fmt;
use std::time::{Duration, Instant};

/// How often, at least, every loop turns; with a short interval, an eighth of it.
const TICK: Duration = Duration::from_secs(1);
/// The shortest tick, whatever interval somebody asks for.
const SHORTEST_TICK: Duration = Duration::from_millis(50);
/// A wait for the disk, or a role that stands still, for this long is told, also where no watchdog asks.
const LONG_WAIT: Duration = Duration::from_secs(10);
/// How much more time is asked for, and how often: the manager counts from the message on.
const EXTENSION: Duration = Duration::from_secs(10);
const EXTEND_EVERY: Duration = Duration::from_secs(1);

/// Words that move with each turn or step of a role.
const PROGRESS: &[Count] = &[Count::Heartbeat, Count::Batches, Count::Syncs, Count::Rotations, Count::Recovered];
/// Words that move by work, never by waiting.
const WORK: &[Count] = &[
    Count::Accepted,
    Count::Connections,
    Count::Messages,
    Count::Bytes,
    Count::Echoed,
    Count::Batches,
    Count::Rotations,
    Count::Refused,
    Count::Rescued,
    Count::Recovered,
];

/// The interval that the service manager asks for by `WATCHDOG_USEC` and `WATCHDOG_PID`, if it asks this process.
pub fn interval_from_environment() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero() && *interval < Duration::from_micros(u64::MAX))
}

/// A role, by name and process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Who {
    /// `None`: the writer.
    worker: Option<usize>,
    pid: Pid,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.worker {
            None => write!(f, "the writer ({})", self.pid),
            Some(number) => write!(f, "worker {number} ({})", self.pid),
        }
    }
}

/// What one look shows of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// It has moved since, if this has changed.
    progress: u64,
    /// It says that it is in a call that may wait for the disk.
    on_disk: bool,
    /// The state of its process, proc(5).
    state: Option<char>,
}

impl Seen {
    /// Whether somebody else keeps it from going on: the disk; or it is dead, and only not gone yet.
    fn is_excused(self) -> bool {
        match self.state {
            // Stopped, whatever it was doing.
            Some('T' | 't') => false,
            // In the kernel, and not to be killed: swap, or a program file on a disk that hangs.
            Some('D' | 'Z' | 'X') => true,
            _ => self.on_disk,
        }
    }
}

/// What to say of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Nothing,
    /// It has waited for the disk for this long.
    Waits(Duration),
    /// It does not move.
    Hangs(Duration),
    /// It moves again, after one of the two.
    GoesOn(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Waits,
    Hangs,
}

/// What is known of a living role.
#[derive(Clone, Copy, Debug)]
struct Track {
    who: Who,
    progress: u64,
    /// When it last moved.
    moved: Instant,
    /// When it last moved or was excused. After a long wait for the disk it has its whole time again.
    well: Instant,
    told: Told,
}

impl Track {
    fn new(who: Who, now: Instant) -> Self {
        Self { who, progress: 0, moved: now, well: now, told: Told::Nothing }
    }

    /// Takes in what was seen at `now`. `patience`: how long a role may stand still by the watchdog, if there is one.
    fn look(&mut self, seen: Seen, now: Instant, patience: Option<Duration>) -> Word {
        let stood = now - self.moved;
        if seen.progress != self.progress {
            (self.progress, self.moved, self.well) = (seen.progress, now, now);
            let told = std::mem::replace(&mut self.told, Told::Nothing);
            return if told == Told::Nothing { Word::Nothing } else { Word::GoesOn(stood) };
        }
        if seen.is_excused() {
            self.well = now;
            // Of one that was stopped in a call and let go again there is nothing new to say.
            let long = stood >= patience.map_or(LONG_WAIT, |patience| patience.min(LONG_WAIT));
            let word = if long && self.told == Told::Nothing { Word::Waits(stood) } else { Word::Nothing };
            self.told = if long { Told::Waits } else { self.told };
            return word;
        }
        let hangs = now - self.well >= patience.unwrap_or(LONG_WAIT);
        if hangs && self.told != Told::Hangs {
            self.told = Told::Hangs;
            return Word::Hangs(now - self.well);
        }
        Word::Nothing
    }
}

/// What the supervisor knows of its roles' progress.
#[derive(Debug)]
pub struct Watchdog {
    interval: Option<Duration>,
    tracks: Vec<Track>,
    looked: Instant,
    fed: Option<Instant>,
    /// The work done as of the last look at it.
    work: u64,
    weighed: Instant,
    /// That look was in a stop.
    in_stop: bool,
}

impl Watchdog {
    /// `interval`: what the service manager asks for, if it does.
    pub fn new(interval: Option<Duration>, now: Instant) -> Self {
        Self { interval, tracks: Vec::new(), looked: now, fed: None, work: 0, weighed: now, in_stop: false }
    }

    /// How often every process turns its loop, at least.
    pub fn tick(&self) -> Duration {
        self.interval.map_or(TICK, |interval| (interval / 8).clamp(SHORTEST_TICK, TICK))
    }

    fn patience(&self) -> Option<Duration> {
        self.interval.map(|interval| interval / 2)
    }

    /// Whether it is time for a look. After a pause of the supervisor itself everybody begins anew: the others may not
    /// have run either.
    fn is_due(&mut self, now: Instant) -> bool {
        let since = now - self.looked;
        if since < self.tick() {
            return false;
        }
        if since >= self.patience().unwrap_or(LONG_WAIT).min(LONG_WAIT).max(self.tick() * 2) {
            self.tracks.iter_mut().for_each(|track| (track.moved, track.well) = (now, now));
        }
        self.looked = now;
        true
    }

    /// Takes in what was seen of a role.
    fn look(&mut self, who: Who, seen: Seen, now: Instant) -> Word {
        let patience = self.patience();
        let index = self.tracks.iter().position(|track| track.who == who).unwrap_or_else(|| {
            self.tracks.push(Track::new(who, now));
            self.tracks.len() - 1
        });
        self.tracks[index].look(seen, now, patience)
    }

    fn progress_of(&self, who: Who) -> Option<u64> {
        self.tracks.iter().find(|track| track.who == who).map(|track| track.progress)
    }

    /// Whether to feed now. `stopping`: who hangs then is answered by the stop's own deadlines.
    fn wants_food(&self, now: Instant, stopping: bool) -> bool {
        let Some(interval) = self.interval else { return false };
        let hungry = self.fed.is_none_or(|fed| now - fed >= interval / 4);
        hungry && (stopping || self.tracks.iter().all(|track| track.told != Told::Hangs))
    }

    /// Whether work was done since the last look at it; looks once in a while. What was done before a stop is no reason
    /// for it to take longer.
    fn has_worked(&mut self, work: u64, stopping: bool, now: Instant) -> bool {
        if std::mem::replace(&mut self.in_stop, stopping) != stopping {
            (self.work, self.weighed) = (work, now);
        }
        if now - self.weighed < EXTEND_EVERY {
            return false;
        }
        self.weighed = now;
        std::mem::replace(&mut self.work, work) != work
    }
}

impl Supervisor {
    /// Looks at every role, says who hangs, feeds the watchdog, and asks for more time.
    pub(super) fn watch_progress(&mut self, now: Instant) {
        if !self.watchdog.is_due(now) {
            return;
        }
        let stopping = self.stop.is_some();
        if !stopping {
            self.look_at_roles(now);
            self.tell_recovered(now);
            self.watch_archiver(now);
            self.watch_exporter(now);
        }
        if self.was_ready && self.watchdog.wants_food(now, stopping) && self.notify.watchdog() {
            self.watchdog.fed = Some(now);
        }
        if self.watchdog.has_worked(self.work_done(), stopping, now) && (stopping || !self.was_ready) {
            self.notify.extend_timeout(EXTENSION);
        }
    }

    fn look_at_roles(&mut self, now: Instant) {
        let writer = self.writer.iter().map(|writer| (Who { worker: None, pid: writer.pid }, &writer.scoreboard));
        let workers = self.workers.iter();
        let workers = workers.map(|worker| (Who { worker: Some(worker.number), pid: worker.pid }, &worker.scoreboard));
        let mut living = Vec::with_capacity(self.workers.len() + 1);
        for (who, scoreboard) in writer.chain(workers) {
            living.push(who);
            let seen = see(who, scoreboard, self.watchdog.progress_of(who));
            tell(who, self.watchdog.look(who, seen, now), self.watchdog.interval);
        }
        self.watchdog.tracks.retain(|track| living.contains(&track.who));
    }

    /// Moves as long as anything is done.
    fn work_done(&self) -> u64 {
        let writer = self.writer.iter().map(|writer| (writer.ready, &writer.scoreboard));
        let workers = self.workers.iter().map(|worker| (worker.ready, &worker.scoreboard));
        writer.chain(workers).fold(0, |sum: u64, (ready, scoreboard)| {
            sum.wrapping_add(1 + u64::from(ready)).wrapping_add(total(scoreboard, WORK))
        })
    }
}

/// The state of the process is looked up only when it matters.
fn see(who: Who, scoreboard: &Scoreboard, before: Option<u64>) -> Seen {
    let progress = total(scoreboard, PROGRESS);
    let on_disk = scoreboard.get(Count::OnDisk) > 0;
    let state = if before == Some(progress) { process::state(who.pid) } else { None };
    Seen { progress, on_disk, state }
}

fn total(scoreboard: &Scoreboard, words: &[Count]) -> u64 {
    words.iter().fold(0, |sum: u64, word| sum.wrapping_add(scoreboard.get(*word)))
}

fn tell(who: Who, word: Word, interval: Option<Duration>) {
    match word {
        Word::Nothing => {}
        Word::Waits(long) => {
            crate::warn!(
                ROLE_WAITS_FOR_DISK,
                "{who} has waited for the disk for {long:.0?}; it goes on when the disk answers"
            )
        }
        Word::Hangs(long) => crate::error!(
            ROLE_HANGS,
            "{who} hangs: it has not moved for {long:.1?}; {}",
            interval.map_or_else(
                || "no watchdog restarts the service: let the process go on (kill -CONT), or restart it".to_owned(),
                |interval| format!("the service manager's watchdog ({interval:.1?}) will restart the service")
            )
        ),
        Word::GoesOn(long) => crate::notice!(ROLE_GOES_ON, "{who} goes on, after {long:.1?}"),
    }
}

#[cfg(test)]
mod tests;
