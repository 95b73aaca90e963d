//! What carries the bytes of `send` and `bench` to a server: a socket, or TLS over it.
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;

use clap::Args;

use crate::sys::outgoing::{Outgoing, Place};
use crate::sys::ready::Watched;
use crate::sys::{AsFd, BorrowedFd};
use crate::tls::{Client, Conversation};
use crate::tools::send::Target;

/// What TLS gives at a time, in bytes: more than rustls holds.
const TURN: usize = 32 << 10;

/// The arguments of commands that may speak TLS.
#[derive(Clone, Debug, Default, Args)]
pub struct Security {
    /// Speak TLS: the server's tls.listen
    #[arg(long)]
    pub tls: bool,
    /// Who vouches for the server: a file of certificates (PEM) [default: the system's authorities]
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub tls_ca: Option<PathBuf>,
    /// The name that the server's certificate must have [default: the host of ADDR]
    #[arg(long, value_name = "NAME", requires = "tls")]
    pub tls_name: Option<String>,
    /// Our own certificate (PEM), for a server that asks for one
    #[arg(long, value_name = "FILE", requires_all = ["tls", "tls_key"])]
    pub tls_certificate: Option<PathBuf>,
    /// The private key of our certificate (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["tls", "tls_certificate"])]
    pub tls_key: Option<PathBuf>,
}

/// How connections are made: with or without TLS.
#[derive(Clone, Debug)]
pub struct Means(Option<(Client, String)>);

impl Means {
    /// Reads the files that are named.
    ///
    /// # Errors
    /// One cannot be used, or there is no name to look for in the server's certificate.
    pub fn prepare(security: &Security, server: &Target) -> Result<Self, String> {
        if !security.tls {
            return Ok(Self(None));
        }
        let name = match (&security.tls_name, server) {
            (Some(name), _) => name.clone(),
            (None, Target::Host(host, _)) => host.clone(),
            (None, Target::Unix(_)) => return Err("a Unix socket has no name: --tls-name is needed".to_owned()),
        };
        let own = security.tls_certificate.as_deref().zip(security.tls_key.as_deref());
        let client = Client::load(security.tls_ca.as_deref(), own)?;
        // A name that cannot be one is told before any attempt.
        client.begin(&name)?;
        Ok(Self(Some((client, name))))
    }

    /// Begins to connect.
    pub fn begin(&self, place: &Place) -> io::Result<Carrier> {
        let stream = Outgoing::begin(place)?;
        let talk = self.0.as_ref().map(|(client, name)| client.begin(name).map_err(io::Error::other)).transpose()?;
        Ok(Carrier { stream, talk: talk.map(Box::new), connected: false, finishing: false })
    }
}

/// A connection that is being made, or has been.
#[derive(Debug)]
pub struct Carrier {
    stream: Outgoing,
    /// TLS.
    talk: Option<Box<Conversation>>,
    connected: bool,
    /// Nothing more will be said: the socket's end follows what is under way.
    finishing: bool,
}

/// The socket, as rustls wants it.
struct Wire<'a>(&'a Outgoing);

impl Read for Wire<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.receive(bytes)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Carrier {
    /// Whether the connection is made, the handshake included; an error if it cannot be.
    pub fn is_up(&mut self) -> io::Result<bool> {
        if !self.connected {
            self.connected = self.stream.is_up()?;
        }
        let Some(talk) = self.talk.as_mut().filter(|_| self.connected) else { return Ok(self.connected) };
        while talk.is_handshaking() {
            talk.flush(&mut Wire(&self.stream))?;
            match talk.receive(&mut Wire(&self.stream)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => {
                    // The server is told why.
                    let _ = talk.flush(&mut Wire(&self.stream));
                    return Err(explained(error));
                }
            }
        }
        talk.flush(&mut Wire(&self.stream))?;
        Ok(true)
    }

    /// Reads once, appending at most `limit` bytes to `buffer`. 0: the server has sent everything.
    pub fn read(&mut self, buffer: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
        let Some(talk) = &mut self.talk else { return self.stream.read(buffer, limit) };
        let start = buffer.len();
        buffer.resize(start + limit.min(TURN), 0);
        let heard = hear(talk, &self.stream, &mut buffer[start..]);
        buffer.truncate(start + heard.as_ref().copied().unwrap_or(0));
        self.send_rest()?;
        heard
    }

    /// Whether a read of so many bytes has left nothing: what comes next wakes the caller.
    pub fn is_drained(&self, count: usize, limit: usize) -> bool {
        self.talk.is_none() && count < limit
    }

    /// Writes once; may be short.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(talk) = &mut self.talk else { return self.stream.write(bytes) };
        if !talk.flush(&mut Wire(&self.stream))? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = talk.say(bytes)?;
        talk.flush(&mut Wire(&self.stream))?;
        Ok(count)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) -> io::Result<()> {
        match &mut self.talk {
            None => self.stream.finish(),
            Some(talk) => {
                talk.part();
                self.finishing = true;
                self.send_rest()
            }
        }
    }

    /// Sends what waits, and then the end that was announced.
    fn send_rest(&mut self) -> io::Result<()> {
        let Some(talk) = &mut self.talk else { return Ok(()) };
        if talk.flush(&mut Wire(&self.stream))? && std::mem::take(&mut self.finishing) {
            self.stream.finish()?;
        }
        Ok(())
    }

    /// See [`Outgoing::reset_at_end`].
    pub fn reset_at_end(&self, reset: bool) -> io::Result<()> {
        self.stream.reset_at_end(reset)
    }

    /// See [`Outgoing::local`].
    pub fn local(&self) -> String {
        self.stream.local()
    }

    /// For poll(2), by a caller who wants to write if `output`.
    pub fn watched(&self, output: bool) -> Watched<'_> {
        let fd = self.stream.as_fd();
        let handshake = self.talk.as_ref().is_some_and(|talk| talk.is_handshaking());
        let pending = self.talk.as_ref().is_some_and(|talk| talk.wants_write());
        match self.connected {
            false => Watched { fd, input: false, output: true },
            true => Watched { fd, input: true, output: pending || (output && !handshake) },
        }
    }
}

impl AsFd for Carrier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What the server says next.
fn hear(talk: &mut Conversation, stream: &Outgoing, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match talk.take(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            taken => return taken,
        }
        talk.receive(&mut Wire(stream)).map_err(explained)?;
    }
}

/// With what to do.
fn explained(error: io::Error) -> io::Error {
    let remedy = match error.kind() {
        ErrorKind::UnexpectedEof => "the server ended it without a farewell of TLS",
        ErrorKind::InvalidData if error.to_string().contains("InvalidContentType") => {
            "the server does not speak TLS there (tls.listen)"
        }
        ErrorKind::InvalidData => return io::Error::new(ErrorKind::InvalidData, format!("TLS: {error}")),
        _ => return error,
    };
    io::Error::new(error.kind(), remedy)
}
