//! A store over many power cuts: what its files must hold, and which of them have been seen often enough.
use crate::support::checker::{self, Expect, Report};
use crate::support::client::History;
use crate::support::disk::Disk;
use crate::support::framing::Format;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A rotation that the cut undid leaves an empty file.
const CUT: Expect = Expect { max_size: None, empty_files: true, gaps: false };

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

    /// Holds the store against what the clients know, then forgets the oldest round.
    pub fn check(&mut self, disk: &Disk) -> Report {
        self.compare(disk, checker::check)
    }

    /// The same in `stored`: what was echoed after `moment` may be gone. Also returns since when all is gone of a connection
    /// that has lost something.
    pub fn check_what_is_left(&mut self, disk: &Disk, cut: Instant, moment: Instant) -> (Report, Duration) {
        let newest = self.kept.last().map_or(0, |round| round.histories.len());
        let report = self.compare(disk, checker::check_what_is_left);
        let stored = &report.stored[report.stored.len() - newest..];
        let mut longest = Duration::ZERO;
        for (history, stored) in self.kept.last().into_iter().flat_map(|round| &round.histories).zip(stored) {
            let due = history.echoed_until(moment);
            let peer = history.peer;
            assert!(*stored >= due, "{peer}: {due} messages were echoed long before the cut, {stored} are stored");
            let lost = history.echoed_by.iter().find(|(_, count)| count > stored);
            longest = longest.max(lost.map_or(Duration::ZERO, |(at, _)| cut.saturating_duration_since(*at)));
        }
        (report, longest)
    }

    fn compare(&mut self, disk: &Disk, check: fn(&Path, Format, &[History], Expect) -> Report) -> Report {
        let all: Vec<History> = self.kept.iter().flat_map(|round| round.histories.clone()).collect();
        let report = check(disk.place(), Format::Text, &all, CUT);
        // What a cut has left, echoed or not, the next one must leave, too.
        let histories = self.kept.iter_mut().flat_map(|round| &mut round.histories);
        histories.zip(&report.stored).for_each(|(history, stored)| history.echoed = *stored);
        if self.kept.len() > 1 {
            self.kept.remove(0);
        }
        report
    }

    /// Deletes the files of rounds that are forgotten, while no daemon runs, and the manifest with them: it would tell of
    /// their absence. What goes is gone for good: a cut would bring back names whose removal was not synced.
    pub fn clear(&self, disk: &Disk) {
        let first = self.kept[0].first;
        for file in checker::files(disk.place()).iter().filter(|file| file.sequence < first) {
            fs::remove_file(&file.path).unwrap();
            let _ = fs::remove_file(file.path.with_extension("log.torn"));
        }
        let _ = fs::remove_file(disk.place().join("MANIFEST.jsonl"));
        disk.sync_names();
    }
}
