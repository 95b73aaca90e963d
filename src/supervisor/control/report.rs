//! What `status` tells: looked up, never asked of a role, so that one that hangs delays nobody.
use super::ledger::{Of, Sums};
use crate::config::units::{format_size, format_time};
use crate::config::{Choice, Config, Echo, Method, Retain, Space};
use crate::ipc::report::{
    Archiver, ArchiverCounts, Backlog, Disk, Exporter, ExporterCounts, Live, Report, SCHEMA, STALLED, Worker,
    WorkerCounts, Writer, WriterCounts,
};
use crate::ipc::sandbox::InForce;
use crate::ipc::scoreboard::{Count, Scoreboard};
use crate::log;
use crate::store::clock;
use crate::supervisor::export::Outlet;
use crate::supervisor::{Supervisor, crew, status};
use crate::sys::process::{Pid, own_pid};
use crate::sys::{AsFd, pipe};
use std::time::Instant;

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
struct Now {
    instant: Instant,
    /// Microseconds since 1970.
    wall: i64,
}

impl Now {
    /// An earlier moment, as it is told.
    fn tell(self, moment: Instant) -> String {
        let ago = i64::try_from(self.instant.saturating_duration_since(moment).as_micros()).unwrap_or(i64::MAX);
        clock::text(self.wall.saturating_sub(ago))
    }

    /// Milliseconds since the loop of a process turned last; one that has not yet has hung since its birth.
    fn beat(self, board: &Scoreboard, born: Instant) -> u64 {
        self.since(board.moment(Count::Turned).or(Some(born)))
    }

