//! `run --daemon`: returns 0 only when it serves, else with the error and its code; pid file, log file, user and groups.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::checker::{self, Expect};
use support::client::{Client, Messages};
use support::daemon::{Ended, Setup, command, free_address, run};
use support::drive::serve;
use support::framing::{Format, Framing};
use support::home::{Home, user};
use support::{DEADLINE, processes, wait_until};

/// A daemon that left its command behind, found by its pid file.
struct Detached {
    home: Home,
    address: SocketAddr,
    pid: i32,
}

impl Detached {
    fn pid_file(home: &Home) -> PathBuf {
        home.join("run/echostored.pid")
    }

    /// Starts it by `command ... run --daemon --config FILE`; the address is tried again if somebody took it.
    fn start(home: Home, setup: Setup, mut start: impl FnMut(&Path) -> Command) -> Self {
        for _ in 0..5 {
            let address = free_address();
            let config = home.write("echostored.toml", &setup.clone().listen(&[address]).text(&home));
            let ended = run(&home, start(&config));
            if ended.code == 69 {
                continue;
            }
            assert_eq!(ended.code, 0, "{ended:?}");
            let text =
                std::fs::read_to_string(Self::pid_file(&home)).expect("the pid file is there when the command returns");
            let pid = text.trim().parse().expect("a pid");
            return Self { home, address, pid };
        }
        panic!("five free ports were all taken");
    }

    fn stop(&self) {
        let family = || processes::family(self.pid);
        wait_until(DEADLINE, "supervisor, writer, archiver, two workers", || family().len() == 5);
        let family = family();
        processes::signal(self.pid, Signal::SIGTERM);
        wait_until(DEADLINE, "the end", || !family.iter().any(|pid| processes::runs(*pid)));
        assert!(!Self::pid_file(&self.home).exists(), "the pid file is removed at the end");
    }

    fn serve_and_stop(&self) {
        // The command has returned, so it serves: no second try.
        let client = Client::connect(self.address, Framing::Line, Messages::generated(Framing::Line, 20, 100))
            .expect("it serves");
        let histories = serve(vec![client.quota(20).half_close()]);
        self.stop();
        checker::check(&self.home.join("store"), Format::Text, &histories, Expect::default());
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if processes::title(self.pid).is_some_and(|title| title.starts_with("echostored")) {
            let family = processes::family(self.pid);
            family.into_iter().for_each(processes::end);
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.home.join("daemon.log"));
            eprintln!("--- the daemon's log ---\n{}", log.unwrap_or_default());
        }
    }
}

fn prepared() -> (Home, Setup) {
    let home = Home::new();
    home.make_dir("run");
    let log = home.join("daemon.log").display().to_string();
    (home, Setup::default().set("daemon.log-file", log))
}

fn detach(config: &Path) -> Command {
    let mut command = command(&["run", "--daemon", "--config"]);
    command.arg(config);
    command
}

#[test]
fn it_serves_when_the_command_returns() {
    let (home, setup) = prepared();
    let daemon = Detached::start(home, setup, detach);
    assert_eq!(
        processes::title(daemon.pid).as_deref(),
        Some("echostored: supervisor"),
        "the pid file names the supervisor"
    );
    assert_ne!(
        processes::status(daemon.pid, "NSsid"),
        processes::status(std::process::id().cast_signed(), "NSsid"),
        "a session of its own"
    );
    assert_eq!(
        std::fs::read_link(format!("/proc/{}/cwd", daemon.pid)).unwrap(),
        Path::new("/"),
        "it holds no directory"
    );
    // Input and output lead nowhere, errors into the log file.
    let descriptors = processes::descriptors(daemon.pid);
    let log = daemon.home.join("daemon.log").display().to_string();
    let standard: Vec<&str> = descriptors[..3].iter().map(|held| held.target.as_str()).collect();
    assert_eq!((standard[0], standard[2]), ("/dev/null", log.as_str()));
    assert!(!std::fs::read_to_string(&log).unwrap().is_empty(), "the log file has a log");
    daemon.serve_and_stop();
}

