//! `/proc/PID/fd` of every role, seen from outside: who holds which end of which pipe, and that nobody holds anything else.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use echostored::ipc::wiring::{Descriptor as Kept, Keeps, Role, TABLE, keeps};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use support::client::{Client, Messages};
use support::daemon::{Daemon, Setup};
use support::drive::{drive, serve};
use support::framing::Framing;
use support::processes::{self, Descriptor, descriptors};
use support::{DEADLINE, came_true, wait_until};

/// Everything that the daemon's processes hold.
struct Census {
    supervisor: i32,
    writer: i32,
    archiver: i32,
    exporter: i32,
    workers: Vec<i32>,
    held: BTreeMap<i32, Vec<Descriptor>>,
    store: String,
    log: String,
}

/// Who reads from and who writes into one pipe.
#[derive(Default, Debug)]
struct Ends {
    readers: Vec<i32>,
    writers: Vec<i32>,
}

impl Census {
    fn take(daemon: &Daemon) -> Option<Self> {
        let (supervisor, workers) = (daemon.supervisor(), daemon.workers());
        let [writer] = daemon.roles("writer")[..] else { return None };
        let [archiver] = daemon.roles("archiver")[..] else { return None };
        let [exporter] = daemon.roles("exporter")[..] else { return None };
        let family = processes::family(supervisor);
        if family.len() != workers.len() + 4 {
            return None;
        }
        let held = family.into_iter().map(|pid| (pid, descriptors(pid))).collect();
        let (store, log) = (daemon.store().display().to_string(), daemon.home().join("log").display().to_string());
        Some(Self { supervisor, writer, archiver, exporter, workers, held, store, log })
    }

    fn pipes(&self) -> BTreeMap<String, Ends> {
        let mut pipes: BTreeMap<String, Ends> = BTreeMap::new();
        for (pid, held) in &self.held {
            for descriptor in held.iter().filter(|descriptor| descriptor.is_pipe()) {
                let ends = pipes.entry(descriptor.target.clone()).or_default();
                ends.readers.extend(descriptor.reads().then_some(pid));
                ends.writers.extend(descriptor.writes().then_some(pid));
            }
        }
        pipes
    }

    /// Each pipe is a data pipe, an ack pipe or the writer's private one, with each end in the right hands, once each.
    fn check_pipes(&self) -> Result<(), String> {
        let mut upper = [self.supervisor, self.writer];
        upper.sort_unstable();
        let (mut data, mut acks, mut private) = (Vec::new(), Vec::new(), 0);
        for (name, mut ends) in self.pipes() {
            ends.readers.sort_unstable();
            ends.writers.sort_unstable();
            let worker = |pids: &[i32]| (pids.len() == 1 && self.workers.contains(&pids[0])).then(|| pids[0]);
            match (worker(&ends.readers), worker(&ends.writers)) {
                (None, Some(worker)) if ends.readers == upper => data.push(worker),
                (Some(worker), None) if ends.writers == upper => acks.push(worker),
                (None, None) if ends.readers == upper && ends.writers == upper => private += 1,
                _ => {
                    return Err(format!(
                        "{name} is no data, ack or private pipe: {ends:?}; supervisor and writer are {upper:?}"
                    ));
                }
            }
        }
        for found in [&mut data, &mut acks] {
            found.sort_unstable();
        }
        let mut workers = self.workers.clone();
        workers.sort_unstable();
        match (data == workers, acks == workers, private) {
            (true, true, 1) => Ok(()),
            _ => Err(format!(
                "data pipes of {data:?}, ack pipes of {acks:?}, {private} private; workers are {workers:?}"
            )),
        }
    }

