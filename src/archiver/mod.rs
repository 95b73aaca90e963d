//! The archiver: seals, compresses, prunes and hands on closed segments, off the path of the echoes.
//!
//! Promise: it finds its work by looking at the directory, so that no job is lost when it dies, at any moment; it never
//! touches the live segment, nor one that is not settled yet. All that takes long is done in pieces: between two of them
//! it hears the supervisor, and looks after retention.

mod age;
mod compress;
mod faults;
mod freed;
mod hook;
mod ledger;
mod pace;
mod prune;
mod retain;
mod runner;
mod seal;
mod shelf;
mod stock;
mod timers;
mod work;

use crate::config::Config;
use crate::exit::{self, Fatal};
use crate::ipc::control::{Channel, Received, ToArchiver, ToSupervisor};
use crate::ipc::sandbox;
use crate::ipc::scoreboard::{Count, Scoreboard};
use crate::ipc::seat::ArchiverSeat;
use crate::ipc::wiring::Role;
use crate::log::Limiter;
use crate::store::failed::Failures;
use crate::store::manifest::Line;
use crate::store::names::SegmentName;
use crate::sys::poll::{Event, Interest, Poller};
use crate::sys::signals::{Signals, ignore, reset};
use crate::sys::{AsFd, process};
use age::Ages;
use compress::Compressing;
use faults::Faults;
use hook::Hook;
use ledger::Ledger;
use nix::sys::signal::Signal;
use runner::Word;
use seal::Sealing;
use shelf::Shelf;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

const CONTROL: u64 = 0;
const SIGNALS: u64 = 1;
const RUNNER: u64 = 2;

/// How long a program that was told to end may take when the archiver leaves.
const PARTING: Duration = Duration::from_millis(50);

/// How long its runner may take to leave.
const DISMISSAL: Duration = Duration::from_millis(200);

/// The archiver's whole life; returns its exit code.
pub fn run(seat: ArchiverSeat) -> u8 {
    let mut last_words = seat.channel.as_fd().try_clone_to_owned().map(Channel::<ToSupervisor, ToArchiver>::new);
    for (what, error) in process::lower_priority() {
        debug!("{what} was refused: {error}; the archiver runs with the priority of the others");
    }
    let ended = Archiver::new(seat).and_then(|archiver| {
        last_words = Err(io::ErrorKind::NotFound.into());
        archiver.serve().map_err(|error| Fatal::system("look after closed files", error))
    });
    ended.unwrap_or_else(|fatal| {
        error!(ROLE_FAILED, "{fatal}");
        if let Ok(channel) = &mut last_words {
            channel.send(ToSupervisor::Failed { code: fatal.code, message: fatal.message });
        }
        fatal.code
    })
}

#[derive(Debug)]
struct Archiver {
    config: Config,
    shelf: Shelf,
    ledger: Ledger,
    /// The writer's word on segments that failed, and the file that it stands in.
    failures: Failures,
    failures_from: Option<(u64, i64, i64)>,
    ages: Ages,
    /// Which start of the machine this is; `None`: that is hidden.
    boot: Option<String>,
    hook: Hook,
    faults: Faults,
    /// Closed segments without a seal, and those that are not in the form that they ought to have.
    unsealed: BTreeSet<SegmentName>,
    uncompressed: BTreeSet<SegmentName>,
    /// Segments that are not what was sealed: they stay as they are.
    changed: BTreeSet<SegmentName>,
    sealing: Option<Sealing>,
    /// Seals that are not in the manifest yet, and since when.
    sealed: Vec<Line>,
    sealed_since: Option<Instant>,
    compressing: Option<Compressing>,
    /// Segments whose deletion is noted and not done, and why.
    doomed: BTreeMap<SegmentName, String>,
    /// Deletions that are done and could not be noted for want of room.
    unnoted: Vec<Line>,
    /// A rule that does not hold although all went that may: since when, and whether that was told.
    unmet: Option<(retain::Reason, Instant, bool)>,
    /// Whether deletions for room make room.
    freed: freed::Freed,
    /// It was told that nothing is left to make room.
    nothing_left: bool,
    deletions_told: Limiter,
    unhooked_told: Limiter,
    timers: timers::Timers,
    pace: pace::Pace,
    began: bool,
    channel: Channel<ToSupervisor, ToArchiver>,
    scoreboard: Scoreboard,
    poller: Poller,
    signals: Signals,
    /// Held, never written.
    _lock: File,
    /// The loop turns at least this often.
    tick: Duration,
}

/// What it could not get any more once it is shut in.
struct Tools {
    poller: Poller,
    signals: Signals,
    runner: Option<runner::ToHook>,
    boot: Option<String>,
}

impl Tools {
    fn take_up(seat: &ArchiverSeat) -> io::Result<Self> {
        reset(&[Signal::SIGTERM, Signal::SIGCHLD])?;
        ignore(&[Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2])?;
        let has_hook = !seat.config.rotate.on_close.is_empty();
        let runner = has_hook.then(|| runner::fork(&seat.config)).transpose()?;
        let signals = Signals::new(&[Signal::SIGTERM])?;
        let poller = Poller::new(4)?;
        poller.add(&seat.channel, CONTROL, Interest::Input)?;
        poller.add(&signals, SIGNALS, Interest::Input)?;
        if let Some(runner) = &runner {
            poller.add(runner, RUNNER, Interest::Input)?;
        }
        // Without it the clock is trusted.
        let boot = process::boot_id().inspect_err(|error| debug!("cannot tell this boot from others: {error}"));
        Ok(Self { poller, signals, runner, boot: boot.ok() })
    }
}

