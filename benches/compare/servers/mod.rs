//! Every server that is measured: started in a directory of its own with a generated configuration, ended by its pid.
pub mod echostored;
mod peers;
pub mod small;

use crate::places::{Place, Places};
use crate::processes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Stored,
    /// Another instance of the same, to see how far the machine can be trusted.
    StoredAgain,
    Received,
    Synced,
    SyncedAgain,
    EchoOnly,
    Textbook,
    Rsyslog,
    Redis,
}

impl Kind {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "echostored, stored",
            Self::StoredAgain => "echostored, stored (again)",
            Self::Received => "echostored, received",
            Self::Synced => "echostored, synced",
            Self::SyncedAgain => "echostored, synced (again)",
            Self::EchoOnly => "echo-only",
            Self::Textbook => "textbook",
            Self::Rsyslog => "rsyslog",
            Self::Redis => "Redis, always",
        }
    }

    /// The instance that it is measured against to see the noise.
    pub fn again(self) -> Option<Self> {
        match self {
            Self::Stored => Some(Self::StoredAgain),
            Self::Synced => Some(Self::SyncedAgain),
            _ => None,
        }
    }

    /// `server.echo`, if it is ours.
    fn echo(self) -> Option<&'static str> {
        match self {
            Self::Stored | Self::StoredAgain => Some("stored"),
            Self::Synced | Self::SyncedAgain => Some("synced"),
            Self::Received => Some("received"),
            _ => None,
        }
    }

    /// The program that is needed and the Debian package that has it.
    pub fn package(self) -> Option<(&'static [&'static str], &'static str)> {
        match self {
            Self::Rsyslog => Some((&["rsyslogd"], "rsyslog")),
            Self::Redis => Some((&["redis-server", "redis-benchmark"], "redis-server and redis-tools")),
            _ => None,
        }
    }

    /// Why it cannot be measured on this machine.
    pub fn missing(self) -> Option<String> {
        let (programs, package) = self.package()?;
        let missing = programs.iter().find(|program| find_program(program).is_none())?;
        Some(format!("no {missing}: install the Debian package {package}"))
    }
}

/// In the directories of `PATH`, and in those of the system's administrator.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into(), "/usr/bin".into()]);
    directories.map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// A running server. Ended, and its directory deleted, when it is dropped.
pub struct Server {
    pub kind: Kind,
    pub address: SocketAddr,
    /// What it was configured with: the configuration file, or the command.
    pub config: String,
    /// From the start of the process until it served.
    pub ready: Duration,
    /// Where it puts what it stores.
    pub store: PathBuf,
    child: Child,
    _home: tempfile::TempDir,
}

impl Server {
    /// Starts one that stores at `place`, and waits until it serves. `binary`: echostored's.
    pub fn start(kind: Kind, place: Place, places: &Places, binary: &Path) -> Result<Self, String> {
        let home = home(places.path(place))?;
        match kind {
            Kind::EchoOnly => small::echo_only(home, 2),
            Kind::Textbook => small::textbook(home),
            Kind::Rsyslog => peers::rsyslog(home),
            Kind::Redis => peers::redis(home),
            _ => echostored::start(kind, home, binary, &echostored::Settings::default()),
        }
    }

    /// Its main process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Processor time of all its processes so far.
    pub fn cpu_seconds(&self) -> f64 {
        processes::cpu_seconds(self.pid())
    }

    /// User memory of all its processes.
    pub fn memory(&self) -> processes::Memory {
        processes::memory(self.pid())
    }

    /// Waits until it uses no processor for a moment, but not for ever: what it does after a start is not what is measured.
    pub fn settle(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut before = self.cpu_seconds();
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(500));
            let now = self.cpu_seconds();
            if now - before < 0.02 {
                return;
            }
            before = now;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        if !matches!(wait_exit(&mut self.child, PATIENCE), Ok(Some(_))) {
            eprintln!("compare: {} did not end within {PATIENCE:?}: it is killed", self.kind.name());
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The exit status, if it ended within `limit`.
pub fn wait_exit(child: &mut Child, limit: Duration) -> std::io::Result<Option<std::process::ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= end {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory of its own for one server.
pub fn home(parent: &Path) -> Result<tempfile::TempDir, String> {
    let made = tempfile::Builder::new().prefix("echostored-compare-").tempdir_in(parent);
    made.map_err(|error| format!("cannot make a directory in {}: {error}", parent.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// A program that dies with this one. What it says on standard error goes to the file `log`.
pub fn attached(program: &OsStr, log: &Path) -> Result<Command, String> {
    let cannot = |error| format!("cannot write {}: {error}", log.display());
    let own = std::env::current_exe().map_err(|error| format!("cannot find this program itself: {error}"))?;
    let mut command = Command::new(own);
    command.args(["serve", "with-parent", "--"]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log).map_err(cannot)?);
    Ok(command)
}

fn spawn(mut command: Command) -> Result<Child, String> {
    command.spawn().map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))
}

/// Calls `serves` until it is true; an error with the log's end if the server ends instead, or takes too long.
fn await_ready(child: &mut Child, log: &Path, mut serves: impl FnMut() -> bool) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    let failed = |why: String| {
        let said = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        Err(format!("{why}; its last words: {}", lines[lines.len().saturating_sub(5)..].join(" | ")))
    };
    while !serves() {
        match child.try_wait() {
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return failed(format!("did not serve within {PATIENCE:?}"));
            }
            Ok(Some(status)) => return failed(format!("ended before it served ({status})")),
            Err(error) => return Err(format!("cannot be waited for: {error}")),
        }
    }
    Ok(())
}
