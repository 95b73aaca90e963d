//! All at once: a new file every 20 ms, compressed and soon deleted, by an archiver that is killed again and again; and
//! somebody who reads it all from outside.
use crate::store::{closed, manifest, verify};
use crate::support::daemon::Setup;
use crate::support::follower::Follower;
use crate::support::framing::Format;
use crate::support::home::Home;
use crate::support::load::{Load, Shape};
use crate::support::record;
use crate::support::seed::count;
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const KEPT: usize = 50;

/// `ECHOSTORED_TEST_LIFE` is the number of seconds (8).
#[test]
fn a_follower_prints_every_record_that_was_not_deleted_before() {
    let span = Duration::from_secs(count("ECHOSTORED_TEST_LIFE", 8) as u64);
    let setup = Setup::default().set("compress.method", "zstd").set("retain.max-files", KEPT as i64);
    let mut daemon = setup.start_in(Home::new());
    let follower = Follower::start(&daemon.store(), &["-n", "1000000"]);
    let shape = Shape { connections: 8, window: 4, rest: Duration::from_millis(1), ..Shape::default() };
    let load = Load::start(daemon.address, shape);
    let (begin, mut kill_at, mut rotations, mut kills) = (Instant::now(), Duration::from_millis(500), 0, 0);
    while begin.elapsed() < span {
        daemon.signal(Signal::SIGUSR1);
        rotations += 1;
        if begin.elapsed() >= kill_at {
            kill_at += Duration::from_millis(500);
            let archivers = daemon.roles("archiver");
            kills += archivers.len();
            archivers.into_iter().for_each(|pid| processes::signal(pid, Signal::SIGKILL));
        }
        // The rhythm is the fault.
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon.remember();
    assert_eq!(load.broken(), 0, "connections were lost");
    let histories = load.finish();
    let wanted: usize = histories.iter().map(|history| history.echoed).sum();
    wait_until(DEADLINE, "all files sealed, compressed, and only so many", || {
        let files = closed(&daemon.store());
        let seals = manifest(&daemon.store()).seals;
        files.len() <= KEPT && files.iter().all(|file| file.suffix == ".zst" && seals.contains_key(&file.sequence))
    });
    verify(&daemon);
    daemon.stop();
    let mut printed = Vec::new();
    wait_until(DEADLINE, "a follower that has read it all", || {
        let before = std::mem::replace(&mut printed, follower.printed());
        !printed.is_empty() && before.len() == printed.len()
    });
    let told = follower.end(Signal::SIGTERM);
    assert_eq!(told.code, 0, "{}", told.stderr);
    let lost = told.stderr.contains("deleted before");
    let mut last: HashMap<String, u64> = HashMap::new();
    let mut records = 0;
    for line in told.stdout.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").expect("whole lines only");
        record::parse(Format::Text, line).expect("a record");
        let text = String::from_utf8_lossy(line);
        let id = text.split(' ').nth(2).unwrap();
        let (connection, n) = id.split_once('-').unwrap();
        let n: u64 = n.parse().unwrap();
        let before = last.insert(connection.to_owned(), n).unwrap_or(0);
        assert!(n == before + 1 || (lost && n > before), "{connection}: message {n} after {before}\n{}", told.stderr);
        records += 1;
    }
    println!("{rotations} rotations, {kills} kills; {records} of {wanted} records printed; said: {}", told.stderr);
    assert!(records == wanted || lost, "{records} of {wanted} records, and not a word of those deleted");
    assert!(records * 2 > wanted, "{records} of {wanted} records printed");
    assert!(kills > 0 && rotations > 2 * KEPT, "{kills} kills, {rotations} rotations");
}
