//! What is done to a house.
use super::house::Kind;
use crate::support::daemon::Daemon;
use crate::support::harm::{self, kill_supervisor, kill_writer, some_worker};
use crate::support::seed::Chance;
use crate::support::{DEADLINE, processes, wait_until};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Rotate,
    StopWriter,
    StopWorker,
    StopSupervisor,
    KillWriter,
    KillWorker,
    KillWriterAndWorker,
    Reload,
    ReloadWriter,
    FillDisk,
    KillSupervisor,
    KillEverything,
}

use Fault::*;

const ALL: [Fault; 12] = [
    Rotate,
    StopWriter,
    StopWorker,
    StopSupervisor,
    KillWriter,
    KillWorker,
    KillWriterAndWorker,
    Reload,
    ReloadWriter,
    FillDisk,
    KillSupervisor,
    KillEverything,
];

impl Fault {
    /// One that this kind of house must bear.
    pub fn some(kind: Kind, tmpfs: bool, chance: &mut Chance) -> Self {
        let bears = |fault: &&Fault| match fault {
            Rotate | StopWriter | StopWorker | StopSupervisor => true,
            KillWriter | KillWorker | KillWriterAndWorker | Reload | ReloadWriter => kind != Kind::Calm,
            FillDisk => tmpfs,
            KillSupervisor | KillEverything => kind == Kind::Everything,
        };
        let faults: Vec<&Fault> = ALL.iter().filter(bears).collect();
        *faults[usize::try_from(chance.below(faults.len() as u64)).unwrap()]
    }

    /// Makes it happen, `pause` being for those that last; when its cause had ended.
    pub fn strike(self, daemon: &mut Daemon, chance: &mut Chance, mut pause: impl FnMut(&Daemon, Duration)) -> Instant {
        let span = Duration::from_millis(200 + chance.below(2_000));
        let mut end = Instant::now();
        match self {
            Rotate => daemon.signal(Signal::SIGUSR1),
            StopWriter | StopWorker | StopSupervisor => {
                let victim = match self {
                    StopWriter => daemon.writer(),
                    StopWorker => some_worker(daemon, chance),
                    _ => daemon.supervisor(),
                };
                processes::signal(victim, Signal::SIGSTOP);
                wait_until(DEADLINE, "a stopped process", || processes::status(victim, "State")[0] == "T");
                pause(daemon, span);
                end = Instant::now();
                processes::signal(victim, Signal::SIGCONT);
            }
            KillWriter => kill_writer(daemon),
            KillWorker => {
                let victim = some_worker(daemon, chance);
                harm::kill(daemon, &[victim], |daemon| daemon.workers().len() >= 2);
            }
            KillWriterAndWorker => {
                let victims = [daemon.writer(), some_worker(daemon, chance)];
                harm::kill(daemon, &victims, |daemon| daemon.workers().len() >= 2 && daemon.roles("writer").len() == 1);
            }
            Reload => reload(daemon),
            ReloadWriter => {
                let writer = daemon.writer();
                // It works by this, so another one takes its place.
                let mut size = 700 + chance.below(300);
                let config = std::fs::read_to_string(daemon.config_path()).unwrap();
                if config.contains(&format!("\"{size}KiB\"")) {
                    size += 300;
                }
                daemon.reconfigure(|setup| setup.set("rotate.max-size", format!("{size}KiB")));
                reload(daemon);
                wait_until(DEADLINE, "another writer", || {
                    daemon.roles("writer").iter().any(|pid| *pid != writer) && !processes::runs(writer)
                });
            }
            FillDisk => end = fill(daemon, |daemon| pause(daemon, span)),
            KillSupervisor => {
                kill_supervisor(daemon);
                daemon.start_again();
            }
            KillEverything => {
                daemon.kill_all();
                daemon.start_again();
            }
        }
        end
    }
}

fn reload(daemon: &Daemon) {
    let ready = |daemon: &Daemon| daemon.manager().heard().iter().filter(|line| *line == "READY=1").count();
    let before = ready(daemon);
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "READY=1 after a reload", || ready(daemon) > before);
}

/// Fills the store's file system, and frees it again.
fn fill(daemon: &Daemon, pause: impl FnOnce(&Daemon)) -> Instant {
    let told = || daemon.log().matches("No space left on device").count();
    let before = told();
    // Begins with a dot: not a name of the store's, and nobody's business.
    let path = daemon.store().join(".filler");
    let filler = File::create(&path).unwrap();
    let mut size = 0;
    // To the last byte: what is left is asked for in smaller and smaller parts.
    for part in [64 << 20, 1 << 20, 64 << 10, 4 << 10] {
        while fallocate(&filler, FallocateFlags::empty(), size, part).is_ok() {
            size += part;
        }
    }
    wait_until(DEADLINE, "a full disk", || told() > before);
    pause(daemon);
    let end = Instant::now();
    fs::remove_file(&path).unwrap();
    end
}
