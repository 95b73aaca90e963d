//! Tries, by a role that has just entered its sandbox, to do what it must not be able to: compiled in only with the feature
//! `break-out`.
//!
//! `ECHOSTORED_BREAKOUT=DIRECTORY` has every role try, and say how each went as one line of JSON: `done`, or the error's
//! name. In DIRECTORY there is the store, as `store`, and a file `outside`.

/// Whether the tries are compiled in.
pub const COMPILED_IN: bool = cfg!(feature = "break-out");

/// Tries all of it, if a test asked for it; the line of JSON.
#[inline]
pub fn attempt(role: &str) -> Option<String> {
    #[cfg(feature = "break-out")]
    return std::env::var("ECHOSTORED_BREAKOUT").ok().map(|directory| tries::all(role, &directory));
    #[cfg(not(feature = "break-out"))]
    {
        let _ = role;
        None
    }
}

#[cfg(feature = "break-out")]
mod tries {
    use nix::errno::Errno;
    use nix::libc::{self, c_long};
    use std::ffi::CString;
    use std::fmt::Write as _;
    use std::ptr::{null, null_mut};

    fn answer(result: c_long) -> String {
        if result < 0 { format!("{:?}", Errno::last()) } else { "done".to_owned() }
    }

    fn path(text: &str) -> CString {
        CString::new(text).unwrap_or_default()
    }

