//! What others did to the live segment: seen within a second, said, and answered by a new segment.
//!
//! Promise: never a hole, never records welded to foreign bytes: a segment that is not as the writer left it is not
//! written again, and nobody's bytes in it are touched. The decision is pure.
use super::Writer;
use super::opening::save_foreign_current;
use super::rotation::Rotation;
use crate::ipc::scoreboard::Count;
use crate::store::failed::{self, FAILED, Harm};
use crate::store::names::CURRENT;
use crate::sys::{AsFd, file};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;

/// What a look at the live segment found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Names that lead to it.
    links: u64,
    /// Its own name is one of them.
    named: bool,
    /// `current` is one of them.
    current: bool,
    length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tampered {
    Deleted,
    Renamed,
    Resized,
}

/// Compares what was seen with what the writer left: `length` bytes under two names.
///
/// `uncommitted`: a batch that is not committed may stand behind them.
fn judge(seen: Seen, length: u64, uncommitted: bool) -> Option<Tampered> {
    match seen {
        Seen { links: 0, .. } => Some(Tampered::Deleted),
        Seen { length: found, .. } if found < length || (found > length && !uncommitted) => Some(Tampered::Resized),
        Seen { named: true, current: true, .. } => None,
        _ => Some(Tampered::Renamed),
    }
}

impl Tampered {
    /// Of `length` acknowledged bytes, with `found` in the file now, those that nobody can read any more.
    fn destroyed(self, length: u64, found: u64) -> u64 {
        match self {
            Self::Deleted => length,
            Self::Resized => length.saturating_sub(found),
            Self::Renamed => 0,
        }
    }
}

impl Writer {
    /// Looks whether the live segment is as it was left; if not, the next step is a rotation.
    pub(super) fn examine_live(&mut self) {
        if !self.must_move() {
            self.on_disk(Self::look_for_tampering);
        }
    }

    fn look_for_tampering(&mut self) {
        // A directory that cannot be read for the moment says nothing about the file.
        let Ok(seen) = self.look_at_live() else { return };
        let Some(tampered) = judge(seen, self.offset, self.uncommitted) else { return };
        if tampered == Tampered::Renamed && self.rotation.is_some() {
            return;
        }
        self.tell_tampered(tampered, seen.length);
        if tampered != Tampered::Renamed || !seen.named {
            let destroyed = tampered.destroyed(self.offset, seen.length);
            self.note_harm(self.live.name.build(), self.offset, destroyed);
        }
        if tampered != Tampered::Renamed {
            // Nothing more goes into it, also if no new segment can be made for now. Behind the counting: a successor
            // does not count again.
            self.record.set_tampered(self.live.identity.sequence);
        }
        // Somebody's own file or directory of that name is not ours to replace, and ours may be the last name of its file.
        let (segments, live) = (self.shelf.list(), (&self.live.name, self.live.identity));
        let saved = segments.and_then(|segments| save_foreign_current(&self.shelf.directory, &segments, Some(live)));
        if let Err(error) = saved {
            crate::warn!(CURRENT_NOT_SEEN, "cannot look what {CURRENT} is now: {error}");
        }
        self.rotation.get_or_insert_with(Rotation::new);
    }

    fn tell_tampered(&self, tampered: Tampered, found: u64) {
        let (name, offset) = (self.live.name.build(), self.offset);
        match tampered {
            Tampered::Deleted => {
                crate::error!(
                    LIVE_FILE_DELETED { file: &name, bytes: offset },
                    "{name} was deleted by somebody else, and {offset} bytes of records with it; a new segment takes over"
                );
            }
            Tampered::Resized => crate::error!(
                LIVE_FILE_CHANGED { file: &name, bytes: tampered.destroyed(offset, found) },
                "{name} was changed by somebody else: {found} bytes instead of {offset}; it is left as it is, a new segment takes over"
            ),
            Tampered::Renamed => {
                crate::warn!(
                    LIVE_FILE_RENAMED { file: &name },
                    "{name} or {CURRENT} was renamed or removed by somebody else; a new segment takes over"
                );
            }
        }
    }

    /// Counts what others have destroyed, and notes how much should be there: the archiver seals what is.
    pub(super) fn note_harm(&mut self, segment: String, acknowledged: u64, destroyed: u64) {
        self.scoreboard.add(Count::DestroyedBytes, destroyed);
        let harm = Harm { segment, acknowledged };
        let noted = self.on_disk(|writer| failed::append_harm(writer.shelf.directory.as_fd(), &harm));
        if let Err(error) = noted {
            crate::error!(FAILURE_NOT_NOTED, "cannot note in {FAILED} what was done to {}: {error}", harm.segment);
        }
    }

    /// Before a batch, also one that is tried again: whether the live segment is there and ends where the writer left it. If
    /// not, it is examined at once: a batch behind what is gone would leave a hole.
    pub(super) fn is_untouched(&mut self) -> bool {
        let found = self.on_disk(|writer| writer.live.file.metadata());
        let longer = |found: &Metadata| found.len() > self.offset && !self.uncommitted;
        let changed = |found: Metadata| found.len() < self.offset || longer(&found) || found.nlink() == 0;
        if found.is_ok_and(changed) {
            self.examine_live();
        }
        !self.must_move()
    }

    fn look_at_live(&self) -> io::Result<Seen> {
        let stat = file::stat(&*self.live.file)?;
        let directory = self.shelf.directory.as_fd();
        let leads_here = |name: &str| match file::stat_at(directory, name) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        Ok(Seen {
            links: stat.st_nlink,
            named: leads_here(&self.live.name.build())?,
            current: leads_here(CURRENT)?,
            length: u64::try_from(stat.st_size).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_tampering_is_told() {
        let well = Seen { links: 2, named: true, current: true, length: 10 };
        assert_eq!(judge(well, 10, false), None);
        // Somebody's own hard link, a backup's for example, is nobody's business.
        assert_eq!(judge(Seen { links: 3, ..well }, 10, false), None);
        assert_eq!(judge(Seen { links: 0, named: false, current: false, ..well }, 10, false), Some(Tampered::Deleted));
        assert_eq!(judge(Seen { length: 0, ..well }, 10, false), Some(Tampered::Resized));
        assert_eq!(judge(Seen { length: 11, ..well }, 10, false), Some(Tampered::Resized));
        assert_eq!(judge(Seen { length: 11, ..well }, 10, true), None);
        assert_eq!(judge(Seen { length: 9, ..well }, 10, true), Some(Tampered::Resized));
        assert_eq!(judge(Seen { named: false, ..well }, 10, false), Some(Tampered::Renamed));
        assert_eq!(judge(Seen { current: false, ..well }, 10, false), Some(Tampered::Renamed));
    }

    #[test]
    fn what_is_destroyed_is_what_was_acknowledged_and_cannot_be_read() {
        assert_eq!((Tampered::Deleted.destroyed(10, 10), Tampered::Renamed.destroyed(10, 10)), (10, 0));
        let resized = |found| Tampered::Resized.destroyed(10, found);
        assert_eq!((resized(0), resized(3), resized(10), resized(12)), (10, 7, 0, 0));
    }
}
