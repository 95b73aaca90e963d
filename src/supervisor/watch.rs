//! The children's lives as the supervisor sees them: what they say, how they end, and what follows from it.
use super::control::Of;
use super::{FIRST_WORKER, Supervisor, WRITER, crew, restart};
use crate::exit::{self, Fatal};
use crate::ipc::control::{Received, ToSupervisor};
use crate::ipc::scoreboard::Count;
use crate::sys::AsFd;
use crate::sys::poll::Interest;
use crate::sys::process::{self, Ending, Pid};
use nix::sys::signal::Signal;
use std::io;
use std::time::Instant;

impl Supervisor {
    pub(super) fn watch_writer(&mut self) -> io::Result<()> {
        match &self.writer {
            Some(writer) => self.poller.add(&writer.channel, WRITER, Interest::Input),
            None => Ok(()),
        }
    }

    pub(super) fn watch_newest_worker(&mut self) -> io::Result<()> {
        match self.workers.last() {
            Some(worker) => self.poller.add(&worker.channel, FIRST_WORKER + worker.id, Interest::Input),
            None => Ok(()),
        }
    }

    pub(super) fn reap(&mut self) {
        loop {
            match process::reap() {
                Ok(Some((pid, ending))) => self.bury(pid, ending),
                Ok(None) => return,
                Err(error) => return crate::error!(CHILDREN_NOT_WAITED_FOR, "cannot wait for children: {error}"),
            }
        }
    }

    fn bury(&mut self, pid: Pid, ending: Ending) {
        let now = Instant::now();
        if self.writer.as_ref().is_some_and(|writer| writer.pid == pid) {
            self.hear_writer();
            if let Some(writer) = self.writer.take() {
                self.ground.control.ledger.bury(Of::Writer, &writer.scoreboard);
                self.writer_died(&writer, ending, now);
            }
        } else if let Some(index) = self.workers.iter().position(|worker| worker.pid == pid) {
            let id = self.workers[index].id;
            self.hear_worker(id);
            let worker = self.workers.swap_remove(index);
            self.ground.control.ledger.bury(Of::Worker, &worker.scoreboard);
            self.worker_died(&worker, ending, now);
        } else if self.archive.archiver.as_ref().is_some_and(|archiver| archiver.pid == pid) {
            self.bury_archiver(ending, now);
        } else if self.export.exporter.as_ref().is_some_and(|exporter| exporter.pid == pid) {
            self.bury_exporter(ending, now);
        }
    }

    fn writer_died(&mut self, writer: &crew::Writer, ending: Ending, now: Instant) {
        if writer.retiring && ending == Ending::Exit(exit::OK) {
            // As asked by a reload. During a stop its successor still has to store what is left, and is told so anew.
            self.writer_due = Some(now);
            if let Some(stop) = &mut self.stop {
                stop.tell_again();
            }
            return;
        }
        if let Some(stop) = &mut self.stop
            && stop.writer_ended(ending)
        {
            if !stop.expects_writer(ending) {
                let pid = writer.pid;
                crate::warn!(
                    WRITER_ENDED { pid: pid.as_raw() },
                    "writer {pid} ended in the stop: {ending}; it is not replaced any more"
                );
            }
            return;
        }
        self.ground.control.ledger.mourn(Of::Writer, now);
        crate::warn!(
            WRITER_ENDED { pid: writer.pid.as_raw() },
            "writer {} ended: {ending}; it is replaced, no connection is lost",
            writer.pid
        );
        let progress = writer.scoreboard.get(Count::Batches) > 0;
        let due = restart::replace_at(&mut self.writer_deaths, progress, now - writer.born, now);
        if self.writer_deaths.tells() {
            crate::error!(
                WRITER_KEEPS_DYING,
                "the writer keeps dying without storing anything; {}",
                restart::next_tries(due - now)
            );
        }
        self.writer_due = Some(due);
    }