    /// How often a process holds each kind of thing, pipes and 0 to 2 apart.
    fn kinds(&self, pid: i32) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for descriptor in self.held[&pid].iter().filter(|descriptor| descriptor.number > 2 && !descriptor.is_pipe()) {
            *kinds.entry(self.kind(&descriptor.target)).or_default() += 1;
        }
        kinds
    }

    fn kind(&self, target: &str) -> String {
        if let Some(inside) = target.strip_prefix(&self.store) {
            return match inside {
                "" => "store".to_owned(),
                "/.lock" => "lock".to_owned(),
                // The same file has two names, and `/proc` may show either.
                "/current" => "segment".to_owned(),
                name if name.ends_with(".log") => "segment".to_owned(),
                name => name.to_owned(),
            };
        }
        let plain = target.split(':').next().unwrap_or(target);
        match plain {
            "socket" => "socket".to_owned(),
            "anon_inode" => target["anon_inode:".len()..].trim_matches(['[', ']']).to_owned(),
            _ => target.trim_end_matches(" (deleted)").to_owned(),
        }
    }

    /// 0 leads nowhere, 1 and 2 to the log.
    fn check_standard(&self) -> Result<(), String> {
        for (pid, held) in &self.held {
            let targets: Vec<&str> = held.iter().take(3).map(|descriptor| descriptor.target.as_str()).collect();
            if targets != ["/dev/null", &self.log, &self.log] {
                return Err(format!("{:?} has {targets:?} for 0 to 2", processes::title(*pid)));
            }
        }
        Ok(())
    }

    /// All beside pipes, by the table; `connections` are the workers' together.
    fn check_kinds(&self, connections: usize) -> Result<(), String> {
        let mut sockets = 0;
        for pid in self.held.keys() {
            let role = match () {
                () if *pid == self.supervisor => Role::Supervisor,
                () if *pid == self.writer => Role::Writer,
                () if *pid == self.archiver => Role::Archiver,
                () if *pid == self.exporter => Role::Exporter,
                () => Role::Worker,
            };
            let (mut kinds, mut expected) = (self.kinds(*pid), self.expected(role));
            if role == Role::Worker {
                // How many connections each has is chance; how many they have together is not.
                let all = kinds.remove("socket").unwrap_or_default();
                let own = expected.remove("socket").unwrap_or_default();
                sockets +=
                    all.checked_sub(own).ok_or(format!("a worker holds {all} sockets instead of at least {own}"))?;
            }
            if kinds != expected {
                return Err(format!("{:?} holds {kinds:?}, the table says {expected:?}", processes::title(*pid)));
            }
        }
        if sockets == connections { Ok(()) } else { Err(format!("{sockets} sockets for {connections} connections")) }
    }

    /// The kinds and numbers that the table gives a role in this family.
    fn expected(&self, role: Role) -> BTreeMap<String, usize> {
        let mut expected = BTreeMap::new();
        for (what, ..) in TABLE {
            let Some((kind, all)) = self.appearance(*what) else { continue };
            let count = match keeps(role, *what) {
                Keeps::None | Keeps::Passing => 0,
                Keeps::Own | Keeps::Makes => 1,
                Keeps::All => all,
            };
            if count > 0 {
                *expected.entry(kind.to_owned()).or_default() += count;
            }
        }
        expected
    }

    /// What a row of the table looks like from outside, and how many there are in all. Pipes have a check of their own.
    fn appearance(&self, what: Kept) -> Option<(&'static str, usize)> {
        let workers = self.workers.len();
        Some(match what {
            Kept::DataWrite
            | Kept::DataRead
            | Kept::AckWrite
            | Kept::AckRead
            | Kept::PrivateRead
            | Kept::PrivateWrite => return None,
            // Only with `run --daemon`; only where standard error is the journal's stream (`tests/journal.rs`).
            Kept::PidFile | Kept::Journal => return None,
            Kept::Listener | Kept::MetricsListener | Kept::Notify | Kept::Control => ("socket", 1),
            Kept::Staging => ("/memfd:staging", workers),
            Kept::CommitRecord => ("/memfd:commit-record", 1),
            Kept::Scoreboard => ("/memfd:scoreboard", workers + 3),
            Kept::Admission => ("/memfd:admission", 1),
            Kept::Directory => ("store", 1),
            Kept::Lock => ("lock", 1),
            Kept::Segment | Kept::LiveSegment => ("segment", 1),
            Kept::Null => ("/dev/null", 1),
            Kept::ControlSupervisor => ("socket", workers + 3),
            Kept::ControlRole => ("socket", 1),
            Kept::Signals => ("signalfd", 1),
            Kept::Epoll => ("eventpoll", 1),
            Kept::SyncDone => ("eventfd", 1),
        })
    }
}

