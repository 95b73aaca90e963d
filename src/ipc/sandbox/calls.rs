//! Which system calls each role needs, row by row; what is not here, it does not have. And which ones nobody has, not even
//! the operator's hook.
//!
//! Libraries call differently by version and architecture (glibc, musl; aarch64 has no `open`), so old and new forms of the
//! same deed stand together.
use crate::sys::sandbox::seccomp::{Row, When};
use When::{Always, OneOf, OwnPid, WithAny, Without};
use nix::libc::*;

const EXEC: u32 = PROT_EXEC as u32;
const FAST_OPEN: u32 = MSG_FASTOPEN as u32;

/// What every role does: its loop, memory, time, its channel to the supervisor, its log, its own end.
pub(super) const LOOP: &[Row] = &[
    (SYS_read, Always),
    (SYS_readv, Always),
    (SYS_write, Always),
    (SYS_writev, Always),
    (SYS_close, Always),
    (SYS_fstat, Always),
    // The channel, and a client's bytes. What is sent goes to whom a descriptor leads: there is no `connect`.
    (SYS_recvfrom, Always),
    // Nor by TCP Fast Open, which would connect a listener that was shut down, past Landlock.
    (SYS_sendto, Without(3, FAST_OPEN)),
    (SYS_recvmsg, Always),
    (SYS_sendmsg, Without(2, FAST_OPEN)),
    (SYS_epoll_ctl, Always),
    (SYS_epoll_pwait, Always),
    (SYS_epoll_pwait2, Always),
    (SYS_ppoll, Always),
    // Memory, but none that can be run.
    (SYS_brk, Always),
    (SYS_mmap, Without(2, EXEC)),
    (SYS_mprotect, Without(2, EXEC)),
    (SYS_munmap, Always),
    (SYS_mremap, Always),
    (SYS_madvise, Always),
    (SYS_getrandom, Always),
    // Locks and time, where the vDSO does not help.
    (SYS_futex, Always),
    (SYS_sched_yield, Always),
    (SYS_clock_gettime, Always),
    (SYS_clock_getres, Always),
    (SYS_clock_nanosleep, Always),
    (SYS_nanosleep, Always),
    (SYS_gettimeofday, Always),
    (SYS_getrusage, Always),
    // Signals to itself: a panic aborts. To nobody else.
    (SYS_rt_sigaction, Always),
    (SYS_rt_sigprocmask, Always),
    (SYS_rt_sigreturn, Always),
    (SYS_sigaltstack, Always),
    (SYS_restart_syscall, Always),
    (SYS_getpid, Always),
    (SYS_getppid, Always),
    (SYS_gettid, Always),
    // Whose files are ours. They cannot fail, so nobody looks: refused, -1 would be somebody else's number.
    (SYS_getuid, Always),
    (SYS_geteuid, Always),
    (SYS_getgid, Always),
    (SYS_getegid, Always),
    (SYS_kill, OwnPid(0)),
    (SYS_tgkill, OwnPid(0)),
    // musl: by thread, and the first has the number of the process.
    (SYS_tkill, OwnPid(0)),
    (SYS_exit, Always),
    (SYS_exit_group, Always),
    // A thread's beginning, which may come after the filter.
    (SYS_set_robust_list, Always),
    (SYS_rseq, Always),
    (SYS_sched_getaffinity, Always),
    (SYS_membarrier, Always),
    (SYS_prctl, OneOf(0, &[PR_SET_NAME as u32, PR_GET_NO_NEW_PRIVS as u32])),
];

#[cfg(target_arch = "x86_64")]
pub(super) const LOOP_OLD: &[Row] = &[(SYS_epoll_wait, Always), (SYS_poll, Always), (SYS_time, Always)];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const LOOP_OLD: &[Row] = &[];

/// The connections of a worker, or of the exporter. No `socket`, `bind`, `listen`, `connect`; of `fcntl` nothing that makes a descriptor or a pipe
/// larger.
pub(super) const CONNECTIONS: &[Row] = &[
    (SYS_accept4, Always),
    (SYS_accept, Always),
    (SYS_shutdown, Always),
    (SYS_getsockopt, Always),
    (SYS_setsockopt, Always),
    (SYS_getsockname, Always),
    (SYS_getpeername, Always),
    (SYS_ioctl, OneOf(1, &[FIONREAD as u32, FIONBIO as u32, TIOCOUTQ as u32])),
    (SYS_fcntl, OneOf(1, &[F_GETFD as u32, F_SETFD as u32, F_GETFL as u32, F_SETFL as u32])),
];

/// Files of the store, by writer and archiver; Landlock says where.
pub(super) const FILES: &[Row] = &[
    (SYS_openat, Always),
    (SYS_pread64, Always),
    (SYS_preadv, Always),
    (SYS_preadv2, Always),
    (SYS_pwrite64, Always),
    (SYS_pwritev, Always),
    (SYS_pwritev2, Always),
    (SYS_fdatasync, Always),
    (SYS_fsync, Always),
    (SYS_sync_file_range, Always),
    (SYS_ftruncate, Always),
    (SYS_fallocate, Always),
    (SYS_fadvise64, Always),
    (SYS_lseek, Always),
    (SYS_newfstatat, Always),
    (SYS_statx, Always),
    (SYS_statfs, Always),
    (SYS_fstatfs, Always),
    (SYS_getdents64, Always),
    (SYS_readlinkat, Always),
    (SYS_linkat, Always),
    (SYS_unlinkat, Always),
    (SYS_renameat2, Always),
    (SYS_fchmod, Always),
    (SYS_fchmodat, Always),
    (SYS_utimensat, Always),
    (SYS_flock, Always),
    (SYS_copy_file_range, Always),
    (SYS_sendfile, Always),
    (SYS_ioctl, OneOf(1, &[FIONREAD as u32])),
    (SYS_fcntl, OneOf(1, FILE_CONTROLS)),
];

