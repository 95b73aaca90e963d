//! The cursor file: one line, the cursor. Replaced as a whole, and synced, at most once a second and at the end, always after
//! the records were handed on: who goes on from it repeats at most that second, and skips nothing.
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cursor::{Cursor, Place};

/// The time between two writes.
const PACE: Duration = Duration::from_secs(1);
/// No cursor is longer, in bytes.
const LONGEST: u64 = 100;

/// Keeps the cursor of one run.
pub struct Keeper {
    path: Option<PathBuf>,
    store: u64,
    saved: Option<(Place, Instant)>,
}

impl Keeper {
    /// For a store; without a path it keeps nothing.
    pub fn new(path: Option<PathBuf>, store: u64) -> Self {
        Self { path, store, saved: None }
    }

    /// The text of a cursor file; `None`: there is none.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn read(path: &Path) -> io::Result<Option<String>> {
        let mut text = String::new();
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?.take(LONGEST).read_to_string(&mut text)?,
        };
        Ok(Some(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
    }

    /// The id of the store.
    pub fn store(&self) -> u64 {
        self.store
    }

    /// The store is another one from now on.
    pub fn change_store(&mut self, store: u64) {
        (self.store, self.saved) = (store, None);
    }

    /// How long until this place is to be written; `None`: it need not be.
    pub fn due(&self, place: Option<Place>) -> Option<Duration> {
        let place = place.filter(|_| self.path.is_some())?;
        match self.saved {
            None => Some(Duration::ZERO),
            Some((saved, _)) if saved == place => None,
            Some((_, at)) => Some(PACE.saturating_sub(at.elapsed())),
        }
    }

    /// Writes the place, if it has changed. Everything up to it must have been handed on.
    ///
    /// # Errors
    /// What cannot be written, and why.
    pub fn save(&mut self, place: Option<Place>) -> Result<(), String> {
        let (Some(path), Some(place)) = (&self.path, place) else { return Ok(()) };
        if self.saved.is_some_and(|(saved, _)| saved == place) {
            return Ok(());
        }
        let cursor = Cursor { store: self.store, place };
        replace(path, &format!("{cursor}\n"))
            .map_err(|error| format!("cannot write the cursor file {}: {error}", path.display()))?;
        self.saved = Some((place, Instant::now()));
        Ok(())
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_and_only_changes_are_due() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("cursor");
        assert_eq!(Keeper::read(&path).unwrap(), None);
        let mut keeper = Keeper::new(Some(path.clone()), 7);
        let at = |offset| Some(Place { sequence: 3, offset });
        assert_eq!((keeper.due(None), keeper.due(at(1))), (None, Some(Duration::ZERO)));
        keeper.save(at(1)).unwrap();
        assert_eq!(Keeper::read(&path).unwrap().as_deref(), Some("0000000000000007:3:1"));
        assert_eq!(keeper.due(at(1)), None);
        assert!(keeper.due(at(2)).is_some_and(|rest| rest > Duration::ZERO));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        let mut nowhere = Keeper::new(Some(place.path().join("no/cursor")), 7);
        assert!(nowhere.save(at(1)).unwrap_err().contains("no/cursor: No such file"));
    }
}
