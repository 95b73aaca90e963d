//! A booted Debian in a container: commands in it, its files from outside, its network for our clients.
//!
//! Promise: one machine at a time; it ends with the value, by a panic too, and with the test process, however that ends.
use crate::base;
use crate::cgroups::Cgroups;
use crate::support::daemon::{self, Ended};
use crate::support::home::Home;
use crate::support::{DEADLINE, processes, remove_all, skip, wait_until};
use nix::fcntl::Flock;
use nix::sched::{CloneFlags, setns};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Machines share two processors, and what is measured in one must not be the other's load.
static TURN: Mutex<()> = Mutex::new(());

/// The container, and the thread that booted it in its network.
pub struct Machine {
    nspawn: Child,
    /// Its first process, as the host numbers it.
    leader: i32,
    root: PathBuf,
    home: Home,
    /// The network that this thread came from.
    outside: File,
    // Dropped in this order: the groups when no process is left, then the next machine may boot.
    _cgroups: Cgroups,
    _held: Flock<File>,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    /// Boots a clean Debian, and moves this thread, and the threads that it will start, into its network. `None`, and SKIPPED, where that
    /// is not possible.
    pub fn boot() -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let held = base::hold();
        let root = match base::missing().map_or_else(base::root, Err) {
            Ok(root) => root,
            Err(why) => {
                skip(&why);
                return None;
            }
        };
        base::sweep();
        let copy = base::place().join(format!("machine-{}", std::process::id()));
        base::copy(&root, &copy);
        let home = Home::new();
        let cgroups = Cgroups::new();
        let nspawn = start(&copy, &cgroups, &home);
        let outside = File::open("/proc/thread-self/ns/net").unwrap();
        let mut machine =
            Self { nspawn, leader: 0, root: copy, home, outside, _cgroups: cgroups, _held: held, _turn: turn };
        machine.await_boot();
        setns(File::open(format!("/proc/{}/ns/net", machine.leader)).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        machine.must("ip link set lo up");
        Some(machine)
    }

    fn await_boot(&mut self) {
        let end = Instant::now() + DEADLINE * 2;
        loop {
            let ended = self.nspawn.try_wait().unwrap();
            assert!(ended.is_none(), "systemd-nspawn: {ended:?}: {}", self.console());
            assert!(Instant::now() < end, "not booted in time: {}", self.console());
            self.leader = first_process(self.nspawn.id().cast_signed()).unwrap_or(0);
            if self.leader != 0
                && ["running", "degraded"].contains(&self.run("systemctl is-system-running").stdout.trim())
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.home.join("console")).unwrap()).into_owned()
    }

    /// `sh -c LINE` in the machine, as root.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.leader.to_string(), "-m", "-u", "-i", "-n", "-p", "-C", "--", "/bin/sh", "-c", line]);
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs a command to its end, which must come in time.
    pub fn run(&self, line: &str) -> Ended {
        daemon::run(&self.home, self.command(line))
    }

    /// The same; it must succeed. What it printed.
    pub fn must(&self, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!(ended.code, 0, "{line}: {}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// Starts a command that goes on until the machine ends; its output goes to a file that the host can read.
    pub fn spawn(&self, line: &str) -> Running {
        let output = self.home.join("spawned");
        let file = File::create(&output).unwrap();
        let mut command = self.command(line);
        command.stdin(Stdio::null()).stdout(file).stderr(File::create(self.home.join("spawned.err")).unwrap());
        Running { child: command.spawn().unwrap(), output }
    }

    /// A file of the machine, from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    pub fn write(&self, inside: &str, content: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The host's number of a process that the machine knows by `inside`.
    pub fn host_pid(&self, inside: i32) -> Option<i32> {
        processes::family(self.leader).into_iter().find(|pid| inner_number(*pid) == Some(inside))
    }

    /// What the journal holds of a unit, messages only.
    pub fn journal(&self, unit: &str) -> String {
        self.must(&format!("journalctl --no-pager -o cat -u {unit}"))
    }

    /// A property of a unit.
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.must(&format!("systemctl show --value -p {property} {unit}")).trim().to_owned()
    }

    /// For whoever examines the failure.
    fn keep(&self) {
        let journal = self.run("journalctl --no-pager -o short-precise");
        fs::write(self.home.join("journal"), &journal.stdout).unwrap();
        let lines: Vec<&str> = journal.stdout.lines().filter(|line| line.contains("echostored")).collect();
        eprintln!("--- the journal, last 100 of {} lines about echostored ---", lines.len());
        lines[lines.len().saturating_sub(100)..].iter().for_each(|line| eprintln!("{line}"));
        for inside in ["etc/echostored", "etc/systemd/system", "var/lib/echostored"] {
            let to = self.home.join(&inside.replace('/', "-"));
            let _ = Command::new("cp").arg("-a").args([self.root.join(inside), to]).status();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.leader != 0 {
            self.keep();
        }
        let _ = setns(&self.outside, CloneFlags::CLONE_NEWNET);
        // With it everything in there dies, see `start`.
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
        if self.leader != 0 {
            wait_until(DEADLINE, "the end of the machine", || !Path::new(&format!("/proc/{}", self.leader)).exists());
        }
        remove_all(&self.root);
    }
}

/// A process of the machine that goes on by itself.
pub struct Running {
    child: Child,
    output: PathBuf,
}

impl Running {
    pub fn printed(&self) -> Vec<u8> {
        fs::read(&self.output).unwrap()
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A PID namespace around `systemd-nspawn`, whose end is the end of all in it; it ends with this thread. The container's own filter
/// of system calls is older than Landlock; the units' filters are what is tested.
fn start(root: &Path, cgroups: &Cgroups, home: &Home) -> Child {
    let console = File::create(home.join("console")).unwrap();
    let enter = "for door in \"$@\"; do echo $$ >\"$door\" || exit 1; done
        exec setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount-proc \
        systemd-nspawn --quiet --directory=\"$ROOT\" --hostname=clean --boot --register=no --keep-unit --private-network \
        --system-call-filter='landlock_create_ruleset landlock_add_rule landlock_restrict_self'";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", enter, "sh"]).args(cgroups.doors()).env("ROOT", root);
    command.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console).spawn().unwrap()
}

/// Number 1 of the innermost PID namespace below `ancestor`.
fn first_process(ancestor: i32) -> Option<i32> {
    let is_init = |pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        inner_number(*pid) == Some(1) && name.trim() == "systemd"
    };
    processes::family(ancestor).into_iter().find(is_init)
}

/// The number that a process has in its own PID namespace.
fn inner_number(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}
