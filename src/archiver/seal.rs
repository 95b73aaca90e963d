//! Sealing: a closed segment is read once, in pieces, and what it holds becomes one line of the manifest.
//!
//! It works on compressed segments as well, so that a lost line can be made again.
use super::shelf::{FileId, id};
use crate::config::Format;
use crate::store::content::Content;
use crate::store::manifest::Seal;
use crate::store::names::{Form, SegmentName, TORN_SUFFIX};
use crate::store::parse;
use crate::store::record::Stamp;
use crate::sys::BorrowedFd;
use crate::sys::file::{self, Access};
use std::io::{self, Read};

/// What is read at once: the hash and the lines then find it in the processor's own cache.
const PIECE: usize = 128 << 10;
/// Pieces of a step.
const STEP: usize = 8;
/// What stands before the time in a record of `jsonl`.
const JSONL_HEAD: &[u8] = br#"{"time":""#;
const HEAD: usize = JSONL_HEAD.len() + Stamp::LEN;

/// A segment that is being sealed.
#[derive(Debug)]
pub(super) struct Sealing {
    /// Which one.
    pub name: SegmentName,
    content: Content,
    /// Which file it is.
    pub id: FileId,
    good_to: Option<u64>,
    torn: Option<u64>,
    acknowledged: Option<u64>,
    hasher: blake3::Hasher,
    bytes: u64,
    lines: Lines,
    buffer: Vec<u8>,
}

impl Sealing {
    /// Begins. `cut`: its bytes beyond this were moved to another segment. `acknowledged`: see [`Seal::acknowledged`].
    /// `format`: as the store says, if it does.
    pub fn begin(
        directory: BorrowedFd<'_>,
        name: &SegmentName,
        form: Form,
        cut: Option<u64>,
        acknowledged: Option<u64>,
        format: Option<Format>,
    ) -> io::Result<Self> {
        let file = file::open_at(directory, &form.of(&name.build()), Access::Read, 0)?;
        let id = id(&file::stat(&file)?);
        Ok(Self {
            name: name.clone(),
            content: Content::new(file, form, cut.unwrap_or(u64::MAX))?,
            id,
            good_to: cut,
            torn: torn(directory, name),
            acknowledged,
            hasher: blake3::Hasher::new(),
            bytes: 0,
            lines: Lines::new(format),
            buffer: vec![0; PIECE],
        })
    }

    /// Reads on; the seal, if that was the end.
    pub fn step(&mut self) -> io::Result<Option<Seal>> {
        for _ in 0..STEP {
            let count = self.content.read(&mut self.buffer)?;
            if count == 0 {
                return Ok(Some(self.seal()));
            }
            let read = &self.buffer[..count];
            self.hasher.update(read);
            self.lines.take(read);
            self.bytes += count as u64;
        }
        Ok(None)
    }

    fn seal(&mut self) -> Seal {
        let text = |stamp: Option<[u8; Stamp::LEN]>| stamp.map(|text| String::from_utf8_lossy(&text).into_owned());
        let (records, span) = self.lines.end();
        Seal {
            segment: self.name.build(),
            records,
            bytes: self.bytes,
            lowest: text(span.map(|(lowest, _)| lowest)),
            highest: text(span.map(|(_, highest)| highest)),
            good_to: self.good_to,
            torn: self.torn,
            acknowledged: self.acknowledged,
            blake3: self.hasher.finalize().to_hex().to_string(),
        }
    }
}

/// Bytes of what was set aside at its end, if anything was.
fn torn(directory: BorrowedFd<'_>, name: &SegmentName) -> Option<u64> {
    let stat = file::stat_at(directory, &(name.build() + TORN_SUFFIX)).ok()?;
    u64::try_from(stat.st_size).ok().filter(|_| file::is_regular(&stat))
}

/// The lowest and the highest time.
type Span = ([u8; Stamp::LEN], [u8; Stamp::LEN]);

/// Counts lines, and takes the times at their beginnings; lines may be torn between pieces anywhere.
#[derive(Debug)]
struct Lines {
    /// `None`: the first line will tell.
    format: Option<Format>,
    count: u64,
    /// The beginning of the line that the last piece has left.
    head: Vec<u8>,
    /// There is such a line.
    begun: bool,
    span: Option<Span>,
    /// The last time seen: many records have the same.
    last: [u8; Stamp::LEN],
}

