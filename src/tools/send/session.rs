//! The loop of `send`: one thread, one poll(2), never blocked by the input, the server or a name.
use std::time::{Duration, Instant};

use super::connection::{Attempt, Connection, Progress, Turn};
use super::options::Options;
use super::patience::Patience;
use super::source::Source;
use super::talk::{Count, Talk, print};
use super::window::Window;
use super::words;
use crate::config::units::format_time;
use crate::sys::AsFd;
use crate::sys::ready::{Watched, wait};
use crate::sys::signals::Signals;
use crate::tools::carrier::Means;

/// Never more bytes than these are in flight, but for a single message.
const WINDOW: usize = 8 << 20;
/// After the first signal: how long to wait for the echoes that are due.
const GRACE: Duration = Duration::from_secs(5);

/// Why it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to do.
    Done,
    /// A signal.
    Stopped,
    /// Something that no retry mends, or one retry too many: what to say.
    Failed(String),
}

#[derive(Debug)]
enum Link {
    /// Not needed, or just lost.
    Down,
    /// Until the next attempt.
    Resting(Instant),
    Connecting(Attempt),
    Up(Up),
}

#[derive(Debug)]
struct Up {
    connection: Connection,
    /// When it last brought the oldest message forward.
    progress: Instant,
    /// The last write was short.
    full: bool,
    /// A write failed; what was echoed before is still to be read.
    broken: Option<String>,
    heard: bool,
    finished: bool,
}

/// All that `send` knows.
pub struct Session {
    pub options: Options,
    means: Means,
    pub source: Source,
    pub window: Window,
    pub talk: Talk,
    link: Link,
    patience: Patience,
    /// When the grace is over.
    stop: Option<Instant>,
    /// Connections made.
    pub connections: u64,
    /// Since when there is none, and the last fault that was told.
    trouble: Option<(Instant, String)>,
    /// Somebody between may take the end of our sending for the end of the connection: not twice.
    finish: bool,
    input: Vec<u8>,
}

impl Session {
    /// Does nothing yet.
    pub fn new(options: Options, means: Means) -> Self {
        let window = Window::new(options.framing, usize::try_from(options.window).unwrap_or(usize::MAX), WINDOW);
        Self {
            source: Source::new(options.framing),
            window,
            talk: Talk::new(options.quiet),
            link: Link::Down,
            patience: Patience::new(options.retries),
            stop: None,
            connections: 0,
            trouble: None,
            finish: true,
            input: Vec::new(),
            options,
            means,
        }
    }