#[test]
fn the_pid_file_is_locked() {
    let (home, setup) = prepared();
    let daemon = Detached::start(home, setup.clone(), detach);
    let other = Home::new();
    let same =
        setup.listen(&[free_address()]).set("daemon.pid-file", Detached::pid_file(&daemon.home).display().to_string());
    let ended = run(&other, detach(&other.write("echostored.toml", &same.text(&other))));
    assert_eq!(ended.code, 75, "{ended:?}");
    assert!(ended.stderr.contains(&daemon.pid.to_string()), "{ended:?}");
    assert!(Detached::pid_file(&daemon.home).exists(), "the loser does not remove the owner's file");
    daemon.serve_and_stop();
}

#[test]
fn relative_paths_are_those_of_the_start() {
    let (home, setup) = prepared();
    let setup = setup
        .set("store.directory", "store")
        .set("daemon.pid-file", "run/echostored.pid")
        .set("daemon.log-file", "daemon.log");
    let directory = home.path().to_owned();
    let daemon = Detached::start(home, setup, |_| {
        let mut command = command(&["run", "--daemon", "--config", "echostored.toml"]);
        command.current_dir(&directory);
        command
    });
    daemon.serve_and_stop();
}

#[test]
fn an_error_comes_back_with_its_code() {
    let fails = |setup: Setup, prepare: &dyn Fn(&Home)| -> Ended {
        let home = Home::new();
        home.make_dir("run");
        prepare(&home);
        let ended = run(&home, detach(&home.write("echostored.toml", &setup.text(&home))));
        assert!(!Detached::pid_file(&home).exists(), "no pid file after {ended:?}");
        ended
    };
    let free = || Setup::default().listen(&[free_address()]);
    let unknown = fails(free().set("server.frobnicate", 1), &|_| ());
    assert_eq!((unknown.code, unknown.stderr.contains("frobnicate")), (78, true), "{unknown:?}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let in_use = fails(Setup::default().listen(&[address]), &|_| ());
    assert_eq!((in_use.code, in_use.stderr.contains(&address.to_string())), (69, true), "{in_use:?}");
    let no_store = fails(free(), &|home| drop(home.write("store", "a file")));
    assert_eq!((no_store.code, no_store.stderr.contains("store")), (74, true), "{no_store:?}");
    let mut owner = Setup::default().start();
    let store = owner.store().display().to_string();
    let locked = fails(free().set("store.directory", store.as_str()), &|_| ());
    assert_eq!((locked.code, locked.stderr.contains(&owner.supervisor().to_string())), (75, true), "{locked:?}");
    owner.stop();
}

/// What `id OPTION nobody` prints, as numbers.
fn id(option: &str) -> Vec<String> {
    let output = Command::new("id").args([option, "nobody"]).output().expect("id is installed");
    let mut numbers: Vec<String> =
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect();
    numbers.sort();
    numbers
}

#[test]
fn it_becomes_the_user_with_its_groups_only() {
    if user().is_none() {
        support::skip("switching the user needs root; run the tests as root to see it");
        return;
    }
    let (home, setup) = prepared();
    home.make_dir("store");
    std::fs::set_permissions(home.join("store"), PermissionsExt::from_mode(0o750)).unwrap();
    // Root's own supplementary groups, some more than usual, must all be gone afterwards.
    let daemon = Detached::start(home, setup.set("daemon.user", "nobody"), |config| {
        let mut command = Command::new("setpriv");
        command
            .args(["--groups", "0,4,24"])
            .arg(support::home::binary())
            .args(["run", "--daemon", "--config"])
            .arg(config);
        command
    });
    for pid in processes::family(daemon.pid) {
        let title = processes::title(pid);
        let all = |field| processes::status(pid, field);
        assert_eq!(all("Uid"), vec![id("-u")[0].clone(); 4], "{title:?}");
        assert_eq!(all("Gid"), vec![id("-g")[0].clone(); 4], "{title:?}");
        let mut groups = all("Groups");
        groups.sort();
        assert_eq!(groups, id("-G"), "supplementary groups of {title:?}");
    }
    daemon.serve_and_stop();
}

/// Owner's uid and mode.
fn owner_and_mode(path: &Path) -> (u32, u32) {
    let meta = path.metadata().unwrap();
    (meta.uid(), meta.mode() & 0o7777)
}

#[test]
fn missing_parents_of_the_store_let_the_user_through() {
    let Some((uid, _)) = user() else {
        support::skip("switching the user needs root; run the tests as root to see it");
        return;
    };
    let ((home, setup), home_of_commands) = (prepared(), Home::new());
    // The nearest directory that exists is root's own, and keeps its mode.
    let place = home.make_dir("place");
    chown(&place, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&place, PermissionsExt::from_mode(0o711)).unwrap();
    let store = place.join("some/where/store");
    let socket = place.join("other/where/control.sock");
    let setup = setup.set("daemon.user", "nobody").set("store.directory", store.display().to_string());
    let setup = setup.set("control.socket", socket.display().to_string());
    let daemon = Detached::start(home, setup, |config| {
        let mut command = Command::new(support::home::binary());
        command.args(["run", "--daemon", "--config"]).arg(config);
        command
    });
    assert_eq!(owner_and_mode(&store), (uid, 0o750));
    assert_eq!(owner_and_mode(&place.join("some/where")), (0, 0o755));
    assert_eq!(owner_and_mode(&place.join("some")), (0, 0o755));
    assert_eq!(owner_and_mode(&place), (0, 0o711));
    // The same of the control socket, which its user makes, and removes.
    assert_eq!(owner_and_mode(&socket), (uid, 0o660));
    assert_eq!(owner_and_mode(&place.join("other/where")), (uid, 0o750));
    assert_eq!(owner_and_mode(&place.join("other")), (0, 0o755));
    let told = command(&["status", "--socket", socket.to_str().unwrap()]);
    assert_eq!(run(&home_of_commands, told).code, 0);
    let client = Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 100)).unwrap();
    let histories = serve(vec![client.quota(20).half_close()]);
    daemon.stop();
    assert!(!socket.exists(), "the control socket is removed at the end");
    checker::check(&store, Format::Text, &histories, Expect::default());
}

