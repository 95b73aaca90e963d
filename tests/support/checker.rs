//! The oracle: reads a whole store by its own code and holds I1 to I3 against what the clients know.
use super::client::{History, Messages};
use super::framing::Format;
use super::record::{self, Origin, Record};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One file of the store, by its name.
#[derive(Debug)]
pub struct LogFile {
    pub path: PathBuf,
    pub sequence: u64,
    pub inode: u64,
    pub size: u64,
    pub mode: u32,
}

/// `messages-0000000042-20261122T084200Z.log` → 42.
pub fn parse_name(name: &str) -> Option<u64> {
    let (sequence, start) = name.strip_prefix("messages-")?.strip_suffix(".log")?.split_once('-')?;
    let plausible = record::matches(start, "ddddddddTddddddZ")
        && start[4..6].parse::<u8>().is_ok_and(|month| (1..=12).contains(&month));
    (record::matches(sequence, "dddddddddd") && plausible).then(|| sequence.parse().ok()).flatten()
}

/// The log files in the order of their sequence. Other names must be known ones.
pub fn files(directory: &Path) -> Vec<LogFile> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().expect("a readable name");
        let Some(sequence) = parse_name(&name) else {
            let known = ["current", "MANIFEST.jsonl"].contains(&name.as_str())
                || name.starts_with('.')
                || name.starts_with("current.saved-")
                || name.ends_with(".log.torn");
            assert!(known, "a name that does not belong into a store: {name}");
            continue;
        };
        let meta = entry.metadata().unwrap();
        let (inode, size, mode) = (meta.ino(), meta.size(), meta.mode() & 0o7777);
        found.push(LogFile { path: entry.path(), sequence, inode, size, mode });
    }
    // The names must sort as the sequence does: by text, so that `cat *.log` is in order.
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.is_sorted_by_key(|file| file.sequence), "names do not sort by sequence");
    found
}

/// Calls `each` for every record of one file. A file ends at the end of a record.
pub fn for_each_record(format: Format, path: &Path, mut each: impl FnMut(Record, &str)) -> usize {
    let bytes = fs::read(path).unwrap();
    let mut count = 0;
    let mut offset = 0;
    while offset < bytes.len() {
        let place = format!("{} at byte {offset}", path.display());
        let Some(length) = bytes[offset..].iter().position(|byte| *byte == b'\n') else {
            panic!("{place}: a split record")
        };
        let record = record::parse(format, &bytes[offset..offset + length]);
        each(record.unwrap_or_else(|error| panic!("{place}: {error}")), &place);
        offset += length + 1;
        count += 1;
    }
    count
}

/// What else must hold of a store that is at rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expect {
    /// `rotate.max-size`.
    pub max_size: Option<u64>,
    /// A killed rotation may leave a file without a record.
    pub empty_files: bool,
    /// Numbers that somebody else's files have are left out.
    pub gaps: bool,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    pub files: Vec<LogFile>,
    pub records: usize,
    /// Messages that are stored, for each history.
    pub stored: Vec<usize>,
}

/// Every echoed message is stored exactly once, byte-exact and in order (I1); nothing twice, nothing that was not sent (I2); `current` is a hard link to
/// the newest file; no record is split. Panics with file and byte of the first violation.
pub fn check(directory: &Path, format: Format, histories: &[History], expect: Expect) -> Report {
    examine(directory, format, histories, expect, true)
}

/// The same after a power cut in `stored`: the last messages of a connection may be gone, but nothing before them.
pub fn check_what_is_left(directory: &Path, format: Format, histories: &[History], expect: Expect) -> Report {
    examine(directory, format, histories, expect, false)
}

fn examine(directory: &Path, format: Format, histories: &[History], expect: Expect, all_echoed: bool) -> Report {
    let files = files(directory);
    let mut claims = Claims::new(histories);
    let mut records = 0;
    for (index, file) in files.iter().enumerate() {
        let count = for_each_record(format, &file.path, |record, place| claims.record(record, place));
        records += count;
        let name = file.path.display();
        assert!(count > 0 || index + 1 == files.len() || expect.empty_files, "{name}: an empty file was rotated");
        assert_eq!(file.mode, 0o640, "mode of {name}");
        if let Some(max) = expect.max_size {
            assert!(file.size <= max || count == 1, "{name}: {} bytes, rotate.max-size is {max}", file.size);
        }
        if index > 0 && !expect.gaps {
            assert_eq!(file.sequence, files[index - 1].sequence + 1, "a gap before {name}");
        }
    }
    if all_echoed {
        claims.settle();
    }
    let stored = claims.stored;
    let newest = files.last().expect("a store has a file");
    let current = fs::symlink_metadata(directory.join("current")).expect("current exists");
    assert!(current.is_file(), "current is no hard link");
    assert_eq!(current.ino(), newest.inode, "current is not the newest file, {}", newest.path.display());
    Report { files, records, stored }
}

