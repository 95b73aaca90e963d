//! `poll(2)`: for descriptors that epoll refuses (regular files), or that are not ours to make non-blocking.
use super::BorrowedFd;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::io;
use std::time::Duration;

/// A descriptor, and what to wait for. Its end and its errors are always told.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// Wait for input.
    pub input: bool,
    /// Wait for room for output.
    pub output: bool,
}

/// Waits until there is news of one of `watched`, at most for `timeout` (rounded up to a millisecond; `None`: for ever).
/// For each of them: whether there is. All false: the time is over, or a signal came.
pub fn wait(watched: &[Watched<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = watched.iter().map(|one| PollFd::new(one.fd, flags(one))).collect();
    let timeout = match timeout {
        None => PollTimeout::NONE,
        Some(limit) => {
            let millis = i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        }
    };
    match nix::poll::poll(&mut polled, timeout) {
        Ok(_) => Ok(polled.iter().map(|one| one.revents().is_some_and(|news| !news.is_empty())).collect()),
        Err(Errno::EINTR) => Ok(vec![false; watched.len()]),
        Err(error) => Err(error.into()),
    }
}

fn flags(watched: &Watched<'_>) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::POLLIN, watched.input);
    flags.set(PollFlags::POLLOUT, watched.output);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::AsFd;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn news_are_told_of_whom_they_concern() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let (silent, _other) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let input = |fd| Watched { fd, input: true, output: false };
        let both = [input(there.as_fd()), input(silent.as_fd())];
        assert_eq!(wait(&both, Some(Duration::ZERO)).unwrap(), [false, false]);
        here.write_all(b"x").unwrap();
        assert_eq!(wait(&both, None).unwrap(), [true, false]);
        // Epoll would refuse a regular file.
        assert_eq!(wait(&[input(file.as_fd()), both[1]], None).unwrap(), [true, false]);
        assert_eq!(wait(&[Watched { fd: silent.as_fd(), input: false, output: true }], None).unwrap(), [true]);
    }
}
