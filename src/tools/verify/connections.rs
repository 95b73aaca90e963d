//! Every connection's last message number. Memory: one entry for each connection.
use std::collections::HashMap;

use crate::store::record::CONNECTION_MAX;

/// Places for connections that were seen last; a power of two.
const RECENT: usize = 1024;

/// All connections.
pub struct Connections {
    /// Where each stands in `last`.
    places: HashMap<Box<str>, u32>,
    /// 0: not known, any may follow.
    last: Vec<u64>,
    /// The same as in `places`, found without its hash.
    recent: Box<[Recent]>,
}

#[derive(Clone, Copy)]
struct Recent {
    place: u32,
    length: u8,
    id: [u8; CONNECTION_MAX],
}

/// How a message stands to its connection's last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The next, or the first after some that are not known.
    Next,
    /// The connection was not seen before.
    First,
    /// It comes again, or too late, after this one.
    Behind(u64),
    /// Some are missing after this one.
    Ahead(u64),
}

impl Connections {
    pub fn new() -> Self {
        let nothing = Recent { place: 0, length: 0, id: [0; CONNECTION_MAX] };
        Self { places: HashMap::new(), last: Vec::new(), recent: vec![nothing; RECENT].into_boxed_slice() }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.last.len() as u64
    }

    /// Takes in the next message, `n`, of `connection`.
    #[inline]
    pub fn take(&mut self, connection: &str, n: u64) -> Turn {
        let id = connection.as_bytes();
        let recent = &self.recent[slot(id)];
        let known = !id.is_empty() && recent.id.get(..usize::from(recent.length)) == Some(id);
        let place = if known { recent.place } else { self.place(connection) };
        let Some(last) = self.last.get_mut(place as usize) else {
            self.last.push(n);
            return Turn::First;
        };
        let before = *last;
        *last = before.max(n);
        match before {
            0 => Turn::Next,
            _ if before.checked_add(1) == Some(n) => Turn::Next,
            _ if n <= before => Turn::Behind(before),
            _ => Turn::Ahead(before),
        }
    }

    /// Where it stands; a new one behind all others.
    fn place(&mut self, connection: &str) -> u32 {
        // 2^32 connections need more memory than there is.
        let new = u32::try_from(self.last.len()).unwrap_or(u32::MAX);
        let place = match self.places.get(connection) {
            Some(place) => *place,
            None => {
                self.places.insert(connection.into(), new);
                new
            }
        };
        let recent = &mut self.recent[slot(connection.as_bytes())];
        if let Some(id) = recent.id.get_mut(..connection.len()) {
            id.copy_from_slice(connection.as_bytes());
            // At most CONNECTION_MAX.
            (recent.place, recent.length) = (place, connection.len() as u8);
        }
        place
    }

    /// Whatever comes next may follow: files are away.
    pub fn forget_numbers(&mut self) {
        self.last.fill(0);
    }
}

/// Where a connection is looked for: its id ends with a counter.
fn slot(id: &[u8]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let tail = id.last_chunk().map_or(0, |tail| u64::from_le_bytes(*tail));
    (tail.wrapping_mul(FACTOR) >> (u64::BITS - RECENT.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_a_map_would(messages in prop::collection::vec((0..3000u32, 1..6u64), 0..4000)) {
            let mut connections = Connections::new();
            let mut model: HashMap<String, u64> = HashMap::new();
            for (index, (number, n)) in messages.into_iter().enumerate() {
                // Short ones, which all share a place, and those of a daemon.
                let id = if number < 20 { format!("{number}") } else { format!("0001{number:06}") };
                let expected = match model.get(&id).copied() {
                    None => Turn::First,
                    Some(0) => Turn::Next,
                    Some(before) if n == before + 1 => Turn::Next,
                    Some(before) if n <= before => Turn::Behind(before),
                    Some(before) => Turn::Ahead(before),
                };
                prop_assert_eq!(connections.take(&id, n), expected);
                let last = model.entry(id).or_default();
                *last = n.max(*last);
                if index == 2000 {
                    connections.forget_numbers();
                    model.values_mut().for_each(|last| *last = 0);
                }
            }
            prop_assert_eq!(connections.count(), model.len() as u64);
        }
    }
}
