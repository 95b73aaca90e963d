//! Tests of `store::recovery`.
use super::*;
use std::io::Write;
use std::os::fd::AsFd;

fn segment(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn whole_length(segment: &File, longest: u64, is_record: impl Fn(&[u8]) -> bool) -> io::Result<u64> {
    let length = segment.metadata()?.len();
    scan_back(length, longest, |bytes, at| segment.read_exact_at(bytes, at), is_record)
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
        let torn = set_aside(directory.as_fd(), &name, &file, 5, |_| {}).unwrap();
        assert_eq!(std::fs::read(path("")).unwrap(), b"ok 1\n");
        assert_eq!(set_aside(directory.as_fd(), &name, &file, 5, |_| {}).unwrap(), None);
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
    assert_eq!([".torn", ".2.torn", ".3.torn"].map(|it| std::fs::read(path(it)).unwrap()), [b"torn", b"more", b"most"]);
    assert_eq!(repaired(b"ok 1\n"), None);
}