#[test]
fn another_user_needs_root() {
    // The command runs without privileges, whoever runs the tests.
    for directory_is_there in [false, true] {
        let (home, setup) = prepared();
        if directory_is_there {
            home.make_dir("store");
        }
        let setup = setup.listen(&[free_address()]).set("daemon.user", "root");
        let ended = run(&home, detach(&home.write("echostored.toml", &setup.text(&home))));
        assert_eq!(ended.code, 78, "{ended:?}");
        let told = "cannot become daemon.user: ";
        assert!(ended.stderr.contains(told) && ended.stderr.contains("start as root"), "{ended:?}");
        assert!(!Detached::pid_file(&home).exists(), "no pid file after {ended:?}");
    }
}

/// Exit 78, and the file is as it was.
#[test]
fn what_is_no_pid_file_is_not_taken_for_one() {
    let home = Home::new();
    let path = home.write("precious", "line1\nprecious\n");
    let setup = Setup::default().set("daemon.pid-file", path.to_str().unwrap()).listen(&[free_address()]);
    let config = home.write("echostored.toml", &setup.text(&home));
    let ended = run(&home, command(&["run", "--daemon", "--config", config.to_str().unwrap()]));
    assert_eq!(ended.code, 78, "{}", ended.stderr);
    assert!(ended.stderr.contains("it holds something else"), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "line1\nprecious\n");
}
