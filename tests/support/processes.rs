//! What `/proc` says about processes: parents, titles, descriptors, groups.
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The parent of `pid`; `None` if there is no such process, or it is a zombie.
pub fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command may hold spaces and brackets; the fields behind its last bracket do not.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    // A zombie with more than one thread still ends: until the last is gone it holds its descriptors, and locks.
    let (state, parent, threads) = (fields.first()?, fields.get(1)?, fields.get(17)?);
    (*state != "Z" || threads.parse::<u32>().is_ok_and(|threads| threads > 1)).then(|| parent.parse().ok()).flatten()
}

/// Whether `pid` runs (a zombie does not).
pub fn runs(pid: i32) -> bool {
    parent(pid).is_some()
}

/// Whether every thread of `pid` is stopped by a signal: none is in a system call.
pub fn stopped(pid: i32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let state = |path: PathBuf| fs::read_to_string(path.join("stat")).unwrap();
    tasks.map(|task| state(task.unwrap().path())).all(|stat| stat[stat.rfind(')').unwrap()..].starts_with(") T"))
}

/// All processes that now run, with their parents.
fn all() -> BTreeMap<i32, i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

/// `ancestor` itself, if it runs, and everything below it.
pub fn family(ancestor: i32) -> Vec<i32> {
    let parents = all();
    let mut found: Vec<i32> = parents.contains_key(&ancestor).then_some(ancestor).into_iter().collect();
    let mut generation = vec![ancestor];
    while !generation.is_empty() {
        generation = parents.iter().filter(|(_, parent)| generation.contains(parent)).map(|(pid, _)| *pid).collect();
        found.extend(&generation);
    }
    found
}

/// Every running process that holds `file` open as one of its descriptors.
pub fn holders(file: &Path) -> Vec<i32> {
    all().into_keys().filter(|pid| descriptors(*pid).iter().any(|held| Path::new(&held.target) == file)).collect()
}

/// The title in `/proc/PID/cmdline`, as `ps` shows it.
pub fn title(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    Some(text.trim_end().to_owned())
}

/// One entry of `/proc/PID/fd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub number: i32,
    /// `pipe:[4711]`, `socket:[4712]`, `anon_inode:[eventpoll]`, `/memfd:… (deleted)`, a path.
    pub target: String,
    /// `O_RDONLY`, `O_WRONLY` or `O_RDWR`, from fdinfo.
    pub access: i32,
}

impl Descriptor {
    pub fn is_pipe(&self) -> bool {
        self.target.starts_with("pipe:")
    }

    pub fn reads(&self) -> bool {
        self.access != nix::libc::O_WRONLY
    }

    pub fn writes(&self) -> bool {
        self.access != nix::libc::O_RDONLY
    }
}

/// The open descriptors of `pid`, by number; empty if it is gone.
pub fn descriptors(pid: i32) -> Vec<Descriptor> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let mut found: Vec<Descriptor> = entries
        .filter_map(|entry| {
            let number = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let target: PathBuf = fs::read_link(format!("/proc/{pid}/fd/{number}")).ok()?;
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
            let flags = i32::from_str_radix(flags, 8).ok()?;
            Some(Descriptor {
                number,
                target: target.to_string_lossy().into_owned(),
                access: flags & nix::libc::O_ACCMODE,
            })
        })
        .collect();
    found.sort_by_key(|descriptor| descriptor.number);
    found
}

/// A line of `/proc/PID/status`, without its name.
pub fn status(pid: i32, field: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("a field of status");
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

pub fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap_or_else(|error| panic!("kill {pid} with {signal}: {error}"));
}

/// Ends a process that a test has started; one that is gone is fine.
pub fn end(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}