/// Holds the whole table, now or soon: a role that was just forked may not have closed all yet.
fn holds(daemon: &Daemon, stage: &str, sockets: usize) {
    let mut last = Ok(());
    let held = came_true(DEADLINE / 3, || {
        last = match Census::take(daemon) {
            None => Err("roles are being replaced".to_owned()),
            Some(census) => {
                census.check_pipes().and_then(|()| census.check_standard()).and_then(|()| census.check_kinds(sockets))
            }
        };
        last.is_ok()
    });
    assert!(held, "{stage}: {}", last.unwrap_err());
}

#[test]
fn every_role_holds_what_the_table_says() {
    let mut daemon = Setup::default().set("server.workers", 3).set("metrics.listen", "127.0.0.1:0").start();
    holds(&daemon, "after the start", 0);
    let messages = || Messages::generated(Framing::Line, 20, 200);
    let mut clients: Vec<Client> =
        (0..8).map(|_| Client::connect(daemon.address, Framing::Line, messages()).unwrap().quota(20)).collect();
    drive(&mut clients, "echoes", |clients| clients.iter().all(Client::served));
    holds(&daemon, "with connections", 8);
    let writer = daemon.writer();
    processes::signal(writer, Signal::SIGKILL);
    wait_until(DEADLINE, "another writer", || daemon.roles("writer").iter().any(|pid| *pid != writer));
    holds(&daemon, "after a writer's death", 8);
    clients.into_iter().for_each(|client| drop(client.leave()));
    holds(&daemon, "after the connections", 0);
    let exporter = daemon.roles("exporter")[0];
    processes::signal(exporter, Signal::SIGKILL);
    wait_until(DEADLINE, "another exporter", || daemon.roles("exporter").iter().any(|pid| *pid != exporter));
    holds(&daemon, "after an exporter's death", 0);
    let old: BTreeSet<i32> = daemon.workers().into_iter().collect();
    old.iter().for_each(|pid| processes::signal(*pid, Signal::SIGKILL));
    wait_until(DEADLINE, "three other workers", || {
        daemon.workers().iter().filter(|pid| !old.contains(pid)).count() == 3
    });
    holds(&daemon, "after the workers' deaths", 0);
    serve(vec![Client::connect(daemon.address, Framing::Line, messages()).unwrap().quota(20).half_close()]);
    daemon.reconfigure(|setup| setup.set("server.workers", 2));
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "two workers", || daemon.workers().len() == 2);
    holds(&daemon, "after a reload", 0);
    daemon.remember();
    for _ in 0..3 {
        let before = std::fs::metadata(daemon.current()).unwrap();
        serve(vec![Client::connect(daemon.address, Framing::Line, messages()).unwrap().quota(20).half_close()]);
        daemon.signal(Signal::SIGUSR1);
        wait_until(DEADLINE, "a rotation", || {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(daemon.current()).unwrap().ino() != before.ino()
        });
    }
    holds(&daemon, "after rotations", 0);
    daemon.stop();
}

#[test]
fn nothing_inherited_from_the_starter_stays_open() {
    // A careless starter: descriptors without CLOEXEC. `/dev/zero` is something that the daemon never opens.
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let inherited = nix::unistd::dup(&zero).expect("dup clears FD_CLOEXEC");
    let mut daemon = Setup::default().start();
    drop(inherited);
    let leaked = |pid: i32| descriptors(pid).iter().any(|held| held.target == "/dev/zero");
    let clean = came_true(Duration::from_secs(5), || !processes::family(daemon.supervisor()).into_iter().any(leaked));
    assert!(clean, "an inherited descriptor is still open");
    daemon.stop();
}
