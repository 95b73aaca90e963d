//! Which closed segments retention deletes. Pure: sizes, ages and free space come in as arguments.
//!
//! All rules hold at once, and the oldest by number goes first, whatever the clocks say. A segment that is busy counts,
//! and stays; the next one goes in its place.
use crate::config::units::{format_size, format_time};
use crate::config::{Retain, Space};
use std::fmt;
use std::time::Duration;

/// A closed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed<N> {
    /// Which one.
    pub name: N,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Since its last record.
    pub age: Duration,
    /// The hook runs on it, or it is not settled: it stays.
    pub busy: bool,
}

/// What else counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Around {
    /// Closed segments.
    pub files: u64,
    /// Bytes of all files of the store.
    pub bytes: u64,
    /// Of the store's file system. `None`: not known, or not to be looked at now.
    pub disk: Option<Disk>,
}

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// All.
    pub total: u64,
    /// What may still be used without privilege.
    pub available: u64,
}

/// Why a segment is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// `retain.max-age`.
    MaxAge(Duration),
    /// `retain.max-files`.
    MaxFiles(u32),
    /// `retain.max-total-size`.
    MaxTotalSize(u64),
    /// `retain.min-free-space`.
    MinFreeSpace(Space),
    /// `store.on-disk-full`.
    DiskFull,
}

impl Reason {
    /// As it stands in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxAge(_) => "max-age",
            Self::MaxFiles(_) => "max-files",
            Self::MaxTotalSize(_) => "max-total-size",
            Self::MinFreeSpace(_) => "min-free-space",
            Self::DiskFull => "on-disk-full",
        }
    }
}

/// As it stands in the log.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxAge(age) => write!(f, "retain.max-age = {}", format_time(*age)),
            Self::MaxFiles(files) => write!(f, "retain.max-files = {files}"),
            Self::MaxTotalSize(bytes) => write!(f, "retain.max-total-size = {}", format_size(*bytes)),
            Self::MinFreeSpace(Space::Bytes(bytes)) => write!(f, "retain.min-free-space = {}", format_size(*bytes)),
            Self::MinFreeSpace(Space::Percent(percent)) => write!(f, "retain.min-free-space = {percent}%"),
            Self::DiskFull => write!(f, "the disk is full, and store.on-disk-full = prune"),
        }
    }
}

/// What retention does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict<N> {
    /// What goes, the oldest first.
    pub delete: Vec<(N, Reason)>,
    /// A rule that holds not even then: all that may go does.
    pub unmet: Option<Reason>,
}

/// Decides. `closed`: the oldest first; it is looked at no further than needed, and at most `most` go at once.
pub(super) fn decide<N>(
    rules: &Retain,
    mut around: Around,
    closed: impl Iterator<Item = Closed<N>>,
    most: usize,
) -> Verdict<N> {
    let mut delete = Vec::new();
    for segment in closed {
        let too_old = rules.max_age.filter(|most| segment.age > *most).map(Reason::MaxAge);
        let Some(reason) = too_old.or_else(|| passed(rules, around)) else {
            return Verdict { delete, unmet: None };
        };
        if segment.busy {
            continue;
        }
        if delete.len() == most {
            return Verdict { delete, unmet: None };
        }
        around.files = around.files.saturating_sub(1);
        around.bytes = around.bytes.saturating_sub(segment.bytes);
        if let Some(disk) = &mut around.disk {
            disk.available = disk.available.saturating_add(segment.bytes);
        }
        delete.push((segment.name, reason));
    }
    Verdict { delete, unmet: passed(rules, around) }
}

/// A rule that does not hold, but for ages.
fn passed(rules: &Retain, around: Around) -> Option<Reason> {
    let files = rules.max_files.filter(|most| around.files > u64::from(*most)).map(Reason::MaxFiles);
    let size = || rules.max_total_size.filter(|most| around.bytes > *most).map(Reason::MaxTotalSize);
    let free =
        || rules.min_free_space.filter(|least| around.disk.is_some_and(|disk| disk.available < wanted(disk, *least)));
    files.or_else(size).or_else(|| free().map(Reason::MinFreeSpace))
}