    /// Milliseconds since then.
    fn since(self, moment: Option<Instant>) -> u64 {
        let since = moment.map_or(0, |moment| self.instant.saturating_duration_since(moment).as_millis());
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

impl Supervisor {
    /// What all processes have counted since the start.
    pub(super) fn sums(&self) -> Sums {
        let mut sums = self.ground.control.ledger.dead();
        self.workers.iter().for_each(|worker| sums.add(Of::Worker, &worker.scoreboard));
        self.writer.iter().for_each(|writer| sums.add(Of::Writer, &writer.scoreboard));
        self.archive.archiver.iter().for_each(|archiver| sums.add(Of::Archiver, &archiver.scoreboard));
        self.export.exporter.iter().for_each(|exporter| sums.add(Of::Exporter, &exporter.scoreboard));
        sums
    }

    /// The answer to `status`.
    pub(in crate::supervisor) fn report(&self, instant: Instant) -> Report {
        let mut report = self.tell(Now { instant, wall: clock::now_micros() });
        let waits = report.workers.iter().map(|worker| worker.oldest_unacknowledged_milliseconds).max();
        report.oldest_unacknowledged_milliseconds = waits.unwrap_or(0);
        report.stalled = report.waits_for_store() >= STALLED;
        // Generations change within a reload, and others serve meanwhile.
        let serves = Report { ready: self.was_ready && self.stop.is_none(), ..report.clone() };
        report.health = serves.troubles();
        report
    }

    /// All of it that is looked up; what follows from it is left out.
    fn tell(&self, now: Now) -> Report {
        let ledger = &self.ground.control.ledger;
        let figures = self.figures(ledger.rates.messages, now.instant);
        let (server, sums) = (&self.config.server, self.sums());
        let board = self.writer.as_ref().map(|writer| &writer.scoreboard);
        let told = |stamp: Count| board.and_then(|board| board.moment(stamp)).map(|moment| now.tell(moment));
        Report {
            schema: SCHEMA,
            time: clock::text(now.wall),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: own_pid(),
            uptime_seconds: ledger.age(now.instant),
            started: ledger.started,
            health: Vec::new(),
            sandbox: self.ground.sandbox,
            status: status::line(&figures),
            ready: self.was_ready && !self.tell_ready && self.stop.is_none(),
            stopping: self.stop.is_some(),
            degraded: figures.degraded,
            hanging: figures.hanging,
            stalled: false,
            full: figures.full,
            rotation_stuck: board.is_some_and(|board| board.get(Count::Stuck) > 0),
            homeless: figures.homeless,
            generation: self.generation,
            config: self.options.config.to_string_lossy().into_owned(),
            listeners: self.ground.listeners.places(),
            directory: self.config.store.directory.to_string_lossy().into_owned(),
            segment: self.live.as_ref().map(|(_, name)| name.clone()),
            echo: server.echo.name().to_owned(),
            framing: server.framing.name().to_owned(),
            on_disk_full: self.config.store.on_disk_full.name().to_owned(),
            connections: figures.connections,
            messages_per_second: ledger.rates.messages,
            bytes_per_second: ledger.rates.bytes,
            oldest_unacknowledged_milliseconds: 0,
            orphaned_bytes: self.orphaned_bytes(),
            orphaned_milliseconds: now.since(ledger.orphaned),
            writerless_milliseconds: now.since(ledger.writerless),
            sync_interval_milliseconds: sync_interval(&self.config),
            last_write: told(Count::LastWrite),
            last_sync: told(Count::LastSync),
            last_sync_microseconds: board.map_or(0, |board| board.get(Count::SyncTook)),
            live: board.filter(|_| self.live.is_some()).map(|board| tell_live(board, &self.config)),
            disk: board.and_then(tell_disk),
            retention: retention(&self.config),
            restarts: ledger.restarts,
            outages: ledger.outages.count,
            hangs: ledger.hangs.count,
            log_lines_dropped: sums.log_dropped.saturating_add(log::dropped()),
            last: sums.last().chain(ledger.last_by_us()).map(|(name, last)| (name, now.tell(last))).collect(),
            histograms: sums.histograms(),
            metrics: self.ground.outlet.as_ref().map(Outlet::place).unwrap_or_default(),
            totals: sums.totals,
            workers: self.sorted_workers(now),
            writer: self.writer.as_ref().map(|writer| self.tell_writer(writer, now)),
            archiver: self.tell_archiver(now),
            exporter: self.tell_exporter(now),
        }
    }

    /// What is in the pipes of workers that are gone.
    pub(in crate::supervisor) fn orphaned_bytes(&self) -> u64 {
        let alive = |id: u64| self.workers.iter().any(|worker| worker.id == id);
        let links = self.ground.run.links.iter().filter(|link| !alive(link.terms.id));
        links.map(|link| pipe::unread(link.data.as_fd()).map_or(0, |bytes| bytes as u64)).sum()
    }

    fn sorted_workers(&self, now: Now) -> Vec<Worker> {
        let mut workers: Vec<Worker> = self.workers.iter().map(|worker| self.tell_worker(worker, now)).collect();
        workers.sort_by_key(|worker| (worker.generation, worker.number));
        workers
    }

    fn tell_worker(&self, worker: &crew::Worker, now: Now) -> Worker {
        let link = self.ground.run.links.iter().find(|link| link.terms.id == worker.id);
        let of_pipe = |count: fn(crate::sys::BorrowedFd<'_>) -> std::io::Result<usize>| {
            link.and_then(|link| count(link.data.as_fd()).ok()).map_or(0, |bytes| bytes as u64)
        };
        Worker {
            number: worker.number,
            pid: number(worker.pid),
            generation: worker.generation,
            uptime_seconds: now.since(Some(worker.born)) / 1000,
            sandbox: in_force(&worker.scoreboard),
            ready: worker.ready,
            leaving: worker.leaving,
            restarts: self.ground.control.ledger.restarts_of(worker.number),
            heartbeat_milliseconds: now.beat(&worker.scoreboard, worker.born),
            connections: self.ground.admission.of(worker.seat),
            pipe_bytes: of_pipe(pipe::unread),
            pipe_size: of_pipe(pipe::size),
            oldest_unacknowledged_milliseconds: now.since(worker.scoreboard.moment(Count::Oldest)),
            counts: WorkerCounts::of(&worker.scoreboard),
        }
    }

    fn tell_writer(&self, writer: &crew::Writer, now: Now) -> Writer {
        Writer {
            pid: number(writer.pid),
            uptime_seconds: now.since(Some(writer.born)) / 1000,
            sandbox: in_force(&writer.scoreboard),
            ready: writer.ready,
            restarts: self.ground.control.ledger.restarts.writer,
            heartbeat_milliseconds: now.beat(&writer.scoreboard, writer.born),
            counts: WriterCounts::of(&writer.scoreboard),
        }
    }

    fn tell_archiver(&self, now: Now) -> Option<Archiver> {
        let archiver = self.archive.archiver.as_ref()?;
        Some(Archiver {
            pid: number(archiver.pid),
            uptime_seconds: now.since(Some(archiver.born)) / 1000,
            sandbox: in_force(&archiver.scoreboard),
            ready: archiver.ready,
            restarts: self.ground.control.ledger.restarts.archiver,
            heartbeat_milliseconds: now.beat(&archiver.scoreboard, archiver.born),
            // Until its first look an heir knows of no file.
            backlog: (archiver.scoreboard.get(Count::Stocked) > 0).then(|| Backlog::of(&archiver.scoreboard)),
            counts: ArchiverCounts::of(&archiver.scoreboard),
        })
    }

    fn tell_exporter(&self, now: Now) -> Option<Exporter> {
        let exporter = self.export.exporter.as_ref()?;
        Some(Exporter {
            pid: number(exporter.pid),
            uptime_seconds: now.since(Some(exporter.born)) / 1000,
            sandbox: in_force(&exporter.scoreboard),
            ready: exporter.ready,
            restarts: self.ground.control.ledger.restarts.exporter,
            heartbeat_milliseconds: now.beat(&exporter.scoreboard, exporter.born),
            listener: self.ground.outlet.as_ref().map(Outlet::place).unwrap_or_default(),
            counts: ExporterCounts::of(&exporter.scoreboard),
        })
    }
}

fn tell_live(board: &Scoreboard, config: &Config) -> Live {
    let next = i64::try_from(board.get(Count::NextRotation)).ok().filter(|&next| next > 0);
    Live {
        bytes: board.get(Count::Live),
        max_bytes: config.rotate.max_size,
        next_rotation: next.map(|next| clock::text(next.saturating_mul(1_000_000))),
    }
}

/// In milliseconds; 0: before each echo; none: never but at rotations.
fn sync_interval(config: &Config) -> Option<u64> {
    match config.server.echo {
        Echo::Synced => Some(0),
        Echo::Received | Echo::Stored => {
            config.store.sync_interval.map(|interval| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX))
        }
    }
}

fn tell_disk(board: &Scoreboard) -> Option<Disk> {
    let used_percent = board.get(Count::DiskUsed).checked_sub(1)?;
    Some(Disk { size_bytes: board.get(Count::DiskSize), free_bytes: board.get(Count::DiskFree), used_percent })
}

/// `max-files 50, max-age 7d; zstd`.
fn retention(config: &Config) -> String {
    let Retain { max_files, max_age, max_total_size, min_free_space } = config.retain;
    let space = |space| match space {
        Space::Bytes(bytes) => format_size(bytes),
        Space::Percent(percent) => format!("{percent}%"),
    };
    let rules = [
        max_files.map(|files| format!("max-files {files}")),
        max_age.map(|age| format!("max-age {}", format_time(age))),
        max_total_size.map(|size| format!("max-total-size {}", format_size(size))),
        min_free_space.map(|free| format!("min-free-space {}", space(free))),
        (config.compress.method != Method::None).then(|| format!("compress {}", config.compress.method.name())),
    ];
    rules.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn in_force(scoreboard: &Scoreboard) -> InForce {
    InForce::of_word(scoreboard.get(Count::Sandbox))
}

fn number(pid: Pid) -> u32 {
    pid.as_raw().cast_unsigned()
}
