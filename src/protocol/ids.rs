//! Connection ids: short words that are unique for ever in one store.
//!
//! An id is three numbers (the store's start epoch, the worker's incarnation, the worker's counter) as three
//! prefix-free fields of Crockford base32 digits, so that distinct triples give distinct words without a separator.
//! Never depends on the clock; never holds a space or `-` (a record's text sets `-` between the id and the message number).
use std::fmt;

/// Crockford's base32: no I, L, O, U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Leads a field that is wider than its usual width.
const WIDE: u8 = b'Z';

const EPOCH_WIDTH: usize = 4;
const INCARNATION_WIDTH: usize = 2;
const COUNTER_WIDTH: usize = 4;

/// The longest id in bytes: three wide fields of 7, 7 and 13 digits, two bytes more each. The usual length is 10.
pub const MAX_LEN: usize = 7 + 7 + 13 + 3 * 2;

/// Names one connection in a store. Ids of one worker are ordered by `counter`, their texts are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Counts the daemon's starts, kept in the store.
    pub epoch: u32,
    /// Counts the workers forked in this epoch.
    pub incarnation: u32,
    /// Counts the connections of this worker.
    pub counter: u64,
}

impl ConnectionId {
    /// Writes the id into `buffer` and returns the part that holds it.
    pub fn encode(self, buffer: &mut [u8; MAX_LEN]) -> &[u8] {
        let mut end = field(buffer, 0, u64::from(self.epoch), EPOCH_WIDTH);
        end = field(buffer, end, u64::from(self.incarnation), INCARNATION_WIDTH);
        end = field(buffer, end, self.counter, COUNTER_WIDTH);
        &buffer[..end]
    }

    /// Appends the id to `out`.
    pub fn append(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.encode(&mut [0; MAX_LEN]));
    }

    /// The inverse of [`encode`](Self::encode): accepts exactly what it writes, nothing before or after.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (epoch, text) = take_field(text, EPOCH_WIDTH)?;
        let (incarnation, text) = take_field(text, INCARNATION_WIDTH)?;
        let (counter, text) = take_field(text, COUNTER_WIDTH)?;
        let id = Self { epoch: epoch.try_into().ok()?, incarnation: incarnation.try_into().ok()?, counter };
        text.is_empty().then_some(id)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(self.encode(&mut [0; MAX_LEN])).map_err(|_| fmt::Error)?)
    }
}

/// The first value that `width` digits cannot hold, given that the first is never `Z`.
const fn limit(width: usize) -> u64 {
    31 << (5 * (width - 1))
}

/// Digits that `value` needs.
fn digits(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()).div_ceil(5) as usize
}

/// Writes one field at `start` and returns its end: `width` digits, or `Z`, the number of extra digits, all digits.
fn field(buffer: &mut [u8; MAX_LEN], mut start: usize, value: u64, width: usize) -> usize {
    let mut total = width;
    if value >= limit(width) {
        total = digits(value).max(width);
        buffer[start] = WIDE;
        buffer[start + 1] = DIGITS[total - width];
        start += 2;
    }
    let mut rest = value;
    for slot in buffer[start..start + total].iter_mut().rev() {
        *slot = DIGITS[(rest % 32) as usize];
        rest /= 32;
    }
    start + total
}

fn take_field(text: &[u8], width: usize) -> Option<(u64, &[u8])> {
    if *text.first()? != WIDE {
        let (word, rest) = text.split_at_checked(width)?;
        return Some((number(word)?, rest));
    }
    let extra = usize::try_from(digit(*text.get(1)?)?).ok()?;
    let (word, rest) = text[2..].split_at_checked(width + extra)?;
    let value = number(word)?;
    // Only the shortest form is an id, so that one connection has one spelling.
    (value >= limit(width) && digits(value).max(width) == width + extra).then_some((value, rest))
}

fn number(word: &[u8]) -> Option<u64> {
    word.iter().try_fold(0u64, |sum, &byte| sum.checked_mul(32)?.checked_add(digit(byte)?))
}

fn digit(byte: u8) -> Option<u64> {
    DIGITS.iter().position(|&d| d == byte).map(|at| at as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(epoch: u32, incarnation: u32, counter: u64) -> ConnectionId {
        ConnectionId { epoch, incarnation, counter }
    }

    /// Numbers of every magnitude, and those about the widths' limits.
    fn any_id() -> impl Strategy<Value = ConnectionId> {
        let wide = (any::<u64>(), 0u32..64).prop_map(|(value, shift)| value >> shift);
        let near =
            (prop::sample::select(&[2usize, 4][..]), 0u64..5).prop_map(|(width, above)| limit(width) + above - 2);
        let number = prop_oneof![wide, near];
        let small = number.clone().prop_map(|value| value as u32);
        (small.clone(), small, number).prop_map(|(e, i, c)| id(e, i, c))
    }

    #[test]
    fn known_words() {
        assert_eq!(id(16, 1, 5).to_string(), "000G010005");
        assert_eq!(id(0, 0, 0).to_string(), "0000000000");
        assert_eq!(id(31 * 32768 - 1, 31 * 32 - 1, 31 * 32768 - 1).to_string(), "YZZZYZYZZZ");
        assert_eq!(id(31 * 32768, 31 * 32, 1 << 20).to_string(), "Z0Z000Z0Z0Z110000");
        assert_eq!(id(u32::MAX, u32::MAX, u64::MAX).to_string().len(), MAX_LEN);
        assert_eq!(format!("{:>12}", id(16, 1, 5)), "  000G010005");
    }

    #[test]
    fn only_the_shortest_spelling_parses() {
        for bad in [
            "",
            "000G01000",
            "000G0100050",
            "000g010005",
            "000I010005",
            "Z0000G010005",
            "Z10Z000010005",
            "ZZ",
            "000G01-005",
        ] {
            assert_eq!(ConnectionId::parse(bad.as_bytes()), None, "{bad}");
        }
        let too_large = format!("{}{}", "000G01", "Z9ZZZZZZZZZZZZZ");
        assert_eq!(ConnectionId::parse(too_large.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn round_trip(id in any_id()) {
            let mut text = Vec::new();
            id.append(&mut text);
            prop_assert!(text.iter().all(|b| DIGITS.contains(b)) && text.len() >= 10);
            prop_assert_eq!(ConnectionId::parse(&text), Some(id));
            prop_assert_eq!(id.to_string().into_bytes(), text);
        }

        #[test]
        fn distinct_triples_give_distinct_words(a in any_id(), b in any_id()) {
            prop_assert_eq!(a == b, a.to_string() == b.to_string());
        }

        #[test]
        fn what_parses_is_what_encodes(text in "[0-9A-HZ]{8,20}") {
            if let Some(id) = ConnectionId::parse(text.as_bytes()) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
