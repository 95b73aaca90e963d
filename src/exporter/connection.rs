//! One connection: reads requests, sends responses, ends in order. Knows nothing of what is in them.
//!
//! Promise: it never waits; it holds at most one head and one response; each of its states has a deadline. Once it ends,
//! what still comes in is read and dropped for a while, so that the last response is not destroyed by a reset.
use super::http::{self, MAX_HEAD, Request, Response, Status, Step, Then};
use crate::sys::socket::Stream;
use crate::sys::{AsFd, BorrowedFd, would_block};
use std::time::{Duration, Instant};

/// For the first request, and for each one from its first byte to its last; for a response to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two requests. Prometheus keeps its connections from scrape to scrape.
const IDLE: Duration = Duration::from_secs(300);
/// For the other side to close, once nothing more is sent.
const LINGER: Duration = Duration::from_secs(1);
/// What is read and dropped at once in that time.
const DROPPED: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// Its request is whole and not answered.
    Waiting(Request),
    Sending(Then),
    Lingering,
}

/// What has come of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing more for now: there will be an event, or the deadline.
    Rest,
    /// It wants this: [`Connection::answer`].
    Wants(Request),
    /// A request was refused. There may be more to do.
    Refused,
    /// There may be more to do.
    Again,
    /// It has ended.
    Gone,
    /// It has ended, and its response was not taken.
    Unread,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    state: State,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    /// When its state ends; one that waits is looked after by who keeps it waiting.
    deadline: Instant,
    /// Requests answered so far.
    answered: u64,
    /// More requests came in before a response was taken: all of them have the time of one.
    chained: bool,
}

impl Connection {
    /// One that has just come.
    pub fn new(stream: Stream, now: Instant) -> Self {
        let (input, output, deadline) = (Vec::new(), Vec::new(), now + PATIENCE);
        Self { stream, state: State::Reading, input, output, sent: 0, deadline, answered: 0, chained: false }
    }

    /// Does what can be done at once, one step.
    pub fn turn(&mut self, now: Instant) -> Turn {
        match self.state {
            State::Reading => self.read(now),
            State::Waiting(_) => Turn::Rest,
            State::Sending(then) => self.send(then, now),
            State::Lingering => self.linger(),
        }
    }

    fn read(&mut self, now: Instant) -> Turn {
        match http::read(&self.input) {
            Step::More => {}
            Step::Request(request, length) => {
                self.input.drain(..length);
                self.state = State::Waiting(request);
                return Turn::Wants(request);
            }
            Step::Refused { status, head_only, then, length } => {
                self.input.drain(..length);
                self.refuse(status, head_only, then, now);
                return Turn::Refused;
            }
        }
        let (begun, room) = (!self.input.is_empty(), MAX_HEAD - self.input.len());
        match self.stream.read(&mut self.input, room) {
            Ok(0) => Turn::Gone,
            Ok(_) => {
                if !begun && self.answered > 0 {
                    self.deadline = now + PATIENCE;
                }
                Turn::Again
            }
            Err(error) if would_block(&error) => Turn::Rest,
            Err(_) => Turn::Gone,
        }
    }

    fn send(&mut self, then: Then, now: Instant) -> Turn {
        match self.stream.write(&self.output[self.sent..]) {
            Err(error) if would_block(&error) => return Turn::Rest,
            Ok(count) if count > 0 => self.sent += count,
            _ => return Turn::Gone,
        }
        if self.sent < self.output.len() {
            return Turn::Again;
        }
        // Nothing is held between two requests.
        self.output = Vec::new();
        self.answered += 1;
        if then != Then::Close {
            self.state = State::Reading;
            self.chained = !self.input.is_empty();
            if !self.chained {
                self.deadline = now + IDLE;
            }
            return Turn::Again;
        }
        self.input = Vec::new();
        (self.state, self.deadline) = (State::Lingering, now + LINGER);
        if self.stream.finish().is_ok() { Turn::Again } else { Turn::Gone }
    }

    fn linger(&mut self) -> Turn {
        self.input.clear();
        match self.stream.read(&mut self.input, DROPPED) {
            Ok(count) if count > 0 => Turn::Again,
            Err(error) if would_block(&error) => Turn::Rest,
            _ => Turn::Gone,
        }
    }

    /// Answers the request that it wants something by.
    pub fn answer(&mut self, response: &Response<'_>, now: Instant) {
        if let State::Waiting(request) = self.state {
            self.respond(response, request.head_only, request.then, now);
        }
    }

    fn refuse(&mut self, status: Status, head_only: bool, then: Then, now: Instant) {
        let words = format!("{}\n", status.line());
        self.respond(&Response::words(status, &words), head_only, then, now);
    }

    fn respond(&mut self, response: &Response<'_>, head_only: bool, then: Then, now: Instant) {
        self.output = response.bytes(head_only, then);
        self.sent = 0;
        self.state = State::Sending(then);
        if !self.chained {
            self.deadline = now + PATIENCE;
        }
    }

    /// Its time is over: who has begun a request is told so, who does not take its response is not.
    pub fn expire(&mut self, now: Instant) -> Turn {
        if self.does_not_read() {
            return Turn::Unread;
        }
        if self.state != State::Reading || self.input.is_empty() {
            return Turn::Gone;
        }
        self.refuse(Status::Timeout, false, Then::Close, now);
        Turn::Refused
    }

    /// A response waits to be taken: what can be sent at once is.
    pub fn does_not_read(&self) -> bool {
        matches!(self.state, State::Sending(_))
    }

    /// When its time is over.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.deadline).filter(|_| self.wants().is_none())
    }

    /// The request that it waits with for its answer.
    pub fn wants(&self) -> Option<Request> {
        match self.state {
            State::Waiting(request) => Some(request),
            _ => None,
        }
    }

    /// How easily it is given up for another one: the lowest first; `None`: it waits for us.
    pub fn worth(&self) -> Option<(u8, Instant)> {
        let rank = match self.state {
            // Prometheus' own rests from scrape to scrape.
            State::Reading if self.answered > 0 => 2,
            State::Reading | State::Lingering => 0,
            State::Sending(_) => 1,
            State::Waiting(_) => return None,
        };
        Some((rank, self.deadline))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
