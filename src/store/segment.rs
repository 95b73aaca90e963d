//! Segments: the files that hold the records, and `current`, the hard link to the live one.
//!
//! Promise: every deed here may be repeated, and a kill between any two leaves a directory that the next start, or the
//! next writer, goes on from. `current` is never absent once it was there.
use super::clock;
use super::names::{CURRENT, Form, SegmentName};
use crate::sys::file::{self, Access};
use crate::sys::{BorrowedFd, OwnedFd, user};
use nix::sys::stat::FileStat;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

const CURRENT_NEW: &str = ".current.new";
const HIDDEN: &str = ".rescue.new";

/// Which file a segment is: by number, and as the kernel knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Sequence number, from the name.
    pub sequence: u64,
    /// Start time in seconds since 1970, from the name.
    pub start: i64,
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
}

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    /// Its name.
    pub name: SegmentName,
    /// As the kernel knows it.
    pub identity: Identity,
    /// The description that is written and synced; shared with the sync thread.
    pub file: Arc<File>,
}

impl Segment {
    /// Opens an existing segment for writing.
    pub fn open(directory: BorrowedFd<'_>, name: SegmentName) -> io::Result<Self> {
        let file = file::open_at(directory, &name.build(), Access::ReadWrite, 0)?;
        Self::of(name, file)
    }

    /// Makes a new, empty segment of exactly this mode; it is not yet durable, nor `current`. What cannot be finished
    /// is removed again, if the disk lets us.
    pub fn create(directory: BorrowedFd<'_>, name: SegmentName, mode: u32) -> io::Result<Self> {
        let file_name = name.build();
        let file = file::open_at(directory, &file_name, Access::CreateNew, mode)?;
        let made = file::set_mode(&file, mode).and_then(|()| Self::of(name, file));
        made.inspect_err(|_| drop(file::unlink_at(directory, &file_name)))
    }

    /// Makes a new, empty file of exactly this mode that is no segment until it is [named](Self::named).
    pub fn hidden(directory: BorrowedFd<'_>, mode: u32) -> io::Result<Arc<File>> {
        file::unlink_at(directory, HIDDEN)?;
        let file = file::open_at(directory, HIDDEN, Access::CreateNew, mode)?;
        file::set_mode(&file, mode)?;
        Ok(Arc::new(file))
    }

    /// Removes what a killed writer has left of a hidden file, or of its hidden name.
    pub fn forget_hidden(directory: BorrowedFd<'_>) -> io::Result<()> {
        file::unlink_at(directory, HIDDEN)
    }

