//! The door: accepting, evenly over the workers, within `limits.max-connections`, and never in a hot loop.
//!
//! Promise: a system that cannot watch a listener now (epoll_ctl(2): `ENOMEM`, `ENOSPC`) closes the door for a moment, and
//! touches no connection.
use crate::ipc::admission::Admission;
use crate::ipc::link::MAX_LINKS;
use crate::ipc::seat::{Entrance, Speaks};
use crate::sys::AsFd;
use crate::sys::poll::{Interest, Poller};
use crate::sys::socket::{Peer, Stream};
use std::io;

/// How long (milliseconds) to wait when the system has no descriptor or memory for another connection.
const PAUSE_EXHAUSTED: u64 = 100;
/// How long when the connections of all workers are at the limit: one that ends elsewhere wakes nobody here.
const PAUSE_LIMIT: u64 = 20;

/// The listeners of a worker.
#[derive(Debug)]
pub struct Door {
    entrances: Vec<Entrance>,
    first_token: u64,
    limit: Option<u32>,
    seat: usize,
    /// `Some`: closed until then.
    paused: Option<u64>,
}

/// Who has been accepted.
#[derive(Debug)]
pub struct Newcomer {
    /// Its connection.
    pub stream: Stream,
    /// Where it comes from.
    pub peer: Peer,
    /// What is spoken with it.
    pub speaks: Speaks,
    /// At which of the listeners it came in.
    pub entrance: usize,
}

/// What one look brought.
#[derive(Debug)]
pub enum Arrival {
    /// A connection.
    Connection(Newcomer),
    /// None is waiting, or enough were taken.
    Nothing,
    /// The limit of connections is reached.
    Full,
    /// The system cannot give us another one.
    Exhausted(io::Error),
}

impl Door {
    /// Watches `entrances`, which get the tokens from `first_token` on. A door that cannot be watched begins with a pause,
    /// at the time 0.
    pub fn open(poller: &Poller, entrances: Vec<Entrance>, first_token: u64, limit: Option<u32>, seat: usize) -> Self {
        debug_assert!(seat < MAX_LINKS);
        let mut door = Self { entrances, first_token, limit, seat, paused: None };
        if door.watch(poller).is_err() {
            door.pause(poller, 0, true);
        }
        door
    }

    fn watch(&self, poller: &Poller) -> io::Result<()> {
        (self.first_token..)
            .zip(&self.entrances)
            .try_for_each(|(token, entrance)| poller.add(&entrance.listener, token, Interest::SharedInput))
    }

    /// Listeners that watching has failed for are passed over.
    fn unwatch(&self, poller: &Poller) {
        for entrance in &self.entrances {
            let _ = poller.remove(entrance.listener.as_fd());
        }
    }

    /// Takes the next connection of the listener `token`, counting it on the admission board first.
    pub fn next(&self, token: u64, admission: &Admission) -> Arrival {
        let index = usize::try_from(token - self.first_token).unwrap_or(usize::MAX);
        let Some(entrance) = self.entrances.get(index).filter(|_| self.paused.is_none()) else {
            return Arrival::Nothing;
        };
        if !admission.enter(self.seat, self.limit) {
            return Arrival::Full;
        }
        let arrival = loop {
            match entrance.listener.accept() {
                Ok((stream, peer)) => {
                    let newcomer = Newcomer { stream, peer, speaks: entrance.speaks, entrance: index };
                    return Arrival::Connection(newcomer);
                }
                Err(error) if crate::sys::would_block(&error) => break Arrival::Nothing,
                // Errors of the connection that was waiting, not ours (accept(2)): on to the next.
                Err(error) if is_peers_fault(&error) => {}
                Err(error) => break Arrival::Exhausted(error),
            }
        };
        admission.leave(self.seat);
        arrival
    }

    /// Goes to the end of the kernel's list of waiters, so that the next connection wakes another worker: exclusive
    /// wake-ups always go to the first waiter, which would get all connections of a quiet day.
    ///
    /// # Errors
    /// The listener cannot be watched: [`pause`](Self::pause).
    pub fn step_back(&self, token: u64, poller: &Poller) -> io::Result<()> {
        let index = usize::try_from(token - self.first_token).unwrap_or(usize::MAX);
        let Some(Entrance { listener, .. }) = self.entrances.get(index).filter(|_| self.paused.is_none()) else {
            return Ok(());
        };
        let _ = poller.remove(listener.as_fd());
        poller.add(listener, token, Interest::SharedInput)
    }

