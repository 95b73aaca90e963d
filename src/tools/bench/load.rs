//! One thread's load: an epoll loop over its connections, through the stages warm-up, measuring, awaiting the last echoes, closing.
//!
//! The clock is read once for each turn of a connection, however many messages that has; nothing is allocated for a message.
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::connection::{Connection, Fault, Next, READ};
use super::message::Block;
use crate::sys::poll::{Event, Interest, Poller};
use crate::sys::process::thread_cpu;

/// Connections that are looked at in one turn of the loop.
const EVENTS: usize = 64;
/// How soon a wish to end is seen.
const LOOK: Duration = Duration::from_millis(50);
/// How often silent connections are looked for.
const ROUND: u64 = 250_000_000;
/// How long a server may take to close its side; that it does is not asked for.
const CLOSING: Duration = Duration::from_secs(2);
/// An hour, in nanoseconds: longer times count as that.
const LONGEST: u64 = 3_600_000_000_000;

/// What the threads are told, and tell.
#[derive(Debug, Default)]
pub struct Shared {
    /// Messages echoed so far, the warm-up included.
    pub echoed: AtomicU64,
    /// 1: end in order; 2: at once.
    pub stop: AtomicU8,
}

/// When to do what; all threads have the same.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What times are counted from.
    pub start: Instant,
    /// How long to warm up.
    pub warm_up: Duration,
    /// How long to measure; `None`: until each connection has had its share.
    pub duration: Option<Duration>,
    /// How long nothing may come.
    pub timeout: Duration,
    /// Latencies are kept connection by connection, too.
    pub per_connection: bool,
}

/// What a thread measured.
#[derive(Debug)]
pub struct Measured {
    /// Messages whose echo was read in that time.
    pub messages: u64,
    /// From the end of the warm-up on.
    pub span: Duration,
    /// In nanoseconds.
    pub latency: Histogram<u64>,
    /// The same of each connection; empty if that was not asked for.
    pub each: Vec<Histogram<u64>>,
    /// The thread's own.
    pub cpu: Duration,
}

/// What is left of a connection for the check of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Messages of which something was sent.
    pub begun: u64,
    /// Messages whose echo was read.
    pub echoed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    WarmUp,
    Measuring,
    Awaiting,
    Closing(Instant),
    Done,
}

/// A thread's part.
pub struct Load<'a> {
    connections: Vec<Connection>,
    /// What each sends once measuring has begun; `None`: no limit.
    shares: Vec<Option<u64>>,
    block: Block,
    plan: Plan,
    shared: &'a Shared,
    poller: Poller,
    input: Vec<u8>,
    /// Connections that have more to do without any news.
    ready: Vec<usize>,
    stage: Stage,
    measured: Measured,
    began: u64,
    cpu: Duration,
    /// Connections that have not reached the end of the stage.
    waiting: usize,
    reported: u64,
    round: u64,
}

