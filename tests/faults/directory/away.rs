//! The path leads elsewhere while the directory is still there: records go on to it, and the log says so.
use super::super::support::daemon::Daemon;
use super::super::support::skip;
use super::super::support::{DEADLINE, wait_until};
use super::{echoes, numbers, says, setup, times, verified};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use std::fs;
use std::path::{Path, PathBuf};

const AWAY: &str = "no longer leads to the store's directory";
const BACK: &str = "again, with all that belongs there";

/// Ten records before, and ten while it is away, in the directory that is held.
fn goes_on_in(daemon: &Daemon, store: &Path) {
    says(daemon, AWAY);
    echoes(daemon, 10);
    assert_eq!(numbers(store).values().map(|it| it.1.len()).sum::<usize>(), 20, "records in {}", store.display());
    assert_eq!(times(daemon, AWAY), 1, "it is said once");
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "it is said again after HUP", || times(daemon, AWAY) == 2);
}

fn started() -> (Daemon, PathBuf, PathBuf) {
    let daemon = setup("stored").start();
    echoes(&daemon, 10);
    let (store, moved) = (daemon.store(), daemon.home().join("moved"));
    (daemon, store, moved)
}

#[test]
fn renamed_away_and_back() {
    let (mut daemon, store, moved) = started();
    fs::rename(&store, &moved).unwrap();
    goes_on_in(&daemon, &moved);
    says(&daemon, &format!("that is {} now", moved.display()));
    daemon.signal(Signal::SIGUSR1);
    wait_until(DEADLINE, "a rotation there", || super::checker::files(&moved).len() == 2);
    fs::rename(&moved, &store).unwrap();
    says(&daemon, BACK);
    daemon.stop();
    verified(&daemon, &store);
}

#[test]
fn renamed_away_and_an_empty_one_in_its_place() {
    let (mut daemon, store, moved) = started();
    fs::rename(&store, &moved).unwrap();
    daemon.home().make_dir("store");
    goes_on_in(&daemon, &moved);
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0, "nothing goes into the new directory");
    daemon.stop();
    verified(&daemon, &moved);
    // The remedy that the log names.
    daemon.start_again();
    echoes(&daemon, 10);
    daemon.stop();
    assert_eq!(numbers(&store).len(), 1);
    verified(&daemon, &store);
}

/// Unmounts when the test ends, however it does.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn mounted_over() {
    let (mut daemon, store, _) = started();
    if let Err(error) = mount(Some("tmpfs"), &store, Some("tmpfs"), MsFlags::empty(), None::<&str>) {
        return skip(&format!("cannot mount: {error}"));
    }
    let mounted = Mounted(store.clone());
    says(&daemon, "another file system was mounted over it");
    echoes(&daemon, 10);
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0, "nothing goes into the other file system");
    drop(mounted);
    says(&daemon, BACK);
    assert_eq!(numbers(&store).values().map(|it| it.1.len()).sum::<usize>(), 20);
    assert_eq!(times(&daemon, AWAY), 1, "it is said once");
    daemon.stop();
    verified(&daemon, &store);
}
