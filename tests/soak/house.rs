//! One daemon under load, and what it has to bear.
use super::fault::Fault;
use super::watch::{ROLES, Watch};
use crate::support::checker::{self, Expect};
use crate::support::daemon::{Daemon, Setup};
use crate::support::framing::Format;
use crate::support::harm::verify;
use crate::support::home::{Home, user};
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::seed::{Chance, seed};
use crate::support::{DEADLINE, processes, skip, wait_until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A round's length: what the clients know is kept in memory until its end.
const ROUND: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_secs(3);
const WORKERS: usize = 2;
const TMPFS: &str = "size=256m,mode=0750,uid=65534,gid=65534";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Calm,
    Roles,
    Everything,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Calm, Self::Roles, Self::Everything];

    fn echo(self) -> &'static str {
        match self {
            Self::Calm => "received",
            Self::Roles => "synced",
            Self::Everything => "stored",
        }
    }

    /// The roles whose processes live as long as the house.
    fn lives_on(self) -> &'static [&'static str] {
        match self {
            Self::Calm => &ROLES,
            Self::Roles => &["supervisor"],
            Self::Everything => &[],
        }
    }
}

pub struct House {
    kind: Kind,
    daemon: Daemon,
    disk: Option<Tmpfs>,
    chance: Chance,
    end: Instant,
    round: Duration,
    /// The longest time from one fault to the next.
    pause: Duration,
    /// By role: descriptors when the first round had settled.
    descriptors: BTreeMap<&'static str, usize>,
    report: Report,
}

/// What has happened, and what it has shown.
pub struct Report {
    kind: Kind,
    /// How often, and the longest time from its end until more was echoed than could be under way.
    faults: BTreeMap<Fault, (usize, Duration)>,
    rounds: usize,
    connections: usize,
    sent: usize,
    echoed: usize,
    stored: usize,
    watch: Watch,
    /// By role: in the first settled round, and the most in any.
    descriptors: BTreeMap<&'static str, (usize, usize)>,
}

/// The store's file system, of which the disk can be filled.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(home: &Home) -> Option<Self> {
        if user().is_none() {
            skip("a full disk: mounting a tmpfs needs root");
            return None;
        }
        let store = home.make_dir("store");
        mount(Some("tmpfs"), &store, Some("tmpfs"), MsFlags::empty(), Some(TMPFS)).unwrap();
        Some(Self(store))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

impl House {
    pub fn open(kind: Kind, span: Duration) -> Self {
        let home = Home::new();
        let disk = if kind == Kind::Roles { Tmpfs::mount(&home) } else { None };
        let setup = Setup::default().set("server.workers", i64::try_from(WORKERS).unwrap());
        let daemon = setup.set("server.echo", kind.echo()).set("rotate.max-size", "1MiB").start_in(home);
        let report = Report {
            kind,
            faults: BTreeMap::new(),
            rounds: 0,
            connections: 0,
            sent: 0,
            echoed: 0,
            stored: 0,
            watch: Watch::new(span),
            descriptors: BTreeMap::new(),
        };
        let (end, round, pause) = (Instant::now() + span, ROUND.min(span / 4), PAUSE.min(span / 20));
        // Each house has its own course of things.
        let chance = Chance::new(seed() ^ kind as u64);
        Self { kind, daemon, disk, chance, end, round, pause, descriptors: BTreeMap::new(), report }
    }

    /// Lives to its end, or until another house has failed.
    pub fn live(mut self, stop: impl Fn() -> bool) -> Report {
        while Instant::now() < self.end && !stop() {
            let on_break = if self.kind == Kind::Calm { OnBreak::Fail } else { OnBreak::Reconnect };
            let (messages_a_connection, rest) = (Some(400), Duration::from_millis(2));
            let shape = Shape { connections: 6, on_break, messages_a_connection, rest, ..Shape::default() };
            let load = Load::start(self.daemon.address, shape);
            let until = self.end.min(Instant::now() + self.round);
            while Instant::now() < until && !stop() {
                let pause = self.pause.mul_f64(self.chance.below(1_000) as f64 / 1_000.0);
                watched(&mut self.report.watch, &self.daemon, pause);
                self.strike(&load, (shape.connections * shape.window) as u64 + 1);
            }
            self.settle(load);
            println!("{:?}: round {}, {} messages stored", self.kind, self.report.rounds, self.report.stored);
        }
        self.daemon.stop();
        self.report
    }

