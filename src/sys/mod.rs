//! The only room with `unsafe`: safe functions around system calls, and the door of nix and socket2.
//!
//! Promise: nothing here decides anything; every function does what its man page says, retries `EINTR`, and returns
//! `io::Error`. Nothing here logs.
#![allow(unsafe_code)]

pub mod allocations;
pub mod breakout;
pub mod crash;
pub mod datagram;
pub mod event;
pub mod fdpass;
pub mod file;
pub mod inotify;
pub mod memory;
pub mod outgoing;
pub mod pipe;
pub mod poll;
pub mod process;
pub mod program;
pub mod ready;
pub mod sandbox;
pub mod signals;
pub mod socket;
pub mod title;
pub mod user;

use std::io;

pub use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Turns a system call's result into `io::Result`, as `errno(3)` says.
fn check(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result.unsigned_abs()) }
}

/// The same, repeating a call that a signal interrupted before it did anything.
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match check(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether a non-blocking call found nothing to do (`EAGAIN`).
pub fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
