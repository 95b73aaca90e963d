//! Station 1/7, socket: bytes come from many connections, each in its turn and within a budget.
//!
//! A turn: echo what is due, read, decode. The budget keeps one fast client from starving a thousand slow ones.
use super::Worker;
use super::budget::Answer;
use super::connection::{Connection, Notice, Phase};
use super::outbox::Outbox;
use super::table::Key;
use crate::ipc::scoreboard::Count;
use crate::store::clock;
use crate::store::stamp::Stamp;
use std::io;

/// Bytes that one connection may read in one turn, but for its last read.
const TURN_BYTES: usize = 256 << 10;
/// How long (milliseconds) a lingering close waits for the client's end.
pub const LINGER: u64 = 1000;

impl Worker {
    /// Gives every connection of the queue its turn.
    pub(super) fn pump_all(&mut self) {
        for _ in 0..self.table.queued() {
            let Some(key) = self.table.dequeue() else { break };
            self.pump(key);
        }
        for key in std::mem::take(&mut self.evicted) {
            self.evict(key);
        }
    }

    /// Closes a connection that held memory others wait for, and did not finish its message in time.
    fn evict(&mut self, key: Key) {
        let Some(connection) = self.table.get(key) else { return };
        connection.refuse();
        self.scoreboard.add(Count::Incomplete, 1);
        self.limits.tell_eviction(connection.peer, self.now);
        self.table.enqueue(key);
    }

    fn pump(&mut self, key: Key) {
        let Some(connection) = self.table.get(key) else { return };
        let (before, phase) = (connection.held(), connection.phase());
        let result = self.turn(key);
        let Some(connection) = self.table.get(key) else { return };
        self.budget.changed(before, connection.held());
        if !connection.is_mid_message() {
            self.budget.release(key);
        }
        if result.is_err() {
            if connection.is_mid_message() {
                self.scoreboard.add(Count::Incomplete, 1);
            }
            connection.close();
        }
        match connection.phase() {
            Phase::Closed => return self.drop_connection(key),
            Phase::Lingering if phase != Phase::Lingering => {
                connection.lingers_until = self.now + LINGER;
                self.timers.push(self.now + LINGER, key);
                self.table.enqueue(key);
            }
            _ => {}
        }
        self.watch_stall(key);
    }

    fn turn(&mut self, key: Key) -> io::Result<()> {
        let Some(connection) = self.table.get(key) else { return Ok(()) };
        if connection.phase() == Phase::Lingering {
            connection.discard(&mut self.scratch);
            if connection.wants_reading() {
                self.table.enqueue(key);
            }
            return Ok(());
        }
        if connection.phase() == Phase::Entering && !self.enter(key)? {
            return Ok(());
        }
        let Some(connection) = self.table.get(key) else { return Ok(()) };
        let echoed = connection.echo(&mut self.spare)?;
        self.progress = echoed > 0;
        self.scoreboard.add(Count::Echoed, echoed as u64);
        if connection.phase() == Phase::Lingering {
            // What the client still sends is discarded in turns of their own, never decoded.
            return Ok(());
        }
        let mut taken = 0;
        loop {
            let Some(connection) = self.table.get(key) else { return Ok(()) };
            if connection.wants_decoding() {
                if !self.outbox.has_room() {
                    self.send_on();
                }
                if !self.outbox.has_room() {
                    self.blocked.add(key, &mut self.table);
                    break;
                }
                let Some(connection) = self.table.get(key) else { return Ok(()) };
                let stamp = self.stamp.get_or_insert_with(|| Stamp::new(clock::now_micros()));
                connection.head.stamp(stamp);
                let outcome = decode(connection, key, &mut self.outbox);
                self.scoreboard.add(Count::Messages, outcome.messages);
                self.scoreboard.add(Count::Bytes, outcome.bytes);
                if let Some(notice) = outcome.notice {
                    self.limits.tell(notice, connection.peer, &self.scoreboard, self.now);
                }
                continue;
            }
            if !connection.wants_reading() || !connection.has_room() {
                break;
            }
            if taken >= TURN_BYTES {
                self.table.enqueue(key);
                break;
            }
            match self.budget.may_read(key, self.now) {
                Answer::Read => {}
                Answer::Wait => {
                    self.waiting.add(key, &mut self.table);
                    break;
                }
                Answer::Evict(holder) => self.evicted.push(holder),
            }
            taken += connection.read(&mut self.spare)?;
        }
        let Some(connection) = self.table.get(key) else { return Ok(()) };
        // The end of a connection is seen here when its last echo went out above, or nothing was due at all.
        connection.echo(&mut self.spare).map(|_| ())
    }

    fn watch_stall(&mut self, key: Key) {
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

    fn drop_connection(&mut self, key: Key) {
        if let Some(mut connection) = self.table.remove(key) {
            self.budget.changed(connection.held(), 0);
            connection.give_up_buffer(&mut self.spare);
            self.budget.release(key);
            self.admission.leave(self.seat);
        }
    }

    /// What is due at `now`: lingering closes that took too long, clients that did not read.
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
                    self.scoreboard.add(Count::TimedOut, 1);
                    self.limits.tell_timeout(connection.peer, self.now);
                    self.drop_connection(key);
                }
                (_, Some(since)) => self.timers.push(since + timeout, key),
                (_, None) => connection.timed = false,
            }
        }
    }
}

struct Outcome {
    messages: u64,
    bytes: u64,
    notice: Option<Notice>,
}

/// Decodes as many messages as the outbox takes.
fn decode(connection: &mut Connection, key: Key, outbox: &mut Outbox<Key>) -> Outcome {
    let mut outcome = Outcome { messages: 0, bytes: 0, notice: None };
    while outbox.has_room() {
        match connection.decode() {
            Ok((body, upto)) => {
                outcome.messages += 1;
                outcome.bytes += body.len() as u64;
                outbox.add(key, upto, |out| connection.append_record(out, body));
            }
            Err(notice) => {
                outcome.notice = notice;
                break;
            }
        }
    }
    outcome
}