impl<'a> Load<'a> {
    /// Takes over connections.
    ///
    /// # Errors
    /// What cannot be had, for the user.
    pub fn new(
        connections: Vec<Connection>,
        shares: Vec<Option<u64>>,
        block: Block,
        plan: Plan,
        shared: &'a Shared,
    ) -> Result<Self, String> {
        let poller = Poller::new(EVENTS).map_err(|error| format!("cannot make an epoll instance: {error}"))?;
        for (at, connection) in connections.iter().enumerate() {
            let added = poller.add(connection.stream(), at as u64, Interest::BothEdge);
            added.map_err(|error| format!("cannot watch a connection: {error}"))?;
        }
        let latency = Histogram::new_with_bounds(1, LONGEST, 3).map_err(|error| error.to_string())?;
        let own = Histogram::new_with_bounds(1, LONGEST, 2).map_err(|error| error.to_string())?;
        let each = vec![own; if plan.per_connection { connections.len() } else { 0 }];
        let measured = Measured { messages: 0, span: Duration::ZERO, latency, each, cpu: Duration::ZERO };
        Ok(Self {
            connections,
            shares,
            block,
            plan,
            shared,
            poller,
            input: Vec::with_capacity(READ),
            ready: Vec::new(),
            stage: Stage::WarmUp,
            measured,
            began: 0,
            cpu: Duration::ZERO,
            waiting: 0,
            reported: 0,
            round: 0,
        })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// What went wrong, for the user.
    pub fn run(mut self) -> Result<(Measured, Vec<Account>), String> {
        let (mut events, mut ready) = (Vec::with_capacity(EVENTS), Vec::new());
        self.ready.extend(0..self.connections.len());
        self.advance()?;
        while self.stage != Stage::Done {
            let patience = if self.ready.is_empty() { self.patience() } else { Duration::ZERO };
            self.poller
                .wait(Some(patience), &mut events)
                .map_err(|error| format!("cannot wait for the connections: {error}"))?;
            for Event { token, ending, .. } in events.drain(..) {
                // The token is a place in `connections`.
                self.turn(token as usize, ending)?;
            }
            std::mem::swap(&mut ready, &mut self.ready);
            for at in ready.drain(..) {
                self.turn(at, true)?;
            }
            self.advance()?;
        }
        let account = |one: &Connection| Account { begun: one.begun(), echoed: one.echoed() };
        Ok((self.measured, self.connections.iter().map(account).collect()))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.plan.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long to wait for news.
    fn patience(&self) -> Duration {
        let passed = self.plan.start.elapsed();
        let until = match (self.stage, self.plan.duration) {
            (Stage::WarmUp, _) => self.plan.warm_up,
            (Stage::Measuring, Some(duration)) => Duration::from_nanos(self.began) + duration,
            _ => return LOOK,
        };
        until.saturating_sub(passed).min(LOOK)
    }

    /// Reads, compares, and sends what that makes room for.
    fn turn(&mut self, at: usize, ending: bool) -> Result<(), String> {
        let connection = &mut self.connections[at];
        if connection.is_closed {
            return Ok(());
        }
        let is_closing = matches!(self.stage, Stage::Closing(_));
        let (before, heard, was_done) = (connection.echoed(), connection.heard(), connection.is_done());
        let mut next = match connection.receive(&mut self.input, &mut self.block, ending) {
            Ok(next) => next,
            // All it had to bring is here.
            Err(Fault::Broken(_)) if is_closing => {
                connection.is_closed = true;
                Next::Closed
            }
            Err(fault) => return Err(described(connection, &fault)),
        };
        let now = u64::try_from(self.plan.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if next == Next::Closed {
            self.waiting = self.waiting.saturating_sub(usize::from(is_closing));
            return Ok(());
        }
        if connection.heard() > heard {
            connection.progress = now;
        }
        self.reported += connection.echoed() - before;
        let (measured, is_measuring) = (&mut self.measured, self.stage == Stage::Measuring);
        connection.echoes(before, now, |echoed| {
            if is_measuring {
                measured.messages += echoed.count;
                measured.latency.saturating_record_n(echoed.took, echoed.count);
                if let Some(own) = measured.each.get_mut(at) {
                    own.saturating_record_n(echoed.took, echoed.count);
                }
            }
        });
        if !is_closing {
            let sent = connection.send(&mut self.block, now).map_err(|fault| described(connection, &fault))?;
            if sent == Next::More {
                next = Next::More;
            }
            if connection.is_done() && !was_done {
                self.waiting = self.waiting.saturating_sub(1);
            }
        }
        if next == Next::More {
            self.ready.push(at);
        }
        Ok(())
    }

    /// Goes on to the next stage when it is time.
    fn advance(&mut self) -> Result<(), String> {
        let now = self.now();
        self.shared.echoed.fetch_add(std::mem::take(&mut self.reported), Ordering::Relaxed);
        let stop = self.shared.stop.load(Ordering::Relaxed);
        let passed = Duration::from_nanos(now);
        if stop > 1 {
            self.end_measuring(now);
            self.stage = Stage::Done;
        }
        if self.stage == Stage::WarmUp && (passed >= self.plan.warm_up || stop > 0) {
            self.begin_measuring(now);
        }
        if self.stage == Stage::Measuring {
            let over = match self.plan.duration {
                Some(duration) => passed >= Duration::from_nanos(self.began) + duration,
                None => self.waiting == 0,
            };
            if over || stop > 0 {
                self.end_measuring(now);
            }
        }
        if self.stage == Stage::Awaiting && self.waiting == 0 {
            self.connections.iter_mut().for_each(Connection::finish);
            self.waiting = self.connections.iter().filter(|connection| !connection.is_closed).count();
            self.stage = Stage::Closing(Instant::now() + CLOSING.min(self.plan.timeout));
        }
        match self.stage {
            Stage::Closing(until) if self.waiting == 0 || Instant::now() >= until => self.stage = Stage::Done,
            Stage::Closing(_) | Stage::Done => {}
            _ => self.look_for_silence(now)?,
        }
        Ok(())
    }

    fn begin_measuring(&mut self, now: u64) {
        self.stage = Stage::Measuring;
        self.began = now;
        self.cpu = thread_cpu().unwrap_or_default();
        if self.plan.duration.is_none() {
            let shares = std::mem::take(&mut self.shares);
            self.connections.iter_mut().for_each(|connection| connection.unmeasured = connection.begun());
            self.limit(|at| shares[at].unwrap_or(0));
        }
    }

    fn end_measuring(&mut self, now: u64) {
        if self.stage == Stage::Measuring {
            self.measured.span = Duration::from_nanos(now - self.began);
            self.measured.cpu = thread_cpu().unwrap_or_default().saturating_sub(self.cpu);
            self.limit(|_| 0);
            self.stage = Stage::Awaiting;
        }
    }

    /// So many messages more on each connection; then all of them are to be awaited.
    fn limit(&mut self, more: impl Fn(usize) -> u64) {
        for (at, connection) in self.connections.iter_mut().enumerate() {
            connection.limit(more(at));
        }
        self.waiting = self.connections.iter().filter(|connection| !connection.is_done()).count();
        // What was short of its window may go on without any news.
        self.ready.clear();
        self.ready.extend(0..self.connections.len());
    }

    fn look_for_silence(&mut self, now: u64) -> Result<(), String> {
        if now < self.round {
            return Ok(());
        }
        self.round = now + ROUND;
        let timeout = u64::try_from(self.plan.timeout.as_nanos()).unwrap_or(u64::MAX);
        let silent = |one: &&Connection| one.is_due() && now.saturating_sub(one.progress) > timeout;
        match self.connections.iter().find(silent) {
            Some(one) => {
                let text = described(one, &Fault::Silent(one.due()));
                Err(format!("{text}, {} s after the last one", self.plan.timeout.as_secs_f64()))
            }
            None => Ok(()),
        }
    }
}

/// A fault with its connection and where in its stream it happened.
fn described(connection: &Connection, fault: &Fault) -> String {
    let (number, local) = (connection.number + 1, connection.stream().local());
    let local = if local.is_empty() { local } else { format!(" ({local})") };
    format!("connection {number}{local}, byte {} of its echoes: {fault}", connection.heard())
}
