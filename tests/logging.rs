//! Standard error that nobody reads: the log is lost, and counted; the service goes on.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use support::checker::{self, Expect};
use support::client::{Client, Messages};
use support::daemon::{Setup, command, free_address};
use support::drive::serve;
use support::framing::{Format, Framing};
use support::home::Home;
use support::manager::Manager;
use support::{DEADLINE, came_true, processes, wait_until};

/// A daemon whose standard error is a pipe; `None`: somebody took its port.
struct Unread {
    child: Child,
    manager: Manager,
    home: Home,
}

impl Unread {
    fn start(home: Home, config: &str, stderr: impl Into<Stdio>) -> Option<Self> {
        home.make_dir("run");
        let config = home.write("echostored.toml", config);
        let manager = Manager::listen(&home);
        let mut command: Command = command(&["run", "--config"]);
        command.arg(config).env("NOTIFY_SOCKET", home.join("notify")).current_dir(home.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        let mut daemon = Self { child, manager, home };
        let mut ended = None;
        wait_until(DEADLINE, "ready, or ended", || {
            ended = daemon.child.try_wait().unwrap();
            ended.is_some() || daemon.heard("READY=1") > 0
        });
        match ended {
            None => Some(daemon),
            Some(status) if status.code() == Some(69) => None,
            Some(status) => panic!("ended with {status}"),
        }
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn heard(&self, line: &str) -> usize {
        self.manager.heard().iter().filter(|heard| *heard == line).count()
    }

    fn role(&self, role: &str) -> Vec<i32> {
        let is =
            |pid: &i32| processes::title(*pid).is_some_and(|title| title.starts_with(&format!("echostored: {role}")));
        processes::family(self.pid()).into_iter().filter(is).collect()
    }

    /// Kills one process of `role`, and waits for another in its place.
    fn replace(&self, role: &str) {
        let before = self.role(role);
        processes::signal(before[0], Signal::SIGKILL);
        wait_until(DEADLINE, &format!("another {role}"), || {
            let now = self.role(role);
            now.len() == before.len() && !now.contains(&before[0])
        });
    }

    fn stop(&mut self) {
        processes::signal(self.pid(), Signal::SIGTERM);
        let mut status = None;
        let ended = came_true(DEADLINE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "TERM is not heard");
        assert_eq!(status.and_then(|status| status.code()), Some(0));
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        processes::family(self.pid()).into_iter().for_each(processes::end);
        let _ = self.child.wait();
    }
}

/// Fills the pipe by a description of its own, which alone does not wait.
fn fill(pipe: &impl AsRawFd) {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let mut own = File::options().write(true).custom_flags(nix::libc::O_NONBLOCK).open(path).unwrap();
    loop {
        match own.write(&[b'\n'; 512]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("cannot fill the pipe: {error}"),
        }
    }
}

/// From now on somebody reads; all of it, when the last writer is gone.
fn drain(mut pipe: PipeReader) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut log = String::new();
        pipe.read_to_string(&mut log).unwrap();
        log
    })
}

#[test]
fn standard_error_that_nobody_reads_stops_nobody() {
    let (reader, daemon_end, mut daemon, address) = (0..5)
        .find_map(|_| {
            let (reader, writer) = std::io::pipe().unwrap();
            fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
            let (home, address) = (Home::new(), free_address());
            let config = Setup::default().listen(&[address]).set("log.level", "debug").text(&home);
            let daemon = Unread::start(home, &config, writer.try_clone().unwrap())?;
            Some((reader, writer, daemon, address))
        })
        .expect("one of five free ports");
    fill(&daemon_end);
    // The supervisor logs each of these; a role that is forked, too.
    for number in 1..=5 {
        processes::signal(daemon.pid(), Signal::SIGHUP);
        wait_until(DEADLINE, "the reload", || {
            daemon.heard("RELOADING=1") == number && daemon.heard("READY=1") > number
        });
        wait_until(DEADLINE, "the old generation's end", || daemon.role("worker").len() == 2);
    }
    daemon.replace("worker");
    daemon.replace("writer");
    let client =
        Client::connect(address, Framing::Line, Messages::generated(Framing::Line, 20, 100)).expect("it serves");
    let histories = serve(vec![client.quota(20).half_close()]);
    drop(daemon_end);
    let log = drain(reader);
    daemon.stop();
    let log = log.join().unwrap();
    let told = "lines before this one were not logged: standard error did not take them";
    assert!(log.lines().any(|line| line.ends_with(told)), "{log}");
    checker::check(&daemon.home.join("store"), Format::Text, &histories, Expect::default());
}

#[test]
fn a_stop_needs_no_reader_either() {
    let (reader, daemon_end, mut daemon) = (0..5)
        .find_map(|_| {
            let (reader, writer) = std::io::pipe().unwrap();
            let home = Home::new();
            let config = Setup::default().listen(&[free_address()]).set("log.level", "debug").text(&home);
            let daemon = Unread::start(home, &config, writer.try_clone().unwrap())?;
            Some((reader, writer, daemon))
        })
        .expect("one of five free ports");
    fill(&daemon_end);
    daemon.replace("worker");
    daemon.stop();
    drop(reader);
}
