//! `MANIFEST.jsonl`: what is known of the store's closed segments beyond their bytes. The archiver's own file; readers check
//! the store against it.
//!
//! ```text
//! {"anchor":40,"files":40,"records":81920,"bytes":2684354560,"gone":0,"after":"…","chain":"…"}
//! {"seal":"messages-0000000041-….log","records":2048,"bytes":67108864,"lowest":"…","highest":"…","blake3":"…","chain":"…"}
//! {"packed":"messages-0000000041-….log","file":"messages-0000000041-….log.zst","bytes":8388608,"blake3":"…","chain":"…"}
//! {"failed":"messages-0000000041-….log","good-to":81920,"moved-to":"messages-0000000042-….log","chain":"…"}
//! {"pruned":"messages-0000000041-….log","reason":"max-files","time":"2026-11-22T08:42:00Z","chain":"…"}
//! {"gone":"messages-0000000042-….log","time":"2026-11-22T08:42:00Z","chain":"…"}
//! ```
//! - `seal`: the segment is closed, and this is what it holds, whether it is compressed or not. `lowest` and `highest` are
//!   the times of its records (`raw` has none). What was moved away after a failed sync (`good-to`) does not count.
//! - `packed`: its compressed file, as it was written: the line comes before the file has that name, and the last one counts.
//! - `failed`: the writer's word on a segment that failed, copied from [`super::failed`].
//! - `pruned`: retention deleted it, or is about to: the line is written first.
//! - `gone`: it was not there any more, and nobody of the daemon's had deleted it.
//! - `anchor`, only as the first line: all segments up to this number are gone, and their lines are folded into this one.
//!
//! `chain` of a line is BLAKE3 of the chain before it (64 hexadecimal digits; zeros before the first line) and the line up
//! to `,"chain"`, so that no line can be changed, taken out or put in without all after it. An anchor carries, as `after`,
//! the chain of the last line that was folded into it: its own line is chained to that, and so is the line behind it.
//!
//! Promise: a line is appended as a whole by one `write`; what a power cut has torn is passed over, and told.
use super::names::SegmentName;
use crate::sys::BorrowedFd;
use crate::sys::file::{self, Access};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

mod line;
mod text;
pub use line::{Anchor, Failed, Gone, Line, Packed, Pruned, Seal};
use text::{chain, ended_early, is_torn, parse_chained};

/// Its name in the store's directory.
pub const MANIFEST: &str = "MANIFEST.jsonl";
const MANIFEST_NEW: &str = ".manifest.new";
/// The chain before the first line.
pub const NO_CHAIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const MODE: u32 = 0o640;
/// No manifest is longer: some millions of files.
const LIMIT: u64 = 1 << 30;
/// More flaws than this are counted, not kept.
const FLAWS_KEPT: usize = 1000;

/// Something in a manifest that the archiver has not written so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The line's number, from 1.
    pub line: u64,
    /// Where it begins, from 0.
    pub offset: u64,
    /// What is wrong.
    pub what: &'static str,
}

/// All that the manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// What was folded.
    pub anchor: Anchor,
    /// The seals, by number.
    pub seals: BTreeMap<u64, Seal>,
    /// What retention deleted, by number, since the anchor.
    pub pruned: BTreeMap<u64, Pruned>,
    /// What somebody else deleted.
    pub gone: BTreeSet<u64>,
    gone_at: BTreeMap<u64, String>,
    /// The compressed files, by number.
    pub packed: BTreeMap<u64, Packed>,
    /// The writer's last word on each segment that failed.
    pub failed: BTreeMap<u64, Failed>,
    /// What is wrong with it: the first thousand.
    pub flaws: Vec<Flaw>,
    /// All that is wrong with it.
    pub flaw_count: u64,
    /// Beginnings of lines that a power cut has torn; what they should have said was said again behind them, or will be.
    pub remnants: Vec<Flaw>,
    /// Its lines.
    pub lines: u64,
    /// Bytes behind the last LF: a power cut has torn the last line, or somebody else has changed the file.
    pub torn: u64,
    chain: Option<String>,
    /// The last lines, if they are beginnings of lines: remnants, once the chain goes on behind them.
    pending: Vec<Flaw>,
}

