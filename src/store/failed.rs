//! `.failed.jsonl`: how far a segment is good whose write or sync failed. The writer's; the archiver copies its lines into
//! the [manifest](super::manifest), which is its own: each file has one process that writes it.
//!
//! ```text
//! {"segment":"messages-0000000003-….log","good-to":81920}
//! {"segment":"messages-0000000003-….log","good-to":81920,"moved-to":"messages-0000000004-….log"}
//! {"harmed":"messages-0000000005-….log","acknowledged":4096}
//! ```
//! The first line says: a write or sync of this segment failed, and what follows byte `good-to` may not survive a power
//! cut. The second: it was copied to the segment `moved-to`, and **once that file exists**, no byte of this one beyond
//! `good-to` is part of the store. The last line about a segment counts. Lines about segments that are gone are left out when one is added.
//! The third kind: somebody else changed or deleted this segment while it was live, when so many of its bytes had been acknowledged.
//!
//! Promise: the file is replaced as a whole, durably: a kill leaves the old or the new one.
use super::names::{Form, SegmentName};
use crate::sys::file::{self, Access};
use crate::sys::{AsFd, BorrowedFd};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// Its name in the store's directory.
pub const FAILED: &str = ".failed.jsonl";
const FAILED_NEW: &str = ".failed.new";

/// One line: how far a segment is good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GoodTo {
    /// The segment's file name.
    pub segment: String,
    /// Its bytes that a successful sync has covered.
    pub good_to: u64,
    /// The segment that has what followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<String>,
    /// Ranges, from and to, that could not be read back as records; they are kept in `<segment>.torn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<(u64, u64)>,
}

impl GoodTo {
    /// The name, taken apart.
    pub fn name(&self) -> Option<SegmentName> {
        SegmentName::parse(&self.segment)
    }
}

/// One line: somebody else has changed or deleted a segment while it was live.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Harm {
    /// The segment's file name.
    #[serde(rename = "harmed")]
    pub segment: String,
    /// Its bytes that had been acknowledged.
    pub acknowledged: u64,
}

impl Harm {
    /// The name, taken apart.
    pub fn name(&self) -> Option<SegmentName> {
        SegmentName::parse(&self.segment)
    }
}

/// The last word on each segment that failed, or was harmed, in the order in which they were first named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    entries: Vec<GoodTo>,
    harms: Vec<Harm>,
}

impl Failures {
    /// Reads it; empty if there is none.
    pub fn read(directory: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(read_text(directory)?.map_or_else(Self::default, |text| Self::parse(&text)))
    }

    /// Reads its text: what is no line of ours is passed over.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut failures = Self::default();
        for line in text.split(|&byte| byte == b'\n') {
            let Ok(entry) = serde_json::from_slice::<GoodTo>(line) else {
                failures.take_harm(line);
                continue;
            };
            // They are used as file names.
            if entry.name().is_none()
                || entry.moved_to.as_deref().is_some_and(|name| SegmentName::parse(name).is_none())
            {
                continue;
            }
            match failures.entries.iter_mut().find(|known| known.segment == entry.segment) {
                Some(known) => *known = entry,
                None => failures.entries.push(entry),
            }
        }
        failures
    }

    fn take_harm(&mut self, line: &[u8]) {
        let Ok(harm) = serde_json::from_slice::<Harm>(line) else { return };
        if harm.name().is_some() {
            self.harms.retain(|known| known.segment != harm.segment);
            self.harms.push(harm);
        }
    }

    /// The same with what others know of segments that are not named here.
    pub fn with(mut self, others: impl IntoIterator<Item = GoodTo>) -> Self {
        for other in others {
            if self.of(&other.segment).is_none() {
                self.entries.push(other);
            }
        }
        self
    }

    /// What is known of a segment.
    pub fn of(&self, segment: &str) -> Option<&GoodTo> {
        self.entries.iter().find(|entry| entry.segment == segment)
    }

    /// Whatever others have done to a segment: its bytes that had been acknowledged.
    pub fn acknowledged(&self, segment: &str) -> Option<u64> {
        self.harms.iter().find(|harm| harm.segment == segment).map(|harm| harm.acknowledged)
    }

    /// All segments that others have harmed.
    pub fn harms(&self) -> &[Harm] {
        &self.harms
    }

    /// All that is known of those that failed.
    pub fn into_entries(self) -> Vec<GoodTo> {
        self.entries
    }

    /// Where a segment of `length` bytes ends: before what was moved away from it, also if that is not cut off.
    pub fn end(&self, segment: &str, length: u64, exists: impl Fn(&str) -> bool) -> u64 {
        self.cut(segment, exists).map_or(length, |cut| cut.min(length))
    }

    /// Where a segment ends for good, if its end was moved to another one, which `exists`.
    pub fn cut(&self, segment: &str, exists: impl Fn(&str) -> bool) -> Option<u64> {
        self.moved(exists).find(|entry| entry.segment == segment).map(|entry| entry.good_to)
    }

    /// Segments whose end is in another one, which `exists`: their bytes beyond `good_to` do not count.
    pub fn moved(&self, exists: impl Fn(&str) -> bool) -> impl Iterator<Item = &GoodTo> {
        self.entries.iter().filter(move |entry| entry.moved_to.as_deref().is_some_and(&exists))
    }

    /// Segments that failed and whose end is nowhere else.
    pub fn unsaved(&self, exists: impl Fn(&str) -> bool) -> impl Iterator<Item = &GoodTo> {
        self.entries.iter().filter(move |entry| !entry.moved_to.as_deref().is_some_and(&exists))
    }
}

