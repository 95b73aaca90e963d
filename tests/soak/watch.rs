//! What a house uses: memory by role, processes, disk, log.
use crate::support::daemon::Daemon;
use crate::support::{checker, processes};
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

pub const ROLES: [&str; 3] = ["supervisor", "writer", "worker"];
const INTERVAL: Duration = Duration::from_millis(500);

/// The largest values seen.
pub struct Watch {
    begin: Instant,
    span: Duration,
    next: Instant,
    /// By role: KiB, in each quarter of the run.
    memory: BTreeMap<&'static str, [u64; 4]>,
    pub processes: usize,
    pub disk: u64,
    pub log: u64,
}

impl Watch {
    pub fn new(span: Duration) -> Self {
        let memory = ROLES.map(|role| (role, [0; 4])).into_iter().collect();
        Self { begin: Instant::now(), span, next: Instant::now(), memory, processes: 0, disk: 0, log: 0 }
    }

    /// Looks, twice a second.
    pub fn look(&mut self, daemon: &Daemon) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + INTERVAL;
        let quarter = (self.begin.elapsed().as_secs_f64() / self.span.as_secs_f64() * 4.0) as usize;
        let family = processes::family(daemon.supervisor());
        self.processes = self.processes.max(family.len());
        for pid in family {
            let title = processes::title(pid).unwrap_or_default();
            let role = ROLES.iter().find(|role| title.starts_with(&format!("echostored: {role}")));
            if let Some((role, memory)) = role.zip(resident(pid)) {
                let seen = &mut self.memory.get_mut(role).unwrap()[quarter.min(3)];
                *seen = memory.max(*seen);
            }
        }
        self.disk = self.disk.max(checker::files(&daemon.store()).iter().map(|file| file.size).sum());
        self.log = self.log.max(daemon.log().len() as u64);
    }

    /// The most KiB that one process of the role had, in each quarter.
    pub fn memory(&self, role: &str) -> [u64; 4] {
        self.memory[role]
    }

    /// From the first quarter to the last, in percent.
    pub fn growth(&self, role: &str) -> f64 {
        let [first, .., last] = self.memory[role];
        (last as f64 / first as f64 - 1.0) * 100.0
    }
}

/// `VmRSS` in KiB; `None` if it is gone.
fn resident(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_ascii_whitespace().next()?.parse().ok()
}
