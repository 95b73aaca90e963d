//! A sealed store, made of a real daemon's files.
use crate::support::client::{Client, Messages};
use crate::support::daemon::{Daemon, Ended, Setup, command};
use crate::support::drive::serve;
use crate::support::framing::{Format, Framing};
use crate::support::home::give_away;
use crate::support::{DEADLINE, checker, wait_until};
use echostored::store::manifest::{Line, Manifest, Packed, Seal};
use nix::sys::signal::Signal;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// How a file may stand there.
pub const FORMS: [&str; 3] = ["", ".zst", ".gz"];

/// A store with some closed files of a few records each, and a live one; the daemon has stopped.
pub fn filled(closed: usize) -> Daemon {
    let mut daemon = Setup::default().start();
    for round in 0..=closed {
        let messages = Messages::generated(Framing::Line, 5, 40);
        serve(vec![Client::connect(daemon.address, Framing::Line, messages).unwrap().quota(4).half_close()]);
        if round < closed {
            let before = checker::files(&daemon.store()).len();
            daemon.signal(Signal::SIGUSR1);
            wait_until(DEADLINE, "a new file", || checker::files(&daemon.store()).len() > before);
        }
    }
    daemon.stop();
    daemon
}

/// A copy of its files of records, the closed ones in this form, all of them sealed.
pub struct Store(pub tempfile::TempDir);

impl Store {
    pub fn copy(daemon: &Daemon, suffix: &str) -> Self {
        let store = Self(tempfile::tempdir().unwrap());
        let files = checker::files(&daemon.store());
        fs::copy(daemon.store().join(".store"), store.path().join(".store")).unwrap();
        let (live, closed) = files.split_last().unwrap();
        fs::copy(&live.path, store.path().join(live.path.file_name().unwrap())).unwrap();
        for file in closed {
            let name = format!("{}{suffix}", file.path.file_name().unwrap().to_str().unwrap());
            fs::write(store.path().join(name), compressed(suffix, &fs::read(&file.path).unwrap())).unwrap();
        }
        let plain: Vec<PathBuf> = closed.iter().map(|file| file.path.clone()).collect();
        seal(store.path(), &plain);
        // The command runs as another user.
        give_away(store.path());
        fs::read_dir(store.path()).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
        store
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The files of records, oldest first.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.to_str().unwrap().contains(".log"));
        files.sort();
        files
    }

    pub fn manifest(&self) -> PathBuf {
        self.path().join("MANIFEST.jsonl")
    }

    pub fn verify(&self, arguments: &[&str]) -> Ended {
        let mut command = command(&[&["verify", "--directory", self.path().to_str().unwrap()], arguments].concat());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// It finds nothing wrong.
    pub fn is_whole(&self) {
        let ended = self.verify(&[]);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stdout.ends_with(": ok\n") && ended.stdout.contains(" sealed)"), "{ended:?}");
    }

    /// It finds something wrong, and a line says each of these words.
    pub fn is_bad(&self, words: &[&str]) -> String {
        let ended = self.verify(&[]);
        assert_eq!(ended.code, 1, "{words:?}: {ended:?}");
        let says = |line: &str| !line.starts_with("note: ") && words.iter().all(|word| line.contains(word));
        assert!(ended.stdout.lines().any(says), "{words:?}: {ended:?}");
        ended.stdout
    }
}

pub fn compressed(suffix: &str, bytes: &[u8]) -> Vec<u8> {
    match suffix {
        ".gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        ".zst" => zstd::encode_all(bytes, 3).unwrap(),
        _ => bytes.to_owned(),
    }
}

/// Appends the seals of these files, as they are closed one after the other.
pub fn seal(directory: &Path, plain: &[PathBuf]) {
    let directory = fs::File::open(directory).unwrap();
    let mut manifest = Manifest::read(directory.as_fd()).unwrap();
    for path in plain {
        let bytes = fs::read(path).unwrap();
        let (mut records, mut times) = (0, Vec::new());
        checker::for_each_record(Format::Text, path, |_, _| records += 1);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            times.push(std::str::from_utf8(&line[..27]).unwrap().to_owned());
        }
        let seal = Seal {
            segment: path.file_name().unwrap().to_str().unwrap().to_owned(),
            records,
            bytes: bytes.len() as u64,
            lowest: times.iter().min().cloned(),
            highest: times.iter().max().cloned(),
            good_to: None,
            torn: None,
            acknowledged: None,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
        };
        manifest.append(directory.as_fd(), vec![Line::Seal(seal)], false).unwrap();
    }
}

/// Appends the lines of these compressed files.
pub fn pack(directory: &Path, files: &[PathBuf], suffix: &str) {
    let place = fs::File::open(directory).unwrap();
    let mut manifest = Manifest::read(place.as_fd()).unwrap();
    for path in files.iter().filter(|_| !suffix.is_empty()) {
        let (file, bytes) = (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap());
        let segment = file.strip_suffix(suffix).unwrap().to_owned();
        let (length, blake3) = (bytes.len() as u64, blake3::hash(&bytes).to_hex().to_string());
        let packed = Packed { segment, file, bytes: length, blake3 };
        manifest.append(place.as_fd(), vec![Line::Packed(packed)], false).unwrap();
    }
}
