//! Small stores for the tests of the reading tools.
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::config::Format;
use crate::store::names::SegmentName;
use crate::store::record::{self, Source, Stamp};

/// A store in a directory that goes away with it.
pub struct Golden(TempDir);

impl Golden {
    /// Without files of records.
    pub fn new() -> Self {
        let store = Self(tempfile::tempdir().unwrap());
        store.write(".store", b"version = 1\n");
        store
    }

    /// With one file for each, numbered from 1, `current` a hard link to the last.
    pub fn with(files: &[&[u8]]) -> Self {
        let store = Self::new();
        for (bytes, sequence) in files.iter().zip(1..) {
            store.segment(sequence, bytes);
        }
        store.link(files.len() as u64);
        store
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.path().join(file), bytes).unwrap();
    }

    pub fn segment(&self, sequence: u64, bytes: &[u8]) {
        self.write(&name(sequence), bytes);
    }

    /// Makes `current` a name of that file.
    pub fn link(&self, sequence: u64) {
        fs::hard_link(self.path().join(name(sequence)), self.path().join("current")).unwrap();
    }
}

/// The name of the golden file with that number; they start a second apart.
pub fn name(sequence: u64) -> String {
    let start = 1_795_336_920 + i64::try_from(sequence).unwrap();
    SegmentName { prefix: "messages".into(), sequence, start }.build()
}

/// One record.
pub fn record(format: Format, connection: &str, n: u64, message: &[u8]) -> Vec<u8> {
    let (stamp, source) = (Stamp::new(1_795_336_920_123_456), Source::new(format, "127.0.0.1:53210", connection));
    let mut out = Vec::new();
    record::append(&mut out, format, &stamp, &source, n, message);
    out
}

/// Records of one connection with these numbers, as text.
pub fn numbered(connection: &str, numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|&n| record(Format::Text, connection, n, b"hello")).collect()
}