/// Flags; a second descriptor of the same (`try_clone`); how large a pipe is.
const FILE_CONTROLS: &[u32] =
    &[F_GETFD as u32, F_SETFD as u32, F_GETFL as u32, F_SETFL as u32, F_DUPFD_CLOEXEC as u32, F_GETPIPE_SZ as u32];

#[cfg(target_arch = "x86_64")]
pub(super) const FILES_OLD: &[Row] = &[
    (SYS_open, Always),
    (SYS_stat, Always),
    (SYS_lstat, Always),
    (SYS_readlink, Always),
    (SYS_link, Always),
    (SYS_unlink, Always),
    (SYS_rename, Always),
    (SYS_renameat, Always),
];
#[cfg(target_arch = "aarch64")]
pub(super) const FILES_OLD: &[Row] = &[(SYS_renameat, Always)];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) const FILES_OLD: &[Row] = &[];

/// How the writer looks into the data pipes, and takes out of them what is stored.
pub(super) const PIPES: &[Row] = &[(SYS_tee, Always), (SYS_splice, Always)];

/// The end of the archiver's only child, the hook runner.
pub(super) const CHILD: &[Row] = &[(SYS_wait4, Always)];

/// Namespaces, by flags of clone(2).
const NAMESPACES: &[u32] = &[
    CLONE_NEWNS as u32,
    CLONE_NEWCGROUP as u32,
    CLONE_NEWUTS as u32,
    CLONE_NEWIPC as u32,
    CLONE_NEWUSER as u32,
    CLONE_NEWPID as u32,
    CLONE_NEWNET as u32,
];

/// What none of them does, nor the hook: what reaches into other processes, into the kernel, into the whole machine.
pub(super) const NOBODY: &[Row] = &[
    // Other processes' memory and descriptors.
    (SYS_ptrace, Always),
    (SYS_process_vm_readv, Always),
    (SYS_process_vm_writev, Always),
    (SYS_process_madvise, Always),
    (SYS_pidfd_getfd, Always),
    (SYS_kcmp, Always),
    // Mounts, roots, namespaces.
    (SYS_mount, Always),
    (SYS_umount2, Always),
    (SYS_pivot_root, Always),
    (SYS_chroot, Always),
    (SYS_open_tree, Always),
    (SYS_move_mount, Always),
    (SYS_fsopen, Always),
    (SYS_fsconfig, Always),
    (SYS_fsmount, Always),
    (SYS_fspick, Always),
    (SYS_mount_setattr, Always),
    (SYS_unshare, Always),
    (SYS_setns, Always),
    (SYS_clone, WithAny(0, NAMESPACES)),
    (SYS_open_by_handle_at, Always),
    (SYS_name_to_handle_at, Always),
    // Doors into the kernel in which faults were found most often.
    (SYS_bpf, Always),
    (SYS_perf_event_open, Always),
    (SYS_userfaultfd, Always),
    (SYS_io_uring_setup, Always),
    (SYS_io_uring_enter, Always),
    (SYS_io_uring_register, Always),
    (SYS_add_key, Always),
    (SYS_request_key, Always),
    (SYS_keyctl, Always),
    (SYS_fanotify_init, Always),
    (SYS_lookup_dcookie, Always),
    (SYS_personality, Always),
    (SYS_vhangup, Always),
    (SYS_remap_file_pages, Always),
    // The machine.
    (SYS_init_module, Always),
    (SYS_finit_module, Always),
    (SYS_delete_module, Always),
    (SYS_kexec_load, Always),
    (SYS_kexec_file_load, Always),
    (SYS_reboot, Always),
    (SYS_swapon, Always),
    (SYS_swapoff, Always),
    (SYS_acct, Always),
    (SYS_quotactl, Always),
    (SYS_syslog, Always),
    (SYS_sethostname, Always),
    (SYS_setdomainname, Always),
    (SYS_settimeofday, Always),
    (SYS_clock_settime, Always),
    (SYS_clock_adjtime, Always),
    (SYS_adjtimex, Always),
    (SYS_nfsservctl, Always),
    (SYS_mbind, Always),
    (SYS_migrate_pages, Always),
    (SYS_move_pages, Always),
    (SYS_set_mempolicy, Always),
];

#[cfg(target_arch = "x86_64")]
pub(super) const NOBODY_OLD: &[Row] = &[
    (SYS_iopl, Always),
    (SYS_ioperm, Always),
    (SYS_modify_ldt, Always),
    (SYS_uselib, Always),
    (SYS_ustat, Always),
    (SYS_sysfs, Always),
    (SYS__sysctl, Always),
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const NOBODY_OLD: &[Row] = &[];

/// Its flags stand in memory, where a filter cannot look: "not there", so that glibc takes `clone`, whose flags can be seen.
pub(super) const CLONE3: &[Row] = &[(SYS_clone3, Always)];
