//! The socket itself: where it is, who may use it, whose it is, and who holds it.
use crate::support::checker::{self, Expect};
use crate::support::control::{connect, hangs_up, hear, socket, status, tell, tell_at};
use crate::support::daemon::{Ended, Setup, command, free_address, run};
use crate::support::framing::Format;
use crate::support::home::{self, Home};
use crate::support::load::{Load, Shape};
use crate::support::{DEADLINE, processes, raise_open_files, wait_until};
use crate::{number, said, store};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

#[test]
fn a_crowd_at_the_socket_disturbs_nobody() {
    raise_open_files();
    let mut daemon = Setup::default().start();
    let load = Load::start(daemon.address, Shape { messages_a_connection: Some(10), ..Shape::default() });
    let at = socket(&daemon);
    let mut crowd = Vec::new();
    for round in 0..100 {
        crowd.push(connect(&at, b""));
        crowd.push(connect(&at, b"rel"));
        let mut garbage = connect(&at, b"");
        let _ = std::io::Write::write_all(&mut garbage, &[b'x'; 5000]);
        crowd.push(garbage);
        // Asks and never reads; asks and is gone.
        crowd.push(connect(&at, b"status\n"));
        drop(connect(&at, b"rotate\n"));
        if round % 10 == 0 {
            assert_eq!(number(&status(&daemon), "/generation"), 1 + u64::div_ceil(round, 20));
            if round % 20 == 0 {
                assert_eq!(said(&tell(&daemon, &["reload"])), (0, "", ""));
            }
            assert_eq!(tell(&daemon, &["rotate"]).code, 0);
            load.progress(10);
        }
    }
    for (said, code) in [(&b"stop\n"[..], 2), (b"\n", 2), (b"STATUS\n", 2), (&[0xff; 64], 2)] {
        let reply = hear(connect(&at, said));
        assert_eq!((&reply["ok"], &reply["code"]), (&Value::Bool(false), &Value::from(code)), "{reply}");
        assert!(reply["error"].as_str().unwrap().contains("status, reload, rotate"), "{reply}");
    }
    // Most had to make room long ago; the last that say nothing have some seconds.
    for stream in &crowd {
        assert!(hangs_up(stream, DEADLINE), "still connected");
    }
    assert_eq!(status(&daemon)["ok"], true);
    daemon.remember();
    let histories = load.finish();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

#[test]
fn no_role_holds_any_of_it() {
    let mut daemon = Setup::default().start();
    let sockets =
        |pid: i32| processes::descriptors(pid).iter().filter(|held| held.target.starts_with("socket:")).count();
    let at = socket(&daemon);
    let connected: Vec<UnixStream> = (0..3).map(|_| connect(&at, b"")).collect();
    wait_until(DEADLINE, "three clients beside six sockets", || {
        sockets(daemon.supervisor()) == 3 + 1 + 1 + 1 + (daemon.workers().len() + 2)
    });
    // Forked while they are connected.
    let old: Vec<i32> = [daemon.workers(), vec![daemon.writer()]].concat();
    old.iter().for_each(|pid| processes::signal(*pid, Signal::SIGKILL));
    wait_until(DEADLINE, "others, with their own sockets only", || {
        let (workers, writers) = (daemon.workers(), daemon.roles("writer"));
        let fresh = [workers.clone(), writers.clone()].concat().iter().all(|pid| !old.contains(pid));
        let own = workers.iter().all(|pid| sockets(*pid) == 2) && writers.iter().all(|pid| sockets(*pid) == 1);
        fresh && own && (workers.len(), writers.len()) == (2, 1)
    });
    drop(connected);
    daemon.remember();
    daemon.stop();
}

/// A daemon's refusal to start.
fn refused(setup: &Setup) -> Ended {
    let home = Home::new();
    let path = home.write("echostored.toml", &setup.clone().listen(&[free_address()]).text(&home));
    let mut asked = command(&["run", "--config"]);
    asked.arg(path);
    run(&home, asked)
}

fn at(setup: Setup, path: &Path) -> Setup {
    setup.set("control.socket", path.to_str().unwrap())
}

#[test]
fn a_socket_is_taken_from_the_dead_and_not_from_the_living() {
    let mut daemon = Setup::default().start();
    let path = socket(&daemon);
    // Another store, another address, the same socket.
    let ended = refused(&at(Setup::default(), &path));
    assert_eq!(ended.code, 78, "{ended:?}");
    for words in [path.to_str().unwrap(), "another daemon answers there", "set another control.socket"] {
        assert!(ended.stderr.contains(words), "{ended:?}");
    }
    assert_eq!(status(&daemon)["pid"], daemon.supervisor());
    daemon.kill_all();
    assert!(path.exists(), "left by a kill");
    let ended = tell(&daemon, &["status"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.contains("nobody listens") && ended.stderr.contains("systemctl status"), "{ended:?}");
    daemon.start_again();
    assert_eq!(status(&daemon)["pid"], daemon.supervisor());
    daemon.stop();
    // What cannot be made, and what is not ours.
    let home = Home::new();
    let precious = home.write("precious", "records");
    for (path, words) in [(precious.as_path(), "no socket"), (Path::new("/proc/none/control.sock"), "No such file")] {
        let ended = refused(&at(Setup::default(), path));
        assert_eq!(ended.code, 78, "{ended:?}");
        assert!(ended.stderr.contains(path.to_str().unwrap()) && ended.stderr.contains(words), "{ended:?}");
    }
    assert_eq!(fs::read(precious).unwrap(), b"records");
}

#[test]
fn at_the_default_place_the_second_goes_on_without() {
    let home = Home::new();
    let place = home.make_dir("runtime");
    let path = place.join("control.sock");
    let several = format!("{}:{}", place.display(), home.path().display());
    let setup = Setup::default().set("control.socket", "");
    let mut first = setup.clone().environment("RUNTIME_DIRECTORY", &several).start();
    let mut second = setup.clone().environment("RUNTIME_DIRECTORY", &several).start();
    assert_eq!(hear(connect(&path, b"status\n"))["pid"], first.supervisor());
    assert!(second.log().contains(&format!("cannot make the control socket {}", path.display())), "{}", second.log());
    store(&second, 1, 1);
    second.stop();
    assert_eq!(hear(connect(&path, b"status\n"))["pid"], first.supervisor(), "it was left alone");
    // The command finds the same place.
    let mut asked = command(&["rotate", "--config"]);
    asked.arg(first.config_path()).env("RUNTIME_DIRECTORY", &several);
    assert_eq!(run(&home, asked).code, 0);
    first.stop();
    assert!(!path.exists());
    let mut nowhere = setup.environment("RUNTIME_DIRECTORY", "/proc/none").start();
    assert!(nowhere.log().contains("reload and rotate do not reach this daemon"), "{}", nowhere.log());
    nowhere.stop();
}

#[test]
fn a_reload_follows_the_path() {
    let mut daemon = Setup::default().start();
    let (old, new) = (socket(&daemon), daemon.home().join("elsewhere/deep/c"));
    daemon.reconfigure(|setup| at(setup, Path::new("/proc/none/c")));
    let ended = tell_at(&daemon, &old, "reload");
    assert_eq!(ended.code, 78);
    assert!(ended.stderr.contains("cannot make the control socket /proc/none/c"), "{ended:?}");
    assert_eq!(tell_at(&daemon, &old, "status").code, 0, "the old one goes on");
    daemon.reconfigure(|setup| at(setup, &new));
    let ended = tell(&daemon, &["reload"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("it is still at the old one"), "{ended:?}");
    assert_eq!(said(&tell_at(&daemon, &old, "reload")), (0, "", ""), "answered over the old one");
    assert!(!old.exists());
    assert_eq!(number(&status(&daemon), "/generation"), 2);
    // One that somebody has deleted is made again.
    fs::remove_file(&new).unwrap();
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "the socket", || new.exists());
    assert_eq!(tell(&daemon, &["reload"]).code, 0);
    daemon.remember();
    daemon.stop();
    assert!(!new.exists());
}

#[test]
fn who_may_not_is_told_who_may() {
    let home = Home::new();
    let closed = home.join("closed.sock");
    let _listener = UnixListener::bind(&closed).unwrap();
    home::give_away(&closed);
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    let ask = |arguments: &[&str]| run(&home, command(arguments));
    let ended = ask(&["status", "--socket", closed.to_str().unwrap()]);
    assert_eq!(ended.code, 1);
    for words in [closed.to_str().unwrap(), "permission denied", "members of its group", "--socket PATH"] {
        assert!(ended.stderr.contains(words), "{ended:?}");
    }
    let ended = ask(&["rotate", "--config", "/none.toml"]);
    assert_eq!(ended.code, 78);
    assert!(ended.stderr.contains("/none.toml") && ended.stderr.contains("--socket PATH"), "{ended:?}");
    assert_eq!(ask(&["status", "--socket", "/x", "--config", "/y"]).code, 2);
}
