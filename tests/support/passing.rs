//! Passes descriptors as a service manager does (sd_listen_fds(3)): from number 3 on, with names, to a known pid.
use super::{daemon, home};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

/// Puts its first arguments, descriptors up to `--`, in their places, and becomes the rest. (Perl is in every Debian;
/// a shell has descriptors of its own in the way.) First they go to high numbers: one may be in another's place.
const SCRIPT: &str = r#"
    use POSIX; my @from; while ((my $fd = shift) ne "--") { push @from, $fd }
    for (0..$#from) { POSIX::dup2($from[$_], 700 + $_) // die "dup2 $from[$_]: $!" }
    for (0..$#from) { POSIX::dup2(700 + $_, 3 + $_) // die "dup2: $!"; POSIX::close(700 + $_) }
    $ENV{$_} = $$ for "LISTEN_PID", split " ", delete $ENV{OWN_PID}; exec @ARGV; die "exec: $!""#;

/// `echostored run`, with `passed`, which must stay open until it is spawned, and with variables that hold its own pid.
pub fn command(passed: &[(String, OwnedFd)], own_pid: &[String]) -> Command {
    if passed.is_empty() && own_pid.is_empty() {
        return daemon::command(&["run"]);
    }
    let mut command = Command::new("perl");
    command.args(["-e", SCRIPT, "--"]);
    for (_, fd) in passed {
        // A child of another test may get it, too, and closes it first thing.
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        command.arg(fd.as_raw_fd().to_string());
    }
    let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
    command.arg("--").arg(home::binary()).arg("run").env("OWN_PID", own_pid.join(" "));
    if !passed.is_empty() {
        command.env("LISTEN_FDS", passed.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    }
    daemon::as_user(&mut command);
    command
}
