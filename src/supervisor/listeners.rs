//! The listening sockets: bound once, kept over reloads as long as the configuration names them, and over restarts by
//! the service manager; or passed by it, and then the configuration's addresses do not count.
use super::notify::Notify;
use super::passed::{ECHO, Kept, Passed, TLS};
use super::socket_file::{Obstacle, SocketFile};
use crate::config::{Config, Listen};
use crate::exit::{self, Fatal};
use crate::ipc::seat::Speaks;
use crate::sys::socket::{Listener, Unfit};
use crate::sys::{AsRawFd, OwnedFd, RawFd};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// What most addresses stand in.
const KEY: &str = "server.listen";

/// What a configuration wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    places: Vec<(Listen, Speaks)>,
    keepalive: Option<Duration>,
    unix_mode: u32,
}

impl Wanted {
    /// All of `config`.
    pub fn of(config: &Config) -> Self {
        let plain = config.server.listen.iter().map(|place| (place.clone(), Speaks::Plain));
        let tls = config.tls.listen.iter().map(|address| (Listen::Inet(*address), Speaks::Tls));
        let server = &config.server;
        Self { places: plain.chain(tls).collect(), keepalive: server.keepalive, unix_mode: server.unix_mode }
    }

    /// Without Unix sockets: their files are made by the user that the daemon runs as.
    pub fn of_the_network(config: &Config) -> Self {
        let mut wanted = Self::of(config);
        wanted.places.retain(|(place, _)| matches!(place, Listen::Inet(_)));
        wanted
    }

    fn has(&self, place: &Listen) -> bool {
        self.places.iter().any(|(wanted, _)| wanted == place)
    }
}

/// All listeners.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Those of the configuration.
    bound: Vec<Bound>,
    /// Those that the service manager listens on itself.
    passed: Vec<(Listener, Speaks)>,
    /// Addresses that are not listened on any more; the service manager still keeps their sockets.
    dropped: Vec<SocketAddr>,
    /// No worker has any of them yet.
    unused: bool,
}

#[derive(Debug)]
struct Bound {
    place: Listen,
    speaks: Speaks,
    listener: Listener,
    /// Of a Unix socket.
    file: Option<SocketFile>,
    /// The service manager keeps it, too.
    kept: bool,
}

impl Bound {
    fn new((place, speaks): &(Listen, Speaks), wanted: &Wanted, ours: &Listeners) -> Result<Self, Fatal> {
        let (listener, file) = match place {
            Listen::Inet(address) => {
                let listener = Listener::bind(*address, wanted.keepalive);
                (listener.or_else(|error| ours.make_way(*address, wanted, error))?, None)
            }
            Listen::Unix(path) => {
                let (listener, file) =
                    SocketFile::make(path, wanted.unix_mode).map_err(|obstacle| cannot_make(path, obstacle))?;
                (Listener::from_fd(listener.into()), Some(file))
            }
        };
        Ok(Self { place: place.clone(), speaks: *speaks, listener, file, kept: false })
    }

    fn address(&self) -> Option<SocketAddr> {
        match self.place {
            Listen::Inet(address) => Some(address),
            Listen::Unix(_) => None,
        }
    }

    /// Whether it still is where it was made: anybody who may write to a socket's directory can take its name away.
    fn is_in_place(&self) -> bool {
        self.file.as_ref().is_none_or(|file| file.is_at(file.path()))
    }
}

impl Listeners {
    /// Takes the sockets out of what was passed: the manager's own, and what a supervisor before had bound.
    ///
    /// # Errors
    /// Exit 78: what a socket unit passes cannot be listened on.
    pub fn adopt(passed: &mut Passed) -> Result<Self, Fatal> {
        let sockets =
            std::mem::take(&mut passed.sockets).into_iter().map(|fd| Ok((passed_listener(fd)?, Speaks::Plain)));
        let tls = std::mem::take(&mut passed.tls).into_iter().map(|fd| Ok((passed_listener(fd)?, Speaks::Tls)));
        let passed_on = sockets.chain(tls).collect::<Result<_, _>>()?;
        let mut listeners = Self { passed: passed_on, unused: true, ..Self::default() };
        let (kept, rest) = std::mem::take(&mut passed.kept).into_iter().partition(|(kept, _)| is_listener(*kept));
        passed.kept = rest;
        for (kept, fd) in kept {
            let Kept::Listener(address) = kept else { continue };
            match Listener::inherited(fd) {
                Ok(listener) => {
                    let (place, speaks) = (Listen::Inet(address), Speaks::Plain);
                    listeners.bound.push(Bound { place, speaks, listener, file: None, kept: true });
                }
                Err(_) => listeners.dropped.push(address),
            }
        }
        Ok(listeners)
    }

