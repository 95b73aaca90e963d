//! Processes: `fork(2)` of a role, its descriptors, its death; limits of the process.
use super::{AsRawFd, OwnedFd, RawFd, check};
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, getpid, getppid};
use std::io;
use std::os::fd::FromRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

pub use nix::unistd::Pid;

/// Proof of being a freshly forked child; the only way to take over descriptors of the parent's memory.
#[derive(Debug)]
pub struct Child(());

impl Child {
    /// Takes ownership of an inherited descriptor.
    ///
    /// The parent's own object for it lies in the copied memory, is never dropped in this process (the child leaves by
    /// `_exit` and never returns into the parent's frames), so the result is its only owner here. Call once for each.
    pub fn adopt(&self, fd: &impl AsRawFd) -> OwnedFd {
        // SAFETY: open, since it is on the child's keep list; no second owner, for the reason above.
        unsafe { OwnedFd::from_raw_fd(fd.as_raw_fd()) }
    }
}

/// Forks a child that keeps only 0, 1, 2 and `keep`, gets `TERM` when its parent dies, runs `role` and leaves with the
/// code it returns. Never returns in the child.
///
/// # Errors
/// `fork(2)` failed, or this process has more than one thread, which fork would silently lose.
pub fn fork_role(keep: &[RawFd], role: impl FnOnce(Child) -> u8) -> io::Result<Pid> {
    if thread_count()? != 1 {
        return Err(io::Error::other("fork needs a single-threaded process"));
    }
    let parent = getpid();
    // SAFETY: the process has one thread, checked above, so that the child's copy of all locks is unlocked and it may
    // run any code.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = catch_unwind(AssertUnwindSafe(|| match settle(parent, keep) {
                Ok(()) => {
                    let child = Child(());
                    super::memory::give_up_inherited(&child);
                    super::allocations::begin_in_child();
                    role(child)
                }
                Err(_) => 1,
            }));
            // SAFETY: _exit ends the process at once; nothing of the parent's (buffers, destructors) runs here.
            unsafe { libc::_exit(i32::from(code.unwrap_or(101))) }
        }
    }
}

/// A child's first steps. The death signal comes after everything that could clear it, and a parent that died before
/// it was set is noticed by asking once more.
fn settle(parent: Pid, keep: &[RawFd]) -> io::Result<()> {
    close_all_but(keep)?;
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    if getppid() != parent {
        return Err(io::Error::other("the parent died during fork"));
    }
    Ok(())
}

/// Closes every descriptor but 0, 1, 2 and `keep` (close_range(2)).
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = keep.iter().filter_map(|&fd| u32::try_from(fd).ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: close_range takes three numbers. The owners of the closed descriptors are never used again: at start
    // nothing of ours is open yet, after a fork they are the parent's.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } as isize)?;
    Ok(())
}

/// The number of threads of this process (`/proc/self/task`, proc(5)).
pub fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// The next child that has ended, without waiting: its pid and how it ended.
pub fn reap() -> io::Result<Option<(Pid, Ending)>> {
    loop {
        return match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => Ok(Some((pid, Ending::Exit(u8::try_from(code & 0xff).unwrap_or(1))))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => Ok(Some((pid, Ending::Signal(signal)))),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => Ok(None),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// The state of a process, as a letter of proc(5); of one with threads, that of its first. `None`: it is gone, or hidden.
pub fn state(pid: Pid) -> Option<char> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The command before it may hold spaces and brackets; what follows it does not.
    let command_end = stat.iter().rposition(|&byte| byte == b')')?;
    stat.get(command_end + 2).map(|&letter| char::from(letter))
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It left with this code.
    Exit(u8),
    /// This signal ended it.
    Signal(Signal),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "{signal}"),
        }
    }
}

/// Sends `signal` to a child of ours that has not been reaped yet, hence is still the same process.
pub fn signal_child(pid: Pid, signal: Signal) -> io::Result<()> {
    Ok(kill(pid, signal)?)
}

/// This process's id.
pub fn own_pid() -> u32 {
    std::process::id()
}

/// Lowers this process's priority: nice 10, if it is not lower already, and the last level of best effort for I/O. Returns
/// what was refused; the rest is done.
pub fn lower_priority() -> Vec<(&'static str, io::Error)> {
    const NICE: i32 = 10;
    const IOPRIO_WHO_PROCESS: i32 = 1;
    /// `IOPRIO_CLASS_BE`, level 7 (ioprio_set(2)).
    const LAST_OF_BEST_EFFORT: i32 = (2 << 13) | 7;
    // SAFETY: getpriority takes two numbers; 0 is this process. Its -1 may be an answer or an error: either way a
    // priority above 10.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    // SAFETY: setpriority takes three numbers.
    let cpu = || check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice.max(NICE)) } as isize);
    // SAFETY: ioprio_set takes three numbers; 0 is this process.
    let disk =
        || check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, LAST_OF_BEST_EFFORT) } as isize);
    let results = [("setpriority", cpu()), ("ioprio_set", disk())];
    results.into_iter().filter_map(|(what, result)| Some((what, result.err()?))).collect()
}

