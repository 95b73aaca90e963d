//! The door: accepting, evenly over the workers, within `limits.max-connections`, and never in a hot loop.
use crate::ipc::link::MAX_LINKS;
use crate::ipc::scoreboard::Admission;
use crate::sys::AsFd;
use crate::sys::poll::{Interest, Poller};
use crate::sys::socket::{Listener, Stream};
use std::io;
use std::net::SocketAddr;

/// Connections accepted from one listener in one turn; the rest is for the other workers, or the next turn.
const BATCH: usize = 4;
/// How long (milliseconds) to wait when the system has no descriptor or memory for another connection.
const PAUSE_EXHAUSTED: u64 = 100;
/// How long when the connections of all workers are at the limit: one that ends elsewhere wakes nobody here.
const PAUSE_LIMIT: u64 = 20;

/// The listeners of a worker.
#[derive(Debug)]
pub struct Door {
    listeners: Vec<Listener>,
    first_token: u64,
    limit: Option<u32>,
    seat: usize,
    /// `Some`: closed until then.
    paused: Option<u64>,
}

/// What one look brought.
#[derive(Debug)]
pub enum Arrival {
    /// A connection.
    Connection(Stream, SocketAddr),
    /// None is waiting, or enough were taken.
    Nothing,
    /// The limit of connections is reached.
    Full,
    /// The system cannot give us another one.
    Exhausted(io::Error),
}

impl Door {
    /// Watches `listeners`, which get the tokens from `first_token` on.
    pub fn open(
        poller: &Poller,
        listeners: Vec<Listener>,
        first_token: u64,
        limit: Option<u32>,
        seat: usize,
    ) -> io::Result<Self> {
        debug_assert!(seat < MAX_LINKS);
        let door = Self { listeners, first_token, limit, seat, paused: None };
        door.watch(poller)?;
        Ok(door)
    }

    fn watch(&self, poller: &Poller) -> io::Result<()> {
        for (token, listener) in (self.first_token..).zip(&self.listeners) {
            poller.add(listener, token, Interest::SharedInput)?;
        }
        Ok(())
    }

    fn unwatch(&self, poller: &Poller) -> io::Result<()> {
        self.listeners.iter().try_for_each(|listener| poller.remove(listener.as_fd()))
    }

    /// Takes the next connection of the listener `token`, counting it on the admission board first.
    pub fn next(&self, token: u64, admission: &Admission) -> Arrival {
        let index = usize::try_from(token - self.first_token).unwrap_or(usize::MAX);
        let Some(listener) = self.listeners.get(index).filter(|_| self.paused.is_none()) else {
            return Arrival::Nothing;
        };
        if !admission.enter(self.seat, self.limit) {
            return Arrival::Full;
        }
        let arrival = loop {
            match listener.accept() {
                Ok((stream, peer)) => return Arrival::Connection(stream, peer),
                Err(error) if crate::sys::would_block(&error) => break Arrival::Nothing,
                // Errors of the connection that was waiting, not ours (accept(2)): on to the next.
                Err(error) if is_peers_fault(&error) => {}
                Err(error) => break Arrival::Exhausted(error),
            }
        };
        admission.leave(self.seat);
        arrival
    }

    /// How many connections to take in a turn.
    pub fn batch(&self) -> usize {
        BATCH
    }

    /// Goes to the end of the kernel's list of waiters, so that the next connection wakes another worker: exclusive
    /// wake-ups always go to the first waiter, which would get all connections of a quiet day.
    pub fn step_back(&self, token: u64, poller: &Poller) -> io::Result<()> {
        let index = usize::try_from(token - self.first_token).unwrap_or(usize::MAX);
        let Some(listener) = self.listeners.get(index).filter(|_| self.paused.is_none()) else { return Ok(()) };
        poller.remove(listener.as_fd())?;
        poller.add(listener, token, Interest::SharedInput)
    }

    /// Stops for a moment after `Full` or `Exhausted`.
    pub fn pause(&mut self, poller: &Poller, now: u64, exhausted: bool) -> io::Result<()> {
        if self.paused.is_none() {
            self.unwatch(poller)?;
        }
        self.paused = Some(now + if exhausted { PAUSE_EXHAUSTED } else { PAUSE_LIMIT });
        Ok(())
    }

    /// When to call [`resume`](Self::resume) next.
    pub fn wakes_at(&self) -> Option<u64> {
        self.paused
    }

    /// Opens again if the pause is over and there is room.
    pub fn resume(&mut self, poller: &Poller, now: u64, admission: &Admission) -> io::Result<()> {
        if self.paused.is_none_or(|until| now < until) {
            return Ok(());
        }
        if self.limit.is_some_and(|limit| admission.total() >= u64::from(limit)) {
            self.paused = Some(now + PAUSE_LIMIT);
            return Ok(());
        }
        self.paused = None;
        self.watch(poller)
    }

    /// Closes for good; connections that are waiting belong to the other workers.
    ///
    /// The other processes hold the same sockets, so closing ours would not end the watching (epoll(7), question 6).
    pub fn shut(&mut self, poller: &Poller) -> io::Result<()> {
        if self.paused.take().is_none() {
            self.unwatch(poller)?;
        }
        self.listeners.clear();
        Ok(())
    }
}

fn is_peers_fault(error: &io::Error) -> bool {
    use nix::libc;
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
        )
    )
}
