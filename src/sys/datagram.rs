//! Datagrams to a socket in the file system: non-blocking.
use super::{AsFd, OwnedFd};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// A socket whose datagrams go to `path`.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// Sends one datagram; `WouldBlock`: the receiver is behind.
pub fn send_all(socket: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    loop {
        match send(socket.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop).map_err(io::Error::from),
        }
    }
}
