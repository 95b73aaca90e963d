//! Connections that we make: non-blocking stream sockets of TCP and `AF_UNIX`.
use super::{AsFd, BorrowedFd};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

/// When a silent connection is probed: the first time, and then (tcp(7)). The kernel does it; the process sleeps.
const KEEPALIVE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(10)];

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the network.
    Inet(SocketAddr),
    /// On this machine: a path, or an abstract name after a NUL (unix(7)).
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display().to_string().replace('\0', "@").escape_debug()),
        }
    }
}

/// A connection that is being made, or has been.
#[derive(Debug)]
pub struct Outgoing(Socket);

impl Outgoing {
    /// Begins to connect; [`Self::is_up`] tells of the outcome once there is room for output.
    pub fn begin(place: &Place) -> io::Result<Self> {
        let (domain, protocol, address) = match place {
            Place::Inet(address) => (Domain::for_address(*address), Some(Protocol::TCP), SockAddr::from(*address)),
            Place::Unix(path) => (Domain::UNIX, None, SockAddr::unix(path)?),
        };
        let socket = Socket::new(domain, Type::STREAM, protocol)?;
        socket.set_nonblocking(true)?;
        if protocol.is_some() {
            socket.set_tcp_nodelay(true)?;
            let [idle, interval] = KEEPALIVE;
            let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(6);
            socket.set_tcp_keepalive(&keepalive)?;
            // Urgent data is foreign data like any other: it must be seen.
            socket.set_out_of_band_inline(true)?;
        }
        match socket.connect(&address) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
            _ => Ok(Self(socket)),
        }
    }

    /// Whether the connection is made; an error if it cannot be.
    ///
    /// A TCP socket can connect to itself, when its own port happens to be the one it asks for and nobody listens there
    /// (RFC 9293, simultaneous open). It would then hear an echo of everything: here that is `ECONNREFUSED`.
    pub fn is_up(&self) -> io::Result<bool> {
        if let Some(error) = self.0.take_error()? {
            return Err(error);
        }
        let peer = match self.0.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
            peer => peer?,
        };
        let itself = peer.is_ipv4() || peer.is_ipv6();
        if itself && peer.as_socket() == self.0.local_addr()?.as_socket() {
            return Err(Errno::ECONNREFUSED.into());
        }
        Ok(true)
    }

    /// Our own end, as the server sees it; empty for a Unix socket, which has no name there.
    pub fn local(&self) -> String {
        let address = self.0.local_addr().ok().and_then(|address| address.as_socket());
        address.map_or_else(String::new, |address| address.to_string())
    }

    /// Reads once, appending at most `limit` bytes to `buffer`. 0: the server has sent everything.
    pub fn read(&self, buffer: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
        super::file::read_append(self.0.as_fd(), buffer, limit)
    }

    /// Reads once into `bytes`. 0: the server has sent everything.
    pub fn receive(&self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.0.as_raw_fd(), bytes, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                result => return Ok(result?),
            }
        }
    }

    /// Writes once; may be short. Never raises `SIGPIPE`.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Err(Errno::EINTR) => {}
                result => return Ok(result?),
            }
        }
    }

    /// Whether the end of this socket, also by the death of the process, is a reset: what is under way is thrown away, and the
    /// server sees a connection that broke, not the end of a message (socket(7), `SO_LINGER` of 0).
    pub fn reset_at_end(&self, reset: bool) -> io::Result<()> {
        self.0.set_linger(reset.then_some(Duration::ZERO))
    }

    /// Says that nothing more will be sent (shutdown(2), `SHUT_WR`).
    pub fn finish(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

impl AsFd for Outgoing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ready::{Watched, wait};
    use std::net::TcpListener;

    fn outcome(outgoing: &Outgoing) -> io::Result<bool> {
        wait(&[Watched { fd: outgoing.as_fd(), input: false, output: true }], Some(Duration::from_secs(10))).unwrap();
        outgoing.is_up()
    }

    #[test]
    fn a_connection_is_made_or_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(outcome(&Outgoing::begin(&Place::Inet(address)).unwrap()).unwrap());
        drop(listener);
        let refused = Outgoing::begin(&Place::Inet(address)).and_then(|outgoing| outcome(&outgoing));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let nowhere = Outgoing::begin(&Place::Unix("/nonexistent/socket".into()));
        assert_eq!(nowhere.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_socket_that_is_connected_to_itself_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.bind(&SockAddr::from("127.0.0.1:0".parse::<SocketAddr>().unwrap())).unwrap();
        socket.connect(&socket.local_addr().unwrap()).unwrap();
        assert_eq!(Outgoing(socket).is_up().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
