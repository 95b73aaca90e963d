//! What a process inherits: descriptors, signals, mask, working directory, limits.
use crate::support::client::{Client, Messages};
use crate::support::daemon::{Setup, as_user};
use crate::support::drive::serve;
use crate::support::framing::{Format, Framing};
use crate::support::home::{self, Home};
use crate::support::setup::free_address;
use crate::support::{DEADLINE, checker, processes, wait_until};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A daemon that a shell has started after it has prepared itself for it.
struct Started {
    home: Home,
    address: SocketAddr,
    child: Child,
}

/// Runs `echostored run` behind `script`, which ends with `exec "$@"` and some redirections.
fn shell(home: &Home, setup: Setup, script: &str) -> (SocketAddr, Command) {
    let address = free_address();
    let config = home.write("echostored.toml", &setup.listen(&[address]).text(home));
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg("sh").arg(home::binary()).args(["run", "--config"]).arg(config);
    as_user(&mut command);
    let log = File::create(home.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).current_dir(home.path());
    (address, command)
}

impl Started {
    fn new(setup: Setup, script: &str) -> Self {
        let home = Home::new();
        home.make_dir("run");
        let (address, mut command) = shell(&home, setup, script);
        let mut child = command.spawn().unwrap();
        wait_until(DEADLINE, "it serves", || {
            assert!(child.try_wait().unwrap().is_none(), "it has ended: {:?}", fs::read_to_string(home.join("log")));
            // The archiver comes last, with its runner of hooks.
            let titles: Vec<_> =
                processes::family(child.id().cast_signed()).into_iter().filter_map(processes::title).collect();
            let has = |role: &str| titles.iter().any(|title| title.starts_with(&format!("echostored: {role}")));
            TcpStream::connect(address).is_ok() && ["writer", "worker 1", "worker 2", "archiver"].into_iter().all(has)
        });
        Self { home, address, child }
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn store(&self) -> std::path::PathBuf {
        self.home.join("store")
    }

    /// All that it does, and a graceful end.
    fn serve_and_stop(mut self) {
        let messages = Messages::generated(Framing::Line, 20, 200);
        let client = Client::connect(self.address, Framing::Line, messages).unwrap();
        let histories = serve(vec![client.quota(10).half_close()]);
        // A role that dies is reaped and replaced, whatever SIGCHLD was.
        let worker = *processes::family(self.pid()).iter().find(|pid| is_worker(**pid)).unwrap();
        processes::signal(worker, Signal::SIGKILL);
        wait_until(DEADLINE, "another worker", || {
            let family = processes::family(self.pid());
            !family.contains(&worker) && family.iter().filter(|pid| is_worker(**pid)).count() == 2
        });
        processes::signal(self.pid(), Signal::SIGTERM);
        wait_until(DEADLINE, "the end", || self.child.try_wait().unwrap().is_some());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        checker::check(&self.store(), Format::Text, &histories, checker::Expect::default());
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let family = processes::family(self.pid());
            let _ = self.child.kill();
            let _ = self.child.wait();
            family.into_iter().filter(|pid| *pid != self.pid() && processes::runs(*pid)).for_each(processes::end);
        }
    }
}

fn is_worker(pid: i32) -> bool {
    processes::title(pid).is_some_and(|title| title.starts_with("echostored: worker"))
}

fn modes(store: &Path) -> Vec<(String, u32)> {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let mut modes = vec![("store".to_owned(), mode(store))];
    modes.extend([".lock", ".store", "current"].map(|name| (name.to_owned(), mode(&store.join(name)))));
    modes
}

#[test]
fn an_odd_mask() {
    let expected = [("store", 0o750), (".lock", 0o600), (".store", 0o640), ("current", 0o640)];
    let expected = expected.map(|(name, mode)| (name.to_owned(), mode));
    for mask in ["000", "777", "022"] {
        let started = Started::new(Setup::default(), &format!("umask {mask}; exec \"$@\""));
        assert_eq!(modes(&started.store()), expected, "umask {mask}");
        started.serve_and_stop();
    }
}

