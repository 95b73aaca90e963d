//! One conversation: what came from the peer in, messages' bytes out; messages' bytes in, what goes to the peer out.
//!
//! An idle conversation holds no buffer: of what has come, only the beginning of a TLS record whose rest is missing stays
//! (RFC 8446, 5.1: 16 KiB and a little at most).
use super::Server;
use super::subject;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus, WriteTraffic};
use std::sync::Arc;

/// What encryption adds to a record at most, and the largest piece that goes into one (RFC 8446, 5.2; RFC 5246, 6.2.3).
const OVERHEAD: usize = 64;
const PIECE: usize = 16 << 10;

/// A conversation that cannot go on, and why. What is to be told to the peer is in [`Session::outgoing`].
#[derive(Debug)]
pub struct Broken(rustls::Error);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<rustls::Error> for Broken {
    fn from(error: rustls::Error) -> Self {
        Self(error)
    }
}

/// The server's side of a conversation.
pub struct Session {
    connection: UnbufferedServerConnection,
    /// What has come and is not a whole record yet.
    incoming: Vec<u8>,
    established: bool,
    ended: bool,
    parted: bool,
    broken: bool,
}

impl std::fmt::Debug for Session {
    /// Without its keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("established", &self.established).finish_non_exhaustive()
    }
}

impl Session {
    /// Before its first byte.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn new(server: &Server) -> Result<Self, Broken> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&server.0))?;
        Ok(Self { connection, incoming: Vec::new(), established: false, ended: false, parted: false, broken: false })
    }

    /// Whether the handshake is done.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Whether the peer has said that nothing more comes (RFC 8446, 6.1, `close_notify`).
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of memory that it keeps between two calls, beside rustls' own.
    pub fn held(&self) -> usize {
        self.incoming.capacity()
    }

    /// The subject of the peer's certificate, if it has shown one: see [`subject::text`].
    pub fn subject(&self) -> Option<String> {
        self.connection.peer_certificates()?.first().and_then(|certificate| subject::text(certificate))
    }

    /// Takes what came from the peer: `wire` is emptied. Appends what the peer says to `plain`, and what is to be sent to it to
    /// `outgoing`.
    ///
    /// # Errors
    /// The conversation is broken; `outgoing` tells the peer.
    pub fn receive(&mut self, wire: &mut Vec<u8>, plain: &mut Vec<u8>, outgoing: &mut Vec<u8>) -> Result<(), Broken> {
        let mut kept = std::mem::take(&mut self.incoming);
        // Mostly nothing is kept: then nothing is copied.
        let input = if kept.is_empty() {
            &mut *wire
        } else {
            kept.extend_from_slice(wire);
            &mut kept
        };
        let mut at = 0;
        let result = self.process(input, &mut at, plain, outgoing);
        self.incoming.extend_from_slice(&input[at..]);
        wire.clear();
        result.inspect_err(|_| self.tell(outgoing))
    }

    fn process(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
        plain: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut input[*at..]);
            let mut done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => append(outgoing, |room| data.encode(room)),
                // They are in `outgoing`: as good as sent.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(ConnectionState::WriteTraffic(_)) => (self.established, done) = (true, true),
                Ok(ConnectionState::Closed) => (self.ended, done) = (true, true),
                Ok(_) => done = true,
                Err(error) => {
                    self.broken = true;
                    *at += discard;
                    return Err(error.into());
                }
            }
            *at += discard;
            if done {
                return Ok(());
            }
        }
    }

    /// Encrypts `plain`, appending to `outgoing`: only once the handshake is done, and before [`part`](Self::part).
    ///
    /// # Errors
    /// The conversation is broken, or has used up its keys.
    pub fn send(&mut self, plain: &[u8], outgoing: &mut Vec<u8>) -> Result<(), Broken> {
        let most = plain.len() + (plain.len() / PIECE + 1) * OVERHEAD;
        self.write(outgoing, most, |traffic, room| traffic.encrypt(plain, room).ok())
    }

    /// Says that nothing more will be sent (`close_notify`), once.
    pub fn part(&mut self, outgoing: &mut Vec<u8>) {
        if self.established && !self.broken && !std::mem::replace(&mut self.parted, true) {
            // One that cannot be told is not told.
            let _ = self.write(outgoing, OVERHEAD, |traffic, room| traffic.queue_close_notify(room).ok());
        }
    }

    /// Appends what `write` writes, at most so many bytes, behind what rustls itself has to say (tickets, new keys).
    fn write(
        &mut self,
        outgoing: &mut Vec<u8>,
        most: usize,
        write: impl Fn(&mut WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Option<usize>,
    ) -> Result<(), Broken> {
        loop {
            // Given its own input, which has no whole record: rustls counts from its beginning.
            match self.connection.process_tls_records(&mut self.incoming).state? {
                ConnectionState::EncodeTlsData(mut data) => append(outgoing, |room| data.encode(room)),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                ConnectionState::WriteTraffic(mut traffic) => {
                    let start = outgoing.len();
                    outgoing.resize(start + most, 0);
                    let written = write(&mut traffic, &mut outgoing[start..]);
                    outgoing.truncate(start + written.unwrap_or(0));
                    return written.map(|_| ()).ok_or(Broken(rustls::Error::EncryptError));
                }
                _ => return Err(Broken(rustls::Error::HandshakeNotComplete)),
            }
        }
    }

    /// The alert that rustls has made of its error.
    fn tell(&mut self, outgoing: &mut Vec<u8>) {
        self.incoming = Vec::new();
        while let Ok(ConnectionState::EncodeTlsData(mut data)) = self.connection.process_tls_records(&mut []).state {
            append(outgoing, |room| data.encode(room));
        }
    }
}

/// Appends what `encode` writes, of a length that it tells when it has no room.
fn append(outgoing: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let start = outgoing.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size, .. })) = encode(&mut []) {
        outgoing.resize(start + required_size, 0);
        let written = encode(&mut outgoing[start..]).unwrap_or(0);
        outgoing.truncate(start + written);
    }
}