/// Adds lines, durably.
pub fn append(directory: BorrowedFd<'_>, entries: &[GoodTo]) -> io::Result<()> {
    add(directory, entries, &[])
}

/// Adds a line about a segment that somebody else has harmed, durably.
pub fn append_harm(directory: BorrowedFd<'_>, harm: &Harm) -> io::Result<()> {
    add(directory, &[], std::slice::from_ref(harm))
}

fn add(directory: BorrowedFd<'_>, entries: &[GoodTo], harms: &[Harm]) -> io::Result<()> {
    let known = Failures::read(directory)?;
    let mut text = Vec::new();
    let superseded = |known: &GoodTo| entries.iter().any(|entry| entry.segment == known.segment);
    let stands = |known: &&GoodTo| !superseded(known) && exists(&directory, &known.segment);
    for entry in known.entries.iter().filter(stands).chain(entries) {
        serde_json::to_writer(&mut text, entry)?;
        text.push(b'\n');
    }
    let superseded = |known: &Harm| harms.iter().any(|harm| harm.segment == known.segment);
    let stands = |known: &&Harm| !superseded(known) && exists(&directory, &known.segment);
    for harm in known.harms.iter().filter(stands).chain(harms) {
        serde_json::to_writer(&mut text, harm)?;
        text.push(b'\n');
    }
    file::unlink_at(directory, FAILED_NEW)?;
    let mut new = file::open_at(directory, FAILED_NEW, Access::CreateNew, 0o640)?;
    new.write_all(&text)?;
    new.sync_all()?;
    file::rename_at(directory, FAILED_NEW, FAILED)?;
    file::sync_directory(directory)
}

fn read_text(directory: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    match file::open_at(directory, FAILED, Access::Read, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(mut file) => {
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            Ok(Some(text))
        }
    }
}

