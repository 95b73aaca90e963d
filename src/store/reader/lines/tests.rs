use super::*;
use proptest::prelude::*;

/// Gives bytes in reads of given lengths, and an interruption now and then.
struct Choppy<'a> {
    bytes: &'a [u8],
    lengths: Vec<usize>,
    turn: usize,
}

impl Read for Choppy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        let length = self.lengths[self.turn % self.lengths.len()];
        if length == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = length.min(buffer.len()).min(self.bytes.len());
        buffer[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Ok(count)
    }
}

/// (offset, number, line without LF, or its length if too long)
type Seen = (u64, u64, Result<Vec<u8>, u64>);

fn read_all(mut reader: LineReader<impl Read>) -> (Vec<Seen>, Option<Unfinished>) {
    let mut seen = Vec::new();
    while let Some(piece) = reader.next_piece().unwrap() {
        match piece {
            Piece::Lines { mut offset, number, bytes } => {
                assert_eq!(bytes.last(), Some(&b'\n'));
                for (line, number) in bytes.split_inclusive(|&byte| byte == b'\n').zip(number..) {
                    seen.push((offset, number, Ok(line[..line.len() - 1].to_vec())));
                    offset += line.len() as u64;
                }
            }
            Piece::TooLong { offset, number, length } => seen.push((offset, number, Err(length))),
        }
    }
    assert_eq!(reader.next_piece().unwrap(), None);
    (seen, reader.unfinished())
}

fn expected(bytes: &[u8], limit: usize) -> (Vec<Seen>, Option<Unfinished>) {
    let (mut seen, mut offset, mut number) = (Vec::new(), 0, 1);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let length = line.len() as u64;
        match line.strip_suffix(b"\n") {
            None => {
                return (seen, Some(Unfinished { offset, number, length }));
            }
            Some(_) if line.len() > limit => seen.push((offset, number, Err(length))),
            Some(line) => seen.push((offset, number, Ok(line.to_vec()))),
        }
        offset += length;
        number += 1;
    }
    (seen, None)
}

proptest! {
    #[test]
    fn lines_come_whatever_the_reads(
        lines in prop::collection::vec("[a-z]{0,9}|[a-z]{20,90}", 0..20),
        tail in "[a-z]{0,70}",
        lengths in prop::collection::vec(0..80usize, 1..8),
        first in 1..64usize,
    ) {
        let mut bytes: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
        bytes.extend(tail.bytes());
        let mut lengths = lengths;
        lengths.push(7);
        let source = Choppy { bytes: &bytes, lengths, turn: 0 };
        prop_assert_eq!(read_all(LineReader::with_sizes(source, first, 64)), expected(&bytes, 64));
    }
}

#[test]
fn what_grows_is_read_on() {
    let mut reader = LineReader::with_sizes(io::Cursor::new(b"one\ntw".to_vec()), 64, 64);
    assert!(matches!(reader.next_piece().unwrap(), Some(Piece::Lines { bytes: b"one\n", .. })));
    assert_eq!(reader.next_piece().unwrap(), None);
    assert_eq!(reader.unfinished(), Some(Unfinished { offset: 4, number: 2, length: 2 }));
    reader.source.get_mut().extend(b"o\n");
    assert_eq!(reader.next_piece().unwrap(), Some(Piece::Lines { offset: 4, number: 2, bytes: b"two\n" }));
    assert_eq!(reader.unfinished(), None);
}

#[test]
fn memory_is_bounded_by_the_limit() {
    let source = io::repeat(b'x').take(10 * READ as u64);
    let mut reader = LineReader::with_sizes(source, 64, 2 * READ);
    assert_eq!(reader.next_piece().unwrap(), None);
    assert_eq!(reader.unfinished().unwrap().length, 10 * READ as u64);
    assert_eq!(reader.buffer.len(), 2 * READ);
}
