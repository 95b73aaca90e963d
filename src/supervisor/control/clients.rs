//! The commands that are connected to the control socket: at most [`MOST`], each with its deadlines. Nothing here waits.
//!
//! Promise: who says nothing, says nonsense, or does not read its reply costs one of the places for a while, and gives
//! it up to who comes when all are taken; who waits for an answer keeps it.
use crate::exit;
use crate::ipc::command::{self, Incoming, MAX_REQUEST, Reply, Request};
use crate::sys::AsFd;
use crate::sys::poll::{Interest, Poller};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Connected at once.
pub const MOST: usize = 16;
/// For the request to come.
const TO_ASK: Duration = Duration::from_secs(5);
/// For all of it.
const TO_LEAVE: Duration = Duration::from_secs(60);

/// Tokens of clients begin here; those of workers never get so far.
pub const FIRST_TOKEN: u64 = 1 << 62;

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That a generation serves; `None`: its reload has not begun.
    Reload(Option<u64>),
    /// That this request is done; the live segment when it was made.
    Rotate {
        /// The request's number.
        number: u64,
        /// The segment's number.
        from: Option<u64>,
    },
    /// That the workers have named their connections, since then.
    Connections(Instant),
}

#[derive(Debug)]
enum State {
    /// Its request has not come yet.
    Asking(Vec<u8>),
    Waiting(Wish),
    /// So much of the reply has been sent.
    Hearing(Vec<u8>, usize),
}

#[derive(Debug)]
struct Client {
    id: u64,
    stream: UnixStream,
    came: Instant,
    state: State,
}

impl Client {
    fn is_overdue(&self, now: Instant) -> bool {
        let patience = if matches!(self.state, State::Asking(_)) { TO_ASK } else { TO_LEAVE };
        now >= self.came + patience
    }

    /// Sends what there is room for; true if it is done with.
    fn send(&mut self) -> bool {
        let State::Hearing(reply, sent) = &mut self.state else { return false };
        while *sent < reply.len() {
            match self.stream.write(&reply[*sent..]) {
                Ok(count) if count > 0 => *sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                _ => return true,
            }
        }
        true
    }

    /// Takes in what came. `None`: it is gone, and has asked nothing.
    fn receive(&mut self) -> Option<Incoming> {
        let State::Asking(bytes) = &mut self.state else { return Some(Incoming::Unfinished) };
        let mut buffer = [0; MAX_REQUEST];
        loop {
            match command::read(bytes) {
                Incoming::Unfinished => {}
                done => return Some(done),
            }
            match self.stream.read(&mut buffer) {
                Ok(0) if bytes.is_empty() => return None,
                Ok(0) => return Some(Incoming::Malformed),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(Incoming::Unfinished),
                Err(_) => return None,
            }
        }
    }
}

/// All of them, in the order in which they came.
#[derive(Debug, Default)]
pub struct Clients {
    all: Vec<Client>,
    last_id: u64,
}

impl Clients {
    /// Takes in a connection. Where there is no place, who came first of those that wait for no answer leaves, or else
    /// the newcomer.
    pub fn admit(&mut self, stream: UnixStream, poller: &Poller, now: Instant) -> io::Result<Option<u64>> {
        stream.set_nonblocking(true)?;
        let busy = Reply::failed(exit::FAILED, command::BUSY).line();
        if self.all.len() >= MOST {
            let idle = self.all.iter().position(|client| !matches!(client.state, State::Waiting(_)));
            let Some(idle) = idle else {
                let _ = (&stream).write(busy.as_bytes());
                return Ok(None);
            };
            let out = self.all.remove(idle);
            if matches!(out.state, State::Asking(_)) {
                let _ = (&out.stream).write(busy.as_bytes());
            }
        }
        self.last_id += 1;
        poller.add(stream.as_fd(), FIRST_TOKEN + self.last_id, Interest::BothEdge)?;
        self.all.push(Client { id: self.last_id, stream, came: now, state: State::Asking(Vec::new()) });
        Ok(Some(self.last_id))
    }

