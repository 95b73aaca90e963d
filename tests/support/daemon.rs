//! The real binary over real sockets, files and signals: start, readiness, roles, stop.
use super::home::{self, Home};
use super::manager::Manager;
pub use super::setup::{Setup, free_address};
use super::{DEADLINE, came_true, passing, processes, wait_until};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running (or ended) daemon and everything that belongs to it.
pub struct Daemon {
    pub setup: Setup,
    pub address: SocketAddr,
    child: Option<Child>,
    manager: Manager,
    /// What the next start is passed, by name, beside what the manager keeps.
    sockets: Vec<(String, OwnedFd)>,
    /// The manager passes on what it keeps.
    restarts: bool,
    /// Processes that may outlive their supervisor.
    known: BTreeSet<i32>,
    home: Home,
}

impl Daemon {
    /// A daemon that does not run yet.
    pub fn new(home: Home, setup: Setup) -> Self {
        let manager = Manager::listen(&home);
        if !home.join("run").exists() {
            home.make_dir("run");
        }
        let address = "127.0.0.1:1".parse().unwrap();
        let mut daemon = Self {
            setup,
            address,
            child: None,
            manager,
            sockets: Vec::new(),
            restarts: false,
            known: BTreeSet::new(),
            home,
        };
        if daemon.setup.fixed_address {
            daemon.address = daemon.setup.address();
        } else {
            daemon.choose_address();
        }
        daemon
    }

    pub fn choose_address(&mut self) {
        self.address = free_address();
        self.setup = self.setup.clone().listen(&[self.address]);
        self.setup.fixed_address = false;
    }

    /// Starts the process and waits for READY; the exit code if it ends instead.
    pub fn launch(&mut self) -> Result<(), i32> {
        self.spawn();
        self.await_ready()
    }

    /// From now on the service manager passes on at each start what it keeps, as a restart by systemd does.
    pub fn restarted_by_manager(&mut self) {
        self.restarts = true;
    }

    /// From now on the service manager passes these sockets, too.
    pub fn activated_by(&mut self, sockets: Vec<(String, OwnedFd)>) {
        self.sockets = sockets;
    }

    fn passed(&self) -> Vec<(String, OwnedFd)> {
        let mut passed = if self.restarts { self.manager.copies() } else { Vec::new() };
        passed.extend(self.sockets.iter().map(|(name, fd)| (name.clone(), fd.try_clone().unwrap())));
        passed
    }

