//! `echostored verify` on sealed stores: whatever is done to one is found, and the file is named; a whole one is called so.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bad_input;
mod json;
mod speed;
mod store;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use store::{FORMS, Store, filled, pack};

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_flipped_bit_anywhere_in_every_form() {
    let daemon = filled(2);
    for suffix in FORMS {
        let store = Store::copy(&daemon, suffix);
        store.is_whole();
        let file = store.files()[0].clone();
        let whole = fs::read(&file).unwrap();
        pack(store.path(), &store.files()[..1], suffix);
        store.is_whole();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << support::seed::Chance::new(at as u64 + support::seed::seed()).below(8);
            fs::write(&file, &changed).unwrap();
            store.is_bad(&[name(&file)]);
        }
        fs::write(&file, &whole).unwrap();
        store.is_whole();
    }
}

#[test]
fn a_file_truncated_at_every_length() {
    let daemon = filled(1);
    for suffix in FORMS {
        let store = Store::copy(&daemon, suffix);
        let file = store.files()[0].clone();
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            let told = store.is_bad(&[name(&file)]);
            if suffix.is_empty() {
                assert!(told.contains(&format!("{} bytes were sealed, {length} are there", whole.len())), "{told}");
            }
        }
        fs::write(&file, [&whole[..], b"x\n"].concat()).unwrap();
        store.is_bad(&[name(&file)]);
    }
}

#[test]
fn files_deleted_swapped_renamed_and_foreign() {
    let daemon = filled(3);
    for suffix in FORMS {
        let store = Store::copy(&daemon, suffix);
        let files = store.files();
        let segment = |at: usize| name(&files[at]).strip_suffix(suffix).unwrap().to_owned();
        let (first, second) = (fs::read(&files[0]).unwrap(), fs::read(&files[1]).unwrap());
        for (at, file) in files[..3].iter().enumerate() {
            let bytes = fs::read(file).unwrap();
            fs::remove_file(file).unwrap();
            store.is_bad(&[&segment(at), "missing, with 4 records: it was sealed"]);
            fs::write(file, bytes).unwrap();
        }
        fs::write(&files[0], &second).unwrap();
        fs::write(&files[1], &first).unwrap();
        store.is_bad(&[name(&files[0]), &format!("its content is that of {}", segment(1))]);
        store.is_bad(&[name(&files[1]), &format!("its content is that of {}", segment(0))]);
        fs::write(&files[0], &first).unwrap();
        fs::write(&files[1], &second).unwrap();

        let other = store.path().join(format!("foreign-0000000002-20200101T000000Z.log{suffix}"));
        fs::write(&other, &second).unwrap();
        store.is_bad(&[name(&other), "the file that was sealed with its number is"]);
        fs::remove_file(&other).unwrap();
        let foreign = store.path().join(format!("foreign.log{suffix}"));
        fs::write(&foreign, b"").unwrap();
        store.is_bad(&[name(&foreign), "not the name of a regular file of records"]);
        fs::remove_file(&foreign).unwrap();
        store.is_whole();
    }
}

#[test]
fn lines_edited_and_doubled_so_that_the_length_is_right() {
    let daemon = filled(2);
    let store = Store::copy(&daemon, "");
    let file = store.files()[1].clone();
    let whole = fs::read(&file).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    // Another message, and as much less of the next one: grammar and numbers are right.
    let mut edited = lines.concat();
    // The first byte of the last message, which is a digit: its end may be half of an escape.
    let spaces = lines[lines.len() - 1].iter().enumerate().filter(|(_, byte)| **byte == b' ');
    let message = spaces.map(|(at, _)| at + 1).nth(2).unwrap();
    let at = edited.len() - lines[lines.len() - 1].len() + message;
    edited[at] = if edited[at] == b'7' { b'8' } else { b'7' };
    fs::write(&file, &edited).unwrap();
    let told = store.is_bad(&[name(&file), "content is not what was sealed (BLAKE3 "]);
    assert!(told.contains(&format!("some byte between 0 and {} was changed", whole.len() - 1)), "{told}");
    let mut longer = lines[0].to_vec();
    longer.insert(longer.len() - 1, b'x');
    let mut shorter = lines[1].to_vec();
    shorter.remove(shorter.len() - 2);
    fs::write(&file, [longer, shorter, lines[2..].concat()].concat()).unwrap();
    store.is_bad(&[name(&file), "content is not what was sealed"]);
    // A record twice; the line behind it is no longer there, or is.
    fs::write(&file, [lines[0], lines[0], &lines[2..].concat()].concat()).unwrap();
    store.is_bad(&[&format!("{}:2:{}: ", name(&file), lines[0].len()), "comes after message 1"]);
    fs::write(&file, [lines[0], &whole].concat()).unwrap();
    store.is_bad(&[name(&file), "bytes were sealed"]);
    // Behind the end: what was sealed is still as it was.
    fs::write(&file, [&whole, lines[3]].concat()).unwrap();
    store.is_bad(&[name(&file), "are too many; what is before is as it was sealed"]);
    fs::write(&file, &whole).unwrap();
    store.is_whole();
}

#[test]
fn a_changed_manifest() {
    let daemon = filled(3);
    let store = Store::copy(&daemon, "");
    let whole = fs::read(store.manifest()).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for (at, byte) in whole.iter().enumerate() {
        let mut changed = whole.clone();
        changed[at] = byte ^ 1 << (at % 8);
        fs::write(store.manifest(), &changed).unwrap();
        store.is_bad(&["MANIFEST.jsonl:"]);
    }
    let foreign: &[u8] = b"{\"seal\":\"x\"}\n";
    let orders = [
        vec![lines[1], lines[2]],
        vec![lines[0], lines[2]],
        vec![lines[1], lines[0], lines[2]],
        vec![lines[0], lines[0], lines[1], lines[2]],
        vec![lines[0], foreign, lines[1], lines[2]],
        vec![lines[0], lines[1], lines[2], foreign],
    ];
    for order in orders {
        fs::write(store.manifest(), order.concat()).unwrap();
        store.is_bad(&["MANIFEST.jsonl:"]);
    }
    // Without its last line it is one that was written before that: the file is not sealed yet.
    fs::write(store.manifest(), &whole[..whole.len() - lines[2].len()]).unwrap();
    let ended = store.verify(&[]);
    assert_eq!((ended.code, ended.stdout.contains(": not sealed yet\n")), (0, true), "{ended:?}");
    // Torn by a power cut.
    for length in whole.len() - lines[2].len() + 1..whole.len() {
        fs::write(store.manifest(), &whole[..length]).unwrap();
        let ended = store.verify(&[]);
        assert_eq!((ended.code, ended.stdout.contains("the last line is not whole")), (0, true), "{ended:?}");
    }
    fs::write(store.manifest(), &whole).unwrap();
    store.is_whole();
}