    /// Takes in what a client sent; its request, once it is whole. Who is gone, or sends nonsense, leaves.
    pub fn hear(&mut self, id: u64, hangup: bool) -> Option<Request> {
        let index = self.all.iter().position(|client| client.id == id)?;
        let client = &mut self.all[index];
        match client.receive() {
            Some(Incoming::Request(request)) => return Some(request),
            Some(Incoming::Malformed) => self.reply(id, &Reply::malformed()),
            Some(Incoming::Unfinished) if !hangup && !client.send() => {}
            _ => drop(self.all.remove(index)),
        }
        None
    }

    /// Keeps it until there is an answer.
    pub fn wait(&mut self, id: u64, wish: Wish) {
        if let Some(client) = self.all.iter_mut().find(|client| client.id == id) {
            client.state = State::Waiting(wish);
        }
    }

    /// Answers; it leaves when it has heard all.
    pub fn reply(&mut self, id: u64, reply: &Reply) {
        let Some(index) = self.all.iter().position(|client| client.id == id) else { return };
        self.all[index].state = State::Hearing(reply.line().into_bytes(), 0);
        if self.all[index].send() {
            self.all.remove(index);
        }
    }

    /// Who waits for what, and since when.
    pub fn waiting(&self) -> Vec<(u64, Wish, Instant)> {
        let wish = |client: &Client| match client.state {
            State::Waiting(wish) => Some((client.id, wish, client.came)),
            _ => None,
        };
        self.all.iter().filter_map(wish).collect()
    }

    /// Who has taken too long leaves.
    pub fn expire(&mut self, now: Instant) {
        self.all.retain(|client| !client.is_overdue(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Room {
        clients: Clients,
        poller: Poller,
        now: Instant,
    }

    impl Room {
        fn new() -> Self {
            Self { clients: Clients::default(), poller: Poller::new(8).unwrap(), now: Instant::now() }
        }

        fn admit(&mut self) -> (Option<u64>, UnixStream) {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            (self.clients.admit(ours, &self.poller, self.now).unwrap(), theirs)
        }
    }

    fn heard(mut stream: &UnixStream) -> String {
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    }

    #[test]
    fn idle_ones_make_room_and_waiting_ones_stay() {
        let mut room = Room::new();
        let (first, first_stream) = room.admit();
        let (_second, second_stream) = room.admit();
        room.clients.wait(first.unwrap(), Wish::Reload(None));
        let others: Vec<_> = (0..MOST).map(|_| room.admit()).collect();
        assert_eq!(room.clients.all.len(), MOST);
        assert!(heard(&second_stream).contains("too many"));
        assert_eq!(heard(&first_stream), "");
        for (id, _) in &others {
            room.clients.wait(id.unwrap(), Wish::Reload(None));
        }
        let (refused, stream) = room.admit();
        assert_eq!(refused, None);
        assert!(heard(&stream).contains("too many"));
    }

    #[test]
    fn a_request_comes_in_pieces_and_nonsense_is_answered() {
        let mut room = Room::new();
        let (id, mut stream) = room.admit();
        let id = id.unwrap();
        stream.write_all(b"rot").unwrap();
        assert_eq!(room.clients.hear(id, false), None);
        stream.write_all(b"ate\n").unwrap();
        assert_eq!(room.clients.hear(id, false), Some(Request::Rotate));
        let (id, mut stream) = room.admit();
        stream.write_all(&[b'x'; 1000]).unwrap();
        assert_eq!(room.clients.hear(id.unwrap(), false), None);
        assert_eq!(heard(&stream), Reply::malformed().line());
        assert_eq!(room.clients.all.len(), 1);
    }

    #[test]
    fn who_does_not_read_or_ask_leaves_in_time() {
        let mut room = Room::new();
        let (id, stream) = room.admit();
        room.clients.reply(id.unwrap(), &Reply::failed(1, "x".repeat(1 << 22)));
        let (_asking, silent) = room.admit();
        assert_eq!(room.clients.all.len(), 2, "the reply does not fit");
        room.clients.expire(room.now + TO_ASK);
        assert_eq!(room.clients.all.len(), 1);
        assert_eq!(heard(&silent), "");
        room.clients.expire(room.now + TO_LEAVE);
        assert_eq!(room.clients.all.len(), 0);
        drop(stream);
    }
}
