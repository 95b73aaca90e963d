//! The log under systemd, without systemd: lines go to the journal's socket with their fields, and to standard error where that
//! does not take them. A mount namespace has a socket of the test's own in the place of journald's, so root is needed.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use support::daemon::{Setup, free_address};
use support::home::{self, Home};
use support::manager::Manager;
use support::{DEADLINE, came_true, processes, skip, wait_until};

/// The directory of the journal's socket becomes the first argument; then the command, as the user and group named before it.
const SCRIPT: &str = r#"mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind "$1" /run/systemd/journal &&
    user=$2 group=$3 && shift 3 && exec setpriv --reuid="$user" --regid="$group" --clear-groups -- "$@""#;

type Fields = BTreeMap<String, String>;

/// A daemon that systemd might have started, and what takes its log.
struct Scene {
    child: Child,
    manager: Manager,
    home: Home,
    setup: Setup,
    address: SocketAddr,
    /// `None`: gone.
    journal: Option<UnixDatagram>,
    lines: Vec<Fields>,
}

impl Scene {
    /// `None`: it cannot be made here, which was told.
    fn start(change: impl Fn(Setup) -> Setup) -> Option<Self> {
        let possible = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
        if !possible.is_ok_and(|status| status.success()) {
            skip("needs root, for a mount namespace");
            return None;
        }
        (0..5).find_map(|_| Self::try_start(&change))
    }

