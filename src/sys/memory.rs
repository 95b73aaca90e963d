//! Memory shared between processes: memfds and their mappings.
use super::process::Child;
use super::{AsRawFd, BorrowedFd, OwnedFd};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Makes an anonymous file of `bytes` zero bytes (memfd_create(2)); `name` shows in `/proc/PID/fd`.
pub fn memfd(name: &str, bytes: u64) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC)?;
    resize(fd_ref(&fd), bytes).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            let message = format!("{error}; a limit of the file size counts for shared memory, too: raise it (ulimit -f, LimitFSIZE=) beyond {bytes} bytes");
            io::Error::new(error.kind(), message)
        }
        _ => error,
    })?;
    Ok(fd)
}

/// Sets a memfd's length; shrinking it gives the pages back (ftruncate(2)).
pub fn resize(fd: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    let length = i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    Ok(nix::unistd::ftruncate(fd, length)?)
}

fn fd_ref(fd: &OwnedFd) -> BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(fd)
}

/// A shared, writable mapping seen as 64-bit atomics, the one view that is sound while other processes write to it.
///
/// A forked role gives up what it inherits of them first thing ([`give_up_inherited`]): it sees exactly the mappings it makes
/// itself. (Not by `MADV_DONTFORK`: in a user-mode Linux such a child goes on seeing the parent's pages at that place.)
#[derive(Debug)]
pub struct SharedWords {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the mapping is plain memory that is valid in every thread of the process, and is only reached as atomics.
unsafe impl Send for SharedWords {}
// SAFETY: as above; `&SharedWords` gives out only `&AtomicU64`.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the first `count` words of `memfd` (mmap(2), `MAP_SHARED`). The memfd must be at least that long and
    /// must never be shrunk below it: all our memfds of this kind keep their size for life.
    pub fn map(memfd: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let mapped = Self::keep(memfd, count)?;
        mappings().push((mapped.start.as_ptr() as usize, count * size_of::<AtomicU64>()));
        Ok(mapped)
    }

    /// The same of a mapping that forked roles do not give up.
    pub(super) fn keep(memfd: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let bytes = count * size_of::<AtomicU64>();
        if super::file::stat(memfd)?.st_size < i64::try_from(bytes).unwrap_or(i64::MAX) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: a fresh mapping at an address that the kernel chooses overlaps nothing; the length is not zero for
        // any caller, and a zero length is answered by EINVAL.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                memfd.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(address.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, count })
    }

    /// The words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is page-aligned, valid for `count` words until `drop`, and shared memory is only ever
        // reached through atomics, here and in the other processes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

/// All mappings of this process: address and length.
static MAPPINGS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

fn mappings() -> MutexGuard<'static, Vec<(usize, usize)>> {
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unmaps what the parent had mapped.
pub(super) fn give_up_inherited(_child: &Child) {
    for (address, bytes) in mappings().drain(..) {
        // SAFETY: `_child` proves a fresh fork: the parent's objects for these mappings lie in the copied memory and are
        // neither used nor dropped in this process.
        unsafe { libc::munmap(address as *mut libc::c_void, bytes) };
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        let address = self.start.as_ptr() as usize;
        mappings().retain(|mapping| mapping.0 != address);
        // SAFETY: unmaps exactly the range mapped by `map`; no reference outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.count * size_of::<AtomicU64>()) };
    }
}
