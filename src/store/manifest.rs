//! `MANIFEST.jsonl`: what is known of the store's closed segments beyond their bytes. The archiver's own file; readers check
//! the store against it.
//!
//! ```text
//! {"anchor":40,"files":40,"records":81920,"bytes":2684354560,"gone":0,"chain":"…"}
//! {"seal":"messages-0000000041-….log","records":2048,"bytes":67108864,"lowest":"…","highest":"…","blake3":"…","chain":"…"}
//! {"failed":"messages-0000000041-….log","good-to":81920,"moved-to":"messages-0000000042-….log","chain":"…"}
//! {"pruned":"messages-0000000041-….log","reason":"max-files","time":"2026-11-22T08:42:00Z","chain":"…"}
//! {"gone":"messages-0000000042-….log","time":"2026-11-22T08:42:00Z","chain":"…"}
//! ```
//! - `seal`: the segment is closed, and this is what it holds, whether it is compressed or not. `lowest` and `highest` are
//!   the times of its records (`raw` has none). What was moved away after a failed sync (`good-to`) does not count.
//! - `failed`: the writer's word on a segment that failed, copied from [`super::failed`].
//! - `pruned`: retention deleted it, or is about to: the line is written first.
//! - `gone`: it was not there any more, and nobody of the daemon's had deleted it.
//! - `anchor`, only as the first line: all segments up to this number are gone, and their lines are folded into this one.
//!
//! `chain` of a line is BLAKE3 of the chain before it (64 hexadecimal digits; zeros before the first line) and the line up
//! to `,"chain"`, so that no line can be changed, taken out or put in without all after it. An anchor carries
//! the chain of the last line that was folded into it.
//!
//! Promise: a line is appended as a whole by one `write`; what a power cut has torn is passed over, and told.
use super::failed::GoodTo;
use super::names::SegmentName;
use crate::sys::BorrowedFd;
use crate::sys::file::{self, Access};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

/// Its name in the store's directory.
pub const MANIFEST: &str = "MANIFEST.jsonl";
const MANIFEST_NEW: &str = ".manifest.new";
/// The chain before the first line.
pub const NO_CHAIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const CHAIN_KEY: &[u8] = br#","chain":""#;
const MODE: u32 = 0o640;

/// What a closed segment holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seal {
    /// The segment's name, without the suffix of a compressed form.
    #[serde(rename = "seal")]
    pub segment: String,
    /// Its lines.
    pub records: u64,
    /// Its bytes, not compressed.
    pub bytes: u64,
    /// The lowest time of a record, as it stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest: Option<String>,
    /// The highest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<String>,
    /// A write or sync failed: what followed this byte was moved away, or could not be saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_to: Option<u64>,
    /// BLAKE3 of its bytes, not compressed, as 64 hexadecimal digits.
    pub blake3: String,
}

/// A segment that retention deleted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Pruned {
    /// The segment's name.
    #[serde(rename = "pruned")]
    pub segment: String,
    /// The rule.
    pub reason: String,
    /// When, UTC.
    pub time: String,
}

/// A segment that somebody else deleted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Gone {
    /// The segment's name.
    #[serde(rename = "gone")]
    pub segment: String,
    /// When that was seen, UTC.
    pub time: String,
}

/// The writer's word on a segment that failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failed {
    /// The segment's name.
    #[serde(rename = "failed")]
    pub segment: String,
    /// See [`GoodTo::good_to`].
    pub good_to: u64,
    /// See [`GoodTo::moved_to`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<String>,
    /// See [`GoodTo::lost`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<(u64, u64)>,
}

impl From<GoodTo> for Failed {
    fn from(GoodTo { segment, good_to, moved_to, lost }: GoodTo) -> Self {
        Self { segment, good_to, moved_to, lost }
    }
}

impl From<Failed> for GoodTo {
    fn from(Failed { segment, good_to, moved_to, lost }: Failed) -> Self {
        Self { segment, good_to, moved_to, lost }
    }
}

/// The lines that were folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Anchor {
    /// Every segment up to this number is gone.
    #[serde(rename = "anchor")]
    pub through: u64,
    /// How many were sealed.
    pub files: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them somebody else deleted.
    pub gone: u64,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// See [`Seal`].
    Seal(Seal),
    /// See [`Pruned`].
    Pruned(Pruned),
    /// See [`Gone`].
    Gone(Gone),
    /// See [`Failed`].
    Failed(Failed),
    /// See [`Anchor`].
    Anchor(Anchor),
}

