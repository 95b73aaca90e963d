//! The exporter: serves the daemon's numbers over HTTP as OpenMetrics text, and its health to load balancers.
//!
//! Promise: it has its listener, its clients and its channel, nothing else: the numbers are the report that `status` tells,
//! for which it asks the supervisor. Whatever comes from outside, it answers or closes within some seconds, holds little,
//! and never makes the supervisor work more than a few times a second. Its death harms nobody.

mod connection;
pub mod http;
mod page;
mod source;

use crate::exit::{self, Fatal};
use crate::ipc::control::{Channel, Received, Sheet, ToExporter, ToSupervisor};
use crate::ipc::report::Report;
use crate::ipc::sandbox;
use crate::ipc::scoreboard::{Count, Scoreboard};
use crate::ipc::seat::ExporterSeat;
use crate::ipc::wiring::Role;
use crate::log::{self, Spell, Turn as Change};
use crate::sys::poll::{Event, Interest, Poller};
use crate::sys::signals::{Signals, ignore, reset};
use crate::sys::socket::Listener;
use crate::sys::{AsFd, would_block};
use connection::{Connection, Turn};
use http::{Form, Request, Response, Status, Target};
use nix::sys::signal::Signal;
pub use page::{FAMILIES, Family, classic, page};
use source::{Source, Supply};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

const CONTROL: u64 = 0;
const SIGNALS: u64 = 1;
const LISTENER: u64 = 2;
/// Tokens of connections begin here.
const FIRST_CONNECTION: u64 = 16;

/// Connections at once.
const MOST: usize = 32;
/// Connections taken in at once, and steps of one connection.
const BUDGET: usize = 16;
/// How long to rest when the system has no descriptor for another connection.
const ACCEPT_REST: Duration = Duration::from_secs(1);
/// What `/` shows.
const FRONT: &str = "<!DOCTYPE html>\n<title>echostored</title>\n<h1>echostored</h1>\n<p><a href=\"/metrics\">Metrics</a> (OpenMetrics) \u{b7} <a href=\"/healthz\">health</a></p>\n";
const HTML: &str = "text/html; charset=utf-8";
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The exporter's whole life; returns its exit code.
pub fn run(seat: ExporterSeat) -> u8 {
    let served = Exporter::new(seat)
        .and_then(|exporter| exporter.serve().map_err(|error| Fatal::system("serve metrics", error)));
    served.unwrap_or_else(|fatal| {
        error!(ROLE_FAILED, "{fatal}");
        fatal.code
    })
}

/// What is told, ready to be sent.
#[derive(Debug)]
struct Told {
    open: String,
    classic: OnceCell<String>,
    /// What is wrong with the daemon.
    ill: Option<String>,
}

#[derive(Debug)]
struct Exporter {
    listener: Listener,
    /// Not accepting until then.
    rests: Option<Instant>,
    /// What was told of that, on a clock that began with the exporter.
    shortage: Spell,
    begun: Instant,
    source: Source<Told>,
    connections: BTreeMap<u64, Connection>,
    /// Those that have more to do without any event.
    busy: BTreeSet<u64>,
    next: u64,
    channel: Channel<ToSupervisor, ToExporter>,
    scoreboard: Scoreboard,
    poller: Poller,
    signals: Signals,
    tick: Duration,
}

impl Exporter {
    fn new(seat: ExporterSeat) -> Result<Self, Fatal> {
        let take_up = || -> io::Result<(Poller, Signals)> {
            reset(&[Signal::SIGTERM, Signal::SIGCHLD])?;
            ignore(&[Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2])?;
            let signals = Signals::new(&[Signal::SIGTERM])?;
            let poller = Poller::new(64)?;
            poller.add(&seat.channel, CONTROL, Interest::Input)?;
            poller.add(&signals, SIGNALS, Interest::Input)?;
            poller.add(&seat.listener, LISTENER, Interest::Input)?;
            Ok((poller, signals))
        };
        let (poller, signals) = take_up().map_err(|error| Fatal::system("serve metrics", error))?;
        let wall = sandbox::wall_in(Role::Exporter, seat.sandbox, None, false)?;
        seat.scoreboard.set(Count::Sandbox, sandbox::filter(Role::Exporter, seat.sandbox, wall)?.word());
        Ok(Self {
            listener: seat.listener,
            rests: None,
            shortage: Spell::default(),
            begun: Instant::now(),
            source: Source::new(),
            connections: BTreeMap::new(),
            busy: BTreeSet::new(),
            next: FIRST_CONNECTION,
            channel: seat.channel,
            scoreboard: seat.scoreboard,
            poller,
            signals,
            tick: seat.tick,
        })
    }

