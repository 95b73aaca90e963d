//! The children: how each role is forked with exactly what the wiring table gives it.
use super::Supervisor;
use super::census::Census;
use super::restart::{self, Deaths};
use crate::config::Config;
use crate::exit::{self, Fatal};
use crate::ipc::control::{Channel, ToSupervisor, ToWorker, ToWriter};
use crate::ipc::link::{self, Link, MAX_LINKS, PrivatePipe, WorkerEnds};
use crate::ipc::scoreboard::Scoreboard;
use crate::ipc::seat::{Entrance, WorkerSeat, WriterSeat};
use crate::ipc::wiring::{self, Descriptor, Held, Role};
use crate::log;
use crate::store::record;
use crate::sys::process::{self, Child, Pid, fork_role};
use crate::sys::socket::Listener;
use crate::sys::{AsFd, AsRawFd, OwnedFd, crash, fdpass, title};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// What the supervisor knows of a living worker.
#[derive(Debug)]
pub struct Worker {
    pub pid: Pid,
    /// Its incarnation, and its link's id.
    pub id: u64,
    /// Its place on the admission board.
    pub seat: usize,
    /// The number in its title; within a generation each has one worker.
    pub number: usize,
    pub generation: u64,
    pub channel: Channel<ToWorker, ToSupervisor>,
    pub scoreboard: Scoreboard,
    pub ready: bool,
    /// It was told to leave.
    pub leaving: bool,
    /// The supervisor has killed it, and said why.
    pub killed: bool,
    /// When its remaining connections are closed.
    pub close_at: Option<Instant>,
    pub born: Instant,
    pub census: Census,
}

/// What the supervisor knows of the living writer.
#[derive(Debug)]
pub struct Writer {
    pub pid: Pid,
    pub channel: Channel<ToWriter, ToSupervisor>,
    pub scoreboard: Scoreboard,
    pub ready: bool,
    /// Its death is wanted.
    pub retiring: bool,
    pub born: Instant,
}

/// What is made for a role before it is forked.
pub(super) struct Prepared {
    pub ours: OwnedFd,
    pub theirs: OwnedFd,
    pub memory: OwnedFd,
    pub scoreboard: Scoreboard,
}

impl Prepared {
    pub fn new() -> io::Result<Self> {
        let (ours, theirs) = fdpass::pair()?;
        let memory = Scoreboard::memory()?;
        let scoreboard = Scoreboard::map(memory.as_fd())?;
        Ok(Self { ours, theirs, memory, scoreboard })
    }

    pub fn held(&self) -> [Held; 2] {
        [own(Descriptor::ControlRole, &self.theirs), own(Descriptor::Scoreboard, &self.memory)]
    }
}

fn own(what: Descriptor, fd: &impl AsRawFd) -> Held {
    Held { what, own: true, fd: fd.as_raw_fd() }
}

fn shared(what: Descriptor, fd: &impl AsRawFd) -> Held {
    Held { what, own: false, fd: fd.as_raw_fd() }
}

impl Supervisor {
    /// Everything open here that some role keeps.
    pub(super) fn inventory(&self) -> Vec<Held> {
        let ground = &self.ground;
        let mut held = vec![
            shared(Descriptor::Directory, &ground.store.directory),
            shared(Descriptor::Lock, &ground.store.lock),
            shared(Descriptor::PrivateRead, &ground.run.private.read),
            shared(Descriptor::PrivateWrite, &ground.run.private.write),
            shared(Descriptor::CommitRecord, &ground.run.commit),
            shared(Descriptor::Admission, &ground.admission_memory),
        ];
        held.extend(ground.listeners.fds().map(|fd| Held { what: Descriptor::Listener, own: false, fd }));
        let outlet =
            ground.outlet.iter().map(|outlet| Held { what: Descriptor::MetricsListener, own: false, fd: outlet.fd() });
        held.extend(outlet);
        held.extend(log::journal_socket().map(|fd| Held { what: Descriptor::Journal, own: false, fd }));
        held.extend(self.segments.iter().map(|(_, file)| shared(Descriptor::Segment, file)));
        for link in &ground.run.links {
            held.push(shared(Descriptor::DataRead, &link.data));
            held.push(shared(Descriptor::AckWrite, &link.acks));
            held.push(shared(Descriptor::Staging, &link.staging));
        }
        held
    }

