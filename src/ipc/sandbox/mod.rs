//! Each role in its own sandbox: what it may still do once it serves, as a table, and who applies it when.
//!
//! | role | file system (Landlock) | network, other processes (Landlock) | system calls (seccomp) |
//! |---|---|---|---|
//! | supervisor | all that its user may | all | all but [`calls::NOBODY`]; inherited by everybody, the hook too |
//! | worker | nothing | no TCP `bind`, `connect`; no signal, no abstract socket | [`calls::LOOP`], [`calls::CONNECTIONS`] |
//! | writer | the store's directory; `/dev/null`; the time zones, if `rotate.timezone = "local"` | the same | `LOOP`, [`calls::FILES`], [`calls::PIPES`] |
//! | archiver | the store's directory | the same | `LOOP`, `FILES`, [`calls::CHILD`] |
//! | exporter | nothing | the same | `LOOP`, `CONNECTIONS` |
//! | hook runner | as the supervisor | as the supervisor | as the supervisor |
//!
//! `no_new_privs` holds for all. The supervisor has no wall: what it needs of the file system changes with each reload, and
//! it never sees a client's byte.
mod calls;

use super::wiring::Role;
use crate::config::Sandbox as Mode;
use crate::exit::{self, Fatal};
use crate::sys::sandbox::seccomp::{self, Answer, Row};
use crate::sys::sandbox::{self, Place, Rights, landlock};
use crate::sys::{AsFd, BorrowedFd, breakout, crash, file};
use serde::{Deserialize, Serialize};
use std::io;

/// Where the C library and chrono look for time zones. What is not there is left out.
const TIME_ZONES: [&str; 3] = ["/etc/localtime", "/usr/share/zoneinfo", "/usr/lib/zoneinfo"];

/// What holds for a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// No `execve` gives it rights.
    pub no_new_privs: bool,
    /// The version (ABI) of Landlock whose rules hold; 0: none.
    pub landlock: u8,
    /// A filter of ours on its system calls.
    pub seccomp: bool,
}

impl InForce {
    /// As a word of the scoreboard.
    pub fn word(self) -> u64 {
        u64::from(self.no_new_privs) | u64::from(self.seccomp) << 1 | u64::from(self.landlock) << 8
    }

    /// Reads that word.
    pub fn of_word(word: u64) -> Self {
        let landlock = u8::try_from(word >> 8 & 0xff).unwrap_or(0);
        Self { no_new_privs: word & 1 > 0, landlock, seccomp: word & 2 > 0 }
    }
}

/// `no new privileges, seccomp, landlock 6`.
impl std::fmt::Display for InForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let landlock = (self.landlock > 0).then(|| format!("landlock {}", self.landlock));
        let parts = [
            self.no_new_privs.then(|| "no new privileges".to_owned()),
            self.seccomp.then(|| "seccomp".to_owned()),
            landlock,
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }.as_str())
    }
}

/// The supervisor's own, once it is the user that all of them run as, and before it forks. What the kernel lacks is said
/// here, for all.
///
/// # Errors
/// `security.sandbox = "required"`, and something cannot be had.
pub fn confine_supervisor(mode: Mode) -> Result<InForce, Fatal> {
    if mode == Mode::Off {
        return Ok(InForce { no_new_privs: sandbox::has_no_new_privs(), ..InForce::default() });
    }
    let missing: Vec<&str> = [("Landlock", landlock::is_there()), ("seccomp filters", seccomp::is_there())]
        .into_iter()
        .filter_map(|(what, there)| (!there).then_some(what))
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(" and no ");
        if mode == Mode::Required {
            return Err(refusal(&format!("this kernel has no {missing}")));
        }
        crate::warn!(
            SANDBOX_MISSING,
            "this kernel has no {missing}: the processes run without (security.sandbox = \"auto\")"
        );
    }
    sandbox::no_new_privs().or_else(|error| unless_required(mode, "set no_new_privs", &error))?;
    let filter = || -> io::Result<()> {
        seccomp::refuse(calls::CLONE3, Answer::NotThere)?;
        seccomp::refuse(&[calls::NOBODY, calls::NOBODY_OLD].concat(), Answer::NotPermitted)
    };
    let seccomp = settle_filter(mode, filter)?;
    breakout::attempt("supervisor")
        .inspect(|said| crate::log::write(crate::config::Level::Notice, None, &[], format_args!("breakout {said}")));
    Ok(InForce { no_new_privs: sandbox::has_no_new_privs(), landlock: 0, seccomp })
}

