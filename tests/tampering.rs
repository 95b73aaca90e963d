//! What others do to the live file: each is seen, told and answered by a new file; what comes after is stored and echoed.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;
use support::client::{Client, History, Messages};
use support::daemon::{Daemon, Setup, command, run};
use support::drive::serve;
use support::framing::{Format, Framing};
use support::{DEADLINE, checker, processes, stays_false, wait_until};

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

/// What `status --json` says.
fn status(daemon: &Daemon) -> serde_json::Value {
    let config = daemon.config_path();
    let ended = run(daemon.home(), command(&["status", "--json", "--config", config.to_str().unwrap()]));
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// What is acknowledged and gone is counted, once, with its time.
fn check_destroyed(daemon: &Daemon, bytes: u64) {
    assert!(bytes > 0);
    let told = status(daemon);
    assert_eq!(told["totals"]["writer"]["destroyed_bytes"], bytes);
    assert!(told["last"].get("writer.destroyed_bytes").is_some(), "{told}");
}

/// The problems that `verify` finds.
fn problems(daemon: &Daemon) -> String {
    run(daemon.home(), command(&["verify", "--directory", daemon.store().to_str().unwrap()])).stdout
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
    let lost = daemon.log().split(" was deleted by somebody else, and ").nth(1).unwrap().to_owned();
    check_destroyed(&daemon, lost.split(' ').next().unwrap().parse().unwrap());
    wait_until(DEADLINE, "verify to name it", || {
        problems(&daemon).contains("number 1 was deleted by somebody else, before it was sealed")
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
    let lost: u64 =
        daemon.log().split(": 0 bytes instead of ").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    check_destroyed(&daemon, lost);
    let named = format!(
        ".log: somebody else changed it while it was live: {lost} bytes of it had been acknowledged, 0 were left: bytes 0-{}",
        lost - 1
    );
    assert!(problems(&daemon).contains(&named), "{}", problems(&daemon));
    let manifest = || fs::read_to_string(daemon.store().join("MANIFEST.jsonl")).unwrap_or_default();
    wait_until(DEADLINE, "its seal", || {
        manifest().contains(&format!("\"records\":0,\"bytes\":0,\"acknowledged\":{lost},"))
    });
    // The seal says so for good, also without the writer's note.
    fs::remove_file(daemon.store().join(".failed.jsonl")).unwrap();
    assert!(problems(&daemon).contains(&named), "{}", problems(&daemon));
    check_newest(daemon, &history);
    let append = |_: &Daemon, live: &Path| {
        File::options().append(true).open(live).unwrap().write_all(b"not ours\n").unwrap();
    };
    let (daemon, history) = after("was changed by somebody else", append);
    let first = checker::files(&daemon.store()).remove(0).path;
    assert!(fs::read(first).unwrap().ends_with(b"not ours\n"));
    assert_eq!(status(&daemon)["totals"]["writer"]["destroyed_bytes"], 0, "all that was acknowledged is there");
    assert!(problems(&daemon).contains("are none of the daemon's, or as many elsewhere"), "{}", problems(&daemon));
    check_newest(daemon, &history);
}

/// `current` still leads to the live file: that is not overwritten, by whoever makes the next one.
#[test]
fn a_live_file_that_lost_its_name_is_kept_and_can_be_given_it_back() {
    let remove = |daemon: &Daemon, live: &Path| {
        // It looks by itself otherwise.
        processes::signal(daemon.writer(), Signal::SIGSTOP);
        fs::remove_file(live).unwrap();
    };
    for dies in [false, true] {
        let (mut daemon, _) = after("has lost its name, its records are in current.saved-", |daemon, live| {
            let writer = daemon.writer();
            remove(daemon, live);
            processes::signal(writer, if dies { Signal::SIGKILL } else { Signal::SIGCONT });
        });
        assert_eq!(status(&daemon)["totals"]["writer"]["destroyed_bytes"], 0);
        wait_until(DEADLINE, "verify to miss it", || problems(&daemon).contains("number 1 was deleted"));
        let log = daemon.log();
        let (before, after) = log.split_once(" has lost its name, its records are in ").unwrap();
        let (name, saved) = (before.rsplit(' ').next().unwrap(), after.split(':').next().unwrap());
        fs::rename(daemon.store().join(saved), daemon.store().join(name)).unwrap();
        let sealed = || {
            fs::read_to_string(daemon.store().join("MANIFEST.jsonl")).unwrap().contains(&format!("\"seal\":\"{name}\""))
        };
        wait_until(DEADLINE, "its seal", sealed);
        let verified = run(daemon.home(), command(&["verify", "--directory", daemon.store().to_str().unwrap()]));
        assert_eq!(verified.code, 0, "{}", verified.stdout);
        daemon.stop();
        let records: usize = checker::files(&daemon.store())
            .iter()
            .map(|file| {
                let mut count = 0;
                checker::for_each_record(Format::Text, &file.path, |_, _| count += 1);
                count
            })
            .sum();
        assert_eq!(records, 20, "what was echoed before and after");
    }
}

/// The writer dies before it has seen that its file is gone: the next one cannot go on with it, and does not give up.
#[test]
fn a_writer_that_finds_its_file_gone_begins_a_new_one() {
    let (daemon, history) = after("a new one takes over", |daemon, live| {
        let writer = daemon.writer();
        processes::signal(writer, Signal::SIGSTOP);
        fs::remove_file(live).unwrap();
        fs::remove_file(daemon.store().join("current")).unwrap();
        processes::signal(writer, Signal::SIGKILL);
    });
    let lost = daemon.log().split("segment 1 is gone, and ").nth(1).unwrap().to_owned();
    check_destroyed(&daemon, lost.split(' ').next().unwrap().parse().unwrap());
    check_newest(daemon, &history);
}

/// The whole directory goes and cannot be made again: nothing can be stored, so nothing is echoed.
#[test]
fn nothing_is_echoed_without_a_directory() {
    for echo in ["stored", "synced"] {
        let mut daemon = Setup::default().set("server.echo", echo).start();
        ten_echoes(&daemon);
        // A file in its place: it cannot be made again.
        let doomed = daemon.home().join("doomed");
        fs::rename(daemon.store(), &doomed).unwrap();
        fs::write(daemon.store(), "").unwrap();
        support::remove_all(&doomed);
        wait_until(DEADLINE, "a word of it", || daemon.log().contains("nothing is echoed until it can"));
        let mut stream = std::net::TcpStream::connect(daemon.address).unwrap();
        stream.write_all(b"hello\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let heard = stream.read(&mut [0; 16]);
        assert!(heard.is_err(), "an echo of what is nowhere: {heard:?}");
        daemon.remember();
        let supervisor = daemon.supervisor();
        daemon.signal(Signal::SIGTERM);
        stays_false(Duration::from_millis(500), "an end while nothing can be stored", || !processes::runs(supervisor));
        daemon.signal(Signal::SIGTERM);
        assert_ne!(daemon.wait_exit(DEADLINE), 0);
    }
}

/// Records behind a truncation would stand behind a hole.
#[test]
fn a_truncation_between_two_batches_makes_no_hole() {
    let (daemon, history) = after("was changed by somebody else: 0 bytes", |daemon, live| {
        File::options().write(true).open(live).unwrap().set_len(0).unwrap();
        // At once, long before the writer's next look of its own accord.
        ten_echoes(daemon);
    });
    let stored: Vec<u8> =
        checker::files(&daemon.store()).iter().flat_map(|file| fs::read(&file.path).unwrap()).collect();
    assert!(!stored.contains(&0), "a hole");
    drop((daemon, history));
}

/// Somebody else's `current`, or that of a copy, is kept.
#[test]
fn a_foreign_current_is_kept_under_another_name() {
    let mut daemon = Setup::default().start();
    ten_echoes(&daemon);
    daemon.stop();
    let current = daemon.store().join("current");
    fs::remove_file(&current).unwrap();
    fs::write(&current, "precious").unwrap();
    daemon.start_again();
    daemon.stop();
    let saved = fs::read_dir(daemon.store()).unwrap().map(|entry| entry.unwrap().path());
    let saved = saved.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("current.saved-"));
    let saved: Vec<String> = saved.map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(saved, ["precious"]);
}
