//! Reading a store, live or copied: which files hold records, in which order, and their lines.
//!
//! Needs no daemon and disturbs none: it opens for reading only, never follows a symlink inside the directory, and never
//! waits on what is not a regular file. Memory is bounded by the longest record, time is linear in the bytes.
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::content::Content;
use super::directory::era;
use super::failed::{Failures, GoodTo, Harm, exists};
use super::manifest::Manifest;
use super::names::{CURRENT, Form, SegmentName};
use super::parse;
use crate::config::Format;
use crate::sys::file::{Access, is_locked, open_at, stat_at};

mod lines;
pub use lines::{LINE_LIMIT, LineReader, Piece, Unfinished};

/// Held by the daemon that owns the store.
const LOCK: &str = ".lock";
/// Marks a directory as a store, even one without records.
const MARK: &str = ".store";

/// Why a directory cannot be read as a store.
#[derive(Debug)]
pub enum Unusable {
    /// It is missing, or may not be read.
    Unreadable(PathBuf, io::Error),
    /// Nothing in it says that it is one.
    NotAStore(PathBuf),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => {
                let path = path.display();
                write!(
                    f,
                    "cannot read the store {path}: {error}; name its directory with --directory, or with --config the daemon's configuration"
                )?;
                if error.kind() == io::ErrorKind::PermissionDenied {
                    write!(f, " (members of the daemon's group may read it)")?;
                }
                Ok(())
            }
            Self::NotAStore(path) => write!(
                f,
                "{} is not an echostored store: it has neither a file of records nor {MARK}; name the store with --directory",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Unusable {}

/// Device and inode: one file, whatever its names.
pub type Identity = (u64, u64);

/// One file of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its name, taken apart.
    pub name: SegmentName,
    /// The name of its file, as it stands in the directory.
    pub file: String,
    /// How its bytes stand in that.
    pub form: Form,
    /// The length of its file in bytes when it was listed; without what was moved to another segment after a failed sync.
    pub length: u64,
    /// It ends here for good: what follows was moved away.
    pub cut: Option<u64>,
    /// Which file it is.
    pub identity: Identity,
    /// The format that the store says it is in; without a word of it, the first lines tell.
    pub format: Option<Format>,
}

/// What is in a store's directory.
#[derive(Debug)]
pub struct Listing {
    directory: File,
    /// The files of records by sequence, which is one for the whole directory, whatever the prefixes.
    pub segments: Vec<Segment>,
    /// Names that end in `.log`, `.log.gz` or `.log.zst` but are not those of a regular file of records, sorted; ready to be shown.
    pub foreign: Vec<String>,
    /// What `current` is; `None` if it is not there.
    pub current: Option<Current>,
    /// Segments of which a write or sync has failed.
    pub failed: Vec<GoodTo>,
    /// Segments that somebody else changed while they were live.
    pub harmed: Vec<Harm>,
}

/// What the name `current` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Current {
    /// A regular file: by design a second name of the live file.
    File(Identity),
    /// A symlink, a directory or the like.
    Other,
}

impl Listing {
    /// Lists a directory. A rotation that goes on meanwhile is waited out by listing again.
    ///
    /// # Errors
    /// The directory cannot be read, or is no store.
    pub fn new(path: &Path) -> Result<Self, Unusable> {
        // While names are read, a rotation may swap `current` to a file that was missed, and two may make a gap.
        const TRIES: usize = 3;
        let unreadable = |error| Unusable::Unreadable(path.to_owned(), error);
        for _ in 1..TRIES {
            let listing = Self::once(path).map_err(unreadable)?;
            if listing.current_is_a_segment() && listing.is_without_gap() {
                return listing.checked(path);
            }
        }
        Self::once(path).map_err(unreadable)?.checked(path)
    }

    fn is_without_gap(&self) -> bool {
        let next = |pair: &[Segment]| pair[0].name.sequence.checked_add(1) == Some(pair[1].name.sequence);
        self.segments.windows(2).all(next)
    }

