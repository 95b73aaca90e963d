//! Processes that come and go: caught before they are ready, replaced by a reload, stopped; and a log that nobody reads.
use crate::clients::{connect_from, push, say};
use crate::eye::Eye;
use crate::http::get;
use crate::seen::Seen;
use crate::support::control;
use crate::support::daemon::{Daemon, Setup, command, free_address};
use crate::support::home::Home;
use crate::support::{DEADLINE, processes, wait_until};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

fn children(pid: i32) -> BTreeSet<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Stops the next process that the supervisor forks, as soon as it is there.
fn catch(daemon: &Daemon, before: &BTreeSet<i32>) -> i32 {
    let begin = std::time::Instant::now();
    loop {
        if let Some(born) = children(daemon.supervisor()).difference(before).next() {
            processes::signal(*born, Signal::SIGSTOP);
            return *born;
        }
        assert!(begin.elapsed() < DEADLINE, "nobody is born");
    }
}

/// Each role is killed, and the one in its place held before it is ready.
pub fn births(seen: &Seen) {
    let mut daemon = crate::start(Setup::default());
    let eye = Eye::new(seen, &daemon);
    look_at_sandboxes(seen, &eye.look());
    for role in ["worker 1", "writer", "archiver", "exporter"] {
        // It may be ready before it is held.
        let caught = (0..20).any(|_| {
            let before = children(daemon.supervisor());
            processes::end(daemon.roles(role)[0]);
            let born = catch(&daemon, &before);
            wait_until(DEADLINE, "it stands still", || processes::stopped(born));
            let caught = readiness(&eye.look(), born) == Some(false);
            if caught && role != "exporter" {
                eye.until("not ready", |told| {
                    let missed = role != "writer" || told["writerless_milliseconds"].as_u64() > Some(0);
                    readiness(told, born) == Some(false) && missed
                });
            }
            processes::signal(born, Signal::SIGCONT);
            eye.until("ready", |told| readiness(told, born) == Some(true));
            daemon.remember();
            caught
        });
        assert!(caught, "{role} is always ready at once");
    }
    daemon.stop();
}

/// Whether the process is ready, if there is one with this number.
fn readiness(told: &Value, pid: i32) -> Option<bool> {
    let roles = [&told["writer"], &told["archiver"], &told["exporter"]];
    let mut all = told["workers"].as_array().unwrap().iter().chain(roles);
    all.find(|role| role["pid"] == pid)?["ready"].as_bool()
}

/// What this machine cannot give, or has given before, no daemon moves.
fn look_at_sandboxes(seen: &Seen, told: &Value) {
    let leave_out = |why: &str, field: &str, metric: &str| {
        let fields = ["", "workers[].", "writer.", "archiver.", "exporter."];
        let mut names = fields.map(|role| format!("{role}sandbox.{field}")).to_vec();
        let roles = ["supervisor", "worker", "writer", "archiver", "exporter"];
        names.extend(roles.map(|role| format!("echostored_role_{metric}{{role=\"{role}\"}}")));
        seen.leave_out(why, &names.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let sandbox = &told["workers"][0]["sandbox"];
    if sandbox["landlock"] == 0 {
        leave_out("this kernel has no Landlock", "landlock", "landlock_abi");
    }
    if sandbox["seccomp"] == false {
        leave_out("this kernel has no seccomp filters", "seccomp", "seccomp");
    }
    if processes::status(std::process::id().cast_signed(), "NoNewPrivs")[0] == "1" {
        leave_out("NoNewPrivs is set already", "no_new_privs", "no_new_privs");
    }
}

/// A worker of the new generation dies at birth for a while; then the old one stays with a client.
pub fn reload(seen: &Seen) {
    let home = Home::new();
    let cause = home.join("dying");
    let setup = Setup::default().environment("ECHOSTORED_CRASH", "worker 2");
    let mut daemon = crate::start_in(home, setup.environment("ECHOSTORED_CRASH_WHILE", cause.to_str().unwrap()));
    let eye = Eye::new(seen, &daemon);
    let client = connect_from("127.0.0.1", daemon.address);
    say(&client, "hello\n");
    let more = [daemon.address.to_string(), free_address().to_string()];
    daemon.reconfigure(|setup| {
        setup
            .set("server.echo", "synced")
            .set("server.framing", "nul")
            .set("rotate.max-size", "0")
            .set("rotate.interval", "0")
            .set("retain.max-age", "7d")
            .set("server.listen", more.to_vec())
    });
    fs::write(&cause, "").unwrap();
    daemon.signal(Signal::SIGHUP);
    eye.until("a reload under way", |told| told["ready"] == false);
    fs::remove_file(&cause).unwrap();
    let leaves = |told: &Value| told["workers"].as_array().unwrap().iter().any(|worker| worker["leaving"] == true);
    eye.until("the next generation", |told| told["generation"] == 2 && told["ready"] == true && leaves(told));
    eye.until("no limit", |told| told["live"]["max_bytes"].is_null() && told["live"]["next_rotation"].is_null());
    drop(client);
    eye.until("the old one is gone", |told| !leaves(told));
    say(&connect_from("127.0.0.1", daemon.address), "hello\0");
    assert_eq!(control::tell(&daemon, &["rotate"]).code, 0);
    eye.until("another file", |told| told["writer"]["rotations"].as_u64() > Some(0));
    daemon.stop();
}

/// A stop waits for a client that does not read.
pub fn stop(seen: &Seen) {
    let mut daemon = crate::start(Setup::default().set("server.shutdown-timeout", "20s"));
    let eye = Eye::new(seen, &daemon);
    let client = connect_from("127.0.0.1", daemon.address);
    push(&client, &[[b'.'; 10_000].as_slice(), b"\n"].concat());
    daemon.remember();
    daemon.signal(Signal::SIGTERM);
    eye.until("it stops", |told| told["stopping"] == true);
    let health = get(eye.metrics().unwrap(), "/healthz").unwrap();
    assert_eq!((health.code, health.body.as_str()), (503, "stopping\n"));
    drop(client);
    daemon.wait_exit(DEADLINE);
}

/// Standard error is a pipe that is full.
pub fn log(seen: &Seen) {
    let (_reader, writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let home = Home::new();
    home.make_dir("run");
    let setup = Setup::default().listen(&[free_address()]).set("metrics.listen", "127.0.0.1:0");
    let config = home.write("echostored.toml", &setup.set("log.level", "debug").text(&home));
    let mut command = command(&["run", "--config"]);
    command.arg(config).current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = Ended(command.stderr(writer.try_clone().unwrap()).spawn().unwrap());
    let socket = home.join("run/control.sock");
    wait_until(DEADLINE, "the control socket", || socket.exists());
    let eye = Eye::at(seen, socket);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    let mut full = File::options().write(true).custom_flags(nix::libc::O_NONBLOCK).open(path).unwrap();
    while full.write(&[b'\n'; 512]).is_ok() {}
    let pid = child.0.id().cast_signed();
    processes::signal(pid, Signal::SIGHUP);
    eye.until("lines are dropped", |told| told["log_lines_dropped"].as_u64() > Some(0) && told["ready"] == true);
    processes::signal(pid, Signal::SIGTERM);
    child.0.wait().unwrap();
}

/// Whatever happens, it does not outlive the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        processes::family(self.0.id().cast_signed()).into_iter().for_each(processes::end);
        let _ = self.0.wait();
    }
}
