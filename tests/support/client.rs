//! A client that knows what it sent, and checks every echoed byte against it (I3).
use super::DEADLINE;
use super::drive::wait;
use super::framing::Framing;
pub use super::messages::Messages;
use nix::poll::PollFlags;
use socket2::SockRef;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How exactly it is known when an echo came.
const NOTE_EVERY: Duration = Duration::from_millis(10);

/// How a connection ended, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The daemon closed in order.
    Eof,
    /// RST, or another error of the socket.
    Reset,
    /// We left.
    Left,
}

/// What is known of one connection, for the checker.
#[derive(Clone, Debug)]
pub struct History {
    /// How the daemon sees us.
    pub peer: SocketAddr,
    pub messages: Messages,
    /// `chunk`: the daemon cuts as it reads, so only the bytes count.
    pub cut_by_reads: bool,
    /// Messages whose every byte the kernel took.
    pub sent: usize,
    /// Messages whose every byte came back.
    pub echoed: usize,
    pub sent_bytes: usize,
    pub echoed_bytes: usize,
    /// How many messages were echoed by then, noted at most every 10 ms.
    pub echoed_by: Vec<(Instant, usize)>,
    pub end: Option<End>,
}

impl History {
    /// How many messages had certainly been echoed by `moment`.
    pub fn echoed_until(&self, moment: Instant) -> usize {
        self.echoed_by.iter().rev().find(|(at, _)| *at <= moment).map_or(0, |(_, count)| *count)
    }
}

/// One connection. Driven by [`drive`]; never blocks.
pub struct Client {
    pub history: History,
    stream: TcpStream,
    window: usize,
    /// Messages that it may still begin.
    quota: usize,
    /// The most bytes of one `write`.
    segment: usize,
    reading: bool,
    half_close: bool,
    shut: bool,
    begun: usize,
    /// Bytes from `echoed_bytes` on that are to be sent or to come back.
    due: Vec<u8>,
    due_head: usize,
    /// Lengths of the messages that are not wholly sent, and not wholly echoed.
    unsent: VecDeque<usize>,
    unsent_done: usize,
    unechoed: VecDeque<usize>,
    unechoed_done: usize,
    /// Since when it has been waiting for its next echo, and the longest such wait.
    waits_since: Option<Instant>,
    longest_wait: Duration,
}

impl Client {
    pub fn connect(address: SocketAddr, framing: Framing, messages: Messages) -> io::Result<Self> {
        Self::connect_with(TcpStream::connect_timeout(&address, DEADLINE)?, framing, messages)
    }