impl Line {
    /// Reads a line without its LF; the chain is not looked at. `None`: it is no line of a manifest, or names what is no
    /// segment.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let kind = &text[..text.iter().skip(2).position(|&byte| byte == b'"')? + 2];
        let line = match kind {
            br#"{"seal"# => Self::Seal(serde_json::from_slice(text).ok()?),
            br#"{"pruned"# => Self::Pruned(serde_json::from_slice(text).ok()?),
            br#"{"gone"# => Self::Gone(serde_json::from_slice(text).ok()?),
            br#"{"failed"# => Self::Failed(serde_json::from_slice(text).ok()?),
            br#"{"anchor"# => Self::Anchor(serde_json::from_slice(text).ok()?),
            _ => return None,
        };
        let sound = line.segment().is_none_or(|name| SegmentName::parse(name).is_some());
        sound.then_some(line)
    }

    /// The segment that it is about.
    pub fn segment(&self) -> Option<&str> {
        match self {
            Self::Seal(Seal { segment, .. })
            | Self::Pruned(Pruned { segment, .. })
            | Self::Gone(Gone { segment, .. })
            | Self::Failed(Failed { segment, .. }) => Some(segment),
            Self::Anchor(_) => None,
        }
    }

    /// Adds the line with its LF to `text`; returns its chain, after `before`.
    fn append(&self, text: &mut Vec<u8>, before: &str) -> io::Result<String> {
        let start = text.len();
        serde_json::to_writer(&mut *text, self)?;
        text.pop();
        let chain = match self {
            Self::Anchor(_) => before.to_owned(),
            _ => chain(before, &text[start..]),
        };
        text.extend_from_slice(CHAIN_KEY);
        text.extend_from_slice(chain.as_bytes());
        text.extend_from_slice(b"\"}\n");
        Ok(chain)
    }
}

fn chain(before: &str, body: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before.as_bytes()).update(body);
    hasher.finalize().to_hex().to_string()
}

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
    /// The writer's last word on each segment that failed.
    pub failed: BTreeMap<u64, Failed>,
    /// What is wrong with it.
    pub flaws: Vec<Flaw>,
    /// Its lines.
    pub lines: u64,
    /// Bytes behind the last LF: a power cut has torn the last line, or somebody else has changed the file.
    pub torn: u64,
    chain: Option<String>,
}

impl Manifest {
    /// Reads it; empty if there is none.
    ///
    /// # Errors
    /// As `open(2)` and `read(2)`.
    pub fn read(directory: BorrowedFd<'_>) -> io::Result<Self> {
        let mut text = Vec::new();
        match file::open_at(directory, MANIFEST, Access::Read, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened?.read_to_end(&mut text)?,
        };
        Ok(Self::parse(&text))
    }

    /// Reads its text.
    pub fn parse(text: &[u8]) -> Self {
        let mut manifest = Self::default();
        let mut offset = 0;
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                // A line that was torn by a power cut was ended by the next one.
                Some(b"") => {}
                Some(line) => manifest.take(line, offset),
                None => manifest.torn = line.len() as u64,
            }
            manifest.lines += 1;
            offset += line.len() as u64;
        }
        manifest
    }

    fn take(&mut self, text: &[u8], offset: u64) {
        let flaw = |what| Flaw { line: self.lines + 1, offset, what };
        let Some((line, body, chained)) = split(text) else {
            return self.flaws.push(flaw("not a line of a manifest"));
        };
        let before = self.chain();
        let expected = match line {
            Line::Anchor(_) if self.chain.is_none() => chained.to_owned(),
            Line::Anchor(_) => return self.flaws.push(flaw("an anchor that is not the first line")),
            _ => chain(before, body),
        };
        if expected != chained {
            let what = "the chain is broken: a line was changed, taken out or put in here, or before";
            self.flaws.push(flaw(what));
        }
        self.chain = Some(chained.to_owned());
        self.note(line);
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
            Line::Pruned(pruned) => drop(self.pruned.insert(sequence, pruned)),
            Line::Gone(_) => drop(self.gone.insert(sequence)),
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

/// A line, its part that the chain covers, and its chain.
fn split(text: &[u8]) -> Option<(Line, &[u8], &str)> {
    let line = Line::parse(text)?;
    let (body, rest) = text.split_at_checked(text.len().checked_sub(CHAIN_KEY.len() + NO_CHAIN.len() + 2)?)?;
    let chained = rest.strip_prefix(CHAIN_KEY)?.strip_suffix(br#""}"#)?;
    Some((line, body, std::str::from_utf8(chained).ok()?))
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