    /// Sends until it is over.
    pub fn run(&mut self, signals: &Signals) -> End {
        loop {
            match self.turn(signals) {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    fn turn(&mut self, signals: &Signals) -> Result<(), End> {
        let now = Instant::now();
        let idle = self.window.is_empty();
        if self.source.pour(&mut self.window)
            && idle
            && let Link::Up(up) = &mut self.link
        {
            up.progress = now;
        }
        if self.source.is_dry() && self.window.is_empty() {
            return Err(End::Done);
        }
        self.connect(now)?;
        self.write(now);
        self.talk.progress(now, self.count());
        let [signalled, input, link] = self.wait(signals, now)?;
        if signalled {
            self.signalled(signals)?;
        }
        // The link before the clocks: what waits in the socket counts, even if we were stopped for an hour.
        let now = Instant::now();
        if link || matches!(self.link, Link::Up(Up { broken: Some(_), .. })) {
            self.read(now)?;
        }
        if input {
            self.source.read();
        }
        self.clocks(now)
    }

    /// Waits for news of the signals, the input, the link.
    fn wait(&mut self, signals: &Signals, now: Instant) -> Result<[bool; 3], End> {
        let deadline = self.deadline();
        let mut watched = vec![Watched { fd: signals.as_fd(), input: true, output: false }];
        let (source, link) = (self.source.watched(), watched_link(&self.link));
        let [with_source, with_link] = [source.is_some(), link.is_some()];
        watched.extend(source);
        watched.extend(link);
        let news = wait(&watched, deadline.map(|at| at.saturating_duration_since(now)));
        let news = news.map_err(|error| End::Failed(format!("cannot wait for news: {error}")))?;
        Ok([news[0], with_source && news[1], with_link && news[news.len() - 1]])
    }

    fn deadline(&self) -> Option<Instant> {
        let link = match &self.link {
            Link::Down => None,
            Link::Resting(until) => Some(*until),
            Link::Connecting(attempt) => attempt.deadline(),
            // Whatever came before the break is there now.
            Link::Up(Up { broken: Some(_), progress, .. }) => Some(*progress),
            Link::Up(up) => self.echo_deadline(up),
        };
        [link, self.stop, self.talk.deadline(self.count())].into_iter().flatten().min()
    }

    /// Until when the oldest message must come forward.
    fn echo_deadline(&self, up: &Up) -> Option<Instant> {
        let waits = !self.window.is_empty() && !self.options.timeout.is_zero();
        waits.then(|| up.progress + self.options.timeout)
    }

    pub fn count(&self) -> Count {
        let read = self.source.taken();
        Count { read, echoed: read - self.window.len() as u64, up: matches!(self.link, Link::Up(_)) }
    }

    fn signalled(&mut self, signals: &Signals) -> Result<(), End> {
        while let Ok(Some(_)) = signals.next() {
            if self.stop.is_some() {
                return Err(End::Stopped);
            }
            self.source.stop();
            self.stop = Some(Instant::now() + GRACE);
            if !self.window.is_empty() {
                self.talk.note(&format!("stopping; waiting for the echoes of {} messages", self.window.len()));
            }
        }
        Ok(())
    }

    fn clocks(&mut self, now: Instant) -> Result<(), End> {
        if self.stop.is_some_and(|at| now >= at) {
            return Err(End::Stopped);
        }
        match &self.link {
            Link::Resting(until) if now >= *until => self.link = Link::Down,
            Link::Up(up) if self.echo_deadline(up).is_some_and(|at| now >= at) => {
                let waited = format_time(self.options.timeout);
                return self.lost(now, &format!("no echo for {waited} (--timeout)"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Makes a connection, if one is needed: at the beginning, so that a wrong address is told at once, and whenever there is something
    /// to send. One that was lost while idle is not missed before that.
    fn connect(&mut self, now: Instant) -> Result<(), End> {
        let needed = self.connections == 0 || !self.window.is_empty();
        if matches!(self.link, Link::Down) && needed {
            match Attempt::begin(&self.options.server, &self.means) {
                Ok(attempt) => self.link = Link::Connecting(attempt),
                Err(error) => return self.failed(now, &error.to_string()),
            }
        }
        let Link::Connecting(attempt) = &mut self.link else { return Ok(()) };
        match attempt.step(now) {
            Progress::Wait => Ok(()),
            Progress::Made(connection) => {
                self.made(now, connection);
                Ok(())
            }
            Progress::Failed(why) => self.failed(now, &why),
        }
    }

    fn made(&mut self, now: Instant, connection: Connection) {
        self.connections += 1;
        if let Some((since, _)) = self.trouble.take() {
            let (server, after) = (&self.options.server, now - since);
            let from = match self.window.is_empty() {
                true => String::new(),
                false => format!("; sending from {} {}", self.options.framing.unit(), self.window.first()),
            };
            self.talk.note(&format!("connected to {server} after {:.1} s{from}", after.as_secs_f64()));
        }
        let up = Up { connection, progress: now, full: false, broken: None, heard: false, finished: false };
        self.link = Link::Up(up);
    }

    /// The attempt came to nothing.
    fn failed(&mut self, now: Instant, why: &str) -> Result<(), End> {
        let told = self.trouble.as_ref().is_some_and(|(_, told)| told == why);
        let delay = self.patience.fault();
        let server = &self.options.server;
        match delay {
            None => return Err(End::Failed(format!("cannot connect to {server}: {why}"))),
            Some(_) if !told => self.talk.note(&format!("cannot connect to {server}: {why}; trying again")),
            Some(_) => {}
        }
        let since = self.trouble.take().map_or(now, |(since, _)| since);
        self.trouble = Some((since, why.to_owned()));
        self.link = Link::Resting(now + delay.unwrap_or_default());
        Ok(())
    }

    fn write(&mut self, now: Instant) {
        let Link::Up(up) = &mut self.link else { return };
        if up.broken.is_some() {
            return;
        }
        let unsent = self.window.unsent();
        if !unsent.is_empty() && !up.full {
            let first = !self.window.first_is_sent();
            let mut sent = 0;
            match up.connection.write(unsent, |count| self.window.ends_message(count)) {
                Turn::Bytes(count) => sent = count,
                Turn::Wait => {}
                Turn::Gone(why) => up.broken = Some(why),
            }
            up.full = sent < unsent.len() && up.broken.is_none();
            self.window.sent(sent);
            if first && sent > 0 {
                up.progress = now;
            }
        }
        if self.finish && !up.finished && self.window.unsent().is_empty() && self.source.is_dry() {
            up.connection.finish();
            up.finished = true;
        }
    }

    /// News of the link.
    fn read(&mut self, now: Instant) -> Result<(), End> {
        let Link::Up(up) = &mut self.link else { return Ok(()) };
        up.full = false;
        self.input.clear();
        match up.connection.read(&mut self.input) {
            Turn::Wait if up.broken.is_none() => Ok(()),
            Turn::Bytes(_) => match self.window.hear(&self.input) {
                Ok(message) => {
                    up.progress = now;
                    if message {
                        up.heard = true;
                        self.patience.progress();
                    }
                    Ok(())
                }
                Err(foreign) => {
                    let (server, unit) = (&self.options.server, self.options.framing.unit());
                    Err(End::Failed(words::foreign(server, unit, &foreign)))
                }
            },
            Turn::Gone(why) => {
                let why = up.broken.take().unwrap_or(why);
                self.lost(now, &why)
            }
            Turn::Wait => {
                let why = up.broken.take().unwrap_or_default();
                self.lost(now, &why)
            }
        }
    }

    /// The connection is of no use any more.
    fn lost(&mut self, now: Instant, why: &str) -> Result<(), End> {
        let Link::Up(up) = std::mem::replace(&mut self.link, Link::Down) else { return Ok(()) };
        let carried = self.window.in_flight();
        self.finish &= !up.finished;
        self.window.lost();
        self.print_known();
        up.connection.abort();
        let (server, left) = (&self.options.server, self.window.len());
        self.trouble = Some((now, String::new()));
        if left == 0 {
            let text = format!(
                "the connection to {server} has ended ({why}), all is echoed; connecting again when there is more"
            );
            self.talk.note(&text);
            return Ok(());
        }
        if carried && !up.heard && self.patience.unanswered() {
            self.talk.error(&format!("{}; going on", self.suspicion()));
        }
        let Some(delay) = self.patience.fault() else {
            let reason = match self.patience.unanswered_so_far() {
                0 | 1 => String::new(),
                _ => format!("; {}", self.suspicion()),
            };
            return Err(End::Failed(format!("the connection to {server} is lost: {why}{reason}")));
        };
        let (unit, first) = (self.options.framing.unit(), self.window.first());
        let text = format!(
            "the connection to {server} is lost ({why}); {left} messages are not echoed, from {unit} {first} on; trying again"
        );
        self.talk.note(&text);
        self.link = Link::Resting(now + delay);
        Ok(())
    }

    fn suspicion(&self) -> String {
        let (unit, window) = (self.options.framing.unit(), &self.window);
        words::suspicion(unit, window.first(), window.first_length(), self.patience.unanswered_so_far())
    }

    fn print_known(&mut self) {
        let known = self.window.resent().known();
        if self.options.exactly {
            known.iter().for_each(|(from, to)| print(&format!("{from}-{to}\n")));
        }
    }

    /// Lets go of the connection, and prints the ranges that are not printed yet.
    pub fn close(&mut self) {
        self.window.lost();
        self.print_known();
        if self.options.exactly {
            let last = self.window.resent().last().map_or(String::new(), |(from, to)| format!("{from}-{to}\n"));
            print(&format!("{last}total {}\n", self.window.resent().total()));
        }
        self.link = Link::Down;
        self.talk.end();
    }
}

fn watched_link(link: &Link) -> Option<Watched<'_>> {
    match link {
        Link::Connecting(attempt) => attempt.watched(),
        Link::Up(up) => Some(up.connection.watched(up.full)),
        Link::Down | Link::Resting(_) => None,
    }
}
