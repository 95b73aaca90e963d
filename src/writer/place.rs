//! The store's place: whether `store.directory` still leads to the directory that is held, and all that makes it a store
//! is still there.
//!
//! Promise: as long as the held directory exists, records go on to it, wherever it is now, and the log says so once; when
//! it was deleted the supervisor is told, which alone may make it again. The decision is pure.
use super::Writer;
use crate::ipc::control::ToSupervisor;
use crate::ipc::scoreboard::Count;
use crate::store::directory::{LOCK, STORE, leads_to};
use crate::sys::file::Space;
use crate::sys::{AsFd, AsRawFd, OwnedFd, file};
use std::io;
use std::path::Path;

/// What a look at the place found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Names that lead to the directory.
    links: u64,
    /// `store.directory` is one of them.
    here: bool,
    /// Its lock is the one that is held.
    lock: bool,
    /// It says that it is a store.
    mark: bool,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Deleted,
    Unlocked,
    Unmarked,
    Away,
}

fn judge(seen: Seen) -> Option<Trouble> {
    match seen {
        Seen { links: 0, .. } => Some(Trouble::Deleted),
        Seen { lock: false, .. } => Some(Trouble::Unlocked),
        Seen { mark: false, .. } => Some(Trouble::Unmarked),
        Seen { here: false, .. } => Some(Trouble::Away),
        _ => None,
    }
}

/// Used space in percent as df(1) has it: of what can be used without privilege, rounded up. `None`: the file system
/// does not count.
fn used_percent(space: Space) -> Option<u64> {
    let used = space.total.saturating_sub(space.free);
    let all = u128::from(used) + u128::from(space.available);
    let percent = (u128::from(used) * 100).checked_div(all)? + u128::from(u128::from(used) * 100 % all > 0);
    u64::try_from(percent).ok()
}

/// Whether the directory has no name any more.
pub(super) fn is_deleted(directory: &OwnedFd) -> bool {
    file::stat(directory).is_ok_and(|stat| stat.st_nlink == 0)
}

impl Writer {
    /// Looks at the store's place; says what has changed, and asks for what is missing.
    pub(super) fn examine_place(&mut self) {
        let trouble = judge(self.on_disk(|writer| {
            writer.publish_room();
            writer.look_at_place()
        }));
        if trouble.is_some_and(|trouble| trouble != Trouble::Away) {
            self.channel.send(ToSupervisor::Reclaim);
        }
        let before = std::mem::replace(&mut self.trouble, trouble);
        if trouble == before {
            return;
        }
        let path = self.config.store.directory.display();
        match trouble {
            Some(Trouble::Deleted) => {
                error!(
                    STORE_DELETED,
                    "the store's directory {path} was deleted, and all records in it; nothing is echoed until it is there again"
                );
            }
            Some(Trouble::Unlocked) => error!(
                LOCK_REMOVED,
                "{LOCK} in {path} was removed or replaced by somebody else: the store is not safe from a second daemon"
            ),
            Some(Trouble::Unmarked) => error!(MARK_REMOVED, "{STORE} in {path} was removed by somebody else"),
            Some(Trouble::Away) => {
                let at = self.whereabouts();
                error!(
                    STORE_MOVED,
                    "{path} no longer leads to the store's directory: {at}; records go on to it there; put it back, or restart the daemon to use {path} as it is now"
                );
            }
            None => notice!(STORE_FOUND_AGAIN, "the store's directory is {path} again, with all that belongs there"),
        }
    }

    /// Tells the supervisor how full the disk is; it must not ask itself, lest a disk that hangs stops it.
    pub(super) fn publish_room(&self) {
        let directory = &*self.shelf.directory;
        if let Ok((size, free)) = file::room(directory) {
            self.scoreboard.set(Count::DiskSize, size);
            self.scoreboard.set(Count::DiskFree, free);
        }
        let percent = file::space(directory).ok().and_then(used_percent);
        self.scoreboard.set(Count::DiskUsed, percent.map_or(0, |percent| percent + 1));
    }

    /// After a reload: what is wrong is said again.
    pub(super) fn remind(&mut self) {
        self.trouble = None;
        self.examine_place();
    }

    fn look_at_place(&self) -> Seen {
        let directory = &*self.shelf.directory;
        let (held, path) = (file::stat(directory), &self.config.store.directory);
        let here = match (&held, file::stat_path(path)) {
            (Ok(held), Ok(there)) => (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino),
            (_, Err(error)) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
            (Err(_), _) => true,
        };
        let mark = file::stat_at(directory.as_fd(), STORE);
        Seen {
            links: held.map_or(1, |held| held.st_nlink),
            here,
            lock: leads_to(directory.as_fd(), LOCK, &self.lock),
            mark: !mark.is_err_and(|error| error.kind() == io::ErrorKind::NotFound),
        }
    }

    /// Where the held directory is now.
    fn whereabouts(&self) -> String {
        let link = format!("/proc/self/fd/{}", self.shelf.directory.as_raw_fd());
        match std::fs::read_link(Path::new(&link)) {
            Ok(at) if at == self.config.store.directory => "another file system was mounted over it".to_owned(),
            Ok(at) => format!("that is {} now", at.display()),
            Err(_) => "it was renamed".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_space_is_as_df_shows_it() {
        let used = |total, free, available| used_percent(Space { total, free, available });
        assert_eq!(used(100, 100, 100), Some(0));
        assert_eq!(used(1000, 999, 999), Some(1), "rounded up");
        // 5 % are root's: full for everybody else.
        assert_eq!((used(100, 5, 0), used(100, 34, 29)), (Some(100), Some(70)));
        assert_eq!(used(0, 0, 0), None);
        assert_eq!(used(u64::MAX, 0, u64::MAX), Some(50));
        assert_eq!(used(10, 20, 20), Some(0), "whatever a file system says");
    }

    #[test]
    fn every_trouble_has_its_name() {
        let well = Seen { links: 2, here: true, lock: true, mark: true };
        assert_eq!(judge(well), None);
        // File systems that do not count a directory's links have 1.
        assert_eq!(judge(Seen { links: 1, ..well }), None);
        assert_eq!(judge(Seen { here: false, ..well }), Some(Trouble::Away));
        assert_eq!(judge(Seen { links: 0, here: false, lock: false, mark: false }), Some(Trouble::Deleted));
        assert_eq!(judge(Seen { lock: false, mark: false, ..well }), Some(Trouble::Unlocked));
        assert_eq!(judge(Seen { mark: false, here: false, ..well }), Some(Trouble::Unmarked));
    }
}
