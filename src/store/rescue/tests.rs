use super::*;
use crate::store::record::{self, Source as Sender};
use crate::store::stamp::Stamp;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// A file in memory whose pages can be bad, and which takes so many bytes.
#[derive(Clone, Debug, Default)]
struct Memory(Rc<RefCell<Vec<u8>>>, BTreeSet<u64>, Option<usize>);

impl Disk for Memory {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (bytes, at) = (self.0.borrow(), usize::try_from(offset).unwrap());
        let count = buffer.len().min(bytes.len().saturating_sub(at));
        let pages = at / PAGE..(at + count).div_ceil(PAGE);
        if pages.into_iter().any(|page| self.1.contains(&(page as u64))) {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        buffer[..count].copy_from_slice(&bytes[at..at + count]);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut all, at) = (self.0.borrow_mut(), usize::try_from(offset).unwrap());
        let end = at + bytes.len();
        if self.2.is_some_and(|room| end > room) {
            return Err(io::Error::from_raw_os_error(nix::libc::ENOSPC));
        }
        let length = all.len().max(end);
        all.resize(length, 0);
        all[at..end].copy_from_slice(bytes);
        Ok(())
    }
}

fn memory(bytes: &[u8]) -> Memory {
    Memory(Rc::new(RefCell::new(bytes.to_vec())), BTreeSet::new(), None)
}

fn name(sequence: u64) -> SegmentName {
    SegmentName { prefix: "messages".into(), sequence, start: 0 }
}

fn records(count: u64, size: usize) -> Vec<Vec<u8>> {
    let sender = Sender::new(Format::Text, "127.0.0.1:1", "01JD9Z0Q4X");
    let one = |n| {
        let mut out = Vec::new();
        record::append(&mut out, Format::Text, &Stamp::new(0), &sender, n, &vec![b'x'; size]);
        out
    };
    (1..=count).map(one).collect()
}

fn source(file: &Memory, good_to: u64) -> Source<Memory> {
    let end = file.0.borrow().len() as u64;
    Source { name: name(1), file: file.clone(), good_to, end, format: Some(Format::Text) }
}

fn all(rescue: &mut Rescue<Memory>, into: &Memory) -> io::Result<()> {
    while !rescue.step(into)? {}
    Ok(())
}

#[test]
fn what_follows_the_good_part_is_copied_record_by_record() {
    let all_records = records(5000, 100);
    let good_to: usize = all_records[..17].iter().map(Vec::len).sum();
    let old = memory(&all_records.concat());
    let new = memory(&[]);
    let mut rescue = Rescue::new(vec![source(&old, good_to as u64), source(&old, 0)]);
    all(&mut rescue, &new).unwrap();
    let expected = [all_records[17..].concat(), all_records.concat()].concat();
    assert!(*new.0.borrow() == expected);
    assert_eq!((rescue.written(), rescue.records()), (expected.len() as u64, 9983));
    assert!(rescue.lost().all(|(_, lost)| lost.is_empty()));
    let notes = rescue.notes(&name(2));
    assert_eq!(notes[0].good_to, good_to as u64);
    assert_eq!(notes[0].moved_to.as_deref(), Some("messages-0000000002-19700101T000000Z.log"));
}

#[test]
fn a_page_that_cannot_be_read_costs_the_records_on_it_and_no_others() {
    let all_records = records(400, 100);
    let length = all_records.concat().len() as u64;
    for page in 0..length.div_ceil(PAGE as u64) {
        let mut old = memory(&all_records.concat());
        old.1.insert(page);
        let new = memory(&[]);
        let mut rescue = Rescue::new(vec![source(&old, 0)]);
        all(&mut rescue, &new).unwrap();
        let bad = page * PAGE as u64..(page + 1) * PAGE as u64;
        let (mut at, mut kept) = (0, Vec::new());
        for record in &all_records {
            let end = at + record.len() as u64;
            // What begins right behind cannot be told from the rest of a record.
            if end <= bad.start || at > bad.end {
                kept.extend_from_slice(record);
            }
            at = end;
        }
        assert!(*new.0.borrow() == kept, "page {page}");
        let lost: u64 = rescue.lost().flat_map(|(_, lost)| lost).map(|(from, to)| to - from).sum();
        assert_eq!(lost, length - kept.len() as u64, "page {page}");
    }
}

