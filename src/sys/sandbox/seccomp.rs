//! seccomp(2): a filter of system calls, compiled by `seccompiler`. A call that it refuses fails, and kills nobody; one by
//! the entry of another architecture (on x86_64: `int 0x80`) ends the process, which is how that crate compiles a filter.
use nix::libc;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;
use std::io;

/// When a row of a table is about a call; arguments count from 0, and are compared as 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Whatever its arguments are.
    Always,
    /// This argument is the process's own id.
    OwnPid(u8),
    /// This argument is one of these.
    OneOf(u8, &'static [u32]),
    /// This argument has none of these bits.
    Without(u8, u32),
    /// This argument has one of these bits, each of which stands alone.
    WithAny(u8, &'static [u32]),
}

/// A row: the call's number, and when.
pub type Row = (libc::c_long, When);

/// What a refused call of a table answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `EPERM`.
    NotPermitted,
    /// `ENOSYS`: for a call that glibc has another way for.
    NotThere,
}

/// Whether this kernel has filters that answer with an error.
pub fn is_there() -> bool {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads four bytes where the pointer leads, which live through the call.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    answer == 0
}

/// From now on all threads of this process may do nothing but what the rows say.
///
/// # Errors
/// As seccomp(2); `no_new_privs` is set on the way.
pub fn allow_only(rows: &[Row]) -> io::Result<()> {
    apply(rows, Answer::NotPermitted.action(), SeccompAction::Allow)
}

/// From now on no thread of this process, nor any child, may do what the rows say.
///
/// # Errors
/// As seccomp(2); `no_new_privs` is set on the way.
pub fn refuse(rows: &[Row], answer: Answer) -> io::Result<()> {
    apply(rows, SeccompAction::Allow, answer.action())
}

impl Answer {
    fn action(self) -> SeccompAction {
        let error = match self {
            Self::NotPermitted => libc::EPERM,
            Self::NotThere => libc::ENOSYS,
        };
        SeccompAction::Errno(error.cast_unsigned())
    }
}

fn apply(rows: &[Row], otherwise: SeccompAction, listed: SeccompAction) -> io::Result<()> {
    let program = compile(rows, otherwise, listed).map_err(io::Error::other)?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| match error {
        Error::Prctl(error) | Error::Seccomp(error) => error,
        other => io::Error::other(other),
    })
}

fn compile(rows: &[Row], otherwise: SeccompAction, listed: SeccompAction) -> Result<BpfProgram, Error> {
    let mut rules = BTreeMap::new();
    for (call, when) in rows {
        let conditions = conditions(*when)?;
        #[cfg(target_arch = "x86_64")]
        if matches!(otherwise, SeccompAction::Allow) {
            // The same call by its x32 number, which tells the same architecture (syscall(2)).
            rules.insert(call | 0x4000_0000, conditions.clone());
        }
        rules.insert(*call, conditions);
    }
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, otherwise, listed, architecture)?.try_into()?)
}

/// One of them is enough; none at all: always.
fn conditions(when: When) -> Result<Vec<SeccompRule>, Error> {
    let is = |argument: u8, operator: SeccompCmpOp, value: u32| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, u64::from(value))?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    match when {
        When::Always => Ok(Vec::new()),
        When::OwnPid(argument) => Ok(vec![is(argument, SeccompCmpOp::Eq, std::process::id())?]),
        When::OneOf(argument, values) => values.iter().map(|value| is(argument, SeccompCmpOp::Eq, *value)).collect(),
        When::Without(argument, bits) => Ok(vec![is(argument, SeccompCmpOp::MaskedEq(u64::from(bits)), 0)?]),
        When::WithAny(argument, bits) => {
            let has = |bit: &u32| is(argument, SeccompCmpOp::MaskedEq(u64::from(*bit)), *bit);
            bits.iter().map(has).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_row_compiles() {
        let rows = [
            (libc::SYS_read, When::Always),
            (libc::SYS_kill, When::OwnPid(0)),
            (libc::SYS_fcntl, When::OneOf(1, &[1, 2])),
            (libc::SYS_mmap, When::Without(2, 4)),
            (libc::SYS_clone, When::WithAny(0, &[1, 2])),
        ];
        for (otherwise, listed) in
            [(Answer::NotPermitted.action(), SeccompAction::Allow), (SeccompAction::Allow, Answer::NotThere.action())]
        {
            assert!(!compile(&rows, otherwise, listed).unwrap().is_empty());
        }
    }
}
