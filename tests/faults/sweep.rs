//! Fail the k-th system call: for each role, each call and each way in which it can fail, k = 1, 2, 3 … until a run passes
//! untouched. A run is a start, clients, rotations, a reload and a stop; whatever breaks, nothing that was echoed is lost
//! or doubled, nobody hangs or spins, and nothing ends without a word.
//!
//! `ECHOSTORED_TEST_SWEEP=full` takes every k (a quarter of an hour); without it a stride from a seeded start.
//! `ECHOSTORED_TEST_SWEEP=ROLE:CALL:FAULT:K:ECHO`, as a failure prints it, is one run.
use crate::shim::Shim;
use crate::support::checker::{self, Expect};
use crate::support::client::{Client, End, History, Messages};
use crate::support::daemon::{self, Daemon, Setup};
use crate::support::drive::serve;
use crate::support::framing::{Format, Framing};
use crate::support::home::Home;
use crate::support::seed::{self, Chance};
use crate::support::{DEADLINE, processes, wait_until};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// Which calls fail how. `short`: half of the bytes are done.
///
/// Only what the kernel can do: no EAGAIN for a descriptor that is ready and watched by its edges, no short packet.
const SWEEP: [(&str, &[(&str, &str)]); 3] = [
    (
        "supervisor",
        &[
            ("openat", "EIO EMFILE ENFILE ENOSPC EACCES"),
            ("open64", "EIO EMFILE"),
            ("read", "EIO EINTR"),
            ("write", "EIO ENOSPC EDQUOT EINTR short"),
            ("fsync", "EIO ENOSPC EDQUOT"),
            ("renameat", "EIO ENOSPC"),
            ("linkat", "EIO ENOSPC EPERM"),
            ("unlinkat", "EIO EROFS"),
            ("ftruncate", "ENOSPC ENOMEM EINTR"),
            ("ftruncate64", "EIO EINTR"),
            ("fstat", "EIO"),
            ("statx", "EIO"),
            ("fcntl", "ENOMEM EPERM"),
            ("socketpair", "EMFILE ENFILE ENOMEM"),
            ("pipe2", "EMFILE ENFILE"),
            ("memfd_create", "EMFILE ENOMEM"),
            ("mmap", "ENOMEM"),
            ("fork", "EAGAIN ENOMEM"),
            ("epoll_create1", "EMFILE ENOMEM"),
            ("epoll_ctl", "ENOMEM ENOSPC"),
            ("epoll_wait", "EINTR"),
            ("sendmsg", "EAGAIN EINTR ENOMEM ETOOMANYREFS"),
            ("recvmsg", "EINTR ENOMEM"),
        ],
    ),
    (
        "writer",
        &[
            ("pwritev", "EIO ENOSPC EDQUOT EROFS EFBIG ENOMEM EINTR short"),
            ("fdatasync", "EIO ENOSPC EDQUOT EINTR"),
            ("fsync", "EIO ENOSPC EDQUOT EINTR"),
            ("openat", "EIO ENOSPC EDQUOT EMFILE ENFILE ENOMEM EINTR"),
            ("open64", "EMFILE"),
            ("renameat", "EIO ENOSPC EDQUOT"),
            ("linkat", "EIO ENOSPC EDQUOT EMLINK"),
            ("unlinkat", "EIO EROFS"),
            ("fchmod", "EIO EPERM"),
            ("fstat", "EIO"),
            ("fstatat", "EIO"),
            ("statx", "EIO"),
            ("tee", "EINTR ENOMEM"),
            ("splice", "EINTR ENOMEM short"),
            ("read", "EIO EINTR"),
            ("write", "EIO EINTR"),
            ("mmap", "ENOMEM"),
            ("pthread_create", "EAGAIN"),
            ("eventfd", "EMFILE"),
            ("epoll_create1", "EMFILE"),
            ("epoll_ctl", "ENOMEM ENOSPC"),
            ("epoll_wait", "EINTR"),
            ("sendmsg", "EAGAIN EINTR ENOMEM ETOOMANYREFS"),
            ("recvmsg", "EINTR ENOMEM"),
        ],
    ),
    (
        "worker",
        &[
            ("accept", "EMFILE ENFILE ENOMEM ENOBUFS ECONNABORTED EPROTO EINTR"),
            ("read", "ECONNRESET ETIMEDOUT ENOMEM EINTR"),
            ("send", "ECONNRESET EPIPE ENOMEM EINTR short"),
            ("write", "EIO EAGAIN EINTR short"),
            ("mmap", "ENOMEM"),
            ("epoll_create1", "EMFILE"),
            ("epoll_ctl", "ENOMEM ENOSPC"),
            ("epoll_wait", "EINTR"),
            ("sendmsg", "EAGAIN EINTR ENOMEM"),
            ("recvmsg", "EINTR ENOMEM"),
        ],
    ),
];

/// System calls of a run that spins nowhere, and then some: an untouched one makes some thousands.
const MOST_CALLS: u64 = 60_000;
/// Lines that a run with one fault may log.
const MOST_LINES: usize = 200;
/// Values of k that the reduced sweep takes of each pair.
const SAMPLES: u64 = 2;