    /// Makes the hidden file, whole and synced, the segment `name`, in one step; not durable yet.
    ///
    /// # Errors
    /// `AlreadyExists`: the name is somebody else's.
    pub fn named(directory: BorrowedFd<'_>, name: SegmentName, file: Arc<File>) -> io::Result<Self> {
        let stat = file::stat(&*file)?;
        let identity = Identity { sequence: name.sequence, start: name.start, device: stat.st_dev, inode: stat.st_ino };
        if !is(&file::stat_at(directory, HIDDEN)?, identity) {
            return Err(io::Error::other(format!("{HIDDEN} is another file")));
        }
        match file::link_at(directory, HIDDEN, &name.build()) {
            // Repeated after a link that took place.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !is(&file::stat_at(directory, &name.build())?, identity) {
                    return Err(error);
                }
            }
            result => result?,
        }
        let _ = file::unlink_at(directory, HIDDEN);
        Ok(Self { name, identity, file })
    }

    /// Removes a segment that was never live.
    pub fn remove(&self, directory: BorrowedFd<'_>) -> io::Result<()> {
        file::unlink_at(directory, CURRENT_NEW)?;
        file::unlink_at(directory, &self.name.build())
    }

    /// Takes an open description of the segment `name`.
    pub fn of(name: SegmentName, file: File) -> io::Result<Self> {
        let stat = file::stat(&file)?;
        if !file::is_regular(&stat) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is not a regular file", name.build())));
        }
        let identity = Identity { sequence: name.sequence, start: name.start, device: stat.st_dev, inode: stat.st_ino };
        Ok(Self { name, identity, file: Arc::new(file) })
    }

    /// Opens the same file once more, as a description of its own: it sees every sync error that comes after.
    pub fn second_description(&self, directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let second = file::open_at(directory, &self.name.build(), Access::ReadWrite, 0)?;
        if !is(&file::stat(&second)?, self.identity) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the segment's name leads to another file"));
        }
        Ok(second.into())
    }

    /// Bytes in the file.
    pub fn length(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    /// Whether `current` is this segment.
    pub fn is_current(&self, directory: BorrowedFd<'_>) -> io::Result<bool> {
        match file::stat_at(directory, CURRENT) {
            Ok(stat) => Ok(is(&stat, self.identity)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the new file and its name durable, before anything of it is acknowledged.
    pub fn sync_new(&self, directory: BorrowedFd<'_>) -> io::Result<()> {
        self.file.sync_all()?;
        file::sync_directory(directory)
    }

    /// Gives the segment a second name, from which it can become `current` in one step.
    pub fn link(&self, directory: BorrowedFd<'_>) -> io::Result<()> {
        match file::unlink_at(directory, CURRENT_NEW) {
            // Somebody's directory is in the way.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => drop(save(directory, CURRENT_NEW)?),
            result => result?,
        }
        file::link_at(directory, &self.name.build(), CURRENT_NEW)
    }

    /// Renames that second name over `current`.
    ///
    /// `rename` between two links of one file does nothing and leaves both (rename(2)), hence the unlink behind it.
    pub fn swap(&self, directory: BorrowedFd<'_>) -> io::Result<()> {
        match file::rename_at(directory, CURRENT_NEW, CURRENT) {
            // Repeated after a swap that took place.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_current(directory)? => {}
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                save(directory, CURRENT)?;
                file::rename_at(directory, CURRENT_NEW, CURRENT)?;
            }
            result => result?,
        }
        // The swap has happened: a second name that stays is unlinked by the next one.
        let _ = file::unlink_at(directory, CURRENT_NEW);
        Ok(())
    }
}

/// Gives what is called `current`, whatever it is, another name, under which it is kept; returns that.
pub fn save_current(directory: BorrowedFd<'_>) -> io::Result<String> {
    save(directory, CURRENT)
}

fn save(directory: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    let now = clock::now_seconds();
    let names = (0..).map(|more| format!("{name}.saved-{}", now + more));
    let mut free = names.filter(|name| file::stat_at(directory, name).is_err());
    let aside = free.next().unwrap_or_default();
    file::rename_at(directory, name, &aside)?;
    Ok(aside)
}

fn is(stat: &FileStat, identity: Identity) -> bool {
    stat.st_dev == identity.device && stat.st_ino == identity.inode
}

/// So many of the newest are looked at before they are taken for the daemon's own: more than a writer ever opens.
const NEWEST: usize = 16;

/// Takes out of the newest what is no regular file of this process's user: others may have planted it, and it is never
/// opened, written to or cut. (A second name of a file of our own is somebody's backup.)
pub fn take_foreign(directory: BorrowedFd<'_>, names: &mut Vec<FileName>) -> io::Result<Vec<FileName>> {
    let mut foreign = Vec::new();
    let (mut at, mut own) = (names.len(), 0);
    while at > 0 && own < NEWEST {
        at -= 1;
        let (name, form) = &names[at];
        if is_own(directory, &form.of(&name.build()))? { own += 1 } else { foreign.push(names.remove(at)) }
    }
    Ok(foreign)
}

fn is_own(directory: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    match file::stat_at(directory, name) {
        Ok(stat) => Ok(file::is_regular(&stat) && stat.st_uid == user::effective_uid()),
        // It is gone since: who opens it will see.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// The names of all segments in the directory that are not compressed, of any prefix, sorted by sequence number, without
/// [what is foreign](take_foreign).
pub fn list(directory: BorrowedFd<'_>) -> io::Result<Vec<SegmentName>> {
    let mut names = list_all(directory)?;
    names.retain(|(_, form)| *form == Form::Plain);
    take_foreign(directory, &mut names)?;
    Ok(names.into_iter().map(|(name, _)| name).collect())
}

/// A segment's file: its name, and the form that its bytes have there.
pub type FileName = (SegmentName, Form);

/// The names of all segments in the directory, of any prefix and in any form, sorted by sequence number.
pub fn list_all(directory: BorrowedFd<'_>) -> io::Result<Vec<FileName>> {
    Ok(list_with_others(directory)?.0)
}

/// The same, and all other names.
pub fn list_with_others(directory: BorrowedFd<'_>) -> io::Result<(Vec<FileName>, Vec<String>)> {
    let (mut names, mut others) = (Vec::new(), Vec::new());
    // A descriptor of its own: reading moves the position of the description.
    let own = file::open_at(directory, ".", Access::Directory, 0)?;
    for entry in nix::dir::Dir::from_fd(own.into())?.iter() {
        let entry = entry?;
        let Ok(file) = entry.file_name().to_str() else { continue };
        match Form::parse(file) {
            Some(name) => names.push(name),
            None if file == "." || file == ".." => {}
            None => others.push(file.to_owned()),
        }
    }
    names.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(&b.1)));
    Ok((names, others))
}

/// Makes the directory's names durable.
pub fn sync_names(directory: &impl AsFd) -> io::Result<()> {
    file::sync_directory(directory.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::open_directory;
    use std::os::unix::fs::MetadataExt;

    fn name(sequence: u64) -> SegmentName {
        SegmentName { prefix: "messages".into(), sequence, start: 0 }
    }

    #[test]
    fn current_moves_from_file_to_file_and_repeats_harmlessly() {
        let place = tempfile::tempdir().unwrap();
        let directory = open_directory(place.path()).unwrap();
        for sequence in 1..=3 {
            let segment = Segment::create(directory.as_fd(), name(sequence), 0o640).unwrap();
            for _ in 0..2 {
                segment.link(directory.as_fd()).unwrap();
                segment.swap(directory.as_fd()).unwrap();
                segment.swap(directory.as_fd()).unwrap();
                assert!(segment.is_current(directory.as_fd()).unwrap());
                assert!(!place.path().join(CURRENT_NEW).exists());
            }
            let metadata = place.path().join(CURRENT).metadata().unwrap();
            assert_eq!((metadata.ino(), metadata.nlink(), metadata.mode() & 0o777), (segment.identity.inode, 2, 0o640));
        }
        assert_eq!(list(directory.as_fd()).unwrap().iter().map(|name| name.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn nothing_planted_is_opened_as_a_segment() {
        let place = tempfile::tempdir().unwrap();
        let directory = open_directory(place.path()).unwrap();
        std::fs::write(place.path().join("elsewhere"), "").unwrap();
        std::os::unix::fs::symlink("elsewhere", place.path().join(name(1).build())).unwrap();
        nix::unistd::mkfifo(&place.path().join(name(2).build()), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for sequence in 1..=2 {
            assert!(Segment::create(directory.as_fd(), name(sequence), 0o640).is_err());
            assert!(Segment::open(directory.as_fd(), name(sequence)).is_err());
        }
    }
}
