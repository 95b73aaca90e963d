//! Rotation: from the live segment to a new one, as named stages, each retried where it failed and safe to be killed in.
//!
//! Create → Sync → Link → Swap. Until the swap the old segment stays live and writable; after it the old one is never
//! written again. A kill leaves a newer, empty segment behind, which the next writer finds and goes on with.
use super::plan::Stage;
use crate::config::Config;
use crate::store::names::SegmentName;
use crate::store::segment::{self, Segment};
use crate::sys::{AsFd, OwnedFd, crash};
use std::io;
use std::sync::Arc;

/// Where segments are made, and what they are called.
#[derive(Debug)]
pub struct Shelf {
    /// The store's directory.
    pub directory: Arc<OwnedFd>,
    /// `store.prefix`.
    pub prefix: String,
    /// `store.file-mode`.
    pub mode: u32,
    /// The highest sequence number in the directory.
    pub last_sequence: u64,
}

impl Shelf {
    /// The shelf in `directory`, continuing the sequence that is there.
    pub fn new(directory: &Arc<OwnedFd>, config: &Config) -> io::Result<Self> {
        let mut shelf = Self {
            directory: Arc::clone(directory),
            prefix: config.store.prefix.clone(),
            mode: config.store.file_mode,
            last_sequence: 0,
        };
        shelf.last_sequence = shelf.list()?.last().map_or(0, |name| name.sequence);
        Ok(shelf)
    }

    /// All segments there are, by sequence number.
    pub fn list(&self) -> io::Result<Vec<SegmentName>> {
        segment::list(self.directory.as_fd())
    }

    fn create(&mut self, now: i64) -> io::Result<Segment> {
        loop {
            let name = SegmentName { prefix: self.prefix.clone(), sequence: self.last_sequence + 1, start: now };
            match Segment::create(self.directory.as_fd(), name, self.mode) {
                // Somebody else's file under that name: never ours to overwrite; the next number is free.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.last_sequence += 1,
                Err(error) => return Err(error),
                Ok(segment) => {
                    self.last_sequence += 1;
                    return Ok(segment);
                }
            }
        }
    }
}

/// A rotation under way.
#[derive(Debug)]
pub struct Rotation {
    /// What is to be done next.
    stage: Stage,
    /// The new segment, once it is made.
    new: Option<Segment>,
    second: Option<OwnedFd>,
}

impl Rotation {
    /// A rotation that has done nothing yet.
    pub fn new() -> Self {
        Self { stage: Stage::Create, new: None, second: None }
    }

    /// Goes on with the new segment that a killed writer left.
    pub fn adopt(segment: Segment) -> Self {
        Self { stage: Stage::Sync, new: Some(segment), second: None }
    }

    /// Whether the old segment may still be written.
    pub fn keeps_old(&self) -> bool {
        self.stage.keeps_old()
    }

    /// Goes through the stages. Returns the new live segment and its second description; on an error the rotation stays
    /// at the stage that failed, and running it again retries there.
    pub fn run(&mut self, shelf: &mut Shelf, now: i64) -> io::Result<(Segment, OwnedFd)> {
        loop {
            self.carry_out(shelf, now)?;
            match self.stage.next() {
                Some(next) => self.stage = next,
                None => break,
            }
        }
        let segment = self.new.take().ok_or_else(nothing_made)?;
        let second = self.second.take().map_or_else(|| segment.second_description(shelf.directory.as_fd()), Ok)?;
        Ok((segment, second))
    }

    fn carry_out(&mut self, shelf: &mut Shelf, now: i64) -> io::Result<()> {
        let directory = Arc::clone(&shelf.directory);
        match (self.stage, &self.new) {
            (Stage::Create, _) => {
                self.new = Some(shelf.create(now)?);
                crash::point("rotate-created");
            }
            (Stage::Sync, Some(segment)) => {
                segment.sync_new(directory.as_fd())?;
                self.second = Some(segment.second_description(directory.as_fd())?);
                crash::point("rotate-synced");
            }
            (Stage::Link, Some(segment)) => {
                segment.link(directory.as_fd())?;
                crash::point("rotate-linked");
            }
            (Stage::Swap, Some(segment)) => {
                segment.swap(directory.as_fd())?;
                crash::point("rotate-swapped");
            }
            (_, None) => return Err(nothing_made()),
        }
        Ok(())
    }
}

fn nothing_made() -> io::Error {
    io::Error::other("a rotation without a new segment")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::open_directory;
    use std::os::unix::fs::MetadataExt;

    fn shelf(place: &std::path::Path) -> Shelf {
        let directory = Arc::new(open_directory(place).unwrap());
        Shelf { directory, prefix: "messages".into(), mode: 0o640, last_sequence: 0 }
    }

    #[test]
    fn each_rotation_makes_the_next_current() {
        let place = tempfile::tempdir().unwrap();
        let mut shelf = shelf(place.path());
        for sequence in 1..=3 {
            let (segment, second) = Rotation::new().run(&mut shelf, 100).unwrap();
            assert_eq!(segment.identity.sequence, sequence);
            assert!(segment.is_current(shelf.directory.as_fd()).unwrap());
            assert_eq!(std::fs::File::from(second).metadata().unwrap().ino(), segment.identity.inode);
        }
    }

    #[test]
    fn a_taken_name_is_passed_over_and_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let mut shelf = shelf(place.path());
        let taken = SegmentName { prefix: "messages".into(), sequence: 1, start: 100 }.build();
        std::fs::write(place.path().join(&taken), "not ours").unwrap();
        let (segment, _) = Rotation::new().run(&mut shelf, 100).unwrap();
        assert_eq!(segment.identity.sequence, 2);
        assert_eq!(std::fs::read(place.path().join(&taken)).unwrap(), b"not ours");
    }

    #[test]
    fn a_rotation_goes_on_where_a_killed_one_stopped() {
        let place = tempfile::tempdir().unwrap();
        let mut shelf = shelf(place.path());
        Rotation::new().run(&mut shelf, 100).unwrap();
        let left = shelf.create(200).unwrap();
        let identity = left.identity;
        let (segment, _) = Rotation::adopt(left).run(&mut shelf, 300).unwrap();
        assert_eq!(segment.identity, identity);
        assert!(segment.is_current(shelf.directory.as_fd()).unwrap());
    }
}