fn wanted(disk: Disk, least: Space) -> u64 {
    match least {
        Space::Bytes(bytes) => bytes,
        Space::Percent(percent) => {
            u64::try_from(u128::from(disk.total) * u128::from(percent) / 100).unwrap_or(u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Segments 1, 2, … of 100 bytes, the first the oldest: the last is one hour old.
    fn closed(count: u64, busy: &'static [u64]) -> impl Iterator<Item = Closed<u64>> {
        (1..=count).map(move |name| Closed {
            name,
            bytes: 100,
            age: HOUR * u32::try_from(count - name + 1).unwrap(),
            busy: busy.contains(&name),
        })
    }

    fn around(count: u64) -> Around {
        let disk = Some(Disk { total: 10_000, available: 1000 });
        Around { files: count, bytes: count * 100 + 50, disk }
    }

    fn names(rules: Retain, count: u64, busy: &'static [u64]) -> (Vec<u64>, Option<Reason>) {
        let verdict = decide(&rules, around(count), closed(count, busy), usize::MAX);
        (verdict.delete.into_iter().map(|(name, _)| name).collect(), verdict.unmet)
    }

    #[test]
    fn each_rule_deletes_just_enough_of_the_oldest() {
        let none = Retain::default();
        let files = |most| Retain { max_files: Some(most), ..none };
        let age = |hours| Retain { max_age: Some(HOUR * hours), ..none };
        let size = |most| Retain { max_total_size: Some(most), ..none };
        let free = |least| Retain { min_free_space: Some(least), ..none };
        type Row = (Retain, u64, &'static [u64], &'static [u64], bool);
        let table: [Row; 19] = [
            (none, 5, &[], &[], false),
            (files(5), 5, &[], &[], false),
            (files(3), 5, &[], &[1, 2], false),
            (files(1), 0, &[], &[], false),
            (files(3), 5, &[1], &[2, 3], false),
            (files(1), 3, &[1, 2, 3], &[], true),
            (age(5), 5, &[], &[], false),
            (age(3), 5, &[], &[1, 2], false),
            (age(3), 5, &[1], &[2], false),
            (age(0), 3, &[], &[1, 2, 3], false),
            // The live file counts: 550 bytes with it.
            (size(550), 5, &[], &[], false),
            (size(549), 5, &[], &[1], false),
            (size(49), 2, &[], &[1, 2], true),
            (size(250), 4, &[2], &[1, 3], false),
            (free(Space::Bytes(1000)), 5, &[], &[], false),
            (free(Space::Bytes(1001)), 5, &[], &[1], false),
            (free(Space::Percent(12)), 5, &[], &[1, 2], false),
            (free(Space::Percent(99)), 2, &[], &[1, 2], true),
            (free(Space::Bytes(u64::MAX)), 1, &[1], &[], true),
        ];
        for (rules, count, busy, expected, unmet) in table {
            let (deleted, left) = names(rules, count, busy);
            assert_eq!((&*deleted, left.is_some()), (expected, unmet), "{rules:?} of {count}, busy {busy:?}");
        }
    }

    #[test]
    fn all_rules_hold_at_once_and_each_deletion_has_its_reason() {
        let rules =
            Retain { max_files: Some(4), max_age: Some(HOUR * 5), max_total_size: Some(350), min_free_space: None };
        let verdict = decide(&rules, around(6), closed(6, &[]), usize::MAX);
        let reasons: Vec<&str> = verdict.delete.iter().map(|(_, reason)| reason.name()).collect();
        assert_eq!(reasons, ["max-age", "max-files", "max-total-size"]);
        assert_eq!(verdict.unmet, None);
    }

    #[test]
    fn a_piece_at_a_time_is_enough_in_the_end() {
        let rules = Retain { max_files: Some(1), ..Retain::default() };
        let verdict = decide(&rules, around(6), closed(6, &[]), 2);
        assert_eq!((verdict.delete.len(), verdict.unmet), (2, None));
    }

    #[test]
    fn a_disk_that_cannot_be_asked_deletes_nothing() {
        let rules = Retain { min_free_space: Some(Space::Percent(99)), ..Retain::default() };
        let around = Around { disk: None, ..around(3) };
        assert_eq!(decide(&rules, around, closed(3, &[]), 9), Verdict { delete: vec![], unmet: None });
    }

    #[test]
    fn reasons_read_as_the_configuration() {
        assert_eq!(Reason::MaxFiles(50).to_string(), "retain.max-files = 50");
        assert_eq!(Reason::MinFreeSpace(Space::Percent(5)).to_string(), "retain.min-free-space = 5%");
        assert_eq!(Reason::MaxAge(HOUR * 24).to_string(), "retain.max-age = 1d");
    }
}
