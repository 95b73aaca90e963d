//! Which parts of the picture there are in so many lines, and how high. Pure.

/// A part, from the top to the bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Who it is, and the clock.
    Head,
    /// How it is.
    State,
    /// The curves.
    Rates,
    /// The histogram.
    Latency,
    /// What stores.
    Store,
    /// The workers.
    Workers,
    /// What has happened.
    Events,
}

/// What a part asks for, in lines.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Which.
    pub part: Part,
    /// With fewer it is left out.
    pub least: u16,
    /// What shows all that matters.
    pub enough: u16,
    /// With more there would be nothing to show.
    pub most: u16,
    /// Who comes first: the lowest.
    pub rank: u8,
}

/// The height of each part, in the order of `wishes`; 0: it is left out. Together never more than `height`.
///
/// Each gets its least while there is room, then what is enough, then more, always by rank; the last step by one line
/// after the other, so that all grow.
pub fn heights(wishes: &[Wish], height: u16) -> Vec<u16> {
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_by_key(|index| wishes[*index].rank);
    let (mut heights, mut left) = (vec![0; wishes.len()], height);
    for &index in &order {
        if wishes[index].least <= left {
            heights[index] = wishes[index].least;
            left -= heights[index];
        }
    }
    for &index in order.iter().filter(|index| wishes[**index].least > 0) {
        if heights[index] > 0 {
            let more = wishes[index].enough.saturating_sub(heights[index]).min(left);
            heights[index] += more;
            left -= more;
        }
    }
    while left > 0 {
        let before = left;
        for &index in &order {
            if left > 0 && heights[index] > 0 && heights[index] < wishes[index].most {
                heights[index] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wish(least: u16, enough: u16, most: u16, rank: u8) -> Wish {
        Wish { part: Part::Head, least, enough, most, rank }
    }

    #[test]
    fn what_matters_most_comes_first() {
        let wishes = [wish(1, 1, 1, 0), wish(2, 4, 9, 2), wish(1, 3, 3, 1)];
        let cases = [
            (0, [0, 0, 0]),
            (1, [1, 0, 0]),
            (2, [1, 0, 1]),
            (3, [1, 0, 2]),
            (4, [1, 2, 1]),
            (6, [1, 2, 3]),
            (8, [1, 4, 3]),
            (10, [1, 6, 3]),
            (99, [1, 9, 3]),
        ];
        for (height, expected) in cases {
            assert_eq!(heights(&wishes, height), expected, "{height}");
        }
    }

    proptest! {
        #[test]
        fn never_more_than_there_is(height: u16, asked: Vec<(u16, u16, u16, u8)>) {
            let wishes: Vec<Wish> = asked.iter().map(|(a, b, c, rank)| wish(*a % 50, *b % 100, *c % 100, *rank)).collect();
            prop_assert!(heights(&wishes, height).iter().map(|height| u32::from(*height)).sum::<u32>() <= u32::from(height));
        }
    }
}
