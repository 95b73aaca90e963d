//! `rotate.on-close`: at least once, in order, off everybody's way.
use crate::small_files;
use crate::store::{closed, feed};
use crate::support::control::status;
use crate::support::daemon::{Daemon, Setup};
use crate::support::home::Home;
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use std::fs;
use std::path::{Path, PathBuf};

/// A program of these lines, in sh; `$HERE` is a directory that it may write to.
fn program(home: &Home, lines: &str) -> (Setup, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let here = home.make_dir("here");
    let path = home.write("hook", &format!("#!/bin/sh\nHERE={}\n{lines}\n", here.display()));
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    (small_files().set("rotate.on-close", vec![path.to_str().unwrap(), "first"]), here)
}

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Every closed file was handed on: the numbers in this file hold them all.
fn all_handed_on(daemon: &Daemon, file: &Path) -> bool {
    let done = lines(file);
    let files = closed(&daemon.store());
    !files.is_empty() && files.iter().all(|file| done.contains(&file.sequence.to_string()))
}

#[test]
fn it_is_told_all_of_each_file_in_their_order() {
    let home = Home::new();
    let script = "[ \"$1\" = first ] && [ \"$2\" = \"$ECHOSTORED_FILE\" ] && [ $# = 2 ] || exit 1
env >$HERE/env
[ -f \"$2\" ] && [ \"$ECHOSTORED_STORE/$ECHOSTORED_SEGMENT.zst\" = \"$2\" ] || exit 2
echo $ECHOSTORED_SEQUENCE >>$HERE/done
ls -l /proc/$$/fd >$HERE/fds
grep -E 'SigBlk|SigIgn' /proc/self/status >$HERE/signals";
    let (setup, here) = program(&home, script);
    let mut daemon = setup.set("compress.method", "zstd").start_in(home);
    feed(&daemon, 200);
    wait_until(DEADLINE, "all handed on", || all_handed_on(&daemon, &here.join("done")));
    let done: Vec<u64> = lines(&here.join("done")).iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(done, (1..=done.len() as u64).collect::<Vec<_>>(), "once each, in order");
    wait_until(DEADLINE, "the status", || status(&daemon)["archiver"]["hooked"] == done.len() as u64);
    daemon.stop();
    let env = lines(&here.join("env"));
    for name in ["RECORDS=", "BYTES=", "LOWEST=20", "HIGHEST=20", "BLAKE3="] {
        assert!(env.iter().any(|line| line.starts_with(&format!("ECHOSTORED_{name}"))), "{name} in {env:?}");
    }
    assert!(!env.iter().any(|line| line.starts_with("NOTIFY_SOCKET=")), "{env:?}");
    // 0, 1 and 2, the shell's own script, and nothing of ours.
    let fds = lines(&here.join("fds"));
    let paths: Vec<&str> = fds.iter().filter_map(|line| Some(line.split_once(" -> ")?.1)).collect();
    let foreign =
        paths.iter().filter(|path| path.contains(daemon.store().to_str().unwrap()) || path.contains("socket:"));
    assert_eq!(foreign.count(), 0, "{fds:?}");
    assert!(paths.len() <= 5 && paths.contains(&"/dev/null"), "{fds:?}");
    let signals = lines(&here.join("signals"));
    // 32 is glibc's own, and may be ignored by whoever runs the tests.
    let mask = |line: &String| u64::from_str_radix(line.rsplit_once('\t').unwrap().1, 16).unwrap() & 0x7fff_ffff;
    assert!(signals.len() == 2 && signals.iter().all(|line| mask(line) == 0), "{signals:?}");
}

#[test]
fn it_fails_three_times_and_then_succeeds() {
    let home = Home::new();
    let script = "echo $ECHOSTORED_SEQUENCE >>$HERE/tries
[ $(grep -cx $ECHOSTORED_SEQUENCE $HERE/tries) -gt 3 ] || [ $ECHOSTORED_SEQUENCE != 1 ] || exit 3
echo $ECHOSTORED_SEQUENCE >>$HERE/done";
    let (setup, here) = program(&home, script);
    let mut daemon = setup.start_in(home);
    feed(&daemon, 100);
    wait_until(DEADLINE, "all handed on", || all_handed_on(&daemon, &here.join("done")));
    let tries = lines(&here.join("tries"));
    assert_eq!(tries[..5], ["1", "1", "1", "1", "2"], "the others wait for the first");
    let log = daemon.log();
    assert!(log.contains("exit code 3 (attempt 3); the next try is in 4 s"), "{log}");
    assert!(log.contains("after 3 failures"), "{log}");
    wait_until(DEADLINE, "failures in the status", || status(&daemon)["archiver"]["hook_failures"] == 3);
    daemon.stop();
}

/// One that hangs is ended with all its children, and run again; nobody else waits for it.
#[test]
fn it_hangs() {
    let home = Home::new();
    let script = "echo $$ >>$HERE/pids
[ -e $HERE/well ] && { echo $ECHOSTORED_SEQUENCE >>$HERE/done; exit 0; }
trap '' TERM
sleep 1000 & echo $! >>$HERE/pids
wait; sleep 1000";
    let (setup, here) = program(&home, script);
    let setup = setup.set("rotate.on-close-timeout", "1s").set("compress.method", "zstd");
    let mut daemon = setup.start_in(home);
    feed(&daemon, 100);
    wait_until(DEADLINE, "a program that hangs", || lines(&here.join("pids")).len() >= 2);
    crate::is_done(&daemon, ".zst");
    let first: Vec<i32> = lines(&here.join("pids"))[..2].iter().map(|pid| pid.parse().unwrap()).collect();
    wait_until(DEADLINE, "its end", || first.iter().all(|pid| !processes::runs(*pid)));
    fs::write(here.join("well"), "").unwrap();
    wait_until(DEADLINE * 2, "all handed on", || all_handed_on(&daemon, &here.join("done")));
    assert!(daemon.log().contains("after rotate.on-close-timeout"), "{}", daemon.log());
    daemon.stop();
}

/// Killed in the midst of a run: that ends too, and is begun again.
#[test]
fn the_archiver_dies_while_it_runs() {
    let home = Home::new();
    let script = "echo $$ >>$HERE/pids
[ -e $HERE/well ] && { echo $ECHOSTORED_SEQUENCE >>$HERE/done; exit 0; }
exec sleep 1000";
    let (setup, here) = program(&home, script);
    let mut daemon = setup.start_in(home);
    feed(&daemon, 100);
    for run in 1..=3 {
        wait_until(DEADLINE, "a run", || lines(&here.join("pids")).len() >= run);
        let pid: i32 = lines(&here.join("pids"))[run - 1].parse().unwrap();
        daemon.roles("archiver").iter().for_each(|pid| processes::signal(*pid, Signal::SIGKILL));
        wait_until(DEADLINE, "its end", || !processes::runs(pid));
    }
    fs::write(here.join("well"), "").unwrap();
    daemon.roles("archiver").iter().for_each(|pid| processes::signal(*pid, Signal::SIGKILL));
    wait_until(DEADLINE, "all handed on", || all_handed_on(&daemon, &here.join("done")));
    daemon.remember();
    daemon.stop();
}

/// A file that retention deletes before the program went well with it is told; the one that it runs on stays.
#[test]
fn retention_comes_first_but_not_for_the_one_it_runs_on() {
    let home = Home::new();
    let script = "echo $ECHOSTORED_SEQUENCE >>$HERE/begun
while ! [ -e $HERE/well ]; do sleep 0.1; done
[ -f \"$2\" ] && echo $ECHOSTORED_SEQUENCE >>$HERE/done";
    let (setup, here) = program(&home, script);
    let mut daemon = setup.set("retain.max-files", 3).start_in(home);
    feed(&daemon, 300);
    wait_until(DEADLINE, "a run", || !lines(&here.join("begun")).is_empty());
    let first: u64 = lines(&here.join("begun"))[0].parse().unwrap();
    wait_until(DEADLINE, "three files", || closed(&daemon.store()).len() == 3);
    assert_eq!(closed(&daemon.store())[0].sequence, first, "the one that it runs on stays");
    assert!(daemon.log().contains("is deleted before rotate.on-close went well with it"), "{}", daemon.log());
    fs::write(here.join("well"), "").unwrap();
    wait_until(DEADLINE, "all handed on", || all_handed_on(&daemon, &here.join("done")));
    daemon.stop();
}

/// A script of ours, where the daemon's user can run it.
fn script(home: &Home, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = home.write(name, text);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn shipped(daemon: &Daemon, target: &Path) -> bool {
    let files = closed(&daemon.store());
    let is_there = |file: &crate::store::Closed| {
        fs::read(target.join(file.path.file_name().unwrap())).is_ok_and(|there| there == fs::read(&file.path).unwrap())
    };
    !files.is_empty() && files.iter().all(is_there)
}

#[test]
fn the_example_of_the_page_ships_every_file() {
    let home = Home::new();
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/hooks.md")).unwrap();
    let text = page.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    let (ship, target) = (script(&home, "ship", text), home.make_dir("target"));
    let command = vec![ship, target.to_str().unwrap().to_owned()];
    let mut daemon = small_files().set("rotate.on-close", command).set("compress.method", "gzip").start_in(home);
    feed(&daemon, 100);
    wait_until(DEADLINE, "all are shipped", || shipped(&daemon, &target));
    daemon.stop();
}

/// What the units of systemd do is done here by hand: the spool is shipped as long as it is not empty.
#[test]
fn the_example_for_systemd_ships_every_file_also_those_pruned_meanwhile() {
    let home = Home::new();
    let example = |name: &str| {
        let path = format!("{}/packaging/systemd/examples/{name}", env!("CARGO_MANIFEST_DIR"));
        script(&home, name, &fs::read_to_string(path).unwrap())
    };
    let (enqueue, ship, target) = (example("on-close-enqueue"), example("on-close-ship"), home.make_dir("target"));
    let spool = home.join("store/spool");
    let command = vec![enqueue, spool.to_str().unwrap().to_owned()];
    let mut daemon = small_files().set("rotate.on-close", command).start_in(home);
    feed(&daemon, 100);
    // Hidden names are being made.
    let is_whole =
        |entry: &std::io::Result<fs::DirEntry>| !entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.');
    let spooled = || fs::read_dir(&spool).map_or(0, |entries| entries.filter(is_whole).count());
    let count = closed(&daemon.store()).len();
    wait_until(DEADLINE, "all are in the spool", || {
        spooled() == count && status(&daemon)["archiver"]["hooked"] == count
    });
    daemon.reconfigure(|setup| setup.set("retain.max-files", 1));
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "one closed file", || closed(&daemon.store()).len() == 1);
    let ran = std::process::Command::new(ship).arg(&spool).arg(&target).status().unwrap();
    assert!(ran.success());
    assert_eq!((spooled(), fs::read_dir(&target).unwrap().count()), (0, count));
    daemon.stop();
}