    /// Starts the process and waits for nothing.
    pub fn spawn(&mut self) {
        self.write_config();
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        home::give_away(&self.log_path());
        if !self.restarts {
            self.manager.let_go();
        }
        let passed = self.passed();
        let mut command = passing::command(&passed, &self.setup.own_pid);
        command.arg("--config").arg(self.config_path()).env("NOTIFY_SOCKET", self.home.join("notify"));
        command.envs(self.setup.environment.iter().cloned()).current_dir(self.home.path());
        self.manager.forget();
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    fn await_ready(&mut self) -> Result<(), i32> {
        let end = Instant::now() + DEADLINE;
        loop {
            if self.notified("READY=1") {
                self.remember();
                return Ok(());
            }
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                self.child = None;
                return Err(status.code().unwrap_or_else(|| -status.signal().expect("neither code nor signal")));
            }
            assert!(Instant::now() < end, "neither ready nor ended within {DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts it again with the same files; it must have ended.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "still runs");
        let end = Instant::now() + DEADLINE;
        while let Err(code) = self.launch() {
            // A role that a dead supervisor has forked last may still be about to leave, and holds the lock so long.
            let patient = code == 75 && Instant::now() < end;
            assert!(patient, "the second start ended with {code}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Changes the configuration file; the daemon reads it at `HUP` or at the next start.
    pub fn reconfigure(&mut self, change: impl FnOnce(Setup) -> Setup) {
        self.setup = change(self.setup.clone());
        self.write_config();
    }

    fn write_config(&self) {
        self.home.write("echostored.toml", &self.setup.text(&self.home));
    }

    pub fn home(&self) -> &Home {
        &self.home
    }

    pub fn config_path(&self) -> PathBuf {
        self.home.join("echostored.toml")
    }

    pub fn store(&self) -> PathBuf {
        self.home.join("store")
    }

    pub fn current(&self) -> PathBuf {
        self.store().join("current")
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("log")
    }

    /// What the daemon has written to its standard error so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Whether the service manager has heard a line with this beginning since the start.
    pub fn notified(&self, beginning: &str) -> bool {
        self.manager.heard().iter().any(|line| line.starts_with(beginning))
    }

    /// The service manager, as the daemon knows it.
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    pub fn supervisor(&self) -> i32 {
        self.child.as_ref().expect("it runs").id().cast_signed()
    }

    /// The processes whose title is `echostored: ROLE` or `echostored: ROLE <something>`.
    pub fn roles(&self, role: &str) -> Vec<i32> {
        let wanted = format!("echostored: {role}");
        let has = |pid: &i32| {
            let title = processes::title(*pid);
            title.is_some_and(|title| {
                title.strip_prefix(&wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            })
        };
        processes::family(self.supervisor()).into_iter().filter(has).collect()
    }

    pub fn workers(&self) -> Vec<i32> {
        self.roles("worker")
    }

    /// The writer; waits for one if it is just being replaced.
    pub fn writer(&self) -> i32 {
        let mut found = Vec::new();
        wait_until(DEADLINE, "one writer", || {
            found = self.roles("writer");
            found.len() == 1
        });
        found[0]
    }

    /// Notes the processes that now run, so that none outlives the test.
    pub fn remember(&mut self) {
        let family = self.child.as_ref().map(|child| processes::family(child.id().cast_signed()));
        self.known.extend(family.unwrap_or_default());
    }

    pub fn signal(&self, signal: Signal) {
        processes::signal(self.supervisor(), signal);
    }

    /// Waits for the end; the exit code, or the negative number of the signal.
    pub fn wait_exit(&mut self, deadline: Duration) -> i32 {
        let mut status = None;
        let child = self.child.as_mut().expect("it runs");
        let ended = came_true(deadline, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "the daemon did not end within {deadline:?}");
        self.child = None;
        let status = status.expect("just seen");
        status.code().unwrap_or_else(|| -status.signal().expect("neither code nor signal"))
    }

    /// The graceful stop, which must exit 0 and leave no process behind.
    pub fn stop(&mut self) {
        self.remember();
        self.signal(Signal::SIGTERM);
        assert_eq!(self.wait_exit(DEADLINE), 0, "exit code of a graceful stop");
        wait_until(DEADLINE, "STOPPING=1", || self.notified("STOPPING=1"));
        let left: Vec<i32> = self.known.iter().copied().filter(|pid| self.is_ours(*pid)).collect();
        assert_eq!(left, Vec::<i32>::new(), "processes that outlived their supervisor");
        // Their numbers may be given to others.
        self.known.clear();
    }

    /// `kill -9` of every process at once.
    pub fn kill_all(&mut self) {
        // Stopped first: nobody may replace, or learn of, what dies, and end in order. The supervisor before all, so
        // that none is forked that is not known.
        let supervisor = self.supervisor();
        self.signal(Signal::SIGSTOP);
        wait_until(DEADLINE, "a stopped supervisor", || {
            !processes::runs(supervisor) || processes::status(supervisor, "State")[0] == "T"
        });
        self.remember();
        let ours = |pid: &&i32| self.is_ours(**pid);
        self.known.iter().filter(ours).for_each(|pid| processes::signal(*pid, Signal::SIGSTOP));
        self.known.iter().filter(ours).for_each(|pid| processes::end(*pid));
        assert_eq!(self.wait_exit(DEADLINE), -(Signal::SIGKILL as i32));
        wait_until(DEADLINE, "the end of all processes", || !self.known.iter().any(|pid| self.is_ours(*pid)));
        self.known.clear();
    }

    /// Whether `pid` still is one of our processes, and not a later one with the same number.
    fn is_ours(&self, pid: i32) -> bool {
        let log = self.log_path();
        let held = processes::descriptors(pid);
        // A dying process has given up its descriptors before its locks are free.
        processes::runs(pid) && (held.is_empty() || held.iter().any(|held| Path::new(&held.target) == log))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.remember();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.known.iter().filter(|pid| self.is_ours(**pid)).for_each(|pid| processes::end(*pid));
        // A role may have been forked between the look and the kill. A child of ours is about to become another test's.
        let test = std::process::id().cast_signed();
        processes::holders(&self.log_path())
            .into_iter()
            .filter(|pid| *pid != test && processes::parent(*pid) != Some(test))
            .for_each(processes::end);
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the daemon's log, last 100 lines of {} ---", lines.len());
            lines[lines.len().saturating_sub(100)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// `echostored ARGUMENTS`, as the unprivileged user.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(home::binary());
    command.args(arguments);
    as_user(&mut command);
    command
}

/// Makes it run as the unprivileged user.
pub fn as_user(command: &mut Command) {
    if let Some((uid, gid)) = home::user() {
        // Clears the supplementary groups, too.
        command.uid(uid).gid(gid);
    }
}

/// How a command that ends by itself has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end. Its output goes to files: a daemon that it leaves behind may hold them for ever.
pub fn run(home: &Home, mut command: Command) -> Ended {
    let (out, err) = (home.join("command.out"), home.join("command.err"));
    command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let mut child = command.spawn().unwrap();
    let mut status = None;
    let ended = came_true(DEADLINE, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if !ended {
        let _ = child.kill();
        panic!("{command:?} did not end within {DEADLINE:?}");
    }
    let text = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let code = status.expect("just seen").code().unwrap_or(-1);
    Ended { code, stdout: text(&out), stderr: text(&err) }
}
