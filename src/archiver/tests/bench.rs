//! What the tests of the archiver work on.
use super::super::*;
use crate::store::manifest::Manifest;
use crate::store::names::CURRENT;
use crate::sys::fdpass;
use crate::sys::file::open_directory;
use std::fs;
use std::path::PathBuf;

/// A store, an archiver that looks after it, and the supervisor's end of its channel.
pub struct Bench {
    pub place: tempfile::TempDir,
    pub archiver: Archiver,
    pub theirs: Channel<ToArchiver, ToSupervisor>,
    pub now: Instant,
}

pub fn name(sequence: u64) -> SegmentName {
    SegmentName { prefix: "m".into(), sequence, start: 0 }
}

pub fn content(sequence: u64) -> String {
    let line = |n: u64| {
        format!("2026-11-22T08:{:02}:{:02}.000000Z 127.0.0.1:1 c-{} hello {n}\n", sequence % 60, n % 60, n + 1)
    };
    (0..100).map(line).collect()
}

impl Bench {
    /// `segments` closed ones, 1 to that, and a live one; all but the live one are settled.
    pub fn new(segments: u64, change: impl FnOnce(&mut Config)) -> Self {
        let place = tempfile::tempdir().unwrap();
        for sequence in 1..=segments + 1 {
            fs::write(place.path().join(name(sequence).build()), content(sequence)).unwrap();
        }
        fs::hard_link(place.path().join(name(segments + 1).build()), place.path().join(CURRENT)).unwrap();
        let mut bench = Self::over(place, change);
        bench.archiver.shelf.settle(segments + 1);
        bench
    }

    pub fn over(place: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.store.directory = place.path().to_owned();
        // The tests themselves must not be shut in.
        config.security.sandbox = crate::config::Sandbox::Off;
        change(&mut config);
        let (ours, theirs) = fdpass::pair().unwrap();
        let seat = ArchiverSeat {
            config,
            directory: open_directory(place.path()).unwrap(),
            lock: tempfile::tempfile().unwrap(),
            era: None,
            scoreboard: Scoreboard::map(Scoreboard::memory().unwrap().as_fd()).unwrap(),
            channel: Channel::new(ours),
            tick: Duration::from_secs(1),
        };
        let archiver = Archiver::new(seat).unwrap();
        Self { place, archiver, theirs: Channel::new(theirs), now: Instant::now() }
    }

    /// Dies, and another one takes over.
    pub fn dies(self, change: impl FnOnce(&mut Config)) -> Self {
        let settled = self.archiver.shelf.open.iter().map(|open| open.name.sequence).min();
        let mut config = self.archiver.config.clone();
        change(&mut config);
        drop(self.archiver);
        let mut bench = Self::over(self.place, |new| *new = config);
        bench.archiver.shelf.settle(settled.unwrap_or(1000));
        bench
    }

    pub fn path(&self, file: impl AsRef<std::path::Path>) -> PathBuf {
        self.place.path().join(file)
    }

    pub fn plain(&self, sequence: u64) -> PathBuf {
        self.path(name(sequence).build())
    }

    pub fn manifest(&self) -> Manifest {
        let manifest = Manifest::read(self.archiver.shelf.fd()).unwrap();
        assert_eq!((&manifest.flaws, manifest.torn), (&vec![], 0));
        manifest
    }

    pub fn turn(&mut self, full: bool) -> bool {
        // A rest is over at once: the machine that tests run on is never idle.
        self.now = self.archiver.pace.rests_until(self.now).unwrap_or(self.now);
        self.archiver.turn(self.now, full)
    }

    /// Turns until there is nothing more to do, some seconds long.
    pub fn settle(&mut self) {
        for _ in 0..5 {
            self.now += Duration::from_secs(1);
            let end = Instant::now() + Duration::from_secs(60);
            while self.turn(false) {
                assert!(Instant::now() < end, "it spins");
            }
        }
    }

    /// The segments that are there, by number, each with its suffix.
    pub fn there(&self) -> Vec<(u64, &'static str)> {
        let names = crate::store::segment::list_all(self.archiver.shelf.fd()).unwrap();
        names.into_iter().map(|(name, form)| (name.sequence, form.suffix())).collect()
    }

    pub fn count(&self, count: Count) -> u64 {
        self.archiver.scoreboard.get(count)
    }

    pub fn heard(&self) -> Vec<ToSupervisor> {
        let mut heard = Vec::new();
        while let Ok(Received::Message(message)) = self.theirs.receive() {
            heard.push(message);
        }
        heard
    }
}
