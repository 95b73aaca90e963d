//! Messages with descriptors: `socketpair(2)` between related processes, datagrams to others, `SCM_RIGHTS` (unix(7)).
use super::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, sendmsg,
    socketpair,
};
use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;

/// The most descriptors that one message carries.
pub const MAX_FDS: usize = 4;

/// A connected, non-blocking pair that keeps message borders (`SOCK_SEQPACKET`).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Where a datagram goes: a path, or an abstract name (unix(7)).
#[derive(Clone, Copy, Debug)]
pub struct Address(UnixAddr);

impl Address {
    /// Reads what stands in `NOTIFY_SOCKET` (sd_notify(3)): a path, or an abstract name after `@`.
    pub fn parse(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => UnixAddr::new_abstract(name)?,
            None => UnixAddr::new(name)?,
        };
        Ok(Self(address))
    }
}

/// Sends one message, whole or not at all.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    transmit(socket, bytes, fds, None)
}

/// Sends one datagram to `address`.
pub fn send_to(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd], address: &Address) -> io::Result<()> {
    transmit(socket, bytes, fds, Some(&address.0))
}

fn transmit(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd], address: Option<&UnixAddr>) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, address) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives one message into `buffer`: its length and its descriptors. Length 0: the other side is gone.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    loop {
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Err(Errno::EINTR) => continue,
            // A peer that died with our messages unread answers with a reset instead of an end of file.
            Err(Errno::ECONNRESET) => return Ok((0, Vec::new())),
            result => result?,
        };
        let mut fds = Vec::new();
        for item in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = item {
                // SAFETY: the kernel has just installed these descriptors for us alone; nobody else closes them.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if message.flags.contains(MsgFlags::MSG_CTRUNC) || message.flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        return Ok((message.bytes, fds));
    }
}
