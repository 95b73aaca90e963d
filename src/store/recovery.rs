//! Start-up: was the last end clean, and what does an unclean one leave behind.
//!
//! Promise: nothing acknowledged is touched; what is torn is set aside, never deleted and never welded to the next
//! record; each step may be repeated by a start that was killed in the middle of it.
use super::directory::{parse, read_small, replace};
use super::names::{SegmentName, TORN_SUFFIX};
use super::parse::parse as parse_record;
use super::reader::LINE_LIMIT;
use super::segment::Segment;
use crate::config::{Choice, Format};
use crate::sys::file::{self, Access};
use crate::sys::{BorrowedFd, crash};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Written by the last writer at a clean end, removed by the next one before it writes.
const CLEAN: &str = ".clean";
const CLEAN_NEW: &str = ".clean.new";

/// What is read at once when a tail is examined.
const BLOCK: u64 = 1 << 20;
/// What is copied at once.
const COPY: u64 = 1 << 16;
/// What is synced at once: a sync of gibibytes would be one long silence.
const SYNC: u64 = 64 << 20;

/// What the last writer knew of the live segment when it ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CleanEnd {
    segment: String,
    length: u64,
    format: String,
}

impl CleanEnd {
    /// Notes a clean end, durably.
    pub fn write(directory: BorrowedFd<'_>, segment: &SegmentName, length: u64, format: Format) -> io::Result<()> {
        let note = Self { segment: segment.build(), length, format: format.name().to_owned() };
        replace(directory, CLEAN, CLEAN_NEW, &note)
    }

    /// The note, if the last end left one that can be read.
    pub fn read(directory: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        Ok(read_small(directory, CLEAN)?.and_then(|text| parse(&text).ok()))
    }

    /// Removes the note, durably: from now on an end is unclean until it is noted again.
    pub fn remove(directory: BorrowedFd<'_>) -> io::Result<()> {
        file::unlink_at(directory, CLEAN)?;
        file::sync_directory(directory)
    }
}

/// What to do with the newest segment at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on writing to it.
    Resume {
        /// The end was unclean, and what came before this empty segment is in doubt.
        check: bool,
    },
    /// Begin a new one. `check`: the end was unclean, so look for a torn record.
    Replace {
        /// Whether the old tail is in doubt.
        check: bool,
    },
}

/// Decides from the newest segment's name and length, the note of the last end, and the prefix and format to be written.
pub fn verdict(newest: &SegmentName, length: u64, clean: Option<&CleanEnd>, prefix: &str, format: Format) -> Verdict {
    let clean = clean.filter(|note| note.segment == newest.build() && note.length == length);
    match clean {
        _ if newest.prefix != prefix => Verdict::Replace { check: clean.is_none() },
        Some(note) if note.format == format.name() => Verdict::Resume { check: false },
        _ if length == 0 => Verdict::Resume { check: clean.is_none() },
        Some(_) => Verdict::Replace { check: false },
        None => Verdict::Replace { check: true },
    }
}

/// How many of `length` bytes, which `read` fills in from an offset, are whole records: everything up to the last record
/// that is well-formed.
///
/// `longest`: bytes of the longest possible record, its LF included; a longer line is none, and is never held.
///
/// Read backwards in blocks, so that a large segment with a short torn end is checked in no time. Whatever the tail: no
/// byte is read more than twice, and no more than `longest` bytes are held.
pub fn scan_back(
    length: u64,
    longest: u64,
    read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    is_record: impl Fn(&[u8]) -> bool,
) -> io::Result<u64> {
    scan_back_by(BLOCK, length, longest, read, is_record)
}

/// The same in blocks of so many bytes.
pub(crate) fn scan_back_by(
    size_of_block: u64,
    length: u64,
    longest: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    is_record: impl Fn(&[u8]) -> bool,
) -> io::Result<u64> {
    let mut block = vec![0; size(size_of_block.min(length))?];
    let mut line = Vec::new();
    // Where the block begins, and where the LF of the line under examination is.
    let mut start = length;
    let mut line_end: Option<u64> = None;
    while start > 0 {
        let count = size(start.min(size_of_block))?;
        start -= count as u64;
        let block = &mut block[..count];
        read(block, start)?;
        let feeds = memchr::memrchr_iter(b'\n', block).map(|at| (start + at as u64 + 1, Some(at)));
        for (begin, feed) in feeds.chain((start == 0).then_some((0, None))) {
            if let Some(end) = line_end
                && end + 1 - begin <= longest
            {
                let from = size(begin - start)?;
                let whole = match block.get(from..from + size(end - begin)?) {
                    Some(bytes) => is_record(bytes),
                    None => {
                        line.resize(size(end - begin)?, 0);
                        read(&mut line, begin)?;
                        is_record(&line)
                    }
                };
                if whole {
                    return Ok(end + 1);
                }
            }
            line_end = feed.map(|at| start + at as u64);
        }
    }
    Ok(0)
}

