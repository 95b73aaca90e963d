//! `kill -9` of roles, each proven to have happened, and what a run of them has shown.
use super::checker::{self, Expect};
use super::daemon::{Daemon, command};
use super::framing::Format;
use super::load::Load;
use super::seed::{Chance, seed};
use super::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// Kills these processes of the daemon, and waits until they are gone and `replaced`.
pub fn kill(daemon: &mut Daemon, victims: &[i32], replaced: impl Fn(&Daemon) -> bool) {
    for victim in victims {
        let title = processes::title(*victim).unwrap_or_default();
        assert!(title.starts_with("echostored: w"), "{victim} is {title:?}");
    }
    victims.iter().for_each(|victim| processes::signal(*victim, Signal::SIGKILL));
    wait_until(DEADLINE, "others in the place of the killed", || {
        !victims.iter().any(|victim| processes::runs(*victim)) && replaced(daemon)
    });
    daemon.remember();
}

pub fn kill_writer(daemon: &mut Daemon) {
    let victim = daemon.writer();
    kill(daemon, &[victim], |daemon| daemon.roles("writer").iter().any(|pid| *pid != victim));
}

/// One of the workers.
pub fn some_worker(daemon: &Daemon, chance: &mut Chance) -> i32 {
    let workers = daemon.workers();
    workers[usize::try_from(chance.below(workers.len() as u64)).unwrap()]
}

pub fn kill_worker(daemon: &mut Daemon, chance: &mut Chance) {
    let (victim, count) = (some_worker(daemon, chance), daemon.workers().len());
    kill(daemon, &[victim], |daemon| daemon.workers().iter().filter(|pid| **pid != victim).count() == count);
}

/// Kills the supervisor alone; how long the others took to drain and end. Then the lock is free.
pub fn kill_supervisor(daemon: &mut Daemon) -> Duration {
    daemon.remember();
    let family = processes::family(daemon.supervisor());
    daemon.signal(Signal::SIGKILL);
    let begin = Instant::now();
    assert_eq!(daemon.wait_exit(DEADLINE), -(Signal::SIGKILL as i32), "how the supervisor ended");
    wait_until(DEADLINE, "the end of the others", || !family.iter().any(|pid| processes::runs(*pid)));
    begin.elapsed()
}

/// `echostored verify` finds the store whole (I4).
pub fn verify(daemon: &Daemon) {
    // As long as it takes: it reads everything.
    let ended = command(&["verify", "--directory", daemon.store().to_str().unwrap()]).output().unwrap();
    assert!(ended.status.success(), "verify: {}", String::from_utf8_lossy(&ended.stdout));
}

/// The moment of the next kill: part of the fault, not a wait for anything.
pub fn some_time(chance: &mut Chance, at_most: Duration) {
    let micros = u64::try_from(at_most.as_micros()).unwrap();
    std::thread::sleep(Duration::from_micros(chance.below(micros)));
}

/// What a run of kills has shown.
#[derive(Default)]
pub struct Tally {
    pub kills: usize,
    sent: usize,
    echoed: usize,
    stored: usize,
    spans: Vec<Duration>,
}

impl Tally {
    /// Notes how long a kill was felt.
    pub fn felt(&mut self, span: Duration) {
        self.spans.push(span);
    }

    /// Ends the load and the daemon, and holds the store against what the clients know: any violation fails the test.
    pub fn settle(&mut self, mut daemon: Daemon, load: Load) {
        let histories = load.finish();
        daemon.stop();
        verify(&daemon);
        let expect = Expect { empty_files: true, ..Expect::default() };
        let report = checker::check(&daemon.store(), Format::Text, &histories, expect);
        self.sent += histories.iter().map(|history| history.sent).sum::<usize>();
        self.echoed += histories.iter().map(|history| history.echoed).sum::<usize>();
        self.stored += report.records;
    }

    /// Says it in one line; whoever gets here has found no violation.
    pub fn tell(&mut self, what: &str, felt: &str) {
        let Self { kills, sent, echoed, stored, spans } = self;
        spans.sort();
        let at = |percent: usize| spans[(spans.len() * percent / 100).min(spans.len() - 1)];
        println!(
            "{what}: {kills} kills, {sent} messages sent, {echoed} echoed, {stored} stored, 0 violations; {felt}: \
             median {:.1?}, p99 {:.1?}, max {:.1?}; seed {}",
            at(50),
            at(99),
            at(100),
            seed()
        );
    }
}
