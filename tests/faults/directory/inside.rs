//! What makes the directory a store is changed in it while the daemon runs: `current`, `.lock`, `.store`, permissions.
use super::super::support::daemon::{Daemon, Setup, command, run};
use super::super::support::framing::Format;
use super::super::support::{DEADLINE, checker, processes, wait_until};
use super::{echoes, epoch, numbers, says, setup, verified};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

fn started() -> Daemon {
    let daemon = setup("stored").start();
    echoes(&daemon, 10);
    daemon
}

fn newest(daemon: &Daemon) -> checker::LogFile {
    checker::files(&daemon.store()).pop().unwrap()
}

/// `current` is the newest file again, and the store is whole; the saved thing, if any.
fn is_whole_again(mut daemon: Daemon, records: usize) -> Option<PathBuf> {
    wait_until(DEADLINE, "current is a segment", || {
        fs::symlink_metadata(daemon.current()).is_ok_and(|current| current.ino() == newest(&daemon).inode)
    });
    echoes(&daemon, 10);
    daemon.stop();
    let mut entries = fs::read_dir(daemon.store()).unwrap().map(|entry| entry.unwrap().path());
    let saved = entries.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("current.saved-"));
    let kept = saved.map(|path| {
        let kept = daemon.home().join("kept");
        fs::rename(path, &kept).unwrap();
        let content = if kept.is_dir() { kept.join("file") } else { kept };
        assert_eq!(fs::read_to_string(&content).unwrap(), "precious");
        content
    });
    assert_eq!(numbers(&daemon.store()).values().map(|it| it.1.len()).sum::<usize>(), records);
    verified(&daemon, &daemon.store());
    kept
}

#[test]
fn a_foreign_current_is_kept_and_replaced() {
    type Harm = fn(&Daemon);
    let file: Harm = |daemon| fs::write(daemon.home().join("new"), "precious").unwrap();
    let directory: Harm = |daemon| {
        fs::create_dir(daemon.home().join("new")).unwrap();
        fs::write(daemon.home().join("new/file"), "precious").unwrap();
    };
    let link: Harm = |daemon| {
        fs::write(daemon.home().join("elsewhere"), "precious").unwrap();
        symlink(daemon.home().join("elsewhere"), daemon.home().join("new")).unwrap();
    };
    for (make, rotate) in [(file, false), (directory, false), (directory, true), (link, false)] {
        let daemon = started();
        make(&daemon);
        fs::remove_file(daemon.current()).unwrap();
        fs::rename(daemon.home().join("new"), daemon.current()).unwrap();
        if rotate {
            // Perhaps before the writer has had its look.
            daemon.signal(Signal::SIGUSR1);
        }
        assert!(is_whole_again(daemon, 20).is_some(), "what was called current is gone");
    }
}

#[test]
fn a_deleted_lock_and_mark_are_made_again() {
    let mut daemon = started();
    let before = epoch(&daemon.store());
    for name in [".lock", ".store"] {
        fs::remove_file(daemon.store().join(name)).unwrap();
        wait_until(DEADLINE, "it is made again", || daemon.store().join(name).exists());
    }
    says(&daemon, "is locked again");
    assert_eq!(epoch(&daemon.store()), before);
    echoes(&daemon, 10);
    // A second daemon is turned away.
    let mut second = command(&["run", "--config"]);
    let text = Setup::default().set("store.directory", daemon.store().to_str().unwrap());
    let text = text.listen(&["127.0.0.1:0".parse().unwrap()]).text(daemon.home());
    second.arg(daemon.home().write("second.toml", &text));
    assert_eq!(run(daemon.home(), second).code, 75);
    daemon.remember();
    wait_until(DEADLINE, "the writer holds the new lock", || {
        let writer = daemon.writer();
        processes::descriptors(writer).iter().any(|held| held.target == daemon.store().join(".lock").to_str().unwrap())
    });
    is_whole_again(daemon, 30);
}

/// The live file goes on; a new one cannot be made until it is permitted again.
#[test]
fn a_directory_that_may_not_be_written_to() {
    let daemon = started();
    let mode = |mode: u32| fs::set_permissions(daemon.store(), PermissionsExt::from_mode(mode)).unwrap();
    mode(0o500);
    daemon.signal(Signal::SIGUSR1);
    says(&daemon, "going on with the old one");
    echoes(&daemon, 10);
    assert_eq!(checker::files(&daemon.store()).len(), 1);
    mode(0o750);
    wait_until(DEADLINE, "a rotation", || checker::files(&daemon.store()).len() == 2);
    is_whole_again(daemon, 30);
}

/// Nobody notices until the writer dies: its successor sets the mode again.
#[test]
fn a_live_file_that_was_made_read_only() {
    let daemon = started();
    let live = newest(&daemon).path;
    fs::set_permissions(&live, PermissionsExt::from_mode(0o440)).unwrap();
    echoes(&daemon, 10);
    let writer = daemon.writer();
    processes::end(writer);
    wait_until(DEADLINE, "another writer", || daemon.roles("writer").iter().any(|pid| *pid != writer));
    echoes(&daemon, 10);
    let mut count = 0;
    checker::for_each_record(Format::Text, &live, |_, _| count += 1);
    assert_eq!(count, 30);
    is_whole_again(daemon, 40);
}
