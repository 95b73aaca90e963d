//! Rotation: from the live segment to a new one, as named stages, each retried where it failed and safe to be killed in.
//!
//! Create → Sync → Link → Swap. Until the swap the old segment stays live and writable; after it the old one is never
//! written again. A kill leaves a newer, empty segment behind, which the next writer finds and goes on with.
//!
//! Where acknowledged records have to be saved from segments that failed, the new segment begins with them: Create (a
//! hidden file) → Fill (and sync) → Note (in the manifest) → Name → Sync (the directory) → Link → Swap. The one step that counts is the link
//! that gives the file its name: before it the records are where they were, after it they are in the new segment.
use super::plan::Stage;
use crate::config::Config;
use crate::store::failed;
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
        let mut all = segment::list_all(directory.as_fd())?;
        // A number that anybody has used is not used again.
        shelf.last_sequence = all.last().map_or(0, |(name, _)| name.sequence);
        for (name, form) in segment::take_foreign(directory.as_fd(), &mut all)? {
            let file = form.of(&name.build());
            warn!(
                FOREIGN_FILE { file: &file },
                "{file} is no file of this daemon's, whoever put it there; it is left alone, look at it and remove it"
            );
        }
        Ok(shelf)
    }

    /// All segments there are, by sequence number; of the newest, which may be written to, only the daemon's own.
    pub fn list(&self) -> io::Result<Vec<SegmentName>> {
        segment::list(self.directory.as_fd())
    }

    /// Takes back a segment that was never live, so that the numbers have no gap; not one that readers of
    /// `current` have, nor one with records in it.
    fn discard(&mut self, segment: &Segment) {
        let is_new = segment.length().is_ok_and(|length| length == 0);
        if !is_new || segment.is_current(self.directory.as_fd()).unwrap_or(true) {
            return;
        }
        if segment.remove(self.directory.as_fd()).is_ok() && self.last_sequence == segment.identity.sequence {
            self.last_sequence -= 1;
        }
    }

    fn create(&mut self, now: i64) -> io::Result<Segment> {
        loop {
            let sequence = self.last_sequence.checked_add(1).ok_or_else(|| {
                io::Error::other(format!("a file has the number {}, the last there is; move it away", u64::MAX))
            })?;
            let name = SegmentName { prefix: self.prefix.clone(), sequence, start: now };
            let file_name = name.build();
            match Segment::create(self.directory.as_fd(), name, self.mode) {
                // Somebody else's file under that name: never ours to overwrite; the next number is free.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.last_sequence += 1,
                Err(error) => {
                    // Half made, and not to be removed: its number is used.
                    if failed::exists(&*self.directory, &file_name) {
                        self.last_sequence += 1;
                    }
                    return Err(error);
                }
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

/// A rotation under way.
#[derive(Debug)]
pub struct Rotation {
    /// What is to be done next.
    stage: Stage,
    /// Of a rescue: the file that has no name yet.
    hidden: Option<Arc<File>>,
    /// The new segment, once it is made.
    new: Option<Segment>,
    second: Option<OwnedFd>,
    rescue: Option<Rescue<Arc<File>>>,
    /// The oldest failed segment that is saved with it.
    saves: Option<u64>,
    /// Bytes of the new segment that are saved records.
    filled: u64,
    /// The start time in the name that was noted for them.
    noted: i64,
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
        Self {
            stage: Stage::Create,
            hidden: None,
            new: None,
            second: None,
            rescue: None,
            saves: None,
            filled: 0,
            noted: 0,
        }
    }

    /// One whose new segment begins with what has to be saved from these, the oldest first.
    /// `oldest`: the oldest segment that failed, even if nothing of it is left.
    pub fn rescuing(oldest: u64, sources: Vec<Source>) -> Self {
        Self { rescue: Some(Rescue::new(sources)), saves: Some(oldest), ..Self::new() }
    }

    /// Goes on with the new, empty segment that a killed writer left.
    pub fn adopt(segment: Segment) -> Self {
        Self { stage: Stage::Sync, new: Some(segment), ..Self::new() }
    }

    /// Goes on with the new segment to which a killed writer has saved what was in `saves` and later.
    pub fn adopt_saved(segment: Segment, saves: u64) -> io::Result<Self> {
        let filled = segment.length()?;
        Ok(Self { saves: Some(saves), filled, ..Self::adopt(segment) })
    }

    /// The oldest failed segment that is saved with it.
    pub fn saves(&self) -> Option<u64> {
        self.saves
    }

    /// What the copy has come to.
    pub fn rescue(&self) -> Option<&Rescue<Arc<File>>> {
        self.rescue.as_ref()
    }

    /// Whether the old segment may still be written, or another rotation take this one's place.
    pub fn may_be_given_up(&self) -> bool {
        self.stage.may_be_given_up(self.saves.is_some())
    }

    /// Leaves no trace of it; false if it has gone too far.
    pub fn give_up(&mut self, shelf: &mut Shelf) -> bool {
        let may = self.may_be_given_up();
        if may && let Some(segment) = self.new.take() {
            shelf.discard(&segment);
        }
        may
    }

    /// Goes through the stages. `None`: there is more to do, a lot was copied. On an error the rotation stays at the
    /// stage that failed, or goes back to the beginning, and running it again goes on there.
    pub fn run(&mut self, shelf: &mut Shelf, now: i64) -> io::Result<Option<Begun>> {
        loop {
            match self.carry_out(shelf, now) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => {
                    self.retreat(shelf, &error);
                    return Err(error);
                }
            }
            match self.stage.next(self.saves.is_some()) {
                Some(next) => self.stage = next,
                None => break,
            }
        }
        let segment = self.new.take().ok_or_else(nothing_made)?;
        let second = self.second.take().map_or_else(|| segment.second_description(shelf.directory.as_fd()), Ok)?;
        Ok(Some(Begun { segment, filled: self.filled, second, saves: self.saves }))
    }

    /// Runs it to its end; `progress` hears of every byte that was copied on the way.
    pub fn complete(mut self, shelf: &mut Shelf, now: i64, progress: impl Fn(u64)) -> io::Result<Begun> {
        let mut copied = 0;
        loop {
            if let Some(begun) = self.run(shelf, now)? {
                return Ok(begun);
            }
            let before = std::mem::replace(&mut copied, self.rescue().map_or(0, Rescue::written));
            progress(copied.saturating_sub(before));
        }
    }

    /// Does the stage at hand; false if that needs another turn.
    fn carry_out(&mut self, shelf: &mut Shelf, now: i64) -> io::Result<bool> {
        let directory = Arc::clone(&shelf.directory);
        match (self.stage, &self.new) {
            (Stage::Create, _) => match &mut self.rescue {
                Some(rescue) => {
                    rescue.rewind();
                    self.hidden = Some(Segment::hidden(directory.as_fd(), shelf.mode)?);
                    crash::point("rescue-created");
                }
                None => {
                    self.new = Some(shelf.create(now)?);
                    crash::point("rotate-created");
                }
            },
            (Stage::Fill, _) => return self.fill(directory.as_fd()),
            (Stage::Note, _) => self.note(shelf, now)?,
            (Stage::Name, _) => {
                let hidden = self.hidden.clone().ok_or_else(nothing_made)?;
                let name =
                    SegmentName { prefix: shelf.prefix.clone(), sequence: shelf.last_sequence, start: self.noted };
                self.new = Some(Segment::named(directory.as_fd(), name, hidden)?);
                crash::point("rescue-named");
            }
            (Stage::Sync, Some(segment)) => {
                // What was saved is synced already, and only the name is new.
                if self.saves.is_some() {
                    sync_names(&directory)?
                } else {
                    segment.sync_new(directory.as_fd())?
                }
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
        Ok(true)
    }

    /// Copies some more; true once all is copied and synced.
    fn fill(&mut self, directory: BorrowedFd<'_>) -> io::Result<bool> {
        let (Some(rescue), Some(file)) = (&mut self.rescue, &self.hidden) else { return Err(nothing_made()) };
        for _ in 0..PIECES_A_TURN {
            if rescue.step(file)? {
                self.filled = rescue.written();
                file.sync_all()?;
                rescue.keep_lost(directory)?;
                crash::point("rescue-filled");
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes where the saved records will be found; a name that is there already would count as them.
    fn note(&mut self, shelf: &mut Shelf, now: i64) -> io::Result<()> {
        let Some(rescue) = &self.rescue else { return Err(nothing_made()) };
        loop {
            shelf.last_sequence += 1;
            let name = SegmentName { prefix: shelf.prefix.clone(), sequence: shelf.last_sequence, start: now };
            if failed::exists(&*shelf.directory, &name.build()) {
                continue;
            }
            if let Err(error) = failed::append(shelf.directory.as_fd(), &rescue.notes(&name)) {
                shelf.last_sequence -= 1;
                return Err(error);
            }
            self.noted = now;
            crash::point("rescue-noted");
            return Ok(());
        }
    }

    /// After an error: a file of which a sync may have failed is not used again. A second sync would say that all is
    /// well, whatever is lost.
    fn retreat(&mut self, shelf: &mut Shelf, error: &io::Error) {
        let begins_anew = match self.stage {
            Stage::Sync => self.saves.is_none(),
            Stage::Fill => true,
            // Somebody has removed the hidden file.
            Stage::Name if error.kind() == io::ErrorKind::NotFound => {
                shelf.last_sequence -= 1;
                true
            }
            _ => false,
        };
        if begins_anew {
            self.new.take().iter().for_each(|segment| shelf.discard(segment));
            self.stage = Stage::Create;
        }
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
            let begun = Rotation::new().complete(&mut shelf, 100, |_| {}).unwrap();
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
        let Begun { segment, .. } = Rotation::new().complete(&mut shelf, 100, |_| {}).unwrap();
        assert_eq!(segment.identity.sequence, 2);
        assert_eq!(std::fs::read(place.path().join(&taken)).unwrap(), b"not ours");
    }

    #[test]
    fn a_rotation_goes_on_where_a_killed_one_stopped() {
        let place = tempfile::tempdir().unwrap();
        let mut shelf = shelf(place.path());
        Rotation::new().complete(&mut shelf, 100, |_| {}).unwrap();
        let left = shelf.create(200).unwrap();
        let identity = left.identity;
        let Begun { segment, .. } = Rotation::adopt(left).complete(&mut shelf, 300, |_| {}).unwrap();
        assert_eq!(segment.identity, identity);
        assert!(segment.is_current(shelf.directory.as_fd()).unwrap());
    }
}
