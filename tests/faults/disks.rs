//! Disks that are full, out of inodes, or fail: real ext4 on loop-mounted images.
use crate::support::checker::{self, Expect};
use crate::support::client::History;
use crate::support::control::status;
use crate::support::daemon::{Daemon, Setup};
use crate::support::disk::{Disk, Make};
use crate::support::framing::Format;
use crate::support::harm;
use crate::support::home::Home;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, came_true, wait_until};
use serde_json::Value;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

mod failing;

/// Few bytes under way: a disk that has room again is not full at once.
fn light() -> Shape {
    Shape { connections: 4, window: 4, ..Shape::default() }
}

/// No more echoes come: what is not stored is not echoed.
fn assert_silence(load: &Load) {
    let before = load.echoed();
    let under_way = (light().connections * light().window) as u64;
    let heard = came_true(Duration::from_millis(300), || load.echoed() > before + under_way);
    assert!(!heard, "echoes from a disk that takes nothing");
}

/// `verify` finds nothing wrong, and the store holds all that was echoed, once.
fn is_whole(daemon: &Daemon, histories: &[History], expect: Expect) {
    harm::verify(daemon);
    checker::check(&daemon.store(), Format::Text, histories, expect);
}

/// How many lines of the log hold `part`.
fn told(daemon: &Daemon, part: &str) -> usize {
    daemon.log().lines().filter(|line| line.contains(part)).count()
}

/// The offset in the last line that tells of a full disk: what is behind it in the file is half a batch.
fn refused_at(daemon: &Daemon) -> u64 {
    let log = daemon.log();
    let line = log.lines().rev().find(|line| line.contains("No space left on device")).expect("just seen");
    let number = line.split("at byte ").nth(1).and_then(|rest| rest.split(':').next()).expect("the offset");
    number.parse().unwrap()
}

#[test]
fn a_full_ext4_waits_and_goes_on_within_a_second_of_room() {
    const FILLERS: usize = 5;
    for echo in ["stored", "synced"] {
        let home = Home::new();
        let make = Make { bytes: 10 << 20, arguments: &["-m", "0"], ..Make::EXT4 };
        let Some(disk) = Disk::store(&home, make) else { return };
        let filler = |number: usize| disk.place().join(format!(".filler{number}"));
        for number in 0..FILLERS {
            fs::write(filler(number), vec![0; if number + 1 < FILLERS { 1 << 20 } else { 3 << 20 }]).unwrap();
        }
        let mut daemon = Setup::default().set("server.echo", echo).set("rotate.max-size", "64MiB").start_in(home);
        let load = Load::start(daemon.address, Shape { largest: 3000, ..light() });
        let (mut waits, mut short) = (Vec::new(), 0);
        for number in 0..FILLERS {
            wait_until(DEADLINE, "a full disk", || told(&daemon, "No space left on device") > number);
            assert_silence(&load);
            short += usize::from(fs::metadata(daemon.current()).unwrap().len() > refused_at(&daemon));
            harm::verify(&daemon);
            let before = load.echoed();
            fs::remove_file(filler(number)).unwrap();
            let begin = Instant::now();
            wait_until(DEADLINE, "echoes go on", || load.echoed() > before + 16);
            waits.push(begin.elapsed());
        }
        let histories = load.finish();
        daemon.stop();
        is_whole(&daemon, &histories, Expect::default());
        println!("{echo}: from room to echoes {waits:?}; {short} of {FILLERS} times after a short write");
        assert!(short > 0, "no write was short");
        // A second by design; five, since the machine may be busy.
        assert!(waits.iter().all(|wait| *wait < Duration::from_secs(5)), "{waits:?} to go on");
        assert!(told(&daemon, "storing again") >= FILLERS, "nothing tells that it goes on");
        drop((disk, daemon));
    }
}

/// A segment that cannot be created leaves the old one live, beyond its limit, until there are inodes again.
#[test]
fn without_inodes_the_old_file_goes_on_and_rotation_comes_back() {
    const LIMIT: u64 = 64 << 10;
    let home = Home::new();
    let make = Make { bytes: 64 << 20, arguments: &["-N", "32"], ..Make::EXT4 };
    let Some(disk) = Disk::store(&home, make) else { return };
    let mut daemon = Setup::default().set("rotate.max-size", "64KiB").start_in(home);
    let load = Load::start(daemon.address, light());
    let mut fillers = Vec::new();
    let none_left = loop {
        let filler = disk.place().join(format!(".filler{}", fillers.len()));
        match File::create(&filler) {
            Ok(_) => fillers.push(filler),
            Err(error) => break error,
        }
    };
    assert_eq!(none_left.raw_os_error(), Some(nix::libc::ENOSPC));
    wait_until(DEADLINE, "a rotation that cannot be", || told(&daemon, "cannot begin a new segment") > 0);
    let current = daemon.current();
    wait_until(DEADLINE, "the old file goes on", || fs::metadata(&current).unwrap().len() > 4 * LIMIT);
    assert!(daemon.log().contains("going on with the old one"), "the log does not say so");
    load.progress(500);
    // Everything is stored: nothing to take the daemon out of service for.
    let report = status(&daemon);
    assert!(report["rotation_stuck"] == true && report["full"] == false, "{report}");
    assert_eq!(report["health"], Value::Array(vec![]));
    let long = checker::files(disk.place()).last().expect("the live file").sequence;
    fillers.iter().for_each(|filler| fs::remove_file(filler).unwrap());
    let begin = Instant::now();
    let rotated = || checker::files(disk.place()).last().is_some_and(|file| file.sequence > long + 2);
    wait_until(DEADLINE, "rotations again", rotated);
    assert_eq!(status(&daemon)["rotation_stuck"], false);
    assert_eq!(told(&daemon, "new segments can be begun again"), 1);
    println!("from free inodes to three rotations {:?}", begin.elapsed());
    let histories = load.finish();
    daemon.stop();
    is_whole(&daemon, &histories, Expect::default());
    let files = checker::files(disk.place());
    assert!(files.iter().all(|file| (file.size > LIMIT) == (file.sequence == long)), "{files:?}");
}
