//! Making the connections: many at a time, never more than a server's queue takes, each with a deadline.
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::sys::outgoing::Place;
use crate::sys::poll::{Event, Interest, Poller};
use crate::sys::process;
use crate::sys::signals::Signals;
use crate::tools::carrier::{Carrier, Means};
use crate::tools::send::Target;

/// Attempts under way.
const AT_ONCE: usize = 128;
/// Descriptors beside the connections: files, the pollers, a store.
const SPARE: u64 = 100;
const SIGNALS: u64 = u64::MAX;

/// Why there are no connections.
#[derive(Debug)]
pub enum Failed {
    /// It cannot be: what, and what to do.
    Cannot(String),
    /// A signal came.
    Stopped,
}

/// The addresses of a server. Waits for a name's look-up.
///
/// # Errors
/// The name has none.
pub fn places(server: &Target) -> Result<Vec<Place>, String> {
    match server {
        Target::Unix(path) => Ok(vec![Place::Unix(path.clone())]),
        Target::Host(host, port) => {
            if let Ok(address) = host.parse::<IpAddr>() {
                return Ok(vec![Place::Inet((address, *port).into())]);
            }
            let found: Vec<Place> = (host.as_str(), *port)
                .to_socket_addrs()
                .map_err(|error| format!("cannot look up {host}: {error}; name the server by its address"))?
                .map(Place::Inet)
                .collect();
            if found.is_empty() { Err(format!("{host} has no address")) } else { Ok(found) }
        }
    }
}

/// Connects `count` times to the first of `places` that answers; in their order.
///
/// # Errors
/// See [`Failed`].
pub fn connect(
    places: &[Place],
    means: &Means,
    count: usize,
    timeout: Duration,
    signals: &Signals,
) -> Result<Vec<Carrier>, Failed> {
    let limit = process::raise_file_limit().unwrap_or(u64::MAX);
    if (count as u64).saturating_add(SPARE) > limit {
        let enough = count as u64 + SPARE;
        return Err(Failed::Cannot(format!(
            "cannot open {count} connections: {limit} open files are allowed; raise it with `ulimit -Hn {enough}`, or use fewer"
        )));
    }
    let mut faults = Vec::new();
    for place in places {
        match Crowd::new((place, means), count, timeout, signals).and_then(Crowd::connect) {
            Ok(streams) => return Ok(streams),
            // With one connection made it is no question of the address any more.
            Err(Stop { made: 0, why: Some(error) }) => faults.push(refused(place, &error)),
            Err(Stop { made, why: Some(error) }) => {
                let reason = format!("{}, after {made} of {count} connections", refused(place, &error));
                return Err(Failed::Cannot(reason));
            }
            Err(Stop { why: None, .. }) => return Err(Failed::Stopped),
        }
    }
    Err(Failed::Cannot(faults.join("; ")))
}

fn refused(place: &Place, error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.rfind(" (os error ").map_or(text.as_str(), |at| &text[..at]);
    let remedy = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EADDRNOTAVAIL) => "; no port is left on this side: wait a minute, or use fewer connections",
        Some(Errno::EACCES) => "; may this user use that socket?",
        Some(Errno::EMFILE | Errno::ENFILE) => "; use fewer connections",
        _ => "; does the server run, and listen there (server.listen)?",
    };
    format!("cannot connect to {place}: {text}{remedy}")
}

/// Why connecting ended early: `None`: by a signal.
struct Stop {
    made: usize,
    why: Option<io::Error>,
}

/// Connections to one address.
struct Crowd<'a> {
    place: &'a Place,
    means: &'a Means,
    timeout: Duration,
    signals: &'a Signals,
    poller: Poller,
    attempts: Vec<Option<(Carrier, Instant)>>,
    made: Vec<Option<Carrier>>,
    begun: usize,
    done: usize,
}

impl<'a> Crowd<'a> {
    fn new(
        (place, means): (&'a Place, &'a Means),
        count: usize,
        timeout: Duration,
        signals: &'a Signals,
    ) -> Result<Self, Stop> {
        let poller = Poller::new(AT_ONCE)
            .and_then(|poller| poller.add(signals, SIGNALS, Interest::Input).map(|()| poller))
            .map_err(|error| Stop { made: 0, why: Some(error) })?;
        let (attempts, made) = ((0..count).map(|_| None).collect(), (0..count).map(|_| None).collect());
        Ok(Self { place, means, timeout, signals, poller, attempts, made, begun: 0, done: 0 })
    }

    fn connect(mut self) -> Result<Vec<Carrier>, Stop> {
        let mut events = Vec::new();
        while self.done < self.made.len() {
            let turn = self.begin_some().and_then(|()| self.wait(&mut events));
            turn.map_err(|why| Stop { made: self.done, why: Some(why) })?;
            if events.iter().any(|event| event.token == SIGNALS) && matches!(self.signals.next(), Ok(Some(_))) {
                return Err(Stop { made: self.done, why: None });
            }
        }
        Ok(self.made.into_iter().flatten().collect())
    }

    fn begin_some(&mut self) -> io::Result<()> {
        // The first alone: most faults concern all.
        let most = if self.done == 0 { 1 } else { AT_ONCE };
        while self.begun < self.made.len() && self.begun - self.done < most {
            let stream = match self.means.begin(self.place) {
                Ok(stream) => stream,
                // A Unix socket's queue is full: later.
                Err(error) if crate::sys::would_block(&error) && self.done > 0 => {
                    std::thread::sleep(Duration::from_millis(1));
                    break;
                }
                Err(error) => return Err(error),
            };
            self.poller.add(&stream, self.begun as u64, Interest::BothEdge)?;
            self.attempts[self.begun] = Some((stream, Instant::now() + self.timeout));
            self.begun += 1;
        }
        Ok(())
    }

    fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        if self.begun == self.done {
            return Ok(());
        }
        self.poller.wait(Some(Duration::from_millis(100)), events)?;
        for event in &*events {
            let Some(place) = usize::try_from(event.token).ok().filter(|at| *at < self.attempts.len()) else {
                continue;
            };
            let Some((stream, _)) = &mut self.attempts[place] else { continue };
            if stream.is_up()? {
                self.poller.remove(crate::sys::AsFd::as_fd(stream))?;
                self.made[place] = self.attempts[place].take().map(|(stream, _)| stream);
                self.done += 1;
            }
        }
        let now = Instant::now();
        // Begun in order: the oldest that waits is near.
        let late = events.is_empty() && self.attempts.iter().flatten().any(|(_, until)| *until <= now);
        if late { Err(Errno::ETIMEDOUT.into()) } else { Ok(()) }
    }
}