    fn worker_died(&mut self, worker: &crew::Worker, ending: Ending, now: Instant) {
        self.ground.admission.clear(worker.seat);
        let wanted = worker.leaving && ending == Ending::Exit(exit::OK);
        if let Some(stop) = &self.stop {
            let (number, pid) = (worker.number, worker.pid);
            if stop.expects(ending, worker.killed) {
                return crate::debug!("worker {number} ({pid}) ended: {ending}");
            }
            return crate::warn!(
                WORKER_ENDED { worker: number, pid: pid.as_raw() },
                "worker {number} ({pid}) ended in the stop: {ending}; its connections are closed"
            );
        }
        if wanted {
            return crate::info!(
                WORKER_LEFT { worker: worker.number, pid: worker.pid.as_raw() },
                "worker {} ({}) of an earlier generation has ended",
                worker.number,
                worker.pid
            );
        }
        self.ground.control.ledger.mourn_worker(worker.number, now);
        crate::warn!(
            WORKER_ENDED { worker: worker.number, pid: worker.pid.as_raw() },
            "worker {} ({}) ended: {ending}; its connections are closed",
            worker.number,
            worker.pid
        );
        if worker.leaving || worker.generation != self.generation {
            return;
        }
        if let Some((deaths, due)) = self.slots.get_mut(worker.number - 1) {
            let progress = worker.scoreboard.get(Count::Accepted) > 0;
            let at = restart::replace_at(deaths, progress, now - worker.born, now);
            if deaths.tells() {
                crate::error!(
                    WORKER_KEEPS_DYING { worker: worker.number },
                    "worker {} keeps dying; {}",
                    worker.number,
                    restart::next_tries(at - now)
                );
            }
            *due = Some(at);
        }
    }

    /// Says once that a role lives which had kept dying.
    pub(super) fn tell_recovered(&mut self, now: Instant) {
        if let Some(writer) = self.writer.as_ref().filter(|writer| writer.ready)
            && self.writer_deaths.well(writer.scoreboard.get(Count::Batches) > 0, now - writer.born)
        {
            crate::notice!(ROLE_LIVES { pid: writer.pid.as_raw() }, "the writer ({}) lives again", writer.pid);
        }
        for worker in self.workers.iter().filter(|worker| worker.ready && !worker.leaving) {
            let slot = self.slots.get_mut(worker.number - 1).filter(|_| worker.generation == self.generation);
            let progress = worker.scoreboard.get(Count::Accepted) > 0;
            if slot.is_some_and(|(deaths, _)| deaths.well(progress, now - worker.born)) {
                let (number, pid) = (worker.number, worker.pid);
                crate::notice!(ROLE_LIVES { worker: number, pid: pid.as_raw() }, "worker {number} ({pid}) lives again");
            }
        }
        self.archive.tell_recovered(now);
        self.tell_exporter_lives(now);
    }

    pub(super) fn hear_writer(&mut self) {
        while let Some(writer) = &mut self.writer {
            writer.channel.flush();
            match writer.channel.receive() {
                Ok(Received::Message(message)) => self.heed_writer(message),
                Ok(Received::Nothing) => return,
                // The signal of its death is on the way; its channel has nothing more to say.
                Ok(Received::End) => {
                    let _ = self.poller.remove(writer.channel.as_fd());
                    return;
                }
                Err(error) => {
                    crate::error!(
                        ROLE_NOT_UNDERSTOOD { pid: writer.pid.as_raw() },
                        "cannot understand the writer ({}): {error}; it is replaced",
                        writer.pid
                    );
                    let _ = process::signal_child(writer.pid, Signal::SIGKILL);
                    let _ = self.poller.remove(writer.channel.as_fd());
                    return;
                }
            }
        }
    }