fn size(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(io::Error::other)
}

/// What stood behind the last whole record of a segment, and is set aside now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Bytes of whole records, which stay.
    pub whole: u64,
    /// Bytes that were moved.
    pub moved: u64,
    /// The file that they were moved to.
    pub aside: String,
}

/// Repairs one segment that is not `current`: what follows its last whole record is set aside. `None`: nothing does.
///
/// The format is what the store says, never what the bytes look like: in a `raw` store they are the clients'. Where it is
/// unknown, and in `raw`, whatever ends with a newline counts as whole.
///
/// `progress` hears of the bytes as they are read or copied, in pieces.
pub fn repair(
    directory: BorrowedFd<'_>,
    name: &SegmentName,
    format: Option<Format>,
    progress: impl Fn(u64),
) -> io::Result<Option<Torn>> {
    let segment = Segment::open(directory, name.clone())?;
    let is_record = |line: &[u8]| format.is_none_or(|format| parse_record(format, line).is_ok());
    let read = |bytes: &mut [u8], at: u64| {
        segment.file.read_exact_at(bytes, at)?;
        progress(bytes.len() as u64);
        Ok(())
    };
    let whole = scan_back(segment.length()?, LINE_LIMIT as u64, read, is_record)?;
    set_aside(directory, name, &segment.file, whole, progress)
}

/// Moves what follows `whole` to `<name>.torn`, and cuts the segment there.
///
/// The copy is whole and durable before the original is cut; a repetition copies the same bytes again. Other bytes that
/// an earlier repair has set aside are never replaced: these get `<name>.2.torn`, and so on.
fn set_aside(
    directory: BorrowedFd<'_>,
    name: &SegmentName,
    segment: &File,
    whole: u64,
    progress: impl Fn(u64),
) -> io::Result<Option<Torn>> {
    let length = segment.metadata()?.len();
    if length <= whole {
        return Ok(None);
    }
    let aside = put_aside(directory, name, |copy| {
        let mut block = vec![0; size(COPY.min(length - whole))?];
        let mut at = whole;
        while at < length {
            let count = segment.read_at(&mut block, at)?;
            if count == 0 {
                break;
            }
            copy.write_all_at(&block[..count], at - whole)?;
            at += count as u64;
            if (at - whole) % SYNC < count as u64 {
                copy.sync_data()?;
            }
            progress(count as u64);
        }
        Ok(())
    })?;
    crash::point("recover-torn-copied");
    segment.set_len(whole)?;
    segment.sync_all()?;
    crash::point("recover-cut");
    Ok(Some(Torn { whole, moved: length - whole, aside }))
}

/// Keeps bytes that are no records beside the segment `name`, durably, under a name that it returns: `<name>.torn`, or
/// `<name>.2.torn` and so on. A repetition with the same bytes makes no second file.
pub(super) fn put_aside(
    directory: BorrowedFd<'_>,
    name: &SegmentName,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<String> {
    let temporary = name.build() + TORN_SUFFIX + ".new";
    file::unlink_at(directory, &temporary)?;
    let copy = file::open_at(directory, &temporary, Access::CreateNew, 0o640)?;
    write(&copy)?;
    copy.sync_all()?;
    let aside = aside_name(directory, name, &copy)?;
    file::rename_at(directory, &temporary, &aside)?;
    file::sync_directory(directory)?;
    Ok(aside)
}

/// The first name that is free, or that holds the very bytes of `copy` since a start was killed before it cut.
fn aside_name(directory: BorrowedFd<'_>, name: &SegmentName, copy: &File) -> io::Result<String> {
    let mut number = 1;
    loop {
        let nth = if number == 1 { String::new() } else { format!(".{number}") };
        let aside = name.build() + &nth + TORN_SUFFIX;
        match file::open_at(directory, &aside, Access::Read, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(aside),
            Ok(there) if holds_the_same(&there, copy)? => return Ok(aside),
            _ => number += 1,
        }
    }
}

fn holds_the_same(one: &File, other: &File) -> io::Result<bool> {
    let (metadata, length) = (one.metadata()?, other.metadata()?.len());
    if !metadata.is_file() || metadata.len() != length {
        return Ok(false);
    }
    let mut blocks = [vec![0; size(COPY.min(length))?], vec![0; size(COPY.min(length))?]];
    let mut at = 0;
    while at < length {
        let count = size(COPY.min(length - at))?;
        for (file, block) in [one, other].iter().zip(&mut blocks) {
            file.read_exact_at(&mut block[..count], at)?;
        }
        if blocks[0][..count] != blocks[1][..count] {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
