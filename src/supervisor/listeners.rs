//! The listening sockets: bound once, kept over reloads as long as the configuration names them, and over restarts by
//! the service manager; or passed by it, and then the configuration's addresses do not count.
use super::notify::Notify;
use super::passed::{ECHO, Kept, Passed};
use crate::exit::{self, Fatal};
use crate::sys::socket::{Listener, Unfit};
use crate::sys::{AsRawFd, OwnedFd, RawFd};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// All listeners.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Those of the configuration.
    bound: Vec<Bound>,
    /// Those that the service manager listens on itself.
    passed: Vec<Listener>,
    /// Addresses that are not listened on any more; the service manager still keeps their sockets.
    dropped: Vec<SocketAddr>,
    /// No worker has any of them yet.
    unused: bool,
}

#[derive(Debug)]
struct Bound {
    address: SocketAddr,
    listener: Listener,
    /// The service manager keeps it, too.
    kept: bool,
}

impl Listeners {
    /// Takes the sockets out of what was passed: the manager's own, and what a supervisor before had bound.
    ///
    /// # Errors
    /// Exit 78: what a socket unit passes cannot be listened on.
    pub fn adopt(passed: &mut Passed) -> Result<Self, Fatal> {
        let sockets = std::mem::take(&mut passed.sockets).into_iter().map(passed_listener);
        let mut listeners = Self { passed: sockets.collect::<Result<_, _>>()?, unused: true, ..Self::default() };
        let (kept, rest) = std::mem::take(&mut passed.kept).into_iter().partition(|(kept, _)| is_listener(*kept));
        passed.kept = rest;
        for (kept, fd) in kept {
            let Kept::Listener(address) = kept else { continue };
            match Listener::inherited(fd) {
                Ok(listener) => listeners.bound.push(Bound { address, listener, kept: true }),
                Err(_) => listeners.dropped.push(address),
            }
        }
        Ok(listeners)
    }

    /// The listeners for `addresses`: those of `self` where the address is the same, new ones for the rest. `self` stays
    /// as it is if any cannot be bound. None of this where the service manager has passed sockets.
    ///
    /// # Errors
    /// Exit 69: an address cannot be listened on.
    pub fn follow(&mut self, addresses: &[SocketAddr], keepalive: Option<Duration>) -> Result<(), Fatal> {
        let addresses = if self.passed.is_empty() { addresses } else { &[] };
        let mut fresh = Vec::new();
        for &address in addresses.iter().filter(|&&address| !self.has(address)) {
            let listener = Listener::bind(address, keepalive)
                .or_else(|error| self.make_way(address, addresses, keepalive, error))?;
            fresh.push(Bound { address, listener, kept: false });
        }
        self.unused = false;
        let (stay, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.bound).into_iter().partition(|bound| addresses.contains(&bound.address));
        self.bound = stay;
        self.bound.append(&mut fresh);
        self.dropped.extend(go.iter().filter(|bound| bound.kept).map(|bound| bound.address));
        for listener in self.all() {
            // Only a socket that is gone could refuse this.
            let _ = listener.set_keepalive(keepalive);
        }
        Ok(())
    }

    /// Binds `address`, which was refused with `error`, at the cost of kept listeners that are not wanted any more: of
    /// `127.0.0.1:7007` for `0.0.0.0:7007`. The service manager has them open, too, so closing ours would not do.
    fn make_way(
        &self,
        address: SocketAddr,
        wanted: &[SocketAddr],
        keepalive: Option<Duration>,
        error: io::Error,
    ) -> Result<Listener, Fatal> {
        let in_the_way = |bound: &&Bound| overlap(bound.address, address) && !wanted.contains(&bound.address);
        let in_the_way: Vec<&Bound> = self.bound.iter().filter(in_the_way).collect();
        match in_the_way.first() {
            _ if error.kind() != io::ErrorKind::AddrInUse => return Err(cannot(address, &error)),
            None => return Err(cannot(address, &error)),
            Some(Bound { address: ours, .. }) if !self.unused => {
                let message =
                    format!("cannot listen on {address} while this daemon listens on {ours}; restart it instead");
                return Err(Fatal::new(exit::CANNOT_LISTEN, message));
            }
            Some(_) => {}
        }
        in_the_way.iter().for_each(|bound| drop(bound.listener.rest()));
        Listener::bind(address, keepalive).map_err(|error| {
            // The next start shall find them as they were.
            in_the_way.iter().for_each(|bound| drop(bound.listener.listen_again()));
            cannot(address, &error)
        })
    }