impl Archiver {
    fn new(seat: ArchiverSeat) -> Result<Self, Fatal> {
        let Tools { poller, signals, runner, boot } =
            Tools::take_up(&seat).map_err(|error| Fatal::system("look after closed files", error))?;
        let mode = seat.config.security.sandbox;
        let wall = sandbox::wall_in(Role::Archiver, mode, Some(seat.directory.as_fd()), false)?;
        seat.scoreboard.set(Count::Sandbox, sandbox::filter(Role::Archiver, mode, wall)?.word());
        let hook = Hook::new(runner, seat.config.rotate.on_close_timeout, seat.directory.as_fd());
        Ok(Self {
            shelf: Shelf::new(seat.directory),
            ledger: Ledger::new(),
            failures: Failures::default(),
            failures_from: None,
            ages: Ages::default(),
            boot,
            hook,
            faults: Faults::default(),
            unsealed: BTreeSet::new(),
            uncompressed: BTreeSet::new(),
            changed: BTreeSet::new(),
            sealing: None,
            sealed: Vec::new(),
            sealed_since: None,
            compressing: None,
            doomed: BTreeMap::new(),
            unnoted: Vec::new(),
            unmet: None,
            freed: freed::Freed::default(),
            nothing_left: false,
            deletions_told: Limiter::new(),
            unhooked_told: Limiter::new(),
            timers: timers::Timers::new(Instant::now()),
            pace: pace::Pace::default(),
            began: false,
            config: seat.config,
            channel: seat.channel,
            scoreboard: seat.scoreboard,
            poller,
            signals,
            _lock: seat.lock,
            tick: seat.tick,
        })
    }

    fn serve(mut self) -> io::Result<u8> {
        self.channel.send(ToSupervisor::Ready);
        let mut events = Vec::new();
        let (mut busy, mut turned) = (true, Instant::now());
        loop {
            let timeout = if busy { Duration::ZERO } else { self.sleep(turned) };
            self.poller.wait(Some(timeout), &mut events)?;
            self.scoreboard.add(Count::Heartbeat, 1);
            self.channel.flush();
            let mut full = false;
            for event in &events {
                if let Some(code) = self.dispatch(event, &mut full)? {
                    return Ok(code);
                }
            }
            self.scoreboard.set(Count::OnDisk, 1);
            turned = Instant::now();
            self.scoreboard.stamp(Count::Turned, turned);
            busy = self.turn(turned, full);
            self.scoreboard.set(Count::OnDisk, 0);
        }
    }

    fn dispatch(&mut self, event: &Event, full: &mut bool) -> io::Result<Option<u8>> {
        match event.token {
            CONTROL => return self.obey(full),
            RUNNER => self.hear_runner()?,
            // `TERM` comes when the supervisor dies, which the channel's end tells too, or from somebody who means all.
            _ => while self.signals.next()?.is_some() {},
        }
        Ok(None)
    }

    /// Does what the supervisor says. However often it says that the store is full, one deletion comes of it.
    fn obey(&mut self, full: &mut bool) -> io::Result<Option<u8>> {
        loop {
            match self.channel.receive()? {
                Received::Nothing => return Ok(None),
                Received::Message(ToArchiver::Settled(below)) => {
                    self.shelf.settle(below);
                    self.timers.retain_now();
                }
                Received::Message(ToArchiver::Full) => *full = true,
                Received::Message(ToArchiver::Leave) => {
                    self.leave();
                    return Ok(Some(exit::OK));
                }
                // The supervisor is dead: the next one's archiver begins anew.
                Received::End => return Ok(Some(exit::OK)),
            }
        }
    }

    /// Ends what is under way; all of it is done again by the next one.
    fn leave(&mut self) {
        self.note_deleted(Instant::now());
        if self.hook.leave() {
            let until = Instant::now() + PARTING;
            while self.hook.busy().is_some() && Instant::now() < until {
                let _ = self.poller.wait(Some(Duration::from_millis(5)), &mut Vec::new());
                if self.hear_runner().is_err() {
                    break;
                }
            }
            self.hook.kill();
        }
        self.dismiss_runner();
        if self.compressing.take().is_some() && self.is_in_place() {
            let _ = compress::drop_temporary(self.shelf.fd());
        }
    }

    /// Lets the runner go, which kills what it still runs, and waits for its end: nobody outlives the supervisor, who waits
    /// for the archiver.
    fn dismiss_runner(&mut self) {
        let Some(runner) = self.hook.dismiss() else { return };
        let _ = self.poller.remove(runner.as_fd());
        drop(runner);
        let until = Instant::now() + DISMISSAL;
        while matches!(process::reap(), Ok(None)) && Instant::now() < until {
            let _ = self.poller.wait(Some(Duration::from_millis(2)), &mut Vec::new());
        }
    }

    /// Sees to runs of the hook that have ended.
    ///
    /// # Errors
    /// Its runner is gone: a new archiver has a new one.
    fn hear_runner(&mut self) -> io::Result<()> {
        while let Some(runner) = self.hook.runner() {
            runner.flush();
            let now = Instant::now();
            let ended = match runner.receive()? {
                Received::Message(Word::Ended(ending)) => self.hook.ended(ending, now),
                Received::Message(Word::NotRun(why)) => self.hook.not_run(&why, now),
                Received::Nothing => return Ok(()),
                Received::End => return Err(io::Error::other("the hook runner is gone")),
            };
            if let Some(ended) = ended {
                self.hooked(&ended);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
