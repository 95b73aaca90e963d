//! One bit of a file is flipped: nothing panics, and no other record is harmed.
//!
//! All bits of 16 KiB (`ECHOSTORED_TEST_FLIPPED_KIB`), each record between its neighbours; a seeded part of 64 KiB in the whole file;
//! `ECHOSTORED_TEST_EVERY_BIT=1` takes all 524,288 of them (some 40 minutes of processor time in a release build).
use super::super::support::framing::Format;
use super::super::support::seed::{Chance, count, seed};
use super::{Bench, Killed, LENGTH, in_parallel, sample};
use echostored::store::reader::Listing;
use echostored::tools::{cat, verify};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A bit: of which byte of which line.
#[derive(Clone, Copy, Debug)]
struct Bit {
    line: usize,
    byte: usize,
    bit: u32,
}

/// What a flip did to a file.
struct Flipped {
    bytes: Vec<u8>,
    /// The bytes before the lines that it may change, and behind them.
    before: usize,
    after: usize,
    /// Whether lines were joined or split.
    reshaped: bool,
}

fn flip(lines: &[&[u8]], at: Bit) -> Flipped {
    let before: usize = lines[..at.line].iter().map(|line| line.len()).sum();
    let mut bytes = lines.concat();
    let byte = &mut bytes[before + at.byte];
    let was_feed = *byte == b'\n';
    *byte ^= 1 << at.bit;
    let is_feed = *byte == b'\n';
    // Without its line feed, a line goes on in the next one.
    let changed = &lines[at.line..lines.len().min(at.line + if was_feed { 2 } else { 1 })];
    let after = before + changed.concat().len();
    Flipped { bytes, before, after, reshaped: was_feed || is_feed }
}

/// Every part of `whole` that leaves out some of its lines.
fn is_some_lines_of(part: &[u8], whole: &[u8]) -> bool {
    let mut rest = part;
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        rest = rest.strip_prefix(line).unwrap_or(rest);
    }
    rest.is_empty()
}

/// Flips, reads and repairs; whether `verify` saw it.
fn is_seen(bench: &Bench, lines: &[&[u8]], at: Bit) -> bool {
    let Flipped { bytes, before, after, reshaped } = flip(lines, at);
    fs::write(bench.segment(), &bytes).unwrap();

    let (mut report, listing) = (Vec::new(), Listing::new(bench.place.path()).unwrap());
    let summary = verify::check(&listing, &mut report).unwrap();
    let report = String::from_utf8(report).unwrap();
    let lost = summary.records.abs_diff(lines.len() as u64);
    assert!(lost <= 1 || (reshaped && lost <= 2), "{at:?}: {lost} records more or less:\n{report}");
    for problem in report.lines().filter(|line| line.starts_with("messages-")) {
        let line: usize = problem.split(':').nth(1).and_then(|number| number.parse().ok()).expect("FILE:LINE:BYTE");
        let near = (at.line + 1..=at.line + 2).contains(&line);
        // A number that is missing shows where its connection goes on.
        assert!(near || problem.contains(": connection "), "{at:?}: {problem}");
    }

    let (mut printed, mut complaints) = (Vec::new(), Vec::new());
    cat::copy(bench.place.path(), None, &mut printed, &mut complaints).unwrap();
    let middle = printed.strip_prefix(&bytes[..before]).and_then(|rest| rest.strip_suffix(&bytes[after..]));
    let middle = middle.unwrap_or_else(|| panic!("{at:?}: cat left out, or changed, another record"));
    assert!(is_some_lines_of(middle, &bytes[before..after]), "{at:?}: cat printed {}", middle.escape_ascii());

    let torn = bench.repair();
    let (kept, aside) = (fs::read(bench.segment()).unwrap(), torn.map(|torn| bench.place.path().join(torn.aside)));
    let saved = aside.as_ref().map(|path| fs::read(path).unwrap()).unwrap_or_default();
    assert!([&kept[..], &saved].concat() == bytes, "{at:?}: bytes are lost or changed by the repair");
    assert!(kept.len() >= before && (after == bytes.len() || saved.is_empty()), "{at:?}: another record is aside");
    if let Some(path) = aside {
        fs::remove_file(path).unwrap();
    }
    summary.problems > 0
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

fn bits_of(line: usize, bytes: &[u8]) -> impl Iterator<Item = Bit> {
    (0..bytes.len()).flat_map(move |byte| (0..8).map(move |bit| Bit { line, byte, bit }))
}

fn tell(what: &str, all: usize, seen: &AtomicUsize) {
    let seen = seen.load(Relaxed);
    println!("{what}: {all} flips, {seen} seen by verify ({} %)", seen * 100 / all);
}

/// Each record between its neighbours.
fn every_bit(format: Format, length: usize) {
    let killed = Killed::new(format, length);
    let (mut lines, seen, all) = (lines(killed.bytes()), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut taken = 0;
    lines.retain(|line| {
        taken += line.len();
        taken - line.len() < length
    });
    let places: Vec<usize> = (0..lines.len()).collect();
    in_parallel(&killed, &places, |bench, &place| {
        let first = place.saturating_sub(1);
        let window = &lines[first..lines.len().min(place + 2)];
        for bit in bits_of(place - first, lines[place]) {
            seen.fetch_add(usize::from(is_seen(bench, window, bit)), Relaxed);
            all.fetch_add(1, Relaxed);
        }
    });
    let all = all.into_inner();
    assert!(all >= length * 8);
    tell(&format!("{format:?}, {length} bytes"), all, &seen);
}

#[test]
fn every_bit_of_16_kib_of_text() {
    every_bit(Format::Text, count("ECHOSTORED_TEST_FLIPPED_KIB", 16) << 10);
}

#[test]
fn every_bit_of_2_kib_of_jsonl_and_raw() {
    every_bit(Format::Jsonl, LENGTH / 32);
    every_bit(Format::Raw, LENGTH / 32);
}

#[test]
fn bits_of_a_whole_file_of_64_kib() {
    let killed = Killed::new(Format::Text, LENGTH);
    let (lines, seen) = (lines(killed.bytes()), AtomicUsize::new(0));
    let mut bits: Vec<Bit> = lines.iter().enumerate().flat_map(|(line, bytes)| bits_of(line, bytes)).collect();
    assert!(bits.len() >= LENGTH * 8);
    if std::env::var_os("ECHOSTORED_TEST_EVERY_BIT").is_none() {
        let mut chance = Chance::new(seed());
        let some = sample(&mut chance, count("ECHOSTORED_TEST_BITS", 300), bits.len());
        bits = some.into_iter().map(|index| bits[index]).collect();
    }
    in_parallel(&killed, &bits, |bench, &bit| {
        seen.fetch_add(usize::from(is_seen(bench, &lines, bit)), Relaxed);
    });
    tell("Text, the whole file", bits.len(), &seen);
}
