//! A connection to the server, and the attempt to make one.
//!
//! Never blocks: a name is looked up by a thread (getaddrinfo(3) has no other way), all else waits in the caller's poll(2).
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use super::options::Target;
use crate::sys::event::Wake;
use crate::sys::outgoing::Place;
use crate::sys::ready::Watched;
use crate::sys::{AsFd, would_block};
use crate::tools::carrier::{Carrier, Means};

/// How long one address may take to answer.
const CONNECT: Duration = Duration::from_secs(10);
/// One read, one write: so much at most, in bytes.
const TURN: usize = 256 << 10;

/// What a read or a write came to.
#[derive(Debug)]
pub enum Turn {
    /// So many bytes.
    Bytes(usize),
    /// Not now.
    Wait,
    /// The other side is gone: why.
    Gone(String),
}

/// The bytes' way to and from the server: the one place that knows what carries them.
#[derive(Debug)]
pub struct Connection {
    stream: Carrier,
    in_message: bool,
}

impl Connection {
    /// Appends what has come to `buffer`.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> Turn {
        match self.stream.read(buffer, TURN) {
            Ok(0) => Turn::Gone("the server closed it".to_owned()),
            result => turn(result),
        }
    }

    /// Sends some of `bytes`; `ends_message` says whether so many of them end with the end of a message.
    pub fn write(&mut self, bytes: &[u8], ends_message: impl FnOnce(usize) -> bool) -> Turn {
        let result = self.stream.write(&bytes[..bytes.len().min(TURN)]);
        if let Ok(count) = result {
            let in_message = !ends_message(count);
            // Killed in the midst of a message, we must not let the server take the beginning for a whole one.
            if in_message != self.in_message && self.stream.reset_at_end(in_message).is_ok() {
                self.in_message = in_message;
            }
        }
        turn(result)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        // An error here shows up in the next read.
        let _ = self.stream.finish();
    }

    /// Drops it with all that is under way: what is not echoed will be sent again.
    pub fn abort(self) {
        let _ = self.stream.reset_at_end(true);
    }

    /// For poll(2).
    pub fn watched(&self, output: bool) -> Watched<'_> {
        self.stream.watched(output)
    }
}

fn turn(result: io::Result<usize>) -> Turn {
    match result {
        Ok(count) => Turn::Bytes(count),
        Err(error) if would_block(&error) => Turn::Wait,
        Err(error) => Turn::Gone(error.to_string()),
    }
}

/// How an attempt stands.
#[derive(Debug)]
pub enum Progress {
    /// Not decided.
    Wait,
    /// It is made.
    Made(Connection),
    /// It cannot be made: why.
    Failed(String),
}

/// All addresses of the server, one after the other.
#[derive(Debug)]
pub struct Attempt {
    lookup: Option<Lookup>,
    places: VecDeque<Place>,
    current: Option<(Carrier, Place, Instant)>,
    means: Means,
    faults: Vec<String>,
    /// As the user named it.
    server: String,
}

#[derive(Debug)]
struct Lookup {
    answer: Receiver<io::Result<Vec<SocketAddr>>>,
    done: Arc<Wake>,
}

impl Attempt {
    /// Begins one.
    ///
    /// # Errors
    /// No thread, or no descriptor, for the look-up of a name.
    pub fn begin(target: &Target, means: &Means) -> io::Result<Self> {
        let (places, server) = (VecDeque::new(), target.to_string());
        let mut attempt =
            Self { lookup: None, places, current: None, means: means.clone(), faults: Vec::new(), server };
        match target {
            Target::Unix(path) => attempt.places.push_back(Place::Unix(path.clone())),
            Target::Host(host, port) => match host.parse::<IpAddr>() {
                Ok(address) => attempt.places.push_back(Place::Inet((address, *port).into())),
                Err(_) => attempt.lookup = Some(Lookup::begin(host.clone(), *port)?),
            },
        }
        Ok(attempt)
    }

    /// Goes on as far as it can without waiting.
    pub fn step(&mut self, now: Instant) -> Progress {
        if let Some(lookup) = &self.lookup {
            match lookup.answer() {
                None => return Progress::Wait,
                Some(Ok(found)) => self.places.extend(found.into_iter().map(Place::Inet)),
                Some(Err(error)) => return Progress::Failed(plain(&error)),
            }
            self.lookup = None;
        }
        loop {
            if let Some((mut stream, place, until)) = self.current.take() {
                match stream.is_up() {
                    Ok(true) => return Progress::Made(Connection { stream, in_message: false }),
                    Ok(false) if now < until => {
                        self.current = Some((stream, place, until));
                        return Progress::Wait;
                    }
                    Ok(false) => self.fault(&place, "no answer"),
                    Err(error) => self.fault(&place, &plain(&error)),
                }
            }
            let Some(place) = self.places.pop_front() else {
                return Progress::Failed(match self.faults.is_empty() {
                    true => "the name has no address".to_owned(),
                    false => self.faults.join("; "),
                });
            };
            match self.means.begin(&place) {
                Ok(stream) => self.current = Some((stream, place, now + CONNECT)),
                Err(error) => self.fault(&place, &plain(&error)),
            }
        }
    }

    fn fault(&mut self, place: &Place, why: &str) {
        let place = place.to_string();
        self.faults.push(if place == self.server { why.to_owned() } else { format!("{place}: {why}") });
    }

    /// For poll(2).
    pub fn watched(&self) -> Option<Watched<'_>> {
        let lookup = self.lookup.as_ref().map(|lookup| Watched { fd: lookup.done.as_fd(), input: true, output: false });
        lookup.or_else(|| self.current.as_ref().map(|(stream, ..)| stream.watched(false)))
    }

    /// When to look again even without news.
    pub fn deadline(&self) -> Option<Instant> {
        self.current.as_ref().map(|(.., until)| *until)
    }
}

impl Lookup {
    fn begin(host: String, port: u16) -> io::Result<Self> {
        let (answers, answer) = channel();
        let done = Arc::new(Wake::new()?);
        let wake = Arc::clone(&done);
        std::thread::Builder::new().name("look-up".to_owned()).spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // Nobody waits any more: then nobody needs it.
            let _ = answers.send(found);
            wake.ring();
        })?;
        Ok(Self { answer, done })
    }

    fn answer(&self) -> Option<io::Result<Vec<SocketAddr>>> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(io::Error::other("the look-up of the name failed"))),
        }
    }
}

/// Without `(os error 111)`.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.rfind(" (os error ").map_or(text.as_str(), |at| &text[..at]).to_owned()
}
