//! A symlink, a hard link, a FIFO, a device, a directory or a socket where the daemon is about to use a name.
use crate::support::checker::{self, Expect};
use crate::support::control::{status, tell};
use crate::support::daemon::{Daemon, Setup, command, run};
use crate::support::framing::Format;
use crate::support::home::{Home, give_away, user};
use crate::support::processes;
use crate::support::setup::free_address;
use crate::support::{DEADLINE, skip, wait_until};
use crate::ten_echoes;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Symlink,
    Dangling,
    HardLink,
    Fifo,
    Device,
    Directory,
    Socket,
}

use Planted::{Dangling, Device, Directory, Fifo, HardLink, Socket, Symlink};

const ALL: [Planted; 7] = [Symlink, Dangling, HardLink, Fifo, Device, Directory, Socket];
const GAPS: Expect = Expect { max_size: None, empty_files: false, gaps: true };
const PRECIOUS: &str = "not yours, and no record\n";

/// What must stay as it is: root's, and open for everybody to write, so that no permission saves it.
fn precious(home: &Home) -> PathBuf {
    let path = home.join("precious");
    if !path.exists() {
        fs::write(&path, PRECIOUS).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    }
    path
}

/// Puts it there. False: this user cannot.
fn plant(kind: Planted, home: &Home, place: &Path) -> bool {
    let all = Mode::from_bits_truncate(0o666);
    match kind {
        Symlink => symlink(precious(home), place).unwrap(),
        Dangling => symlink(home.join("nowhere"), place).unwrap(),
        // Of a file of its own nobody can tell who linked it.
        HardLink if user().is_none() => return false,
        HardLink => fs::hard_link(precious(home), place).unwrap(),
        Fifo => nix::unistd::mkfifo(place, all).unwrap(),
        // 1, 3: /dev/null.
        Device => return mknod(place, SFlag::S_IFCHR, all, makedev(1, 3)).is_ok(),
        Directory => fs::create_dir(place).unwrap(),
        Socket => drop(UnixListener::bind(place).unwrap()),
    }
    if matches!(kind, Fifo | Socket) {
        fs::set_permissions(place, PermissionsExt::from_mode(0o666)).unwrap();
    }
    true
}

/// All kinds that this user can plant.
fn kinds() -> Vec<Planted> {
    if user().is_some() {
        return ALL.to_vec();
    }
    skip("hard links of others' files and devices need root");
    ALL.into_iter().filter(|kind| !matches!(kind, HardLink | Device)).collect()
}

fn is_still(kind: Planted, place: &Path) -> bool {
    let metadata = fs::symlink_metadata(place).unwrap();
    let kind_of = metadata.file_type();
    match kind {
        Symlink | Dangling => kind_of.is_symlink(),
        HardLink => kind_of.is_file() && metadata.nlink() > 1,
        Fifo => kind_of.is_fifo(),
        Device => kind_of.is_char_device(),
        Directory => kind_of.is_dir(),
        Socket => kind_of.is_socket(),
    }
}

fn nothing_happened(home: &Home) {
    assert_eq!(fs::read_to_string(precious(home)).unwrap(), PRECIOUS);
    assert!(!home.join("nowhere").exists(), "something was made through a symlink");
}

fn segment(sequence: u64, seconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    format!("messages-{sequence:010}-{}.log", time.format("%Y%m%dT%H%M%SZ"))
}

/// At another address: somebody else's test may have taken the one of before.
fn start_again(daemon: &mut Daemon) {
    wait_until(DEADLINE, "a second start", || {
        daemon.choose_address();
        daemon.launch().map_err(|code| assert!(matches!(code, 69 | 75), "{code}:\n{}", daemon.log())).is_ok()
    });
}

/// Numbers behind the newest one, at a start: after a clean end, and after one that has to be recovered from.
#[test]
fn as_the_newest_file_at_a_start() {
    for kind in kinds() {
        for clean in [true, false] {
            println!("{kind:?}, clean: {clean}");
            let mut daemon = Setup::default().start();
            let first = ten_echoes(&daemon);
            if clean {
                daemon.stop()
            } else {
                daemon.kill_all()
            }
            let place = daemon.store().join(segment(9, 1_795_336_920));
            assert!(plant(kind, daemon.home(), &place));
            start_again(&mut daemon);
            let told = daemon.log();
            let foreign: Vec<&str> = told.lines().filter(|line| line.contains("is no file of this daemon's")).collect();
            assert!(
                foreign.len() == 1 && foreign[0].contains("-0000000009-"),
                "it is told, and nothing else: {foreign:?}"
            );
            let second = ten_echoes(&daemon);
            daemon.stop();
            nothing_happened(daemon.home());
            assert!(is_still(kind, &place), "it is left alone");
            if kind == Directory { fs::remove_dir(&place) } else { fs::remove_file(&place) }.unwrap();
            checker::check(&daemon.store(), Format::Text, &[first, second], GAPS);
        }
    }
}

/// Every name that the next file could get in the next half minute.
fn plant_all(kind: Planted, daemon: &Daemon, sequence: u64) -> Vec<PathBuf> {
    let now = chrono::Utc::now().timestamp();
    let places: Vec<PathBuf> =
        (now - 1..now + 60).map(|second| daemon.store().join(segment(sequence, second))).collect();
    places.iter().for_each(|place| assert!(plant(kind, daemon.home(), place)));
    places
}

