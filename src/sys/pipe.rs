//! Pipes: `pipe2(2)`, their size, `tee(2)` and the consuming `splice(2)`.
use super::{AsRawFd, BorrowedFd, OwnedFd, retry};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use std::fs::File;
use std::io;

/// Makes a non-blocking, close-on-exec pipe: (read end, write end).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

/// Asks for a pipe size in bytes and returns the size the pipe really has (`F_SETPIPE_SZ`, pipe(7)).
///
/// The kernel refuses growth beyond `fs.pipe-user-pages-soft` to a user without privileges; the pipe then keeps its
/// size, which may be as small as 8 KiB. Callers work with whatever comes back.
pub fn resize(pipe: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(wanted));
    size(pipe)
}

/// The pipe's capacity in bytes (`F_GETPIPE_SZ`).
pub fn size(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(usize::try_from(fcntl(pipe, FcntlArg::F_GETPIPE_SZ)?).unwrap_or(0))
}

/// Bytes that are in the pipe (`FIONREAD`, pipe(7)).
pub fn unread(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to `count`, which outlives the call.
    retry(|| unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) as isize })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Copies up to `limit` bytes from the head of `source` into `sink` without consuming them (tee(2)).
/// 0: the pipe is empty and has no writer left.
pub fn tee(source: BorrowedFd<'_>, sink: BorrowedFd<'_>, limit: usize) -> io::Result<usize> {
    // SAFETY: tee takes two descriptors and no memory; both are borrowed, hence open, for the whole call.
    retry(|| unsafe { libc::tee(source.as_raw_fd(), sink.as_raw_fd(), limit, libc::SPLICE_F_NONBLOCK) })
}

/// Takes exactly `count` bytes off the head of `source` into `null`, an open `/dev/null` (splice(2)).
///
/// The bytes must already be in the pipe; a pipe that runs dry before `count` is an error.
pub fn consume(source: BorrowedFd<'_>, null: &File, mut count: usize) -> io::Result<()> {
    while count > 0 {
        // SAFETY: splice with null offsets takes two descriptors and no memory; both are open for the whole call.
        let moved = retry(|| unsafe {
            libc::splice(
                source.as_raw_fd(),
                std::ptr::null_mut(),
                null.as_raw_fd(),
                std::ptr::null_mut(),
                count,
                libc::SPLICE_F_NONBLOCK,
            )
        })?;
        if moved == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        count -= moved;
    }
    Ok(())
}

/// Appends to `buffer` what is in `pipe`, up to `limit` bytes, until it is empty.
pub fn read_to(pipe: BorrowedFd<'_>, buffer: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
    let mut total = 0;
    while total < limit {
        let wanted = limit - total;
        match super::file::read_append(pipe, buffer, wanted) {
            // A pipe gives less than was asked for only when it is empty.
            Ok(count) if count < wanted => return Ok(total + count),
            Ok(count) => total += count,
            Err(error) if super::would_block(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// Makes a close-on-exec pipe whose ends block: (read end, write end).
pub fn blocking_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}
