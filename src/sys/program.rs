//! Programs of the operator: started as a process group of their own, and ended as one.
use super::process::Pid;
use super::{AsFd, check};
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{getpid, getppid};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// What is kept of the environment.
const KEPT: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];

/// Starts `program` with `arguments`, `variables` and a few usual ones of this process, in `/`, without input. What it says
/// goes to standard error. It gets no other descriptor of ours, leads a process group, and is killed when this process
/// (its calling thread) dies.
///
/// # Errors
/// As `fork(2)` and `execve(2)`.
pub fn start(program: &str, arguments: &[OsString], variables: &[(&str, &OsStr)]) -> io::Result<Pid> {
    let [output, errors] = [io::stderr(), io::stderr()].map(|stream| stream.as_fd().try_clone_to_owned());
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/").process_group(0);
    command.envs(KEPT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(output?).stderr(errors?);
    let parent = getpid();
    // SAFETY: between fork and exec the child does system calls only: no lock is taken and no memory allocated.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            super::signals::reset(&[
                Signal::SIGINT,
                Signal::SIGQUIT,
                Signal::SIGHUP,
                Signal::SIGTERM,
                Signal::SIGUSR1,
                Signal::SIGUSR2,
                Signal::SIGPIPE,
                Signal::SIGXFSZ,
            ])?;
            close_at_exec();
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?))
}

/// Marks every descriptor beyond the standard ones to be closed by `execve`. All of ours are already; this is for one that
/// came from elsewhere, and a kernel before 5.11 does without.
fn close_at_exec() {
    // SAFETY: close_range takes three numbers, and only sets a flag here.
    let _ = check(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } as isize);
}

/// Sends `signal` to the process group of a program that was not reaped yet, hence still leads it.
pub fn signal_group(leader: Pid, signal: Signal) -> io::Result<()> {
    Ok(killpg(leader, signal)?)
}
