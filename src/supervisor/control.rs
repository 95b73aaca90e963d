//! The control socket: how `status`, `reload` and `rotate` reach the running daemon.
//!
//! Promise: a command is carried out as its signal is, and answered when the deed is done, or cannot be; nobody who is
//! connected here can make the supervisor wait. No child ever holds any of its descriptors.

mod clients;
mod door;
mod ledger;
mod report;

use super::{CONTROL, Supervisor, census};
use crate::config::Control as Settings;
use crate::exit::{self, Fatal};
use crate::ipc::command::{Reply, Request};
use crate::ipc::scoreboard::Count;
use crate::log::Limiter;
use crate::sys::AsFd;
use crate::sys::poll::{Event, Interest, Poller};
pub use clients::FIRST_TOKEN;
use clients::{Clients, Wish};
use door::Door;
pub use door::directory;
use ledger::Ledger;
pub use ledger::Of;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// How long a deed may take until its command is told that it is not done.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to rest when the system has no descriptor for another client.
const ACCEPT_REST: Duration = Duration::from_secs(1);

/// The socket and who is connected to it.
#[derive(Debug)]
pub struct Control {
    door: Option<Door>,
    clients: Clients,
    /// Not accepting until then.
    rests: Option<Instant>,
    /// Rare enough for the log, whatever commands do.
    requests_told: Limiter,
    troubles_told: Limiter,
    /// Of the configuration that was taken up last.
    warnings: Vec<String>,
    pub ledger: Ledger,
}

impl Control {
    /// Opens the socket.
    ///
    /// # Errors
    /// Exit 78: it cannot be made where the configuration says.
    pub fn open(settings: &Settings) -> Result<Self, Fatal> {
        let door = Door::open(settings)?;
        let (requests_told, troubles_told) = (Limiter::new(), Limiter::new());
        let (clients, ledger) = (Clients::default(), Ledger::new());
        Ok(Self { door, clients, rests: None, requests_told, troubles_told, warnings: Vec::new(), ledger })
    }

    /// When somebody is answered without news of a role.
    pub fn wakes_at(&self) -> Option<Instant> {
        let asked = self.clients.waiting().into_iter().filter_map(|(_, wish, _)| match wish {
            Wish::Connections(asked) => Some(asked + census::PATIENCE),
            _ => None,
        });
        asked.min()
    }

    /// Begins to watch the socket, if there is one.
    pub fn watch(&self, poller: &Poller) -> std::io::Result<()> {
        self.door.as_ref().map_or(Ok(()), |door| poller.add(door, CONTROL, Interest::Input))
    }
}

impl Supervisor {
    /// Makes the socket that `settings` ask for, beside the one there is; a deleted one is made again. `None`: the one
    /// there is goes on.
    ///
    /// # Errors
    /// It cannot be made there. Nothing has changed.
    pub(super) fn prepare_control(&self, settings: &Settings) -> Result<Option<Door>, String> {
        match &self.ground.control.door {
            Some(door) if door.is_at(settings) => Ok(None),
            _ => Door::open(settings).map_err(|Fatal { message, .. }| message),
        }
    }

    /// Goes on with it. Commands that are connected stay.
    pub(super) fn move_control(&mut self, to: Option<Door>, warnings: Vec<String>) {
        let control = &mut self.ground.control;
        control.warnings = warnings;
        let Some(door) = to else { return };
        if let Some(old) = control.door.replace(door) {
            let _ = self.poller.remove(old.as_fd());
        }
        control.rests = None;
        if let Err(error) = control.watch(&self.poller) {
            crate::error!(CONTROL_NOT_WATCHED, "cannot watch the control socket: {error}; reload again");
        }
    }

    /// A command wants to come in: one at a time, so that those that have come are heard first.
    pub(super) fn open_door(&mut self) {
        let now = Instant::now();
        let control = &mut self.ground.control;
        let Some(door) = &control.door else { return };
        let admitted = match door.listener().accept() {
            Ok((stream, _)) => control.clients.admit(stream, &self.poller, now),
            Err(error) => Err(error),
        };
        match admitted {
            // The request mostly is there already.
            Ok(Some(id)) => self.hear_command(id, false),
            Ok(None) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
            Err(error) => {
                if let Some(more) = control.troubles_told.admit(control.ledger.age(now)) {
                    crate::warn!(
                        COMMAND_NOT_TAKEN,
                        "cannot take in a command: {error}; raise LimitNOFILE= if this lasts{}",
                        held_back(more)
                    );
                }
                let _ = self.poller.remove(door.as_fd());
                control.rests = Some(now + ACCEPT_REST);
            }
        }
    }

