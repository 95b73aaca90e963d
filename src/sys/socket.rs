//! Sockets: the door of socket2.
use super::{AsFd, AsRawFd, BorrowedFd, OwnedFd, retry};
use nix::libc;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// The backlog asked for; the kernel cuts it to `net.core.somaxconn` (listen(2)).
const BACKLOG: i32 = 4096;

/// A listening TCP socket, non-blocking, shared by all workers.
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
        listener.0.set_tcp_nodelay(true)?;
        // Urgent data is data like any other: it is stored and echoed in its place.
        listener.0.set_out_of_band_inline(true)?;
        listener.set_keepalive(keepalive)?;
        listener.0.bind(&address.into())?;
        listener.0.listen(BACKLOG)?;
        Ok(listener)
    }

    /// Changes the keep-alive time that connections accepted from now on inherit.
    pub fn set_keepalive(&self, keepalive: Option<Duration>) -> io::Result<()> {
        set_keepalive(&SockRef::from(&self.0), keepalive)
    }

    /// Takes over an inherited listener.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(Socket::from(fd))
    }

    /// The address really bound: it tells the port that the kernel chose for port 0.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The next connection and its peer, if one is waiting.
    pub fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (socket, peer) = self.0.accept_raw()?;
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok((Stream(socket), peer))
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
