//! What a reader has printed from a segment before its end was moved to another one, after a failed sync: the copy of it at
//! that one's beginning is not printed again. Pure.
use std::collections::BTreeMap;

use crate::store::failed::GoodTo;
use crate::store::names::SegmentName;

/// How many bytes at the beginning of a segment were printed from where they were before. `moved`: what was moved to this
/// segment; the copies stand there one behind the other, the oldest first, without what was lost. `handled`: how far each older
/// segment was printed. `first`: the number of the segment with which the reading began; what is older counts as
/// printed. `None`: not known, since one of those was cut before anybody looked how long it was.
pub fn printed_before<'a>(
    moved: impl Iterator<Item = &'a GoodTo>,
    handled: &BTreeMap<u64, u64>,
    first: u64,
) -> Option<u64> {
    let mut entries: Vec<(u64, &GoodTo)> =
        moved.filter_map(|entry| Some((SegmentName::parse(&entry.segment)?.sequence, entry))).collect();
    entries.sort_by_key(|(sequence, _)| *sequence);
    let mut sum = 0;
    let mut unknown = false;
    for (sequence, entry) in entries {
        let Some(&end) = handled.get(&sequence) else {
            unknown |= sequence < first;
            continue;
        };
        sum += excess(entry, end);
    }
    if unknown && sum > 0 { None } else { Some(sum) }
}

/// How many bytes up to `end` were copied.
fn excess(entry: &GoodTo, end: u64) -> u64 {
    let from = entry.good_to;
    let lost = entry.lost.iter().map(|&(low, high)| high.min(end).saturating_sub(low.max(from)));
    end.saturating_sub(from).saturating_sub(lost.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, good_to: u64, lost: &[(u64, u64)]) -> GoodTo {
        let segment = SegmentName { prefix: "m".into(), sequence, start: 0 }.build();
        GoodTo { segment, good_to, moved_to: None, lost: lost.to_vec() }
    }

    #[test]
    fn the_copies_stand_one_behind_the_other() {
        let moved = [entry(4, 0, &[]), entry(3, 100, &[])];
        let printed = |handled: &[(u64, u64)]| printed_before(moved.iter(), &handled.iter().copied().collect(), 3);
        assert_eq!(printed(&[]), Some(0));
        assert_eq!(printed(&[(3, 90)]), Some(0)); // it had not come so far
        assert_eq!(printed(&[(3, 100)]), Some(0));
        assert_eq!(printed(&[(3, 150)]), Some(50));
        assert_eq!(printed(&[(3, 150), (4, 70)]), Some(120));
    }

    #[test]
    fn what_was_lost_is_in_no_copy() {
        let moved = [entry(3, 100, &[(120, 130), (140, 160)])];
        let printed = |end| printed_before(moved.iter(), &[(3, end)].into(), 3);
        assert_eq!([100, 120, 125, 130, 145, 160, 200].map(printed), [0, 20, 20, 20, 30, 30, 70].map(Some));
    }

    #[test]
    fn what_is_older_than_the_reading_must_be_known() {
        let moved = [entry(3, 100, &[]), entry(4, 0, &[])];
        assert_eq!(printed_before(moved.iter(), &[(4, 70)].into(), 4), None);
        assert_eq!(printed_before(moved.iter(), &[(3, 130), (4, 70)].into(), 4), Some(100));
        assert_eq!(printed_before(moved.iter(), &[].into(), 4), Some(0));
    }
}
