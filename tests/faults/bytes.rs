//! Damaged stores: every truncation and every flipped bit of a live file, and every kind of tail.
//!
//! The files are the real daemon's, killed uncleanly; what must be kept is known from code of the tests' own
//! (`support/record.rs`). What must be tried for each byte or bit calls the store's own recovery and reading tools in this
//! process; a seeded part of it is done by the real program.
mod flips;
mod tails;
mod truncation;
mod zeros;

use super::support::client::{Client, Messages};
use super::support::daemon::Setup;
use super::support::drive::serve;
use super::support::framing::{Format, Framing};
use super::support::home::{Home, give_away};
use super::support::seed::Chance;
use super::support::{checker, record};
use echostored::config::{self, Choice};
use echostored::store::names::SegmentName;
use echostored::store::recovery::{Torn, repair};
use echostored::sys::file::open_directory;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// 64 KiB.
const LENGTH: usize = 64 << 10;

/// What a daemon left that was killed: all its files, by name.
struct Killed {
    format: Format,
    files: BTreeMap<String, Vec<u8>>,
    /// The name of the live file.
    live: String,
}

impl Killed {
    /// Runs a daemon until its live file has `length` bytes, and kills all its processes.
    fn new(format: Format, length: usize) -> Self {
        let mut daemon = Setup::default().set("store.format", format.name()).start();
        let size = || fs::metadata(daemon.current()).unwrap().len();
        while size() < length as u64 {
            let generated = Messages::generated(Framing::Line, 0, 120);
            let client = Client::connect(daemon.address, Framing::Line, generated).unwrap().quota(50).half_close();
            let people = Messages::listed(Framing::Line, &PEOPLE);
            let other = Client::connect(daemon.address, Framing::Line, people).unwrap().half_close();
            serve(vec![client, other]);
        }
        daemon.kill_all();
        let live = checker::files(&daemon.store()).pop().unwrap().path;
        let live = live.file_name().unwrap().to_str().unwrap().to_owned();
        let files = contents(&daemon.store());
        assert!(!files.contains_key(".clean"), "that was a clean end");
        Self { format, files, live }
    }

    fn bytes(&self) -> &[u8] {
        &self.files[&self.live]
    }

    /// The store as it was but for the live file, in the hands of the daemon's user.
    fn restore(&self, live: &[u8]) -> Home {
        let home = Home::new();
        let store = home.make_dir("store");
        for (name, bytes) in self.files.iter().filter(|(name, _)| *name != "current") {
            let path = store.join(name);
            fs::write(&path, if *name == self.live { live } else { bytes }).unwrap();
            give_away(&path);
        }
        fs::hard_link(store.join(&self.live), store.join("current")).unwrap();
        home
    }

    fn setup(&self) -> Setup {
        Setup::default().set("store.format", self.format.name())
    }
}

/// What people write: nothing, other scripts, what must be escaped.
const PEOPLE: [&[u8]; 6] = [
    b"",
    "grüße aus Łódź – 東京 🦀".as_bytes(),
    b"tab\there, bell\x07, \x1b[31mred",
    b"C:\\new\\x41",
    b"\xff\xfe\x80",
    b"\"json\"",
];

/// Every file of a directory.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let read = |path: PathBuf| fs::read(path).unwrap();
    entries.map(|entry| (entry.file_name().into_string().unwrap(), read(entry.path()))).collect()
}

/// Where the records end: the offsets behind each line that is one, by the tests' own parser.
fn record_ends(format: Format, bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut begin = 0;
    while let Some(length) = bytes[begin..].iter().position(|byte| *byte == b'\n') {
        if record::parse(format, &bytes[begin..begin + length]).is_ok() {
            ends.push(begin + length + 1);
        }
        begin += length + 1;
    }
    ends
}

