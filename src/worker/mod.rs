//! A worker: an epoll loop over many connections. It turns bytes into records, hands them to the writer in frames, and
//! echoes what the writer has acknowledged.
//!
//! Promise: it never echoes what its echo mode does not cover, never touches a file, and never holds more than its
//! bound. A full pipe stops its reading, nothing else; it waits for its last acks before it leaves.

mod access;
mod budget;
mod census;
mod connection;
mod door;
mod echo;
mod entry;
mod guests;
mod limits;
mod outbox;
mod pace;
mod parking;
mod patience;
mod pauses;
mod socket;
mod spare;
mod table;
mod timers;
mod transport;

use crate::config::Config;
use crate::exit::{self, Fatal};
use crate::ipc::admission::Admission;
use crate::ipc::control::{Channel, Received, ToSupervisor, ToWorker};
use crate::ipc::sandbox;
use crate::ipc::scoreboard::{Count, Scoreboard};
use crate::ipc::seat::WorkerSeat;
use crate::ipc::wiring::Role;
use crate::protocol::ack::{self, Ack};
use crate::store::stamp::Stamp;
use crate::sys::poll::{Event, Interest, Poller};
use crate::sys::signals::{Signals, ignore, reset};
use crate::sys::{AsFd, OwnedFd, pipe};
use access::Access;
use budget::Budget;
use connection::Connection;
use door::Door;
use entry::Entry;
use guests::Guests;
use nix::sys::signal::Signal;
use outbox::Outbox;
use pace::Pace;
use parking::Parking;
use patience::Silence;
use pauses::Pauses;
use spare::Spare;
use std::io;
use std::time::{Duration, Instant};
use table::{Key, Table};
use timers::{Timers, millis};

const CONTROL: u64 = 0;
const SIGNALS: u64 = 1;
const ACKS: u64 = 2;
const PIPE: u64 = 3;
const LISTENERS: u64 = 16;

/// How often those ask again whose reading waits for memory.
const WAIT_TICK: u64 = 50;
/// A worker without a supervisor is gone after this (milliseconds), whatever its clients do.
const ORPHAN_DEADLINE: u64 = 1500;