/// Whether a segment is there, compressed or not, or something else of its name; a directory that cannot be asked says no.
pub fn exists(directory: &impl AsFd, name: &str) -> bool {
    Form::ALL.iter().any(|form| file::stat_at(directory.as_fd(), &form.of(name)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::open_directory;

    const ONE: &str = "messages-0000000001-20261122T084200Z.log";
    const TWO: &str = "messages-0000000002-20261122T084300Z.log";

    fn entry(segment: &str, good_to: u64, moved_to: Option<&str>) -> GoodTo {
        GoodTo { segment: segment.into(), good_to, moved_to: moved_to.map(Into::into), lost: Vec::new() }
    }

    #[test]
    fn the_last_line_counts_and_only_what_was_moved_is_cut() {
        let place = tempfile::tempdir().unwrap();
        let directory = open_directory(place.path()).unwrap();
        assert_eq!(Failures::read(directory.as_fd()).unwrap(), Failures::default());
        std::fs::write(place.path().join(ONE), "").unwrap();
        std::fs::write(place.path().join(format!("{TWO}.zst")), "").unwrap();
        append(directory.as_fd(), &[entry(ONE, 100, None)]).unwrap();
        append(directory.as_fd(), &[entry(ONE, 100, Some(TWO)), entry(TWO, 7, None)]).unwrap();
        let failures = Failures::read(directory.as_fd()).unwrap();
        assert_eq!(failures.of(ONE), Some(&entry(ONE, 100, Some(TWO))));
        let moved = |there: bool| failures.moved(move |_| there).map(|entry| entry.good_to).collect::<Vec<_>>();
        assert_eq!((moved(true), moved(false)), (vec![100], vec![]));
        let unsaved = |there: bool| failures.unsaved(move |_| there).map(|entry| entry.good_to).collect::<Vec<_>>();
        assert_eq!((unsaved(true), unsaved(false)), (vec![7], vec![100, 7]));
        let text = std::fs::read_to_string(place.path().join(FAILED)).unwrap();
        assert_eq!(
            text.lines().next(),
            Some(&*format!("{{\"segment\":\"{ONE}\",\"good-to\":100,\"moved-to\":\"{TWO}\"}}"))
        );
        std::fs::remove_file(place.path().join(ONE)).unwrap();
        append(directory.as_fd(), &[]).unwrap();
        let failures = Failures::read(directory.as_fd()).unwrap();
        assert_eq!((failures.of(ONE), failures.of(TWO)), (None, Some(&entry(TWO, 7, None))));
    }

    #[test]
    fn what_others_have_harmed_stands_beside_what_failed() {
        let place = tempfile::tempdir().unwrap();
        let directory = open_directory(place.path()).unwrap();
        let harm = |segment: &str, acknowledged| Harm { segment: segment.into(), acknowledged };
        std::fs::write(place.path().join(ONE), "").unwrap();
        append_harm(directory.as_fd(), &harm(ONE, 5)).unwrap();
        append_harm(directory.as_fd(), &harm(ONE, 4096)).unwrap();
        // One that was deleted is known until the next line.
        append_harm(directory.as_fd(), &harm(TWO, 7)).unwrap();
        let failures = Failures::read(directory.as_fd()).unwrap();
        assert_eq!((failures.acknowledged(ONE), failures.acknowledged(TWO)), (Some(4096), Some(7)));
        append(directory.as_fd(), &[entry(ONE, 100, None)]).unwrap();
        let text = std::fs::read_to_string(place.path().join(FAILED)).unwrap();
        assert!(text.ends_with(&format!("{{\"harmed\":\"{ONE}\",\"acknowledged\":4096}}\n")), "{text}");
        let failures = Failures::read(directory.as_fd()).unwrap();
        assert_eq!((failures.of(ONE), failures.acknowledged(TWO)), (Some(&entry(ONE, 100, None)), None));
        assert_eq!(failures.unsaved(|_| false).count(), 1, "what is harmed is not to be saved");
        assert!(Failures::parse(b"{\"harmed\":\"../x.log\",\"acknowledged\":1}\n").harms().is_empty());
    }

    #[test]
    fn torn_lines_foreign_lines_and_paths_are_passed_over() {
        let text = format!(
            "{{\"segment\":\"{ONE}\",\"good-to\":1}}\n{{\"seal\":1}}\n\u{0}\n{{\"segment\":\"../x.log\",\"good-to\":1}}\n{{\"segment\":\"{TWO}\",\"good-"
        );
        let one = Failures { entries: vec![entry(ONE, 1, None)], harms: Vec::new() };
        assert_eq!(Failures::parse(text.as_bytes()), one);
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(FAILED), text).unwrap();
        let directory = open_directory(place.path()).unwrap();
        append(directory.as_fd(), &[entry(TWO, 9, None)]).unwrap();
        assert_eq!(Failures::read(directory.as_fd()).unwrap().of(TWO).unwrap().good_to, 9);
    }
}
