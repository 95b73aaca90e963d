//! The access log, `log.access`: a line when a client has come in, and one when its connection ends, with the reason.
//!
//! Promise: without it nothing is made, formatted or asked for; with it, nothing for a message. A worker that is killed says
//! nothing of its connections.
use super::Worker;
use super::connection::{Connection, Phase};
use super::guests::Refusal;
use super::limits::host;
use super::table::Key;
use super::transport::Transport;
use crate::ipc::seat::Entrance;
use crate::protocol::ids::ConnectionId;
use crate::sys::socket::Peer;
use std::io;
use std::time::Duration;

/// Why a connection ended. Of several reasons the first one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It may not connect.
    Denied,
    /// One too many of its address.
    TooMany,
    /// A proxy without a PROXY header.
    NoHeader,
    /// No agreement on TLS.
    Handshake,
    /// It did not come in in time.
    EntryLate,
    /// The first message did not come in time.
    Late,
    /// No message came in time.
    Idle,
    /// A message above the limit.
    Oversize,
    /// The framing is broken.
    Malformed,
    /// It did not read its echoes.
    TimedOut,
    /// Memory was short.
    Evicted,
    /// There was no room for a message of it.
    Refused,
    /// The daemon, or this generation of workers, stops.
    Shutdown,
    /// The same, without waiting for anything.
    Aborted,
    /// TLS ended without its farewell.
    Cut,
    /// TLS broke.
    TlsBroken,
    /// The client, or the way to it, broke the connection off.
    Reset,
    /// The kernel has no memory for it.
    Exhausted,
}

impl Ending {
    /// For the log.
    fn words(ending: Option<Self>) -> &'static str {
        let Some(ending) = ending else { return "client closed" };
        match ending {
            Self::Denied => "denied",
            Self::TooMany => "too many",
            Self::NoHeader => "no PROXY header",
            Self::Handshake => "handshake failed",
            Self::EntryLate => "entry late",
            Self::Late => "late",
            Self::Idle => "idle",
            Self::Oversize => "oversize",
            Self::Malformed => "malformed",
            Self::TimedOut => "timed out",
            Self::Evicted => "evicted",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
            Self::Aborted => "aborted",
            Self::Cut => "cut",
            Self::TlsBroken => "TLS broken",
            Self::Reset => "reset",
            Self::Exhausted => "no memory",
        }
    }

    /// Of a connection on which a call has failed; `None`: the client has left.
    pub fn of(error: &io::Error) -> Option<Self> {
        (error.kind() != io::ErrorKind::UnexpectedEof).then_some(Self::Reset)
    }
}

/// What is told of a connection at its end.
#[derive(Debug)]
pub struct Story {
    /// When it was accepted (milliseconds of the worker's clock).
    pub began: u64,
    /// Where.
    pub entrance: usize,
    /// Its number in the worker; 0: it never came in.
    pub number: u64,
    /// Whole messages that it has sent.
    pub messages: u64,
    /// Why it ends; `None`: the client wants it so.
    ending: Option<Ending>,
}

impl Story {
    /// Of a connection accepted at `now`.
    pub fn new(now: u64) -> Self {
        Self { began: now, entrance: 0, number: 0, messages: 0, ending: None }
    }

    /// It ends, if it does not already.
    pub fn ends(&mut self, why: Ending) {
        self.ending.get_or_insert(why);
    }

    /// The worker leaves before it is done with it.
    fn is_abandoned(&mut self) {
        if self.ending.is_none_or(|ending| ending == Ending::Shutdown) {
            self.ending = Some(Ending::Aborted);
        }
    }
}

/// Whether there is an access log, and what it knows of the listeners.
#[derive(Debug)]
pub struct Access {
    /// `log.access`.
    pub wanted: bool,
    listeners: Vec<String>,
}

impl Access {
    /// For these.
    pub fn new(wanted: bool, entrances: &[Entrance]) -> Self {
        Self { wanted, listeners: entrances.iter().map(|entrance| entrance.place.clone()).collect() }
    }

    fn listener(&self, entrance: usize) -> &str {
        self.listeners.get(entrance).map_or("?", String::as_str)
    }

    fn opened(&self, connection: &Connection, id: &ConnectionId, subject: Option<&str>) {
        let (peer, listener) = (connection.peer, self.listener(connection.story.entrance));
        let transport = match &connection.transport {
            Transport::Tls(_) => "tls",
            Transport::Plain(_) if listener.starts_with("unix:") || listener.starts_with(['/', '@']) => "unix",
            Transport::Plain(_) => "tcp",
        };
        let subject = subject.unwrap_or_default();
        let named = if subject.is_empty() { String::new() } else { format!(" as {subject}") };
        crate::info!(
            CONNECTION_OPENED {
                peer: &peer,
                address: &host(&peer),
                connection: id,
                listener: listener,
                transport: transport,
                subject: subject
            },
            "{peer} connected to {listener} over {transport}{named}: {id}"
        );
    }

    fn closed(peer: Peer, id: Option<ConnectionId>, story: &Story, bytes: [u64; 2], now: u64) {
        let id = id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let (reason, messages, [bytes_in, echoed]) = (Ending::words(story.ending), story.messages, bytes);
        let seconds = Duration::from_millis(now.saturating_sub(story.began));
        crate::info!(
            CONNECTION_CLOSED {
                peer: &peer,
                address: &host(&peer),
                connection: &id,
                reason: reason,
                messages: messages,
                bytes_in: bytes_in,
                bytes_echoed: echoed,
                seconds: seconds
            },
            "{peer} left ({reason}): {id}, {messages} messages, {bytes_in} bytes in, {echoed} echoed, {:.3} s",
            seconds.as_secs_f64()
        );
    }
}

impl Worker {
    pub(super) fn id(&self, counter: u64) -> ConnectionId {
        ConnectionId { epoch: self.epoch, incarnation: self.incarnation, counter }
    }

    /// A client has come in.
    pub(super) fn tell_opened(&mut self, key: Key, id: &ConnectionId, subject: Option<&str>) {
        if self.access.wanted
            && let Some(connection) = self.table.get(key)
        {
            self.access.opened(connection, id, subject);
        }
    }

    /// A connection is gone.
    pub(super) fn tell_closed(&self, connection: &Connection) {
        if self.access.wanted {
            let story = &connection.story;
            let id = (story.number > 0).then(|| self.id(story.number));
            Access::closed(connection.peer, id, story, connection.bytes(), self.now);
        }
    }

    /// A client was turned away before it had a connection to speak of.
    pub(super) fn tell_turned_away(&self, peer: Peer, refusal: Refusal) {
        if self.access.wanted {
            let mut story = Story::new(self.now);
            story.ends(refusal.ending());
            Access::closed(peer, None, &story, [0, 0], self.now);
        }
    }

    /// The worker leaves with those that are still there.
    pub(super) fn tell_abandoned(&mut self) {
        if !self.access.wanted {
            return;
        }
        for key in self.table.keys() {
            if let Some(connection) = self.table.get(key) {
                // One that lingers has had all that is due.
                if connection.phase() != Phase::Lingering {
                    connection.story.is_abandoned();
                }
                self.drop_connection(key);
            }
        }
    }
}
