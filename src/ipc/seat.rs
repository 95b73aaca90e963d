//! What a role starts with: its seat, taken by the new process out of what the supervisor prepared.
use super::admission::Admission;
use super::control::{Channel, ToArchiver, ToExporter, ToSupervisor, ToWorker, ToWriter};
use super::link::{Link, PrivatePipe, Terms, WorkerEnds};
use super::scoreboard::Scoreboard;
use crate::config::{Config, Sandbox};
use crate::store::directory::Era;
use crate::sys::OwnedFd;
use crate::sys::socket::Listener;
use crate::tls::Server;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

/// The entry points of the roles that are forked: each takes its seat and returns its exit code.
#[derive(Clone, Copy, Debug)]
pub struct Entries {
    /// The worker's.
    pub worker: fn(WorkerSeat) -> u8,
    /// The writer's.
    pub writer: fn(WriterSeat) -> u8,
    /// The archiver's.
    pub archiver: fn(ArchiverSeat) -> u8,
    /// The exporter's.
    pub exporter: fn(ExporterSeat) -> u8,
}

/// A listener, as a worker has it.
#[derive(Debug)]
pub struct Entrance {
    /// The socket, shared with all workers.
    pub listener: Listener,
    /// What is spoken with those who come in there.
    pub speaks: Speaks,
    /// Where it listens, for people.
    pub place: String,
}

/// What is spoken with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Messages.
    Plain,
    /// TLS, and messages in it.
    Tls,
}

/// A worker's seat.
#[derive(Debug)]
pub struct WorkerSeat {
    /// The configuration of the worker's generation.
    pub config: Config,
    /// Its place on the admission board.
    pub seat: usize,
    /// The store's start epoch, the first part of every connection id.
    pub epoch: u32,
    /// What it agrees on with the writer.
    pub terms: Terms,
    /// Its pipe ends.
    pub ends: WorkerEnds,
    /// The listeners.
    pub entrances: Vec<Entrance>,
    /// What it is to those who speak TLS.
    pub tls: Option<Server>,
    /// Its counters.
    pub scoreboard: Scoreboard,
    /// Everybody's connections.
    pub admission: Admission,
    /// Its channel to the supervisor.
    pub channel: Channel<ToSupervisor, ToWorker>,
    /// It turns its loop at least this often, for its heartbeat.
    pub tick: Duration,
}

/// The writer's seat.
#[derive(Debug)]
pub struct WriterSeat {
    /// The configuration.
    pub config: Config,
    /// The store's directory.
    pub directory: Arc<OwnedFd>,
    /// The store's lock: held as long as a writer may write.
    pub lock: File,
    /// The format of the segments that the last run of the daemon left.
    pub era: Option<Era>,
    /// The directory has taken the place of one that was deleted: what was in that one is not missing here.
    pub moved: bool,
    /// All links.
    pub links: Vec<Link>,
    /// The pipe it tees into.
    pub private: PrivatePipe,
    /// The memory of the commit record.
    pub commit: OwnedFd,
    /// Second descriptions of the live segment and of closed ones not synced yet, by sequence number.
    pub segments: Vec<(u64, OwnedFd)>,
    /// Its counters.
    pub scoreboard: Scoreboard,
    /// Its channel to the supervisor.
    pub channel: Channel<ToSupervisor, ToWriter>,
    /// It turns its loop at least this often, for its heartbeat.
    pub tick: Duration,
}

/// The archiver's seat.
#[derive(Debug)]
pub struct ArchiverSeat {
    /// The configuration.
    pub config: Config,
    /// The store's directory.
    pub directory: OwnedFd,
    /// The store's lock: held as long as an archiver may change the store.
    pub lock: File,
    /// The store's format by what its mark says, if it does.
    pub era: Option<Era>,
    /// Its counters.
    pub scoreboard: Scoreboard,
    /// Its channel to the supervisor.
    pub channel: Channel<ToSupervisor, ToArchiver>,
    /// It turns its loop at least this often, for its heartbeat.
    pub tick: Duration,
}

/// The exporter's seat.
#[derive(Debug)]
pub struct ExporterSeat {
    /// `security.sandbox`.
    pub sandbox: Sandbox,
    /// The socket at which metrics are served.
    pub listener: Listener,
    /// Its counters.
    pub scoreboard: Scoreboard,
    /// Its channel to the supervisor.
    pub channel: Channel<ToSupervisor, ToExporter>,
    /// It turns its loop at least this often, for its heartbeat.
    pub tick: Duration,
}