    fn open(text: &str, flags: i32) -> String {
        let path = path(text);
        // SAFETY: the path ends with NUL and lives through the call; a fourth argument is the mode.
        let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600) };
        let said = answer(fd);
        if let Ok(fd) = i32::try_from(fd) {
            // SAFETY: close takes a number: the descriptor that was just opened, if it was.
            unsafe { libc::close(fd) };
        }
        said
    }

    /// `mkdirat` or `mknodat`.
    fn make(number: c_long, text: &str, mode: libc::mode_t) -> String {
        let path = path(text);
        // SAFETY: the path ends with NUL and lives through the call; the rest are numbers.
        answer(unsafe { libc::syscall(number, libc::AT_FDCWD, path.as_ptr(), mode, 0) })
    }

    /// A call that takes numbers only, or addresses of nothing.
    fn call(number: c_long, arguments: [c_long; 5]) -> String {
        let [a, b, c, d, e] = arguments;
        // SAFETY: the callers below pass numbers, null, or addresses at which the kernel finds nothing and answers EFAULT.
        answer(unsafe { libc::syscall(number, a, b, c, d, e) })
    }

    /// Runs a program, in a child if there can be one.
    fn exec(in_child: bool) -> String {
        let (program, nothing) = (path("/bin/true"), [null::<libc::c_char>()]);
        // SAFETY: the process has one thread, or is not let fork at all; a child only execs and leaves.
        let child = if in_child { unsafe { libc::fork() } } else { 0 };
        if child == 0 {
            // SAFETY: the path ends with NUL, both lists with null. If it succeeds, the tests find no line of this role.
            let said = answer(unsafe {
                libc::syscall(libc::SYS_execve, program.as_ptr(), nothing.as_ptr(), nothing.as_ptr())
            });
            if in_child {
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(1) };
            }
            return said;
        }
        let mut status = 0;
        // SAFETY: the kernel writes one number to where the pointer leads.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        if status == 0 { "done".to_owned() } else { format!("status {status}") }
    }

    fn fork() -> String {
        // SAFETY: as in `exec`.
        match unsafe { libc::fork() } {
            // SAFETY: ends the child at once.
            0 => unsafe { libc::_exit(0) },
            child if child > 0 => {
                // SAFETY: no status is asked for.
                unsafe { libc::waitpid(child, null_mut(), 0) };
                "done".to_owned()
            }
            _ => answer(-1),
        }
    }

    fn memory_to_run() -> String {
        let (access, kind) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh page where the kernel likes; it stays.
        let at = unsafe { libc::mmap(null_mut(), 4096, access, kind, -1, 0) };
        answer(if at == libc::MAP_FAILED { -1 } else { 0 })
    }

    /// Its parent is another role: the supervisor, for all but that.
    pub fn all(role: &str, directory: &str) -> String {
        let (write, create) = (libc::O_WRONLY, libc::O_WRONLY | libc::O_CREAT);
        let parent = c_long::from(nix::unistd::getppid().as_raw());
        let forked = fork();
        let may_fork = forked == "done";
        let tcp = [libc::AF_INET, libc::SOCK_STREAM, 0, 0, 0].map(c_long::from);
        let unix = [libc::AF_UNIX, libc::SOCK_STREAM, 0, 0, 0].map(c_long::from);
        let option = |name: i32, value: i32| [name, value, 0, 0, 0].map(c_long::from);
        let said = [
            ("read /etc/passwd", open("/etc/passwd", libc::O_RDONLY)),
            ("read outside", open(&format!("{directory}/outside"), libc::O_RDONLY)),
            ("create outside", open(&format!("{directory}/escaped-{role}"), create)),
            ("create in the store", open(&format!("{directory}/store/.escape-{role}"), create)),
            ("mkdir in the store", make(libc::SYS_mkdirat, &format!("{directory}/store/.made-{role}"), 0o700)),
            (
                "fifo in the store",
                make(libc::SYS_mknodat, &format!("{directory}/store/.fifo-{role}"), libc::S_IFIFO | 0o600),
            ),
            ("leave by ..", open(&format!("{directory}/store/../outside"), write)),
            ("open /proc/self/fd/2", open("/proc/self/fd/2", write)),
            ("open /proc/self/mem", open("/proc/self/mem", write)),
            ("socket TCP", call(libc::SYS_socket, tcp)),
            ("socket Unix", call(libc::SYS_socket, unix)),
            ("connect", call(libc::SYS_connect, [-1, 0, 0, 0, 0])),
            ("connect by a message", call(libc::SYS_sendto, [-1, 0, 0, c_long::from(libc::MSG_FASTOPEN), 0])),
            ("bind", call(libc::SYS_bind, [-1, 0, 0, 0, 0])),
            ("listen", call(libc::SYS_listen, [-1, 0, 0, 0, 0])),
            ("fork", forked),
            ("clone3", call(libc::SYS_clone3, [0; 5])),
            ("new user namespace", call(libc::SYS_unshare, option(libc::CLONE_NEWUSER, 0))),
            ("exec", exec(may_fork)),
            ("execveat", call(libc::SYS_execveat, [-1, 0, 0, 0, 0])),
            ("memfd", call(libc::SYS_memfd_create, [c"x".as_ptr() as c_long, 0, 0, 0, 0])),
            ("memory to run", memory_to_run()),
            ("ptrace", call(libc::SYS_ptrace, [c_long::from(libc::PTRACE_PEEKUSER), parent, 0, 0, 0])),
            ("read another's memory", call(libc::SYS_process_vm_readv, [parent, 0, 0, 0, 0])),
            ("kill another", call(libc::SYS_kill, [parent, 0, 0, 0, 0])),
            ("tgkill another", call(libc::SYS_tgkill, [parent, parent, 0, 0, 0])),
            ("kill all", call(libc::SYS_kill, [0, 0, 0, 0, 0])),
            ("pidfd", call(libc::SYS_pidfd_open, [parent, 0, 0, 0, 0])),
            ("outlive the parent", call(libc::SYS_prctl, option(libc::PR_SET_PDEATHSIG, 0))),
            ("take privileges again", call(libc::SYS_prctl, option(libc::PR_SET_NO_NEW_PRIVS, 0))),
            ("seccomp", call(libc::SYS_seccomp, [2, 0, -1, 0, 0])),
            ("io_uring", call(libc::SYS_io_uring_setup, [0; 5])),
            ("bpf", call(libc::SYS_bpf, [-1, 0, 0, 0, 0])),
            ("mount", call(libc::SYS_mount, [0; 5])),
            ("chroot", call(libc::SYS_chroot, [0; 5])),
            ("larger pipe", call(libc::SYS_fcntl, option(2, libc::F_SETPIPE_SZ))),
            ("duplicate", call(libc::SYS_dup, [2, 0, 0, 0, 0])),
        ];
        let mut line = format!("{{\"role\":\"{role}\"");
        for (what, how) in said {
            let _ = write!(line, ",\"{what}\":\"{how}\"");
        }
        line + "}"
    }
}
