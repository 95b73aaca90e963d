//! One connection of the load program: sends a pattern round and round, and compares every echoed byte with it.
use super::latency::Latency;
use super::options::Workload;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// The most bytes of a pattern that holds more than one turn of the window.
const PATTERN: usize = 1 << 18;

/// Never blocks. Counts in bytes of an endless stream; the pattern is that stream's period.
pub struct Connection {
    stream: TcpStream,
    /// Whole messages, each different, at least as many as are in flight.
    pattern: Vec<u8>,
    size: u64,
    window: u64,
    sent: u64,
    heard: u64,
    /// (end of a write in the stream, when it was sent).
    times: VecDeque<(u64, Instant)>,
    finishing: bool,
}

impl Connection {
    /// Connects and makes the pattern.
    pub fn open(address: SocketAddr, number: usize, workload: Workload) -> Self {
        let Workload { in_flight, size, .. } = workload;
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        let count = in_flight.max(PATTERN / size).max(2);
        let pattern = (0..count).flat_map(|index| message(number, index, size)).collect();
        let (size, window) = (size as u64, (in_flight * size) as u64);
        Self { stream, pattern, size, window, sent: 0, heard: 0, times: VecDeque::new(), finishing: false }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whole messages echoed.
    pub fn echoed(&self) -> u64 {
        self.heard / self.size
    }

    /// Whether echoes are still to come.
    pub fn is_due(&self) -> bool {
        self.heard < self.sent || !self.sent.is_multiple_of(self.size)
    }

    /// Begins no further message; whether nothing is due.
    pub fn finish(&mut self) -> bool {
        self.finishing = true;
        !self.is_due()
    }

    /// Sends what the window and the kernel take.
    pub fn send(&mut self) {
        let mut now = None;
        loop {
            let limit = if self.finishing {
                self.sent.next_multiple_of(self.size)
            } else {
                self.heard / self.size * self.size + self.window
            };
            if self.sent >= limit {
                return;
            }
            let from = usize::try_from(self.sent % self.pattern.len() as u64).unwrap();
            let length = usize::try_from(limit - self.sent).unwrap().min(self.pattern.len() - from);
            match self.stream.write(&self.pattern[from..from + length]) {
                Ok(count) => {
                    self.sent += count as u64;
                    self.times.push_back((self.sent, *now.get_or_insert_with(Instant::now)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("cannot send: {error}"),
            }
        }
    }

    /// Reads and compares all there is.
    pub fn receive(&mut self, buffer: &mut [u8], latency: &mut Latency) {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("the daemon closed the connection with {} bytes due", self.sent - self.heard),
                Ok(count) => self.compare(&buffer[..count], latency),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("cannot receive: {error}"),
            }
        }
    }

    fn compare(&mut self, mut bytes: &[u8], latency: &mut Latency) {
        let whole = self.echoed();
        while !bytes.is_empty() {
            let from = usize::try_from(self.heard % self.pattern.len() as u64).unwrap();
            let length = bytes.len().min(self.pattern.len() - from);
            assert!(bytes[..length] == self.pattern[from..from + length], "a wrong echo behind byte {}", self.heard);
            self.heard += length as u64;
            bytes = &bytes[length..];
        }
        assert!(self.heard <= self.sent, "{} bytes echoed, {} sent", self.heard, self.sent);
        let now = Instant::now();
        for index in whole..self.echoed() {
            // The message was sent with the write that took its last byte.
            let end = (index + 1) * self.size;
            while self.times.front().is_some_and(|(upto, _)| *upto < end) {
                self.times.pop_front();
            }
            latency.record(now - self.times.front().expect("it was sent").1);
        }
    }
}

/// A line of `size` bytes, the line feed included, that differs from its neighbours.
fn message(connection: usize, index: usize, size: usize) -> Vec<u8> {
    let mut line = format!("{connection}:{index}:").into_bytes();
    line.extend((0..size).map(|at| b'!' + u8::try_from((at * 7 + index * 13 + connection) % 90).expect("below 90")));
    line.truncate(size - 1);
    line.push(b'\n');
    line
}