#[test]
fn an_end_that_is_missing_is_lost_and_told() {
    let all_records = records(10, 50);
    let old = memory(&all_records.concat());
    let cut = all_records[..9].concat().len() + 20;
    let promised = old.0.borrow().len() as u64;
    old.0.borrow_mut().truncate(cut);
    let new = memory(&[]);
    let mut rescue = Rescue::new(vec![Source { end: promised, ..source(&old, 0) }]);
    all(&mut rescue, &new).unwrap();
    assert!(*new.0.borrow() == all_records[..9].concat());
    let lost: Vec<_> = rescue.lost().map(|(_, lost)| lost.to_vec()).collect();
    assert_eq!(lost, [[(all_records[..9].concat().len() as u64, promised)]]);
}

#[test]
fn the_block_in_which_the_good_part_ends_is_saved_whole() {
    let all_records = records(3000, 100);
    let old = memory(&all_records.concat());
    let mut good_to = 0;
    for record in &all_records {
        let from = whole_blocks(&old, good_to);
        let block = good_to - good_to % PAGE as u64;
        let is_start = from == 0 || old.0.borrow()[usize::try_from(from).unwrap() - 1] == b'\n';
        assert!(is_start && from <= block && block - from < record.len() as u64, "{from} of {good_to}");
        good_to += record.len() as u64;
    }
    let long = memory(&[vec![b'x'; 300_000], vec![b'\n'; 1]].concat());
    assert_eq!(whole_blocks(&long, 300_001), 0);
    assert_eq!(whole_blocks(&memory(&[]), 5000), 5000, "what is not there");
    assert_eq!(whole_blocks(&long, 8192), 8192);
}

#[test]
fn it_begins_anew_when_the_new_disk_is_full() {
    let all_records = records(100, 100).concat();
    let old = memory(&all_records);
    let mut full = memory(&[]);
    full.2 = Some(all_records.len() - 1);
    let mut rescue = Rescue::new(vec![source(&old, 0)]);
    assert!(all(&mut rescue, &full).is_err());
    rescue.rewind();
    let new = memory(&[]);
    all(&mut rescue, &new).unwrap();
    assert!(*new.0.borrow() == all_records);
}

proptest! {
    #[test]
    fn every_line_is_either_copied_or_lost(lines in proptest::collection::vec((any::<bool>(), 0usize..200), 0..60), good_lines in 0usize..10) {
        let real = records(lines.len() as u64, 10);
        let pieces: Vec<Vec<u8>> = lines.iter().zip(&real).map(|(&(good, size), record)| match good {
            true => record.clone(),
            false => [vec![b'?'; size], vec![b'\n']].concat(),
        }).collect();
        let good_to: usize = pieces.iter().take(good_lines).map(Vec::len).sum();
        let (old, new) = (memory(&pieces.concat()), memory(&[]));
        let mut rescue = Rescue::new(vec![source(&old, good_to as u64)]);
        all(&mut rescue, &new).unwrap();
        let behind = || lines.iter().zip(&pieces).skip(good_lines);
        let kept: Vec<u8> = behind().filter(|((good, _), _)| *good).flat_map(|(_, piece)| piece.clone()).collect();
        prop_assert_eq!(&*new.0.borrow(), &kept);
        let lost: u64 = rescue.lost().flat_map(|(_, lost)| lost).map(|(from, to)| to - from).sum();
        prop_assert_eq!(lost + kept.len() as u64, (pieces.concat().len() - good_to.min(pieces.concat().len())) as u64);
    }
}
