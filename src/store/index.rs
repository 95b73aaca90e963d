//! The segments of a store by number, for readers that begin anywhere in it and go on as it grows.
//!
//! Cheap with hundreds of thousands of segments: only names are read; a file is looked at when it is opened. Like
//! [`reader`](super::reader) it needs no daemon and disturbs none.
use super::content::Content;
use super::directory::{self, Era, era};
use super::failed::{Failures, GoodTo, exists};
use super::manifest::{Line, MANIFEST, Seal};
use super::names::{CURRENT, Form, SegmentName};
use super::reader::{LineReader, Unusable};
use super::segment;
use crate::config::Format;
use crate::sys::file::{self, Access};
use crate::sys::{AsFd, BorrowedFd};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// An open store and the names of its segments.
#[derive(Debug)]
pub struct Index {
    directory: File,
    path: PathBuf,
    era: Option<Era>,
    /// By sequence, each once, whatever its forms.
    pub segments: Vec<SegmentName>,
}

/// What the manifest says of segments.
#[derive(Debug, Default)]
pub struct Facts {
    /// The seals, by number.
    pub seals: BTreeMap<u64, Seal>,
    /// What is known of segments that failed.
    pub failed: Vec<GoodTo>,
}

/// What is at the store's path by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// The same directory.
    Same,
    /// Another one.
    Another,
    /// None.
    Nothing,
}

impl Index {
    /// Opens a store and lists it.
    ///
    /// # Errors
    /// The directory cannot be read, or is no store.
    pub fn open(path: &Path) -> Result<Self, Unusable> {
        let unreadable = |error| Unusable::Unreadable(path.to_owned(), error);
        let directory = File::open(path).map_err(unreadable)?;
        let era = era(directory.as_fd());
        let mut index = Self { directory, path: path.to_owned(), era, segments: Vec::new() };
        index.list().map_err(unreadable)?;
        if index.segments.is_empty() && file::stat_at(index.directory.as_fd(), directory::STORE).is_err() {
            return Err(Unusable::NotAStore(path.to_owned()));
        }
        Ok(index)
    }

    /// Lists again.
    ///
    /// # Errors
    /// As `readdir(3)`.
    pub fn list(&mut self) -> io::Result<()> {
        let mut names = segment::list_all(self.directory.as_fd())?;
        if names.windows(2).any(|pair| pair[1].0.sequence > pair[0].0.sequence.saturating_add(1)) {
            // A name that was renamed while names were read, by compression, may have been passed by.
            names.extend(segment::list_all(self.directory.as_fd())?);
            names.sort();
        }
        names.dedup_by(|one, other| one.0 == other.0);
        self.segments = names.into_iter().map(|(name, _)| name).collect();
        Ok(())
    }

    /// The store's id; `None` for a copy that does not tell.
    pub fn id(&self) -> Option<u64> {
        directory::id(self.directory.as_fd())
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still leads to it.
    pub fn now(&self) -> Now {
        let identity = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        match (std::fs::metadata(&self.path).map(identity), self.directory.metadata().map(identity)) {
            (Ok(named), Ok(held)) if named == held => Now::Same,
            (Ok(_), _) => Now::Another,
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Now::Nothing,
            (Err(_), _) => Now::Same,
        }
    }

    /// When names in the directory last changed, in nanoseconds.
    pub fn changed(&self) -> Option<i128> {
        let meta = self.directory.metadata().ok()?;
        Some(i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()))
    }

    /// Reads the manifest. Without `seals` only what it knows of failed segments.
    ///
    /// # Errors
    /// As `open(2)` and `read(2)`.
    pub fn facts(&self, seals: bool) -> io::Result<Facts> {
        let mut text = Vec::new();
        match file::open_at(self.directory.as_fd(), MANIFEST, Access::Read, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Facts::default()),
            opened => opened?.read_to_end(&mut text)?,
        };
        Ok(Facts::parse(&text, seals))
    }

    /// What is known of segments that failed: the writer's word now, and what the manifest knew.
    ///
    /// # Errors
    /// As `open(2)` and `read(2)`.
    pub fn failures(&self, facts: &Facts) -> io::Result<Failures> {
        Ok(Failures::read(self.directory.as_fd())?.with(facts.failed.iter().cloned()))
    }

    /// Whether a segment is there, in any form.
    pub fn exists(&self, segment: &str) -> bool {
        exists(&self.directory, segment)
    }

    /// Whether a segment has bytes; `None`: it is not there.
    pub fn has_bytes(&self, segment: &SegmentName) -> Option<bool> {
        let name = segment.build();
        Form::ALL.iter().find_map(|form| {
            let stat = file::stat_at(self.directory.as_fd(), &form.of(&name)).ok()?;
            // An empty segment is never compressed.
            Some(*form != Form::Plain || stat.st_size > 0)
        })
    }

    /// Whether `current` is this segment's file.
    pub fn is_current(&self, segment: &SegmentName) -> bool {
        let stat = |name: &str| file::stat_at(self.directory.as_fd(), name).map(|stat| (stat.st_dev, stat.st_ino));
        matches!((stat(CURRENT), stat(&segment.build())), (Ok(current), Ok(named)) if current == named)
    }

    /// Opens a segment in the form that it has by now, to be read from `offset`; it ends at `cut`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_segment(&self, name: &SegmentName, offset: u64, cut: Option<u64>) -> Result<Opened, OpenError> {
        let end = cut.unwrap_or(u64::MAX);
        let plain = name.build();
        for form in Form::ALL {
            let shown = form.of(&plain);
            let file = match file::open_at(self.directory.as_fd(), &shown, Access::Read, 0) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            let meta = file.metadata()?;
            if !meta.is_file() {
                continue;
            }
            let length = if form == Form::Plain { meta.len().saturating_sub(offset) } else { u64::MAX };
            let stream = match form {
                Form::Plain => Stream::plain(file, offset, end)?,
                _ => Stream::packed(Content::new(file, form, end)?, offset)?,
            };
            let format = self.era.filter(|era| name.sequence >= era.since).map(|era| era.format);
            let lines = LineReader::starting_at(stream, offset, length);
            return Ok(Opened { name: name.clone(), file: shown, format, numbered: offset == 0, lines });
        }
        Err(OpenError::Gone)
    }
}

