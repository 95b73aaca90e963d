//! All at once: a new file every 20 ms, compressed and soon deleted, by an archiver that is killed again and again; and two
//! who read it all from outside: one follows, one comes by now and then with a cursor.
use crate::store::{closed, manifest, verify};
use crate::support::daemon::{Daemon, Setup, as_user};
use crate::support::follower::Follower;
use crate::support::framing::Format;
use crate::support::home::{Home, binary};
use crate::support::load::{Load, Shape};
use crate::support::seed::count;
use crate::support::{DEADLINE, processes, record, wait_until};
use nix::sys::signal::Signal;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KEPT: usize = 50;

/// What a reader has printed, and what it has said.
#[derive(Default)]
struct Heard {
    out: Vec<u8>,
    said: String,
}

impl Heard {
    /// Each connection's messages in their order, once each; left out is only what was told to be deleted. How many.
    fn check(&self, who: &str, wanted: usize) -> usize {
        let told = self.said.contains("deleted");
        let mut last: HashMap<&str, u64> = HashMap::new();
        let mut records = 0;
        let text = std::str::from_utf8(&self.out).expect("text is UTF-8");
        for line in text.split_inclusive('\n') {
            let line = line.strip_suffix('\n').expect("whole lines only");
            record::parse(Format::Text, line.as_bytes()).expect("a record");
            let (connection, n) = line.split(' ').nth(2).unwrap().split_once('-').unwrap();
            let n: u64 = n.parse().unwrap();
            let before = last.insert(connection, n).unwrap_or(0);
            let follows = n == before + 1 || (told && n > before);
            assert!(follows, "{who}: connection {connection}: message {n} after {before}\n{}", self.said);
            records += 1;
        }
        assert!(records == wanted || told, "{who}: {records} of {wanted} records, and not a word of what is missing");
        records
    }
}

struct TellAtEnd<'a>(&'a AtomicBool);

impl Drop for TellAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// `tail --cursor-file` again and again, until all is read.
fn in_portions(store: &Path, place: &Home, stop: &AtomicBool) -> Heard {
    let mut heard = Heard::default();
    loop {
        let last = stop.load(Ordering::SeqCst);
        let mut command = Command::new(binary());
        command.args(["tail", "--directory"]).arg(store).arg("--cursor-file").arg(place.join("cursor"));
        as_user(&mut command);
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success() || said.contains("deleted"), "{}: {said}", ended.status);
        heard.out.extend(ended.stdout);
        heard.said += &said;
        if last {
            return heard;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A rotation every 20 ms, and a dead archiver every half second; how many of each.
fn torment(daemon: &Daemon, span: Duration) -> (usize, usize) {
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
    (rotations, kills)
}

/// `ECHOSTORED_TEST_LIFE` is the number of seconds (8).
#[test]
fn readers_miss_nothing_that_was_not_deleted_before() {
    let span = Duration::from_secs(count("ECHOSTORED_TEST_LIFE", 8) as u64);
    let setup = Setup::default().set("compress.method", "zstd").set("retain.max-files", KEPT as i64);
    let mut daemon = setup.start_in(Home::new());
    let (store, place, stop) = (daemon.store(), Home::new(), AtomicBool::new(false));
    let follower = Follower::start(&daemon.store(), &["-n", "1000000"]);
    let shape = Shape { connections: 8, window: 4, rest: Duration::from_millis(1), ..Shape::default() };
    let load = Load::start(daemon.address, shape);
    let (torments, wanted, portions) = std::thread::scope(|scope| {
        let portions = scope.spawn(|| in_portions(&store, &place, &stop));
        // Also when this thread panics: the scope waits for the other one.
        let told = TellAtEnd(&stop);
        let torments = torment(&daemon, span);
        assert_eq!(load.broken(), 0, "connections were lost");
        let wanted = load.finish().iter().map(|history| history.echoed).sum::<usize>();
        drop(told);
        (torments, wanted, portions.join().unwrap())
    });
    daemon.remember();
    wait_until(DEADLINE, "all files sealed, compressed, and only so many", || {
        let (files, seals) = (closed(&daemon.store()), manifest(&daemon.store()).seals);
        files.len() <= KEPT && files.iter().all(|file| file.suffix == ".zst" && seals.contains_key(&file.sequence))
    });
    verify(&daemon);
    daemon.stop();
    let mut printed = 0;
    wait_until(DEADLINE, "a follower that has read it all", || {
        let before = std::mem::replace(&mut printed, follower.length());
        std::thread::sleep(Duration::from_millis(200));
        printed > 0 && before == printed
    });
    let told = follower.end(Signal::SIGTERM);
    assert_eq!(told.code, 0, "{}", told.stderr);
    let followed = Heard { out: told.stdout, said: told.stderr }.check("tail -f", wanted);
    let carried = portions.check("with a cursor", wanted);
    let (rotations, kills) = torments;
    println!("{rotations} rotations, {kills} kills; of {wanted} records {followed} followed, {carried} by a cursor");
    assert!(followed * 2 > wanted && kills > 0 && rotations > 2 * KEPT);
}