    /// Stops for a moment after `Full`, `Exhausted` or an error.
    pub fn pause(&mut self, poller: &Poller, now: u64, exhausted: bool) {
        if self.paused.is_none() {
            self.unwatch(poller);
        }
        self.paused = Some(now + if exhausted { PAUSE_EXHAUSTED } else { PAUSE_LIMIT });
    }

    /// When to call [`resume`](Self::resume) next.
    pub fn wakes_at(&self) -> Option<u64> {
        self.paused
    }

    /// Opens again if the pause is over and there is room. False: the connections of all workers are at the limit, and it
    /// pauses on.
    ///
    /// # Errors
    /// A listener cannot be watched: [`pause`](Self::pause).
    pub fn resume(&mut self, poller: &Poller, now: u64, admission: &Admission) -> io::Result<bool> {
        if self.paused.is_none_or(|until| now < until) {
            return Ok(true);
        }
        if self.limit.is_some_and(|limit| admission.total() >= u64::from(limit)) {
            self.paused = Some(now + PAUSE_LIMIT);
            return Ok(false);
        }
        self.paused = None;
        self.watch(poller).map(|()| true)
    }

    /// Closes for good; connections that are waiting belong to the other workers.
    ///
    /// The other processes hold the same sockets, so closing ours would not end the watching (epoll(7), question 6).
    pub fn shut(&mut self, poller: &Poller) {
        if self.paused.take().is_none() {
            self.unwatch(poller);
        }
        self.entrances.clear();
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
    use crate::sys::socket::Listener;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    const TOKEN: u64 = 16;

    /// Two listeners; the address of the second.
    fn listeners() -> (Vec<Entrance>, SocketAddr) {
        let two = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        two.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
        let address = two[1].local_addr().unwrap();
        (two.map(|listener| entrance(OwnedFd::from(listener))).into(), address)
    }

    fn entrance(fd: OwnedFd) -> Entrance {
        Entrance { listener: Listener::from_fd(fd), speaks: Speaks::Plain, place: String::new() }
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
        poller.add(&two[1].listener, 99, Interest::Input).unwrap();
        let mut door = Door::open(&poller, two, TOKEN, None, 0);
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
        let mut door = Door::open(&poller, two, TOKEN, None, 0);
        door.pause(&poller, 0, true);
        poller.add(&door.entrances[1].listener, 99, Interest::Input).unwrap();
        assert!(door.resume(&poller, 100, &admission).is_err());
        door.pause(&poller, 100, true);
        assert_eq!(door.wakes_at(), Some(100 + PAUSE_EXHAUSTED));
        door.resume(&poller, 200, &admission).unwrap();
        assert!(serves(&door, &mut poller, address, &admission));
    }

    #[test]
    fn a_door_at_the_limit_says_so_until_there_is_room() {
        let (mut poller, admission) = (Poller::new(8).unwrap(), admission());
        let (two, address) = listeners();
        let mut door = Door::open(&poller, two, TOKEN, Some(1), 0);
        assert!(admission.enter(0, Some(1)));
        door.pause(&poller, 0, false);
        for now in [20, 40, 60] {
            assert!(!door.resume(&poller, now, &admission).unwrap());
        }
        admission.leave(0);
        assert!(door.resume(&poller, 80, &admission).unwrap());
        assert!(serves(&door, &mut poller, address, &admission));
    }

    #[test]
    fn a_failing_step_back_leaves_a_door_that_can_be_paused_and_shut() {
        let (mut poller, admission) = (Poller::new(8).unwrap(), admission());
        let (two, address) = listeners();
        let mut door = Door::open(&poller, two, TOKEN, None, 0);
        // A file cannot be watched (EPERM).
        let file = entrance(OwnedFd::from(tempfile::tempfile().unwrap()));
        let first = std::mem::replace(&mut door.entrances[0], file);
        poller.remove(first.listener.as_fd()).unwrap();
        assert!(door.step_back(TOKEN, &poller).is_err());
        door.pause(&poller, 0, true);
        assert_eq!(door.wakes_at(), Some(PAUSE_EXHAUSTED));
        door.entrances[0] = first;
        door.resume(&poller, 100, &admission).unwrap();
        assert!(serves(&door, &mut poller, address, &admission));
        // One that is not watched, whyever, is watched again.
        poller.remove(door.entrances[1].listener.as_fd()).unwrap();
        door.step_back(TOKEN + 1, &poller).unwrap();
        assert!(serves(&door, &mut poller, address, &admission));
        poller.remove(door.entrances[1].listener.as_fd()).unwrap();
        door.shut(&poller);
        assert_eq!(door.wakes_at(), None);
    }
}
