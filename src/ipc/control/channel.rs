//! One end of a control channel.
use super::{MAX_PACKET, Message};
use crate::sys::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd, fdpass, would_block};
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;

/// What was received.
#[derive(Debug)]
pub enum Received<M> {
    /// A message.
    Message(M),
    /// Nothing more for now.
    Nothing,
    /// The other side is gone.
    End,
}

/// One end of a channel: sends `S`, receives `R`. Never blocks; what does not fit now is sent by a later [`flush`](Self::flush).
#[derive(Debug)]
pub struct Channel<S, R> {
    socket: OwnedFd,
    unsent: VecDeque<S>,
    types: PhantomData<fn() -> R>,
}

impl<S: Message, R: Message> Channel<S, R> {
    /// Takes one end of a pair made by [`fdpass::pair`].
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, unsent: VecDeque::new(), types: PhantomData }
    }

    /// Sends `message`, or keeps it until there is room. A dead receiver is not an error here: its end is received.
    pub fn send(&mut self, message: S) {
        self.unsent.push_back(message);
        self.flush();
    }

    /// Sends what did not fit before; true if all is sent. Each side calls it on every turn of its loop.
    pub fn flush(&mut self) -> bool {
        while let Some(message) = self.unsent.front() {
            let (bytes, fds) = message.encode();
            match fdpass::send(self.socket.as_fd(), &bytes, &fds) {
                Err(error) if !is_gone(&error) => return false,
                // Sent, or nobody is left to receive it.
                _ => drop(self.unsent.pop_front()),
            }
        }
        true
    }

    /// How many messages wait for room.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// The next message, if there is one.
    pub fn receive(&self) -> io::Result<Received<R>> {
        let mut buffer = [0; MAX_PACKET];
        match fdpass::receive(self.socket.as_fd(), &mut buffer) {
            Ok((0, _)) => Ok(Received::End),
            Ok((length, fds)) => match R::decode(&buffer[..length], fds) {
                Some(message) => Ok(Received::Message(message)),
                None => Err(io::Error::new(io::ErrorKind::InvalidData, "a malformed control message")),
            },
            Err(error) if would_block(&error) => Ok(Received::Nothing),
            Err(error) => Err(error),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

impl<S, R> AsFd for Channel<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S, R> AsRawFd for Channel<S, R> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
