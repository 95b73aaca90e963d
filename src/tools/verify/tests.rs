use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::config::Format;
use crate::sys::file::try_lock;
use crate::tools::golden::{Golden, name, numbered, record};

/// The report's lines, the file names in them made short: `#1` for the first.
fn verify(store: &Golden) -> Vec<String> {
    let mut out = Vec::new();
    let summary = check(&Listing::new(store.path()).unwrap(), &mut out).unwrap();
    let mut text = String::from_utf8(out).unwrap();
    for sequence in 1..=20 {
        text = text.replace(&name(sequence), &format!("#{sequence}"));
    }
    let is_sealing = |line: &&str| line.contains(" closed files, and none is sealed");
    let lines: Vec<String> = text.lines().filter(|line| !is_sealing(line)).map(str::to_owned).collect();
    assert_eq!(summary.problems == 0, lines.last().unwrap().ends_with(": ok"));
    lines
}

/// The same for other tests.
pub(super) fn told(store: &Golden) -> Vec<String> {
    verify(store)
}

/// The same without the summary.
pub(super) fn lines_of(store: &Golden) -> Vec<String> {
    let mut lines = verify(store);
    lines.pop();
    lines
}

#[test]
fn whole_stores() {
    assert_eq!(verify(&Golden::new()), ["0 files, 0 records, 0 connections, 0 bytes: ok"]);
    let (one, two) = (numbered("A", &[1, 2]), [numbered("B", &[1]), numbered("A", &[3]), numbered("B", &[2])].concat());
    let bytes = one.len() + two.len();
    assert_eq!(
        verify(&Golden::with(&[&one, &two, b""])),
        [format!("3 files, 5 records, 2 connections, {bytes} bytes: ok")]
    );
    let jsonl: Vec<u8> =
        [&b"x"[..], b"\xff"].iter().zip(1..).flat_map(|(m, n)| record(Format::Jsonl, "A", n, m)).collect();
    let summary = format!("1 files, 2 records, 1 connections, {} bytes: ok", jsonl.len());
    assert_eq!(verify(&Golden::with(&[&jsonl])), [summary]);
    assert_eq!(verify(&Golden::with(&[b"any\n\xff\n\n"])), ["1 files, 3 records, 0 connections, 7 bytes: ok"]);
}

#[test]
fn what_was_moved_away_does_not_count_where_it_was() {
    let (kept, moved) = (numbered("A", &[1]), numbered("A", &[2, 3]));
    let line = |target: u64| {
        format!("{{\"segment\":\"{}\",\"good-to\":{},\"moved-to\":\"{}\"}}\n", name(1), kept.len(), name(target))
    };
    let store = Golden::with(&[&[kept.clone(), moved.clone()].concat(), &moved]);
    assert_eq!(verify(&store).len(), 3, "as long as nothing is noted, messages 2 and 3 are there twice");
    // A note alone does nothing: what counts is the file.
    fs::write(store.path().join(".failed.jsonl"), line(9)).unwrap();
    assert_eq!(verify(&store).len(), 4);
    fs::write(store.path().join(".failed.jsonl"), line(9) + &line(2)).unwrap();
    let note = format!("note: #1: a write or sync of it failed; what followed byte {} was saved to #2", kept.len());
    let summary = format!("2 files, 3 records, 1 connections, {} bytes: ok", kept.len() + moved.len());
    assert_eq!(verify(&store), [note, summary]);
}

#[test]
fn numbers_with_gap_or_repeat() {
    let line = numbered("A", &[1]).len();
    for (numbers, at, what) in [
        (&[1, 2, 4][..], 2, "messages 3 to 3 are missing"),
        (&[1, 5], 1, "messages 2 to 4 are missing"),
        (&[1, 2, 2, 3], 2, "message 2 comes after message 2"),
        (&[1, 2, 3, 2, 4], 3, "message 2 comes after message 3"),
    ] {
        // The same whether the numbers stand in one file or go on in the next.
        let store = Golden::with(&[&numbered("A", numbers)]);
        assert_eq!(verify(&store)[0], format!("#1:{}:{}: connection A: {what}", at + 1, at * line));
        assert_eq!(verify(&store).len(), 2);
        let (one, two) = numbers.split_at(at);
        let store = Golden::with(&[&numbered("A", one), &numbered("A", two)]);
        assert_eq!(verify(&store)[0], format!("#2:1:0: connection A: {what}"));
        assert!(verify(&store)[1].ends_with(" 1 problems"));
    }
}

#[test]
fn a_connection_begins_with_1_unless_older_files_are_gone() {
    let store = Golden::with(&[&numbered("A", &[3])]);
    assert_eq!(verify(&store)[0], "#1:1:0: connection A begins with message 3");
    let store = Golden::new();
    store.segment(2, &numbered("A", &[3]));
    store.segment(3, &numbered("A", &[4, 6]));
    let line = numbered("A", &[4]).len();
    assert_eq!(verify(&store)[0], format!("#3:2:{line}: connection A: messages 5 to 5 are missing"));
    assert_eq!(verify(&store).len(), 2);
}

#[test]
fn names_and_sequence() {
    let store = Golden::with(&[b"", b"", b"", b"", b"", b"", b"", b""]);
    for gone in [2, 4, 5] {
        fs::remove_file(store.path().join(name(gone))).unwrap();
    }
    store.write("other-0000000007-20261122T084200Z.log", b"");
    store.write("messages-12-20261122T084200Z.log", b"");
    store.write("evil\x1b[2J.log", b"");
    fs::create_dir(store.path().join(name(9))).unwrap();
    symlink("elsewhere", store.path().join(name(10))).unwrap();
    store.write(&format!("{}.torn", name(4)), b"");
    assert_eq!(
        verify(&store),
        [
            "evil\\x1b[2J.log: not the name of a regular file of records",
            "#9: not the name of a regular file of records",
            "#10: not the name of a regular file of records",
            "messages-12-20261122T084200Z.log: not the name of a regular file of records",
            "#3: number 2 before it is missing",
            "#6: numbers 4 to 5 before it are missing",
            "#7: has the same sequence number as other-0000000007-20261122T084200Z.log",
            "6 files, 0 records, 0 connections, 0 bytes: 7 problems",
        ]
    );
}

