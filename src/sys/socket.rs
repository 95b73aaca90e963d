//! Stream sockets, of TCP and of `AF_UNIX`: the door of socket2.
use super::{AsFd, AsRawFd, BorrowedFd, OwnedFd, retry};
use nix::libc;
use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// The backlog asked for; the kernel cuts it to `net.core.somaxconn` (listen(2)).
const BACKLOG: i32 = 4096;

/// Who is at the other end of a connection.
///
/// Printed without a space, as it stands in a record: `192.0.2.1:53210`, `[2001:db8::1]:53210`, `unix:4711:1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over the network.
    Inet(SocketAddr),
    /// Of this machine, by a Unix socket.
    Unix {
        /// The process that connected (unix(7), `SO_PEERCRED`); 0 where it cannot be seen from this PID namespace.
        pid: u32,
        /// The user that it ran as then.
        uid: u32,
    },
}

impl Peer {
    /// One of the network: an IPv4 address that an IPv6 one stands for is shown as what it is.
    pub fn of(address: SocketAddr) -> Self {
        Self::Inet(unmapped(address))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix { pid, uid } => write!(f, "unix:{pid}:{uid}"),
        }
    }
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// In the network.
    Inet(SocketAddr),
    /// A path, or an abstract name after `@`; printable.
    Unix(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(name) => f.write_str(name),
        }
    }
}

impl Address {
    fn of(address: &SockAddr) -> io::Result<Self> {
        let printable = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.chars().map(|char| if char.is_control() { '?' } else { char }).collect::<String>()
        };
        if let Some(address) = address.as_socket() {
            return Ok(Self::Inet(address));
        }
        let path = address.as_pathname().map(|path| printable(path.as_os_str().as_encoded_bytes()));
        let name = || address.as_abstract_namespace().map(|name| format!("@{}", printable(name)));
        path.or_else(name).map(Self::Unix).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Why a descriptor that was passed to us is no listener of ours.
#[derive(Debug)]
pub enum Unfit {
    /// It cannot be asked (getsockopt(2)), or not be made non-blocking.
    System(io::Error),
    /// It is not `SOCK_STREAM`.
    NotAStream,
    /// It does not listen.
    NotListening,
    /// It is neither of IPv4, IPv6 nor Unix.
    Family(i32),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => f.write_str("it is not a socket"),
            Self::System(error) => write!(f, "it cannot be used as a socket: {error}"),
            Self::NotAStream => f.write_str("it is not a stream socket: use ListenStream="),
            Self::NotListening => f.write_str("it does not listen: a connection was passed; use Accept=no"),
            Self::Family(family) => {
                write!(f, "its address family is {family}: only IPv4, IPv6 and Unix sockets are served")
            }
        }
    }
}

impl std::error::Error for Unfit {}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// A listening stream socket, non-blocking, shared by all workers.
#[derive(Debug)]
pub struct Listener(Socket);

impl Listener {
    /// Binds and listens on `address`.
    ///
    /// `SO_REUSEADDR`, so that a restart need not wait for old connections; `IPV6_V6ONLY`, so that `0.0.0.0:P` and
    /// `[::]:P` stand side by side. No delay, keep-alive and in-line urgent data are set here once: accepted sockets inherit them (tcp(7)).
    pub fn bind(address: SocketAddr, keepalive: Option<Duration>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        let listener = Self(socket);
        listener.set_inherited_options()?;
        listener.set_keepalive(keepalive)?;
        listener.0.bind(&address.into())?;
        listener.0.listen(BACKLOG)?;
        Ok(listener)
    }

