//! The supervisor: listens, forks, watches, talks to the service manager. It never sees a message.
//!
//! Promise: single-threaded for ever, so that it may fork at any time; it holds the read end of every data pipe, so that
//! a dead writer destroys nothing; it replaces whoever dies, and leaves last but for nobody.

mod archive;
mod census;
mod control;
mod crew;
mod detach;
mod export;
mod inheritance;
mod listeners;
mod notify;
mod passed;
mod pidfile;
mod reclaim;
mod reload;
mod restart;
mod rotate;
mod shutdown;
mod socket_file;
mod start;
mod status;
mod watch;
mod watchdog;

use crate::config::{self, Config, Workers};
use crate::exit::{self, Fatal};
use crate::ipc::control::ToWorker;
use crate::ipc::seat::Entries;
use crate::log;
use crate::sys::poll::{Interest, Poller};
use crate::sys::process;
use crate::sys::signals::Signals;
use crate::sys::{OwnedFd, title};
use detach::Starter;
use nix::sys::signal::Signal;
use notify::Notify;
use passed::Passed;
use restart::Deaths;
use shutdown::Stop;
use start::Ground;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use watchdog::Watchdog;

const SIGNALS: u64 = 0;
const WRITER: u64 = 1;
const CONTROL: u64 = 2;
const ARCHIVER: u64 = 3;
const EXPORTER: u64 = 4;
const FIRST_WORKER: u64 = 16;

/// How often the status line and the deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a reload may take before the next one is let in.
const RELOAD_PATIENCE: Duration = Duration::from_secs(2);
/// How soon to try again to send what found no room.
const SEND_RETRY: Duration = Duration::from_millis(20);
/// Deaths before the first readiness after which the start has failed.
const START_ATTEMPTS: u32 = 3;

/// What `run` was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file, absolute.
    pub config: PathBuf,
    /// The directory that its relative paths start from.
    pub working_directory: PathBuf,
    /// Detach (`--daemon`).
    pub daemon: bool,
}

/// Runs the daemon to its end; returns the exit code.
pub fn run(options: Options, entries: Entries) -> u8 {
    log::set_role("supervisor");
    log::look_at_stream();
    let loaded = match config::load_from(&options.config, &options.working_directory) {
        Ok(loaded) => loaded,
        Err(error) => {
            let passed = Passed::take();
            log::join_journal();
            log::tell_starter(&error);
            if let Ok(passed) = passed {
                inheritance::tell_let_go(&passed);
            }
            return exit::CONFIG;
        }
    };
    log::follow(loaded.config.log);
    let mut starter = Starter::nobody();
    let (mut notify, mut watchdog) = (Notify::default(), None);
    let started = Passed::take().and_then(|passed| {
        start::sanitise(&passed.numbers())?;
        // One that detaches has another standard error then.
        if !options.daemon {
            log::join_journal();
        }
        loaded.warnings.iter().for_each(|warning| crate::warn!(CONFIGURATION_WARNING, "{warning}"));
        start::forget_bad_zone()?;
        notify = Notify::new();
        // It asks the process that it has started: not one that detaches.
        watchdog = watchdog::interval_from_environment().filter(|_| notify.wanted() && !options.daemon);
        process::forget_service_environment().map_err(|error| Fatal::system("clear the environment", error))?;
        if options.daemon {
            starter = detach::detach(&loaded.config.daemon)?;
            log::look_at_stream();
        }
        title::set("echostored: supervisor");
        start::prepare(&loaded.config, options.daemon, passed, &mut notify)
    });
    let failed = |starter: &mut Starter, fatal: &Fatal| {
        crate::error!(START_FAILED, "{fatal}");
        starter.failed(fatal);
        fatal.code
    };
    match started {
        Err(fatal) => failed(&mut starter, &fatal),
        Ok(ground) => match Supervisor::new(
            options,
            loaded.config,
            ground,
            entries,
            starter,
            notify,
            Watchdog::new(watchdog, Instant::now()),
        ) {
            Err(error) => failed(&mut Starter::nobody(), &Fatal::system("start", error)),
            Ok(supervisor) => supervisor.serve(),
        },
    }
}

