//! Who is inside: how many connections each address has in each worker, so that a limit holds over all of them. Part of
//! the admission board.
//!
//! Each seat has a table that only its worker writes and all read: no lock, no compare-and-swap, and what a dead worker
//! has counted is wiped with its table. An address may stand in one of two buckets, chosen by its [`Name`], a hash whose key
//! nobody outside knows; an entry is one word and never moves, so a reader sees it or not, never half of it.
//!
//! Promise: bounded memory and a bounded number of looks. Of workers that let in the same address at once, each first
//! raises its own count and then adds up all: both may step back, never do both pass beyond the limit.
use super::link::MAX_LINKS;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

const WAYS: usize = 16;
const BUCKETS: usize = 2048;
/// Addresses that a worker can count at a time, nearly: an address whose two buckets are full cannot be counted.
const PLACES: usize = WAYS * BUCKETS;
/// Words of all tables.
pub(super) const WORDS: usize = MAX_LINKS * PLACES;

/// An entry: the upper bits of a name, and its count. A count of 0 is a free place.
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// What stands for an address on the boards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name(u64);

impl Name {
    /// The name of the host at `ip` under this run's key.
    pub fn of(ip: IpAddr, key: &RandomState) -> Self {
        Self(key.hash_one(host(ip)))
    }

    fn buckets(self) -> [usize; 2] {
        [0, 11].map(|shift| bits(self.0 >> shift, BUCKETS) * WAYS)
    }

    fn tag(self) -> u64 {
        self.0 & !COUNT
    }

    /// One of `count` places of another table, a power of two; and 16 bits that tell names in the same place apart.
    pub(super) fn place(self, count: usize) -> (usize, u64) {
        (bits(self.0 >> 22, count), self.0 >> 48)
    }
}

fn bits(value: u64, count: usize) -> usize {
    usize::try_from(value & (count as u64 - 1)).unwrap_or_default()
}

/// What counts as one address: of IPv6 the /64, which is the least that one host has all to itself (RFC 4291, 2.5.4); but each
/// link-local address for itself, since all of a link share their /64.
pub fn host(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(six) if !six.is_unicast_link_local() => {
            IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)))
        }
        _ => ip,
    }
}

/// The tables of all seats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visitors<'a>(pub &'a [AtomicU64]);

impl Visitors<'_> {
    /// Counts one more of `name`; only the seat's worker calls this. False: there is no place for the name.
    pub fn add(self, seat: usize, name: Name) -> bool {
        let table = self.table(seat);
        let free = |start: usize| table[start..start + WAYS].iter().filter(|word| is_free(word.load(Relaxed))).count();
        let found = find(table, name).or_else(|| {
            let [first, second] = name.buckets();
            // The emptier one: so the last place is taken late.
            let start = if free(second) > free(first) { second } else { first };
            table[start..start + WAYS].iter().find(|word| is_free(word.load(Relaxed)))
        });
        let Some(word) = found else { return false };
        let count = word.load(Relaxed) & COUNT;
        if count == COUNT {
            return false;
        }
        word.store(name.tag() | (count + 1), SeqCst);
        true
    }

    /// Counts one less of `name`; only the seat's worker calls this.
    pub fn remove(self, seat: usize, name: Name) {
        if let Some(word) = find(self.table(seat), name) {
            let count = (word.load(Relaxed) & COUNT).saturating_sub(1);
            word.store(if count == 0 { 0 } else { name.tag() | count }, Relaxed);
        }
    }

    /// How many of `name` the seat has.
    pub fn of(self, seat: usize, name: Name) -> u64 {
        find(self.table(seat), name).map_or(0, |word| word.load(SeqCst) & COUNT)
    }

    /// Wipes the table of a worker that is gone.
    pub fn clear(self, seat: usize) {
        self.table(seat).iter().for_each(|word| word.store(0, Relaxed));
    }

    fn table(&self, seat: usize) -> &[AtomicU64] {
        &self.0[seat * PLACES..(seat + 1) * PLACES]
    }
}

fn is_free(entry: u64) -> bool {
    entry & COUNT == 0
}

fn find(table: &[AtomicU64], name: Name) -> Option<&AtomicU64> {
    let is = |word: &&AtomicU64| {
        let entry = word.load(SeqCst);
        !is_free(entry) && entry & !COUNT == name.tag()
    };
    name.buckets().into_iter().find_map(|start| table[start..start + WAYS].iter().find(is))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn words(seats: usize) -> Vec<AtomicU64> {
        (0..seats * PLACES).map(|_| AtomicU64::new(0)).collect()
    }

    fn name(n: u32, key: &RandomState) -> Name {
        Name::of(IpAddr::V4(n.into()), key)
    }

    #[test]
    fn a_host_is_an_ipv4_address_or_a_64() {
        for (ip, is) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
            ("fe80::1:2", "fe80::1:2"),
        ] {
            assert_eq!(host(ip.parse().unwrap()), is.parse::<IpAddr>().unwrap());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// The board counts as a map does, whatever comes and goes in which order.
        #[test]
        fn it_counts_as_a_map(steps in proptest::collection::vec((0usize..2, 0u32..40, any::<bool>()), 0..400)) {
            let (words, key) = (words(2), RandomState::new());
            let (board, mut model) = (Visitors(&words), HashMap::<(usize, u32), u64>::new());
            for (seat, n, comes) in steps {
                let count = model.entry((seat, n)).or_default();
                if comes {
                    prop_assert!(board.add(seat, name(n, &key)));
                    *count += 1;
                } else if *count > 0 {
                    board.remove(seat, name(n, &key));
                    *count -= 1;
                }
            }
            for ((seat, n), count) in &model {
                prop_assert_eq!(board.of(*seat, name(*n, &key)), *count);
            }
            board.clear(0);
            for ((seat, n), count) in model {
                prop_assert_eq!(board.of(seat, name(n, &key)), if seat == 0 { 0 } else { count });
            }
        }
    }

    #[test]
    fn it_holds_the_addresses_of_the_default_limit_and_says_when_it_is_full() {
        let (words, key) = (words(1), RandomState::new());
        let board = Visitors(&words);
        let first_refused = (0..1 << 17).find(|n| !board.add(0, name(*n, &key)));
        let held = first_refused.expect("a full table");
        assert!((20_000..=u32::try_from(PLACES).unwrap()).contains(&held), "{held} addresses");
        assert!((0..held).all(|n| board.of(0, name(n, &key)) == 1));
        // Who is counted already still can be; what leaves makes room.
        assert!(board.add(0, name(0, &key)));
        (0..held).for_each(|n| board.remove(0, name(n, &key)));
        assert!(board.add(0, name(held, &key)));
        assert_eq!(words.iter().filter(|word| word.load(Relaxed) != 0).count(), 2);
    }
}