/// Runs a worker to its end; returns the exit code.
pub fn run(seat: WorkerSeat) -> u8 {
    let ended = Worker::begin(seat).and_then(|mut worker| match worker.confine() {
        Ok(()) => {
            worker.channel.send(ToSupervisor::Ready);
            worker.serve()
        }
        Err(Fatal { code, message }) => {
            crate::error!(ROLE_FAILED, "{message}");
            worker.channel.send(ToSupervisor::Failed { code, message });
            Ok(code)
        }
    });
    ended.unwrap_or_else(|error| {
        crate::error!(ROLE_FAILED, "cannot go on serving: {error}");
        exit::FAILED
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    /// No new connections.
    Draining,
    /// No new messages either.
    Closing,
}

#[derive(Debug)]
struct Worker {
    config: Config,
    state: State,
    seat: usize,
    epoch: u32,
    incarnation: u32,
    connections: u64,
    table: Table,
    door: Door,
    entry: Entry,
    outbox: Outbox<Key>,
    /// The data pipe is full, and watched for room.
    pipe_watched: bool,
    acks: OwnedFd,
    budget: Budget,
    timers: Timers,
    /// Of clients that are to say something.
    quiet: Timers,
    /// Of those that are over their rate.
    delays: Timers,
    limits: limits::Limits,
    pauses: Pauses,
    access: Access,
    /// Who is busiest is being counted.
    sample: Option<census::Sample>,
    guests: Guests,
    pace: Option<Pace>,
    silence: Silence,
    /// Connections with undecoded bytes that wait for room in the outbox.
    blocked: Parking,
    /// Connections that wait for memory before they may read.
    waiting: Parking,
    /// Connections that must give their memory back.
    evicted: Vec<Key>,
    /// Discarded input goes here.
    scratch: Vec<u8>,
    spare: Spare,
    /// The connection at hand has taken some of its echo.
    progress: bool,
    channel: Channel<ToSupervisor, ToWorker>,
    scoreboard: Scoreboard,
    admission: Admission,
    poller: Poller,
    signals: Signals,
    started: Instant,
    /// Milliseconds since `started`, read once a turn.
    now: u64,
    /// The turn's receipt time, read and formatted when the turn's first message comes.
    stamp: Option<Stamp>,
    write_timeout: Option<u64>,
    /// Leave then, done or not.
    deadline: Option<u64>,
    /// An idle worker wakes this often (milliseconds), for its heartbeat.
    tick: u64,
}

impl Worker {
    fn begin(seat: WorkerSeat) -> io::Result<Self> {
        let WorkerSeat { config, seat, epoch, terms, ends, entrances, tls, scoreboard, admission, channel, tick } =
            seat;
        reset(&[Signal::SIGTERM])?;
        ignore(&[Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2])?;
        let signals = Signals::new(&[Signal::SIGTERM])?;
        let poller = Poller::new(512)?;
        let access = Access::new(config.log.access, &entrances);
        let door = Door::open(&poller, entrances, LISTENERS, config.limits.max_connections, seat);
        let (header, handshake) = (millis(config.proxy.header_timeout), millis(config.tls.handshake_timeout));
        let entry = Entry::new(config.proxy.from.clone(), header, tls, handshake);
        let outbox = Outbox::new(ends.data, terms, config.rotate.max_size, config.server.echo);
        poller.add(&channel, CONTROL, Interest::Input)?;
        poller.add(&signals, SIGNALS, Interest::Input)?;
        poller.add(&ends.acks, ACKS, Interest::Input)?;
        let started = Instant::now();
        Ok(Self {
            state: State::Serving,
            seat,
            epoch,
            incarnation: u32::try_from(terms.id).unwrap_or(u32::MAX),
            connections: 0,
            table: Table::default(),
            door,
            entry,
            outbox,
            pipe_watched: false,
            acks: ends.acks,
            budget: Budget::of(&config),
            timers: Timers::default(),
            quiet: Timers::default(),
            delays: Timers::default(),
            limits: limits::Limits::default(),
            pauses: Pauses::default(),
            access,
            sample: None,
            guests: Guests::new(&config.limits, seat),
            pace: Pace::new(&config.limits, &admission, started),
            silence: Silence::of(&config.limits),
            blocked: Parking::default(),
            waiting: Parking::default(),
            evicted: Vec::new(),
            scratch: Vec::new(),
            spare: Spare::default(),
            progress: false,
            channel,
            scoreboard,
            admission,
            poller,
            signals,
            started,
            now: 0,
            stamp: None,
            write_timeout: config.limits.write_timeout.map(millis),
            deadline: None,
            tick: millis(tick),
            config,
        })
    }

    /// Gives up all that a worker does not need: all is open by now, and no client's byte is read.
    fn confine(&self) -> Result<(), Fatal> {
        let mode = self.config.security.sandbox;
        let wall = sandbox::wall_in(Role::Worker, mode, None, false)?;
        self.scoreboard.set(Count::Sandbox, sandbox::filter(Role::Worker, mode, wall)?.word());
        Ok(())
    }

    fn serve(mut self) -> io::Result<u8> {
        let mut events = Vec::new();
        loop {
            self.poller.wait(Some(self.sleep()), &mut events)?;
            let turn = Instant::now();
            self.now = millis(turn.saturating_duration_since(self.started));
            self.stamp = None;
            self.outbox.begin_turn(turn);
            self.scoreboard.add(Count::Heartbeat, 1);
            self.scoreboard.stamp(Count::Turned, turn);
            self.channel.flush();
            for event in &events {
                if let Some(code) = self.dispatch(event)? {
                    self.tell_abandoned();
                    return Ok(code);
                }
            }
            self.expire();
            self.end_sample();
            self.look_at_door();
            if !self.waiting.is_empty() && self.budget.is_open(self.now) {
                self.waiting.release(&mut self.table, self.now);
            }
            self.pump_all();
            self.expire_quiet();
            self.flush()?;
            self.tell_counts();
            if self.is_done() {
                self.tell_abandoned();
                return Ok(exit::OK);
            }
        }
    }

    fn dispatch(&mut self, event: &Event) -> io::Result<Option<u8>> {
        match event.token {
            CONTROL => return self.obey(),
            SIGNALS => {
                while self.signals.next()?.is_some() {
                    // From a dying supervisor, or somebody who means this worker: leave in order.
                    self.close_all();
                }
            }
            ACKS => self.take_acks()?,
            // Room in the pipe: `flush` comes at the end of every turn.
            PIPE => {}
            // Also a listener's last event from before the door was shut.
            token if token < Key::FIRST_TOKEN => self.accept(token),
            token => {
                let key = Key::from_token(token);
                if let Some(connection) = self.table.get(key) {
                    connection.wake(event);
                    self.table.enqueue(key);
                }
            }
        }
        Ok(None)
    }

    fn obey(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.channel.receive()? {
                Received::Nothing => return Ok(None),
                Received::Message(ToWorker::Drain) => {
                    self.door.shut(&self.poller);
                    if self.state == State::Serving {
                        self.state = State::Draining;
                    }
                }
                Received::Message(ToWorker::Close) => self.close_all(),
                Received::Message(ToWorker::Count) => self.begin_sample(),
                Received::Message(ToWorker::Log(log)) => {
                    crate::log::follow(log);
                    self.access.wanted = log.access;
                }
                Received::Message(ToWorker::Abort) => return Ok(Some(exit::OK)),
                Received::End => {
                    crate::error!(
                        SUPERVISOR_GONE,
                        "the supervisor is dead: taking nothing more, echoing what is on its way, then leaving"
                    );
                    self.poller.remove(self.channel.as_fd())?;
                    self.deadline = Some(self.now + ORPHAN_DEADLINE);
                    self.close_all();
                    return Ok(None);
                }
            }
        }
    }

    fn close_all(&mut self) {
        self.door.shut(&self.poller);
        self.state = State::Closing;
        for key in self.table.keys() {
            if let Some(connection) = self.table.get(key) {
                connection.finish_up();
            }
            self.table.enqueue(key);
        }
    }

    fn take_acks(&mut self) -> io::Result<()> {
        self.scratch.clear();
        pipe::read_to(self.acks.as_fd(), &mut self.scratch, 1 << 16)?;
        let (table, mut closed) = (&mut self.table, 0);
        for ack in ack::decode(&self.scratch) {
            match ack {
                Ack::Safe(through) => self.outbox.acknowledge(through, |(key, upto)| release(table, key, upto)),
                Ack::Refused(through) => self.outbox.refuse(through, |key| closed += u64::from(give_up(table, key))),
            }
        }
        self.scoreboard.add(Count::Refused, closed);
        // Before a byte of their echoes is sent: whoever has heard one finds it counted, though this worker be killed.
        self.count_echoes();
        Ok(())
    }

    /// Sends a full frame within the turn. What goes wrong goes wrong again in [`flush`](Self::flush), which tells.
    fn send_on(&mut self) {
        let table = &mut self.table;
        let _ = self.outbox.flush(|(key, upto)| release(table, key, upto));
        // In `received` that has released some, whose echoes may be sent in this turn.
        self.count_echoes();
    }

    /// Sends the turn's frame; what waited for room in the outbox goes on in the next turn.
    fn flush(&mut self) -> io::Result<()> {
        let table = &mut self.table;
        if !self.outbox.gathers() {
            self.outbox.flush(|(key, upto)| release(table, key, upto))?;
        }
        // Watched only while something waits for room: otherwise each batch that the writer takes out would wake us.
        if self.outbox.is_blocked() != self.pipe_watched {
            self.pipe_watched = !self.pipe_watched;
            if self.pipe_watched {
                self.poller.add(self.outbox.pipe(), PIPE, Interest::OutputEdge)?;
            } else {
                self.poller.remove(self.outbox.pipe())?;
            }
        }
        if self.outbox.has_room() {
            self.blocked.release(table, self.now);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let left = self.state != State::Serving && self.table.len() == 0 && self.outbox.is_empty();
        left || self.deadline.is_some_and(|at| self.now >= at)
    }

    fn sleep(&self) -> Duration {
        if self.table.queued() > 0 {
            return Duration::ZERO;
        }
        let waiting = (!self.waiting.is_empty()).then_some(self.now + WAIT_TICK);
        let timers = [&self.timers, &self.quiet, &self.delays].map(Timers::next);
        let sample = self.sample.as_ref().map(census::Sample::ends);
        let next = timers.into_iter().chain([self.door.wakes_at(), self.deadline, waiting, sample]).flatten().min();
        Duration::from_millis(next.map_or(self.tick, |at| at.saturating_sub(self.now).clamp(1, self.tick)))
    }
}

fn release(table: &mut Table, key: Key, upto: u64) {
    if let Some(connection) = table.get(key) {
        connection.release(upto);
        table.enqueue(key);
    }
}

/// Messages of the connection were refused: whether it closes for that.
fn give_up(table: &mut Table, key: Key) -> bool {
    table.enqueue(key);
    table.get(key).is_some_and(Connection::give_up)
}
