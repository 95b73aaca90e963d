//! Power cuts: the file system's shutdown ioctl under load (nothing more reaches the image, not even the journal), `kill -9`
//! of everything, a fresh mount, which replays the journal, and a new start on what is left.
//!
//! The clients' histories are outside. They go on after the cut: an echo that comes then counts as echoed.
//!
//! What the ioctl is not: an `fdatasync` that is under way in its moment may return 0 and have stored nothing (seen on ext4
//! and xfs, Linux 6.18, with a program of 30 lines, 5 times in 120). After a power cut nobody hears such an answer; so the
//! writer is stopped by then, in the midst of its sync or not.
//! `ECHOSTORED_TEST_CUTS` raises (or lowers) the number of cuts.
use crate::support::checker::{self, Expect};
use crate::support::client::History;
use crate::support::daemon::{Daemon, Setup};
use crate::support::disk::{Disk, Make};
use crate::support::framing::Format;
use crate::support::harm;
use crate::support::home::Home;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::seed::{Chance, count, seed};
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

/// From a rotation with almost each batch to none.
const SIZES: [&str; 4] = ["8KiB", "64KiB", "512KiB", "64MiB"];
/// A rotation that the cut undid leaves an empty file.
const CUT: Expect = Expect { max_size: None, empty_files: true };

/// What a run has seen.
#[derive(Debug, Default)]
struct Seen {
    cuts: usize,
    /// Cuts in the midst of a start.
    in_start: usize,
    /// Cuts that left a rotation half done.
    in_rotation: usize,
    /// Cuts that took messages which were sent and not echoed.
    took: usize,
    torn: usize,
    echoed: usize,
    stored: usize,
}

/// The records of one round begin with this segment.
struct Round {
    first: u64,
    histories: Vec<History>,
}

struct Rig {
    disk: Disk,
    daemon: Daemon,
    chance: Chance,
    /// The last rounds, whose files are still there: a cut must not harm what was stored before it either.
    rounds: Vec<Round>,
    seen: Seen,
}

impl Rig {
    fn new(make: Make, echo: &str) -> Option<Self> {
        let home = Home::new();
        let disk = Disk::store(&home, make)?;
        let daemon = Setup::default().set("server.echo", echo).start_in(home);
        Some(Self { disk, daemon, chance: Chance::new(seed()), rounds: Vec::new(), seen: Seen::default() })
    }

    fn some_time(&mut self, most: u64) {
        std::thread::sleep(Duration::from_micros(self.chance.below(most)));
    }

    fn cut_under_load(&mut self) {
        let first = checker::files(self.disk.place()).last().expect("a live file").sequence;
        let load = Load::start(self.daemon.address, Shape { on_break: OnBreak::Leave, ..Shape::default() });
        let writer = self.daemon.writer();
        // The moment is the fault.
        self.some_time(100_000);
        processes::signal(writer, Signal::SIGSTOP);
        if self.chance.below(2) == 0 {
            // A system call under way is cut in its midst. It goes on in the kernel, its answer reaches nobody.
            self.disk.cut();
        } else {
            // Between two system calls. The writer goes on in the void, and what is echoed there counts.
            wait_until(DEADLINE, "the writer stands still", || processes::stopped(writer));
            self.disk.cut();
            processes::signal(writer, Signal::SIGCONT);
        }
        self.some_time(20_000);
        self.daemon.kill_all();
        let histories = load.finish();
        self.rounds.push(Round { first, histories });
        self.disk.unmount();
        self.disk.mount();
        self.seen.cuts += 1;
    }

    /// The start after a cut is cut too, and after that it must do.
    fn cut_in_start(&mut self) {
        let moment = Duration::from_micros(self.chance.below(40_000));
        let disk = &self.disk;
        let daemon = &mut self.daemon;
        let started = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(moment);
                disk.cut();
            });
            daemon.launch()
        });
        match started {
            Ok(()) => self.daemon.kill_all(),
            Err(code) => assert!(code == 74 || code == 1, "a start on a dead disk ended with {code}"),
        }
        self.disk.unmount();
        self.disk.mount();
        self.seen.cuts += 1;
        self.seen.in_start += 1;
    }

    /// Starts again and compares the store with what the clients know.
    fn start_and_check(&mut self) {
        let before = checker::files(self.disk.place());
        let newest = before.last().expect("the cut left no file");
        let current = fs::metadata(self.disk.place().join("current")).expect("the cut left no current");
        let half = newest.size == 0 || std::os::unix::fs::MetadataExt::ino(&current) != newest.inode;
        self.seen.in_rotation += usize::from(half);
        let size = SIZES[usize::try_from(self.chance.below(SIZES.len() as u64)).unwrap()];
        self.daemon.reconfigure(|setup| setup.set("rotate.max-size", size));
        let torn = self.daemon.log().matches("are no whole record").count();
        self.daemon.start_again();
        self.seen.torn += self.daemon.log().matches("are no whole record").count() - torn;
        harm::verify(&self.daemon);
        let all: Vec<History> = self.rounds.iter().flat_map(|round| round.histories.clone()).collect();
        let report = checker::check(self.disk.place(), Format::Text, &all, CUT);
        self.tally(report.records);
        self.forget_the_oldest();
    }

    fn tally(&mut self, records: usize) {
        let sum = |part: fn(&History) -> usize, rounds: &[Round]| -> usize {
            rounds.iter().flat_map(|round| &round.histories).map(part).sum()
        };
        let newest = &self.rounds[self.rounds.len() - 1..];
        let (sent, echoed) = (sum(|history| history.sent, newest), sum(|history| history.echoed, newest));
        self.seen.took += usize::from(sum(|history| history.sent, &self.rounds) > records);
        assert!(echoed > 0 && sent >= echoed, "no load");
        self.seen.echoed += echoed;
        self.seen.stored = self.seen.stored.max(records);
    }

    /// Two rounds stay. What goes is gone for good: a cut would bring back names whose removal was not synced.
    fn forget_the_oldest(&mut self) {
        if self.rounds.len() < 2 {
            return;
        }
        self.rounds.remove(0);
        let first = self.rounds[0].first;
        for file in checker::files(self.disk.place()).iter().filter(|file| file.sequence < first) {
            fs::remove_file(&file.path).unwrap();
            let _ = fs::remove_file(file.path.with_extension("log.torn"));
        }
        self.disk.sync_names();
    }
}

fn cuts(make: Make, usual: usize) {
    let wanted = count("ECHOSTORED_TEST_CUTS", usual);
    let Some(mut rig) = Rig::new(make, "synced") else { return };
    while rig.seen.cuts < wanted {
        rig.cut_under_load();
        // Every fourth start is cut as well, some of them twice.
        while rig.chance.below(4) == 0 {
            rig.cut_in_start();
        }
        rig.start_and_check();
    }
    println!("seed {}, {}, echo synced: {:?}", seed(), make.kind, rig.seen);
    let Seen { cuts, in_start, in_rotation, took, .. } = rig.seen;
    if cuts >= 50 {
        assert!(in_start > 0 && in_rotation > 0 && took > 0, "the cuts hit nothing: {:?}", rig.seen);
    }
    rig.daemon.stop();
}

#[test]
fn cuts_on_ext4_lose_nothing_that_synced_echoed() {
    cuts(Make::EXT4, 110);
}

#[test]
fn cuts_on_xfs_lose_nothing_that_synced_echoed() {
    cuts(Make::XFS, 110);
}
