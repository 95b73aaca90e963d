//! Which messages were sent again: ranges of numbers, told as soon as they can grow no more, so that days of cuts need no memory. Pure.

/// Ranges that come in the order of their beginnings.
#[derive(Debug, Default)]
pub struct Resent {
    /// Not to grow any more, and not yet asked for.
    known: Vec<(u64, u64)>,
    /// The last one, which may still grow.
    last: Option<(u64, u64)>,
    total: u64,
}

impl Resent {
    /// The messages `from..=to`; none, if `to` is before `from`. `from` is never before an earlier one.
    pub fn add(&mut self, from: u64, to: u64) {
        if to < from {
            return;
        }
        match &mut self.last {
            Some((_, end)) if from <= *end + 1 => {
                self.total += to.saturating_sub(*end);
                *end = to.max(*end);
            }
            last => {
                self.known.extend(last.replace((from, to)));
                self.total += to - from + 1;
            }
        }
    }

    /// The ranges that are complete, since the last call.
    pub fn known(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.known)
    }

    /// The range that may still grow: at the end, the last one.
    pub fn last(&self) -> Option<(u64, u64)> {
        self.last
    }

    /// How many messages, each counted once.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_together() {
        let mut resent = Resent::default();
        for (from, to) in [(1, 0), (3, 5), (4, 4), (6, 7), (9, 8), (9, 9)] {
            resent.add(from, to);
        }
        assert_eq!((resent.known(), resent.last(), resent.total()), (vec![(3, 7)], Some((9, 9)), 6));
        assert_eq!(resent.known(), []);
    }
}