impl Manifest {
    /// Reads it; empty if there is none. Never waits on what is not a regular file.
    ///
    /// # Errors
    /// As `open(2)` and `read(2)`; it is not a regular file, or longer than any manifest.
    pub fn read(directory: BorrowedFd<'_>) -> io::Result<Self> {
        let mut text = Vec::new();
        let file = match file::open_at(directory, MANIFEST, Access::Read, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if metadata.len() > LIMIT {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than any manifest"));
        }
        file.take(LIMIT).read_to_end(&mut text)?;
        Ok(Self::parse(&text))
    }

    /// Reads its text.
    pub fn parse(text: &[u8]) -> Self {
        let mut manifest = Self::default();
        let mut offset = 0;
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => manifest.take(line, offset),
                None => manifest.take_end(line, offset),
            }
            manifest.lines += 1;
            offset += line.len() as u64;
        }
        for flaw in std::mem::take(&mut manifest.pending) {
            // Nothing came behind it that would say whether it was a line.
            manifest.flaw(flaw);
        }
        manifest
    }

    fn take_end(&mut self, text: &[u8], offset: u64) {
        self.torn = text.len() as u64;
        // Only its LF is missing: the next line ends it, and is chained to it.
        let whole = parse_chained(text).filter(|whole| whole.after.is_none());
        if whole.is_some_and(|whole| chain(self.chain(), whole.body) == whole.chain) {
            self.take(text, offset);
        } else if ended_early(text) {
            self.flaw(Flaw { line: self.lines + 1, offset, what: "a line that does not end with a newline" });
        }
    }

    fn take(&mut self, text: &[u8], offset: u64) {
        let flaw = |what| Flaw { line: self.lines + 1, offset, what };
        let Some(chained) = parse_chained(text) else {
            let flaw = flaw("not a line of a manifest");
            return if is_torn(text) && self.pending.len() < FLAWS_KEPT {
                self.pending.push(flaw)
            } else {
                self.flaw(flaw)
            };
        };
        let after = match chained.after {
            Some(_) if self.chain.is_some() => return self.flaw(flaw("an anchor that is not the first line")),
            Some(after) => after,
            None => self.chain(),
        };
        let (fits, broken) = (
            chain(after, chained.body) == chained.chain,
            flaw("the chain is broken: a line was changed, taken out or put in here, or before"),
        );
        self.chain = Some(chained.after.unwrap_or(chained.chain).to_owned());
        let mut pending = std::mem::take(&mut self.pending);
        if fits {
            self.remnants.append(&mut pending);
        } else {
            pending.into_iter().chain([broken]).for_each(|flaw| self.flaw(flaw));
        }
        self.note(chained.line);
    }

    fn flaw(&mut self, flaw: Flaw) {
        self.flaw_count += 1;
        if self.flaws.len() < FLAWS_KEPT {
            self.flaws.push(flaw);
        }
    }

    fn note(&mut self, line: Line) {
        let Some(sequence) = line.segment().and_then(SegmentName::parse).map(|name| name.sequence) else {
            if let Line::Anchor(anchor) = line {
                self.anchor = anchor;
            }
            return;
        };
        match line {
            Line::Seal(seal) => drop(self.seals.insert(sequence, seal)),
            Line::Packed(packed) => drop(self.packed.insert(sequence, packed)),
            Line::Pruned(pruned) => drop(self.pruned.insert(sequence, pruned)),
            Line::Gone(gone) => {
                self.gone.insert(sequence);
                self.gone_at.insert(sequence, gone.time);
            }
            Line::Failed(failed) => drop(self.failed.insert(sequence, failed)),
            Line::Anchor(_) => {}
        }
    }

    /// The last line's chain.
    pub fn chain(&self) -> &str {
        self.chain.as_deref().unwrap_or(NO_CHAIN)
    }

    /// The seal of a segment, if its very name was sealed.
    pub fn seal(&self, segment: &SegmentName) -> Option<&Seal> {
        self.seals.get(&segment.sequence).filter(|seal| seal.segment == segment.build())
    }

    /// Whether the segment of this number is away for a reason that is known: retention, or before the anchor.
    pub fn was_pruned(&self, sequence: u64) -> bool {
        sequence <= self.anchor.through || self.pruned.contains_key(&sequence)
    }

    /// When it was seen that somebody else had deleted the segment of this number, UTC.
    pub fn gone_at(&self, sequence: u64) -> Option<&str> {
        self.gone_at.get(&sequence).map(String::as_str)
    }

    /// Appends lines, and takes them in. `durable`: returns when they would survive a power cut.
    ///
    /// # Errors
    /// As `write(2)` and `fsync(2)`. Then the lines may stand there, or a part of one: what is in memory is as before, and
    /// the caller reads the manifest anew before it goes on.
    pub fn append(&mut self, directory: BorrowedFd<'_>, lines: Vec<Line>, durable: bool) -> io::Result<()> {
        let mut text = Vec::new();
        if self.torn > 0 {
            text.push(b'\n');
        }
        let mut chain = self.chain().to_owned();
        for line in &lines {
            chain = line.append(&mut text, &chain)?;
        }
        let (mut file, is_new) = open_to_append(directory)?;
        let before = file.metadata()?.len();
        if let Err(error) = file.write_all(&text) {
            // On a full disk a part of it may stand there; a line that is torn again and again would be many.
            let _ = file.set_len(before);
            return Err(error);
        }
        if durable {
            file.sync_data()?;
            if is_new {
                file::sync_directory(directory)?;
            }
        }
        self.lines += lines.len() as u64;
        (self.torn, self.chain) = (0, Some(chain));
        lines.into_iter().for_each(|line| self.note(line));
        Ok(())
    }

    /// How many of its first lines could be folded: those about segments that are away. The first line that is about one
    /// that is there, or may be, ends them.
    pub fn foldable(&self, text: &[u8], is_there: impl Fn(u64) -> bool) -> usize {
        let lines = text.split_inclusive(|&byte| byte == b'\n');
        let away = |line: &[u8]| match Line::parse(line.trim_ascii_end()) {
            Some(Line::Anchor(_)) => true,
            Some(line) => line.segment().and_then(SegmentName::parse).is_some_and(|name| {
                let known = self.was_pruned(name.sequence) || self.gone.contains(&name.sequence);
                known && !is_there(name.sequence)
            }),
            None => true,
        };
        lines.take_while(|line| line.ends_with(b"\n") && away(line)).count()
    }

    /// Folds the lines of segments that are away into the anchor, if at least `least` can be: the file is replaced as a
    /// whole, durably. Returns whether it was.
    ///
    /// # Errors
    /// As `open(2)`, `write(2)`, `fsync(2)`, `rename(2)`; the old file stays.
    pub fn fold(
        &mut self,
        directory: BorrowedFd<'_>,
        least: usize,
        is_there: impl Fn(u64) -> bool,
    ) -> io::Result<bool> {
        let mut text = Vec::new();
        file::open_at(directory, MANIFEST, Access::Read, 0)?.read_to_end(&mut text)?;
        let count = self.foldable(&text, is_there);
        if count < least.max(2) {
            return Ok(false);
        }
        let length: usize = text.split_inclusive(|&byte| byte == b'\n').take(count).map(<[u8]>::len).sum();
        let (head, rest) = text.split_at(length);
        let folded = Self::parse(head);
        let mut new = Vec::new();
        Line::Anchor(folded.anchor_of_all()).append(&mut new, folded.chain())?;
        new.extend_from_slice(rest);
        file::unlink_at(directory, MANIFEST_NEW)?;
        let mut file = file::open_at(directory, MANIFEST_NEW, Access::CreateNew, MODE)?;
        file.write_all(&new)?;
        file.sync_all()?;
        file::rename_at(directory, MANIFEST_NEW, MANIFEST)?;
        file::sync_directory(directory)?;
        *self = Self::parse(&new);
        Ok(true)
    }

    /// Everything here as one anchor.
    fn anchor_of_all(&self) -> Anchor {
        let Anchor { through, files, records, bytes, gone } = self.anchor;
        let last = |keys: Option<&u64>| keys.copied().unwrap_or(0);
        Anchor {
            through: through.max(last(self.seals.keys().last())).max(last(self.pruned.keys().last())),
            files: files + self.seals.len() as u64,
            records: records + self.seals.values().map(|seal| seal.records).sum::<u64>(),
            bytes: bytes + self.seals.values().map(|seal| seal.bytes).sum::<u64>(),
            gone: gone + self.gone.len() as u64,
        }
    }
}

fn open_to_append(directory: BorrowedFd<'_>) -> io::Result<(std::fs::File, bool)> {
    match file::open_at(directory, MANIFEST, Access::Append, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok((file::open_at(directory, MANIFEST, Access::CreateNew, MODE)?, true))
        }
        opened => Ok((opened?, false)),
    }
}

#[cfg(test)]
mod tests;
