//! Rescue: the records that were acknowledged since a segment's last good sync are read back, checked, and copied to a
//! new segment, because the kernel has marked their pages clean and will not write them again (fsync(2), "Notes").
//!
//! Promise: only whole records are copied, in order, byte for byte; what is no record is told by range and kept aside;
//! a repetition after a kill writes the same bytes again. The failed file is only read, and at last cut.
use super::disk::Disk;
use super::failed::{Failures, GoodTo, exists};
use super::names::{CURRENT, SegmentName};
use super::parse;
use super::reader::{LINE_LIMIT, LineReader, Piece, without_lf};
use super::recovery::put_aside;
use crate::config::Format;
use crate::sys::file::{self, Access};
use crate::sys::{AsFd, BorrowedFd, OwnedFd};
use std::fs::File;
use std::io::{self, Read};

/// Where reading goes on after a read error: the unit of the page cache.
const PAGE: usize = 4096;
/// What is read at once in the search for a record's beginning.
const LOOK_BACK: usize = 1 << 16;

/// The end of a segment that has to be saved.
#[derive(Clone, Debug)]
pub struct Source<D> {
    /// The segment.
    pub name: SegmentName,
    /// A description of it; only read.
    pub file: D,
    /// What comes before is safe.
    pub good_to: u64,
    /// Where its acknowledged records end.
    pub end: u64,
    /// The format of its records; `None`: not known, so every line counts as one.
    pub format: Option<Format>,
}

/// A copy under way.
#[derive(Debug)]
pub struct Rescue<D> {
    sources: Vec<Source<D>>,
    /// The source at hand.
    at: usize,
    lines: Option<LineReader<Span<D>>>,
    written: u64,
    records: u64,
    /// Ranges of each source that are no records.
    lost: Vec<Vec<(u64, u64)>>,
}

impl<D: Disk + Clone> Rescue<D> {
    /// The copy of these ends, in this order.
    pub fn new(sources: Vec<Source<D>>) -> Self {
        let lost = vec![Vec::new(); sources.len()];
        Self { sources, at: 0, lines: None, written: 0, records: 0, lost }
    }

    /// Begins anew, for another file.
    pub fn rewind(&mut self) {
        *self = Self::new(std::mem::take(&mut self.sources));
    }

    /// Copies the next piece, at most about a mebibyte or one record; true when all is copied.
    ///
    /// # Errors
    /// `into` cannot be written; what cannot be read is [lost](Self::lost) instead.
    pub fn step(&mut self, into: &impl Disk) -> io::Result<bool> {
        let Some(source) = self.sources.get(self.at) else { return Ok(true) };
        let begin = source.good_to;
        let span = Span { file: source.file.clone(), at: begin, end: source.end.max(begin) };
        let lines = self.lines.get_or_insert_with(|| LineReader::new(span));
        let lost = &mut self.lost[self.at];
        match lines.next_piece()? {
            Some(Piece::Lines { offset, bytes, .. }) => {
                for run in runs(bytes, |line| source.format.is_none_or(|format| parse::parse(format, line).is_ok())) {
                    let (from, to) = (begin + offset + run.from as u64, begin + offset + run.to as u64);
                    if run.records == 0 {
                        lose(lost, from, to);
                        continue;
                    }
                    into.write_all_at(&bytes[run.from..run.to], self.written)?;
                    self.written += to - from;
                    self.records += run.records;
                }
            }
            Some(Piece::TooLong { offset, length, .. }) => lose(lost, begin + offset, begin + offset + length),
            None => {
                if let Some(rest) = lines.unfinished() {
                    lose(lost, begin + rest.offset, begin + rest.offset + rest.length);
                }
                self.lines = None;
                self.at += 1;
            }
        }
        Ok(self.at == self.sources.len())
    }

    /// Bytes copied so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Records copied so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Each source with the ranges of it that are no records.
    pub fn lost(&self) -> impl Iterator<Item = (&Source<D>, &[(u64, u64)])> {
        self.sources.iter().zip(self.lost.iter().map(Vec::as_slice))
    }

    /// What the manifest has to say before the copy gets the name `to`.
    pub fn notes(&self, to: &SegmentName) -> Vec<GoodTo> {
        let note = |(source, lost): (&Source<D>, &[(u64, u64)])| GoodTo {
            segment: source.name.build(),
            good_to: source.good_to,
            moved_to: Some(to.build()),
            lost: lost.to_vec(),
        };
        self.lost().map(note).collect()
    }