    /// Whether what was passed can be served.
    ///
    /// # Errors
    /// Exit 78: TLS is to be spoken on a socket, and there is no certificate.
    pub fn check(&self, has_certificate: bool) -> Result<(), Fatal> {
        if has_certificate || !self.passed.iter().any(|(_, speaks)| *speaks == Speaks::Tls) {
            return Ok(());
        }
        let message = format!(
            "the service manager passes a socket named {TLS}, and there is no certificate for it; set tls.certificate and tls.key"
        );
        Err(Fatal::new(exit::CONFIG, message))
    }

    /// The listeners that are `wanted`: those of `self` where the place is the same, new ones for the rest. `self` stays
    /// as it is if any cannot be bound. None of this where the service manager has passed sockets.
    ///
    /// # Errors
    /// Exit 69: a place cannot be listened at.
    pub fn follow(&mut self, wanted: &Wanted) -> Result<(), Fatal> {
        let mut wanted = wanted.clone();
        if self.are_passed() {
            wanted.places.clear();
        }
        let is_new =
            |place: &&(Listen, Speaks)| !self.bound.iter().any(|bound| bound.place == place.0 && bound.is_in_place());
        let fresh = wanted.places.iter().filter(is_new).map(|place| Bound::new(place, &wanted, self));
        let mut fresh = fresh.collect::<Result<Vec<_>, _>>()?;
        self.unused = false;
        let (stay, go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.bound)
            .into_iter()
            .partition(|bound| wanted.has(&bound.place) && bound.is_in_place());
        self.bound = stay;
        self.bound.append(&mut fresh);
        self.dropped.extend(go.iter().filter(|bound| bound.kept).filter_map(Bound::address));
        for bound in &mut self.bound {
            let speaks = wanted.places.iter().find(|(place, _)| *place == bound.place);
            bound.speaks = speaks.map_or(bound.speaks, |(_, speaks)| *speaks);
            if let Some(file) = &bound.file {
                let _ = file.set_mode(wanted.unix_mode);
            }
        }
        let bound = self.bound.iter().map(|bound| &bound.listener);
        for listener in bound.chain(self.passed.iter().map(|(listener, _)| listener)) {
            // Only a socket that is gone could refuse this.
            let _ = listener.set_keepalive(wanted.keepalive);
        }
        Ok(())
    }

    /// Binds `address`, which was refused with `error`, at the cost of kept listeners that are not wanted any more: of
    /// `127.0.0.1:7007` for `0.0.0.0:7007`. The service manager has them open, too, so closing ours would not do.
    fn make_way(&self, address: SocketAddr, wanted: &Wanted, error: io::Error) -> Result<Listener, Fatal> {
        let in_the_way =
            |bound: &&Bound| bound.address().is_some_and(|ours| overlap(ours, address)) && !wanted.has(&bound.place);
        let in_the_way: Vec<&Bound> = self.bound.iter().filter(in_the_way).collect();
        match in_the_way.first() {
            _ if error.kind() != io::ErrorKind::AddrInUse => return Err(cannot(KEY, address, &error)),
            None => return Err(cannot(KEY, address, &error)),
            Some(Bound { place: ours, .. }) if !self.unused => {
                let message =
                    format!("cannot listen on {address} while this daemon listens on {ours}; restart it instead");
                return Err(Fatal::new(exit::CANNOT_LISTEN, message));
            }
            Some(_) => {}
        }
        in_the_way.iter().for_each(|bound| drop(bound.listener.rest()));
        Listener::bind(address, wanted.keepalive).map_err(|error| {
            // The next start shall find them as they were.
            in_the_way.iter().for_each(|bound| drop(bound.listener.listen_again()));
            cannot(KEY, address, &error)
        })
    }

    /// Has the service manager keep what this process has bound, for the daemon after this one: nobody who connects
    /// meanwhile is refused. Not Unix sockets: their files go with this daemon.
    pub fn keep(&mut self, notify: &mut Notify) {
        for address in self.dropped.drain(..) {
            notify.remove(&Kept::Listener(address).name());
        }
        for bound in self.bound.iter_mut().filter(|bound| !bound.kept) {
            if let Some(address) = bound.address() {
                bound.kept = true;
                notify.store(&Kept::Listener(address).name(), &bound.listener);
            }
        }
    }

    /// Their descriptors, with what is spoken there and where they really listen.
    pub fn named(&self) -> impl Iterator<Item = (RawFd, Speaks, String)> {
        let place = |listener: &Listener| listener.local_address().map_or("?".to_owned(), |place| place.to_string());
        let bound = self.bound.iter().map(move |bound| {
            let place = match &bound.place {
                // The socket was bound by another name than it has now.
                Listen::Unix(_) => bound.place.to_string(),
                Listen::Inet(_) => place(&bound.listener),
            };
            (bound.listener.as_raw_fd(), bound.speaks, place)
        });
        let passed = self.passed.iter();
        bound.chain(passed.map(move |(listener, speaks)| (listener.as_raw_fd(), *speaks, place(listener))))
    }

