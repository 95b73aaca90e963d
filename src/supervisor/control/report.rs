//! What `status` tells: looked up, never asked of a role, so that one that hangs delays nobody.
use crate::config::Choice;
use crate::ipc::report::{
    Archiver, ArchiverCounts, Backlog, Report, SCHEMA, Totals, Worker, WorkerCounts, Writer, WriterCounts,
};
use crate::ipc::sandbox::InForce;
use crate::ipc::scoreboard::{Count, Scoreboard};
use crate::supervisor::{Supervisor, crew, status};
use crate::sys::process::{Pid, own_pid};
use std::time::{Duration, Instant};

/// The shortest time over which a rate is taken.
const SPAN: Duration = Duration::from_secs(1);

/// What outlives the processes: the counts of the dead, and the rate.
#[derive(Debug)]
pub struct Ledger {
    born: Instant,
    dead: Totals,
    measured: Instant,
    stored: u64,
    rate: u64,
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Self {
        let now = Instant::now();
        Self { born: now, dead: Totals::default(), measured: now, stored: 0, rate: 0 }
    }

    /// Seconds since the start.
    pub fn age(&self, now: Instant) -> u64 {
        seconds(self.born, now)
    }

    /// Keeps what a dead worker counted.
    pub fn bury_worker(&mut self, scoreboard: &Scoreboard) {
        self.dead.workers.add(WorkerCounts::of(scoreboard));
    }

    /// Keeps what a dead writer counted.
    pub fn bury_writer(&mut self, scoreboard: &Scoreboard) {
        self.dead.writer.add(WriterCounts::of(scoreboard));
    }

    /// Keeps what a dead archiver counted.
    pub fn bury_archiver(&mut self, scoreboard: &Scoreboard) {
        self.dead.archiver.add(ArchiverCounts::of(scoreboard));
    }

    /// Whether it is time to take the rate.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.measured + SPAN
    }

    /// Takes the rate of stored messages.
    pub fn measure(&mut self, stored: u64, now: Instant) {
        let span = now.saturating_duration_since(self.measured).as_millis().max(1);
        let more = u128::from(stored.saturating_sub(self.stored)) * 1000 / span;
        self.rate = u64::try_from(more).unwrap_or(u64::MAX);
        (self.measured, self.stored) = (now, stored);
    }
}

impl Supervisor {
    /// What all processes have counted since the start.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.ground.control.ledger.dead;
        self.workers.iter().for_each(|worker| totals.workers.add(WorkerCounts::of(&worker.scoreboard)));
        self.writer.iter().for_each(|writer| totals.writer.add(WriterCounts::of(&writer.scoreboard)));
        let archiver = self.archive.archiver.iter();
        archiver.for_each(|archiver| totals.archiver.add(ArchiverCounts::of(&archiver.scoreboard)));
        totals
    }

    /// The answer to `status`.
    pub(super) fn report(&self, now: Instant) -> Report {
        let ledger = &self.ground.control.ledger;
        let figures = self.figures(ledger.rate);
        let server = &self.config.server;
        let mut workers: Vec<Worker> = self.workers.iter().map(|worker| self.tell_worker(worker, now)).collect();
        workers.sort_by_key(|worker| (worker.generation, worker.number));
        Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: own_pid(),
            uptime_seconds: ledger.age(now),
            sandbox: self.ground.sandbox,
            status: status::line(figures),
            ready: self.was_ready && !self.tell_ready && self.stop.is_none(),
            stopping: self.stop.is_some(),
            degraded: figures.degraded,
            full: figures.full,
            homeless: figures.homeless,
            generation: self.generation,
            config: self.options.config.to_string_lossy().into_owned(),
            listeners: self.ground.listeners.places(),
            directory: self.config.store.directory.to_string_lossy().into_owned(),
            segment: self.live.as_ref().map(|(_, name)| name.clone()),
            echo: server.echo.name().to_owned(),
            framing: server.framing.name().to_owned(),
            connections: figures.connections,
            messages_per_second: figures.rate,
            totals: self.totals(),
            workers,
            writer: self.writer.as_ref().map(|writer| Writer {
                pid: number(writer.pid),
                uptime_seconds: seconds(writer.born, now),
                sandbox: in_force(&writer.scoreboard),
                ready: writer.ready,
                counts: WriterCounts::of(&writer.scoreboard),
            }),
            archiver: self.archive.archiver.as_ref().map(|archiver| Archiver {
                pid: number(archiver.pid),
                uptime_seconds: seconds(archiver.born, now),
                sandbox: in_force(&archiver.scoreboard),
                ready: archiver.ready,
                backlog: Backlog::of(&archiver.scoreboard),
                counts: ArchiverCounts::of(&archiver.scoreboard),
            }),
        }
    }

    fn tell_worker(&self, worker: &crew::Worker, now: Instant) -> Worker {
        Worker {
            number: worker.number,
            pid: number(worker.pid),
            generation: worker.generation,
            uptime_seconds: seconds(worker.born, now),
            sandbox: in_force(&worker.scoreboard),
            ready: worker.ready,
            leaving: worker.leaving,
            connections: self.ground.admission.of(worker.seat),
            counts: WorkerCounts::of(&worker.scoreboard),
        }
    }
}

fn in_force(scoreboard: &Scoreboard) -> InForce {
    InForce::of_word(scoreboard.get(Count::Sandbox))
}

fn number(pid: Pid) -> u32 {
    pid.as_raw().cast_unsigned()
}

fn seconds(since: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(since).as_secs()
}
