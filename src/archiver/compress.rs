//! Compression of a sealed segment, in pieces: to a temporary name, synced, noted, renamed; the plain file is unlinked last.
//!
//! Promise: the plain file goes only when a compressed one, whole and durable, has its name, and what was read hashed to
//! the seal. Killed anywhere, the plain file counts, and all is done again; dropped anywhere, the temporary file is all
//! that is left.
use super::shelf::{FileId, id};
use crate::config::Method;
use crate::store::manifest::{Packed, Seal};
use crate::store::names::{Form, SegmentName};
use crate::sys::file::{self, Access};
use crate::sys::{BorrowedFd, crash};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{self, Read, Write};

/// What it is called until it is whole.
pub(super) const TEMPORARY: &str = ".archiver.tmp";
/// Read at once: so much is compressed in some ten milliseconds.
const PIECE: usize = 256 << 10;
/// Written between two syncs: the last one has not all to do.
const SYNC: u64 = 8 << 20;

/// The form that a method makes.
pub(super) fn form(method: Method) -> Option<Form> {
    match method {
        Method::None => None,
        Method::Gzip => Some(Form::Gzip),
        Method::Zstd => Some(Form::Zstd),
    }
}

/// The compressed file, being written.
#[derive(Debug)]
struct Output {
    file: File,
    written: u64,
    synced: u64,
    hasher: blake3::Hasher,
}