impl Lines {
    fn new(format: Option<Format>) -> Self {
        Self { format, count: 0, head: Vec::with_capacity(HEAD), begun: false, span: None, last: [0; _] }
    }

    fn take(&mut self, mut piece: &[u8]) {
        if self.format.is_none() {
            // A longer first line than a piece is looked at as far as it goes.
            let end = memchr::memchr(b'\n', piece).unwrap_or(piece.len());
            self.format = Some(parse::detect(&piece[..end]));
        }
        if self.begun {
            let end = memchr::memchr(b'\n', piece);
            let line = &piece[..end.unwrap_or(piece.len())];
            let missing = HEAD - self.head.len().min(HEAD);
            self.head.extend_from_slice(&line[..line.len().min(missing)]);
            let Some(end) = end else { return };
            let head = std::mem::take(&mut self.head);
            self.line(&head);
            piece = &piece[end + 1..];
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            self.line(&piece[start..end]);
            start = end + 1;
        }
        let rest = &piece[start..];
        self.begun = !rest.is_empty();
        self.head.clear();
        self.head.extend_from_slice(&rest[..rest.len().min(HEAD)]);
    }

    /// A whole line, or as much of it as was kept.
    fn line(&mut self, line: &[u8]) {
        self.count += 1;
        let time = match self.format {
            Some(Format::Text) => line.get(..Stamp::LEN),
            Some(Format::Jsonl) => line.strip_prefix(JSONL_HEAD).and_then(|rest| rest.get(..Stamp::LEN)),
            _ => None,
        };
        let Some(Ok(time)) = time.map(<[u8; Stamp::LEN]>::try_from) else { return };
        if time == self.last {
            return;
        }
        self.last = time;
        // A time within the span widens nothing, whatever it is: only the others are looked at closely.
        if self.span.is_some_and(|(lowest, highest)| lowest <= time && time <= highest) || Stamp::parse(&time).is_none()
        {
            return;
        }
        self.span = Some(self.span.map_or((time, time), |(lowest, highest)| (lowest.min(time), highest.max(time))));
    }

    /// How many there were, and the times.
    fn end(&mut self) -> (u64, Option<Span>) {
        if std::mem::take(&mut self.begun) {
            let head = std::mem::take(&mut self.head);
            self.line(&head);
        }
        (self.count, self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::{self, Source};

    fn stamp(micros: i64) -> Stamp {
        Stamp::new(1_795_336_920_000_000 + micros)
    }

    /// Records with these times.
    fn records(format: Format, times: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        let source = Source::new(format, "127.0.0.1:1", "c1");
        for (n, time) in times.iter().enumerate() {
            record::append(&mut out, format, &stamp(*time), &source, n as u64 + 1, &b"x".repeat(n % 50));
        }
        out
    }

    fn scanned(bytes: &[u8], format: Option<Format>, piece: usize) -> (u64, Option<(Stamp, Stamp)>) {
        let mut lines = Lines::new(format);
        bytes.chunks(piece).for_each(|piece| lines.take(piece));
        let (count, span) = lines.end();
        let parse = |text: [u8; Stamp::LEN]| Stamp::parse(&text).unwrap();
        (count, span.map(|(lowest, highest)| (parse(lowest), parse(highest))))
    }

    #[test]
    fn lines_and_times_are_found_however_the_pieces_fall() {
        for format in [Format::Text, Format::Jsonl] {
            let bytes = records(format, &[50, 7, 99, 8, 60]);
            for piece in (1..100).chain([bytes.len()]) {
                assert_eq!(
                    scanned(&bytes, Some(format), piece),
                    (5, Some((stamp(7), stamp(99)))),
                    "{format:?}, {piece}"
                );
            }
            assert_eq!(scanned(&bytes, None, bytes.len()), (5, Some((stamp(7), stamp(99)))));
            // Without its last LF it is a line all the same.
            assert_eq!(scanned(&bytes[..bytes.len() - 1], Some(format), 10).0, 5);
        }
    }

    #[test]
    fn clients_bytes_are_no_times() {
        let text = records(Format::Text, &[5]);
        assert_eq!(scanned(&text, Some(Format::Raw), 10), (1, None));
        assert_eq!(scanned(b"hello\n\nworld\n", None, 4), (3, None));
        assert_eq!(scanned(b"9999-99-99T99:99:99.999999Z x\n", Some(Format::Text), 9), (1, None));
        assert_eq!(scanned(b"", None, 1), (0, None));
    }
}
