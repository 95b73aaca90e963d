//! The listening sockets: bound once, kept over reloads as long as the configuration names them.
use crate::exit::{self, Fatal};
use crate::sys::socket::{Address, Listener};
use crate::sys::{AsRawFd, RawFd};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Listeners with the addresses that the configuration has for them.
#[derive(Debug, Default)]
pub struct Listeners(Vec<(SocketAddr, Listener)>);

impl Listeners {
    /// The listeners for `addresses`: those of `self` where the address is the same, new ones for the rest. `self` stays
    /// as it is if any cannot be bound.
    ///
    /// # Errors
    /// Exit 69: an address cannot be listened on.
    pub fn follow(&mut self, addresses: &[SocketAddr], keepalive: Option<Duration>) -> Result<(), Fatal> {
        let mut fresh = Vec::new();
        for &address in addresses.iter().filter(|&&address| !self.has(address)) {
            let listener = Listener::bind(address, keepalive).map_err(|error| cannot(address, &error))?;
            fresh.push((address, listener));
        }
        self.0.retain(|(address, _)| addresses.contains(address));
        self.0.append(&mut fresh);
        for (_, listener) in &self.0 {
            // Only a socket that is gone could refuse this.
            let _ = listener.set_keepalive(keepalive);
        }
        Ok(())
    }

    fn has(&self, address: SocketAddr) -> bool {
        self.0.iter().any(|(bound, _)| *bound == address)
    }

    /// The addresses really bound.
    pub fn addresses(&self) -> Vec<Address> {
        let bound =
            |(address, listener): &(SocketAddr, Listener)| listener.local_address().unwrap_or(Address::Inet(*address));
        self.0.iter().map(bound).collect()
    }

    /// Their descriptors.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.0.iter().map(|(_, listener)| listener.as_raw_fd())
    }
}

fn cannot(address: SocketAddr, error: &io::Error) -> Fatal {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another program listens there (ss -ltnp 'sport = :{}' names it)", address.port())
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
        let first = listeners.addresses();
        let refused = listeners.follow(&[any(), taken.local_addr().unwrap()], None).unwrap_err();
        assert_eq!(refused.code, exit::CANNOT_LISTEN);
        assert_eq!(listeners.addresses(), first);
        let six: SocketAddr = "[::1]:0".parse().unwrap();
        listeners.follow(&[any(), six], Some(Duration::from_secs(60))).unwrap();
        assert_eq!(listeners.addresses()[0], first[0]);
        listeners.follow(&[six], None).unwrap();
        assert_eq!(listeners.addresses().len(), 1);
    }
}