impl Output {
    fn new(file: File) -> Self {
        Self { file, written: 0, synced: 0, hasher: blake3::Hasher::new() }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Encoder {
    Gzip(GzEncoder<Output>),
    Zstd(zstd::Encoder<'static, Output>),
}

impl Encoder {
    fn new(form: Form, output: Output) -> io::Result<Self> {
        if form == Form::Gzip {
            return Ok(Self::Gzip(GzEncoder::new(output, Compression::new(6))));
        }
        let mut encoder = zstd::Encoder::new(output, 3)?;
        encoder.include_checksum(true)?;
        Ok(Self::Zstd(encoder))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn output(&mut self) -> &mut Output {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }

    fn finish(self) -> io::Result<Output> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

/// How far a step has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to do.
    More,
    /// The compressed file is whole and durable; once this is noted, it may [take the plain one's place](Compressing::place).
    Whole(Packed),
    /// The file is not what was sealed: it stays as it is.
    Changed,
}

/// A segment that is being compressed.
#[derive(Debug)]
pub(super) struct Compressing {
    /// Which one.
    pub name: SegmentName,
    form: Form,
    plain: File,
    id: FileId,
    /// Bytes to be read, and their hash.
    sealed: (u64, String),
    /// Its end was moved away: bytes beyond the sealed ones are none of the store's.
    is_cut: bool,
    read: u64,
    hasher: blake3::Hasher,
    encoder: Option<Encoder>,
    buffer: Vec<u8>,
}

impl Compressing {
    /// Begins: makes the temporary file.
    pub fn begin(directory: BorrowedFd<'_>, name: &SegmentName, form: Form, seal: &Seal) -> io::Result<Self> {
        let plain = file::open_at(directory, &name.build(), Access::Read, 0)?;
        let id = id(&file::stat(&plain)?);
        file::unlink_at(directory, TEMPORARY)?;
        let file = file::open_at(directory, TEMPORARY, Access::CreateNew, 0o600)?;
        Ok(Self {
            name: name.clone(),
            form,
            plain,
            id,
            sealed: (seal.bytes, seal.blake3.clone()),
            is_cut: seal.good_to.is_some(),
            read: 0,
            hasher: blake3::Hasher::new(),
            encoder: Some(Encoder::new(form, Output::new(file))?),
            buffer: vec![0; PIECE],
        })
    }

    /// Bytes of the temporary file.
    pub fn written(&mut self) -> u64 {
        self.encoder.as_mut().map_or(0, |encoder| encoder.output().written)
    }

    /// Does a piece.
    pub fn step(&mut self) -> io::Result<Progress> {
        let rest = self.sealed.0 - self.read;
        if rest == 0 {
            return self.finish();
        }
        let most = usize::try_from(rest).unwrap_or(PIECE).min(PIECE);
        let count = self.plain.read(&mut self.buffer[..most])?;
        let Some(encoder) = self.encoder.as_mut().filter(|_| count > 0) else { return Ok(Progress::Changed) };
        let bytes = &self.buffer[..count];
        self.hasher.update(bytes);
        encoder.write_all(bytes)?;
        self.read += count as u64;
        let output = encoder.output();
        if output.written - output.synced >= SYNC {
            output.file.sync_data()?;
            output.synced = output.written;
        }
        Ok(Progress::More)
    }

    fn is_as_sealed(&self) -> io::Result<bool> {
        let length = file::stat(&self.plain)?.st_size;
        let length = u64::try_from(length).unwrap_or(0);
        let ends = if self.is_cut { length >= self.sealed.0 } else { length == self.sealed.0 };
        Ok(ends && *self.hasher.finalize().to_hex() == *self.sealed.1)
    }

    fn finish(&mut self) -> io::Result<Progress> {
        let Some(encoder) = self.encoder.take().filter(|_| self.is_as_sealed().unwrap_or(false)) else {
            return Ok(Progress::Changed);
        };
        let Output { file, written: bytes, hasher, .. } = encoder.finish()?;
        self.dress(&file)?;
        file.sync_all()?;
        crash::point("archive-compress-written");
        let (segment, blake3) = (self.name.build(), hasher.finalize().to_hex().to_string());
        Ok(Progress::Whole(Packed { file: self.form.of(&segment), segment, bytes, blake3 }))
    }

    /// Puts the compressed file in the plain one's place; false if that is not what was sealed any more.
    pub fn place(&self, directory: BorrowedFd<'_>) -> io::Result<bool> {
        let name = self.name.build();
        if id(&file::stat_at(directory, &name)?) != self.id || !self.is_as_sealed()? {
            return Ok(false);
        }
        file::rename_at(directory, TEMPORARY, &self.form.of(&name))?;
        crash::point("archive-compress-renamed");
        file::sync_directory(directory)?;
        // Another form beside would count once the plain one is gone.
        for other in Form::ALL.into_iter().filter(|other| ![Form::Plain, self.form].contains(other)) {
            file::unlink_at(directory, &other.of(&name))?;
        }
        file::unlink_at(directory, &name)?;
        crash::point("archive-compress-unlinked");
        Ok(true)
    }

    /// Mode, owner and time of the plain file. An owner that may not be given is the daemon's own.
    fn dress(&self, output: &File) -> io::Result<()> {
        let (plain, new) = (file::stat(&self.plain)?, file::stat(output)?);
        if (plain.st_uid, plain.st_gid) != (new.st_uid, new.st_gid)
            && let Err(error) = std::os::unix::fs::fchown(output, Some(plain.st_uid), Some(plain.st_gid))
        {
            debug!("cannot give {}{} the owner of the plain file: {error}", self.name.build(), self.form.suffix());
        }
        file::set_mode(output, plain.st_mode & 0o7777)?;
        let times = std::fs::FileTimes::new().set_modified(self.plain.metadata()?.modified()?);
        output.set_times(times)
    }
}

/// Whether the plain file is what was sealed. Reads it as a whole: this is seldom asked.
pub(super) fn is_sealed(directory: BorrowedFd<'_>, name: &SegmentName, seal: &Seal) -> io::Result<bool> {
    let plain = file::open_at(directory, &name.build(), Access::Read, 0)?;
    if seal.good_to.is_none() && plain.metadata()?.len() != seal.bytes {
        return Ok(false);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(plain.take(seal.bytes))?;
    Ok(hasher.count() == seal.bytes && *hasher.finalize().to_hex() == *seal.blake3)
}

/// Removes what an interrupted compression has left.
pub(super) fn drop_temporary(directory: BorrowedFd<'_>) -> io::Result<()> {
    file::unlink_at(directory, TEMPORARY)
}

#[cfg(test)]
mod tests;