    fn strike(&mut self, load: &Load, beyond: u64) {
        let fault = Fault::some(self.kind, self.disk.is_some(), &mut self.chance);
        let watch = &mut self.report.watch;
        let end = fault.strike(&mut self.daemon, &mut self.chance, |daemon, span| watched(watch, daemon, span));
        load.progress(beyond);
        let (count, longest) = self.report.faults.entry(fault).or_default();
        *count += 1;
        *longest = end.elapsed().max(*longest);
    }

    /// Everybody is answered, the store is whole, and nothing is left over.
    fn settle(&mut self, load: Load) {
        let histories = load.finish();
        let daemon = &self.daemon;
        wait_until(DEADLINE, "the processes that it began with", || {
            daemon.roles("writer").len() == 1
                && daemon.workers().len() == WORKERS
                && processes::family(daemon.supervisor()).len() == WORKERS + 3
        });
        self.report.watch.look(daemon);
        daemon.signal(Signal::SIGUSR1);
        wait_until(DEADLINE, "an empty live file", || {
            checker::files(&daemon.store()).last().is_some_and(|file| file.size == 0)
        });
        verify(daemon);
        let expect = Expect { empty_files: true, ..Expect::default() };
        let found = checker::check(&daemon.store(), Format::Text, &histories, expect);
        // All but the live file goes, and the manifest, which would tell of it; behind the back of an archiver that is replaced.
        let archivers = daemon.roles("archiver");
        archivers.iter().for_each(|pid| processes::signal(*pid, Signal::SIGSTOP));
        wait_until(DEADLINE, "a stopped archiver", || archivers.iter().all(|pid| processes::stopped(*pid)));
        let _ = fs::remove_file(daemon.store().join("MANIFEST.jsonl"));
        for file in &found.files[..found.files.len() - 1] {
            fs::remove_file(&file.path).unwrap();
            let _ = fs::remove_file(format!("{}.torn", file.path.display()));
        }
        archivers.iter().for_each(|pid| processes::signal(*pid, Signal::SIGKILL));
        self.report.rounds += 1;
        self.report.connections += histories.len();
        self.report.sent += histories.iter().map(|history| history.sent).sum::<usize>();
        self.report.echoed += histories.iter().map(|history| history.echoed).sum::<usize>();
        self.report.stored += found.records;
        self.count_descriptors();
    }

    /// Each role has those of the first round again, once what is under way is done.
    fn count_descriptors(&mut self) {
        for role in ROLES {
            let daemon = &self.daemon;
            let most = || daemon.roles(role).iter().map(|pid| processes::descriptors(*pid).len()).max().unwrap_or(0);
            let first = *self.descriptors.entry(role).or_insert_with(most);
            wait_until(DEADLINE, &format!("the {first} descriptors of the {role} again"), || most() <= first);
            let (_, seen) = self.report.descriptors.entry(role).or_insert((first, first));
            *seen = most().max(*seen);
        }
    }
}

/// Waits, and looks meanwhile.
fn watched(watch: &mut Watch, daemon: &Daemon, span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        watch.look(daemon);
        std::thread::sleep(Duration::from_millis(20).min(span));
    }
}

impl Report {
    /// The largest growth, in percent, among the processes that lived on.
    pub fn growth(&self) -> f64 {
        self.kind.lives_on().iter().map(|role| self.watch.growth(role)).fold(0.0, f64::max)
    }

    pub fn print(&self) {
        let Self { kind, rounds, connections, sent, echoed, stored, watch, .. } = self;
        println!("\n{kind:?}, echo {}: {rounds} rounds, {connections} connections", kind.echo());
        println!("  messages: {sent} sent, {echoed} echoed, {stored} stored");
        println!(
            "  at most {} processes, {} KiB of files, {} KiB of log",
            watch.processes,
            watch.disk >> 10,
            watch.log >> 10
        );
        println!("  {:22} {:>6}  longest until served again", "fault", "count");
        for (fault, (count, longest)) in &self.faults {
            println!("  {:22} {count:>6}  {longest:.1?}", format!("{fault:?}"));
        }
        println!("  {:22} {:>31}  growth  descriptors first, most", "memory, KiB", "by quarter");
        for role in ROLES {
            let quarters = watch.memory(role).map(|size| format!("{size:>7}")).join(" ");
            let (before, most) = self.descriptors[role];
            let what = if kind.lives_on().contains(&role) { "" } else { " (instances change)" };
            println!("  {role:22} {quarters} {:>+6.1}%  {before}, {most}{what}", watch.growth(role));
        }
    }
}