/// A call and how it fails.
#[derive(Clone)]
struct Pair {
    role: String,
    call: String,
    fault: String,
    echo: String,
}

impl Pair {
    fn rule(&self, k: u64) -> String {
        let number = match self.fault.as_str() {
            "short" => "short".to_owned(),
            name => errno(name).to_string(),
        };
        format!("{}:{}:{number}:{k}", self.role, self.call)
    }

    fn name(&self) -> String {
        format!("{}:{}:{}", self.role, self.call, self.fault)
    }
}

fn errno(name: &str) -> i32 {
    let is = |number: &i32| format!("{:?}", Errno::from_raw(*number)) == name;
    (1..134).find(is).unwrap_or_else(|| panic!("{name} is no errno"))
}

/// Every pair; the writer's in both modes that sync.
fn pairs() -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (role, calls) in SWEEP {
        for (call, faults) in calls {
            for fault in faults.split(' ') {
                for echo in if role == "writer" { &["stored", "synced"][..] } else { &["stored"] } {
                    let [role, call, fault, echo] = [role, call, fault, echo].map(str::to_owned);
                    pairs.push(Pair { role, call, fault, echo });
                }
            }
        }
    }
    pairs
}

/// How a run went, for the count.
struct Went {
    fired: u64,
    calls: u64,
    /// What it came to, in a word or two.
    came_to: String,
}

fn client(daemon: &Daemon, quota: usize) -> Option<Client> {
    let messages = Messages::generated(Framing::Line, 20, 300);
    let client = Client::connect(daemon.address, Framing::Line, messages).ok()?;
    Some(client.window(8).quota(quota).half_close())
}

/// Clients that send, hear and leave; adds what they know.
fn talk(daemon: &Daemon, clients: usize, quota: usize, histories: &mut Vec<History>) {
    histories.extend(serve((0..clients).filter_map(|_| client(daemon, quota)).collect()));
}

/// The life of a daemon: messages, rotations by size and by signal, a reload, the stop. Returns its exit code.
fn live(daemon: &mut Daemon, histories: &mut Vec<History>) -> i32 {
    talk(daemon, 3, 25, histories);
    daemon.signal(Signal::SIGUSR1);
    talk(daemon, 1, 10, histories);
    daemon.signal(Signal::SIGHUP);
    let heard = |daemon: &Daemon| daemon.manager().heard().iter().filter(|line| *line == "READY=1").count();
    wait_until(DEADLINE, "the reload", || heard(daemon) >= 2);
    talk(daemon, 2, 10, histories);
    let family = processes::family(daemon.supervisor());
    daemon.signal(Signal::SIGTERM);
    let code = daemon.wait_exit(DEADLINE);
    wait_until(DEADLINE, "the end of all", || !family.iter().any(|pid| processes::runs(*pid)));
    code
}

/// One run with the k-th call broken; panics where the guarantee is.
fn run(pair: &Pair, k: u64) -> Option<Went> {
    let home = Home::new();
    let shim = Shim::new(&home)?;
    let setup = Setup::default()
        .set("server.echo", pair.echo.as_str())
        .set("rotate.max-size", "4KiB")
        .set("store.sync-interval", "20ms")
        .set("server.reload-timeout", "1s");
    let mut daemon = Daemon::new(home, shim.equip(setup, Some(&pair.rule(k))));
    let (mut histories, mut start) = (Vec::new(), daemon.launch());
    while start == Err(69) && shim.fired() == 0 {
        // Somebody else took the port.
        daemon.choose_address();
        start = daemon.launch();
    }
    let code = start.map(|()| live(&mut daemon, &mut histories));
    let (fired, calls) = (shim.fired(), shim.calls());
    let log = daemon.log();
    let said: Vec<&str> = log.lines().filter(|line| !line.starts_with("shim:")).collect();
    let well = |history: &&History| history.end == Some(End::Eof) && history.echoed_bytes == history.sent_bytes;
    let broken = histories.len() - histories.iter().filter(well).count();
    let came_to = match code {
        Err(code) => format!("start refused, {code}"),
        Ok(0) if broken > 0 => "closed".to_owned(),
        Ok(0) => "served".to_owned(),
        Ok(code) => format!("ended with {code}"),
    };
    if fired == 0 {
        assert_eq!(came_to, "served", "nothing was broken");
    }
    assert!(broken == 0 || pair.role == "worker", "a fault of the {} cost {broken} connections", pair.role);
    if let Err(code) = code {
        assert!([1, 69, 74, 75, 78].contains(&code), "exit code {code}");
    }
    assert!(
        code == Ok(0) || said.iter().any(|line| line.contains(" error ") || line.starts_with("echostored: ")),
        "{came_to}, without a word"
    );
    assert!(said.len() <= MOST_LINES, "{} lines", said.len());
    assert!(shim.total() <= MOST_CALLS, "{} system calls", shim.total());
    assert_eq!(shim.violations(), 0, "uses of a file whose sync has failed");
    let clean = code == Ok(0) && !rotating(&daemon);
    settle(&mut daemon, clean, &mut histories);
    Some(Went { fired, calls, came_to })
}

