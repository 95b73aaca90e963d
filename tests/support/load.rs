//! Load in the background: many clients driven by one thread while the test does harm.
use super::DEADLINE;
use super::client::{Client, End, History, Messages};
use super::drive;
use super::framing::Framing;
use super::wait_until;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a broken connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBreak {
    /// The test has failed.
    Fail,
    /// Its worker was killed: a new connection with new messages.
    Reconnect,
    /// The daemon stops: that was it.
    Leave,
}

/// The shape of the load.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub connections: usize,
    pub window: usize,
    pub framing: Framing,
    pub smallest: usize,
    pub largest: usize,
    pub on_break: OnBreak,
    /// Half-close after so many messages, await EOF, connect anew.
    pub messages_a_connection: Option<usize>,
    /// How long it rests between two turns: a bound of its rate.
    pub rest: Duration,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            connections: 8,
            window: 16,
            framing: Framing::Line,
            smallest: 16,
            largest: 300,
            on_break: OnBreak::Fail,
            messages_a_connection: None,
            rest: Duration::ZERO,
        }
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    failed: AtomicBool,
    echoed: AtomicU64,
    broken: AtomicU64,
    refused: AtomicU64,
    /// In microseconds.
    longest_wait: AtomicU64,
}

/// Runs until [`Load::finish`].
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Vec<History>, String>>>,
}

impl Load {
    pub fn start(address: SocketAddr, shape: Shape) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let result =
                Fleet { address, shape, shared: &theirs, clients: Vec::new(), past: Vec::new(), past_echoed: 0 }.run();
            theirs.failed.store(result.is_err(), Ordering::SeqCst);
            result
        });
        let load = Self { shared, thread: Some(thread) };
        load.progress(shape.connections as u64);
        load
    }

    /// Messages echoed so far.
    pub fn echoed(&self) -> u64 {
        self.shared.echoed.load(Ordering::SeqCst)
    }

    /// Connections that the daemon has ended so far, other than by answering a half-close.
    pub fn broken(&self) -> u64 {
        self.shared.broken.load(Ordering::SeqCst)
    }

    /// The longest that any connection has waited for its next echo, among the waits that have ended since this was last asked.
    pub fn longest_wait(&self) -> Duration {
        Duration::from_micros(self.shared.longest_wait.swap(0, Ordering::SeqCst))
    }

    /// Connections that could not be made.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// Waits until `more` messages are echoed; how long that took. Ends early if the load has failed: `finish` tells why.
    pub fn progress(&self, more: u64) -> Duration {
        let (begin, goal) = (Instant::now(), self.echoed() + more);
        wait_until(DEADLINE, "echoes go on", || self.echoed() >= goal || self.shared.failed.load(Ordering::SeqCst));
        begin.elapsed()
    }

    /// Sends no more, waits for every echo that is due, half-closes and expects EOF. Nobody may be left waiting.
    pub fn finish(mut self) -> Vec<History> {
        self.shared.stop.store(true, Ordering::SeqCst);
        let result = self.thread.take().expect("taken only here").join().expect("the load does not panic");
        result.unwrap_or_else(|broken| panic!("{broken}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

struct Fleet<'a> {
    address: SocketAddr,
    shape: Shape,
    shared: &'a Shared,
    clients: Vec<Client>,
    past: Vec<History>,
    past_echoed: usize,
}

impl Fleet<'_> {
    fn run(mut self) -> Result<Vec<History>, String> {
        let mut deadline = None;
        loop {
            let stop = self.shared.stop.load(Ordering::SeqCst);
            if stop && deadline.is_none() {
                self.clients.iter_mut().for_each(|client| client.finish(true));
                deadline = Some(Instant::now() + DEADLINE);
            }
            self.replace(stop)?;
            if stop && self.clients.is_empty() {
                return Ok(self.past);
            }
            if !self.shape.rest.is_zero() {
                std::thread::sleep(self.shape.rest);
            }
            drive::turn(&mut self.clients)?;
            let waited = self.clients.iter_mut().map(Client::longest_wait).max().unwrap_or_default();
            self.shared.longest_wait.fetch_max(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
            let alive: usize = self.clients.iter().map(|client| client.history.echoed).sum();
            self.shared.echoed.store((self.past_echoed + alive) as u64, Ordering::SeqCst);
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                let waiting: Vec<String> = self.clients.iter().take(10).map(Client::waiting).collect();
                return Err(format!("{} connections are left waiting:\n{}", self.clients.len(), waiting.join("\n")));
            }
        }
    }

    /// Takes out those that have ended, and puts new ones in their place.
    fn replace(&mut self, stop: bool) -> Result<(), String> {
        let mut index = 0;
        while index < self.clients.len() {
            if !self.clients[index].ended() {
                index += 1;
                continue;
            }
            let client = self.clients.swap_remove(index);
            self.judge(&client)?;
            self.past_echoed += client.history.echoed;
            self.past.push(client.leave());
        }
        let leave = self.shape.on_break == OnBreak::Leave && self.shared.broken.load(Ordering::SeqCst) > 0;
        while !stop && !leave && self.clients.len() < self.shape.connections {
            let Shape { framing, smallest, largest, window, .. } = self.shape;
            let messages = Messages::generated(framing, smallest, largest);
            let client = match Client::connect(self.address, framing, messages) {
                Ok(client) => client.window(window),
                Err(_) if self.shape.on_break != OnBreak::Fail => {
                    self.shared.refused.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                Err(error) => return Err(format!("connect to {}: {error}", self.address)),
            };
            self.clients.push(match self.shape.messages_a_connection {
                Some(quota) => client.quota(quota).half_close(),
                None => client,
            });
        }
        Ok(())
    }

    /// An end that was asked for is answered in full; another one is a break.
    fn judge(&self, client: &Client) -> Result<(), String> {
        let history = &client.history;
        if client.asked_for_eof() && history.end == Some(End::Eof) && history.echoed_bytes == history.sent_bytes {
            return Ok(());
        }
        self.shared.broken.fetch_add(1, Ordering::SeqCst);
        match self.shape.on_break {
            OnBreak::Fail => Err(format!("connection lost: {}", client.waiting())),
            OnBreak::Reconnect | OnBreak::Leave => Ok(()),
        }
    }
}
