//! A store over many power cuts: what its files must hold, and which of them have been seen often enough.
use crate::support::checker::{self, Expect, Report};
use crate::support::client::History;
use crate::support::disk::Disk;
use crate::support::framing::Format;
use std::fs;

/// A rotation that the cut undid leaves an empty file.
const CUT: Expect = Expect { max_size: None, empty_files: true };

/// The records of one round begin with segment `first`.
struct Round {
    first: u64,
    histories: Vec<History>,
}

/// The last two rounds: a cut must not harm what was stored before it either.
#[derive(Default)]
pub struct Rounds {
    kept: Vec<Round>,
}

impl Rounds {
    pub fn add(&mut self, first: u64, histories: Vec<History>) {
        self.kept.push(Round { first, histories });
    }

    /// The newest segment: no record of a round that begins now stands before it.
    pub fn newest(disk: &Disk) -> u64 {
        checker::files(disk.place()).last().map_or(0, |file| file.sequence)
    }

    /// Holds the store against what the clients know, then forgets the oldest round with its files.
    pub fn check(&mut self, disk: &Disk) -> Report {
        let all: Vec<History> = self.kept.iter().flat_map(|round| round.histories.clone()).collect();
        let report = checker::check(disk.place(), Format::Text, &all, CUT);
        self.forget_the_oldest(disk);
        report
    }

    /// What goes is gone for good: a cut would bring back names whose removal was not synced.
    fn forget_the_oldest(&mut self, disk: &Disk) {
        if self.kept.len() < 2 {
            return;
        }
        self.kept.remove(0);
        let first = self.kept[0].first;
        for file in checker::files(disk.place()).iter().filter(|file| file.sequence < first) {
            fs::remove_file(&file.path).unwrap();
            let _ = fs::remove_file(file.path.with_extension("log.torn"));
        }
        disk.sync_names();
    }
}
