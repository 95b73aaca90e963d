//! Deadlines: clients that do not read, that say nothing, that are over their rate, and closes that linger.
//!
//! Promise: of each kind a connection has one entry in the timers at most. Nothing is pushed for a message: when an entry comes
//! up it moves on to what has become of its deadline. Who waits for us is not idle.
use super::Worker;
use super::access::Ending;
use super::connection::Phase;
use super::table::Key;
use super::timers::millis;
use crate::config::Limits;
use crate::ipc::scoreboard::Count;

/// The time-outs of clients that say nothing (milliseconds).
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    pub idle: Option<u64>,
    pub first_message: Option<u64>,
}

/// What becomes of a client that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Its first message took too long.
    Late,
    /// No message came for too long.
    Idle,
    /// Look again then.
    Look(u64),
    /// Nothing limits it.
    Never,
}

impl Silence {
    /// Those of `limits`.
    pub fn of(limits: &Limits) -> Self {
        Self { idle: limits.idle_timeout.map(millis), first_message: limits.first_message_timeout.map(millis) }
    }

    /// A client that is quiet since `active`; `heard`: it has sent a whole message.
    fn judge(self, heard: bool, active: u64, now: u64) -> Verdict {
        let until = |timeout: u64| active.saturating_add(timeout);
        let late = self.first_message.filter(|_| !heard).map(until);
        let idle = self.idle.map(until);
        match [late, idle].into_iter().flatten().min() {
            None => Verdict::Never,
            Some(at) if now < at => Verdict::Look(at),
            Some(at) if late == Some(at) => Verdict::Late,
            Some(_) => Verdict::Idle,
        }
    }
}

impl Worker {
    pub(super) fn watch_stall(&mut self, key: Key) {
        let Some(timeout) = self.write_timeout else { return };
        let Some(connection) = self.table.get(key) else { return };
        match (connection.is_stuck(), connection.stalled_since) {
            (true, None) => {
                connection.stalled_since = Some(self.now);
                // One deadline a connection: it moves on when it comes up, see `expire`.
                if !std::mem::replace(&mut connection.timed, true) {
                    self.timers.push(self.now + timeout, key);
                }
            }
            (true, Some(_)) if self.progress => connection.stalled_since = Some(self.now),
            (false, _) => connection.stalled_since = None,
            _ => {}
        }
    }

    /// What is due at `now`: lingering closes that took too long, clients that did not read, waits for a rate.
    pub(super) fn expire(&mut self) {
        while let Some(key) = self.timers.pop(self.now) {
            let timeout = self.write_timeout.unwrap_or(u64::MAX);
            let Some(connection) = self.table.get(key) else { continue };
            match (connection.phase(), connection.stalled_since) {
                (Phase::Entering, _) if self.now < connection.enters_by => self.timers.push(connection.enters_by, key),
                (Phase::Entering, _) => self.turn_away(key),
                // An entry from before the linger comes up first: the linger's own is still there.
                (Phase::Lingering, _) if self.now < connection.lingers_until => {}
                (Phase::Lingering, _) => self.drop_connection(key),
                (_, Some(since)) if self.now >= since.saturating_add(timeout) => {
                    connection.story.ends(Ending::TimedOut);
                    self.scoreboard.add(Count::TimedOut, 1);
                    self.limits.tell_timeout(connection.peer, self.now);
                    self.drop_connection(key);
                }
                (_, Some(since)) => self.timers.push(since + timeout, key),
                (_, None) => connection.timed = false,
            }
        }
        while let Some(key) = self.delays.pop(self.now) {
            if let Some(connection) = self.table.get(key) {
                connection.delayed = false;
                connection.active = self.now;
                self.table.enqueue(key);
            }
        }
    }

    /// A new client may be quiet for so long.
    pub(super) fn watch_silence(&mut self, key: Key) {
        if let Verdict::Look(at) = self.silence.judge(false, self.now, self.now) {
            self.quiet.push(at, key);
        }
    }

    /// Closes who was quiet for too long. After the turns of all: what has arrived in time counts.
    pub(super) fn expire_quiet(&mut self) {
        while let Some(key) = self.quiet.pop(self.now) {
            let Some(connection) = self.table.get(key).filter(|connection| connection.phase() == Phase::Open) else {
                continue;
            };
            if connection.waits_for_us() {
                connection.active = self.now;
            }
            let verdict = self.silence.judge(connection.heard, connection.active, self.now);
            let count = match verdict {
                Verdict::Never => continue,
                Verdict::Look(at) => {
                    self.quiet.push(at, key);
                    continue;
                }
                Verdict::Late => Count::Late,
                Verdict::Idle => Count::Idle,
            };
            if connection.is_mid_message() {
                self.scoreboard.add(Count::Incomplete, 1);
            }
            connection.refuse(if verdict == Verdict::Late { Ending::Late } else { Ending::Idle });
            self.scoreboard.add(count, 1);
            self.limits.tell_silence(connection.peer, verdict == Verdict::Late, self.now);
            self.table.enqueue(key);
        }
    }

    /// The connection has paid, and waits for so many milliseconds.
    pub(super) fn delay(&mut self, key: Key, span: u64) {
        let Some(connection) = self.table.get(key) else { return };
        connection.delayed = true;
        self.scoreboard.add(Count::Delayed, 1);
        self.limits.tell_delay(connection.peer, self.now);
        self.delays.push(self.now.saturating_add(span), key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_judged_by_the_earlier_of_two_deadlines() {
        let both = Silence { idle: Some(100), first_message: Some(30) };
        assert_eq!(both.judge(false, 1000, 1000), Verdict::Look(1030));
        assert_eq!(both.judge(false, 1000, 1030), Verdict::Late);
        assert_eq!(both.judge(true, 1000, 1030), Verdict::Look(1100));
        assert_eq!(both.judge(true, 1000, 1100), Verdict::Idle);
        let slow = Silence { idle: Some(100), first_message: Some(300) };
        assert_eq!([slow.judge(false, 0, 99), slow.judge(false, 0, 100)], [Verdict::Look(100), Verdict::Idle]);
        let first = Silence { idle: None, first_message: Some(30) };
        assert_eq!([first.judge(false, 0, 29), first.judge(true, 0, 99)], [Verdict::Look(30), Verdict::Never]);
        let none = Silence { idle: None, first_message: None };
        assert_eq!(none.judge(false, 0, u64::MAX), Verdict::Never);
    }
}
