//! What failed, and when it is tried again: each kind of cause is told once, every failure is counted, and nothing is
//! tried again at once.
use super::hook::back_off;
use crate::store::names::SegmentName;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    Look,
    Manifest,
    Seal,
    Compress,
    Delete,
    Note,
}

impl Deed {
    fn words(self) -> &'static str {
        match self {
            Self::Look => "look at",
            Self::Manifest => "add to",
            Self::Seal => "seal",
            Self::Compress => "compress",
            Self::Delete => "delete",
            Self::Note => "keep",
        }
    }

    /// What goes on when it no longer fails.
    fn noun(self) -> &'static str {
        match self {
            Self::Look => "looking at the store",
            Self::Manifest => "adding to the manifest",
            Self::Seal => "sealing",
            Self::Compress => "compressing",
            Self::Delete => "deleting",
            Self::Note => "keeping notes",
        }
    }
}

/// How long the manifest rests for want of room.
const FOR_ROOM: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
struct Rest {
    attempts: u32,
    until: Instant,
}

/// The faults. A deed may rest for one segment, or (`None`) for all.
#[derive(Debug, Default)]
pub(super) struct Faults {
    told: BTreeSet<(Deed, Option<i32>)>,
    rests: BTreeMap<(Deed, Option<SegmentName>), Rest>,
    /// Since the last look.
    count: u64,
}

impl Faults {
    /// Notes that a deed failed: it is told, if this kind was not since the deed went well, and rests.
    pub fn note(&mut self, deed: Deed, on: &str, name: Option<&SegmentName>, error: &io::Error, now: Instant) {
        self.count += 1;
        if self.told.insert((deed, error.raw_os_error())) {
            warn!(ARCHIVING_FAILED { file: on }, "cannot {} {on}: {error}; it is tried again", deed.words());
        } else {
            debug!("cannot {} {on}: {error}", deed.words());
        }
        self.rest(deed, name, now);
        // Room for a line comes with the next deletion, which must not wait.
        if deed == Deed::Manifest
            && is_full(error)
            && let Some(rest) = self.rests.get_mut(&(deed, name.cloned()))
        {
            rest.until = rest.until.min(now + FOR_ROOM);
        }
    }

    /// Lets a deed rest, longer each time.
    pub fn rest(&mut self, deed: Deed, name: Option<&SegmentName>, now: Instant) {
        let rest = self.rests.entry((deed, name.cloned())).or_insert(Rest { attempts: 0, until: now });
        rest.attempts += 1;
        rest.until = now + back_off(rest.attempts);
    }

    /// Whether a deed rests, for all or for this segment.
    pub fn rests(&self, deed: Deed, name: Option<&SegmentName>, now: Instant) -> bool {
        let rests = |key: Option<&SegmentName>| {
            !self.rests.is_empty() && self.rests.get(&(deed, key.cloned())).is_some_and(|rest| now < rest.until)
        };
        rests(None) || (name.is_some() && rests(name))
    }

    /// Whether a deed has failed with this segment.
    pub fn has_failed(&self, deed: Deed, name: &SegmentName) -> bool {
        !self.rests.is_empty() && self.rests.contains_key(&(deed, Some(name.clone())))
    }

    /// A deed went well: its end is told, once it fails with no segment any more, and a fault is told again.
    pub fn well(&mut self, deed: Deed, name: Option<&SegmentName>) {
        if self.rests.is_empty() && self.told.is_empty() {
            return;
        }
        self.rests.remove(&(deed, name.cloned()));
        self.rests.remove(&(deed, None));
        let told = self.told.iter().any(|(other, _)| *other == deed);
        if told && !self.rests.keys().any(|(other, _)| *other == deed) {
            self.told.retain(|(other, _)| *other != deed);
            notice!(ARCHIVING_AGAIN, "{} goes well again", deed.noun());
        }
    }

    /// Forgets a segment that is away.
    pub fn forget(&mut self, name: &SegmentName) {
        if !self.rests.is_empty() {
            self.rests.retain(|(_, other), _| other.as_ref() != Some(name));
        }
    }

    /// How many there were since this was asked last.
    pub fn take_count(&mut self) -> u64 {
        std::mem::take(&mut self.count)
    }
}

/// Whether there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    use nix::libc::{EDQUOT, ENOSPC};
    matches!(error.raw_os_error(), Some(ENOSPC | EDQUOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_rests_longer_each_time_and_is_forgotten_when_it_goes_well() {
        let mut faults = Faults::default();
        let (now, error) = (Instant::now(), io::Error::from_raw_os_error(5));
        let name = |sequence| SegmentName { prefix: "m".into(), sequence, start: 0 };
        for _ in 0..3 {
            faults.note(Deed::Seal, "it", Some(&name(1)), &error, now);
        }
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(
            faults.rests(Deed::Seal, Some(&name(1)), after(3)) && !faults.rests(Deed::Seal, Some(&name(1)), after(4))
        );
        assert!(!faults.rests(Deed::Seal, Some(&name(2)), now) && !faults.rests(Deed::Compress, Some(&name(1)), now));
        faults.note(Deed::Compress, "it", None, &error, now);
        assert!(faults.rests(Deed::Compress, Some(&name(2)), now) && faults.rests(Deed::Compress, None, now));
        assert_eq!((faults.take_count(), faults.take_count()), (4, 0));
        faults.well(Deed::Seal, Some(&name(1)));
        assert!(!faults.has_failed(Deed::Seal, &name(1)) && faults.told.len() == 1);
        // The one that failed is away.
        faults.note(Deed::Delete, "it", Some(&name(3)), &error, now);
        faults.well(Deed::Compress, Some(&name(2)));
        faults.forget(&name(3));
        faults.well(Deed::Delete, None);
        assert!(faults.told.is_empty());
    }
}
