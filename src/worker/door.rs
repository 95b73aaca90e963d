//! The door: accepting, evenly over the workers, within `limits.max-connections`, and never in a hot loop.
//!
//! Promise: a system that cannot watch a listener now (epoll_ctl(2): `ENOMEM`, `ENOSPC`) closes the door for a moment, and
//! touches no connection.
use crate::ipc::link::MAX_LINKS;
use crate::ipc::scoreboard::Admission;
use crate::sys::AsFd;
use crate::sys::poll::{Interest, Poller};
use crate::sys::socket::{Listener, Peer, Stream};
use std::io;

/// How long (milliseconds) to wait when the system has no descriptor or memory for another connection.
const PAUSE_EXHAUSTED: u64 = 100;
/// How long when the connections of all workers are at the limit: one that ends elsewhere wakes nobody here.
const PAUSE_LIMIT: u64 = 20;
/// How long when this worker is ahead of the others: they get the next ones, unless they do not come for them.
const PAUSE_AHEAD: u64 = 1;

/// Why the door is closed for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The system has no descriptor or memory for another connection, or cannot watch a listener.
    Exhausted,
    /// The connections of all workers are at the limit.
    Full,
    /// This worker has more connections than its share.
    Ahead,
}

/// The listeners of a worker.
#[derive(Debug)]
pub struct Door {
    listeners: Vec<Listener>,
    first_token: u64,
    limit: Option<u32>,
    seat: usize,
    /// Of how many workers.
    workers: u64,
    /// `Some`: closed until then.
    paused: Option<(Pause, u64)>,
}

/// What one look brought.
#[derive(Debug)]
pub enum Arrival {
    /// A connection.
    Connection(Stream, Peer),
    /// None is waiting, or enough were taken.
    Nothing,
    /// The limit of connections is reached.
    Full,
    /// The system cannot give us another one.
    Exhausted(io::Error),
}

impl Door {
    /// Watches `listeners`, which get the tokens from `first_token` on. A door that cannot be watched begins with a pause,
    /// at the time 0.
    pub fn open(
        poller: &Poller,
        listeners: Vec<Listener>,
        first_token: u64,
        limit: Option<u32>,
        (seat, workers): (usize, usize),
    ) -> Self {
        debug_assert!(seat < MAX_LINKS);
        let mut door = Self { listeners, first_token, limit, seat, workers: workers as u64, paused: None };
        if door.watch(poller).is_err() {
            door.pause(poller, 0, Pause::Exhausted);
        }
        door
    }

    fn watch(&self, poller: &Poller) -> io::Result<()> {
        (self.first_token..)
            .zip(&self.listeners)
            .try_for_each(|(token, listener)| poller.add(listener, token, Interest::SharedInput))
    }

