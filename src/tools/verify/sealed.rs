//! What the manifest says against what is there: each finding that the tests with a real daemon's files do not make.
use super::tests::{lines_of, told};
use super::*;
use crate::store::manifest::{Gone, Line, MANIFEST, Pruned};
use crate::sys::AsFd;
use crate::sys::file::{open_directory, try_lock};
use crate::tools::golden::{Golden, name, numbered};
use std::fs;

/// The seal of golden records, all with one time.
fn seal(sequence: u64, bytes: &[u8]) -> Line {
    let time = || Some("2026-11-22T08:42:00.123456Z".to_owned());
    let records = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    let blake3 = blake3::hash(bytes).to_hex().to_string();
    let (segment, bytes) = (name(sequence), bytes.len() as u64);
    Line::Seal(Seal {
        segment,
        records,
        bytes,
        lowest: time(),
        highest: time(),
        good_to: None,
        torn: None,
        acknowledged: None,
        blake3,
    })
}

fn pruned(sequence: u64) -> Line {
    Line::Pruned(Pruned { segment: name(sequence), reason: "max-files".into(), time: "2026-11-22T08:42:00Z".into() })
}

fn gone(sequence: u64) -> Line {
    Line::Gone(Gone { segment: name(sequence), time: "2026-11-22T08:42:00Z".into() })
}

/// Five files of two records of one connection, the last of them live, and these lines; all that are named are sealed.
fn store(sealed: &[u64], lines: Vec<Line>) -> Golden {
    let store = Golden::new();
    for sequence in 1..=5 {
        store.segment(sequence, &content(sequence));
    }
    store.link(5);
    let all = sealed.iter().map(|sequence| seal(*sequence, &content(*sequence))).chain(lines).collect();
    append(&store, all);
    store
}

fn content(sequence: u64) -> Vec<u8> {
    numbered("A", &[2 * sequence - 1, 2 * sequence])
}

fn append(store: &Golden, lines: Vec<Line>) {
    let directory = open_directory(store.path()).unwrap();
    let mut manifest = Manifest::read(directory.as_fd()).unwrap();
    manifest.append(directory.as_fd(), lines, false).unwrap();
}

fn remove(store: &Golden, sequence: u64) {
    fs::remove_file(store.path().join(name(sequence))).unwrap();
}

#[test]
fn a_whole_one() {
    let store = store(&[1, 2, 3, 4], vec![]);
    let bytes: usize = (1..=5).map(|sequence| content(sequence).len()).sum();
    assert_eq!(told(&store), [format!("5 files (4 sealed), 10 records, 1 connections, {bytes} bytes: ok")]);
}

#[test]
fn pruned_is_told_from_missing_and_gone() {
    let store = store(&[1, 2, 3, 4], vec![pruned(1), pruned(3), gone(2)]);
    [1, 2, 3].iter().for_each(|sequence| remove(&store, *sequence));
    assert_eq!(lines_of(&store), ["#2: deleted by somebody else, seen at 2026-11-22T08:42:00Z"]);
    remove(&store, 4);
    assert_eq!(lines_of(&store)[1], "#4: missing, with 2 records: it was sealed, and not deleted by retention");
    store.segment(2, &content(2));
    assert!(lines_of(&store)[0].starts_with("note: #2: was not there at 2026-11-22T08:42:00Z"), "{:?}", told(&store));
}

#[test]
fn numbers_that_nobody_knows_of_are_missing() {
    let store = store(&[3, 4], vec![]);
    remove(&store, 1);
    remove(&store, 2);
    assert_eq!(lines_of(&store), [""; 0]); // older than all that is known
    append(&store, vec![seal(9, b"")]);
    assert_eq!(
        lines_of(&store)[..2],
        [
            "#9: numbers 6 to 8 before it are missing",
            "#9: missing, with 0 records: it was sealed, and not deleted by retention"
        ]
    );
}