    /// Over a stream that has been made, and perhaps tuned, by the test.
    pub fn connect_with(stream: TcpStream, framing: Framing, messages: Messages) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let quota = messages.len().unwrap_or(usize::MAX);
        let history = History {
            peer: stream.local_addr()?,
            messages,
            cut_by_reads: framing == Framing::Chunk,
            sent: 0,
            echoed: 0,
            sent_bytes: 0,
            echoed_bytes: 0,
            echoed_by: Vec::new(),
            end: None,
        };
        let (unsent, unechoed) = (VecDeque::new(), VecDeque::new());
        Ok(Self {
            history,
            stream,
            window: 64,
            quota,
            segment: usize::MAX,
            reading: true,
            half_close: false,
            shut: false,
            begun: 0,
            due: Vec::new(),
            due_head: 0,
            unsent,
            unsent_done: 0,
            unechoed,
            unechoed_done: 0,
            waits_since: None,
            longest_wait: Duration::ZERO,
        })
    }

    /// At most so many messages sent and not echoed.
    pub fn window(mut self, window: usize) -> Self {
        self.window = window;
        self
    }

    /// Sends so many messages in all.
    pub fn quota(mut self, quota: usize) -> Self {
        self.quota = quota.min(self.history.messages.len().unwrap_or(usize::MAX));
        self
    }

    /// At most so many bytes in a segment (Nagle is off).
    pub fn segment(mut self, segment: usize) -> Self {
        self.segment = segment;
        self
    }

    /// Half-closes after the last message; then it expects all echoes and EOF.
    pub fn half_close(mut self) -> Self {
        self.half_close = true;
        self
    }

    /// Does not read its echoes until told to.
    pub fn deaf(mut self) -> Self {
        self.reading = false;
        self
    }

    pub fn set_reading(&mut self, reading: bool) {
        self.reading = reading;
    }

    /// Begins no more messages.
    pub fn finish(&mut self, half_close: bool) {
        self.quota = self.begun;
        self.half_close = half_close;
    }

    /// Allows `more` messages.
    pub fn allow(&mut self, more: usize) {
        self.quota = self.begun + more;
    }

    pub fn ended(&self) -> bool {
        self.history.end.is_some()
    }

    /// Everything that it will send has come back; after a half-close the daemon's EOF, too.
    pub fn served(&self) -> bool {
        self.ended() || (self.begun == self.quota && self.due_head == self.due.len() && !self.half_close)
    }

    /// It has half-closed, so EOF is the right answer to its last echo.
    pub fn asked_for_eof(&self) -> bool {
        self.half_close && self.shut
    }

    /// Leaves by RST: the kernel throws away what is under way.
    pub fn reset(mut self) -> History {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
        self.history.end.get_or_insert(End::Left);
        self.history
    }

    /// Leaves by an ordinary close.
    pub fn leave(mut self) -> History {
        self.history.end.get_or_insert(End::Left);
        self.history
    }

    /// Sends bytes that are no whole message, past the history: the store must not hold them.
    pub fn send_fragment(&mut self, bytes: &[u8]) {
        assert_eq!(
            self.history.sent_bytes,
            self.history.echoed_bytes + self.due.len() - self.due_head,
            "messages are still unsent"
        );
        let mut rest = bytes;
        let end = Instant::now() + DEADLINE;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => wait(&mut [self], 10),
                Err(error) => panic!("fragment not sent: {error}"),
            }
        }
    }

    /// The longest that it has waited for the next echo since it was last asked.
    pub fn longest_wait(&mut self) -> Duration {
        std::mem::take(&mut self.longest_wait)
    }

    fn unsent_bytes(&self) -> usize {
        self.history.echoed_bytes + self.due.len() - self.due_head - self.history.sent_bytes
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn interest(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, self.reading);
        flags.set(PollFlags::POLLOUT, !self.shut && (self.unsent_bytes() > 0 || self.may_begin() || self.must_shut()));
        flags
    }

    fn may_begin(&self) -> bool {
        self.begun < self.quota && self.unechoed.len() < self.window
    }

    fn must_shut(&self) -> bool {
        self.half_close && self.begun == self.quota && self.unsent_bytes() == 0
    }

    /// One turn: read, begin messages, write. An error is a broken invariant.
    pub(super) fn turn(&mut self, ready: PollFlags) -> Result<(), String> {
        if self.reading && ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.read()?;
        }
        while !self.shut && !self.ended() && self.may_begin() && self.unsent_bytes() < 1 << 20 {
            let wire = self.history.messages.wire(self.begun);
            self.due.extend_from_slice(&wire);
            self.unsent.push_back(wire.len());
            self.unechoed.push_back(wire.len());
            self.begun += 1;
            self.waits_since.get_or_insert_with(Instant::now);
        }
        if ready.intersects(PollFlags::POLLOUT) && !self.ended() {
            self.write();
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), String> {
        let mut buffer = [0; 65536];
        for _ in 0..4 {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.history.end = Some(End::Eof),
                Ok(count) => {
                    self.heard(&buffer[..count])?;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.history.end = Some(End::Reset),
            }
            break;
        }
        Ok(())
    }

    /// I3: what is heard is the next part of what was sent, and nothing else.
    fn heard(&mut self, bytes: &[u8]) -> Result<(), String> {
        let from = self.history.echoed_bytes;
        let name = format!("{} (client {:?})", self.history.peer, self.name());
        if from + bytes.len() > self.history.sent_bytes {
            return Err(format!("{name}: {} bytes echoed, {} sent", from + bytes.len(), self.history.sent_bytes));
        }
        let expected = &self.due[self.due_head..self.due_head + bytes.len()];
        if let Some(at) = expected.iter().zip(bytes).position(|(a, b)| a != b) {
            let byte = from + at;
            return Err(format!(
                "{name}: byte {byte} of the echo is {:#04x}, {:#04x} was sent",
                bytes[at], expected[at]
            ));
        }
        self.due_head += bytes.len();
        self.history.echoed_bytes += bytes.len();
        if self.due_head > 1 << 16 && self.due_head * 2 > self.due.len() {
            self.due.drain(..self.due_head);
            self.due_head = 0;
        }
        self.history.echoed += whole(&mut self.unechoed, &mut self.unechoed_done, bytes.len());
        let now = Instant::now();
        if self.history.echoed_by.last().is_none_or(|(at, _)| now - *at > NOTE_EVERY) {
            self.history.echoed_by.push((now, self.history.echoed));
        }
        if let Some(since) = self.waits_since.take() {
            self.longest_wait = self.longest_wait.max(now - since);
        }
        self.waits_since = (!self.unechoed.is_empty()).then_some(now);
        Ok(())
    }

    fn write(&mut self) {
        let mut writes = 0;
        while self.unsent_bytes() > 0 && writes < 64 {
            let from = self.due.len() - self.unsent_bytes();
            let upto = self.due.len().min(from.saturating_add(self.segment));
            match self.stream.write(&self.due[from..upto]) {
                Ok(count) => {
                    self.history.sent_bytes += count;
                    self.history.sent += whole(&mut self.unsent, &mut self.unsent_done, count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // What was echoed before the break is still to be read.
                Err(_) => {
                    self.shut = true;
                    return;
                }
            }
            writes += 1;
        }
        if self.must_shut() && !self.shut {
            self.shut = true;
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    fn name(&self) -> Option<u64> {
        match &self.history.messages {
            Messages::Generated { client, .. } => Some(*client),
            Messages::Listed(_) => None,
        }
    }

    /// For a failure message: who waits for what.
    pub fn waiting(&self) -> String {
        let History { peer, sent, echoed, sent_bytes, echoed_bytes, end, .. } = &self.history;
        format!("{peer}: {echoed} of {sent} messages, {echoed_bytes} of {sent_bytes} bytes echoed, end {end:?}")
    }
}

/// Counts `bytes` off the front of `lengths`; how many became whole.
fn whole(lengths: &mut VecDeque<usize>, done: &mut usize, bytes: usize) -> usize {
    *done += bytes;
    let mut count = 0;
    while lengths.front().is_some_and(|length| *length <= *done) {
        *done -= lengths.pop_front().expect("just seen");
        count += 1;
    }
    count
}