    fn serve(mut self) -> io::Result<u8> {
        self.channel.send(ToSupervisor::Ready);
        let mut events = Vec::new();
        loop {
            let timeout = self.sleep(Instant::now());
            self.poller.wait(Some(timeout), &mut events)?;
            self.scoreboard.add(Count::Heartbeat, 1);
            self.channel.flush();
            let now = Instant::now();
            self.scoreboard.stamp(Count::Turned, now);
            self.scoreboard.set(Count::LogDropped, log::dropped());
            for event in &events {
                if self.dispatch(event, now)? {
                    return Ok(exit::OK);
                }
            }
            for id in std::mem::take(&mut self.busy) {
                self.drive(id, now);
            }
            self.expire(now);
        }
    }

    /// True: it leaves.
    fn dispatch(&mut self, event: &Event, now: Instant) -> io::Result<bool> {
        match event.token {
            CONTROL => return self.obey(now),
            // `TERM` comes when the supervisor dies, which the channel's end tells too, or from somebody who means all.
            SIGNALS => while self.signals.next()?.is_some() {},
            LISTENER => self.accept(now),
            id => drop(self.busy.insert(id)),
        }
        Ok(false)
    }

    /// Hears the supervisor; true: it wants the exporter to leave, or is dead.
    fn obey(&mut self, now: Instant) -> io::Result<bool> {
        loop {
            match self.channel.receive()? {
                Received::Nothing => return Ok(false),
                Received::Message(ToExporter::Leave) | Received::End => return Ok(true),
                Received::Message(ToExporter::Report(sheet)) => self.take_in(&sheet, now)?,
            }
        }
    }

