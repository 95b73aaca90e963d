//! Rotation: from the live segment to a new one, as named stages, each retried where it failed and safe to be killed in.
//!
//! Create → Sync → Link → Swap. Until the swap the old segment stays live and writable; after it the old one is never
//! written again. A kill leaves a newer, empty segment behind, which the next writer finds and goes on with.
//!
//! Where acknowledged records have to be saved from segments that failed, the new segment begins with them: Create (a
//! hidden file) → Fill (and sync) → Note (in the manifest) → Names → Link → Swap. The one step that counts is the link
//! that gives the file its name: before it the records are where they were, after it they are in the new segment.
use crate::config::Config;
use crate::store::manifest;
use crate::store::names::SegmentName;
use crate::store::rescue::{self, Rescue};
use crate::store::segment::{self, Segment, sync_names};
use crate::sys::{AsFd, BorrowedFd, OwnedFd, crash};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Pieces of about a mebibyte that are copied before the writer looks at its other duties.
const PIECES_A_TURN: usize = 8;

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

    /// Takes back a segment that was never live, so that the numbers have no gap.
    fn discard(&mut self, segment: &Segment) {
        if segment.remove(self.directory.as_fd()).is_ok() && self.last_sequence == segment.identity.sequence {
            self.last_sequence -= 1;
        }
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

/// The end of a segment that failed, to be saved.
pub type Source = rescue::Source<Arc<File>>;

#[derive(Debug)]
enum Stage {
    Create,
    /// Of a rescue: the file has no name yet.
    Fill(Arc<File>),
    Note(Arc<File>, OwnedFd),
    Names(Segment),
    Sync(Segment),
    Link(Segment),
    Swap(Segment),
}

/// A rotation under way.
#[derive(Debug)]
pub struct Rotation {
    stage: Stage,
    second: Option<OwnedFd>,
    rescue: Option<Rescue<Arc<File>>>,
    /// The oldest failed segment that is saved with it.
    saves: Option<u64>,
    /// Bytes of the new segment that are saved records.
    filled: u64,
}

/// A new live segment.
#[derive(Debug)]
pub struct Begun {
    /// The segment.
    pub segment: Segment,
    /// Its bytes, all of them records saved from others; synced.
    pub filled: u64,
    /// Its second description.
    pub second: OwnedFd,
    /// The oldest failed segment that is saved with it.
    pub saves: Option<u64>,
}

impl Rotation {
    /// A rotation that has done nothing yet.
    pub fn new() -> Self {
        Self { stage: Stage::Create, second: None, rescue: None, saves: None, filled: 0 }
    }

    /// One whose new segment begins with what has to be saved from these, the oldest first.
    pub fn rescuing(sources: Vec<Source>) -> Self {
        let saves = sources.first().map(|source| source.name.sequence);
        Self { rescue: Some(Rescue::new(sources)), saves, ..Self::new() }
    }

    /// Goes on with the new, empty segment that a killed writer left.
    pub fn adopt(segment: Segment) -> Self {
        Self { stage: Stage::Sync(segment), ..Self::new() }
    }

    /// Goes on with the new segment to which a killed writer has saved what was in `saves` and later.
    pub fn adopt_saved(segment: Segment, saves: u64) -> io::Result<Self> {
        let filled = segment.length()?;
        Ok(Self { stage: Stage::Names(segment), saves: Some(saves), filled, ..Self::new() })
    }

    /// The oldest failed segment that is saved with it.
    pub fn saves(&self) -> Option<u64> {
        self.saves
    }

    /// Whether the old segment may still be written: not once the swap may have happened, nor once its end counts as
    /// being in the new one.
    pub fn before_swap(&self) -> bool {
        !matches!(self.stage, Stage::Swap(_)) && (self.saves.is_none() || self.is_unnamed())
    }

    fn is_unnamed(&self) -> bool {
        matches!(self.stage, Stage::Create | Stage::Fill(_) | Stage::Note(..))
    }

    /// Leaves no trace of it, so that another one can begin; false if it has gone too far.
    pub fn give_up(&mut self, shelf: &mut Shelf) -> bool {
        match &self.stage {
            _ if !self.before_swap() => return false,
            Stage::Names(segment) | Stage::Sync(segment) | Stage::Link(segment) | Stage::Swap(segment) => {
                shelf.discard(segment);
            }
            Stage::Create | Stage::Fill(_) | Stage::Note(..) => {}
        }
        self.stage = Stage::Create;
        true
    }

    /// Goes through the stages. `None`: there is more to do, a lot was copied. On an error the rotation stays at the
    /// stage that failed, or before it, and running it again goes on there.
    pub fn run(&mut self, shelf: &mut Shelf, now: i64) -> io::Result<Option<Begun>> {
        let directory = Arc::clone(&shelf.directory);
        loop {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Create) {
                Stage::Create if self.rescue.is_some() => self.begin_filling(shelf)?,
                Stage::Create => {
                    let segment = shelf.create(now)?;
                    crash::point("rotate-created");
                    Stage::Sync(segment)
                }
                Stage::Fill(file) => match self.fill(&file, directory.as_fd())? {
                    Some(second) => Stage::Note(file, second),
                    None => {
                        self.stage = Stage::Fill(file);
                        return Ok(None);
                    }
                },
                Stage::Note(file, second) => match self.note_and_name(&file, shelf, now) {
                    Err(error) => return self.stay(Stage::Note(file, second), error),
                    Ok(segment) => {
                        self.second = Some(second);
                        Stage::Names(segment)
                    }
                },
                Stage::Names(segment) => {
                    if let Err(error) = sync_names(&directory) {
                        return self.stay(Stage::Names(segment), error);
                    }
                    crash::point("rescue-named");
                    Stage::Link(segment)
                }
                Stage::Sync(segment) => {
                    let synced = segment.sync_new(directory.as_fd());
                    match synced.and_then(|()| segment.second_description(directory.as_fd())) {
                        Ok(second) => self.second = Some(second),
                        Err(error) => {
                            // A second sync of the same file would say that all is well, whatever is lost.
                            shelf.discard(&segment);
                            return self.stay(Stage::Create, error);
                        }
                    }
                    crash::point("rotate-synced");
                    Stage::Link(segment)
                }
                Stage::Link(segment) => {
                    if let Err(error) = segment.link(directory.as_fd()) {
                        return self.stay(Stage::Link(segment), error);
                    }
                    crash::point("rotate-linked");
                    Stage::Swap(segment)
                }
                Stage::Swap(segment) => return self.swap(segment, directory.as_fd()).map(Some),
            };
        }
    }

    fn swap(&mut self, segment: Segment, directory: BorrowedFd<'_>) -> io::Result<Begun> {
        if let Err(error) = segment.swap(directory) {
            return self.stay(Stage::Swap(segment), error);
        }
        crash::point("rotate-swapped");
        match self.second.take().map_or_else(|| segment.second_description(directory), Ok) {
            Err(error) => self.stay(Stage::Swap(segment), error),
            Ok(second) => Ok(Begun { segment, filled: self.filled, second, saves: self.saves }),
        }
    }

    /// Runs it to its end.
    pub fn complete(mut self, shelf: &mut Shelf, now: i64) -> io::Result<Begun> {
        loop {
            if let Some(begun) = self.run(shelf, now)? {
                return Ok(begun);
            }
        }
    }

    fn begin_filling(&mut self, shelf: &Shelf) -> io::Result<Stage> {
        if let Some(rescue) = &mut self.rescue {
            rescue.rewind();
        }
        let file = Segment::hidden(shelf.directory.as_fd(), shelf.mode)?;
        crash::point("rescue-created");
        Ok(Stage::Fill(file))
    }

    /// Copies some more; once all is copied and synced, returns the new file's second description. After an error the
    /// copy begins anew, in another file.
    fn fill(&mut self, file: &Arc<File>, directory: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
        let Some(rescue) = &mut self.rescue else { return Err(io::Error::other("nothing to save")) };
        for _ in 0..PIECES_A_TURN {
            if rescue.step(file)? {
                self.filled = rescue.written();
                let second = Segment::hidden_second(directory)?;
                file.sync_all()?;
                rescue.keep_lost(directory)?;
                crash::point("rescue-filled");
                return Ok(Some(second));
            }
        }
        Ok(None)
    }

    /// Notes where the saved records will be, then makes that so: the name is what counts.
    fn note_and_name(&self, file: &Arc<File>, shelf: &mut Shelf, now: i64) -> io::Result<Segment> {
        let directory = Arc::clone(&shelf.directory);
        loop {
            let name = SegmentName { prefix: shelf.prefix.clone(), sequence: shelf.last_sequence + 1, start: now };
            // A name that is there already would count as the saved records.
            if manifest::exists(&*directory, &name.build()) {
                shelf.last_sequence += 1;
                continue;
            }
            let notes = self.rescue.as_ref().map_or_else(Vec::new, |rescue| rescue.notes(&name));
            manifest::append(directory.as_fd(), &notes)?;
            crash::point("rescue-noted");
            let segment = Segment::named(directory.as_fd(), name, Arc::clone(file))?;
            shelf.last_sequence += 1;
            return Ok(segment);
        }
    }

    /// What the copy has come to.
    pub fn rescue(&self) -> Option<&Rescue<Arc<File>>> {
        self.rescue.as_ref()
    }

    fn stay<T>(&mut self, stage: Stage, error: io::Error) -> io::Result<T> {
        self.stage = stage;
        Err(error)
    }
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
            let begun = Rotation::new().complete(&mut shelf, 100).unwrap();
            let Begun { segment, second, .. } = begun;
            assert_eq!(segment.identity.sequence, sequence);
            assert!(segment.is_current(shelf.directory.as_fd()).unwrap());
            assert_eq!(File::from(second).metadata().unwrap().ino(), segment.identity.inode);
        }
    }

    #[test]
    fn a_taken_name_is_passed_over_and_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let mut shelf = shelf(place.path());
        let taken = SegmentName { prefix: "messages".into(), sequence: 1, start: 100 }.build();
        std::fs::write(place.path().join(&taken), "not ours").unwrap();
        let Begun { segment, .. } = Rotation::new().complete(&mut shelf, 100).unwrap();
        assert_eq!(segment.identity.sequence, 2);
        assert_eq!(std::fs::read(place.path().join(&taken)).unwrap(), b"not ours");
    }

    #[test]
    fn a_rotation_goes_on_where_a_killed_one_stopped() {
        let place = tempfile::tempdir().unwrap();
        let mut shelf = shelf(place.path());
        Rotation::new().complete(&mut shelf, 100).unwrap();
        let left = shelf.create(200).unwrap();
        let identity = left.identity;
        let Begun { segment, .. } = Rotation::adopt(left).complete(&mut shelf, 300).unwrap();
        assert_eq!(segment.identity, identity);
        assert!(segment.is_current(shelf.directory.as_fd()).unwrap());
    }
}