    fn once(path: &Path) -> io::Result<Self> {
        let directory = File::open(path)?;
        let era = era(directory.as_fd());
        let failures = Failures::read(directory.as_fd())?;
        let mut listing = Self {
            directory,
            segments: Vec::new(),
            foreign: Vec::new(),
            current: None,
            failed: Vec::new(),
            harmed: Vec::new(),
        };
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let file = entry.file_name();
            let name = file.to_str().and_then(Form::parse);
            let is_log = Form::ALL.iter().any(|form| file.as_encoded_bytes().ends_with(form.of(".log").as_bytes()));
            if !is_log && file != CURRENT {
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // pruned, or swapped, meanwhile
                Err(error) => return Err(error),
            };
            let identity = (metadata.dev(), metadata.ino());
            match name {
                _ if file == CURRENT && metadata.is_file() => listing.current = Some(Current::File(identity)),
                _ if file == CURRENT => listing.current = Some(Current::Other),
                Some((name, form)) if metadata.is_file() => {
                    let file = file.to_string_lossy().into_owned();
                    let format = era.filter(|era| name.sequence >= era.since).map(|era| era.format);
                    let cut = failures.cut(&name.build(), |name| exists(&listing.directory, name));
                    let length =
                        cut.filter(|_| form == Form::Plain).map_or(metadata.len(), |cut| cut.min(metadata.len()));
                    listing.segments.push(Segment { name, file, form, length, cut, identity, format });
                }
                _ => listing.foreign.push(shown(file.as_encoded_bytes())),
            }
        }
        listing.harmed = failures.harms().to_vec();
        listing.failed = failures.into_entries();
        // Of several forms of one segment the first counts: the others are not whole, or not needed, yet.
        listing.segments.sort_by(|one, other| one.name.cmp(&other.name).then(one.form.cmp(&other.form)));
        listing.segments.dedup_by(|later, first| later.name == first.name);
        listing.foreign.sort();
        Ok(listing)
    }

    fn checked(self, path: &Path) -> Result<Self, Unusable> {
        if self.segments.is_empty() && !path.join(MARK).exists() {
            return Err(Unusable::NotAStore(path.to_owned()));
        }
        Ok(self)
    }

    /// Whether `current` is absent or a second name of one of the files of records, as it must be.
    pub fn current_is_a_segment(&self) -> bool {
        match self.current {
            None => true,
            Some(Current::Other) => false,
            Some(Current::File(identity)) => self.segments.iter().any(|segment| segment.identity == identity),
        }
    }

    /// The index of the last file with bytes in it: the only one that may still grow. During a rotation the new file is
    /// there, empty, while records still go to its predecessor; so who reads the store stops behind this one.
    pub fn live(&self) -> Option<usize> {
        self.segments.iter().rposition(|segment| segment.length > 0)
    }

    /// Opens a file of records.
    ///
    /// # Errors
    /// As `openat(2)`: `NotFound` if it has been pruned since.
    pub fn open(&self, segment: &Segment) -> io::Result<LineReader<Content>> {
        Ok(LineReader::new(self.content(segment)?))
    }

    /// Opens a file of records to read its bytes, in the form that it has by now: it may have been compressed since.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn content(&self, segment: &Segment) -> io::Result<Content> {
        let (file, form) = self.open_file(segment)?;
        Content::new(file, form, segment.cut.unwrap_or(u64::MAX))
    }

    /// The same before anything is unpacked.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_file(&self, segment: &Segment) -> io::Result<(File, Form)> {
        let name = segment.name.build();
        for form in Form::ALL {
            match open_at(self.directory.as_fd(), &form.of(&name), Access::Read, 0) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return Ok((opened?, form)),
            }
        }
        Err(io::Error::from(io::ErrorKind::NotFound))
    }

    /// Files with the same segment in another form than the one that counts.
    pub fn other_forms(&self, segment: &Segment) -> Vec<String> {
        let name = segment.name.build();
        let others = Form::ALL.iter().filter(|&&form| form != segment.form).map(|form| form.of(&name));
        others.filter(|file| stat_at(self.directory.as_fd(), file).is_ok()).collect()
    }

    /// Whether the segment of this name is there by now, in any form.
    pub fn has(&self, name: &str) -> bool {
        exists(&self.directory, name)
    }

    /// What is known of the closed segments.
    ///
    /// # Errors
    /// See [`Manifest::read`].
    pub fn manifest(&self) -> io::Result<Manifest> {
        Manifest::read(self.directory.as_fd())
    }

    /// Whether a daemon holds the store's lock; `None` if that cannot be known here.
    pub fn is_locked(&self) -> Option<bool> {
        match stat_at(self.directory.as_fd(), LOCK) {
            Ok(lock) => is_locked(lock.st_ino).ok(),
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(false),
        }
    }
}

/// The format of a file that begins with these whole lines. One damaged first line does not make a file of records `raw`:
/// if it is no record, but the two after it are, the format is theirs.
pub fn detect(lines: &[u8]) -> Format {
    let mut formats = lines.split_inclusive(|&byte| byte == b'\n').map(|line| parse::detect(without_lf(line)));
    match (formats.next(), formats.next(), formats.next()) {
        (Some(Format::Raw), Some(second), Some(third)) if second == third => second,
        (first, ..) => first.unwrap_or(Format::Raw),
    }
}

/// A line without the LF at its end.
pub fn without_lf(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// A file's name that can be printed: whoever made it may have put control bytes into it.
fn shown(name: &[u8]) -> String {
    let mut escaped = Vec::new();
    super::escape::append_text(&mut escaped, name);
    String::from_utf8_lossy(&escaped).into_owned()
}

#[cfg(test)]
mod tests;