#[test]
fn current_is_a_hard_link() {
    let store = Golden::with(&[&numbered("A", &[1]), b""]);
    let current = store.path().join("current");
    let said = |what: &str| verify(&store)[0].starts_with(what);
    let report = |good: bool| {
        // In a copy it is a file of its own, and no daemon looks after it.
        assert_eq!(said("note: current: a file of its own"), !good, "{:?}", verify(&store));
        store.write(".lock", b"17\n");
        let lock = fs::File::open(store.path().join(".lock")).unwrap();
        assert!(try_lock(&lock).unwrap());
        assert_eq!(said("current: not a hard link to a file of records"), !good, "{:?}", verify(&store));
        fs::remove_file(store.path().join(".lock")).unwrap();
    };
    report(true);
    fs::remove_file(&current).unwrap();
    report(true); // a copy may be without it
    store.link(1);
    report(true); // in a rotation
    fs::remove_file(&current).unwrap();
    store.write("current", &numbered("A", &[1]));
    report(false); // a copy of the bytes
    fs::remove_file(&current).unwrap();
    symlink(name(1), &current).unwrap();
    report(false);
}

#[test]
fn torn_tails() {
    let whole = numbered("A", &[1]);
    let length = whole.len();
    let torn = [&whole[..], b"2026"].concat();
    let place = format!("bytes {length}-{}", length + 3);
    let problem = format!("#1:2:{length}: torn record, {place}");
    let store = Golden::with(&[&torn]);
    assert_eq!(verify(&store)[0], problem);

    store.write(".lock", b"17\n");
    assert_eq!(verify(&store)[0], problem); // a lock that nobody holds
    let lock = fs::File::open(store.path().join(".lock")).unwrap();
    assert!(try_lock(&lock).unwrap());
    let note = format!("note: #1:2:{length}: unfinished record, {place}: a daemon is at work");
    assert_eq!(verify(&store), [note, format!("1 files, 1 records, 1 connections, {} bytes: ok", length + 4)]);
    store.segment(2, b""); // a rotation begins
    assert_eq!(verify(&store).len(), 2);
    store.segment(2, &numbered("B", &[1])); // no daemon tears a file that is not the last
    assert_eq!(verify(&store)[0], problem);
}

#[test]
fn lines_that_are_no_records() {
    let mut lines = numbered("A", &[1, 2, 3]);
    let line = lines.len() / 3;
    lines.splice(line..line, *b"welded\n");
    lines.extend(record(Format::Text, "B", 1, b"x"));
    let last = lines.len() - 2;
    lines.splice(last..=last, *b"\\x41");
    assert_eq!(
        verify(&Golden::with(&[&lines]))[..2],
        [
            format!("#1:2:{0}: not a time (YYYY-MM-DDTHH:MM:SS.ffffffZ); bytes {line}-{0} are no record", line + 6),
            format!(
                "#1:5:{last}: not in its one escaped form; bytes {}-{} are no record",
                3 * line + 7,
                lines.len() - 1
            )
        ]
    );
    // A damaged first line does not make the file raw.
    let mut lines = numbered("A", &[1, 2, 3]);
    lines[0] = 0;
    let report = verify(&Golden::with(&[&lines]));
    let end = lines.len() / 3 - 1;
    assert_eq!(report[0], format!("#1:1:0: not a time (YYYY-MM-DDTHH:MM:SS.ffffffZ); bytes 0-{end} are no record"));
    let mut lines: Vec<u8> = (1..4).flat_map(|n| record(Format::Jsonl, "A", n, b"x")).collect();
    lines[3] = b'\'';
    assert!(verify(&Golden::with(&[&lines]))[0].starts_with("#1:1:"));
}

#[test]
fn a_file_taken_as_raw_among_others_is_told() {
    let store = Golden::with(&[b"one damaged line\n", &numbered("A", &[1])]);
    assert_eq!(verify(&store)[0], "note: 1 files are taken as raw, others are not; the first: #1");
    assert!(verify(&store)[1].ends_with(": ok"));
}

#[test]
fn problems_beyond_the_hundredth_are_counted() {
    let mut lines = numbered("A", &[1, 2, 3]);
    lines.extend(b"bad\n".repeat(150));
    let report = verify(&Golden::with(&[&lines]));
    assert_eq!(report.len(), 102);
    assert_eq!(report[100], "50 more problems");
    assert!(report[101].ends_with(": 150 problems"));
}

#[test]
fn a_file_pruned_meanwhile_is_told_and_not_missed() {
    let store = Golden::with(&[&numbered("A", &[1]), &numbered("A", &[2]), &numbered("A", &[3]), &numbered("B", &[2])]);
    let listing = Listing::new(store.path()).unwrap();
    fs::remove_file(store.path().join(name(2))).unwrap();
    let mut out = Vec::new();
    let summary = check(&listing, &mut out).unwrap();
    assert_eq!((summary.problems, summary.records, summary.connections), (0, 3, 2));
    let told = String::from_utf8(out).unwrap();
    assert!(told.contains(&format!("\nnote: {}: deleted before it was read\n", name(2))), "{told}");
}
