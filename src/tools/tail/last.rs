//! Where the last N wanted records begin. Plain segments are read backwards from their end; of compressed ones the seal
//! says how many records they have, else they are counted through. Memory does not grow with N.
use std::io;
use std::os::unix::fs::FileExt;

use super::cursor::Place;
use crate::config::Format;
use crate::store::failed::Failures;
use crate::store::index::{Facts, Index, OpenError, Opened};
use crate::store::names::SegmentName;
use crate::store::parse::parse;
use crate::store::reader::{self, LINE_LIMIT, Piece, without_lf};
use crate::tools::select::Selection;

/// What is read at once.
const BLOCK: usize = 256 << 10;

/// Whether a line is wanted.
type IsWanted<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// Where the last records begin.
#[derive(Debug)]
pub struct Last {
    /// `None`: there is no segment.
    pub place: Option<Place>,
    /// Why it was not looked further back: the segment that cannot be read. The place is behind it.
    pub unread: Option<String>,
}

/// The place behind which `wanted` records stand that are selected, or all there are.
///
/// # Errors
/// The store's notes cannot be read.
pub fn place_of_last(index: &Index, facts: &Facts, selection: &Selection, wanted: u64) -> io::Result<Last> {
    let failures = index.failures(facts)?;
    let mut left = wanted;
    let (mut place, mut unread) = (None, None);
    // Behind the last one with bytes there is nothing, and while a rotation goes on it is the one that grows.
    let mut seen_bytes = false;
    for name in index.segments.iter().rev() {
        let seal = facts.seals.get(&name.sequence);
        if seal.is_some_and(|seal| !selection.may_want(seal)) {
            continue;
        }
        match search(index, &failures, facts, name, selection, left) {
            Ok((offset, found)) => {
                if place.is_none() || found > 0 || (wanted == 0 && offset > 0) {
                    place = Some(Place { sequence: name.sequence, offset });
                }
                seen_bytes |= index.has_bytes(name) == Some(true);
                left -= found;
                if left == 0 && (wanted > 0 || seen_bytes) {
                    break;
                }
            }
            Err(OpenError::Gone) => {}
            // Printing says what is wrong with the first one.
            Err(_) if place.is_none() => {
                place = Some(Place { sequence: name.sequence, offset: 0 });
                break;
            }
            Err(error) => {
                unread =
                    Some(format!("{}: cannot read: {error}; what is in it and before it is left out", name.build()));
                break;
            }
        }
    }
    Ok(Last { place, unread })
}

/// Where the last `wanted` selected records of one segment begin, and how many they are.
fn search(
    index: &Index,
    failures: &Failures,
    facts: &Facts,
    name: &SegmentName,
    selection: &Selection,
    wanted: u64,
) -> Result<(u64, u64), OpenError> {
    let cut = failures.cut(&name.build(), |target| index.exists(target));
    let mut opened = index.open_segment(name, 0, cut)?;
    let format = if selection.is_all() { None } else { format_of(index, name)? };
    // Printing says what is wrong with such a segment.
    if format == Some(Format::Raw) && selection.needs_fields() {
        return Ok((0, 0));
    }
    let mut is_wanted =
        |line: &[u8]| format.is_some_and(|format| parse(format, line).is_ok_and(|record| selection.wants(&record)));
    if let Some(file) = opened.growing() {
        let end = file.metadata()?.len().min(cut.unwrap_or(u64::MAX));
        let read = |buffer: &mut [u8], at: u64| file.read_exact_at(buffer, at);
        let all = selection.is_all();
        return Ok(last_lines(read, end, wanted, if all { None } else { Some(&mut is_wanted) })?);
    }
    let sealed = facts.seals.get(&name.sequence).filter(|_| selection.is_all() && cut.is_none());
    let total = match sealed {
        Some(seal) => seal.records,
        None => count(&mut opened, u64::MAX, selection, &mut is_wanted)?.0,
    };
    if total <= wanted {
        return Ok((0, total));
    }
    let mut again = index.open_segment(name, 0, cut)?;
    let (passed, offset) = count(&mut again, total - wanted, selection, &mut is_wanted)?;
    Ok((offset, total - passed))
}

/// Passes `limit` selected records; how many there were, and where the next line begins.
fn count(opened: &mut Opened, limit: u64, selection: &Selection, is_wanted: IsWanted<'_>) -> io::Result<(u64, u64)> {
    let mut passed = 0;
    while let Some(piece) = opened.lines.next_piece()? {
        let Piece::Lines { mut offset, bytes, .. } = piece else { continue };
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if passed == limit {
                return Ok((passed, offset));
            }
            passed += u64::from(selection.is_all() || is_wanted(without_lf(line)));
            offset += line.len() as u64;
        }
    }
    Ok((passed, opened.lines.offset()))
}

