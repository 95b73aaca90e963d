//! Station 1/7, socket: bytes come from many connections, each in its turn and within a budget.
//!
//! A turn: echo what is due, read, decode. The budget keeps one fast client from starving a thousand slow ones.
use super::Worker;
use super::access::Ending;
use super::budget::{Answer, LITTLE};
use super::connection::{Connection, Notice, Phase};
use super::outbox::Outbox;
use super::pace::Turn;
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
        connection.refuse(Ending::Evicted);
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
        if !connection.is_mid_message() && !connection.transport.holds_a_part() {
            self.budget.release(key);
        }
        if let Err(error) = result {
            self.fail(key, &error);
        }
        let Some(connection) = self.table.get(key) else { return };
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

    /// A connection that broke is closed. One whose TLS broke is told so first, by an alert.
    fn fail(&mut self, key: Key, error: &io::Error) {
        let Some(connection) = self.table.get(key) else { return };
        if connection.is_mid_message() {
            self.scoreboard.add(Count::Incomplete, 1);
        }
        if error.kind() == io::ErrorKind::InvalidData && connection.phase() != Phase::Refusing {
            connection.break_off();
            self.scoreboard.add(Count::HandshakeFailures, 1);
            self.limits.tell_broken(connection.peer, error, self.now);
            self.table.enqueue(key);
        } else {
            connection.close(Ending::of(error));
        }
    }

    fn turn(&mut self, key: Key) -> io::Result<()> {
        self.progress = false;
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
        let carried = connection.transport.carried();
        let echoed = connection.echo(&mut self.spare)?;
        self.progress = echoed > 0 || connection.transport.carried() > carried;
        if echoed > 0 {
            connection.active = self.now;
        }
        self.scoreboard.add(Count::Echoed, echoed as u64);
        if connection.phase() == Phase::Lingering {
            // What the client still sends is discarded in turns of their own, never decoded.
            return Ok(());
        }
        let mut taken = 0;
        loop {
            let Some(connection) = self.table.get(key) else { return Ok(()) };
            if connection.delayed {
                break;
            }
            if connection.wants_decoding() {
                if self.decode_some(key) {
                    continue;
                }
                break;
            }
            if !connection.wants_reading() || !connection.has_room() {
                break;
            }
            if taken >= TURN_BYTES {
                self.table.enqueue(key);
                break;
            }
            match self.read_once(key)? {
                Some(count) => taken += count,
                None => break,
            }
        }
        let Some(connection) = self.table.get(key) else { return Ok(()) };
        // The end of a connection is seen here when its last echo went out above, or nothing was due at all.
        let echoed = connection.echo(&mut self.spare)?;
        self.scoreboard.add(Count::Echoed, echoed as u64);
        Ok(())
    }

    /// Decodes as many messages as the outbox takes and the rate allows. False: the connection waits for one of them.
    fn decode_some(&mut self, key: Key) -> bool {
        if !self.outbox.has_room() {
            self.send_on();
        }
        if !self.outbox.has_room() {
            self.blocked.add(key, &mut self.table);
            return false;
        }
        let Some(connection) = self.table.get(key) else { return false };
        let paced = self.pace.as_ref().zip(connection.paced());
        let most = match paced.map(|(pace, name)| pace.messages(&mut connection.paid, name, &self.admission, self.now))
        {
            None => usize::MAX,
            Some(Turn::Now(most)) => most,
            Some(Turn::In(span)) => {
                self.delay(key, span);
                return false;
            }
        };
        let stamp = self.stamp.get_or_insert_with(|| Stamp::new(clock::now_micros()));
        connection.head.stamp(stamp);
        let outcome = decode(connection, key, &mut self.outbox, most as u64);
        connection.story.messages += outcome.messages;
        if outcome.messages > 0 {
            connection.heard = true;
            connection.active = self.now;
        }
        if let Some((pace, _)) = paced {
            pace.decoded(&mut connection.paid, outcome.messages);
        }
        self.scoreboard.add(Count::Messages, outcome.messages);
        self.scoreboard.add(Count::Bytes, outcome.bytes);
        if let Some(notice) = outcome.notice {
            self.limits.tell(notice, connection.peer, &self.scoreboard, self.now);
        }
        true
    }

    /// Reads once, as far as the rate allows. `None`: the connection waits for memory, or for its rate.
    fn read_once(&mut self, key: Key) -> io::Result<Option<usize>> {
        let Some(connection) = self.table.get(key) else { return Ok(None) };
        let paced = self.pace.as_ref().zip(connection.paced());
        let most = match paced.map(|(pace, name)| pace.bytes(&mut connection.paid, name, &self.admission, self.now)) {
            None => usize::MAX,
            Some(Turn::Now(most)) => most,
            Some(Turn::In(span)) => {
                self.delay(key, span);
                return Ok(None);
            }
        };
        let most = match self.budget.may_read(key, connection.held(), self.now) {
            Answer::Read => most,
            Answer::ReadLittle => most.min(LITTLE),
            Answer::Wait => {
                self.waiting.add(key, &mut self.table);
                return Ok(None);
            }
            Answer::Evict(holder) => {
                self.evicted.push(holder);
                most
            }
        };
        let count = connection.read(&mut self.spare, most)?;
        if let Some((pace, name)) = paced {
            pace.read(&mut connection.paid, count, name, &self.admission, self.now);
        }
        Ok(Some(count))
    }

    pub(super) fn drop_connection(&mut self, key: Key) {
        if let Some(mut connection) = self.table.remove(key) {
            self.tell_closed(&connection);
            self.budget.changed(connection.held(), 0);
            connection.give_up_buffer(&mut self.spare);
            self.budget.release(key);
            if let Some(visit) = connection.visit.take() {
                if let Some(pace) = &self.pace {
                    pace.leave(connection.paid, visit.name, &self.admission);
                }
                self.guests.leave(visit, &self.admission);
            }
            self.admission.leave(self.seat);
        }
    }
}

struct Outcome {
    messages: u64,
    bytes: u64,
    notice: Option<Notice>,
}

/// Decodes as many messages as the outbox takes, and at most so many.
fn decode(connection: &mut Connection, key: Key, outbox: &mut Outbox<Key>, most: u64) -> Outcome {
    let mut outcome = Outcome { messages: 0, bytes: 0, notice: None };
    while outbox.has_room() && outcome.messages < most {
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
