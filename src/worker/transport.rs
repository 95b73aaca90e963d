//! How a connection's bytes travel: as they are, or in TLS. To the state machine above both are one: bytes come, bytes go,
//! and a socket that has no more, or takes no more, says so.
use super::spare::Spare;
use crate::sys::socket::Stream;
use crate::sys::would_block;
use crate::tls::Session;
use std::io;

/// What one write takes at most, in TLS: what the socket does not take of it is kept, encrypted.
const WRITE_MAX: usize = 64 << 10;

/// A connected socket, and what is spoken over it.
#[derive(Debug)]
pub enum Transport {
    /// Messages.
    Plain(Stream),
    /// TLS, and messages in it.
    Tls(Box<Tls>),
}

/// TLS over a socket.
#[derive(Debug)]
pub struct Tls {
    stream: Stream,
    session: Session,
    /// Encrypted, for the peer.
    outgoing: Vec<u8>,
    /// Bytes of it that the socket has taken.
    sent: usize,
    /// The same since the beginning.
    carried: u64,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes appended.
    pub bytes: usize,
    /// Bytes that came from the socket, whatever they said.
    pub wire: usize,
    /// The socket is empty: what comes next wakes us.
    pub drained: bool,
    /// The peer has said that nothing more comes.
    pub end: Option<End>,
}

/// How a peer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Said,
    /// TLS without its farewell: somebody else may have cut it off (RFC 8446, 6.1).
    Cut,
}

const NOTHING: Taken = Taken { bytes: 0, wire: 0, drained: true, end: None };

impl Transport {
    /// TLS over `stream`, before its first byte.
    pub fn tls(stream: Stream, session: Session) -> Self {
        Self::Tls(Box::new(Tls { stream, session, outgoing: Vec::new(), sent: 0, carried: 0 }))
    }

    /// The socket.
    pub fn stream(&self) -> &Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &tls.stream,
        }
    }

    /// Reads once from the socket, at most `limit` bytes, and appends what they say to `buffer`.
    ///
    /// # Errors
    /// The connection is broken. Of TLS that is broken, the peer is told by [`flush`](Self::flush).
    pub fn read(&mut self, buffer: &mut Vec<u8>, limit: usize, spare: &mut Spare) -> io::Result<Taken> {
        match self {
            Self::Plain(stream) => match stream.read(buffer, limit) {
                Ok(0) => Ok(Taken { end: Some(End::Said), ..NOTHING }),
                Ok(bytes) => Ok(Taken { bytes, wire: bytes, drained: bytes < limit, end: None }),
                Err(error) if would_block(&error) => Ok(NOTHING),
                Err(error) => Err(error),
            },
            Self::Tls(tls) => tls.read(buffer, limit, spare),
        }
    }

    /// Writes once; may be short.
    pub fn write(&mut self, bytes: &[u8], spare: &mut Spare) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(tls) => tls.write(bytes, spare),
        }
    }

    /// Whether something written waits for room in the socket.
    pub fn is_pending(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => !tls.outgoing.is_empty(),
        }
    }

    /// Sends what waits; true: nothing more waits.
    pub fn flush(&mut self, spare: &mut Spare) -> io::Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Tls(tls) => tls.flush(spare),
        }
    }

    /// Says in the language of the transport that nothing more will be sent; to be flushed.
    pub fn part(&mut self, spare: &mut Spare) {
        if let Self::Tls(tls) = self {
            tls.with_outgoing(spare, |session, outgoing| session.part(outgoing));
        }
    }

    /// Whether it holds a part of something whose rest has not come.
    pub fn holds_a_part(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.session.holds_a_part(),
        }
    }

    /// Bytes that the socket has taken of what was encrypted, since the beginning.
    pub fn carried(&self) -> u64 {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.carried,
        }
    }

    /// Bytes of memory that it holds.
    pub fn held(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.session.held() + tls.outgoing.capacity(),
        }
    }

    /// Whether messages can travel.
    pub fn is_established(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.session.is_established(),
        }
    }

    /// The subject of the peer's certificate.
    pub fn subject(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.session.subject(),
        }
    }
}

impl Tls {
    fn read(&mut self, buffer: &mut Vec<u8>, limit: usize, spare: &mut Spare) -> io::Result<Taken> {
        if self.session.has_ended() {
            return Ok(Taken { end: Some(End::Said), ..NOTHING });
        }
        let mut wire = spare.take(limit);
        let taken = match self.stream.read(&mut wire, limit) {
            Ok(0) => Ok(Taken { end: Some(End::Cut), ..NOTHING }),
            Ok(wire_bytes) => {
                let before = buffer.len();
                let received =
                    self.with_outgoing(spare, |session, outgoing| session.receive(&mut wire, buffer, outgoing));
                received.map_err(|broken| io::Error::new(io::ErrorKind::InvalidData, broken.to_string())).map(|()| {
                    let ended = self.session.has_ended();
                    // What came before the end is taken first, then the end.
                    let end = (ended && buffer.len() == before).then_some(End::Said);
                    let drained = wire_bytes < limit && !ended;
                    Taken { bytes: buffer.len() - before, wire: wire_bytes, drained, end }
                })
            }
            Err(error) if would_block(&error) => Ok(NOTHING),
            Err(error) => Err(error),
        };
        spare.give(wire);
        taken
    }

    fn write(&mut self, bytes: &[u8], spare: &mut Spare) -> io::Result<usize> {
        if !self.flush(spare)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let piece = &bytes[..bytes.len().min(WRITE_MAX)];
        let encrypted = self.with_outgoing(spare, |session, outgoing| session.send(piece, outgoing));
        encrypted.map_err(|broken| io::Error::new(io::ErrorKind::InvalidData, broken.to_string()))?;
        self.flush(spare)?;
        Ok(piece.len())
    }

    fn flush(&mut self, spare: &mut Spare) -> io::Result<bool> {
        while self.sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(count) => {
                    self.sent += count;
                    self.carried += count as u64;
                }
                Err(error) if would_block(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        spare.give(std::mem::take(&mut self.outgoing));
        Ok(true)
    }

    /// Lends a buffer to those that have nothing waiting.
    fn with_outgoing<T>(&mut self, spare: &mut Spare, act: impl FnOnce(&mut Session, &mut Vec<u8>) -> T) -> T {
        if self.outgoing.capacity() == 0 {
            self.outgoing = spare.take(WRITE_MAX);
        }
        let result = act(&mut self.session, &mut self.outgoing);
        if self.outgoing.is_empty() {
            spare.give(std::mem::take(&mut self.outgoing));
        }
        result
    }
}
