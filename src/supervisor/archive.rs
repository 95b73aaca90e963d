//! The archiver as the supervisor sees it: forked once the daemon serves, told what it may touch, replaced when it dies.
//!
//! Promise: nothing waits for it but the end of a stop, which waits a moment; whatever it does not do, messages are
//! stored and echoed.
use super::control::Of;
use super::crew::{self, Prepared};
use super::restart::{self, Deaths};
use super::{ARCHIVER, Supervisor};
use crate::config::{Config, OnDiskFull};
use crate::exit;
use crate::ipc::control::{Channel, Received, ToArchiver, ToSupervisor, ToWriter};
use crate::ipc::scoreboard::{Count, Scoreboard};
use crate::ipc::seat::ArchiverSeat;
use crate::ipc::wiring::{self, Role};
use crate::sys::AsFd;
use crate::sys::poll::Interest;
use crate::sys::process::{self, Child, Ending, Pid, fork_role};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// One that has not turned its loop for so long, and does not wait in the kernel, is replaced.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a stop waits for it before it is killed, and again for its death.
const LEAVE_GRACE: Duration = Duration::from_millis(500);

/// What the supervisor knows of the living archiver.
#[derive(Debug)]
pub struct Archiver {
    pub pid: Pid,
    pub channel: Channel<ToArchiver, ToSupervisor>,
    pub scoreboard: Scoreboard,
    pub ready: bool,
    pub born: Instant,
    /// Its death is wanted.
    retiring: bool,
    /// The number below which it may touch segments, as it was told.
    told: Option<u64>,
    /// Its heartbeat, and when that last moved.
    beat: (u64, Instant),
}

impl Archiver {
    /// Whether it has done anything.
    fn has_worked(&self) -> bool {
        let deeds = [Count::Sealed, Count::Compressed, Count::Pruned, Count::Hooked];
        deeds.iter().any(|deed| self.scoreboard.get(*deed) > 0)
    }
}

/// The archiver, and when it is forked.
#[derive(Debug, Default)]
pub struct Archive {
    pub archiver: Option<Archiver>,
    deaths: Deaths,
    due: Option<Instant>,
    /// In a stop: how long it may still take, and whether it was killed.
    leave_by: Option<(Instant, bool)>,
}

impl Archive {
    /// When it is to be forked, if that waits.
    pub fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.archiver.is_none())
    }

    /// From now on there is to be one.
    pub fn want(&mut self, now: Instant) {
        self.due.get_or_insert(now);
    }

    /// Says once that it lives, if it had kept dying.
    pub fn tell_recovered(&mut self, now: Instant) {
        if let Some(archiver) = self.archiver.as_ref().filter(|archiver| archiver.ready)
            && self.deaths.well(archiver.has_worked(), now - archiver.born)
        {
            crate::notice!(ROLE_LIVES { pid: archiver.pid.as_raw() }, "the archiver ({}) lives again", archiver.pid);
        }
    }

    /// Has it replaced by one that is forked with what the supervisor holds now.
    pub fn retire(&mut self) {
        if let Some(archiver) = self.archiver.as_mut().filter(|archiver| !archiver.retiring) {
            archiver.retiring = true;
            archiver.channel.send(ToArchiver::Leave);
        }
    }
}

/// Whether the archiver works by anything that differs.
pub fn differs(old: &Config, new: &Config) -> bool {
    (&old.store, &old.rotate, old.retain, old.compress, old.log.level, old.log.format)
        != (&new.store, &new.rotate, new.retain, new.compress, new.log.level, new.log.format)
}

impl Supervisor {
    /// Forks the archiver if it is missing and due. Its failure is told, and harms nobody.
    pub(super) fn fork_archiver_if_due(&mut self, now: Instant) -> Option<Result<(), String>> {
        let archive = &self.archive;
        if self.stop.is_some() || archive.due().is_none_or(|due| now < due) {
            return None;
        }
        let forked = self.fork_archiver(now);
        let again = now + restart::after_failed_fork(self.failed_forks);
        self.archive.due = forked.is_err().then_some(again);
        Some(forked.map_err(|error| format!("cannot start the archiver: {error}")))
    }

    fn fork_archiver(&mut self, now: Instant) -> io::Result<()> {
        let prepared = Prepared::new()?;
        let mut inventory = self.inventory();
        inventory.extend(prepared.held());
        let pid = fork_role(&wiring::keep(Role::Archiver, &inventory), |child| {
            crew::enter("archiver", "archiver");
            match self.archiver_seat(&child, &prepared) {
                Ok(seat) => (self.entries.archiver)(seat),
                Err(_) => exit::FAILED,
            }
        })?;
        let Prepared { ours, scoreboard, .. } = prepared;
        let watched = self.poller.add(&ours, ARCHIVER, Interest::Input);
        self.archive.archiver = Some(Archiver {
            pid,
            channel: Channel::new(ours),
            scoreboard,
            ready: false,
            born: now,
            retiring: false,
            told: None,
            beat: (0, now),
        });
        crew::unwatched_must_die("the archiver", pid, watched);
        self.tell_settled();
        Ok(())
    }

    fn archiver_seat(&self, child: &Child, prepared: &Prepared) -> io::Result<ArchiverSeat> {
        let store = &self.ground.store;
        Ok(ArchiverSeat {
            config: self.config.clone(),
            directory: child.adopt(&store.directory),
            lock: File::from(child.adopt(&store.lock)),
            era: store.era,
            scoreboard: prepared.scoreboard.map_again(child.adopt(&prepared.memory).as_fd())?,
            channel: Channel::new(child.adopt(&prepared.theirs)),
            tick: self.watchdog.tick(),
        })
    }