    /// Keeps the bytes that are no records beside their segment, as a repair does with a torn end.
    pub fn keep_lost(&self, directory: BorrowedFd<'_>) -> io::Result<()> {
        for (source, lost) in self.lost().filter(|(_, lost)| !lost.is_empty()) {
            put_aside(directory, &source.name, |copy| source.copy(lost, copy))?;
        }
        Ok(())
    }
}

impl<D: Disk + Clone> Source<D> {
    /// Copies ranges as they can be read, one behind the other.
    fn copy(&self, ranges: &[(u64, u64)], mut copy: &File) -> io::Result<()> {
        for &(from, to) in ranges {
            io::copy(&mut Span { file: self.file.clone(), at: from, end: to }, &mut copy)?;
        }
        Ok(())
    }
}

/// Where saving has to begin, if syncs have covered `good_to` bytes: with the first record that reaches into the block in
/// which they end. That block is written again with every record that follows in it, and a write that fails may leave
/// nothing of it to be read.
pub fn whole_blocks(file: &impl Disk, good_to: u64) -> u64 {
    let block = good_to - good_to % PAGE as u64;
    if block == good_to || block == 0 {
        return block;
    }
    let mut end = block;
    let mut buffer = vec![0; LOOK_BACK];
    while end > 0 && block - end < LINE_LIMIT as u64 {
        let start = end.saturating_sub(LOOK_BACK as u64);
        let window = usize::try_from(end - start).unwrap_or(LOOK_BACK);
        let part = &mut buffer[..window];
        // What cannot be read cannot be saved either.
        if !file.read_at(part, start).is_ok_and(|count| count == window) {
            return good_to;
        }
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return start + at as u64 + 1;
        }
        end = start;
    }
    if end == 0 { 0 } else { good_to }
}

/// Cuts the segments whose end was moved, where that is not done yet; never the one that is `current`. Returns what
/// could not be cut: its end is not part of the store all the same.
pub fn cut_moved(directory: &OwnedFd, failures: &Failures) -> Vec<(String, io::Error)> {
    let moved = failures.moved(|name| exists(directory, name));
    moved.filter_map(|entry| Some((entry.segment.clone(), cut(directory.as_fd(), entry).err()?))).collect()
}

fn cut(directory: BorrowedFd<'_>, entry: &GoodTo) -> io::Result<()> {
    let stat = match file::stat_at(directory, &entry.segment) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    let is_current = file::stat_at(directory, CURRENT)
        .is_ok_and(|current| (current.st_dev, current.st_ino) == (stat.st_dev, stat.st_ino));
    if is_current || u64::try_from(stat.st_size).unwrap_or(0) <= entry.good_to {
        return Ok(());
    }
    file::open_at(directory, &entry.segment, Access::ReadWrite, 0)?.set_len(entry.good_to)
}

fn lose(lost: &mut Vec<(u64, u64)>, from: u64, to: u64) {
    match lost.last_mut() {
        Some(last) if last.1 == from => last.1 = to,
        _ => lost.push((from, to)),
    }
}

/// Neighbouring lines of one kind: `records` of them, or 0 if they are none.
struct Run {
    from: usize,
    to: usize,
    records: u64,
}

fn runs(lines: &[u8], is_record: impl Fn(&[u8]) -> bool) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut from = 0;
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let (to, records) = (from + line.len(), u64::from(is_record(without_lf(line))));
        match runs.last_mut() {
            Some(run) if (run.records > 0) == (records > 0) => (run.to, run.records) = (to, run.records + records),
            _ => runs.push(Run { from, to, records }),
        }
        from = to;
    }
    runs
}

/// A part of a file. Bytes that cannot be read, or are not there any more, read as zero: no record has such bytes, but a
/// `raw` one. A record that begins right behind them is lost with them: it might be the rest of one.
#[derive(Debug)]
struct Span<D> {
    file: D,
    at: u64,
    end: u64,
}

impl<D: Disk> Read for Span<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..room];
        if room == 0 {
            return Ok(0);
        }
        let count = match self.file.read_at(buffer, self.at) {
            Ok(0) => blank(buffer),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(_) => {
                // One bad page must not cost its neighbours.
                let page = (PAGE - usize::try_from(self.at % PAGE as u64).unwrap_or(0)).min(room);
                match self.file.read_at(&mut buffer[..page], self.at) {
                    Ok(count) if count > 0 => count,
                    _ => blank(&mut buffer[..page]),
                }
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

fn blank(buffer: &mut [u8]) -> usize {
    buffer.fill(0);
    buffer.len()
}

#[cfg(test)]
mod tests;
