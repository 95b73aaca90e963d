//! What others do to the live file: each is seen, told and answered by a new file; what comes after is stored and echoed.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use support::client::{Client, History, Messages};
use support::daemon::{Daemon, Setup};
use support::drive::serve;
use support::framing::{Format, Framing};
use support::{DEADLINE, checker, processes, wait_until};

fn ten_echoes(daemon: &Daemon) -> History {
    let client = Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap();
    serve(vec![client.quota(10).half_close()]).remove(0)
}

fn newest(daemon: &Daemon) -> checker::LogFile {
    checker::files(&daemon.store()).pop().unwrap()
}

/// Does `harm` to the live file and waits for the log to say `told` and for a new live file.
fn after(told: &str, harm: impl Fn(&Daemon, &Path)) -> (Daemon, History) {
    let daemon = Setup::default().start();
    ten_echoes(&daemon);
    let live = newest(&daemon);
    harm(&daemon, &live.path);
    wait_until(DEADLINE, told, || daemon.log().contains(told));
    wait_until(DEADLINE, "a new file", || {
        checker::files(&daemon.store()).last().is_some_and(|file| file.sequence > live.sequence)
    });
    let history = ten_echoes(&daemon);
    (daemon, history)
}

/// Everything that was sent after the harm is in the newest file, and `current` is that file.
fn check_newest(mut daemon: Daemon, history: &History) {
    daemon.stop();
    let newest = newest(&daemon);
    let mut count = 0;
    checker::for_each_record(Format::Text, &newest.path, |_, _| count += 1);
    assert_eq!((count, history.echoed), (10, 10));
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(daemon.store().join("current")).unwrap().ino(), newest.inode);
}

#[test]
fn a_deleted_live_file_is_replaced() {
    let (daemon, history) = after("was deleted by somebody else", |daemon, live| {
        fs::remove_file(live).unwrap();
        fs::remove_file(daemon.store().join("current")).unwrap();
    });
    check_newest(daemon, &history);
}

#[test]
fn a_renamed_live_file_and_a_removed_current_are_replaced() {
    let (daemon, history) =
        after("was renamed or removed", |_, live| fs::rename(live, live.with_file_name(".moved")).unwrap());
    check_newest(daemon, &history);
    let (daemon, history) =
        after("was renamed or removed", |daemon, _| fs::remove_file(daemon.store().join("current")).unwrap());
    check_newest(daemon, &history);
}

#[test]
fn a_truncated_or_appended_live_file_is_left_as_it_is() {
    let truncate = |_: &Daemon, live: &Path| File::options().write(true).open(live).unwrap().set_len(0).unwrap();
    let (daemon, history) = after("was changed by somebody else: 0 bytes", truncate);
    check_newest(daemon, &history);
    let append = |_: &Daemon, live: &Path| {
        File::options().append(true).open(live).unwrap().write_all(b"not ours\n").unwrap();
    };
    let (daemon, history) = after("was changed by somebody else", append);
    let first = checker::files(&daemon.store()).remove(0).path;
    assert!(fs::read(first).unwrap().ends_with(b"not ours\n"));
    check_newest(daemon, &history);
}

/// The writer dies before it has seen that its file is gone: the next one cannot go on with it, and does not give up.
#[test]
fn a_writer_that_finds_its_file_gone_begins_a_new_one() {
    let (daemon, history) = after("a new one takes over", |daemon, live| {
        let writer = daemon.writer();
        processes::signal(writer, Signal::SIGSTOP);
        fs::remove_file(live).unwrap();
        processes::signal(writer, Signal::SIGKILL);
    });
    check_newest(daemon, &history);
}
