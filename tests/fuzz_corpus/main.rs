//! The fuzz corpus again, with any toolchain: each file through its target, then a few thousand inputs made from them.
//!
//! What libFuzzer finds is kept below `fuzz/corpus/TARGET/`; here it is looked at with every change. The seed of the
//! changed inputs is fixed and printed; `ECHOSTORED_TEST_SEED` gives another.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod seeds;

use echostored::fuzzing::{TARGETS, run};
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::seed::{Chance, count};

/// Inputs that are made for each target, and how long that may take on a slow machine.
const CHANGED: usize = 3000;
const AT_MOST: Duration = Duration::from_millis(600);
const SEED: u64 = 7;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The inputs that are kept for a target, by name.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let place = fuzz().join("corpus").join(target);
    let read = |name: String| {
        let bytes = fs::read(place.join(&name)).unwrap();
        (name, bytes)
    };
    names(&place).into_iter().map(read).collect()
}

/// One input; a finding is told with what gives it again.
fn feed(target: &str, what: &str, data: &[u8]) {
    let fed = catch_unwind(AssertUnwindSafe(|| run(target, data)));
    assert!(fed.is_ok(), "{target}: {what} breaks a promise: {}", data.escape_ascii());
}

#[test]
fn every_target_is_there_and_has_a_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len(), "a name is there twice");
    let files = names(&fuzz().join("fuzz_targets"));
    let stems: BTreeSet<String> = files.iter().map(|file| file.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(stems, targets, "fuzz/fuzz_targets");
    let manifest: toml::Table = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap().parse().unwrap();
    let binaries = manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap().to_owned());
    assert_eq!(binaries.collect::<BTreeSet<_>>(), targets, "fuzz/Cargo.toml");
    assert_eq!(names(&fuzz().join("corpus")), targets, "fuzz/corpus");
    let all: Vec<_> = targets.iter().map(|target| kept(target)).collect();
    for (inputs, target) in all.iter().zip(&targets) {
        assert!(!inputs.is_empty(), "fuzz/corpus/{target} is empty");
    }
    let bytes: usize = all.iter().flatten().map(|(_, bytes)| bytes.len()).sum();
    assert!(all.iter().flatten().count() <= 200 && bytes <= 1 << 20, "the corpus is no longer small: {bytes} bytes");
}

#[test]
fn the_corpus_and_what_is_made_from_it_break_no_promise() {
    let seed = u64::try_from(count("ECHOSTORED_TEST_SEED", usize::try_from(SEED).unwrap())).unwrap();
    println!("ECHOSTORED_TEST_SEED={seed}");
    for (target, _) in TARGETS {
        let inputs = kept(target);
        for (name, data) in &inputs {
            feed(target, name, data);
        }
        let mut chance = Chance::new(seed);
        let end = Instant::now() + AT_MOST;
        let made = (0..CHANGED).take_while(|_| Instant::now() < end).map(|number| {
            let data = changed(&inputs, &mut chance);
            feed(target, &format!("input {number} of seed {seed}"), &data);
        });
        println!("{target}: {} kept, {} made from them", inputs.len(), made.count());
    }
}

/// One of the inputs with some changes: bytes and bits, cuts, repetitions, parts of another one.
fn changed(inputs: &[(String, Vec<u8>)], chance: &mut Chance) -> Vec<u8> {
    /// What decoders look for, and what numbers turn over at.
    const WORDS: [&[u8]; 12] = [
        b"\n",
        b"\r\n",
        b"\0",
        b" ",
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"18446744073709551615",
        b"4294967296",
        b"\xff\xff\xff\xff",
        b"\xe2\x80\xae",
    ];
    let pick = |chance: &mut Chance| &inputs[usize::try_from(chance.below(inputs.len() as u64)).unwrap()].1;
    let mut data = pick(chance).clone();
    for _ in 0..=chance.below(4) {
        let at = usize::try_from(chance.below(data.len() as u64 + 1)).unwrap();
        let length = usize::try_from(chance.below(16)).unwrap().min(data.len() - at);
        match chance.below(7) {
            0 => data.truncate(at),
            1 => drop(data.drain(at..at + length)),
            2 => drop(data.splice(at..at, WORDS[usize::try_from(chance.below(12)).unwrap()].iter().copied())),
            3 => data.extend_from_within(at..at + length),
            4 => {
                let other = pick(chance);
                let from = usize::try_from(chance.below(other.len() as u64 + 1)).unwrap();
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            _ if at < data.len() => data[at] ^= 1 << chance.below(8),
            _ => data.push(u8::try_from(chance.below(256)).unwrap()),
        }
    }
    data.truncate(1 << 14);
    data
}
