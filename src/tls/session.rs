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
/// What is kept of a handshake: more than any client's certificates have.
const HANDSHAKE_MAX: usize = 24 << 10;

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

    /// Whether a part of a record is kept, or of a handshake's message.
    pub fn holds_a_part(&self) -> bool {
        !self.incoming.is_empty()
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
        if self.broken {
            return Err(Broken(rustls::Error::General("it is broken already".to_owned())));
        }
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
        if result.is_err() {
            self.tell(outgoing);
        } else if !self.established && self.incoming.len() > HANDSHAKE_MAX {
            // rustls would wait for 64 KiB.
            self.give_up();
            return Err(Broken(rustls::Error::General("a message of the handshake is too long".to_owned())));
        }
        result
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
        if self.broken {
            return Err(Broken(rustls::Error::General("it is broken already".to_owned())));
        }
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

    /// The alert that rustls has made of its error. Only as long as it has something to say: it would go on with what it has
    /// just refused.
    fn tell(&mut self, outgoing: &mut Vec<u8>) {
        while self.connection.wants_write() {
            match self.connection.process_tls_records(&mut self.incoming).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => append(outgoing, |room| data.encode(room)),
                _ => break,
            }
        }
        self.give_up();
    }

    /// Nothing more is heard, or said.
    fn give_up(&mut self) {
        self.broken = true;
        self.incoming = Vec::new();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Pem, Tls};
    use proptest::prelude::*;
    use std::sync::OnceLock;

    fn server() -> &'static Server {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| {
            let place = tempfile::tempdir().unwrap();
            let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let put = |name: &str, text: String| {
                std::fs::write(place.path().join(name), text).unwrap();
                Some(Pem::File(place.path().join(name)))
            };
            let (certificate, key) = (put("c", pair.cert.pem()), put("k", pair.signing_key.serialize_pem()));
            Server::load(&Tls { certificate, key, ..Tls::default() }).unwrap().unwrap()
        })
    }

    fn record() -> impl Strategy<Value = Vec<u8>> {
        let body = prop_oneof![
            any::<Vec<u8>>(),
            // A message of the handshake, or a part of one, by its claimed length.
            (0..25u8, 0..70_000u32, prop::collection::vec(any::<u8>(), 0..300))
                .prop_map(|(kind, length, rest)| { [&[kind], &length.to_be_bytes()[1..], &rest].concat() }),
            (0..16_384usize).prop_map(|length| vec![0; length]),
        ];
        (20..25u8, 0..5u8, body).prop_map(|(kind, minor, body)| {
            let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
            [&[kind, 3, minor][..], &length.to_be_bytes(), &body].concat()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn no_bytes_of_a_peer_panic(records in prop::collection::vec(record(), 1..8), cut in 1..20_000usize, further: bool) {
            let bytes = records.concat();
            let mut session = Session::new(server()).unwrap();
            let (mut plain, mut outgoing) = (Vec::new(), Vec::new());
            for piece in bytes.chunks(cut) {
                let result = session.receive(&mut piece.to_vec(), &mut plain, &mut outgoing);
                prop_assert!(session.held() <= HANDSHAKE_MAX + 20_000 + piece.len() || result.is_err());
                if result.is_err() && !further {
                    break;
                }
                let _ = session.send(b"x", &mut outgoing);
                session.part(&mut outgoing);
            }
            prop_assert!(plain.is_empty() && !session.is_established());
        }
    }
}