    /// Forks who is missing and due: the writer first, workers once it serves.
    pub(super) fn fork_missing(&mut self, now: Instant) {
        let again = now + restart::after_failed_fork(self.failed_forks);
        let mut tried = None;
        if self.writer.is_none() && self.writer_due.is_some_and(|due| now >= due) {
            let forked = self.fork_writer();
            self.writer_due = forked.is_err().then_some(again);
            tried = Some(forked.map_err(|error| format!("cannot start the writer: {error}")));
        }
        if self.stop.is_none() && self.writer.as_ref().is_some_and(|writer| writer.ready || self.was_ready) {
            self.slots.resize(self.wanted_workers, (Deaths::default(), None));
            for index in 0..self.slots.len() {
                let (number, due) = (index + 1, self.slots[index].1);
                if due.is_some_and(|due| now < due) || self.current_workers().any(|worker| worker.number == number) {
                    continue;
                }
                let forked = self.fork_worker(number);
                self.slots[index].1 = forked.is_err().then_some(again);
                let forked = forked.map_err(|error| format!("cannot start worker {number}: {error}"));
                tried = tried.filter(Result::is_err).or(Some(forked));
            }
        }
        let tried = tried.or_else(|| self.fork_archiver_if_due(now)).or_else(|| self.fork_exporter_if_due(now));
        tried.into_iter().for_each(|tried| self.note_forks(tried));
    }

    /// Tells once that forks fail, and once that they succeed again. A start gives up.
    fn note_forks(&mut self, tried: Result<(), String>) {
        match tried {
            Ok(()) if self.failed_forks > 0 => {
                self.failed_forks = 0;
                crate::notice!(FORK_SUCCEEDED, "processes can be started again");
            }
            Ok(()) => {}
            Err(reason) => {
                self.failed_forks += 1;
                let reason = format!("{reason}; raise TasksMax= or the process limit (ulimit -u)");
                if !self.was_ready && self.failed_forks >= super::START_ATTEMPTS {
                    self.last_words = Some(Fatal::new(exit::FAILED, reason));
                } else if self.failed_forks == 1 {
                    crate::error!(FORK_FAILED, "{reason}; it is tried again, every second at last");
                }
            }
        }
    }

    /// Forks the writer. The old one must have been reaped: two would write to one file.
    fn fork_writer(&mut self) -> io::Result<()> {
        debug_assert!(self.writer.is_none());
        let prepared = Prepared::new()?;
        let mut inventory = self.inventory();
        inventory.extend(prepared.held());
        let pid = fork_role(&wiring::keep(Role::Writer, &inventory), |child| {
            enter("writer", "writer");
            match self.writer_seat(&child, &prepared) {
                Ok(seat) => (self.entries.writer)(seat),
                Err(_) => crate::exit::FAILED,
            }
        })?;
        self.writer = Some(Writer {
            pid,
            channel: Channel::new(prepared.ours),
            scoreboard: prepared.scoreboard,
            ready: false,
            retiring: false,
            born: Instant::now(),
        });
        let watched = self.watch_writer();
        unwatched_must_die("the writer", pid, watched);
        Ok(())
    }

    fn writer_seat(&self, child: &Child, prepared: &Prepared) -> io::Result<WriterSeat> {
        let ground = &self.ground;
        let link = |link: &Link| Link {
            terms: link.terms,
            data: child.adopt(&link.data),
            acks: child.adopt(&link.acks),
            staging: child.adopt(&link.staging),
        };
        Ok(WriterSeat {
            config: self.config.clone(),
            directory: Arc::new(child.adopt(&ground.store.directory)),
            lock: File::from(child.adopt(&ground.store.lock)),
            era: ground.store.era,
            moved: ground.store.moved,
            links: ground.run.links.iter().map(link).collect(),
            private: PrivatePipe {
                read: child.adopt(&ground.run.private.read),
                write: child.adopt(&ground.run.private.write),
                size: ground.run.private.size,
            },
            commit: child.adopt(&ground.run.commit),
            segments: self.segments.iter().map(|(sequence, file)| (*sequence, child.adopt(file))).collect(),
            scoreboard: prepared.scoreboard.map_again(child.adopt(&prepared.memory).as_fd())?,
            channel: Channel::new(child.adopt(&prepared.theirs)),
            tick: self.watchdog.tick(),
        })
    }