    /// `None`: somebody took its port.
    fn try_start(change: &impl Fn(Setup) -> Setup) -> Option<Self> {
        let home = Home::new();
        home.make_dir("run");
        let directory = home.make_dir("journal");
        let journal = UnixDatagram::bind(directory.join("socket")).unwrap();
        home::give_away(&directory.join("socket"));
        journal.set_nonblocking(true).unwrap();
        let (manager, address) = (Manager::listen(&home), free_address());
        let setup = change(Setup::default().listen(&[address]));
        let config = home.write("echostored.toml", &setup.text(&home));
        let log = File::create(home.join("log")).unwrap();
        let (uid, gid) = home::user().unwrap();
        let stream = log.metadata().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SCRIPT, "sh"]).arg(&directory);
        command.args([uid.to_string(), gid.to_string()]).arg(home::binary()).args(["run", "--config"]).arg(config);
        command
            .env("NOTIFY_SOCKET", home.join("notify"))
            .env("JOURNAL_STREAM", format!("{}:{}", stream.dev(), stream.ino()));
        let child =
            command.current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut scene = Self { child, manager, home, setup, address, journal: Some(journal), lines: Vec::new() };
        let mut ended = None;
        wait_until(DEADLINE, "ready, or ended", || {
            ended = scene.child.try_wait().unwrap();
            ended.is_some() || scene.manager.heard().iter().any(|line| line == "READY=1")
        });
        match ended.map(|status| status.code()) {
            None => Some(scene),
            Some(Some(69)) => None,
            Some(code) => panic!("ended with {code:?}: {}", scene.stream()),
        }
    }

    /// What has come to standard error.
    fn stream(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap()
    }

    /// Reads what the journal was sent.
    fn listen(&mut self) -> &[Fields] {
        let mut bytes = vec![0; 1 << 16];
        while let Some(Ok(count)) = self.journal.as_ref().map(|journal| journal.recv(&mut bytes)) {
            let text = std::str::from_utf8(&bytes[..count]).unwrap();
            assert!(text.ends_with('\n'), "{text:?}");
            let fields = text.lines().map(|line| line.split_once('=').unwrap_or_else(|| panic!("{text:?}")));
            self.lines.push(fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
        }
        &self.lines
    }

    /// The first line of an event that comes.
    fn hear(&mut self, event: &str) -> Fields {
        self.hear_of("", event)
    }

    /// Of a role that begins with `role`.
    fn hear_of(&mut self, role: &str, event: &str) -> Fields {
        let mut found = None;
        wait_until(DEADLINE, event, || {
            found = self
                .listen()
                .iter()
                .filter(|fields| fields.get("ECHOSTORED_ROLE").is_some_and(|is| is.starts_with(role)))
                .find(|fields| fields.get("ECHOSTORED_EVENT").is_some_and(|is| is == event))
                .cloned();
            found.is_some()
        });
        found.unwrap()
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn role(&self, role: &str) -> Vec<i32> {
        let is =
            |pid: &i32| processes::title(*pid).is_some_and(|title| title.starts_with(&format!("echostored: {role}")));
        processes::family(self.pid()).into_iter().filter(is).collect()
    }

    fn sockets(pid: i32) -> usize {
        processes::descriptors(pid).iter().filter(|held| held.target.starts_with("socket:")).count()
    }

    /// A client that says too much is told of.
    fn say_too_much(&self) -> SocketAddr {
        let mut client = TcpStream::connect(self.address).unwrap();
        let _ = client.write_all(&[b'x'; 70_000]);
        client.local_addr().unwrap()
    }

    fn reload(&mut self, change: impl FnOnce(Setup) -> Setup) {
        self.setup = change(self.setup.clone());
        self.home.write("echostored.toml", &self.setup.text(&self.home));
        self.manager.forget();
        processes::signal(self.pid(), Signal::SIGHUP);
        wait_until(DEADLINE, "the reload", || self.manager.heard().iter().any(|line| line == "READY=1"));
    }

    fn stop(&mut self) {
        processes::signal(self.pid(), Signal::SIGTERM);
        let mut status = None;
        let ended = came_true(DEADLINE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended && status.unwrap().success(), "{status:?}: {}", self.stream());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        processes::family(self.pid()).into_iter().for_each(processes::end);
        let _ = self.child.wait();
    }
}

#[test]
fn lines_of_all_roles_come_with_their_fields() {
    let Some(mut scene) = Scene::start(|setup| setup.set("retain.max-files", 1)) else { return };
    let ready = scene.hear("ready");
    assert_eq!(ready["MESSAGE_ID"].len(), 32);
    assert_eq!((ready["ECHOSTORED_ROLE"].as_str(), ready["PRIORITY"].as_str()), ("supervisor", "5"));
    assert!(ready["MESSAGE"].starts_with("supervisor: ready: 2 workers"), "{ready:?}");
    assert_eq!(ready["SYSLOG_IDENTIFIER"], "echostored");
    assert_eq!(scene.hear("live-segment")["ECHOSTORED_ROLE"], "writer");
    // Each role has the socket beside what it has elsewhere.
    for (role, others) in [("writer", 1), ("archiver", 1), ("worker", 2)] {
        // One that was just forked may not have closed all yet.
        wait_until(DEADLINE, &format!("the sockets of the {role}"), || {
            let all = scene.role(role);
            !all.is_empty() && all.into_iter().all(|pid| Scene::sockets(pid) == others + 1)
        });
    }
    let client = scene.say_too_much();
    let told = scene.hear("message-too-large");
    assert_eq!((told["ECHOSTORED_PEER"].as_str(), told["PRIORITY"].as_str()), (client.to_string().as_str(), "4"));
    // What a person knows, and journalctl(1) matches exactly.
    assert_eq!(told["ECHOSTORED_ADDRESS"], "127.0.0.1");
    assert!(told["ECHOSTORED_ROLE"].starts_with("worker "), "{told:?}");
    let writer = scene.role("writer")[0];
    processes::signal(writer, Signal::SIGKILL);
    let told = scene.hear("writer-ended");
    assert_eq!(
        (told["ECHOSTORED_PID"].as_str(), told["ECHOSTORED_ROLE"].as_str()),
        (writer.to_string().as_str(), "supervisor")
    );
    assert_eq!(scene.hear("writer-continues")["ECHOSTORED_ROLE"], "writer");
    for _ in 0..3 {
        let mut client = TcpStream::connect(scene.address).unwrap();
        client.write_all(b"x\n").unwrap();
        std::io::Read::read_exact(&mut client, &mut [0; 2]).unwrap();
        let before = scene
            .listen()
            .iter()
            .filter(|line| line.get("ECHOSTORED_EVENT").is_some_and(|is| is == "live-segment"))
            .count();
        processes::signal(scene.pid(), Signal::SIGUSR1);
        wait_until(DEADLINE, "a rotation", || {
            scene
                .listen()
                .iter()
                .filter(|line| line.get("ECHOSTORED_EVENT").is_some_and(|is| is == "live-segment"))
                .count()
                > before
        });
    }
    let told = scene.hear("deleted");
    assert_eq!(told["ECHOSTORED_ROLE"], "archiver");
    assert!(told["ECHOSTORED_FILE"].ends_with(".log"), "{told:?}");
    scene.stop();
    scene.hear("stopped");
    assert_eq!(scene.stream(), "", "nothing goes both ways");
}

#[test]
fn a_journal_that_does_not_read_stops_nobody() {
    let Some(mut scene) = Scene::start(|setup| setup.set("log.access", true).set("server.workers", 1)) else { return };
    // Nobody reads: more lines than any queue holds (net.unix.max_dgram_qlen).
    let queue: usize = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap().trim().parse().unwrap();
    for _ in 0..queue + 20 {
        let mut client = TcpStream::connect(scene.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.write_all(b"x\n").unwrap();
        std::io::Read::read_exact(&mut client, &mut [0; 2]).unwrap();
    }
    scene.listen();
    scene.say_too_much();
    let told = scene.hear_of("worker", "lines-dropped");
    assert!(told["MESSAGE"].ends_with("the journal did not take them"), "{told:?}");
    assert!(told["ECHOSTORED_LINES"].parse::<usize>().unwrap() >= 20, "{told:?}");
    scene.stop();
    assert_eq!(scene.stream(), "", "what the journal has no room for, its stream would have none for");
}

#[test]
fn a_journal_that_is_gone_is_not_needed() {
    let Some(mut scene) = Scene::start(|setup| setup) else { return };
    scene.hear("ready");
    scene.journal = None;
    let client = scene.say_too_much();
    let told = || format!("{client} sent a message above");
    wait_until(DEADLINE, "the line", || scene.stream().contains(&told()));
    let stream = scene.stream();
    let line = stream.lines().find(|line| line.contains(&told())).unwrap();
    assert!(line.starts_with("<4>worker "), "{line}");
    scene.stop();
    assert!(scene.stream().contains("<6>supervisor: stopped\n"), "{}", scene.stream());
}

#[test]
fn json_is_the_message_beside_the_same_fields_and_a_reload_changes_it() {
    let Some(mut scene) = Scene::start(|setup| setup.set("log.format", "json")) else { return };
    let json = |line: &Fields| -> serde_json::Value { serde_json::from_str(&line["MESSAGE"]).unwrap() };
    let ready = scene.hear("ready");
    assert_eq!((json(&ready)["event"].as_str(), json(&ready)["role"].as_str()), (Some("ready"), Some("supervisor")));
    assert_eq!(json(&ready)["message_id"], ready["MESSAGE_ID"].as_str());
    scene.say_too_much();
    let told = scene.hear("message-too-large");
    assert_eq!(
        (json(&told)["address"].as_str(), told["ECHOSTORED_ADDRESS"].as_str()),
        (Some("127.0.0.1"), "127.0.0.1")
    );
    assert_eq!(scene.stream(), "", "nothing goes both ways");
    scene.lines.clear();
    scene.reload(|setup| setup.set("log.format", "text"));
    assert_eq!(scene.hear("reloaded")["ECHOSTORED_ROLE"], "supervisor");
    assert_eq!(scene.hear("writer-continues")["ECHOSTORED_ROLE"], "writer");
    scene.say_too_much();
    assert!(scene.hear("message-too-large")["ECHOSTORED_ROLE"].starts_with("worker "));
    scene.stop();
}