    /// Takes over a listening socket that somebody else has bound, and makes it as one of ours, but for its keep-alive
    /// time. Its address, backlog and file stay as they are.
    ///
    /// # Errors
    /// It is not a listening stream socket of IPv4, IPv6 or Unix.
    pub fn inherited(fd: OwnedFd) -> Result<Self, Unfit> {
        let listener = Self::from_fd(fd);
        if listener.0.r#type()? != Type::STREAM {
            return Err(Unfit::NotAStream);
        }
        let domain = listener.0.domain()?;
        if ![Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain) {
            return Err(Unfit::Family(domain.into()));
        }
        if !listener.0.is_listener()? {
            return Err(Unfit::NotListening);
        }
        listener.0.set_cloexec(true)?;
        listener.0.set_nonblocking(true)?;
        if !listener.is_unix() {
            listener.set_inherited_options()?;
        }
        Ok(listener)
    }

    /// What connections inherit from a TCP listener (tcp(7)).
    fn set_inherited_options(&self) -> io::Result<()> {
        self.0.set_tcp_nodelay(true)?;
        // Urgent data is data like any other: it is stored and echoed in its place.
        self.0.set_out_of_band_inline(true)
    }

    /// Stops listening, for everybody who has this socket; who waits in its queue is refused.
    pub fn rest(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Both)
    }

    /// Listens again.
    pub fn listen_again(&self) -> io::Result<()> {
        self.0.listen(BACKLOG)
    }

    /// Whether its clients are of this machine, by a Unix socket.
    pub fn is_unix(&self) -> bool {
        self.0.domain().is_ok_and(|domain| domain == Domain::UNIX)
    }

    /// Changes the keep-alive time that connections accepted from now on inherit. A Unix socket has none: its peer
    /// cannot vanish without a word.
    pub fn set_keepalive(&self, keepalive: Option<Duration>) -> io::Result<()> {
        if self.is_unix() {
            return Ok(());
        }
        set_keepalive(&SockRef::from(&self.0), keepalive)
    }

    /// Takes over an inherited listener.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(Socket::from(fd))
    }

    /// The address really bound: it tells the port that the kernel chose for port 0.
    pub fn local_address(&self) -> io::Result<Address> {
        Address::of(&self.0.local_addr()?)
    }

    /// The next connection and its peer, if one is waiting.
    pub fn accept(&self) -> io::Result<(Stream, Peer)> {
        let (socket, address) = self.0.accept_raw()?;
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        let peer = match address.as_socket() {
            Some(address) => Peer::of(address),
            None => {
                // Connections inherit nothing from a Unix listener.
                socket.set_out_of_band_inline(true)?;
                let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
                Peer::Unix { pid: u32::try_from(credentials.pid()).unwrap_or(0), uid: credentials.uid() }
            }
        };
        Ok((Stream(socket), peer))
    }
}

/// An IPv6 socket of both families, which a service manager may pass, shows IPv4 addresses as mapped (RFC 4291, 2.5.5.2).
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(six) => match six.ip().to_ipv4_mapped() {
            Some(four) => SocketAddr::from((four, six.port())),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

fn set_keepalive(socket: &SockRef<'_>, keepalive: Option<Duration>) -> io::Result<()> {
    let Some(idle) = keepalive else {
        return socket.set_keepalive(false);
    };
    let idle = idle.max(Duration::from_secs(1));
    // A dead peer is gone after the idle time and three unanswered probes within half of it.
    let interval = (idle / 6).max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(3))
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> super::RawFd {
        self.0.as_raw_fd()
    }
}

/// Whether somebody listens at the Unix socket `path`: connects, and leaves. Never waits: a queue that is full is
/// `WouldBlock` (connect(2), `EAGAIN`).
pub fn knock(path: &std::path::Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&socket2::SockAddr::unix(path)?)
}

/// A connected, non-blocking stream socket.
#[derive(Debug)]
pub struct Stream(Socket);

impl Stream {
    /// Reads once, appending at most `limit` bytes to `buffer`. 0: the peer has sent everything.
    pub fn read(&self, buffer: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
        super::file::read_append(self.0.as_fd(), buffer, limit)
    }

    /// Puts what can be read into `buffer`, which is emptied, and leaves it there to be read (recv(2), `MSG_PEEK`). Fills at
    /// most the buffer's capacity; 0: the peer has sent everything.
    pub fn peek(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        buffer.clear();
        let count = self.0.peek(buffer.spare_capacity_mut())?;
        // SAFETY: the kernel has filled so many bytes of the spare capacity, which begins at 0.
        unsafe { buffer.set_len(count) };
        Ok(count)
    }

    /// Writes once; may be short. Never raises `SIGPIPE`.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: send reads at most `bytes.len()` bytes of `bytes`, which outlives the call.
        retry(|| unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
    }

    /// Says that nothing more will be sent (shutdown(2), `SHUT_WR`).
    pub fn finish(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener, UnixStream};