    /// Where they really listen, for people.
    pub fn places(&self) -> Vec<String> {
        let place = |(_, speaks, place)| if speaks == Speaks::Tls { format!("{place} (TLS)") } else { place };
        self.named().map(place).collect()
    }

    /// Whether the service manager has passed them.
    pub fn are_passed(&self) -> bool {
        !self.passed.is_empty()
    }

    /// Their descriptors.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        let bound = self.bound.iter().map(|bound| bound.listener.as_raw_fd());
        bound.chain(self.passed.iter().map(|(listener, _)| listener.as_raw_fd()))
    }
}

fn cannot_make(path: &Path, obstacle: Obstacle) -> Fatal {
    let path = path.display();
    let why = match obstacle {
        Obstacle::Taken => "another program answers there; stop it, or set another path in server.listen".to_owned(),
        Obstacle::Foreign => {
            "what is there is no socket; move it away, or set another path in server.listen".to_owned()
        }
        Obstacle::System(error) => {
            format!("{error}; set a path in a directory that the daemon's user may write to, as /run/echostored is")
        }
    };
    Fatal::new(exit::CANNOT_LISTEN, format!("cannot listen at {path}: {why}"))
}

/// Whether two addresses, not the same, cannot be listened on at once (`IPV6_V6ONLY` keeps the families apart).
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let wide = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && wide
}

fn is_listener(kept: Kept) -> bool {
    matches!(kept, Kept::Listener(_))
}

fn passed_listener(fd: OwnedFd) -> Result<Listener, Fatal> {
    Listener::inherited(fd).map_err(|unfit: Unfit| {
        let message = format!("cannot listen on a descriptor that the service manager passes as {ECHO}: {unfit}");
        Fatal::new(exit::CONFIG, message)
    })
}

/// That an address of `key` cannot be listened on, why, and what to do.
pub(super) fn cannot(key: &str, address: SocketAddr, error: &io::Error) -> Fatal {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "another program listens there (ss -ltnp 'sport = :{}' names it), or two addresses of {key} overlap",
                address.port()
            )
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE, a socket unit, or start as root with [daemon] user".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address".to_owned(),
        _ => format!("check {key}"),
    };
    Fatal::new(exit::CANNOT_LISTEN, format!("cannot listen on {address}: {error}; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    fn wanted(addresses: &[SocketAddr], keepalive: Option<Duration>) -> Wanted {
        let places = addresses.iter().map(|&address| (Listen::Inet(address), Speaks::Plain)).collect();
        Wanted { places, keepalive, unix_mode: 0o660 }
    }

    #[test]
    fn what_did_not_change_is_kept_and_a_failure_changes_nothing() {
        let taken = std::net::TcpListener::bind(any()).unwrap();
        let mut listeners = Listeners::default();
        listeners.follow(&wanted(&[any()], None)).unwrap();
        let first = listeners.places();
        let refused = listeners.follow(&wanted(&[any(), taken.local_addr().unwrap()], None)).unwrap_err();
        assert_eq!(refused.code, exit::CANNOT_LISTEN);
        assert_eq!(listeners.places(), first);
        let six: SocketAddr = "[::1]:0".parse().unwrap();
        listeners.follow(&wanted(&[any(), six], Some(Duration::from_secs(60)))).unwrap();
        assert_eq!(listeners.places()[0], first[0]);
        listeners.follow(&wanted(&[six], None)).unwrap();
        assert_eq!(listeners.places().len(), 1);
    }

    #[test]
    fn kept_listeners_are_taken_up_and_passed_ones_leave_no_other() {
        let listening = || std::net::TcpListener::bind(any()).unwrap();
        let (first, second) = (listening(), listening());
        let [here, there] = [&first, &second].map(|socket| socket.local_addr().unwrap());
        let kept = |address, socket: std::net::TcpListener| (Kept::Listener(address), OwnedFd::from(socket));
        let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let broken = "127.0.0.1:1".parse().unwrap();
        let kept = vec![kept(here, first), kept(there, second), (Kept::Listener(broken), null), commit()];
        let mut passed = Passed { kept, ..Passed::default() };
        let mut listeners = Listeners::adopt(&mut passed).unwrap();
        assert_eq!(passed.kept.len(), 1, "the rest is not a listener");
        listeners.follow(&wanted(&[there], None)).unwrap();
        assert_eq!(listeners.places(), [there.to_string()]);
        assert_eq!(listeners.dropped, [broken, here]);

        passed.sockets = vec![listening().into()];
        let mut listeners = Listeners::adopt(&mut passed).unwrap();
        listeners.follow(&wanted(&[there], None)).unwrap();
        assert_eq!((listeners.bound.len(), listeners.places().len()), (0, 1));
        passed.sockets = vec![commit().1];
        assert_eq!(Listeners::adopt(&mut passed).unwrap_err().code, exit::CONFIG);
    }

    fn commit() -> (Kept, OwnedFd) {
        (Kept::Commit, OwnedFd::from(std::fs::File::open("/dev/null").unwrap()))
    }
}