#[test]
fn what_was_folded_is_not_missing_but_what_is_behind_it() {
    let store = store(&[1, 2, 3, 4], vec![pruned(1), gone(2), pruned(2)]);
    remove(&store, 1);
    remove(&store, 2);
    let directory = open_directory(store.path()).unwrap();
    let mut manifest = Manifest::read(directory.as_fd()).unwrap();
    assert!(manifest.fold(directory.as_fd(), 1, |sequence| sequence > 2).unwrap());
    let lines = lines_of(&store);
    assert!(lines.iter().all(|line| line.starts_with("note: ")), "{lines:?}");
    remove(&store, 3);
    assert!(
        lines_of(&store)
            .contains(&"#3: missing, with 2 records: it was sealed, and not deleted by retention".to_owned())
    );
}

#[test]
fn a_deletion_under_way_is_a_note() {
    let store = store(&[1, 2, 3, 4], vec![pruned(1)]);
    assert!(lines_of(&store)[0].starts_with("note: #1: the manifest says that retention deletes it"));
    store.segment(1, b"other\n");
    assert!(lines_of(&store).iter().any(|line| line.starts_with("#1:") && line.contains("were sealed")));
}

#[test]
fn a_file_without_a_seal() {
    let whole = store(&[1, 2, 3], vec![]);
    assert_eq!(lines_of(&whole), ["note: #4: not sealed yet"]);
    let foreign = store(&[1, 3], vec![]);
    let what = "#2: not sealed, though later ones are: a foreign file, or one that the archiver passed over";
    assert_eq!(lines_of(&foreign), [what, "note: #4: not sealed yet"]);
    // A daemon will seal it.
    foreign.write(".lock", b"17\n");
    let lock = fs::File::open(foreign.path().join(".lock")).unwrap();
    assert!(try_lock(&lock).unwrap());
    assert_eq!(lines_of(&foreign), ["note: #2: not sealed yet", "note: #4: not sealed yet"]);
}

#[test]
fn one_whose_sync_failed_ends_where_it_was_sealed() {
    let store = store(&[1, 3, 4], vec![]);
    let good = content(2).len() as u64;
    let Line::Seal(two) = seal(2, &content(2)) else { return };
    append(&store, vec![Line::Seal(Seal { good_to: Some(good), ..two })]);
    // What was moved away and could not be cut off is no part of it, also in a copy without the writer's word.
    store.segment(2, &[&content(2)[..], b"anything"].concat());
    assert_eq!(lines_of(&store), [""; 0]);
}

#[test]
fn a_seal_that_lies() {
    let store = store(&[1, 2, 3], vec![]);
    let Line::Seal(four) = seal(4, &content(4)) else { return };
    append(&store, vec![Line::Seal(Seal { records: 3, lowest: None, ..four })]);
    let lines = lines_of(&store);
    assert_eq!(lines[0], "#4: 3 records were sealed, its lines are 2");
    assert_eq!(lines[1], "#4: none was sealed as its lowest time, which is 2026-11-22T08:42:00.123456Z");
}

#[test]
fn two_forms_of_one_segment() {
    let store = store(&[1, 2, 3, 4], vec![]);
    let other = format!("{}.zst", name(2));
    store.write(&other, &zstd::encode_all(&content(2)[..], 3).unwrap());
    assert_eq!(
        lines_of(&store),
        ["note: #2.zst: #2 is the one that counts; compression is under way, or was interrupted"]
    );
    remove(&store, 2);
    assert_eq!(lines_of(&store), [""; 0]);
}

#[test]
fn a_broken_chain_and_a_torn_line() {
    let store = store(&[1, 2, 3, 4], vec![]);
    let path = store.path().join(MANIFEST);
    let whole = fs::read_to_string(&path).unwrap();
    let first = whole.find('\n').unwrap() + 1;
    fs::write(&path, whole.replacen("\"records\":2", "\"records\":3", 1)).unwrap();
    let lines = lines_of(&store);
    assert!(lines.iter().any(|line| line.starts_with("MANIFEST.jsonl:1:0: the chain is broken")), "{lines:?}");
    fs::write(&path, &whole[first..]).unwrap();
    assert!(lines_of(&store).iter().any(|line| line.starts_with("MANIFEST.jsonl:1:0: the chain is broken")));
    fs::write(&path, format!("{whole}{{\"seal\":\"mess")).unwrap();
    assert!(lines_of(&store)[0].starts_with("note: MANIFEST.jsonl:5: the last line is not whole: 13 bytes"));
}
