//! What this process takes from itself, for good: `no_new_privs`, seccomp(2), landlock(7), through their crates.
//!
//! Promise: mechanism only; which calls and which directories is said by the table in `ipc/sandbox`. A kernel that lacks
//! one of them is no error: the answer says so.
pub mod landlock;
pub mod seccomp;

use super::BorrowedFd;
use nix::sys::prctl;
use std::io;

/// From now on no `execve` gives this process, or its children, a right that it does not have (prctl(2),
/// `PR_SET_NO_NEW_PRIVS`).
pub fn no_new_privs() -> io::Result<()> {
    Ok(prctl::set_no_new_privs()?)
}

/// Whether that holds, whoever has set it.
pub fn has_no_new_privs() -> bool {
    prctl::get_no_new_privs().unwrap_or(false)
}

/// A place in the file system that stays open to a process that is walled in.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The directory, or file, as the process holds it now.
    pub fd: BorrowedFd<'a>,
    /// What may be done there.
    pub rights: Rights,
}

/// What may be done in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Files: made, linked, renamed within it, read, written, cut, unlinked; and whatever else is there is renamed. The
    /// directory is listed. (That only regular files are made is the filter's: no `mkdir`, `mknod`, `symlink`.)
    Store,
    /// Read and listed.
    Read,
    /// Written to, and nothing else.
    Write,
}
