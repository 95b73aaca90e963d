//! What happens to closed segments while they are read, made by the test's own hand: compression and deletion, as the daemon does them.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The segments of a store by number: their files, plain and compressed.
pub fn segments(directory: &Path) -> BTreeMap<u64, Vec<PathBuf>> {
    let mut found: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let plain = name.strip_suffix(".zst").unwrap_or(&name);
        if let Some(sequence) = super::checker::parse_name(plain) {
            found.entry(sequence).or_default().push(path);
        }
    }
    found
}

/// The bytes of each segment, as they were written.
pub fn contents(directory: &Path) -> BTreeMap<u64, Vec<u8>> {
    let read = |paths: Vec<PathBuf>| {
        let plain = paths.iter().find(|path| path.extension().unwrap() == "log");
        match plain {
            Some(path) => fs::read(path).unwrap(),
            None => zstd::decode_all(&fs::read(&paths[0]).unwrap()[..]).unwrap(),
        }
    };
    segments(directory).into_iter().map(|(sequence, paths)| (sequence, read(paths))).collect()
}

/// One after the other.
pub fn all(contents: &BTreeMap<u64, Vec<u8>>) -> Vec<u8> {
    contents.values().flatten().copied().collect()
}

/// Compresses a closed segment: the compressed file is there, whole, before the plain one goes.
pub fn compress(plain: &Path) {
    let bytes = zstd::encode_all(&fs::read(plain).unwrap()[..], 1).unwrap();
    let hidden = plain.with_file_name(".compressing");
    fs::write(&hidden, bytes).unwrap();
    fs::set_permissions(&hidden, PermissionsExt::from_mode(0o644)).unwrap();
    fs::rename(&hidden, plain.with_extension("log.zst")).unwrap();
    fs::remove_file(plain).unwrap();
}

/// Does so in the background.
pub struct Hand {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<BTreeMap<u64, Vec<u8>>>>,
}

impl Hand {
    /// Compresses closed segments; keeps no more than `keep` of them.
    pub fn start(directory: &Path, keep: usize) -> Self {
        let (directory, stop) = (directory.to_owned(), Arc::new(AtomicBool::new(false)));
        let theirs = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut deleted = BTreeMap::new();
            while !theirs.load(Ordering::SeqCst) {
                turn(&directory, keep, &mut deleted);
                std::thread::sleep(Duration::from_millis(5));
            }
            deleted
        });
        Self { stop, thread: Some(thread) }
    }

    /// The contents of what it has deleted.
    pub fn finish(mut self) -> BTreeMap<u64, Vec<u8>> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn turn(directory: &Path, keep: usize, deleted: &mut BTreeMap<u64, Vec<u8>>) {
    use std::os::unix::fs::MetadataExt;
    let all: Vec<(u64, Vec<PathBuf>)> = segments(directory).into_iter().collect();
    let Ok(current) = fs::metadata(directory.join("current")).map(|meta| meta.ino()) else { return };
    let is_current = |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.ino() == current);
    // What is before `current` is closed.
    let closed = all.iter().position(|(_, paths)| paths.iter().any(is_current)).unwrap_or(0);
    for (index, (sequence, paths)) in all[..closed].iter().enumerate() {
        let plain = paths.iter().find(|path| path.extension().unwrap() == "log");
        if index + keep < closed {
            let bytes = match plain {
                Some(path) => fs::read(path).unwrap(),
                None => zstd::decode_all(&fs::read(&paths[0]).unwrap()[..]).unwrap(),
            };
            deleted.insert(*sequence, bytes);
            paths.iter().for_each(|path| fs::remove_file(path).unwrap());
        } else if let Some(plain) = plain {
            compress(plain);
        }
    }
}