/// Which connection of the store is which of ours, and how far each has come.
struct Claims<'a> {
    histories: &'a [History],
    /// By connection id.
    taken: HashMap<String, usize>,
    /// Not yet taken, by peer, in the order in which they were made.
    by_peer: HashMap<String, Vec<usize>>,
    stored: Vec<usize>,
    /// `chunk`: bytes.
    stored_bytes: Vec<usize>,
    /// `raw`: the number in a message's head → its history.
    by_client: HashMap<u64, usize>,
}

impl<'a> Claims<'a> {
    fn new(histories: &'a [History]) -> Self {
        let mut by_peer: HashMap<String, Vec<usize>> = HashMap::new();
        let mut by_client = HashMap::new();
        for (index, history) in histories.iter().enumerate() {
            by_peer.entry(history.peer.to_string()).or_default().push(index);
            if let Messages::Generated { client, .. } = history.messages {
                by_client.insert(client, index);
            }
        }
        let taken = HashMap::new();
        Self {
            histories,
            taken,
            by_peer,
            stored: vec![0; histories.len()],
            stored_bytes: vec![0; histories.len()],
            by_client,
        }
    }

    fn record(&mut self, record: Record, place: &str) {
        let index = match &record.origin {
            Some(origin) => self.claim(origin, &record.message, place),
            None => self.claim_raw(&record.message, place),
        };
        let (history, n) = (&self.histories[index], self.stored[index]);
        if let Some(origin) = &record.origin {
            assert_eq!(origin.n, n as u64 + 1, "{place}: {} repeats or leaves out a message", origin.connection);
        }
        self.stored[index] += 1;
        if history.cut_by_reads {
            let from = self.stored_bytes[index];
            self.stored_bytes[index] += record.message.len();
            assert!(self.stored_bytes[index] <= history.sent_bytes, "{place}: {} bytes were sent", history.sent_bytes);
            assert!(
                wire_of(history, from, record.message.len()) == record.message,
                "{place}: not the bytes that were sent"
            );
            return;
        }
        assert!(
            n < history.sent,
            "{place}: message {} was not sent ({} were): {:?}",
            n + 1,
            history.sent,
            show(&record.message)
        );
        let expected = history.messages.stored(n);
        assert!(
            expected == record.message,
            "{place}: {:?} is stored, {:?} was sent",
            show(&record.message),
            show(&expected)
        );
    }

    fn claim(&mut self, origin: &Origin, message: &[u8], place: &str) -> usize {
        if let Some(index) = self.taken.get(&origin.connection) {
            assert_eq!(self.histories[*index].peer.to_string(), origin.peer, "{place}: peer");
            return *index;
        }
        // A port may be used again; the first message tells the connections apart.
        let candidates =
            self.by_peer.get_mut(&origin.peer).unwrap_or_else(|| panic!("{place}: {} was no client", origin.peer));
        let fits = |index: &usize| {
            let history = &self.histories[*index];
            history.cut_by_reads || (history.sent > 0 && history.messages.stored(0) == message)
        };
        let Some(at) = candidates.iter().position(fits) else {
            panic!("{place}: {:?} is stored twice, or was never sent, by {}", show(message), origin.peer);
        };
        let index = candidates.remove(at);
        self.taken.insert(origin.connection.clone(), index);
        index
    }

    /// `raw` names nobody: the head of the message does, or its place in a list.
    fn claim_raw(&mut self, message: &[u8], place: &str) -> usize {
        let head = message
            .iter()
            .position(|byte| *byte == b':')
            .and_then(|at| std::str::from_utf8(&message[..at]).ok()?.parse().ok());
        if let Some(index) = head.and_then(|client: u64| self.by_client.get(&client)) {
            return *index;
        }
        let next = |index: &usize| {
            let (history, n) = (&self.histories[*index], self.stored[*index]);
            matches!(history.messages, Messages::Listed(_)) && n < history.sent && history.messages.stored(n) == message
        };
        let found = (0..self.histories.len()).find(next);
        found.unwrap_or_else(|| panic!("{place}: {:?} is not the next message of anyone", show(message)))
    }

    /// I1: echoed implies stored.
    fn settle(&self) {
        for (index, history) in self.histories.iter().enumerate() {
            let (stored, echoed, unit) = match history.cut_by_reads {
                true => (self.stored_bytes[index], history.echoed_bytes, "bytes"),
                false => (self.stored[index], history.echoed, "messages"),
            };
            assert!(stored >= echoed, "{}: {echoed} {unit} were echoed, {stored} are stored", history.peer);
        }
    }
}

/// `length` bytes of what was sent, from byte `from`.
fn wire_of(history: &History, from: usize, length: usize) -> Vec<u8> {
    let (mut at, mut index, mut found) = (0, 0, Vec::with_capacity(length));
    while found.len() < length {
        let wire = history.messages.wire(index);
        let skip = from.saturating_sub(at).min(wire.len());
        let take = (wire.len() - skip).min(length - found.len());
        found.extend_from_slice(&wire[skip..skip + take]);
        at += wire.len();
        index += 1;
    }
    found
}

fn show(message: &[u8]) -> String {
    let start = &message[..message.len().min(60)];
    format!("{} ({} bytes)", start.escape_ascii(), message.len())
}
