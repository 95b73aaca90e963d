//! The exporter as the supervisor sees it: forked once the daemon serves, if `metrics.listen` is set; told how the daemon
//! is when it asks; replaced when it dies.
//!
//! Promise: nothing waits for it but the end of a stop, which waits a moment: until then it tells of the stop. Whatever it
//! does or says, all others go on.
//! It gets at most one report each [`SPACING`]; one that asks again before it has been answered is killed.
use super::control::Of;
use super::crew::{self, Prepared};
use super::listeners;
use super::restart::{self, Deaths};
use super::{EXPORTER, Supervisor};
use crate::config::Config;
use crate::exit::{self, Fatal};
use crate::ipc::control::{Channel, Received, Sheet, ToExporter, ToSupervisor};
use crate::ipc::scoreboard::{Count, Scoreboard};
use crate::ipc::seat::ExporterSeat;
use crate::ipc::wiring::{self, Role};
use crate::log::Limiter;
use crate::sys::poll::Interest;
use crate::sys::process::{self, Child, Ending, Pid, fork_role};
use crate::sys::socket::Listener;
use crate::sys::{AsFd, AsRawFd, RawFd};
use nix::sys::signal::Signal;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One that has not turned its loop for so long, and does not wait in the kernel, is replaced.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to leave before it is killed, and how long a stop waits for its death then.
const LEAVE_GRACE: Duration = Duration::from_millis(500);
/// The shortest time between two reports.
const SPACING: Duration = Duration::from_millis(50);
/// How long to wait after a report that could not be made.
const REST: Duration = Duration::from_secs(1);

/// Where metrics are served.
#[derive(Debug)]
pub struct Outlet {
    /// As the configuration says.
    wanted: SocketAddr,
    listener: Listener,
}

impl Outlet {
    /// Listens where `config` says, if it does.
    ///
    /// # Errors
    /// Exit 69: the address cannot be listened on.
    pub fn open(config: &Config) -> Result<Option<Self>, Fatal> {
        let Some(wanted) = config.metrics.listen else { return Ok(None) };
        let listener = Listener::bind(wanted, config.server.keepalive);
        let listener = listener.map_err(|error| listeners::cannot("metrics.listen", wanted, &error))?;
        Ok(Some(Self { wanted, listener }))
    }

    /// Where it really is, for people.
    pub fn place(&self) -> String {
        self.listener.local_address().map_or("?".to_owned(), |place| place.to_string())
    }

    pub fn fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

/// What a reload makes of the outlet.
#[derive(Debug)]
pub enum Move {
    /// It stays as it is.
    Stay,
    /// This one, or none, takes its place.
    To(Option<Outlet>),
}

/// What the supervisor knows of the living exporter.
#[derive(Debug)]
pub struct Exporter {
    pub pid: Pid,
    pub channel: Channel<ToExporter, ToSupervisor>,
    pub scoreboard: Scoreboard,
    pub ready: bool,
    pub born: Instant,
    /// It was told to leave: when it is killed, and whether it was.
    leave_by: Option<(Instant, bool)>,
    /// It waits for a report.
    asks: bool,
    /// When it may have the next one.
    served: Instant,
    /// Its heartbeat, and when that last moved.
    beat: (u64, Instant),
}

impl Exporter {
    fn kill(&self) {
        let _ = process::signal_child(self.pid, Signal::SIGKILL);
    }
}

/// The exporter, and when it is forked.
#[derive(Debug, Default)]
pub struct Export {
    pub exporter: Option<Exporter>,
    deaths: Deaths,
    due: Option<Instant>,
    troubles_told: Limiter,
}

impl Export {
    /// From now on there is to be one.
    pub fn want(&mut self, now: Instant) {
        self.due.get_or_insert(now);
    }

    /// Has it replaced by one that is forked with what the supervisor holds now; or by none.
    pub fn retire(&mut self, now: Instant) {
        if let Some(exporter) = self.exporter.as_mut().filter(|exporter| exporter.leave_by.is_none()) {
            exporter.leave_by = Some((now + LEAVE_GRACE, false));
            exporter.channel.send(ToExporter::Leave);
        }
    }
}

impl Supervisor {
    /// Listens where the new configuration wants it, beside where it listens now.
    ///
    /// # Errors
    /// That cannot be done. Nothing has changed.
    pub(super) fn prepare_outlet(&self, new: &Config) -> Result<Move, String> {
        let (now, then) = (self.ground.outlet.as_ref().map(|outlet| outlet.wanted), new.metrics.listen);
        if now == then {
            return Ok(Move::Stay);
        }
        match (now, then) {
            (Some(ours), Some(wanted)) if listeners::overlap(ours, wanted) => Err(format!(
                "cannot serve metrics on {wanted} while this daemon does so on {ours}; switch them off first (metrics.listen = \"\"), and reload, or restart it"
            )),
            _ => Outlet::open(new).map(Move::To).map_err(|Fatal { message, .. }| message),
        }
    }

