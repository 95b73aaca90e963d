//! What may stand behind the last acknowledged record after a power cut, or a write that was never finished: it is set
//! aside as it is, nothing acknowledged is lost, and a repair may be killed and done again.
use super::super::support::framing::Format;
use super::super::support::seed::{Chance, seed};
use super::{Bench, Killed, LENGTH, in_parallel, record_ends, sample};
use std::fs;

/// A kind of tail, and its bytes at the length that is asked for.
type Tail = fn(&mut Chance, &[u8], usize) -> Vec<u8>;

const TAILS: [(&str, Tail); 6] = [
    ("zeros", |_, _, length| vec![0; length]),
    ("garbage without a newline", |chance, _, length| {
        let mut bytes = random(chance, length);
        bytes.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'~');
        bytes
    }),
    ("garbage with newlines", |chance, _, length| {
        let mut bytes = random(chance, length);
        bytes.iter_mut().filter(|byte| **byte < 8).for_each(|byte| *byte = b'\n');
        bytes
    }),
    ("newlines", |_, _, length| vec![b'\n'; length]),
    // As a file system may show them that gives out blocks before they are written: they begin and end anywhere.
    ("an older file's bytes", |chance, old, length| {
        let from = usize::try_from(chance.below(old.len() as u64)).unwrap();
        old[from..].iter().chain(old.iter().cycle()).take(length).copied().collect()
    }),
    ("half a record of another connection", |_, _, length| {
        let head = b"2026-11-22T08:42:00.123456Z 10.9.8.7:53210 00FFFF0001-17 ".iter();
        head.copied().chain(std::iter::repeat(b'x')).take(length).collect()
    }),
];

const LENGTHS: [usize; 9] = [1, 3, 100, 511, 512, 513, 4096, 65_537, 131_072];

fn random(chance: &mut Chance, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    chance.fill(&mut bytes);
    bytes
}

/// Cuts at a record's end and inside records, in the middle of a character and of an escape among them.
fn cuts(bytes: &[u8], ends: &[usize], chance: &mut Chance) -> Vec<usize> {
    let middle = |of: &[u8]| bytes.windows(of.len()).rposition(|window| window == of).expect("people wrote it") + 1;
    let some = (0..3).map(|_| usize::try_from(chance.below(bytes.len() as u64)).unwrap());
    let mut cuts: Vec<usize> = some.collect();
    cuts.extend([
        0,
        ends[ends.len() - 2],
        bytes.len(),
        bytes.len() - 1,
        middle("ü".as_bytes()),
        middle("🦀".as_bytes()),
    ]);
    cuts.extend([middle(b"\\t"), middle(b"\\x1b"), middle(b"\\x1b") + 2]);
    cuts
}

/// The same through a repair that is killed at each of its steps, which leaves this behind, and begun again.
fn check_killed(bench: &Bench, bytes: &[u8], whole: usize, place: &str) {
    let (tail, torn) = (&bytes[whole..], bench.torn());
    if tail.is_empty() {
        return;
    }
    let half = torn.with_extension("torn.new");
    let leave = |copy: Option<&[u8]>, aside: Option<&[u8]>| {
        copy.into_iter().for_each(|bytes| fs::write(&half, bytes).unwrap());
        aside.into_iter().for_each(|bytes| fs::write(&torn, bytes).unwrap());
        bench.check(bytes, whole, place);
        assert!(!half.exists(), "{place}");
    };
    leave(Some(&tail[..tail.len() / 2]), None);
    leave(Some(tail), None);
    leave(None, Some(tail));
}

#[test]
fn every_tail_is_set_aside_and_again_after_a_kill() {
    let killed = Killed::new(Format::Text, LENGTH / 4);
    let (bytes, ends) = (killed.bytes(), record_ends(Format::Text, killed.bytes()));
    let old = Killed::new(Format::Text, LENGTH / 4);
    let mut chance = Chance::new(seed());
    let mut cases = Vec::new();
    for (kind, tail) in TAILS {
        for length in LENGTHS {
            let cuts = cuts(bytes, &ends, &mut chance);
            for cut in sample(&mut chance, if length < 5000 { 3 } else { 1 }, cuts.len())
                .into_iter()
                .map(|index| cuts[index])
                .chain([bytes.len()])
            {
                let tail = tail(&mut chance, old.bytes(), length);
                cases.push((
                    format!("{kind}, {length} bytes, behind byte {cut}"),
                    cut,
                    [&bytes[..cut], &tail].concat(),
                ));
            }
        }
    }
    in_parallel(&killed, &cases, |bench, (place, cut, bytes)| {
        let acknowledged = ends.iter().rev().copied().find(|end| end <= cut).unwrap_or(0);
        let last = record_ends(Format::Text, bytes).last().copied().unwrap_or(0);
        let whole = bench.whole_of(bytes);
        // Half a record and a piece of an old one may make a line that only the daemon's grammar, the stricter one, refuses.
        let exact = whole == last || place.starts_with("an older file's bytes");
        assert!(exact && (acknowledged..=last).contains(&whole), "{place}: {whole} of {acknowledged} to {last} bytes");
        bench.check(bytes, whole, place);
        check_killed(bench, bytes, whole, place);
    });
    println!("{} tails", cases.len());
}