#[test]
fn as_the_next_file_while_it_runs() {
    for kind in kinds() {
        println!("{kind:?}");
        let mut daemon = Setup::default().start();
        let mut histories = vec![ten_echoes(&daemon)];
        let places = plant_all(kind, &daemon, 2);
        assert_eq!(tell(&daemon, &["rotate"]).code, 0);
        let newest = status(&daemon)["segment"].as_str().unwrap().to_owned();
        assert!(newest.contains("-0000000003-"), "the next number that is free: {newest}");
        histories.push(ten_echoes(&daemon));
        // A new writer meets them, too; and one that is newer than all.
        let later = plant_all(kind, &daemon, 4);
        let writer = daemon.writer();
        processes::signal(writer, Signal::SIGKILL);
        wait_until(DEADLINE, "another writer", || daemon.roles("writer").iter().any(|pid| *pid != writer));
        histories.push(ten_echoes(&daemon));
        daemon.stop();
        nothing_happened(daemon.home());
        for place in places.iter().chain(&later) {
            assert!(is_still(kind, place), "it is left alone");
            if kind == Directory { fs::remove_dir(place) } else { fs::remove_file(place) }.unwrap();
        }
        checker::check(&daemon.store(), Format::Text, &histories, GAPS);
    }
}

#[test]
fn as_the_next_current() {
    for kind in kinds() {
        println!("{kind:?}");
        let mut daemon = Setup::default().start();
        let mut histories = vec![ten_echoes(&daemon)];
        assert!(plant(kind, daemon.home(), &daemon.store().join(".current.new")));
        assert_eq!(tell(&daemon, &["rotate"]).code, 0);
        histories.push(ten_echoes(&daemon));
        daemon.stop();
        nothing_happened(daemon.home());
        let newest = checker::files(&daemon.store()).pop().unwrap();
        assert_eq!((newest.sequence, fs::metadata(daemon.current()).unwrap().ino()), (2, newest.inode));
        checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
    }
}

/// `echostored run` on a store with something planted: refused, by name.
fn is_refused(home: &Home, name: &str) {
    let config = home.write("echostored.toml", &Setup::default().listen(&[free_address()]).text(home));
    let mut command = command(&["run", "--config"]);
    command.arg(config);
    let ended = run(home, command);
    assert_eq!(ended.code, 74, "{ended:?}");
    assert!(ended.stderr.contains(name), "{name:?} is not in {:?}", ended.stderr);
    nothing_happened(home);
}

#[test]
fn as_the_lock_or_the_mark() {
    for kind in kinds() {
        for name in [".lock", ".store"] {
            println!("{kind:?}, {name}");
            let home = Home::new();
            let place = home.make_dir("store").join(name);
            assert!(plant(kind, &home, &place));
            is_refused(&home, &home.join("store").display().to_string());
            assert!(is_still(kind, &place));
        }
    }
}

/// A file of the daemon's own is not emptied either, because somebody has linked it to that name.
#[test]
fn a_lock_with_something_in_it_is_not_emptied() {
    let home = Home::new();
    let own = home.write("own", "a file of the same user, which must not be lost\n");
    fs::hard_link(&own, home.make_dir("store").join(".lock")).unwrap();
    is_refused(&home, ".lock");
    assert_eq!(fs::read_to_string(&own).unwrap(), "a file of the same user, which must not be lost\n");
}

#[test]
fn as_the_directory() {
    for kind in kinds().into_iter().filter(|kind| *kind != Directory) {
        println!("{kind:?}");
        let home = Home::new();
        assert!(plant(kind, &home, &home.join("store")));
        is_refused(&home, &home.join("store").display().to_string());
        assert!(is_still(kind, &home.join("store")));
    }
}

#[test]
fn a_directory_that_others_may_write_to() {
    let store = |mode: u32| {
        let home = Home::new();
        let path = home.make_dir("store");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        (home, path)
    };
    for mode in [0o777, 0o757, 0o1777] {
        is_refused(&store(mode).0, "chmod o-w");
    }
    // Its own group may be let in by the operator; any other not.
    let (home, _own) = store(0o770);
    Setup::default().start_in(home).stop();
    if user().is_none() {
        return skip("a directory of another group needs root");
    }
    let (home, path) = store(0o770);
    chown(&path, None, Some(12345)).unwrap();
    is_refused(&home, "chmod g-w");
    let (home, path) = store(0o755);
    chown(&path, Some(0), None).unwrap();
    is_refused(&home, &path.display().to_string());
    let (home, path) = store(0o755);
    chown(&path, Some(12345), None).unwrap();
    is_refused(&home, "it belongs to user 12345");
}

/// Notes beside the records: what cannot be read as such is not followed, and the service goes on.
#[test]
fn as_the_manifest() {
    for kind in [Symlink, Fifo] {
        let home = Home::new();
        let place = home.make_dir("store").join("MANIFEST.jsonl");
        assert!(plant(kind, &home, &place));
        let mut daemon = Setup::default().start_in(home);
        let history = ten_echoes(&daemon);
        assert_eq!(tell(&daemon, &["rotate"]).code, 0);
        wait_until(DEADLINE, "it is told", || daemon.log().contains("cannot look at the store"));
        daemon.stop();
        nothing_happened(daemon.home());
        assert!(is_still(kind, &place));
        checker::check(&daemon.store(), Format::Text, &[history], Expect::default());
    }
}

/// The highest number there is: no number is used twice, and nothing wraps around to the first.
#[test]
fn a_file_with_the_last_number() {
    let home = Home::new();
    let place = home.make_dir("store").join(segment(u64::MAX, 1_795_336_920));
    fs::write(&place, "").unwrap();
    give_away(&place);
    fs::write(home.join("store/.store"), "version = 1\nepoch = 3\nformat = \"jsonl\"\nsince = 1\n").unwrap();
    fs::write(&place, "{}\n").unwrap();
    give_away(&home.join("store/.store"));
    is_refused(&home, "move it away");
}
