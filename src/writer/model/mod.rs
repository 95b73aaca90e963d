//! A model of the writer and all it lives with, played through millions of histories with kills at any step.
//!
//! Its decisions are the writer's own ([`rules::Real`]); its deeds are done on a world in memory: pipes, staging areas,
//! the commit record (the real one), a disk that tells written from durable, workers, a supervisor that replaces who
//! died. Every history ends in calm, and then what is stored must be what was sent: nothing acknowledged is lost, nothing
//! is doubled or out of order, nothing is stuck.
//!
//! `ECHOSTORED_TEST_HISTORIES` raises the number of histories; `ECHOSTORED_TEST_SEED` plays from a given one.
mod birth;
mod chance;
mod client;
mod disk;
mod history;
mod moving;
mod mutants;
mod rules;
mod world;
mod writer;

use crate::ipc::commit::CommitRecord;
use crate::sys::AsFd;
use history::play;
use rules::{Real, Rules};
use std::fmt::Write;
use world::Tally;

/// Within so many histories each mutant is caught.
const MUTANT_HISTORIES: u64 = 20_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Plays `count` histories from `seed` on, up to the first that breaks a promise: its seed and what went wrong.
fn play_many(seed: u64, count: u64, rules: &dyn Rules) -> (Tally, Option<(u64, String)>) {
    let memory = CommitRecord::memory().unwrap();
    let record = CommitRecord::map(memory.as_fd()).unwrap();
    let mut tally = Tally::default();
    for seed in (0..count).map(|more| seed.wrapping_add(more)) {
        let outcome = play(seed, rules, &record, false);
        tally.add(&outcome.tally);
        if let Some(why) = outcome.broken {
            return (tally, Some((seed, why)));
        }
    }
    (tally, None)
}

/// The history of a seed, told.
fn told(seed: u64, rules: &dyn Rules) -> String {
    let memory = CommitRecord::memory().unwrap();
    let record = CommitRecord::map(memory.as_fd()).unwrap();
    let outcome = play(seed, rules, &record, true);
    outcome.log.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

#[test]
fn no_history_breaks_a_promise() {
    let seed = number("ECHOSTORED_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 32);
    let count = number("ECHOSTORED_TEST_HISTORIES").unwrap_or(12_000);
    let begun = std::time::Instant::now();
    let (tally, broken) = play_many(seed, count, &Real);
    if let Some((seed, why)) = broken {
        let again = format!("ECHOSTORED_TEST_SEED={seed} ECHOSTORED_TEST_HISTORIES=1 cargo test --lib writer::model");
        panic!("{}{why}\n{again}", told(seed, &Real));
    }
    let rate = tally.histories as f64 / begun.elapsed().as_secs_f64();
    println!("{tally:?}\n{} kills of the writer, {rate:.0} histories a second", tally.writer_kills());
    assert_eq!(tally.histories, count);
    if count >= 10_000 {
        let rare = [tally.workers_killed, tally.all_killed, tally.power_cuts, tally.replays, tally.adopted, tally.left];
        assert!(tally.writer_kills() > count && rare.iter().all(|seen| *seen > 20), "too little has happened");
        let missed = tally.kills.iter().filter(|kills| **kills == 0).count();
        // Recovery's copy is a step of the rare histories that are torn at their end.
        assert!(missed <= 2, "{missed} places where the writer was never killed");
    }
}

/// The model can fail: a writer that is wrong in one decision does not live through it.
#[test]
fn every_mutant_is_caught() {
    let survivors: Vec<&str> =
        mutants::ALL.iter().filter(|(name, rules)| survives(name, *rules)).map(|(name, _)| *name).collect();
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}

/// Plays at most `MUTANT_HISTORIES`, always the same.
fn survives(name: &str, rules: &dyn Rules) -> bool {
    let (tally, broken) = play_many(1, MUTANT_HISTORIES, rules);
    match &broken {
        Some((_, why)) => println!("{name}: caught in history {}: {:.60}", tally.histories, why),
        None => println!("{name}: not caught in {}", tally.histories),
    }
    broken.is_none()
}
