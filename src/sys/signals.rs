//! Signals as readable events: `signalfd(2)`, and what is ignored.
use super::{AsFd, BorrowedFd};
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;

/// A blocked set of signals, read one by one.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks `wanted` in this thread and reads them from a descriptor.
    pub fn new(wanted: &[Signal]) -> io::Result<Self> {
        let set: SigSet = wanted.iter().copied().collect();
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal that came, if any.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        loop {
            match self.0.read_signal() {
                Ok(Some(info)) => {
                    let number = i32::try_from(info.ssi_signo).unwrap_or(0);
                    return Ok(Signal::try_from(number).ok());
                }
                Ok(None) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ignores each of `signals` in this process (sigaction(2), `SIG_IGN`).
pub fn ignore(signals: &[Signal]) -> io::Result<()> {
    set(signals, SigHandler::SigIgn)
}

/// Gives each of `signals` its default action back: a parent may have ignored it, and that is inherited.
pub fn reset(signals: &[Signal]) -> io::Result<()> {
    set(signals, SigHandler::SigDfl)
}

fn set(signals: &[Signal], handler: SigHandler) -> io::Result<()> {
    for &number in signals {
        // SAFETY: SIG_IGN and SIG_DFL run no code of ours.
        unsafe { signal(number, handler) }?;
    }
    Ok(())
}