#[derive(Debug)]
struct Supervisor {
    options: Options,
    config: Config,
    entries: Entries,
    ground: Ground,
    starter: Starter,
    notify: Notify,
    poller: Poller,
    signals: Signals,
    /// Second descriptions of the live segment and of those closed before it that are not synced yet.
    segments: Vec<(u64, OwnedFd)>,
    writer: Option<crew::Writer>,
    writer_deaths: Deaths,
    /// When a missing writer is forked.
    writer_due: Option<Instant>,
    /// Rounds of forks in a row in which one failed.
    failed_forks: u32,
    archive: archive::Archive,
    export: export::Export,
    workers: Vec<crew::Worker>,
    /// By number: deaths, and when a missing worker is forked.
    slots: Vec<(Deaths, Option<Instant>)>,
    wanted_workers: usize,
    generation: u64,
    last_frame_limit: usize,
    /// Everything served at least once.
    was_ready: bool,
    /// `ready` is to be told once everything serves.
    tell_ready: bool,
    reload_wanted: bool,
    rotations: rotate::Rotations,
    /// The live segment's number and file name, as the writer said last.
    live: Option<(u64, String)>,
    /// When the last reload began.
    reloaded_at: Instant,
    /// A role has not yet taken all that was sent to it.
    unsent: bool,
    stop: Option<Stop>,
    /// What a role said before it died.
    last_words: Option<Fatal>,
    status_at: Instant,
    complaint: reclaim::Complaint,
    watchdog: Watchdog,
}