/// The daemon has stopped while a rotation that had failed waited for its next try: a newer, empty file is there.
fn rotating(daemon: &Daemon) -> bool {
    let newest = checker::files(&daemon.store()).pop().expect("a file");
    std::fs::metadata(daemon.current()).unwrap().ino() != newest.inode
}

/// The store is whole, by our reader and by the daemon's; after an end that was no clean one, after another start.
fn settle(daemon: &mut Daemon, clean: bool, histories: &mut Vec<History>) {
    if !clean {
        daemon.reconfigure(Setup::without_environment);
        while let Err(code) = daemon.launch() {
            // Somebody else took the port while nobody was there.
            assert_eq!(code, 69, "the second start");
            daemon.choose_address();
        }
        talk(daemon, 1, 3, histories);
        daemon.stop();
    }
    checker::check(&daemon.store(), Format::Text, histories, Expect { empty_files: true, ..Expect::default() });
    let mut command = daemon::command(&["verify", "--directory"]);
    command.arg(daemon.store());
    let verified = daemon::run(daemon.home(), command);
    assert_eq!(verified.code, 0, "verify: {}{}", verified.stdout, verified.stderr);
}

/// What became of the runs of a pair.
#[derive(Default)]
struct Tally {
    runs: u64,
    fired: u64,
    came_to: BTreeMap<String, u64>,
    violations: Vec<String>,
    skipped: bool,
}

/// k = 1, 2, 3 … or, `reduced`, a few of them: as many calls as the first run makes are there to choose from.
fn sweep(pair: &Pair, reduced: bool) -> Tally {
    let mut tally = Tally::default();
    let mut chance = Chance::new(
        seed::seed() ^ pair.name().bytes().fold(0, |sum, byte| u64::wrapping_mul(sum, 31) + u64::from(byte)),
    );
    let (mut k, mut step) = (1, 1);
    loop {
        let went = match catch_unwind(AssertUnwindSafe(|| run(pair, k))) {
            Ok(Some(went)) => went,
            Ok(None) => return Tally { skipped: true, ..tally },
            Err(why) => {
                let why =
                    why.downcast_ref::<String>().cloned().or(why.downcast_ref::<&str>().map(|why| (*why).to_owned()));
                let why = why.unwrap_or_default();
                tally.violations.push(format!("{}:{k}:{}: {why}", pair.name(), pair.echo));
                Went { fired: 1, calls: 20, came_to: "VIOLATION".to_owned() }
            }
        };
        tally.runs += 1;
        tally.fired += went.fired;
        if went.fired == 0 {
            return tally;
        }
        *tally.came_to.entry(went.came_to).or_default() += 1;
        if reduced {
            // A start that was refused has made few of its calls.
            step = step.max(went.calls / SAMPLES);
        }
        k += if reduced && tally.runs == 1 { 1 + chance.below(step) } else { step };
    }
}

/// Two at a time: the machine of the reference has two cores.
fn all(pairs: Vec<Pair>, reduced: bool) -> Vec<(Pair, Tally)> {
    let queue = Mutex::new(VecDeque::from(pairs));
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(pair) = queue.lock().unwrap().pop_front() else { return };
                    let tally = sweep(&pair, reduced);
                    println!(
                        "{} {}: {} runs, {} fired, {:?}",
                        pair.name(),
                        pair.echo,
                        tally.runs,
                        tally.fired,
                        tally.came_to
                    );
                    done.lock().unwrap().push((pair, tally));
                }
            });
        }
    });
    done.into_inner().unwrap()
}

#[test]
fn every_call_of_every_role_may_fail() {
    let asked = std::env::var("ECHOSTORED_TEST_SWEEP").unwrap_or_default();
    if let [role, call, fault, k, echo] = asked.split(':').collect::<Vec<_>>()[..] {
        let [role, call, fault, echo] = [role, call, fault, echo].map(str::to_owned);
        let went = run(&Pair { role, call, fault, echo }, k.parse().expect("k is a number"));
        return println!("{}", went.map_or_else(String::new, |went| went.came_to));
    }
    // Others may be named by a beginning, as `full:writer:fsync`.
    let (full, only) = match asked.strip_prefix("full") {
        Some(only) => (true, only.trim_start_matches(':')),
        None => (false, asked.as_str()),
    };
    let results = all(pairs().into_iter().filter(|pair| pair.name().starts_with(only)).collect(), !full);
    let skipped = results.iter().any(|(_, tally)| tally.skipped);
    let (runs, fired) = results.iter().fold((0, 0), |sum, (_, tally)| (sum.0 + tally.runs, sum.1 + tally.fired));
    println!("{} pairs, {runs} runs, {fired} faults", results.len());
    let violations: Vec<&String> = results.iter().flat_map(|(_, tally)| &tally.violations).collect();
    assert!(
        violations.is_empty(),
        "{} violations (replay one: ECHOSTORED_TEST_SWEEP=<its name>):\n{violations:#?}",
        violations.len()
    );
    for (pair, tally) in results {
        assert!(skipped || tally.fired > 0, "{} is never called", pair.name());
    }
}
