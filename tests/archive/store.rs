//! A store with compressed files, read by other means than the daemon's.
use crate::support::client::{Client, History, Messages};
use crate::support::daemon::{self, Daemon};
use crate::support::drive::serve;
use crate::support::framing::Framing;
use echostored::store::manifest::Manifest;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A file of records.
pub struct Closed {
    pub sequence: u64,
    pub path: PathBuf,
    /// "", ".gz" or ".zst".
    pub suffix: &'static str,
}

fn all(store: &Path) -> Vec<Closed> {
    let names = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<Closed> = names
        .filter_map(|name| {
            let suffix = [".gz", ".zst", ""].into_iter().find(|suffix| name.ends_with(suffix))?;
            let sequence = crate::support::checker::parse_name(name.strip_suffix(suffix)?)?;
            Some(Closed { sequence, path: store.join(name), suffix })
        })
        .collect();
    found.sort_by_key(|file| (file.sequence, file.suffix));
    found
}

/// The files that are not live. While it rotates, it may be one too many.
pub fn closed(store: &Path) -> Vec<Closed> {
    let live = fs::metadata(store.join("current")).unwrap().ino();
    let mut found = all(store);
    found.retain(|file| fs::metadata(&file.path).is_ok_and(|metadata| metadata.ino() != live));
    found
}

pub fn live(store: &Path) -> PathBuf {
    store.join("current")
}

pub fn manifest(store: &Path) -> Manifest {
    Manifest::parse(&fs::read(store.join("MANIFEST.jsonl")).unwrap_or_default())
}

/// Sends so many messages over one connection, and hears them all.
pub fn feed(daemon: &Daemon, count: usize) -> History {
    let client = Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap();
    serve(vec![client.quota(count).half_close()]).remove(0)
}

/// By the daemon's own reader.
pub fn verify(daemon: &Daemon) {
    let mut command = daemon::command(&["verify", "--directory"]);
    command.arg(daemon.store());
    let verified = daemon::run(daemon.home(), command);
    assert_eq!(verified.code, 0, "verify: {}{}", verified.stdout, verified.stderr);
}

/// The store of a daemon at rest, every file as it was before it was compressed.
pub fn expand(daemon: &Daemon) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in all(&daemon.store()) {
        let name = file.path.file_name().unwrap().to_str().unwrap();
        let plain = copy.path().join(name.strip_suffix(file.suffix).unwrap());
        let stored = fs::read(&file.path).unwrap();
        let bytes = match file.suffix {
            ".gz" => {
                let mut bytes = Vec::new();
                flate2::read::GzDecoder::new(&stored[..]).read_to_end(&mut bytes).unwrap();
                bytes
            }
            ".zst" => zstd::decode_all(&stored[..]).unwrap(),
            _ => stored,
        };
        fs::write(&plain, bytes).unwrap();
        fs::set_permissions(&plain, PermissionsExt::from_mode(0o640)).unwrap();
    }
    let newest = all(copy.path()).pop().unwrap().path;
    fs::hard_link(newest, copy.path().join("current")).unwrap();
    copy
}