impl Supervisor {
    fn new(
        options: Options,
        config: Config,
        ground: Ground,
        entries: Entries,
        starter: Starter,
        notify: Notify,
        watchdog: Watchdog,
    ) -> io::Result<Self> {
        let wanted = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGCHLD];
        let signals = Signals::new(&wanted)?;
        let poller = Poller::new(64)?;
        poller.add(&signals, SIGNALS, Interest::Input)?;
        ground.control.watch(&poller)?;
        Ok(Self {
            options,
            entries,
            ground,
            starter,
            notify,
            poller,
            signals,
            segments: Vec::new(),
            writer: None,
            writer_deaths: Deaths::default(),
            writer_due: Some(Instant::now()),
            failed_forks: 0,
            archive: archive::Archive::default(),
            export: export::Export::default(),
            workers: Vec::new(),
            slots: Vec::new(),
            wanted_workers: worker_count(&config),
            config,
            generation: 1,
            last_frame_limit: 0,
            was_ready: false,
            tell_ready: true,
            reload_wanted: false,
            rotations: rotate::Rotations::default(),
            live: None,
            reloaded_at: Instant::now(),
            unsent: false,
            stop: None,
            last_words: None,
            status_at: Instant::now(),
            complaint: reclaim::Complaint::default(),
            watchdog,
        })
    }

    fn serve(mut self) -> u8 {
        let mut events = Vec::new();
        let code = loop {
            let now = Instant::now();
            self.fork_missing(now);
            if let Some(code) = self.advance(now) {
                break code;
            }
            self.answer(now);
            self.serve_exporter(now);
            if let Err(error) = self.poller.wait(Some(self.sleep(now)), &mut events) {
                crate::error!(EVENTS_NOT_WAITED_FOR, "cannot wait for events: {error}");
                break exit::FAILED;
            }
            for event in &events {
                match event.token {
                    SIGNALS => self.take_signals(),
                    WRITER => self.hear_writer(),
                    CONTROL => self.open_door(),
                    ARCHIVER => self.hear_archiver(),
                    EXPORTER => self.hear_exporter(),
                    control::FIRST_TOKEN.. => self.hear_client(event),
                    token => self.hear_worker(token - FIRST_WORKER),
                }
            }
        };
        if let Some(pid_file) = self.ground.pid_file.take() {
            pid_file.remove();
        }
        if code == exit::OK {
            crate::info!(STOPPED, "stopped");
        }
        code
    }

    /// What follows from the state: readiness, the start's failure, the stop's next step, the status line.
    fn advance(&mut self, now: Instant) -> Option<u8> {
        self.notify.flush();
        self.watch_progress(now);
        self.tell_settled();
        self.unsent = self.flush_channels();
        if let Some(code) = self.advance_stop(now) {
            return Some(code);
        }
        if self.stop.is_some() {
            return None;
        }
        if !self.was_ready && self.start_has_failed() {
            let fatal = self.last_words.take();
            let fatal = fatal.unwrap_or_else(|| {
                Fatal::new(exit::FAILED, "the processes die before they serve; see the messages above")
            });
            crate::error!(START_FAILED, "cannot start: {fatal}");
            self.starter.failed(&fatal);
            self.stop_failed(fatal.code);
            return None;
        }
        if self.tell_ready && self.all_ready() {
            self.now_ready(now);
        }
        // One reload at a time; but one whose workers do not come must not keep the next, perhaps better one, out.
        if self.reload_wanted && self.was_ready && (!self.tell_ready || now >= self.reloaded_at + RELOAD_PATIENCE) {
            self.reload_wanted = false;
            self.reloaded_at = now;
            self.reload(now);
        }
        self.close_overdue(now);
        if now >= self.status_at {
            self.tell_status(now);
        }
        None
    }

    /// True: some message still waits for room.
    fn flush_channels(&mut self) -> bool {
        let writer = self.writer.as_mut().is_some_and(|writer| !writer.channel.flush());
        let archiver = self.archive.archiver.as_mut().is_some_and(|archiver| !archiver.channel.flush());
        let exporter = self.export.exporter.as_mut().is_some_and(|exporter| !exporter.channel.flush());
        self.workers.iter_mut().fold(writer || archiver || exporter, |unsent, worker| !worker.channel.flush() || unsent)
    }

    fn start_has_failed(&self) -> bool {
        self.last_words.is_some()
            || self.writer_deaths.in_a_row() >= START_ATTEMPTS
            || self.slots.iter().any(|(deaths, _)| deaths.in_a_row() >= START_ATTEMPTS)
    }

    fn all_ready(&self) -> bool {
        let ready = self.current_workers().filter(|worker| worker.ready).count();
        // One that is to go does not work by the new configuration.
        self.writer.as_ref().is_some_and(|writer| writer.ready && !writer.retiring) && ready == self.wanted_workers
    }

    fn current_workers(&self) -> impl Iterator<Item = &crew::Worker> {
        self.workers.iter().filter(|worker| worker.generation == self.generation && !worker.leaving)
    }

    fn now_ready(&mut self, now: Instant) {
        self.tell_serving();
        self.was_ready = true;
        self.archive.want(now);
        self.export.want(now);
        self.tell_ready = false;
        self.last_words = None;
        self.retire_old_generations(now);
        self.starter.ready();
        let line = status::line(&self.figures(0, now));
        self.notify.ready(&line);
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                Signal::SIGTERM | Signal::SIGINT => self.stop_asked(signal),
                Signal::SIGHUP => self.reload_wanted = true,
                Signal::SIGUSR1 => drop(self.rotations.ask()),
                _ => self.reap(),
            }
        }
    }

    /// How long to wait for news. Only a deed that can be done then counts: anything else would spin.
    fn sleep(&self, now: Instant) -> Duration {
        let may_fork = self.stop.is_none() && self.writer.as_ref().is_some_and(|writer| writer.ready || self.was_ready);
        let forks = self.slots.iter().filter_map(|slot| slot.1).filter(|_| may_fork);
        let closes = self.workers.iter().filter_map(|worker| worker.close_at).filter(|_| self.stop.is_none());
        let stop = self.stop.as_ref().and_then(Stop::wakes_at);
        let archiver = self.archive.due().filter(|_| self.was_ready && self.stop.is_none());
        let archiver = archiver.or(self.archiver_wakes_at());
        let archiver = archiver.into_iter().chain(self.exporter_wakes_at(now)).chain(self.ground.control.wakes_at());
        let next = forks.chain(closes).chain(self.writer_due).chain(stop).chain(archiver).min();
        let tick = if self.unsent { SEND_RETRY } else { TICK.min(self.watchdog.tick()) };
        next.map_or(tick, |at| at.saturating_duration_since(now)).min(tick)
    }

    fn tell_workers(&mut self, message: ToWorker) {
        for worker in &mut self.workers {
            worker.channel.send(message);
            worker.leaving = true;
        }
    }
}

fn worker_count(config: &Config) -> usize {
    match config.server.workers {
        Workers::Auto => process::cpu_count().min(64),
        Workers::Count(count) => usize::from(count),
    }
}