    /// News of a command.
    pub(super) fn hear_client(&mut self, event: &Event) {
        self.hear_command(event.token - FIRST_TOKEN, event.hangup);
    }

    fn hear_command(&mut self, id: u64, hangup: bool) {
        let Some(request) = self.ground.control.clients.hear(id, hangup) else { return };
        if request == Request::Status {
            let report = self.report(Instant::now());
            return self.ground.control.clients.reply(id, &Reply::Status(Box::new(report)));
        }
        if request == Request::Connections {
            self.begin_census();
            return self.ground.control.clients.wait(id, Wish::Connections(Instant::now()));
        }
        let control = &self.ground.control;
        if let Some(more) = control.requests_told.admit(control.ledger.age(Instant::now())) {
            crate::info!(COMMAND_TAKEN, "{} was asked for{}", request.word(), held_back(more));
        }
        let wish = match request {
            _ if self.stop.is_some() => return self.ground.control.clients.reply(id, &stopping()),
            Request::Rotate => {
                Wish::Rotate { number: self.rotations.ask(), from: self.live.as_ref().map(|(sequence, _)| *sequence) }
            }
            _ => {
                self.reload_wanted = true;
                Wish::Reload(None)
            }
        };
        self.ground.control.clients.wait(id, wish);
    }

    /// A reload has begun, and the generation of workers is made, or it was refused for this reason: that is what all
    /// have waited for whose reload had not begun.
    pub(super) fn reload_tried(&mut self, refused: Option<&str>) {
        let (generation, clients) = (self.generation, &mut self.ground.control.clients);
        for (id, wish, _) in clients.waiting() {
            match (wish, refused) {
                (Wish::Reload(None), Some(reason)) => clients.reply(id, &Reply::failed(exit::CONFIG, reason)),
                (Wish::Reload(None), None) => clients.wait(id, Wish::Reload(Some(generation))),
                _ => {}
            }
        }
    }

    /// Answers what is done, or has taken too long; looks after the door.
    pub(super) fn answer(&mut self, now: Instant) {
        self.tell_rotation();
        for (id, wish, since) in self.ground.control.clients.waiting() {
            if let Some(reply) = self.verdict(wish, now >= since + PATIENCE) {
                self.ground.control.clients.reply(id, &reply);
            }
        }
        if self.ground.control.ledger.is_due(now) {
            let stored = self.sums().totals.writer;
            self.ground.control.ledger.measure(&stored, now);
        }
        let control = &mut self.ground.control;
        control.clients.expire(now);
        if control.rests.is_some_and(|until| now >= until) {
            control.rests = control.watch(&self.poller).is_err().then_some(now + ACCEPT_REST);
        }
    }

    /// The answer to a wish; `None`: later.
    fn verdict(&self, wish: Wish, overdue: bool) -> Option<Reply> {
        match wish {
            Wish::Rotate { number, from } if self.rotations.is_done(number) => {
                let (sequence, segment) = self.live.clone()?;
                Some(Reply::Rotated { rotated: Some(sequence) != from, segment })
            }
            Wish::Reload(Some(_)) if self.was_ready && !self.tell_ready => {
                let (workers, warnings) = (self.wanted_workers, self.ground.control.warnings.clone());
                Some(Reply::Reloaded { workers, warnings })
            }
            Wish::Connections(asked) => self.census(asked, asked.elapsed() >= census::PATIENCE),
            _ if self.stop.is_some() => Some(stopping()),
            _ if !overdue => None,
            Wish::Rotate { .. } => Some(Reply::failed(exit::FAILED, self.no_rotation())),
            Wish::Reload(begun) => {
                let why = match begun {
                    Some(_) => "the new configuration is taken up, but its processes do not serve",
                    None => "the daemon does not serve yet, and reloads when it does",
                };
                Some(Reply::failed(exit::FAILED, format!("{why} after {PATIENCE:?}; its log may tell why")))
            }
        }
    }

    fn no_rotation(&self) -> String {
        let why = match (&self.rotations.trouble, &self.writer) {
            (Some(trouble), _) => trouble.as_str(),
            (None, Some(writer)) if writer.scoreboard.get(Count::Full) > 0 => "the disk is full",
            (None, Some(_)) if self.hanging(Instant::now()).iter().any(|role| role == "writer") => {
                "the writer stands still"
            }
            (None, Some(writer)) if writer.ready => "the writer does not say why, its log may",
            (None, _) => "the writer is just being replaced",
        };
        format!("no new file after {PATIENCE:?}: {why}. It is begun when that can be done")
    }
}

fn stopping() -> Reply {
    Reply::failed(exit::FAILED, "the daemon is stopping")
}

fn held_back(lines: u64) -> String {
    if lines == 0 { String::new() } else { format!(" ({lines} more were not logged)") }
}
