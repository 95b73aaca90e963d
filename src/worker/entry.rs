//! Coming in: what stands between accept and the first message. A proxy's header says who the client is; TLS must be agreed on.
//! A connection that needs neither is in at once.
//!
//! Promise: no byte of a message is looked at before; who does not come in in time is closed.
use super::Worker;
use super::access::Ending;
use super::budget::Answer;
use super::connection::{Connection, Phase};
use super::door::{Arrival, Newcomer};
use super::guests::Visit;
use super::table::Key;
use super::transport::Transport;
use crate::ipc::scoreboard::Count;
use crate::ipc::seat::Speaks;
use crate::protocol::framing::Decoder;
use crate::protocol::ids::ConnectionId;
use crate::protocol::proxy::{self, Step};
use crate::store::record::{Head, Source};
use crate::sys::poll::Interest;
use crate::sys::socket::{Peer, Stream};
use crate::sys::{self, AsFd};
use crate::tls::{Server, Session};
use ipnet::IpNet;
use std::io;

/// How a client comes in.
#[derive(Debug)]
pub struct Entry {
    /// Connections from there begin with a PROXY header.
    proxies: Vec<IpNet>,
    header_timeout: u64,
    tls: Option<Server>,
    handshake_timeout: u64,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    /// The proxy has named the client.
    Named,
    In,
    /// What came is no PROXY header.
    NoHeader,
}

impl Entry {
    /// By what the configuration says; `tls` is there if any listener speaks it. Times in milliseconds.
    pub fn new(proxies: Vec<IpNet>, header_timeout: u64, tls: Option<Server>, handshake_timeout: u64) -> Self {
        Self { proxies, header_timeout, tls, handshake_timeout }
    }

    /// How bytes travel with one who speaks so.
    pub fn transport(&self, stream: Stream, speaks: Speaks) -> io::Result<Transport> {
        match (speaks, &self.tls) {
            (Speaks::Plain, _) => Ok(Transport::Plain(stream)),
            (Speaks::Tls, Some(server)) => {
                Ok(Transport::tls(stream, Session::new(server).map_err(|broken| io::Error::other(broken.to_string()))?))
            }
            // The supervisor has looked before it forked.
            (Speaks::Tls, None) => Err(io::Error::other("there is no certificate")),
        }
    }

    /// Whether `peer` is a proxy that speaks for others.
    fn is_proxy(&self, peer: Peer) -> bool {
        match peer {
            Peer::Inet(address) => self.proxies.iter().any(|network| network.contains(&address.ip())),
            Peer::Unix { .. } => false,
        }
    }

    /// Marks a connection that must first come in, at `now`, as its transport and `proxied` say; false: it is in.
    pub fn begin(&self, connection: &mut Connection, now: u64) -> bool {
        let handshake = !connection.transport.is_established();
        if !connection.proxied && !handshake {
            return false;
        }
        connection.enter_first();
        let header = if connection.proxied { self.header_timeout } else { 0 };
        connection.enters_by = now + header + if handshake { self.handshake_timeout } else { 0 };
        true
    }
}

impl Worker {
    /// Takes in the next client of a listener.
    pub(super) fn accept(&mut self, token: u64) {
        let accepted = match self.door.next(token, &self.admission) {
            Arrival::Connection(newcomer) => self.let_in(newcomer),
            Arrival::Nothing => return,
            Arrival::Full => {
                self.count_full();
                return self.door.pause(&self.poller, self.now, false);
            }
            Arrival::Exhausted(error) => Err(error),
        };
        // One in a turn: of several that come at once, the others have their share.
        if let Err(error) = accepted.and_then(|()| self.door.step_back(token, &self.poller)) {
            self.pause_exhausted(&error);
        }
    }

    pub(super) fn pause_exhausted(&mut self, error: &io::Error) {
        self.scoreboard.add(Count::AcceptPauses, 1);
        self.pauses.tell_exhausted(error, self.now);
        self.door.pause(&self.poller, self.now, true);
    }

    fn count_full(&mut self) {
        self.scoreboard.add(Count::AcceptPauses, 1);
        self.pauses.tell_full(self.now);
    }

    /// Opens the door again when its pause is over, and tells what is over with it.
    pub(super) fn look_at_door(&mut self) {
        match self.door.resume(&self.poller, self.now, &self.admission) {
            Ok(false) if self.pauses.is_another(self.now) => self.count_full(),
            Ok(_) => {}
            Err(error) => self.pause_exhausted(&error),
        }
        self.pauses.look(self.now);
    }

    /// Judges who has been accepted, and takes it in; one who speaks for others is judged when it has named them.
    pub(super) fn let_in(&mut self, newcomer: Newcomer) -> io::Result<()> {
        let peer = newcomer.peer;
        let proxied = self.entry.is_proxy(peer);
        let judged = if proxied { Ok(None) } else { self.guests.judge(peer, &self.admission) };
        match judged {
            Ok(visit) => self.welcome(newcomer, proxied, visit),
            // Closed as it is: nothing was read, nothing is due.
            Err(refusal) => {
                self.admission.leave(self.seat);
                self.limits.tell_refusal(refusal, peer, &self.scoreboard, self.now);
                self.tell_turned_away(peer, refusal);
                Ok(())
            }
        }
    }

