//! Power cuts: the file system's shutdown ioctl under load (nothing more reaches the image, not even the journal), `kill -9`
//! of everything, a fresh mount, which replays the journal, and a new start on what is left.
//!
//! The clients' histories are outside. They go on after the cut: an echo that comes then counts as echoed.
//!
//! What the ioctl is not: an `fdatasync` that is under way in its moment may return 0 and have stored nothing (seen on ext4
//! and xfs, Linux 6.18, with a program of 30 lines, 5 times in 120). After a power cut nobody hears such an answer; so the
//! writer is stopped by then, in the midst of its sync or not.
//! `ECHOSTORED_TEST_CUTS` raises (or lowers) the number of cuts.
use crate::support::checker::{self, Report};
use crate::support::client::History;
use crate::support::daemon::{Daemon, Setup};
use crate::support::disk::{Disk, Make};
use crate::support::harm;
use crate::support::home::Home;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::seed::{Chance, count, seed};
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use rounds::Rounds;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

mod rounds;
mod uml;

/// From a rotation with almost each batch to none.
const SIZES: [&str; 4] = ["8KiB", "64KiB", "512KiB", "64MiB"];
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
    /// Records compared, each in two rounds.
    checked: usize,
}

struct Rig {
    disk: Disk,
    daemon: Daemon,
    shape: Shape,
    chance: Chance,
    rounds: Rounds,
    /// When the load of the last round began.
    began: Instant,
    /// Messages sent and echoed in the last round.
    last: (usize, usize),
    seen: Seen,
}

impl Rig {
    fn new(make: Make, setup: Setup, shape: Shape) -> Option<Self> {
        let home = Home::new();
        let disk = Disk::store(&home, make)?;
        let daemon = setup.start_in(home);
        let (chance, rounds) = (Chance::new(seed()), Rounds::default());
        let shape = Shape { on_break: OnBreak::Leave, ..shape };
        Some(Self { disk, daemon, shape, chance, rounds, began: Instant::now(), last: (0, 0), seen: Seen::default() })
    }

    /// How often the daemon has said that a sync takes long.
    fn slow_syncs(&self) -> usize {
        self.daemon.log().matches("a sync is not done after").count()
    }

    /// Cuts the power once there has been load for `least`, and a while more; when.
    fn cut_under_load(&mut self, least: Duration) -> Instant {
        let first = Rounds::newest(&self.disk);
        self.began = Instant::now();
        let load = Load::start(self.daemon.address, self.shape);
        let writer = self.daemon.writer();
        // The moment is the fault.
        std::thread::sleep(least);
        harm::some_time(&mut self.chance, Duration::from_millis(100));
        let moment = Instant::now();
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
        harm::some_time(&mut self.chance, Duration::from_millis(20));
        self.daemon.kill_all();
        let histories = load.finish();
        let sum = |part: fn(&History) -> usize| histories.iter().map(part).sum();
        self.last = (sum(|history| history.sent), sum(|history| history.echoed));
        self.rounds.add(first, histories);
        self.disk.unmount();
        self.disk.mount();
        self.rounds.clear(&self.disk);
        self.seen.cuts += 1;
        let files = checker::files(self.disk.place());
        let newest = files.last().expect("the cut left no file");
        let current = fs::metadata(self.disk.place().join("current")).expect("the cut left no current");
        self.seen.in_rotation += usize::from(newest.size == 0 || current.ino() != newest.inode);
        moment
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

    /// Starts again on what is left; `verify` finds nothing wrong with it.
    fn start(&mut self) {
        let size = SIZES[usize::try_from(self.chance.below(SIZES.len() as u64)).unwrap()];
        self.daemon.reconfigure(|setup| setup.set("rotate.max-size", size));
        let torn = self.daemon.log().matches("are no whole record").count();
        self.daemon.start_again();
        self.seen.torn += self.daemon.log().matches("are no whole record").count() - torn;
        harm::verify(&self.daemon);
    }

    fn note(&mut self, report: &Report) {
        let (sent, echoed) = self.last;
        assert!(echoed > 0, "no load");
        self.seen.took += usize::from(sent > echoed);
        self.seen.echoed += echoed;
        self.seen.checked += report.records;
    }
}

fn synced(make: Make, usual: usize) {
    let wanted = count("ECHOSTORED_TEST_CUTS", usual);
    let Some(mut rig) = Rig::new(make, Setup::default().set("server.echo", "synced"), Shape::default()) else { return };
    while rig.seen.cuts < wanted {
        rig.cut_under_load(Duration::ZERO);
        // Every fourth start is cut as well, some of them twice.
        while rig.chance.below(4) == 0 {
            rig.cut_in_start();
        }
        rig.start();
        let report = rig.rounds.check(&rig.disk);
        rig.note(&report);
    }
    println!("seed {}, {}, echo synced, 0 violations: {:?}", seed(), make.kind, rig.seen);
    let Seen { cuts, in_start, in_rotation, took, .. } = rig.seen;
    if cuts >= 50 {
        assert!(in_start > 0 && in_rotation > 0 && took > 0, "the cuts hit nothing: {:?}", rig.seen);
    }
    rig.daemon.stop();
}

/// In `stored` a cut may take what came after the last sync, and nothing before.
fn stored(make: Make, usual: usize) {
    const INTERVAL: Duration = Duration::from_millis(50);
    // The interval and the syncs that wait in line: one, and of closed segments up to four. A busy disk takes 100 ms for one.
    const BOUND: Duration = Duration::from_secs(3);
    let wanted = count("ECHOSTORED_TEST_CUTS", usual);
    let shape = Shape { window: 4, rest: Duration::from_millis(2), ..Shape::default() };
    let setup = Setup::default().set("server.echo", "stored").set("store.sync-interval", "50ms");
    let Some(mut rig) = Rig::new(make, setup, shape) else { return };
    let (mut longest, mut took) = (Duration::ZERO, 0);
    let mut slow = 0;
    while rig.seen.cuts < wanted + slow {
        let told = rig.slow_syncs();
        let cut = rig.cut_under_load(BOUND + INTERVAL);
        // A disk that takes a second for one sync puts off what comes after it. The daemon says so; then no time is promised.
        let is_slow = rig.slow_syncs() > told;
        slow += usize::from(is_slow);
        assert!(slow <= wanted, "the disk is too slow to show anything: {:?}", rig.seen);
        rig.start();
        let since = if is_slow { rig.began } else { cut - BOUND };
        let (report, lost) = rig.rounds.check_what_is_left(&rig.disk, cut, since);
        if !is_slow {
            took += usize::from(!lost.is_zero());
            longest = longest.max(lost);
        }
        rig.note(&report);
    }
    println!(
        "seed {}, {}, echo stored, {INTERVAL:?} between syncs: {took} cuts took echoed messages, of {longest:?} at most; \
         {slow} came while a sync was slow; {:?}",
        seed(),
        make.kind,
        rig.seen
    );
    assert!(took > 0, "no cut took anything: nothing is shown");
    rig.daemon.stop();
}

#[test]
fn cuts_on_ext4_lose_nothing_that_synced_echoed() {
    synced(Make::EXT4, 60);
}

#[test]
fn cuts_on_xfs_lose_nothing_that_synced_echoed() {
    synced(Make::XFS, 60);
}

#[test]
fn cuts_on_ext4_take_only_the_end_of_what_stored_echoed() {
    stored(Make::EXT4, 6);
}

#[test]
fn cuts_on_xfs_take_only_the_end_of_what_stored_echoed() {
    stored(Make::XFS, 6);
}