/// The file system, the network and other processes, for the calling thread and those that it starts: before the writer
/// starts its own. Returns the version of Landlock in force.
///
/// # Errors
/// `security.sandbox = "required"`, and it cannot be had.
pub fn wall_in(role: Role, mode: Mode, store: Option<BorrowedFd<'_>>, local_time: bool) -> Result<u8, Fatal> {
    if mode == Mode::Off || role == Role::Supervisor {
        return Ok(0);
    }
    // Whoever may not open one of these had nothing of it before.
    // tzset(3): TZ may name a file; the supervisor has looked at it.
    let own = std::env::var("TZ").ok().map(|zone| zone.trim_start_matches(':').to_owned());
    let own = own.filter(|zone| zone.starts_with('/'));
    let zones = TIME_ZONES.into_iter().chain(own.as_deref()).filter(|_| local_time);
    let zones = zones.filter_map(|path| file::open_place(path).ok());
    let zones: Vec<_> = zones.collect();
    let null = (role == Role::Writer).then(|| file::open_place("/dev/null").ok()).flatten();
    let mut places: Vec<Place<'_>> = zones.iter().map(|fd| Place { fd: fd.as_fd(), rights: Rights::Read }).collect();
    places.extend(null.iter().map(|fd| Place { fd: fd.as_fd(), rights: Rights::Write }));
    let of_tests = crash::place().filter(|_| store.is_some()).and_then(|path| file::open_place(&path).ok());
    places.extend(
        store.into_iter().chain(of_tests.as_ref().map(AsFd::as_fd)).map(|fd| Place { fd, rights: Rights::Store }),
    );
    match landlock::wall_in(&places) {
        Ok(0) if mode == Mode::Required => Err(refusal("this kernel has no Landlock")),
        Ok(abi) => Ok(abi),
        Err(error) => unless_required(mode, "use Landlock", &error).map(|()| 0),
    }
}

/// The system calls, for all threads there are; with the wall, that is all. Returns what is in force.
///
/// # Errors
/// `security.sandbox = "required"`, and it cannot be had.
pub fn filter(role: Role, mode: Mode, landlock: u8) -> Result<InForce, Fatal> {
    let seccomp = match allowed(role) {
        Some(rows) if mode != Mode::Off => settle_filter(mode, || seccomp::allow_only(&rows))?,
        _ => false,
    };
    breakout::attempt(&format!("{role:?}").to_lowercase())
        .inspect(|said| crate::log::write(crate::config::Level::Notice, None, &[], format_args!("breakout {said}")));
    Ok(InForce { no_new_privs: sandbox::has_no_new_privs(), landlock, seccomp })
}

/// All that a role may call; `None`: it is not held to a list.
fn allowed(role: Role) -> Option<Vec<Row>> {
    let tables: &[&[Row]] = match role {
        Role::Supervisor => return None,
        Role::Worker | Role::Exporter => &[calls::LOOP, calls::LOOP_OLD, calls::CONNECTIONS],
        Role::Writer => &[calls::LOOP, calls::LOOP_OLD, calls::FILES, calls::FILES_OLD, calls::PIPES],
        Role::Archiver => &[calls::LOOP, calls::LOOP_OLD, calls::FILES, calls::FILES_OLD, calls::CHILD],
    };
    Some(tables.concat())
}

fn settle_filter(mode: Mode, apply: impl FnOnce() -> io::Result<()>) -> Result<bool, Fatal> {
    match apply() {
        Ok(()) => Ok(true),
        // Said once, by the supervisor.
        Err(_) if mode == Mode::Auto && !seccomp::is_there() => Ok(false),
        Err(error) => unless_required(mode, "filter system calls", &error).map(|()| false),
    }
}

fn unless_required(mode: Mode, what: &str, error: &io::Error) -> Result<(), Fatal> {
    if mode == Mode::Required {
        return Err(refusal(&format!("cannot {what}: {error}")));
    }
    crate::warn!(
        SANDBOX_INCOMPLETE,
        "cannot {what}: {error}; this process goes on without (security.sandbox = \"auto\")"
    );
    Ok(())
}

fn refusal(why: &str) -> Fatal {
    Fatal::new(exit::CONFIG, format!("{why}, and security.sandbox is \"required\"; \"auto\" does without"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc;

    fn calls_of(role: Role) -> Vec<i64> {
        allowed(role).unwrap().into_iter().map(|(call, _)| call).collect()
    }

    #[test]
    fn a_word_comes_back() {
        for landlock in [0, 1, 6, 255] {
            for (no_new_privs, seccomp) in [(false, false), (true, false), (false, true), (true, true)] {
                let state = InForce { no_new_privs, landlock, seccomp };
                assert_eq!(InForce::of_word(state.word()), state);
            }
        }
        assert_eq!(InForce::default().to_string(), "none");
        assert_eq!(
            InForce { no_new_privs: true, landlock: 6, seccomp: true }.to_string(),
            "no new privileges, seccomp, landlock 6"
        );
    }

    #[test]
    fn no_call_has_two_rows() {
        let nobody: Vec<i64> = [calls::NOBODY, calls::NOBODY_OLD].concat().into_iter().map(|(call, _)| call).collect();
        for mut all in
            [nobody, calls_of(Role::Worker), calls_of(Role::Writer), calls_of(Role::Archiver), calls_of(Role::Exporter)]
        {
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), count, "of two rows only one would count");
        }
    }

    #[test]
    fn what_nobody_may_no_role_may() {
        let forbidden = [
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_memfd_create,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_seccomp,
        ];
        for role in [Role::Worker, Role::Writer, Role::Archiver, Role::Exporter] {
            let allowed = calls_of(role);
            assert!(forbidden.iter().all(|call| !allowed.contains(call)), "{role:?}");
            assert!(calls::NOBODY.iter().all(|(call, _)| !allowed.contains(call)), "{role:?}");
        }
        assert!(!calls_of(Role::Worker).contains(&libc::SYS_openat), "a worker has no files");
    }
}