#[test]
fn ignored_signals() {
    Started::new(Setup::default(), "trap '' PIPE CHLD HUP TERM INT USR1 USR2 XFSZ ALRM; exec \"$@\"").serve_and_stop();
}

#[test]
fn closed_standard_streams() {
    for closed in ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"] {
        println!("{closed}");
        let started = Started::new(Setup::default(), &format!("exec \"$@\" {closed}"));
        for pid in processes::family(started.pid()) {
            for number in 0..3 {
                let target = fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap();
                let own = target.starts_with(started.store()) || target.to_str().unwrap().contains("socket:");
                assert!(!own, "{number} of {pid} is {target:?}: a stray message would go there");
            }
        }
        started.serve_and_stop();
    }
}

#[test]
fn descriptors_of_others() {
    let script = "exec 9</etc/passwd 8>stray; exec \"$@\"";
    let started = Started::new(Setup::default(), script);
    for pid in processes::family(started.pid()) {
        let held = processes::descriptors(pid);
        assert!(
            held.iter().all(|held| held.target != "/etc/passwd" && !held.target.ends_with("/stray")),
            "{pid} holds it"
        );
    }
    started.serve_and_stop();
}

/// Paths in the configuration may be relative to it: without one it does not guess.
#[test]
fn a_working_directory_that_is_gone() {
    let home = Home::new();
    home.make_dir("run");
    let gone = home.make_dir("gone");
    let (_, mut command) =
        shell(&home, Setup::default(), &format!("cd {0} && rmdir {0} && exec \"$@\"", gone.display()));
    let mut child = command.spawn().unwrap();
    wait_until(DEADLINE, "the end", || child.try_wait().unwrap().is_some());
    let log = fs::read_to_string(home.join("log")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{log}");
    assert!(log.contains("cannot tell the working directory"), "{log}");
}

/// `SIGXFSZ` kills nobody. The memory that processes share counts as a file: a start that has no room for it says so.
#[test]
fn a_limit_of_the_file_size_at_the_start() {
    let home = Home::new();
    home.make_dir("run");
    let (_, mut command) = shell(&home, Setup::default(), "ulimit -f 512; exec \"$@\"");
    let mut child = command.spawn().unwrap();
    wait_until(DEADLINE, "the end", || child.try_wait().unwrap().is_some());
    let log = fs::read_to_string(home.join("log")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{log}");
    assert!(log.contains("LimitFSIZE="), "{log}");
}

/// A write that the limit refuses begins a new file, and what was echoed is there.
#[test]
fn a_limit_of_the_file_size() {
    let mut started = Started::new(Setup::default(), "exec \"$@\"");
    let family = processes::family(started.pid());
    let title = |pid: &&i32| processes::title(**pid).is_some_and(|title| title == "echostored: writer");
    let writer = family.iter().find(title).unwrap().to_string();
    let mut limit = Command::new("prlimit");
    limit.args(["--pid", &writer, "--fsize=4194304:4194304"]);
    as_user(&mut limit);
    assert!(limit.status().unwrap().success());
    let messages = Messages::generated(Framing::Line, 10_000, 20_000);
    let client = Client::connect(started.address, Framing::Line, messages).unwrap();
    let histories = serve(vec![client.quota(900).half_close()]);
    assert_eq!(histories[0].echoed, 900);
    let living = processes::family(started.pid());
    assert!(family.iter().all(|pid| living.contains(pid)), "nobody has died of it");
    processes::signal(started.pid(), Signal::SIGTERM);
    wait_until(DEADLINE, "the end", || started.child.try_wait().unwrap().is_some());
    assert_eq!(started.child.wait().unwrap().code(), Some(0));
    // What was refused may have been the first batch of its file.
    let expect = checker::Expect { empty_files: true, ..checker::Expect::default() };
    let found = checker::check(&started.store(), Format::Text, &histories, expect);
    assert!(found.files.len() > 3 && found.files.iter().all(|file| file.size <= 4 << 20), "{found:?}");
}