/// How often this process has lost the processor before it was done with it (getrusage(2), `ru_nivcsw`): others wanted it.
pub fn interruptions() -> u64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    usage.map_or(0, |usage| u64::try_from(usage.involuntary_context_switches()).unwrap_or(0))
}

/// Time since the machine started, suspended or not (`CLOCK_BOOTTIME`): nobody can set it.
pub fn since_boot() -> io::Result<std::time::Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec to where the pointer leads, which lives through the call.
    check(unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) } as isize)?;
    let [seconds, nanos] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    Ok(std::time::Duration::from_secs(seconds) + std::time::Duration::from_nanos(nanos))
}

/// Tells this start of the machine from any other (random(4)). Where that is hidden, as by systemd's `ProcSubset=pid`, it
/// tells the life of our parent from any other: its number and when it started, which is counted from the boot (proc(5)).
pub fn boot_id() -> io::Result<String> {
    if let Ok(id) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        return Ok(id.trim().to_owned());
    }
    let parent = getppid();
    let stat = std::fs::read_to_string(format!("/proc/{parent}/stat"))?;
    let started = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_ascii_whitespace().nth(19));
    Ok(format!("process {parent} of {}", started.ok_or(io::ErrorKind::InvalidData)?))
}

/// Raises the soft limit of open files to the hard one and returns it (getrlimit(2)).
pub fn raise_file_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// The CPU time that this thread has used, in user and system mode (getrusage(2), `RUSAGE_THREAD`).
pub fn thread_cpu() -> io::Result<std::time::Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let part = |time: nix::sys::time::TimeVal| {
        let micros = time.tv_sec().saturating_mul(1_000_000).saturating_add(time.tv_usec());
        std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    Ok(part(usage.user_time()) + part(usage.system_time()))
}

/// The number of CPUs that this process may run on (sched_getaffinity(2)).
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Opens `/dev/null` in the place of each of 0, 1 and 2 that is closed, so that no file of ours lands there and is
/// written to by a stray message.
pub fn fill_standard_fds() -> io::Result<()> {
    loop {
        let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        if file.as_raw_fd() > 2 {
            return Ok(());
        }
        std::mem::forget(file);
    }
}

/// Makes `file` this process's standard error (dup2(2)).
pub fn replace_stderr(file: &std::fs::File) -> io::Result<()> {
    // SAFETY: dup2 takes two descriptors and no memory; 2 is open for life, and whatever it was before is closed by the
    // kernel in the same step.
    super::retry(|| unsafe { libc::dup2(file.as_raw_fd(), 2) as isize }).map(|_| ())
}

/// Takes ownership of the descriptors that the service manager passed at `exec`, once in a process: sd_listen_fds(3)
/// says which, and they belong to nobody else here. What is not open is left out.
pub fn adopt_passed(numbers: &[RawFd]) -> Vec<(RawFd, OwnedFd)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let is_open = |&number: &RawFd| {
        // SAFETY: F_GETFD takes no memory, and answers EBADF for a number that is not open.
        number > 2 && unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0
    };
    // SAFETY: open, asked just now; above 2, so nobody's standard stream; passed to this process, which has opened
    // nothing yet that it could be confused with; taken once.
    let own = |number: RawFd| (number, unsafe { OwnedFd::from_raw_fd(number) });
    numbers.iter().copied().filter(is_open).map(own).collect()
}

/// Forgets the variables by which a service manager speaks to its main process: no role is that process.
///
/// # Errors
/// There are more threads than one: another might read the environment meanwhile.
pub fn forget_service_environment() -> io::Result<()> {
    forget_variables(&[
        "NOTIFY_SOCKET",
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_PIDFDID",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "FDSTORE",
    ])
}

/// Takes variables out of the environment.
///
/// # Errors
/// There are more threads than one: another might read the environment meanwhile.
pub fn forget_variables(names: &[&str]) -> io::Result<()> {
    if thread_count()? != 1 {
        return Err(io::Error::other("the environment can only be changed by a single-threaded process"));
    }
    for name in names {
        // SAFETY: this process has one thread, counted above: nobody else reads the environment.
        unsafe { std::env::remove_var(name) };
    }
    Ok(())
}

/// Unblocks all signals that a careless parent may have left blocked.
pub fn unblock_signals() -> io::Result<()> {
    Ok(SigSet::all().thread_unblock()?)
}

/// Sets the file mode creation mask, and returns the one before (umask(2)).
pub fn set_umask(mask: u32) -> u32 {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask)).bits()
}

/// Random bytes of the kernel (getrandom(2)): a secret that no client can guess.
pub fn random_word() -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: the kernel writes at most 8 bytes into `bytes`; up to 256 bytes are given whole (getrandom(2)).
    super::retry(|| unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) })?;
    Ok(u64::from_le_bytes(bytes))
}
