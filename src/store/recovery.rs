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

/// How many bytes of a segment are whole records: everything up to the last record that is well-formed.
///
/// `longest`: bytes of the longest possible record, its LF included; a longer line is none, and is never held.
///
/// Read backwards in blocks, so that a large segment with a short torn end is checked in no time. Whatever the tail: no
/// byte is read more than twice, and no more than `longest` bytes are held.
pub fn whole_length(segment: &File, longest: u64, is_record: impl Fn(&[u8]) -> bool) -> io::Result<u64> {
    let length = segment.metadata()?.len();
    scan_back(length, longest, |bytes, at| segment.read_exact_at(bytes, at), is_record)
}

/// The same for `length` bytes that `read` fills in from an offset.
pub(crate) fn scan_back(
    length: u64,
    longest: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    is_record: impl Fn(&[u8]) -> bool,
) -> io::Result<u64> {
    let mut block = vec![0; size(BLOCK.min(length))?];
    let mut line = Vec::new();
    // Where the block begins, and where the LF of the line under examination is.
    let mut start = length;
    let mut line_end: Option<u64> = None;
    while start > 0 {
        let count = size(start.min(BLOCK))?;
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
pub fn repair(directory: BorrowedFd<'_>, name: &SegmentName, format: Option<Format>) -> io::Result<Option<Torn>> {
    let segment = Segment::open(directory, name.clone())?;
    let is_record = |line: &[u8]| format.is_none_or(|format| parse_record(format, line).is_ok());
    let whole = whole_length(&segment.file, LINE_LIMIT as u64, is_record)?;
    set_aside(directory, name, &segment.file, whole)
}

/// Moves what follows `whole` to `<name>.torn`, and cuts the segment there.
///
/// The copy is whole and durable before the original is cut; a repetition copies the same bytes again. Other bytes that
/// an earlier repair has set aside are never replaced: these get `<name>.2.torn`, and so on.
fn set_aside(directory: BorrowedFd<'_>, name: &SegmentName, segment: &File, whole: u64) -> io::Result<Option<Torn>> {
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
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    fn segment(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn whole(bytes: &[u8]) -> u64 {
        whole_length(&segment(bytes), 4 << 20, |line| line.starts_with(b"ok")).unwrap()
    }

    /// The whole length, and how many bytes were read for it; no line handed over is longer than `longest`.
    fn work(bytes: &[u8], longest: u64) -> (u64, u64) {
        let mut seen = 0;
        let read = |into: &mut [u8], at: u64| {
            assert!(into.len() as u64 <= BLOCK.max(longest), "{} bytes at once", into.len());
            seen += into.len() as u64;
            let at = size(at).unwrap();
            into.copy_from_slice(&bytes[at..at + into.len()]);
            Ok(())
        };
        let is_record = |line: &[u8]| {
            assert!((line.len() as u64) < longest, "{} bytes are no record", line.len());
            line.starts_with(b"ok")
        };
        let whole = scan_back(bytes.len() as u64, longest, read, is_record).unwrap();
        (whole, seen)
    }

    #[test]
    fn a_long_run_without_a_line_end_is_read_once_and_never_held() {
        let run = vec![0; 64 << 20];
        let all = run.len() as u64;
        assert_eq!(work(&run, 100), (0, all));
        assert_eq!(work(&[b"ok 1\n".as_slice(), &run].concat(), 100), (5, all + 5));
        // Nor with a line end behind it.
        assert_eq!(work(&[b"ok 1\n".as_slice(), &run, b"\n"].concat(), 100), (5, all + 6));
        assert_eq!(work(&[b"ok 1\nok".as_slice(), &run, b"\n"].concat(), 100), (5, all + 8));
        assert_eq!(work(&[b"ok".as_slice(), &run, b"\n"].concat(), 100), (0, all + 3));
    }

    #[test]
    fn lines_over_the_ends_of_blocks_are_read_at_most_twice() {
        let lines: Vec<u8> = (0..700_000).flat_map(|n| format!("bad {n}\n").into_bytes()).collect();
        let (whole, seen) = work(&lines, 20);
        assert_eq!(whole, 0);
        assert!(seen <= lines.len() as u64 + 20 * 9, "{seen} bytes read of {}", lines.len());
        for before in BLOCK - 8..=BLOCK + 8 {
            let tail = vec![b'x'; size(before).unwrap()];
            assert_eq!(work(&[b"ok 1\nok 2\n".as_slice(), &tail].concat(), 20).0, 10, "{before}");
        }
    }

    #[test]
    fn the_longest_record_counts_and_a_longer_line_does_not() {
        let line = |length: usize| [b"ok 1\nok".as_slice(), &vec![b'x'; length - 3], b"\n"].concat();
        assert_eq!(work(&line(1000), 1000).0, 1005);
        assert_eq!(work(&line(1001), 1000).0, 5);
    }

    #[test]
    fn a_tail_of_zeros_takes_no_longer_than_reading_it() {
        let file = segment(b"ok 1\n");
        file.set_len(1 << 30).unwrap();
        assert_eq!(whole_length(&file, 4 << 20, |line| line.starts_with(b"ok")).unwrap(), 5);
    }

    #[test]
    fn the_last_whole_record_is_found() {
        assert_eq!(whole(b""), 0);
        assert_eq!(whole(b"ok 1\nok 2\n"), 10);
        assert_eq!(whole(b"ok 1\nok 2"), 5);
        assert_eq!(whole(b"ok"), 0);
        assert_eq!(whole(b"bad\n"), 0);
        assert_eq!(whole(b"ok 1\n\0\0\0\0"), 5);
        assert_eq!(whole(b"ok 1\nbad\nworse\nworst"), 5);
        assert_eq!(whole(b"bad\nok 1\nworse\n"), 9);
        assert_eq!(whole(b"\n\n\n"), 0);
    }

    #[test]
    fn every_cut_of_a_segment_leaves_its_whole_records() {
        let records: Vec<u8> = (0..200).flat_map(|n| format!("ok {n}\n").into_bytes()).collect();
        for cut in 0..=records.len() {
            let expected = records[..cut].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            assert_eq!(whole(&records[..cut]), expected as u64, "cut at {cut}");
        }
    }

    #[test]
    fn records_larger_than_a_block_are_seen_whole() {
        let mut bytes = b"ok 1\nok ".to_vec();
        bytes.extend(std::iter::repeat_n(b'x', 3 << 20));
        assert_eq!(whole(&bytes), 5);
        bytes.push(b'\n');
        assert_eq!(whole(&bytes), bytes.len() as u64);
        bytes.extend(b"torn");
        assert_eq!(whole(&bytes), bytes.len() as u64 - 4);
    }

    #[test]
    fn the_verdict_follows_the_note_and_not_the_looks() {
        let name = SegmentName { prefix: "messages".into(), sequence: 4, start: 0 };
        let note = CleanEnd { segment: name.build(), length: 10, format: "text".into() };
        assert_eq!(verdict(&name, 10, Some(&note), "messages", Format::Text), Verdict::Resume { check: false });
        assert_eq!(verdict(&name, 10, Some(&note), "messages", Format::Jsonl), Verdict::Replace { check: false });
        assert_eq!(verdict(&name, 11, Some(&note), "messages", Format::Text), Verdict::Replace { check: true });
        assert_eq!(verdict(&name, 10, None, "messages", Format::Text), Verdict::Replace { check: true });
        assert_eq!(verdict(&name, 0, None, "messages", Format::Text), Verdict::Resume { check: true });
        assert_eq!(verdict(&name, 10, Some(&note), "other", Format::Text), Verdict::Replace { check: false });
        assert_eq!(verdict(&name, 0, None, "other", Format::Text), Verdict::Replace { check: true });
        // A start that was killed before it removed the note has begun this segment; the one before is in doubt.
        let stale = CleanEnd { segment: "messages-0000000003-19700101T000000Z.log".into(), ..note };
        assert_eq!(verdict(&name, 0, Some(&stale), "messages", Format::Text), Verdict::Resume { check: true });
    }

    #[test]
    fn a_torn_end_is_kept_beside_the_segment_and_again_after_a_kill() {
        let place = tempfile::tempdir().unwrap();
        let directory = file::open_directory(place.path()).unwrap();
        let name = SegmentName { prefix: "messages".into(), sequence: 4, start: 0 };
        let path = |suffix: &str| place.path().join(name.build() + suffix);
        let repaired = |bytes: &[u8]| {
            std::fs::write(path(""), bytes).unwrap();
            let file = File::options().read(true).write(true).open(path("")).unwrap();
            let torn = set_aside(directory.as_fd(), &name, &file, 5).unwrap();
            assert_eq!(std::fs::read(path("")).unwrap(), b"ok 1\n");
            assert_eq!(set_aside(directory.as_fd(), &name, &file, 5).unwrap(), None);
            torn.map(|torn| (torn.whole, torn.moved, torn.aside))
        };
        let aside = |suffix: &str| Some((5, 4, name.build() + suffix));
        assert_eq!(repaired(b"ok 1\ntorn"), aside(".torn"));
        // A start that was killed before it cut has left the copy, and half of another.
        std::fs::write(path(".torn.new"), b"to").unwrap();
        assert_eq!(repaired(b"ok 1\ntorn"), aside(".torn"));
        // Other bytes never replace those that an earlier repair has saved.
        assert_eq!(repaired(b"ok 1\nmore"), aside(".2.torn"));
        assert_eq!(repaired(b"ok 1\nmost"), aside(".3.torn"));
        assert_eq!(
            [".torn", ".2.torn", ".3.torn"].map(|it| std::fs::read(path(it)).unwrap()),
            [b"torn", b"more", b"most"]
        );
        assert_eq!(repaired(b"ok 1\n"), None);
    }
}