    fn flags(fd: &impl AsFd) -> (bool, bool) {
        use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
        let status = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap());
        let own = FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap());
        (status.contains(OFlag::O_NONBLOCK), own.contains(FdFlag::FD_CLOEXEC))
    }

    fn refused(fd: impl Into<OwnedFd>) -> String {
        Listener::inherited(fd.into()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_listener_is_refused_with_the_reason() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(refused(tempfile::tempfile().unwrap()), "it is not a socket");
        assert!(refused(UdpSocket::bind("127.0.0.1:0").unwrap()).contains("not a stream socket"));
        assert!(refused(UnixDatagram::bind(place.path().join("d")).unwrap()).contains("not a stream socket"));
        assert!(refused(UnixStream::pair().unwrap().0).contains("does not listen"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(refused(TcpStream::connect(listener.local_addr().unwrap()).unwrap()).contains("does not listen"));
        if let Ok(other) = Socket::new(Domain::VSOCK, Type::STREAM, None) {
            assert!(refused(other).contains("its address family is 40"));
        }
    }

    #[test]
    fn a_listener_that_was_passed_is_as_one_of_ours() {
        let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = theirs.local_addr().unwrap();
        let listener = Listener::inherited(theirs.into()).unwrap();
        listener.set_keepalive(Some(Duration::from_secs(60))).unwrap();
        assert_eq!((flags(&listener), listener.is_unix()), ((true, true), false));
        assert_eq!(listener.local_address().unwrap(), Address::Inet(address));
        assert!(super::super::would_block(&listener.accept().unwrap_err()));
        let client = TcpStream::connect(address).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        assert_eq!(peer, Peer::Inet(client.local_addr().unwrap()));
        assert!(stream.0.tcp_nodelay().unwrap() && stream.0.keepalive().unwrap());
    }

    /// Both ends of a conversation over a Unix listener, and what it prints for its address.
    fn converse(theirs: UnixListener, address: &UnixAddress) -> String {
        theirs.set_nonblocking(false).unwrap();
        let listener = Listener::inherited(theirs.into()).unwrap();
        listener.set_keepalive(Some(Duration::from_secs(60))).unwrap();
        assert_eq!((flags(&listener), listener.is_unix()), ((true, true), true));
        assert!(super::super::would_block(&listener.accept().unwrap_err()));
        let mut client = UnixStream::connect_addr(address).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        let uid = nix::unistd::getuid().as_raw();
        assert_eq!(peer, Peer::Unix { pid: std::process::id(), uid });
        assert_eq!(peer.to_string(), format!("unix:{}:{uid}", std::process::id()));
        assert_eq!(flags(&stream), (true, true));
        client.write_all(b"hello\n").unwrap();
        let mut read = Vec::new();
        stream.read(&mut read, 100).unwrap();
        assert_eq!(read, b"hello\n");
        assert_eq!(stream.write(&read).unwrap(), 6);
        stream.finish().unwrap();
        let mut echo = String::new();
        client.read_to_string(&mut echo).unwrap();
        assert_eq!(echo, "hello\n");
        drop(client);
        assert_eq!(stream.read(&mut read, 100).unwrap(), 0);
        listener.local_address().unwrap().to_string()
    }

    #[test]
    fn clients_of_a_unix_socket_are_served_and_named_by_their_process() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("s o\nck");
        let address = UnixAddress::from_pathname(&path).unwrap();
        let shown = converse(UnixListener::bind_addr(&address).unwrap(), &address);
        assert_eq!(shown, path.to_str().unwrap().replace('\n', "?"));
        let name = format!("echostored-socket-{}", std::process::id());
        let address = UnixAddress::from_abstract_name(&name).unwrap();
        assert_eq!(converse(UnixListener::bind_addr(&address).unwrap(), &address), format!("@{name}"));
    }

    #[test]
    fn a_mapped_address_is_shown_as_what_it_is() {
        for (from, to) in [
            ("[::ffff:192.0.2.1]:7", "192.0.2.1:7"),
            ("192.0.2.1:7", "192.0.2.1:7"),
            ("[fe80::1%3]:7", "[fe80::1%3]:7"),
            ("[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(unmapped(from.parse().unwrap()).to_string(), to);
        }
    }
}