    /// Listeners that watching has failed for are passed over.
    fn unwatch(&self, poller: &Poller) {
        for listener in &self.listeners {
            let _ = poller.remove(listener.as_fd());
        }
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

    /// Lets the others have the next connection: exclusive wake-ups go to the first of the kernel's list of waiters, which
    /// would get all connections of a quiet day. So the worker goes to its end, or, if it is ahead of the others, which may
    /// be awake and late, steps aside for a moment.
    ///
    /// # Errors
    /// The listener cannot be watched: [`pause`](Self::pause).
    pub fn step_back(&mut self, token: u64, poller: &Poller, now: u64, admission: &Admission) -> io::Result<()> {
        if self.is_ahead(admission) {
            self.pause(poller, now, Pause::Ahead);
            return Ok(());
        }
        let index = usize::try_from(token - self.first_token).unwrap_or(usize::MAX);
        let Some(listener) = self.listeners.get(index).filter(|_| self.paused.is_none()) else { return Ok(()) };
        let _ = poller.remove(listener.as_fd());
        poller.add(listener, token, Interest::SharedInput)
    }

    /// Of few connections each counts; among many, a small lead is no reason to let one wait.
    fn is_ahead(&self, admission: &Admission) -> bool {
        let total = admission.total();
        admission.of(self.seat) * self.workers > total + total / 8
    }

    /// Stops for a moment.
    pub fn pause(&mut self, poller: &Poller, now: u64, why: Pause) {
        if self.paused.is_none() {
            self.unwatch(poller);
        }
        let moment = match why {
            Pause::Exhausted => PAUSE_EXHAUSTED,
            Pause::Full => PAUSE_LIMIT,
            Pause::Ahead => PAUSE_AHEAD,
        };
        self.paused = Some((why, now + moment));
    }

    /// When to call [`resume`](Self::resume) next.
    pub fn wakes_at(&self) -> Option<u64> {
        self.paused.map(|(_, until)| until)
    }

    /// Opens again if the pause is over and there is room.
    ///
    /// # Errors
    /// A listener cannot be watched: [`pause`](Self::pause).
    pub fn resume(&mut self, poller: &Poller, now: u64, admission: &Admission) -> io::Result<()> {
        let Some((why, until)) = self.paused else { return Ok(()) };
        if now < until && (why != Pause::Ahead || self.is_ahead(admission)) {
            return Ok(());
        }
        if self.limit.is_some_and(|limit| admission.total() >= u64::from(limit)) {
            self.paused = Some((Pause::Full, now + PAUSE_LIMIT));
            return Ok(());
        }
        self.paused = None;
        self.watch(poller)
    }

    /// Closes for good; connections that are waiting belong to the other workers.
    ///
    /// The other processes hold the same sockets, so closing ours would not end the watching (epoll(7), question 6).
    pub fn shut(&mut self, poller: &Poller) {
        if self.paused.take().is_none() {
            self.unwatch(poller);
        }
        self.listeners.clear();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::OwnedFd;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    const TOKEN: u64 = 16;

    /// Two listeners; the address of the second.
    fn listeners() -> (Vec<Listener>, SocketAddr) {
        let two = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        two.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
        let address = two[1].local_addr().unwrap();
        (two.map(|listener| Listener::from_fd(OwnedFd::from(listener))).into(), address)
    }

    fn admission() -> Admission {
        Admission::map(Admission::memory().unwrap().as_fd()).unwrap()
    }

    /// Whether the door takes a connection to `address` now.
    fn serves(door: &Door, poller: &mut Poller, address: SocketAddr, admission: &Admission) -> bool {
        let _client = TcpStream::connect(address).unwrap();
        let mut events = Vec::new();
        poller.wait(Some(std::time::Duration::from_millis(20)), &mut events).unwrap();
        events.iter().any(|event| matches!(door.next(event.token, admission), Arrival::Connection(..)))
    }

    #[test]
    fn a_listener_that_cannot_be_watched_is_tried_again() {
        let (mut poller, admission) = (Poller::new(8).unwrap(), admission());
        let (two, address) = listeners();
        // epoll_ctl(2) refuses the same descriptor twice: the second listener cannot be added now.
        poller.add(&two[1], 99, Interest::Input).unwrap();
        let mut door = Door::open(&poller, two, TOKEN, None, (0, 1));
        assert_eq!(door.wakes_at(), Some(PAUSE_EXHAUSTED));
        door.resume(&poller, PAUSE_EXHAUSTED - 1, &admission).unwrap();
        assert!(!serves(&door, &mut poller, address, &admission));
        // The pause has taken both out, also what this test has added.
        door.resume(&poller, PAUSE_EXHAUSTED, &admission).unwrap();
        assert_eq!(door.wakes_at(), None);
        assert!(serves(&door, &mut poller, address, &admission));
    }

    #[test]
    fn a_failing_resume_leaves_a_door_that_can_be_paused_again() {
        let (mut poller, admission) = (Poller::new(8).unwrap(), admission());
        let (two, address) = listeners();
        let mut door = Door::open(&poller, two, TOKEN, None, (0, 1));
        door.pause(&poller, 0, Pause::Exhausted);
        poller.add(&door.listeners[1], 99, Interest::Input).unwrap();
        assert!(door.resume(&poller, 100, &admission).is_err());
        door.pause(&poller, 100, Pause::Exhausted);
        assert_eq!(door.wakes_at(), Some(100 + PAUSE_EXHAUSTED));
        door.resume(&poller, 200, &admission).unwrap();
        assert!(serves(&door, &mut poller, address, &admission));
    }

    #[test]
    fn a_failing_step_back_leaves_a_door_that_can_be_paused_and_shut() {
        let (mut poller, admission) = (Poller::new(8).unwrap(), admission());
        let (two, address) = listeners();
        let mut door = Door::open(&poller, two, TOKEN, None, (0, 1));
        // A file cannot be watched (EPERM).
        let file = Listener::from_fd(OwnedFd::from(tempfile::tempfile().unwrap()));
        let listener = std::mem::replace(&mut door.listeners[0], file);
        poller.remove(listener.as_fd()).unwrap();
        assert!(door.step_back(TOKEN, &poller, 0, &admission).is_err());
        door.pause(&poller, 0, Pause::Exhausted);
        assert_eq!(door.wakes_at(), Some(PAUSE_EXHAUSTED));
        door.listeners[0] = listener;
        door.resume(&poller, 100, &admission).unwrap();
        assert!(serves(&door, &mut poller, address, &admission));
        // One that is not watched, whyever, is watched again.
        poller.remove(door.listeners[1].as_fd()).unwrap();
        door.step_back(TOKEN + 1, &poller, 0, &admission).unwrap();
        assert!(serves(&door, &mut poller, address, &admission));
        poller.remove(door.listeners[1].as_fd()).unwrap();
        door.shut(&poller);
        assert_eq!(door.wakes_at(), None);
    }

    #[test]
    fn who_is_ahead_steps_aside_until_the_others_have_come_or_a_moment_has_passed() {
        let (mut poller, admission) = (Poller::new(8).unwrap(), admission());
        let (two, address) = listeners();
        let mut door = Door::open(&poller, two, TOKEN, None, (0, 2));
        let step_back = |door: &mut Door, poller: &Poller, now| {
            assert!(admission.enter(0, None));
            door.step_back(TOKEN, poller, now, &admission).unwrap();
            door.wakes_at()
        };
        assert!(admission.enter(1, None));
        assert_eq!(step_back(&mut door, &poller, 5), None);
        assert_eq!(step_back(&mut door, &poller, 5), Some(6));
        assert!(!serves(&door, &mut poller, address, &admission));
        assert!(admission.enter(1, None));
        door.resume(&poller, 5, &admission).unwrap();
        assert_eq!(door.wakes_at(), None);
        assert!(serves(&door, &mut poller, address, &admission));
        assert_eq!(step_back(&mut door, &poller, 7), Some(8));
        door.resume(&poller, 8, &admission).unwrap();
        assert_eq!(door.wakes_at(), None);
    }
}
