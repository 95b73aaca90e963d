//! Memory shared between processes: memfds and their mappings.
use super::{AsRawFd, BorrowedFd, OwnedFd, check};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Makes an anonymous file of `bytes` zero bytes (memfd_create(2)); `name` shows in `/proc/PID/fd`.
pub fn memfd(name: &str, bytes: u64) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC)?;
    resize(fd_ref(&fd), bytes)?;
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
/// It is not inherited by children (`MADV_DONTFORK`): a role sees exactly the mappings it makes itself.
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
        let words = Self { start, count };
        // SAFETY: the range is the mapping just made, owned by `words`.
        check(unsafe { libc::madvise(address, bytes, libc::MADV_DONTFORK) } as isize)?;
        Ok(words)
    }

    /// The words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is page-aligned, valid for `count` words until `drop`, and shared memory is only ever
        // reached through atomics, here and in the other processes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly the range mapped by `map`; no reference outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.count * size_of::<AtomicU64>()) };
    }
}
