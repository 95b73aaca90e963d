//! Which frames go into the file together. Pure: the frames at hand, the live segment's length and the rotation limit
//! come in; what to do comes out.
use crate::protocol::frame::{Header, Kind};

/// What to do with the frames at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is at hand.
    Wait,
    /// The next record would pass the limit: begin a new segment first.
    Rotate,
    /// Store these: as many of each link's frames, from the first, as was counted.
    Store,
}

/// The bytes that a frame adds to the file: a record in fragments comes all at once, with its last one.
pub fn file_bytes(header: &Header) -> u64 {
    match header.kind {
        Kind::Records => u64::from(header.length),
        Kind::Fragment => 0,
        Kind::LastFragment => u64::from(header.offset) + u64::from(header.length),
    }
}

/// Decides over `offers`, the whole frames at hand of each link in the order in which they shall stand in the file.
/// `counts` becomes, for each link as offered, how many of its frames to store.
///
/// A batch stays within one segment, and within `limit` unless a single frame alone is larger (the workers make frames
/// no larger than the limit, but for a single record). A link's batch ends with a completed record of fragments: the
/// staging area must keep it until the commit.
pub fn decide<'a, I>(offers: I, length: u64, limit: Option<u64>, counts: &mut Vec<usize>) -> Decision
where
    I: Iterator<Item: Iterator<Item = &'a Header>>,
{
    counts.clear();
    let mut total = 0;
    let mut full = false;
    for offer in offers {
        let mut count = 0;
        for header in offer {
            let bytes = file_bytes(header);
            let after = length + total + bytes;
            full = full || (bytes > 0 && limit.is_some_and(|limit| after > limit) && after > bytes);
            if full {
                break;
            }
            total += bytes;
            count += 1;
            if header.kind == Kind::LastFragment {
                break;
            }
        }
        counts.push(count);
    }
    match (counts.iter().any(|&count| count > 0), full) {
        (true, _) => Decision::Store,
        (false, true) => Decision::Rotate,
        (false, false) => Decision::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::*;
    use proptest::prelude::*;

    fn frame(length: u32) -> Header {
        Header { sequence: 1, length, records: 1, kind: Kind::Records, offset: 0, fresh: false, promised: false }
    }

    fn of(kind: Kind, offset: u32, length: u32) -> Header {
        Header { kind, offset, ..frame(length) }
    }

    /// What to store, or what else to do.
    fn decision(offers: &[Vec<Header>], length: u64, limit: Option<u64>) -> Result<Vec<usize>, Decision> {
        let mut counts = vec![7];
        match decide(offers.iter().map(|offer| offer.iter()), length, limit, &mut counts) {
            Store => Ok(counts),
            other => Err(other),
        }
    }

    #[test]
    fn all_that_is_at_hand_goes_in_one_batch() {
        assert_eq!(decision(&[], 0, None), Err(Wait));
        assert_eq!(decision(&[vec![], vec![]], 0, None), Err(Wait));
        assert_eq!(decision(&[vec![frame(10), frame(10)], vec![], vec![frame(5)]], 0, None), Ok(vec![2, 0, 1]));
    }

    #[test]
    fn the_limit_cuts_the_batch_and_then_rotates() {
        let offers = [vec![frame(10), frame(10)], vec![frame(10)]];
        assert_eq!(decision(&offers, 70, Some(100)), Ok(vec![2, 1]));
        assert_eq!(decision(&offers, 71, Some(100)), Ok(vec![2, 0]));
        assert_eq!(decision(&offers, 85, Some(100)), Ok(vec![1, 0]));
        assert_eq!(decision(&offers, 91, Some(100)), Err(Rotate));
    }

    #[test]
    fn a_frame_above_the_limit_gets_a_segment_of_its_own() {
        assert_eq!(decision(&[vec![frame(500)]], 1, Some(100)), Err(Rotate));
        assert_eq!(decision(&[vec![frame(500), frame(1)]], 0, Some(100)), Ok(vec![1]));
    }

    #[test]
    fn fragments_count_when_the_record_is_complete() {
        let offer = vec![of(Kind::Fragment, 0, 60), of(Kind::LastFragment, 60, 50), frame(1)];
        assert_eq!(decision(std::slice::from_ref(&offer), 0, Some(200)), Ok(vec![2]));
        assert_eq!(decision(std::slice::from_ref(&offer), 95, Some(200)), Ok(vec![1]));
        assert_eq!(decision(&[offer[1..].to_vec()], 95, Some(200)), Err(Rotate));
    }

    proptest! {
        #[test]
        fn no_segment_passes_the_limit_and_nothing_is_stuck(lengths in proptest::collection::vec(proptest::collection::vec(1u32..300, 0..6), 0..4), limit in 1u64..400) {
            let mut offers: Vec<Vec<Header>> = lengths.iter().map(|of| of.iter().map(|&n| frame(n)).collect()).collect();
            let mut length = 0;
            for _ in 0..100 {
                match decision(&offers, length, Some(limit)) {
                    Err(Wait) => break,
                    Err(_) => {
                        prop_assert!(length > 0);
                        length = 0;
                    }
                    Ok(counts) => {
                        let before = length;
                        for (offer, &count) in offers.iter_mut().zip(&counts) {
                            length += offer.drain(..count).map(|header| file_bytes(&header)).sum::<u64>();
                        }
                        let frames: usize = counts.iter().sum();
                        prop_assert!(length <= limit || (before == 0 && frames == 1));
                    }
                }
            }
            prop_assert!(offers.iter().all(Vec::is_empty));
        }
    }
}
