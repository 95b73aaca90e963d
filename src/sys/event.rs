//! `eventfd(2)`: one thread wakes another that waits in epoll.
use super::{AsFd, BorrowedFd};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;

/// A counter that can be waited for.
#[derive(Debug)]
pub struct Wake(EventFd);

impl Wake {
    /// Makes one.
    pub fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Wakes whoever waits.
    pub fn ring(&self) {
        let _ = self.0.write(1);
    }

    /// Forgets the wake-ups so far.
    pub fn clear(&self) {
        let _ = self.0.read();
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
