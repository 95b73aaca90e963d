//! Reload: a new configuration gets a new generation of workers; the old ones finish their connections.
//!
//! Promise: a configuration that is bad, or cannot be taken up, changes nothing and is logged with its reason; a listener
//! that did not change never closes, and its backlog with it.
use super::listeners::Wanted;
use super::reclaim::Complaint;
use super::{Supervisor, archive};
use crate::config::{self, Config};
use crate::exit::Fatal;
use crate::ipc::control::{ToWorker, ToWriter};
use crate::log;
use crate::tls;
use std::time::Instant;

impl Supervisor {
    /// Takes up the configuration file again.
    pub(super) fn reload(&mut self, now: Instant) {
        self.notify.reloading();
        let moved = self.options.daemon && self.follow_log();
        match self.take_up(now) {
            Ok(()) => {
                crate::notice!(RELOADED, "reloaded {}", self.options.config.display());
                self.generation += 1;
                self.slots.iter_mut().for_each(|slot| *slot = Default::default());
                self.tell_ready = true;
                if moved {
                    // A role keeps the standard error that it was forked with.
                    self.retire_writer();
                    self.archive.retire();
                    self.export.retire(now);
                }
                self.complaint = Complaint::default();
                self.reload_tried(None);
                if let Some(writer) = &mut self.writer {
                    writer.channel.send(ToWriter::Remind);
                }
                self.fork_missing(now);
            }
            Err(reason) => {
                crate::error!(NOT_RELOADED, "not reloaded, the old configuration stays: {reason}");
                self.reload_tried(Some(&reason));
                let line = super::status::line(&self.figures(0, now));
                self.notify.ready(&line);
            }
        }
    }

    /// Whether the log goes on in a new file.
    fn follow_log(&self) -> bool {
        super::detach::reopen_log(&self.config.daemon).unwrap_or_else(|error| {
            crate::error!(LOG_FILE_NOT_OPENED, "cannot open daemon.log-file again: {error}; the old one goes on");
            false
        })
    }

    fn take_up(&mut self, now: Instant) -> Result<(), String> {
        let loaded = config::load_from(&self.options.config, &self.options.working_directory);
        let loaded = loaded.map_err(|error| error.to_string())?;
        let refusals = config::reload_refusals(&self.config, &loaded.config);
        if !refusals.is_empty() {
            return Err(refusals.join("; "));
        }
        loaded.warnings.iter().for_each(|warning| crate::warn!(CONFIGURATION_WARNING, "{warning}"));
        let control = self.prepare_control(&loaded.config.control)?;
        let tls = tls::Server::load(&loaded.config.tls).map_err(|Fatal { message, .. }| message)?;
        let outlet = self.prepare_outlet(&loaded.config)?;
        let listeners = &mut self.ground.listeners;
        listeners.check(tls.is_some()).map_err(|Fatal { message, .. }| message)?;
        let before = listeners.places();
        listeners.follow(&Wanted::of(&loaded.config)).map_err(|Fatal { message, .. }| message)?;
        tell_places(&before, &listeners.places());
        self.ground.listeners.keep(&mut self.notify);
        self.ground.tls = tls;
        self.move_control(control, loaded.warnings);
        self.move_outlet(outlet, now);
        let old = std::mem::replace(&mut self.config, loaded.config);
        self.wanted_workers = super::worker_count(&self.config);
        log::follow(self.config.log);
        if writer_differs(&old, &self.config) {
            // Its successor goes on from the commit record; the frames wait in the pipes meanwhile.
            self.retire_writer();
        }
        if archive::differs(&old, &self.config) {
            self.archive.retire();
        }
        if old.log != self.config.log {
            self.export.retire(now);
            let log = ToWorker::Log(self.config.log);
            self.workers.iter_mut().for_each(|worker| worker.channel.send(log));
        }
        Ok(())
    }

    /// All processes serve, for the first time or by a new configuration.
    pub(super) fn tell_serving(&self) {
        let workers = self.wanted_workers;
        if self.was_ready {
            return crate::notice!(RELOAD_DONE, "the new configuration is in force: {workers} workers serve");
        }
        let whose = if self.ground.listeners.are_passed() { " (the service manager's socket)" } else { "" };
        for place in self.ground.listeners.places() {
            crate::notice!(LISTENING { listener: &place }, "listening on {place}{whose}");
        }
        self.tell_outlet();
        crate::notice!(READY, "ready: {workers} workers, store {}", self.config.store.directory.display());
    }

    /// Once the new generation serves: the one before it drains, older ones close.
    pub(super) fn retire_old_generations(&mut self, now: Instant) {
        let generation = self.generation;
        let patience = self.config.server.reload_timeout;
        for worker in self.workers.iter_mut().filter(|worker| worker.generation < generation) {
            if worker.generation + 2 <= generation {
                crate::notice!(
                    GENERATION_CLOSED { worker: worker.number, pid: worker.pid.as_raw() },
                    "worker {} ({}) of the generation before the last closes its connections",
                    worker.number,
                    worker.pid
                );
                worker.close_at = None;
                worker.channel.send(ToWorker::Close);
            } else if !worker.leaving {
                worker.close_at = patience.map(|patience| now + patience);
                worker.channel.send(ToWorker::Drain);
            }
            worker.leaving = true;
        }
    }

    /// Workers that drain longer than `server.reload-timeout` close what is left.
    pub(super) fn close_overdue(&mut self, now: Instant) {
        for worker in self.workers.iter_mut().filter(|worker| worker.close_at.is_some_and(|at| now >= at)) {
            worker.close_at = None;
            worker.channel.send(ToWorker::Close);
        }
    }
}

/// Where a reload has begun to listen, and where it has ended.
fn tell_places(before: &[String], after: &[String]) {
    for place in after.iter().filter(|place| !before.contains(place)) {
        crate::notice!(LISTENING { listener: place }, "listening on {place}");
    }
    for place in before.iter().filter(|place| !after.contains(place)) {
        crate::notice!(LISTENING_ENDED { listener: place }, "listening on {place} has ended");
    }
}

/// Whether the writer works by anything that differs.
fn writer_differs(old: &Config, new: &Config) -> bool {
    old.server.echo != new.server.echo
        || old.store != new.store
        || old.rotate != new.rotate
        || (old.log.level, old.log.format) != (new.log.level, new.log.format)
}
