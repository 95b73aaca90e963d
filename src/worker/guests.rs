//! Who may come in: by address, and by how many of that address are inside already.
//!
//! A peer is judged once its address is known: right after `accept`, or later, when a proxy has named it. What it is given
//! then, a [`Visit`], is given back when the connection ends.
use super::access::Ending;
use crate::config::Limits;
use crate::ipc::admission::{Admission, Uncounted};
use crate::ipc::visitors::Name;
use crate::sys::socket::Peer;
use ipnet::IpNet;
use std::net::IpAddr;

/// The rules.
#[derive(Debug)]
pub struct Guests {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    most: Option<u32>,
    seat: usize,
}

/// The stay of a connection whose address is known.
#[must_use = "it is to be given back by `Guests::leave`"]
#[derive(Debug)]
pub struct Visit {
    /// Its address on the boards.
    pub name: Name,
    counted: bool,
}

/// Why a client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its address is denied, or not allowed.
    Denied,
    /// Its address has enough connections, or cannot be counted.
    TooMany(Uncounted),
}

impl Refusal {
    /// For the access log.
    pub fn ending(self) -> Ending {
        match self {
            Self::Denied => Ending::Denied,
            Self::TooMany(_) => Ending::TooMany,
        }
    }
}

impl Guests {
    /// The rules of `limits`, for the worker at `seat`.
    pub fn new(limits: &Limits, seat: usize) -> Self {
        Self { allow: limits.allow.clone(), deny: limits.deny.clone(), most: limits.max_connections_per_ip, seat }
    }

    /// Judges a peer that has entered, and counts it. A peer of a Unix socket has no address: nothing here is for it.
    ///
    /// # Errors
    /// It must go, and nothing was counted.
    pub fn judge(&self, peer: Peer, admission: &Admission) -> Result<Option<Visit>, Refusal> {
        let Peer::Inet(address) = peer else { return Ok(None) };
        if !is_allowed(&self.allow, &self.deny, address.ip()) {
            return Err(Refusal::Denied);
        }
        let name = admission.name(address.ip());
        // Counted also without a limit: the next generation may have one.
        match admission.visit(self.seat, name, self.most) {
            Ok(()) => Ok(Some(Visit { name, counted: true })),
            Err(Uncounted::NoPlace) if self.most.is_none() => Ok(Some(Visit { name, counted: false })),
            Err(why) => Err(Refusal::TooMany(why)),
        }
    }

    /// The connection has ended; it leaves the admission board after this.
    pub fn leave(&self, visit: Visit, admission: &Admission) {
        if visit.counted {
            admission.depart(self.seat, visit.name);
        }
    }
}

/// Whether `ip` may come in: the most specific rule that matches says it, `deny` if two are equal. If none matches: only
/// where `allow` is empty.
fn is_allowed(allow: &[IpNet], deny: &[IpNet], ip: IpAddr) -> bool {
    let best = |rules: &[IpNet]| rules.iter().filter(|rule| rule.contains(&ip)).map(IpNet::prefix_len).max();
    match (best(allow), best(deny)) {
        (None, None) => allow.is_empty(),
        (allowed, denied) => allowed > denied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(allow: &[&str], deny: &[&str], ip: &str) -> bool {
        let rules = |texts: &[&str]| -> Vec<IpNet> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        is_allowed(&rules(allow), &rules(deny), ip.parse().unwrap())
    }

    #[test]
    fn the_most_specific_rule_counts_and_deny_on_a_tie() {
        let cases: &[(&[&str], &[&str], &str, bool)] = &[
            (&[], &[], "192.0.2.1", true),
            (&[], &["192.0.2.0/24"], "192.0.2.1", false),
            (&[], &["192.0.2.0/24"], "192.0.3.1", true),
            (&["192.0.2.0/24"], &[], "192.0.2.1", true),
            (&["192.0.2.0/24"], &[], "192.0.3.1", false),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.2.3", false),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], "10.2.2.3", true),
            (&["10.1.2.0/24"], &["10.1.0.0/16"], "10.1.2.3", true),
            (&["10.0.0.0/8", "10.1.2.3/32"], &["10.1.0.0/16"], "10.1.2.3", true),
            (&["10.0.0.0/8", "10.1.2.3/32"], &["10.1.0.0/16"], "10.1.2.4", false),
            (&["10.1.2.3/32"], &["10.1.2.3/32"], "10.1.2.3", false),
            (&["0.0.0.0/0"], &["0.0.0.0/0"], "10.1.2.3", false),
            // A rule of one family says nothing of the other.
            (&["0.0.0.0/0"], &[], "2001:db8::1", false),
            (&["::/0"], &["2001:db8::/32"], "2001:db8::1", false),
            (&["::/0", "2001:db8::1/128"], &["2001:db8::/32"], "2001:db8::1", true),
            (&[], &["0.0.0.0/0"], "::1", true),
        ];
        for (allow, deny, ip, allowed) in cases {
            assert_eq!(verdict(allow, deny, ip), *allowed, "{ip}: allow {allow:?}, deny {deny:?}");
        }
    }
}