/// A store in this process's hands, in memory: one closed segment that may be torn, and bystanders.
struct Bench {
    place: TempDir,
    directory: OwnedFd,
    name: SegmentName,
    format: config::Format,
    bystanders: BTreeMap<String, Vec<u8>>,
}

impl Bench {
    fn new(killed: &Killed) -> Self {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let directory = open_directory(place.path()).unwrap();
        // Not the first: its connections need not begin with their first message.
        let name = SegmentName { sequence: 7, ..SegmentName::parse(&killed.live).unwrap() };
        let next = SegmentName { sequence: 8, ..name.clone() }.build();
        for (name, bytes) in [(next.as_str(), ""), ("notes.txt", "mine"), (".hidden", "")] {
            fs::write(place.path().join(name), bytes).unwrap();
        }
        fs::write(place.path().join(".store"), &killed.files[".store"]).unwrap();
        let bystanders = contents(place.path());
        let format = config::Format::from_name(killed.format.name()).unwrap();
        Self { place, directory, name, format, bystanders }
    }

    fn segment(&self) -> PathBuf {
        self.place.path().join(self.name.build())
    }

    fn torn(&self) -> PathBuf {
        self.place.path().join(self.name.build() + ".torn")
    }

    fn repair(&self) -> Option<Torn> {
        repair(self.directory.as_fd(), &self.name, Some(self.format), |_| {}).unwrap()
    }

    /// How much of these bytes a repair leaves.
    fn whole_of(&self, bytes: &[u8]) -> usize {
        fs::write(self.segment(), bytes).unwrap();
        if let Some(torn) = self.repair() {
            fs::remove_file(self.place.path().join(torn.aside)).unwrap();
        }
        fs::metadata(self.segment()).unwrap().len().try_into().unwrap()
    }

    /// Repairs a segment of these bytes: its first `whole` bytes stay, the rest is aside, all else is as it was, and a
    /// second time there is nothing to do.
    fn check(&self, bytes: &[u8], whole: usize, place: &str) {
        fs::write(self.segment(), bytes).unwrap();
        let torn = self.repair();
        let aside = self.name.build() + ".torn";
        let moved = (whole < bytes.len()).then(|| Torn {
            whole: whole as u64,
            moved: (bytes.len() - whole) as u64,
            aside: aside.clone(),
        });
        assert_eq!(torn, moved, "{place}");
        assert!(fs::read(self.segment()).unwrap() == bytes[..whole], "{place}: the whole records are not as they were");
        let mut all = contents(self.place.path());
        all.remove(&self.name.build());
        let saved = all.remove(&aside).unwrap_or_default();
        assert!(saved == bytes[whole..], "{place}: {} of {} bytes are aside", saved.len(), bytes.len() - whole);
        assert_eq!(all, self.bystanders, "{place}: something else was touched");
        assert_eq!(self.repair(), None, "{place}: a second repair");
        if !saved.is_empty() {
            fs::remove_file(self.torn()).unwrap();
        }
    }
}

/// Calls `each` for all of `items`, on as many threads as there are processors, each with a bench of its own.
fn in_parallel<T: Sync>(killed: &Killed, items: &[T], each: impl Fn(&Bench, &T) + Sync) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        for part in items.chunks(items.len().div_ceil(threads).max(1)) {
            let each = &each;
            scope.spawn(move || {
                let bench = Bench::new(killed);
                part.iter().for_each(|item| each(&bench, item));
            });
        }
    });
}

/// So many numbers below `limit`, seeded.
fn sample(chance: &mut Chance, count: usize, limit: usize) -> Vec<usize> {
    (0..count).map(|_| usize::try_from(chance.below(limit as u64)).unwrap()).collect()
}

/// `echostored TOOL --directory STORE`: its exit code and what it printed.
fn tool(home: &Home, name: &str, more: &[&str]) -> super::support::daemon::Ended {
    use super::support::daemon::{command, run};
    let store = home.join("store");
    run(home, command(&[&[name, "--directory", store.to_str().unwrap()], more].concat()))
}