    fn welcome(&mut self, newcomer: Newcomer, proxied: bool, visit: Option<Visit>) -> io::Result<()> {
        let Newcomer { stream, peer, speaks, entrance } = newcomer;
        let transport = match self.entry.transport(stream, speaks) {
            Ok(transport) => transport,
            Err(error) => {
                visit.into_iter().for_each(|visit| self.guests.leave(visit, &self.admission));
                self.admission.leave(self.seat);
                return Err(error);
            }
        };
        let server = &self.config.server;
        let decoder = Decoder::new(server.framing, server.max_message_size, server.on_oversize);
        let key = self.table.next_key();
        let added = self.poller.add(transport.stream().as_fd(), key.token(), Interest::BothEdge);
        let slack = self.config.limits.max_buffered_per_connection;
        let mut connection = Connection::new(transport, peer, decoder, slack, self.now);
        connection.visit = visit;
        connection.proxied = proxied;
        connection.story.entrance = entrance;
        let is_in = !self.entry.begin(&mut connection, self.now);
        let enters_by = connection.enters_by;
        self.table.insert(connection);
        if added.is_err() {
            self.table.get(key).into_iter().for_each(|connection| connection.story.ends(Ending::Exhausted));
            self.drop_connection(key);
            return added;
        }
        self.scoreboard.add(Count::Accepted, 1);
        self.table.enqueue(key);
        if is_in {
            self.introduce(key);
        } else {
            self.timers.push(enters_by, key);
        }
        Ok(())
    }

    /// It is known who the client is: from here on its messages are taken.
    fn introduce(&mut self, key: Key) {
        let Some(connection) = self.table.get(key) else { return };
        self.connections += 1;
        let id = ConnectionId { epoch: self.epoch, incarnation: self.incarnation, counter: self.connections };
        let format = self.config.store.format;
        let subject = connection.transport.subject();
        let source = Source::named(format, &connection.peer.to_string(), subject.as_deref(), &id.to_string());
        connection.has_entered(Head::new(format, &source), self.now);
        connection.story.number = id.counter;
        self.tell_opened(key, &id, subject.as_deref());
        self.watch_silence(key);
    }

    /// Lets a connection come further in; true: it is in.
    pub(super) fn enter(&mut self, key: Key) -> io::Result<bool> {
        let Some(connection) = self.table.get(key) else { return Ok(false) };
        let progress = if connection.proxied { hear_proxy(connection, &mut self.scratch)? } else { Progress::In };
        match progress {
            Progress::Waiting => return Ok(false),
            Progress::NoHeader => {
                connection.refuse(Ending::NoHeader);
                self.scoreboard.add(Count::BadProxyHeaders, 1);
                self.limits.tell_no_header(connection.peer, self.now);
                self.table.enqueue(key);
                return Ok(false);
            }
            Progress::Named => match self.guests.judge(connection.peer, &self.admission) {
                Ok(visit) => connection.visit = visit,
                Err(refusal) => {
                    connection.close(Some(refusal.ending()));
                    self.limits.tell_refusal(refusal, connection.peer, &self.scoreboard, self.now);
                    return Ok(false);
                }
            },
            Progress::In => {}
        }
        while connection.is_readable() && !connection.transport.is_established() {
            match self.budget.may_read(key, connection.held(), self.now) {
                Answer::Read | Answer::ReadLittle => {}
                Answer::Wait => {
                    self.waiting.add(key, &mut self.table);
                    return Ok(false);
                }
                Answer::Evict(holder) => self.evicted.push(holder),
            }
            match connection.negotiate(&mut self.spare) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    // The client is told why, by an alert.
                    connection.refuse(Ending::Handshake);
                    self.scoreboard.add(Count::HandshakeFailures, 1);
                    self.limits.tell_handshake(connection.peer, &error, self.now);
                    self.table.enqueue(key);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        if !connection.transport.is_established() {
            return Ok(false);
        }
        self.introduce(key);
        Ok(true)
    }

    /// Closes a connection that did not come in in time.
    pub(super) fn turn_away(&mut self, key: Key) {
        let Some(connection) = self.table.get(key).filter(|connection| connection.phase() == Phase::Entering) else {
            return;
        };
        let (count, what) = match connection.proxied {
            true => (Count::BadProxyHeaders, "a PROXY header within proxy.header-timeout"),
            false => (Count::HandshakeFailures, "a TLS handshake within tls.handshake-timeout"),
        };
        self.scoreboard.add(count, 1);
        self.limits.tell_late_entry(connection.peer, what, self.now);
        connection.refuse(Ending::EntryLate);
        self.table.enqueue(key);
    }
}

/// Looks for the header; what is behind it stays in the socket.
fn hear_proxy(connection: &mut Connection, scratch: &mut Vec<u8>) -> io::Result<Progress> {
    scratch.clear();
    scratch.reserve(proxy::MAX);
    match connection.transport.stream().peek(scratch) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if sys::would_block(&error) => {
            connection.wait_for_bytes();
            Ok(Progress::Waiting)
        }
        Err(error) => Err(error),
        Ok(_) => match proxy::parse(&scratch[..scratch.len().min(proxy::MAX)]) {
            // What has come was looked at; more of it wakes us.
            Step::More => {
                connection.wait_for_bytes();
                Ok(Progress::Waiting)
            }
            Step::Malformed => Ok(Progress::NoHeader),
            Step::Header { client, length } => {
                scratch.clear();
                connection.transport.stream().read(scratch, length)?;
                connection.proxied = false;
                if let Some(client) = client {
                    connection.peer = Peer::of(client);
                }
                Ok(Progress::Named)
            }
        },
    }
}
