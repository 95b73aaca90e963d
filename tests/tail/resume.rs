//! Cursors: a reader that is killed again and again goes on where it was.
use super::support::client::{Client, Messages};
use super::support::daemon::Daemon;
use super::support::drive::serve;
use super::support::follower::Follower;
use super::support::framing::Framing;
use super::support::load::Load;
use super::support::shelf::{self, Hand};
use super::support::{DEADLINE, wait_until};
use super::{GENTLE, Rotations, daemon, run, said};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A directory that the unprivileged user may write.
fn cursor_place(daemon: &Daemon) -> PathBuf {
    daemon.home().make_dir("cursor").join("cursor")
}

/// The number of the segment and the offset in a cursor file; `None`: there is none.
fn cursor(path: &Path) -> Option<(u64, usize)> {
    let text = fs::read_to_string(path).ok()?;
    let mut parts = text.trim_end().split(':').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Where a cursor stands in all that was stored.
fn offset(cursor: Option<(u64, usize)>, contents: &BTreeMap<u64, Vec<u8>>) -> usize {
    let Some((sequence, offset)) = cursor else { return 0 };
    contents.range(..sequence).map(|(_, bytes)| bytes.len()).sum::<usize>() + offset
}

/// Runs of one reader: the cursor that each began with, and what it printed.
type Runs = Vec<(Option<(u64, usize)>, Vec<u8>)>;

/// Each run begins at its cursor, which no byte before it was skipped for.
fn judge(runs: &Runs, contents: &BTreeMap<u64, Vec<u8>>) {
    let all = shelf::all(contents);
    let mut end = 0;
    for (number, (cursor, printed)) in runs.iter().enumerate() {
        let from = offset(*cursor, contents);
        assert!(from <= end, "run {number} begins at {from}, and {end} is where those before have come");
        // The last line may be cut by the kill.
        assert!(all[from..].starts_with(printed), "run {number} prints what does not stand at {from}");
        end = end.max(from + printed.len());
    }
    assert_eq!(end, all.len(), "the last run came to the end");
}

#[test]
fn killed_again_and_again_under_load_it_loses_nothing() {
    let mut daemon = daemon();
    let path = cursor_place(&daemon);
    let arguments = ["--cursor-file", path.to_str().unwrap()];
    let (load, rotations) = (Load::start(daemon.address, GENTLE), Rotations::start(&daemon));
    let hand = Hand::start(&daemon.store(), usize::MAX >> 1);
    let mut runs: Runs = Vec::new();
    for round in 0..15u64 {
        let begin = cursor(&path);
        let follower = Follower::start(&daemon.store(), &arguments);
        follower.await_length(1);
        // Some die before, some after their cursor was written again.
        let until = Duration::from_millis(100 + 160 * (round % 9));
        std::thread::sleep(until);
        let printed = follower.end(Signal::SIGKILL);
        assert_eq!(printed.stderr, "");
        runs.push((begin, printed.stdout));
    }
    drop(rotations);
    load.finish();
    hand.finish();
    daemon.stop();
    let contents = shelf::contents(&daemon.store());
    // The last one is asked in order, and keeps where it came to.
    let begin = cursor(&path);
    let left = shelf::all(&contents).len() - offset(begin, &contents);
    let follower = Follower::start(&daemon.store(), &arguments);
    follower.await_length(left);
    let printed = follower.end(Signal::SIGTERM);
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
    runs.push((begin, printed.stdout));
    judge(&runs, &contents);
    assert_eq!(offset(cursor(&path), &contents), shelf::all(&contents).len());
    assert!(runs.iter().filter(|(begin, _)| begin.is_some()).count() >= 14);
    // The copies of the temporary name are gone, but for a kill between the two steps.
    assert!(fs::read_dir(path.parent().unwrap()).unwrap().count() <= 2);
}

/// So many messages, all echoed.
fn send(daemon: &Daemon, count: usize) {
    let messages = Messages::generated(Framing::Line, 20, 200);
    serve(vec![Client::connect(daemon.address, Framing::Line, messages).unwrap().quota(count).half_close()]);
}

#[test]
fn a_cursor_in_a_segment_that_was_compressed_and_one_that_was_deleted() {
    let daemon = daemon();
    let path = cursor_place(&daemon);
    let file = path.to_str().unwrap();
    send(&daemon, 200);
    assert_eq!(said(&run(&daemon.store(), &["tail", "--cursor-file", file])).0, 0);
    let (sequence, _) = cursor(&path).unwrap();
    send(&daemon, 200);
    let rotate = |daemon: &Daemon| {
        let before = shelf::segments(&daemon.store()).len();
        daemon.signal(Signal::SIGUSR1);
        wait_until(DEADLINE, "another file", || shelf::segments(&daemon.store()).len() > before);
    };
    rotate(&daemon);
    send(&daemon, 20);
    wait_until(DEADLINE, "current", || fs::read(daemon.current()).is_ok_and(|bytes| !bytes.is_empty()));
    let contents = shelf::contents(&daemon.store());
    let first = &shelf::segments(&daemon.store())[&sequence][0];
    shelf::compress(first);
    let kept = fs::read_to_string(&path).unwrap();
    let from = offset(cursor(&path), &contents);
    let printed = run(&daemon.store(), &["cat", "--from", kept.trim_end(), "--show-cursor"]);
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    assert!(printed.stdout == shelf::all(&contents)[from..]);
    let shown = String::from_utf8(printed.stderr).unwrap();
    assert!(shown.starts_with("-- cursor: ") && shown.lines().count() == 1, "{shown}");
    // And one that was deleted.
    fs::remove_file(first.with_extension("log.zst")).unwrap();
    let (code, out, complaint) = said(&run(&daemon.store(), &["tail", "--cursor-file", file]));
    // If it was sealed by then, the manifest knows how many records it had.
    let told = format!("1 segment, number {sequence}, was deleted since the cursor");
    assert!(complaint.starts_with(&told) && complaint.lines().count() == 1, "{complaint}");
    assert!((code, out.as_bytes()) == (0, &contents[&(sequence + 1)][..]), "{code}, {} bytes", out.len());
    // Behind the last cursor there is nothing.
    let last = shown.trim_end().strip_prefix("-- cursor: ").unwrap();
    assert_eq!(said(&run(&daemon.store(), &["cat", "--from", last])), (0, String::new(), String::new()));
}