/// Where the last `wanted` lines begin of what `read` gives up to `end`, and how many they are; only lines for which
/// `is_wanted` holds, if it is given. What is behind the last LF is no line. Reads backwards; no byte more than twice, and
/// holds no more than the longest record.
pub fn last_lines(
    read: impl Fn(&mut [u8], u64) -> io::Result<()>,
    end: u64,
    wanted: u64,
    is_wanted: Option<IsWanted<'_>>,
) -> io::Result<(u64, u64)> {
    last_lines_by(BLOCK, read, end, wanted, is_wanted)
}

/// The same in blocks of so many bytes.
pub(crate) fn last_lines_by(
    size_of_block: usize,
    read: impl Fn(&mut [u8], u64) -> io::Result<()>,
    end: u64,
    wanted: u64,
    mut is_wanted: Option<IsWanted<'_>>,
) -> io::Result<(u64, u64)> {
    let mut block = vec![0; usize::try_from(end).unwrap_or(size_of_block).min(size_of_block)];
    let mut long = Vec::new();
    let (mut start, mut found) = (end, 0);
    // Where the LF of the line at hand is.
    let mut feed: Option<u64> = None;
    while start > 0 {
        let length = usize::try_from(start).unwrap_or(size_of_block).min(size_of_block);
        start -= length as u64;
        let block = &mut block[..length];
        read(block, start)?;
        let before = memchr::memrchr_iter(b'\n', block).map(|at| (start + at as u64 + 1, Some(start + at as u64)));
        for (begin, next) in before.chain((start == 0).then_some((0, None))) {
            if let Some(at) = feed {
                found += u64::from(match &mut is_wanted {
                    None => true,
                    Some(_) if at - begin > LINE_LIMIT as u64 => false,
                    Some(is_wanted) => {
                        let (from, to) = (offset_in(begin, start), offset_in(at, start));
                        match block.get(from..to) {
                            Some(line) => is_wanted(line),
                            None => {
                                long.resize(to - from, 0);
                                read(&mut long, begin)?;
                                is_wanted(&long)
                            }
                        }
                    }
                });
            }
            // Zero wanted: behind the last LF.
            if found == wanted && (wanted > 0 || next.is_some()) {
                return Ok((begin, found));
            }
            feed = next;
        }
    }
    Ok((0, found))
}

/// The format of a segment, by its first lines if the store does not say it.
fn format_of(index: &Index, name: &SegmentName) -> Result<Option<Format>, OpenError> {
    let mut opened = index.open_segment(name, 0, None)?;
    if opened.format.is_some() {
        return Ok(opened.format);
    }
    match opened.lines.next_piece()? {
        Some(Piece::Lines { bytes, .. }) => Ok(Some(reader::detect(bytes))),
        _ => Ok(None),
    }
}

fn offset_in(at: u64, start: u64) -> usize {
    usize::try_from(at - start).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(bytes: &[u8], wanted: u64, is_wanted: Option<IsWanted<'_>>) -> (u64, u64) {
        let read = |buffer: &mut [u8], at: u64| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            Ok(())
        };
        last_lines(read, bytes.len() as u64, wanted, is_wanted).unwrap()
    }

    #[test]
    fn known_ends() {
        for (bytes, wanted, expected) in [
            (&b""[..], 0, (0, 0)),
            (b"", 3, (0, 0)),
            (b"torn", 0, (0, 0)),
            (b"torn", 2, (0, 0)),
            (b"a\n", 0, (2, 0)),
            (b"a\n", 1, (0, 1)),
            (b"a\nb\n", 1, (2, 1)),
            (b"a\nb\n", 2, (0, 2)),
            (b"a\nb\n", 9, (0, 2)),
            (b"a\nb\ntorn", 0, (4, 0)),
            (b"a\nb\ntorn", 1, (2, 1)),
            (b"\n\n\n", 2, (1, 2)),
        ] {
            assert_eq!(find(bytes, wanted, None), expected, "{:?} {wanted}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn a_line_longer_than_a_block_is_judged_whole() {
        let long = vec![b'x'; 3 * BLOCK];
        let bytes = [b"a\n", &long[..], b"\nb\n"].concat();
        let mut is_long = |line: &[u8]| line == long;
        assert_eq!(find(&bytes, 1, Some(&mut is_long)), (2, 1));
        assert_eq!(find(&bytes, 2, Some(&mut is_long)), (0, 1));
        assert_eq!(find(&bytes, 2, None), (2, 2));
    }

    proptest! {
        #[test]
        fn as_by_reading_forwards(lines in prop::collection::vec("[ab]{0,9}", 0..20), torn in "[ab]{0,3}", wanted in 0u64..9) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect::<String>() + &torn;
            let mut offset = 0;
            let mut begins = Vec::new();
            for line in &lines {
                if line.contains('a') {
                    begins.push(offset);
                }
                offset += line.len() as u64 + 1;
            }
            let mut has_a = |line: &[u8]| line.contains(&b'a');
            let found = find(text.as_bytes(), wanted, Some(&mut has_a));
            let count = wanted.min(begins.len() as u64);
            let from = match wanted {
                0 => offset,
                _ if count < wanted => 0,
                _ => begins[begins.len() - usize::try_from(count).unwrap()],
            };
            prop_assert_eq!(found, (from, count));
        }
    }
}