    /// Tells it which segments are closed and settled: those below all of which a description is kept. A writer that is
    /// not ready has not named all of them yet.
    pub(super) fn tell_settled(&mut self) {
        let named = self.writer.as_ref().is_some_and(|writer| writer.ready);
        let lowest = self.segments.iter().map(|(sequence, _)| *sequence).min();
        let (Some(below), Some(archiver)) = (lowest.filter(|_| named), &mut self.archive.archiver) else { return };
        // One message at a time: it is the last that counts.
        if archiver.told != Some(below) && archiver.channel.unsent() == 0 {
            archiver.told = Some(below);
            archiver.channel.send(ToArchiver::Settled(below));
        }
    }

    /// Messages wait for room: the oldest closed segment goes, if that is the policy.
    pub(super) fn make_room(&mut self) {
        let Some(archiver) = &mut self.archive.archiver else { return };
        if self.config.store.on_disk_full == OnDiskFull::Prune && archiver.channel.unsent() == 0 {
            archiver.channel.send(ToArchiver::Full);
        }
    }

    pub(super) fn hear_archiver(&mut self) {
        while let Some(archiver) = &mut self.archive.archiver {
            archiver.channel.flush();
            match archiver.channel.receive() {
                Ok(Received::Message(ToSupervisor::Ready)) => {
                    archiver.ready = true;
                    let pid = archiver.pid;
                    crate::info!(ARCHIVER_READY { pid: pid.as_raw() }, "archiver {pid} looks after closed files");
                }
                Ok(Received::Message(ToSupervisor::Pruned)) => {
                    if let Some(writer) = &mut self.writer {
                        writer.channel.send(ToWriter::Room);
                    }
                }
                // Only the writer may say the rest.
                Ok(Received::Message(_)) => {}
                Ok(Received::Nothing) => return,
                Ok(Received::End) => return drop(self.poller.remove(archiver.channel.as_fd())),
                Err(error) => {
                    crate::error!(
                        ROLE_NOT_UNDERSTOOD { pid: archiver.pid.as_raw() },
                        "cannot understand the archiver ({}): {error}; it is replaced",
                        archiver.pid
                    );
                    let _ = process::signal_child(archiver.pid, Signal::SIGKILL);
                    return drop(self.poller.remove(archiver.channel.as_fd()));
                }
            }
        }
    }

    /// Notes its end, and when it is replaced.
    pub(super) fn bury_archiver(&mut self, ending: Ending, now: Instant) {
        self.hear_archiver();
        let Some(archiver) = self.archive.archiver.take() else { return };
        self.ground.control.ledger.bury(Of::Archiver, &archiver.scoreboard);
        let (pid, killed) = (archiver.pid, self.archive.leave_by.is_some_and(|(_, killed)| killed));
        if self.stop.as_ref().is_some_and(|stop| !stop.expects(ending, killed)) {
            self.archive.due = Some(now);
            return crate::warn!(
                ARCHIVER_ENDED { pid: pid.as_raw() },
                "archiver {pid} ended in the stop: {ending}; nothing else is touched"
            );
        }
        if self.stop.is_some() || (archiver.retiring && ending == Ending::Exit(exit::OK)) {
            self.archive.due = Some(now);
            return crate::debug!("archiver {pid} ended: {ending}");
        }
        let due = restart::replace_at(&mut self.archive.deaths, archiver.has_worked(), now - archiver.born, now);
        self.ground.control.ledger.mourn(Of::Archiver, now);
        crate::warn!(
            ARCHIVER_ENDED { pid: archiver.pid.as_raw() },
            "archiver {} ended: {ending}; it is replaced, nothing else is touched",
            archiver.pid
        );
        if self.archive.deaths.tells() {
            crate::error!(
                ARCHIVER_KEEPS_DYING,
                "the archiver keeps dying without doing anything; {}",
                restart::next_tries(due - now)
            );
        }
        self.archive.due = Some(due);
    }

    /// One that does not move is replaced: a stopped one, say. One that waits for a disk is left alone.
    pub(super) fn watch_archiver(&mut self, now: Instant) {
        let Some(archiver) = &mut self.archive.archiver else { return };
        let beat = archiver.scoreboard.get(Count::Heartbeat);
        if beat != archiver.beat.0 {
            archiver.beat = (beat, now);
        }
        let stood = now - archiver.beat.1;
        if stood >= PATIENCE && !matches!(process::state(archiver.pid), Some('D' | 'Z' | 'X')) {
            crate::error!(
                ARCHIVER_HANGS { pid: archiver.pid.as_raw() },
                "the archiver ({}) hangs: it has not moved for {stood:.0?}; it is replaced",
                archiver.pid
            );
            let _ = process::signal_child(archiver.pid, Signal::SIGKILL);
            archiver.beat.1 = now;
        }
    }

    /// Whether a stop has to wait for it: its hold on the store's lock ends with it.
    pub(super) fn archiver_lingers(&mut self, now: Instant) -> bool {
        let Some(archiver) = &self.archive.archiver else { return false };
        let (deadline, killed) = *self.archive.leave_by.get_or_insert((now + LEAVE_GRACE, false));
        if now >= deadline && !killed {
            let _ = process::signal_child(archiver.pid, Signal::SIGKILL);
            self.archive.leave_by = Some((now + LEAVE_GRACE, true));
        }
        // In a call that does not return it cannot even be killed.
        now < deadline || !killed
    }

    /// When the stop has to look at it again.
    pub(super) fn archiver_wakes_at(&self) -> Option<Instant> {
        self.archive.leave_by.map(|(deadline, _)| deadline).filter(|_| self.archive.archiver.is_some())
    }
}
