//! Fuzz targets: one function for each decoder, from any bytes to a panic if a promise is broken.
//!
//! In a build with the feature `fuzzing` only. libFuzzer (`fuzz/`) and the replay of the corpus (`tests/fuzz_corpus.rs`)
//! call the same functions, so that what the one finds the other keeps. Where a decoder has an inverse, or can be written
//! in a slower and simpler way, the target compares; "it did not panic" is the least that it shows.
mod config;
mod files;
mod framing;
mod http;
mod manifest;
mod naming;
mod pipe;
mod records;
mod words;

/// From any bytes to a panic if a promise is broken.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("ack", pipe::ack),
    ("command", words::command),
    ("compressed", files::compressed),
    ("config", config::config),
    ("control", words::control),
    ("cursor", words::cursor),
    ("cutter", words::cutter),
    ("failed", manifest::failed),
    ("framing", framing::framing),
    ("http", http::http),
    ("ids", words::ids),
    ("last_lines", files::last_lines),
    ("line", records::line),
    ("manifest", manifest::manifest),
    ("names", words::names),
    ("notes", manifest::notes),
    ("pipe_frame", pipe::pipe_frame),
    ("proxy", naming::proxy),
    ("reader", files::reader),
    ("record", records::record),
    ("recovery", files::recovery),
    ("select", words::select),
    ("subject", naming::subject),
    ("units", config::units),
];

/// Runs the target of this name.
///
/// # Panics
/// The target has found something, or there is none of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    target.unwrap_or_else(|| panic!("no target is called {name}")).1(data);
}

/// Takes choices from the front of an input; when it is used up, all further ones are 0.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn word(&mut self) -> u64 {
        let mut word = [0; 8];
        let bytes = self.take(8);
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    }

    /// At most so many bytes.
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// So many bytes as the next byte says.
    fn some(&mut self) -> &'a [u8] {
        let count = self.byte();
        self.take(usize::from(count))
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A part of the rest's length, end included.
    fn place_in(&mut self, length: usize) -> usize {
        let [low, high] = [self.byte(), self.byte()];
        usize::from(u16::from_le_bytes([low, high])) % (length + 1)
    }
}

/// The lines of `bytes` without their LFs, and what is behind the last LF.
fn lines_of(bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let rest = lines.pop().unwrap_or_default();
    (lines, rest)
}

/// Whether a terminal takes nothing of it for a command, and shows it in its order; written apart from [`crate::store::escape`].
fn is_harmless(text: &str) -> bool {
    let turns =
        |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !text.chars().any(|c| c.is_control() || turns(c))
}