    /// Goes on with it.
    pub(super) fn move_outlet(&mut self, to: Move, now: Instant) {
        let Move::To(outlet) = to else { return };
        self.ground.outlet = outlet;
        self.export.deaths = Deaths::default();
        self.export.due = Some(now);
        self.export.retire(now);
        self.tell_outlet();
    }

    pub(super) fn tell_outlet(&self) {
        if let Some(outlet) = &self.ground.outlet {
            crate::notice!(METRICS_LISTENING, "metrics on {}", outlet.place());
        }
    }

    /// When there is something to do for it without any event.
    pub(super) fn exporter_wakes_at(&self, now: Instant) -> Option<Instant> {
        let Some(exporter) = &self.export.exporter else {
            let may_fork = self.was_ready && self.stop.is_none() && self.ground.outlet.is_some();
            return self.export.due.filter(|_| may_fork);
        };
        let leave = exporter.leave_by.filter(|(deadline, killed)| !killed || *deadline > now);
        let report = exporter.asks.then_some(exporter.served);
        leave.map(|(deadline, _)| deadline).into_iter().chain(report).min()
    }

    /// Forks the exporter if it is missing, due and wanted. Its failure is told, and harms nobody.
    pub(super) fn fork_exporter_if_due(&mut self, now: Instant) -> Option<Result<(), String>> {
        let due = self.export.exporter.is_none() && self.export.due.is_some_and(|due| now >= due);
        if self.stop.is_some() || self.ground.outlet.is_none() || !due {
            return None;
        }
        let forked = self.fork_exporter(now);
        let again = now + restart::after_failed_fork(self.failed_forks);
        self.export.due = forked.is_err().then_some(again);
        Some(forked.map_err(|error| format!("cannot start the exporter: {error}")))
    }

    fn fork_exporter(&mut self, now: Instant) -> io::Result<()> {
        let prepared = Prepared::new()?;
        let mut inventory = self.inventory();
        inventory.extend(prepared.held());
        let pid = fork_role(&wiring::keep(Role::Exporter, &inventory), |child| {
            crew::enter("exporter", "exporter");
            match self.exporter_seat(&child, &prepared) {
                Ok(seat) => (self.entries.exporter)(seat),
                Err(_) => exit::FAILED,
            }
        })?;
        let Prepared { ours, scoreboard, .. } = prepared;
        let watched = self.poller.add(&ours, EXPORTER, Interest::Input);
        self.export.exporter = Some(Exporter {
            pid,
            channel: Channel::new(ours),
            scoreboard,
            ready: false,
            born: now,
            leave_by: None,
            asks: false,
            served: now,
            beat: (0, now),
        });
        crew::unwatched_must_die("the exporter", pid, watched);
        Ok(())
    }

    fn exporter_seat(&self, child: &Child, prepared: &Prepared) -> io::Result<ExporterSeat> {
        let outlet = self.ground.outlet.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(ExporterSeat {
            sandbox: self.config.security.sandbox,
            listener: Listener::from_fd(child.adopt(&outlet.listener)),
            scoreboard: prepared.scoreboard.map_again(child.adopt(&prepared.memory).as_fd())?,
            channel: Channel::new(child.adopt(&prepared.theirs)),
            tick: self.watchdog.tick(),
        })
    }

    /// Takes in what it says: "ready" once, and questions one at a time. One that went on saying more would keep the
    /// supervisor from all else.
    pub(super) fn hear_exporter(&mut self) {
        while let Some(exporter) = &mut self.export.exporter {
            exporter.channel.flush();
            let wrong = match exporter.channel.receive() {
                Ok(Received::Message(ToSupervisor::Ready)) if !exporter.ready => {
                    exporter.ready = true;
                    continue;
                }
                Ok(Received::Message(ToSupervisor::Ask)) if !exporter.asks => {
                    exporter.asks = true;
                    continue;
                }
                // It has told the log itself.
                Ok(Received::Message(ToSupervisor::Failed { .. })) if !exporter.ready => continue,
                Ok(Received::Message(_)) => "it says what no exporter says".to_owned(),
                Ok(Received::Nothing) => return,
                Ok(Received::End) => return drop(self.poller.remove(exporter.channel.as_fd())),
                Err(error) => format!("cannot understand it: {error}"),
            };
            crate::error!(
                EXPORTER_DISTRUSTED { pid: exporter.pid.as_raw() },
                "exporter {}: {wrong}; it is killed",
                exporter.pid
            );
            exporter.kill();
            return drop(self.poller.remove(exporter.channel.as_fd()));
        }
    }