    /// Answers who waits for it; if it has come too late for anybody, it is asked for again.
    fn take_in(&mut self, sheet: &Sheet, now: Instant) -> io::Result<()> {
        let told = Told::of(sheet.read()?).ok_or(io::ErrorKind::InvalidData)?;
        self.source.answered(told, now);
        let waiting = |(id, connection): (&u64, &Connection)| connection.wants().map(|request| (*id, request));
        let waiting: Vec<(u64, Request)> = self.connections.iter().filter_map(waiting).collect();
        waiting.into_iter().for_each(|(id, request)| self.supply(id, request, now));
        Ok(())
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..BUDGET {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(Connection::new(stream, now)),
                Err(error) if would_block(&error) => return,
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {
                }
                Err(error) => {
                    self.tell_shortage(&error, now);
                    let _ = self.poller.remove(self.listener.as_fd());
                    self.rests = Some(now + ACCEPT_REST);
                    return;
                }
            }
        }
    }

    /// Once when it begins, however often it is tried in between.
    fn tell_shortage(&mut self, error: &io::Error, now: Instant) {
        if self.shortage.note(true, now - self.begun) == Change::Begun {
            warn!(
                METRICS_NOT_ACCEPTED,
                "cannot accept connections for metrics: {error}; it is tried again every {ACCEPT_REST:?}"
            );
        }
    }

    /// Takes in a connection. Where there is no place, one that asks for nothing leaves: of those that never have, the
    /// oldest; or one that does not read; or else the newcomer.
    fn admit(&mut self, connection: Connection) {
        if self.connections.len() >= MOST {
            let worth = |(id, connection): (&u64, &Connection)| Some((connection.worth()?, *id));
            let least = self.connections.iter().filter_map(worth).min();
            let given_up = least.and_then(|(_, id)| self.connections.remove(&id));
            if given_up.as_ref().is_none_or(Connection::does_not_read) {
                self.scoreboard.add(Count::BadRequests, 1);
            }
            if given_up.is_none() {
                return;
            }
        }
        let id = self.next;
        if self.poller.add(&connection, id, Interest::BothEdge).is_ok() {
            self.next += 1;
            self.connections.insert(id, connection);
            self.busy.insert(id);
        }
    }

    /// Lets a connection do what it can, within its budget.
    fn drive(&mut self, id: u64, now: Instant) {
        for _ in 0..BUDGET {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            match connection.turn(now) {
                Turn::Rest => return,
                Turn::Gone | Turn::Unread => return drop(self.connections.remove(&id)),
                Turn::Again => {}
                Turn::Refused => self.scoreboard.add(Count::BadRequests, 1),
                Turn::Wants(request) => self.supply(id, request, now),
            }
        }
        self.busy.insert(id);
    }

    /// Answers a request now, or when the supervisor has told what is needed.
    fn supply(&mut self, id: u64, request: Request, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if request.target == Target::Front {
            connection.answer(&Response { status: Status::Ok, kind: HTML, body: FRONT }, now);
        } else {
            match self.source.want(now) {
                Supply::Wait => return,
                Supply::Ask => return self.channel.send(ToSupervisor::Ask),
                Supply::Never(silence) => {
                    let words = format!("the supervisor has not answered for {:.1} s\n", silence.as_secs_f64());
                    connection.answer(&Response::words(Status::Unavailable, &words), now);
                }
                Supply::Now => {
                    let Some(told) = self.source.fresh(now) else { return };
                    connection.answer(&told.response(request.target), now);
                    let is_scrape = matches!(request.target, Target::Metrics(_));
                    self.scoreboard.add(Count::Scrapes, u64::from(is_scrape));
                }
            }
        }
        self.busy.insert(id);
    }

    /// Sees to all whose time is over.
    fn expire(&mut self, now: Instant) {
        let over = |connection: &Connection| connection.deadline().is_some_and(|deadline| now >= deadline);
        let late: Vec<u64> = self.connections.iter().filter(|(_, one)| over(one)).map(|(id, _)| *id).collect();
        for id in late {
            let end = self.connections.get_mut(&id).map(|connection| connection.expire(now));
            self.scoreboard.add(Count::BadRequests, u64::from(matches!(end, Some(Turn::Refused | Turn::Unread))));
            if end == Some(Turn::Refused) {
                self.busy.insert(id);
            } else {
                self.connections.remove(&id);
            }
        }
        if self.source.gives_up_at().is_some_and(|at| now >= at) {
            let waiting = |(id, connection): (&u64, &Connection)| connection.wants().map(|request| (*id, request));
            let waiting: Vec<(u64, Request)> = self.connections.iter().filter_map(waiting).collect();
            waiting.into_iter().for_each(|(id, request)| self.supply(id, request, now));
        }
        if let Change::Over(times) = self.shortage.note(false, now - self.begun) {
            notice!(METRICS_ACCEPTED_AGAIN, "connections for metrics are accepted again, after {times} tries");
        }
        if self.rests.is_some_and(|until| now >= until) {
            let watched = self.poller.add(&self.listener, LISTENER, Interest::Input);
            self.rests = watched.is_err().then_some(now + ACCEPT_REST);
        }
    }

    /// How long to wait for news.
    fn sleep(&self, now: Instant) -> Duration {
        if !self.busy.is_empty() {
            return Duration::ZERO;
        }
        let deadlines = self.connections.values().filter_map(Connection::deadline);
        // Once it has passed, nobody waits any more.
        let gives_up = self.source.gives_up_at().filter(|at| *at > now);
        let next = deadlines.chain(gives_up).chain(self.rests).min();
        next.map_or(self.tick, |at| at.saturating_duration_since(now)).min(self.tick)
    }
}

impl Told {
    fn of(report: Report) -> Option<Self> {
        let ill = report.health.iter().map(|trouble| format!("{trouble}\n")).collect::<String>();
        let ill = Some(ill).filter(|ill| !ill.is_empty());
        Some(Self { open: page(report).ok()?, classic: OnceCell::new(), ill })
    }

    fn response(&self, target: Target) -> Response<'_> {
        match (target, &self.ill) {
            (Target::Health, Some(ill)) => Response::words(Status::Unavailable, ill),
            (Target::Health, None) => Response::words(Status::Ok, "ok\n"),
            (Target::Metrics(Form::Open), _) => Response { status: Status::Ok, kind: OPEN, body: &self.open },
            (Target::Metrics(Form::Classic), _) => {
                let body = self.classic.get_or_init(|| classic(&self.open));
                Response { status: Status::Ok, kind: CLASSIC, body }
            }
            (Target::Front, _) => Response { status: Status::Ok, kind: HTML, body: FRONT },
        }
    }
}
