//! `epoll(7)`: which descriptors have news, and when to stop waiting.
use super::{AsFd, BorrowedFd};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io;
use std::time::Duration;

/// What to be told of a descriptor, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Input, level-triggered.
    Input,
    /// Input of a listener shared with other processes: only some of the waiting processes are woken (`EPOLLEXCLUSIVE`).
    SharedInput,
    /// Input, edge-triggered: for a pipe whose bytes stay in it after they were seen.
    InputEdge,
    /// Room for output, edge-triggered.
    OutputEdge,
    /// Both directions, edge-triggered.
    BothEdge,
}

/// News of one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The token given at `add`.
    pub token: u64,
    /// Input, an end of input or an error can be read.
    pub input: bool,
    /// There is room for output.
    pub output: bool,
    /// A read that brings less than was asked for does not mean that the input is empty: the other side has sent its last
    /// byte, or worse, or urgent data, at which a read stops (tcp(7)).
    pub ending: bool,
    /// The other side is gone for good: the last writer of a pipe, both directions of a socket, or an error.
    pub hangup: bool,
}

/// Whether `fd` has room for output now (poll(2), `POLLOUT`): a pipe then takes at least `PIPE_BUF` bytes at once
/// (pipe(7)), if nobody else writes to it before.
pub fn has_room(fd: impl AsFd) -> bool {
    let mut polled = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    poll(&mut polled, PollTimeout::ZERO).is_ok()
        && polled[0].revents().is_some_and(|news| news.contains(PollFlags::POLLOUT))
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Poller {
    /// Makes an instance that takes at most `capacity` events at a time.
    pub fn new(capacity: usize) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, events: vec![EpollEvent::empty(); capacity] })
    }

    /// Begins to watch `fd`.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let flags = match interest {
            Interest::Input => EpollFlags::EPOLLIN,
            Interest::SharedInput => EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE,
            Interest::InputEdge => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
            Interest::OutputEdge => EpollFlags::EPOLLOUT | EpollFlags::EPOLLET,
            Interest::BothEdge => {
                EpollFlags::EPOLLIN
                    | EpollFlags::EPOLLPRI
                    | EpollFlags::EPOLLOUT
                    | EpollFlags::EPOLLRDHUP
                    | EpollFlags::EPOLLET
            }
        };
        Ok(self.epoll.add(fd, EpollEvent::new(flags, token))?)
    }

    /// Stops to watch `fd`. Needed only for a descriptor that stays open: closing the last copy does it too.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// Waits for news, at most for `timeout` (rounded up to a millisecond; `None`: for ever), and puts them into `out`.
    pub fn wait(&mut self, timeout: Option<Duration>, out: &mut Vec<Event>) -> io::Result<()> {
        out.clear();
        let timeout = match timeout {
            None => EpollTimeout::NONE,
            Some(limit) => {
                let millis = limit.as_micros().div_ceil(1000).min(60_000);
                EpollTimeout::from(u16::try_from(millis).unwrap_or(60_000))
            }
        };
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        out.extend(self.events[..count].iter().map(|event| {
            let flags = event.events();
            let hangup = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            let ending = hangup || flags.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLPRI);
            Event {
                token: event.data(),
                input: ending || flags.contains(EpollFlags::EPOLLIN),
                output: hangup || flags.contains(EpollFlags::EPOLLOUT),
                ending,
                hangup,
            }
        }));
        Ok(())
    }
}