    /// Gives it the report that it has asked for, once it may have another one; kills it if it does not leave as told.
    pub(super) fn serve_exporter(&mut self, now: Instant) {
        let Some(exporter) = &self.export.exporter else { return };
        if exporter.asks && now >= exporter.served {
            let sheet = Sheet::write(&self.report(now));
            let Some(exporter) = &mut self.export.exporter else { return };
            match sheet {
                Ok(sheet) => {
                    exporter.channel.send(ToExporter::Report(sheet));
                    (exporter.asks, exporter.served) = (false, now + SPACING);
                }
                Err(error) => {
                    exporter.served = now + REST;
                    if self.export.troubles_told.admit(self.ground.control.ledger.age(now)).is_some() {
                        crate::warn!(
                            REPORT_NOT_MADE,
                            "cannot make a report for the exporter: {error}; it is tried again"
                        );
                    }
                }
            }
        }
        let Some(exporter) = &mut self.export.exporter else { return };
        if exporter.leave_by.is_some_and(|(deadline, killed)| now >= deadline && !killed) {
            exporter.kill();
            exporter.leave_by = Some((now + LEAVE_GRACE, true));
        }
    }

    /// Says once that it lives, if it had kept dying.
    pub(super) fn tell_exporter_lives(&mut self, now: Instant) {
        if let Some(exporter) = &self.export.exporter
            && self.export.deaths.well(exporter.scoreboard.get(Count::Scrapes) > 0, now - exporter.born)
        {
            crate::notice!(ROLE_LIVES { pid: exporter.pid.as_raw() }, "the exporter ({}) lives again", exporter.pid);
        }
    }

    /// Notes its end, and when it is replaced.
    pub(super) fn bury_exporter(&mut self, ending: Ending, now: Instant) {
        let Some(exporter) = self.export.exporter.take() else { return };
        self.ground.control.ledger.bury(Of::Exporter, &exporter.scoreboard);
        if self.stop.is_some() {
            // No other will come: who asks is refused at once.
            self.ground.outlet = None;
        }
        let killed = exporter.leave_by.is_some_and(|(_, killed)| killed);
        if self.stop.as_ref().is_some_and(|stop| !stop.expects(ending, killed)) {
            self.export.due = Some(now);
            let pid = exporter.pid;
            return crate::warn!(
                EXPORTER_ENDED { pid: pid.as_raw() },
                "exporter {pid} ended in the stop: {ending}; nothing else is touched"
            );
        }
        if self.stop.is_some() || exporter.leave_by.is_some() {
            self.export.due = Some(now);
            return crate::debug!("exporter {} ended: {ending}", exporter.pid);
        }
        let progress = exporter.scoreboard.get(Count::Scrapes) > 0;
        let due = restart::replace_at(&mut self.export.deaths, progress, now - exporter.born, now);
        self.ground.control.ledger.mourn(Of::Exporter, now);
        crate::warn!(
            EXPORTER_ENDED { pid: exporter.pid.as_raw() },
            "exporter {} ended: {ending}; it is replaced, nothing else is touched",
            exporter.pid
        );
        if self.export.deaths.tells() {
            crate::error!(
                EXPORTER_KEEPS_DYING,
                "the exporter keeps dying without serving metrics; {}",
                restart::next_tries(due - now)
            );
        }
        self.export.due = Some(due);
    }

    /// One that does not move is replaced: a stopped one, say.
    pub(super) fn watch_exporter(&mut self, now: Instant) {
        let Some(exporter) = &mut self.export.exporter else { return };
        let beat = exporter.scoreboard.get(Count::Heartbeat);
        if beat != exporter.beat.0 {
            exporter.beat = (beat, now);
        }
        let stood = now - exporter.beat.1;
        if stood >= PATIENCE && !matches!(process::state(exporter.pid), Some('D' | 'Z' | 'X')) {
            crate::error!(
                EXPORTER_HANGS { pid: exporter.pid.as_raw() },
                "the exporter ({}) hangs: it has not moved for {stood:.0?}; it is replaced",
                exporter.pid
            );
            exporter.kill();
            exporter.beat.1 = now;
        }
    }

    /// All others have left: it may go, too. Whether the stop has to wait for it: its hold on the port ends with it.
    pub(super) fn exporter_lingers(&mut self, now: Instant) -> bool {
        self.export.retire(now);
        // In a call that does not return it cannot even be killed.
        let leave_by = self.export.exporter.as_ref().and_then(|exporter| exporter.leave_by);
        leave_by.is_some_and(|(deadline, killed)| now < deadline || !killed)
    }
}