    /// Has the service manager keep what this process has bound, for the daemon after this one: nobody who connects
    /// meanwhile is refused.
    pub fn keep(&mut self, notify: &mut Notify) {
        for address in self.dropped.drain(..) {
            notify.remove(&Kept::Listener(address).name());
        }
        for bound in self.bound.iter_mut().filter(|bound| !bound.kept) {
            bound.kept = true;
            notify.store(&Kept::Listener(bound.address).name(), &bound.listener);
        }
    }

    fn has(&self, address: SocketAddr) -> bool {
        self.bound.iter().any(|bound| bound.address == address)
    }

    fn all(&self) -> impl Iterator<Item = &Listener> {
        self.bound.iter().map(|bound| &bound.listener).chain(&self.passed)
    }

    /// Where they really listen, for people.
    pub fn places(&self) -> Vec<String> {
        let place = |listener: &Listener| listener.local_address().map_or("?".to_owned(), |place| place.to_string());
        let bound = self.bound.iter().map(|bound| place(&bound.listener));
        bound.chain(self.passed.iter().map(place)).collect()
    }

    /// Whether the service manager has passed them.
    pub fn are_passed(&self) -> bool {
        !self.passed.is_empty()
    }

    /// Their descriptors.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.all().map(AsRawFd::as_raw_fd)
    }
}

/// Whether two addresses, not the same, cannot be listened on at once (`IPV6_V6ONLY` keeps the families apart).
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
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

fn cannot(address: SocketAddr, error: &io::Error) -> Fatal {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "another program listens there (ss -ltnp 'sport = :{}' names it), or two addresses of server.listen overlap",
                address.port()
            )
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE, a socket unit, or start as root with [daemon] user".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address".to_owned(),
        _ => "check server.listen".to_owned(),
    };
    Fatal::new(exit::CANNOT_LISTEN, format!("cannot listen on {address}: {error}; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn what_did_not_change_is_kept_and_a_failure_changes_nothing() {
        let taken = std::net::TcpListener::bind(any()).unwrap();
        let mut listeners = Listeners::default();
        listeners.follow(&[any()], None).unwrap();
        let first = listeners.places();
        let refused = listeners.follow(&[any(), taken.local_addr().unwrap()], None).unwrap_err();
        assert_eq!(refused.code, exit::CANNOT_LISTEN);
        assert_eq!(listeners.places(), first);
        let six: SocketAddr = "[::1]:0".parse().unwrap();
        listeners.follow(&[any(), six], Some(Duration::from_secs(60))).unwrap();
        assert_eq!(listeners.places()[0], first[0]);
        listeners.follow(&[six], None).unwrap();
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
        listeners.follow(&[there], None).unwrap();
        assert_eq!(listeners.places(), [there.to_string()]);
        assert_eq!(listeners.dropped, [broken, here]);

        passed.sockets = vec![listening().into()];
        let mut listeners = Listeners::adopt(&mut passed).unwrap();
        listeners.follow(&[there], None).unwrap();
        assert_eq!((listeners.bound.len(), listeners.places().len()), (0, 1));
        passed.sockets = vec![commit().1];
        assert_eq!(Listeners::adopt(&mut passed).unwrap_err().code, exit::CONFIG);
    }

    fn commit() -> (Kept, OwnedFd) {
        (Kept::Commit, OwnedFd::from(std::fs::File::open("/dev/null").unwrap()))
    }
}
