//! The manifest, kept in memory by the one process that writes it.
//!
//! Promise: if the file is not as it was left here, it is read anew before anything is added, so that the chain goes on
//! from what stands there.
use crate::store::manifest::{Line, MANIFEST, Manifest};
use crate::sys::{BorrowedFd, crash, file};
use std::io;

/// Lines that are worth to be folded.
const FOLD: usize = 1000;

/// The manifest in memory.
#[derive(Debug)]
pub(super) struct Ledger {
    manifest: Manifest,
    /// The file as it was left: device, inode, bytes. `None`: not known, to be read.
    left: Option<Stand>,
    /// Segments away when folding was tried last.
    tried: usize,
}

/// `None` inside: there is no file.
type Stand = Option<(u64, u64, i64)>;

/// What had to be done before the manifest could be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// It is as it was left.
    Same,
    /// It was read: what it says may be new.
    Read,
}

fn stand(directory: BorrowedFd<'_>) -> io::Result<Stand> {
    match file::stat_at(directory, MANIFEST) {
        Ok(stat) => Ok(Some((stat.st_dev, stat.st_ino, stat.st_size))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Ledger {
    /// One that was not read yet.
    pub fn new() -> Self {
        Self { manifest: Manifest::default(), left: None, tried: 0 }
    }

    /// What it says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads it if it is not what was left.
    pub fn look(&mut self, directory: BorrowedFd<'_>) -> io::Result<Looked> {
        let now = stand(directory)?;
        if self.left == Some(now) {
            return Ok(Looked::Same);
        }
        self.left = None;
        self.manifest = Manifest::read(directory)?;
        (self.left, self.tried) = (Some(now), 0);
        Ok(Looked::Read)
    }

    /// Adds lines; `durable`: they would survive a power cut. An error: perhaps they stand there, and it is read before
    /// the next one.
    pub fn append(&mut self, directory: BorrowedFd<'_>, lines: Vec<Line>, durable: bool) -> io::Result<Looked> {
        let looked = self.look(directory)?;
        let added = self.manifest.append(directory, lines, durable).and_then(|()| stand(directory));
        self.left = added.as_ref().ok().copied();
        added.map(|_| looked)
    }

    /// Folds the lines of segments that are away, once they are many and half of all. Cheap as long as they are not.
    pub fn fold(&mut self, directory: BorrowedFd<'_>, is_there: impl Fn(u64) -> bool) -> io::Result<bool> {
        let away = self.manifest.pruned.len() + self.manifest.gone.len();
        // Most have two lines. After a try in vain more have to be away before the next.
        let enough = 2 * away >= FOLD && 4 * away as u64 >= self.manifest.lines;
        if !enough || away < self.tried.saturating_add(self.tried / 4) {
            return Ok(false);
        }
        self.tried = away;
        self.look(directory)?;
        let folded = self.manifest.fold(directory, FOLD, is_there);
        if let Ok(true) = folded {
            crash::point("archive-fold-renamed");
        }
        let now = stand(directory);
        self.left = folded.as_ref().ok().and(now.as_ref().ok()).copied();
        if let Ok(true) = folded {
            self.tried = 0;
        }
        now.and(folded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::manifest::Pruned;
    use crate::store::names::SegmentName;
    use crate::sys::AsFd;
    use crate::sys::file::open_directory;
    use std::fs;

    fn pruned(sequence: u64) -> Line {
        let segment = SegmentName { prefix: "m".into(), sequence, start: 0 }.build();
        Line::Pruned(Pruned { segment, reason: "max-files".into(), time: "2026-11-22T08:42:00Z".into() })
    }

    #[test]
    fn what_somebody_else_has_changed_is_read_before_anything_is_added() {
        let place = tempfile::tempdir().unwrap();
        let directory = open_directory(place.path()).unwrap();
        let mut ledger = Ledger::new();
        assert_eq!(ledger.append(directory.as_fd(), vec![pruned(1)], true).unwrap(), Looked::Read);
        assert_eq!(ledger.append(directory.as_fd(), vec![pruned(2)], true).unwrap(), Looked::Same);
        fs::remove_file(place.path().join(MANIFEST)).unwrap();
        assert_eq!(ledger.append(directory.as_fd(), vec![pruned(3)], true).unwrap(), Looked::Read);
        let read = Manifest::read(directory.as_fd()).unwrap();
        assert_eq!((read.lines, read.flaws.len()), (1, 0));
        assert_eq!(&read, ledger.manifest());
    }

    #[test]
    fn it_never_grows_for_ever() {
        let place = tempfile::tempdir().unwrap();
        let directory = open_directory(place.path()).unwrap();
        let mut ledger = Ledger::new();
        let (mut folds, mut most) = (0, 0);
        for first in (0..5000).step_by(100) {
            ledger.append(directory.as_fd(), (first..first + 100).map(pruned).collect(), false).unwrap();
            most = most.max(ledger.manifest().lines);
            folds += u32::from(ledger.fold(directory.as_fd(), |_| false).unwrap());
        }
        assert!((3..=6).contains(&folds) && most <= 1300, "{folds} folds, {most} lines");
        let read = Manifest::read(directory.as_fd()).unwrap();
        assert!(read.flaws.is_empty() && read.was_pruned(0) && read.was_pruned(4999));
    }
}
