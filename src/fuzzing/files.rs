//! Files of records: their lines, their ends, their compressed forms.
use super::{Input, lines_of};
use crate::config::Format;
use crate::store::content::Content;
use crate::store::names::Form;
use crate::store::parse::parse;
use crate::store::reader::{self, LineReader, Piece, Unfinished};
use crate::store::recovery::scan_back_by;
use crate::sys::memory::memfd;
use crate::tools::tail::last::last_lines_by;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, Write};

/// Gives its bytes in reads of these sizes, then as many as are wanted.
struct Reads<'a> {
    bytes: &'a [u8],
    sizes: std::slice::Iter<'a, u8>,
}

impl Read for Reads<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = match self.sizes.next() {
            Some(0) => return Err(io::ErrorKind::Interrupted.into()),
            Some(&size) => usize::from(size),
            None => buffer.len(),
        };
        let count = most.min(buffer.len());
        self.bytes.read(&mut buffer[..count])
    }
}

/// A buffer, the sizes of the reads, a file: each line once, in its place, or told to be too long.
pub fn reader(data: &[u8]) {
    let mut input = Input(data);
    let limit = 1 + usize::from(input.byte());
    let first = 1 + usize::from(input.byte()) % limit;
    let sizes = input.some().iter();
    let bytes = input.rest();
    reader::detect(bytes);
    let mut lines = LineReader::with_sizes(Reads { bytes, sizes }, first, limit);
    let (mut at, mut number) = (0, 1);
    loop {
        let Ok(piece) = lines.next_piece() else { panic!("no read fails") };
        match piece {
            None => break,
            Some(Piece::Lines { offset, number: first, bytes: found }) => {
                assert_eq!((offset, first), (at as u64, number));
                assert!(bytes[at..].starts_with(found) && found.ends_with(b"\n"));
                assert!(found.split_inclusive(|&byte| byte == b'\n').all(|line| line.len() <= limit));
                at += found.len();
                number += found.iter().filter(|&&byte| byte == b'\n').count() as u64;
            }
            Some(Piece::TooLong { offset, number: own, length }) => {
                let line = bytes[at..].split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
                assert_eq!((offset, own, length), (at as u64, number, line.len() as u64));
                assert!(line.len() > limit && line.ends_with(b"\n"));
                at += line.len();
                number += 1;
            }
        }
        assert_eq!(lines.offset(), at as u64);
    }
    let left = bytes.len() - at;
    assert!(!bytes[at..].contains(&b'\n'), "a whole line was not handed out");
    let expected = (left > 0).then_some(Unfinished { offset: at as u64, number, length: left as u64 });
    assert_eq!(lines.unfinished(), expected);
}

/// A format, the longest record, the size of a block, a file after a crash: where its last whole record ends.
pub fn recovery(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let is_record = |line: &[u8]| match choice % 4 {
        0 => parse(Format::Text, line).is_ok(),
        1 => parse(Format::Jsonl, line).is_ok(),
        2 => true,
        _ => line.first() == Some(&b'r'),
    };
    let longest = 1 + u64::from(input.byte()) * if choice & 4 == 0 { 1 } else { 16 };
    let block = 1 + u64::from(input.byte()) * if choice & 8 == 0 { 1 } else { 16 };
    let bytes = input.rest();
    let seen = RefCell::new(vec![0u8; bytes.len()]);
    let read = |buffer: &mut [u8], at: u64| copy(bytes, buffer, at, &seen);
    let Ok(whole) = scan_back_by(block, bytes.len() as u64, longest, read, is_record) else { panic!("no read fails") };
    assert!(seen.borrow().iter().all(|&times| times <= 2), "a byte was read more than twice");

    let (mut end, mut expected) = (0, 0);
    for line in lines_of(bytes).0 {
        end += line.len() + 1;
        if (line.len() as u64) < longest && is_record(line) {
            expected = end;
        }
    }
    assert_eq!(whole, expected as u64);
}

/// How many lines, the size of a block, a file: where the last of them begin.
pub fn last_lines(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let wanted = u64::from(input.byte() % 9);
    let block = 1 + usize::from(input.byte());
    let bytes = input.rest();
    let seen = RefCell::new(vec![0u8; bytes.len()]);
    let read = |buffer: &mut [u8], at: u64| copy(bytes, buffer, at, &seen);
    let mut chosen = |line: &[u8]| line.first() == Some(&b'r');
    let some = choice & 1 == 1;
    let found = last_lines_by(block, read, bytes.len() as u64, wanted, if some { Some(&mut chosen) } else { None });
    let Ok((place, found)) = found else { panic!("no read fails") };
    assert!(seen.borrow().iter().all(|&times| times <= 2), "a byte was read more than twice");

    let mut begin = 0;
    let mut begins = Vec::new();
    for line in lines_of(bytes).0 {
        if !some || line.first() == Some(&b'r') {
            begins.push(begin as u64);
        }
        begin += line.len() + 1;
    }
    let expected = match usize::try_from(wanted).unwrap_or(0) {
        0 => (begin as u64, 0),
        count if count <= begins.len() => (begins[begins.len() - count], wanted),
        _ => (0, begins.len() as u64),
    };
    assert_eq!((place, found), expected);
}

fn copy(bytes: &[u8], buffer: &mut [u8], at: u64, seen: &RefCell<Vec<u8>>) -> io::Result<()> {
    let at = usize::try_from(at).map_err(io::Error::other)?;
    let range = at..at + buffer.len();
    buffer.copy_from_slice(bytes.get(range.clone()).ok_or(io::ErrorKind::UnexpectedEof)?);
    seen.borrow_mut()[range].iter_mut().for_each(|times| *times += 1);
    Ok(())
}

/// A form and bytes that pass for it; or a segment that was compressed and cut.
pub fn compressed(data: &[u8]) {
    const MOST: u64 = 1 << 20;
    let mut input = Input(data);
    let choice = input.byte();
    let form = if choice & 1 == 0 { Form::Gzip } else { Form::Zstd };
    if choice & 6 != 6 {
        if let Ok(bytes) = unpacked(input.rest(), form, MOST) {
            assert!(bytes.len() as u64 <= MOST);
        }
        return;
    }
    let (place, bytes) = (input.word(), input.rest());
    let Ok(packed) = pack(bytes, form) else { panic!("no memory to compress in") };
    assert!(unpacked(&packed, form, u64::MAX).is_ok_and(|back| back == bytes));
    let cut = usize::try_from(place % packed.len() as u64).unwrap_or(0);
    let short = unpacked(&packed[..cut], form, u64::MAX);
    assert!(
        short.is_err(),
        "a compressed file that ends early was taken for a short segment: {cut} of {}",
        packed.len()
    );
}

fn pack(bytes: &[u8], form: Form) -> io::Result<Vec<u8>> {
    if form == Form::Zstd {
        return zstd::encode_all(bytes, 1);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn unpacked(bytes: &[u8], form: Form, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::from(memfd("fuzzing", 0)?);
    file.write_all(bytes)?;
    file.rewind()?;
    let mut out = Vec::new();
    Content::new(file, form, most)?.read_to_end(&mut out)?;
    Ok(out)
}
