//! `inotify(7)`: what happens in a directory, and to a file.
use super::{AsFd, AsRawFd, BorrowedFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::ffi::OsString;
use std::io;

/// Something that happened since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// There is a new name in the directory.
    Appeared(OsString),
    /// A name is gone, or other things than names have changed.
    Changed,
    /// Events were lost: anything may have happened.
    Overflow,
}

/// An inotify instance.
#[derive(Debug)]
pub struct Watcher(Inotify);

/// One thing that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch(WatchDescriptor);

impl Watcher {
    /// Makes one that does not block.
    ///
    /// # Errors
    /// `EMFILE`: the limit of instances for the user (inotify(7)).
    pub fn new() -> io::Result<Self> {
        Ok(Self(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?))
    }

    /// Begins to tell of names that appear in, or leave, an open directory, whatever it is called by now.
    ///
    /// # Errors
    /// `ENOSPC`: the limit of watches for the user. There may be no `/proc`.
    pub fn directory(&self, directory: BorrowedFd<'_>) -> io::Result<Watch> {
        let names = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        self.add(directory, names | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF)
    }

    /// Begins to tell of writes to an open file.
    ///
    /// # Errors
    /// As [`directory`](Self::directory).
    pub fn file(&self, file: BorrowedFd<'_>) -> io::Result<Watch> {
        self.add(file, AddWatchFlags::IN_MODIFY)
    }

    fn add(&self, fd: BorrowedFd<'_>, what: AddWatchFlags) -> io::Result<Watch> {
        // By descriptor: a name could lead to another file by now.
        Ok(Watch(self.0.add_watch(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(), what)?))
    }

    /// Ends a watch; one that the kernel has ended already is no error.
    pub fn forget(&self, watch: Watch) {
        let _ = self.0.rm_watch(watch.0);
    }

    /// Puts what has happened into `out`, until there is no more.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn read(&self, out: &mut Vec<Happened>) -> io::Result<()> {
        loop {
            let events = match self.0.read_events() {
                Ok(events) => events,
                Err(nix::errno::Errno::EAGAIN) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            out.extend(events.into_iter().map(|event| match event.name {
                _ if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) => Happened::Overflow,
                Some(name) if event.mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO) => {
                    Happened::Appeared(name)
                }
                _ => Happened::Changed,
            }));
        }
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write;

    #[test]
    fn names_and_writes_are_told() {
        let place = tempfile::tempdir().unwrap();
        let directory = File::open(place.path()).unwrap();
        let watcher = Watcher::new().unwrap();
        watcher.directory(directory.as_fd()).unwrap();
        let told = || {
            let mut out = Vec::new();
            watcher.read(&mut out).unwrap();
            out
        };
        assert_eq!(told(), []);
        fs::write(place.path().join("one"), "").unwrap();
        assert_eq!(told(), [Happened::Appeared("one".into())]);
        fs::rename(place.path().join("one"), place.path().join("two")).unwrap();
        assert_eq!(told(), [Happened::Appeared("two".into())]);
        let mut file = File::create(place.path().join("two")).unwrap();
        let watch = watcher.file(file.as_fd()).unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(told(), [Happened::Changed]);
        watcher.forget(watch);
        told();
        file.write_all(b"x").unwrap();
        assert_eq!(told(), []);
        fs::remove_file(place.path().join("two")).unwrap();
        assert_eq!(told(), [Happened::Changed]);
    }
}