    /// Tells how much data pipes take, if that is news.
    fn tell_frame_limit(&mut self, bytes: usize) {
        if std::mem::replace(&mut self.last_frame_limit, bytes) != bytes {
            crate::info!(FRAME_LIMIT { bytes: bytes }, "data pipes take frames of up to {bytes} bytes");
        }
    }

    /// Forks worker `number` of the current generation, with a link of its own that the writer is told of first.
    fn fork_worker(&mut self, number: usize) -> io::Result<()> {
        let seat = self.free_seat().ok_or_else(|| io::Error::other("too many workers are still leaving"))?;
        let prepared = Prepared::new()?;
        let id = self.ground.run.register.next_id();
        let record_limit = record::max_len(self.config.store.format, self.config.server.max_message_size);
        let (link, ends) = link::new(id, self.ground.run.private.size, record_limit)?;
        let terms = link.terms;
        self.tell_frame_limit(terms.frame_limit);
        // Before anybody knows of the link: one that is kept and not watched by a writer would be kept for ever.
        let theirs = link.try_clone()?;
        self.ground.run.keep_link(&link, &mut self.notify);
        if let Some(writer) = &mut self.writer {
            writer.channel.send(ToWriter::Attach(theirs));
        }
        // From here on the link is the writer's to drain, also if the fork fails: then it is at its end at once.
        self.ground.run.links.push(link);
        let mut inventory = self.inventory();
        inventory.extend(prepared.held());
        inventory.extend([own(Descriptor::DataWrite, &ends.data), own(Descriptor::AckRead, &ends.acks)]);
        let pid = fork_role(&wiring::keep(Role::Worker, &inventory), |child| {
            enter(&format!("worker {number}"), &format!("worker {number}"));
            let admission = self.ground.admission.map_again(child.adopt(&self.ground.admission_memory).as_fd());
            let scoreboard = prepared.scoreboard.map_again(child.adopt(&prepared.memory).as_fd());
            let entrance =
                |(fd, speaks, place)| Entrance { listener: Listener::from_fd(child.adopt(&fd)), speaks, place };
            let (Ok(admission), Ok(scoreboard)) = (admission, scoreboard) else { return crate::exit::FAILED };
            (self.entries.worker)(WorkerSeat {
                config: Config::clone(&self.config),
                seat,
                epoch: self.ground.store.epoch,
                terms,
                ends: WorkerEnds { data: child.adopt(&ends.data), acks: child.adopt(&ends.acks) },
                entrances: self.ground.listeners.named().map(entrance).collect(),
                tls: self.ground.tls.clone(),
                scoreboard,
                admission,
                channel: Channel::new(child.adopt(&prepared.theirs)),
                tick: self.watchdog.tick(),
            })
        })?;
        self.workers.push(Worker {
            pid,
            id,
            seat,
            number,
            generation: self.generation,
            channel: Channel::new(prepared.ours),
            scoreboard: prepared.scoreboard,
            ready: false,
            leaving: false,
            killed: false,
            close_at: None,
            born: Instant::now(),
            census: Census::default(),
        });
        let watched = self.watch_newest_worker();
        unwatched_must_die(&format!("worker {number}"), pid, watched);
        Ok(())
    }

    /// A seat that no living worker has. There are as many as links, and a dead worker's link may outlive it a while.
    fn free_seat(&self) -> Option<usize> {
        let taken = |seat: &usize| self.workers.iter().any(|worker| worker.seat == *seat);
        (0..MAX_LINKS).find(|seat| !taken(seat)).filter(|_| self.ground.run.links.len() < MAX_LINKS)
    }
}

/// A child that cannot be watched (epoll_ctl(2): `ENOMEM`, `ENOSPC`) would never be heard: it is killed, and replaced as
/// any that dies.
pub(super) fn unwatched_must_die(role: &str, pid: Pid, watched: io::Result<()>) {
    if let Err(error) = watched {
        crate::error!(ROLE_NOT_WATCHED { pid: pid.as_raw() }, "cannot watch {role} ({pid}): {error}; it is replaced");
        let _ = process::signal_child(pid, Signal::SIGKILL);
    }
}

/// A new process's first words about itself.
pub(super) fn enter(role: &str, log_role: &str) {
    title::set(&format!("echostored: {role}"));
    log::set_role(log_role);
    crash::point(log_role);
}