    fn heed_writer(&mut self, message: ToSupervisor) {
        match message {
            ToSupervisor::Ready => {
                if let Some(writer) = &mut self.writer {
                    writer.ready = true;
                    // Its predecessor may have died with the request.
                    self.rotations.tell_again();
                    self.writer_deaths = if self.was_ready { self.writer_deaths } else { restart::Deaths::default() };
                }
            }
            ToSupervisor::Failed { code, message } => self.last_words = Some(Fatal::new(code, message)),
            ToSupervisor::Segment { sequence, name, file } => {
                // The descriptions of closed ones come anew after the death of all.
                if self.live.as_ref().is_none_or(|(live, _)| *live <= sequence) {
                    self.live = Some((sequence, name));
                    self.ground.store.moved = false;
                }
                self.segments.retain(|(kept, _)| *kept != sequence);
                self.segments.push((sequence, file));
            }
            ToSupervisor::Rotated(number) => self.rotations.finish(number),
            ToSupervisor::NotRotated(reason) => self.rotations.trouble = Some(reason),
            ToSupervisor::Settled(sequence) => self.segments.retain(|(kept, _)| *kept != sequence),
            ToSupervisor::Drained(id) => self.ground.run.drop_link(id, &mut self.notify),
            ToSupervisor::Reclaim => self.reclaim(Instant::now()),
            ToSupervisor::Full => self.make_room(),
            // Only others say that.
            ToSupervisor::Pruned | ToSupervisor::Guest(_) | ToSupervisor::Counted | ToSupervisor::Ask => {}
            ToSupervisor::Broken(id) => {
                self.ground.run.drop_link(id, &mut self.notify);
                if let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) {
                    worker.killed = true;
                    crate::error!(
                        WORKER_DISTRUSTED { worker: worker.number, pid: worker.pid.as_raw() },
                        "worker {} ({}) sent what no worker sends; it is killed",
                        worker.number,
                        worker.pid
                    );
                    let _ = process::signal_child(worker.pid, Signal::SIGKILL);
                }
            }
        }
    }

    pub(super) fn hear_worker(&mut self, id: u64) {
        while let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) {
            worker.channel.flush();
            match worker.channel.receive() {
                Ok(Received::Message(ToSupervisor::Ready)) if !worker.ready => {
                    worker.ready = true;
                    // At a start and after a reload one line tells of all of them.
                    if self.was_ready && !self.tell_ready {
                        crate::info!(
                            WORKER_REPLACED { worker: worker.number, pid: worker.pid.as_raw() },
                            "worker {} ({}) serves in the place of one that died",
                            worker.number,
                            worker.pid
                        );
                    }
                }
                Ok(Received::Message(ToSupervisor::Failed { code, message })) if !worker.ready => {
                    self.last_words = Some(Fatal::new(code, message));
                }
                Ok(Received::Message(word @ (ToSupervisor::Guest(_) | ToSupervisor::Counted)))
                    if worker.census.take(&word, Instant::now()) => {}
                // Only the writer may say the rest. One that went on saying it would keep the supervisor from all else.
                Ok(Received::Message(_)) => {
                    worker.killed = true;
                    let (number, pid) = (worker.number, worker.pid);
                    crate::error!(
                        WORKER_DISTRUSTED { worker: number, pid: pid.as_raw() },
                        "worker {number} ({pid}) says what no worker says; it is killed"
                    );
                    let _ = process::signal_child(pid, Signal::SIGKILL);
                    let _ = self.poller.remove(worker.channel.as_fd());
                    return;
                }
                Ok(Received::Nothing) => return,
                Ok(Received::End) => {
                    let _ = self.poller.remove(worker.channel.as_fd());
                    return;
                }
                Err(error) => {
                    worker.killed = true;
                    let (number, pid) = (worker.number, worker.pid);
                    crate::error!(
                        ROLE_NOT_UNDERSTOOD { worker: number, pid: pid.as_raw() },
                        "cannot understand worker {number} ({pid}): {error}; it is replaced"
                    );
                    let _ = process::signal_child(pid, Signal::SIGKILL);
                    let _ = self.poller.remove(worker.channel.as_fd());
                    return;
                }
            }
        }
    }
}