impl AsFd for Index {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Facts {
    /// The chain is not looked at: that is for `verify`.
    fn parse(text: &[u8], seals: bool) -> Self {
        let mut facts = Self::default();
        for line in text.split(|&byte| byte == b'\n') {
            if seals && line.starts_with(br#"{"seal""#) {
                // Not by `Line::parse`, which would take the name apart a second time.
                let Ok(seal) = serde_json::from_slice::<Seal>(line) else { continue };
                if let Some(name) = SegmentName::parse(&seal.segment) {
                    facts.seals.insert(name.sequence, seal);
                }
            } else if line.starts_with(br#"{"failed""#)
                && let Some(Line::Failed(failed)) = Line::parse(line)
            {
                let failed = GoodTo::from(failed);
                facts.failed.retain(|known| known.segment != failed.segment);
                facts.failed.push(failed);
            }
        }
        facts
    }
}

/// Why a segment cannot be read from a place.
#[derive(Debug)]
pub enum OpenError {
    /// It is not there, in no form.
    Gone,
    /// It ends before that place; its length.
    Beyond(u64),
    /// The place is not the beginning of a line.
    InLine,
    /// As the system says.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it is not there"),
            Self::Beyond(length) => write!(f, "it has only {length} bytes"),
            Self::InLine => f.write_str("no record begins at that place"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A segment that is being read.
#[derive(Debug)]
pub struct Opened {
    /// Its name, taken apart.
    pub name: SegmentName,
    /// The name of its file.
    pub file: String,
    /// Its format, if the store says it.
    pub format: Option<Format>,
    /// Whether the lines' numbers are known, since it is read from its beginning.
    pub numbered: bool,
    /// Its lines.
    pub lines: LineReader<Stream>,
}

impl Opened {
    /// Takes up what was appended since the end was reached. What was half a line then is read again: a batch that was
    /// given up may have been in its place.
    pub fn look_again(&mut self) {
        let offset = self.lines.offset();
        if let Stream::Plain { .. } = self.lines.source()
            && let Stream::Plain { at, .. } = self.lines.forget_unfinished()
        {
            *at = offset;
        }
    }

    /// From now on it ends there.
    pub fn cut(&mut self, cut: u64) {
        if let Stream::Plain { end, .. } = self.lines.source_mut() {
            *end = cut;
        }
    }

    /// Its file, if it is not compressed, and so may grow.
    pub fn growing(&self) -> Option<&File> {
        match self.lines.source() {
            Stream::Plain { file, .. } => Some(file),
            Stream::Packed(_) => None,
        }
    }
}

/// The bytes of a segment from some place on.
#[derive(Debug)]
pub enum Stream {
    /// As they are; it may grow.
    Plain {
        /// The file.
        file: File,
        /// Where reading goes on.
        at: u64,
        /// Where it ends at the latest.
        end: u64,
    },
    /// Compressed.
    Packed(Content),
}

impl Stream {
    fn plain(file: File, at: u64, end: u64) -> Result<Self, OpenError> {
        let length = file.metadata()?.len().min(end);
        if at > length {
            return Err(OpenError::Beyond(length));
        }
        let mut before = [0];
        if at > 0 && (file.read_at(&mut before, at - 1)? != 1 || before != *b"\n") {
            return Err(OpenError::InLine);
        }
        Ok(Self::Plain { file, at, end })
    }

    fn packed(mut content: Content, at: u64) -> Result<Self, OpenError> {
        let (mut buffer, mut passed, mut last) = (vec![0; 1 << 16], 0, b'\n');
        while passed < at {
            let room = usize::try_from(at - passed).unwrap_or(usize::MAX).min(buffer.len());
            match content.read(&mut buffer[..room]) {
                Ok(0) => return Err(OpenError::Beyond(passed)),
                Ok(count) => (passed, last) = (passed + count as u64, buffer[count - 1]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if last == b'\n' { Ok(Self::Packed(content)) } else { Err(OpenError::InLine) }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain { file, at, end } => {
                let room = usize::try_from(end.saturating_sub(*at)).unwrap_or(usize::MAX).min(buffer.len());
                let count = file.read_at(&mut buffer[..room], *at)?;
                *at += count as u64;
                Ok(count)
            }
            Self::Packed(content) => content.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests;
