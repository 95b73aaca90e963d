//! What to print: records by time, peer and message. Pure, but for the clock that an age is counted from.
use std::net::{IpAddr, SocketAddr};

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use regex::bytes::Regex;

use crate::config::units;
use crate::store::manifest::Seal;
use crate::store::parse::Record;
use crate::store::stamp::Stamp;

/// Which records are wanted: those that all of these hold for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Received then or later.
    pub since: Option<Stamp>,
    /// Received before.
    pub until: Option<Stamp>,
    /// From there.
    pub peer: Option<Peer>,
    /// The message, in its exact bytes, has a match.
    pub grep: Option<Regex>,
}

/// Where a record came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Any port of these addresses: those that have the first so many bits.
    Net(IpAddr, u8),
    /// One address and port.
    Socket(SocketAddr),
    /// Any process, or this one, over a Unix socket.
    Unix(Option<u32>),
}

impl Selection {
    /// Every record is wanted.
    pub fn is_all(&self) -> bool {
        !self.needs_fields() && self.grep.is_none()
    }

    /// It asks for what a `raw` record does not tell.
    pub fn needs_fields(&self) -> bool {
        self.since.is_some() || self.until.is_some() || self.peer.is_some()
    }

    /// It asks for a time.
    pub fn needs_time(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether this record is wanted.
    pub fn wants(&self, record: &Record<'_>) -> bool {
        // Stamps have one length and one form, so that they sort as text.
        let time = record.time.as_bytes();
        self.since.as_ref().is_none_or(|since| time >= since.as_bytes())
            && self.until.as_ref().is_none_or(|until| time < until.as_bytes())
            && self.peer.as_ref().is_none_or(|peer| peer.is(record.peer))
            && self.grep.as_ref().is_none_or(|grep| grep.is_match(&record.message))
    }

    /// Whether a record of the sealed segment may be wanted, by its times.
    pub fn may_want(&self, seal: &Seal) -> bool {
        let (Some(lowest), Some(highest)) = (&seal.lowest, &seal.highest) else { return true };
        self.since.as_ref().is_none_or(|since| highest.as_bytes() >= since.as_bytes())
            && self.until.as_ref().is_none_or(|until| lowest.as_bytes() < until.as_bytes())
    }
}

impl Peer {
    /// `192.0.2.7`, `192.0.2.7:53210`, `192.0.2.0/24`, `2001:db8::1`, `[2001:db8::1]:53210`, `unix`, `unix:1234`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let address = |text: &str| text.parse::<IpAddr>().ok();
        let peer = if text == "unix" {
            Some(Self::Unix(None))
        } else if let Some(pid) = text.strip_prefix("unix:") {
            pid.parse().ok().map(|pid| Self::Unix(Some(pid)))
        } else if let Some((net, bits)) = text.split_once('/') {
            let longest = |net: &IpAddr| if net.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse::<u8>().ok();
            address(net).zip(bits).filter(|(net, bits)| *bits <= longest(net)).map(|(net, bits)| Self::Net(net, bits))
        } else if let Ok(socket) = text.parse() {
            Some(Self::Socket(socket))
        } else {
            let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
            address(bare).map(|ip| Self::Net(ip, if ip.is_ipv4() { 32 } else { 128 }))
        };
        peer.ok_or_else(|| "an address, ADDRESS:PORT, [IPV6]:PORT, ADDRESS/BITS, unix or unix:PID".to_owned())
    }

    fn is(&self, peer: &str) -> bool {
        if let Some(pid) = peer.strip_prefix("unix:") {
            return match self {
                Self::Unix(None) => true,
                Self::Unix(Some(wanted)) => pid.split(':').next().and_then(|pid| pid.parse().ok()) == Some(*wanted),
                _ => false,
            };
        }
        let Ok(socket) = peer.parse::<SocketAddr>() else { return false };
        match self {
            Self::Unix(_) => false,
            Self::Socket(wanted) => {
                socket.port() == wanted.port() && socket.ip().to_canonical() == wanted.ip().to_canonical()
            }
            Self::Net(net, bits) => in_net(*net, *bits, socket.ip()),
        }
    }
}

fn in_net(net: IpAddr, bits: u8, address: IpAddr) -> bool {
    match (net, address.to_canonical()) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            (net.to_bits() ^ address.to_bits()) & mask == 0
        }
        (IpAddr::V6(net), _) => {
            let address = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            (net.to_bits() ^ address.to_bits()) & mask == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    }
}

/// A time as people write it: RFC 3339, `2026-11-22`, `2026-11-22 08:42`, `2026-11-22 08:42:00` (UTC), or an age before
/// `now`, such as `90s`, `1h30m`, `2d`.
///
/// # Errors
/// What is allowed.
pub fn moment(text: &str, now_micros: i64) -> Result<Stamp, String> {
    if let Ok(age) = units::parse_time(text) {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        return Ok(Stamp::new(now_micros.saturating_sub(age)));
    }
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_micros()).ok();
    let plain = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    zoned
        .or_else(|| plain.or_else(day).map(|time| time.and_utc().timestamp_micros()))
        .map(Stamp::new)
        .ok_or_else(|| "YYYY-MM-DD[ HH:MM[:SS]] (UTC), RFC 3339, or an age such as 90s, 1h30m, 2d".to_owned())
}

/// A regular expression over bytes.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let message = error.to_string();
        // The crate draws the pattern first; its last line says what is wrong.
        let last = message.lines().last().unwrap_or_default();
        last.strip_prefix("error: ").unwrap_or(last).to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn at(text: &str) -> Stamp {
        Stamp::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn moments() {
        let now = 1_795_336_920_123_456; // 2026-11-22T08:42:00.123456Z
        for (text, expected) in [
            ("2026-11-22", "2026-11-22T00:00:00.000000Z"),
            ("2026-11-22 08:41", "2026-11-22T08:41:00.000000Z"),
            ("2026-11-22 08:41:07", "2026-11-22T08:41:07.000000Z"),
            ("2026-11-22T08:41:07.25", "2026-11-22T08:41:07.250000Z"),
            ("2026-11-22T08:41:07.123456Z", "2026-11-22T08:41:07.123456Z"),
            ("2026-11-22T10:41:07+02:00", "2026-11-22T08:41:07.000000Z"),
            ("1h", "2026-11-22T07:42:00.123456Z"),
            ("1d2h", "2026-11-21T06:42:00.123456Z"),
            ("0", "2026-11-22T08:42:00.123456Z"),
            ("99999999w", "0000-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(moment(text, now), Ok(at(expected)), "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01", "1", "-1h", "2026-11-22 25:00", "1.5h"] {
            assert!(moment(bad, now).unwrap_err().contains("YYYY-MM-DD"), "{bad}");
        }
    }

    #[test]
    fn peers() {
        for (wanted, here, elsewhere) in [
            ("192.0.2.7", "192.0.2.7:1", "192.0.2.8:1"),
            ("192.0.2.7:53210", "192.0.2.7:53210", "192.0.2.7:53211"),
            ("192.0.2.0/24", "192.0.2.255:9", "192.0.3.0:9"),
            ("0.0.0.0/0", "192.0.2.255:9", "[2001:db8::1]:9"),
            ("2001:db8::1", "[2001:db8::1]:9", "[2001:db8::2]:9"),
            ("[2001:db8::1]", "[2001:db8::1]:9", "192.0.2.7:9"),
            ("[2001:db8::1]:9", "[2001:db8::1]:9", "[2001:db8::1]:8"),
            ("2001:db8::/32", "[2001:db8:1::1]:9", "[2001:db9::1]:9"),
            ("192.0.2.7", "[::ffff:192.0.2.7]:9", "unix:7"),
            ("::/0", "[2001:db8::1]:9", "unix:0"),
            ("unix", "unix:0", "127.0.0.1:9"),
            ("unix:77", "unix:77", "unix:78"),
            ("unix:77", "unix:77:1000", "unix:7:77"),
        ] {
            let wanted = Peer::parse(wanted).unwrap();
            assert!(wanted.is(here) && !wanted.is(elsewhere), "{wanted:?}");
        }
        for bad in ["", "host", "192.0.2", "192.0.2.0/33", "::/129", "unix:x", "[::1", "1:2", "192.0.2.7/"] {
            assert!(Peer::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_that_is_asked_for_must_hold() {
        let record = |time, message: &'static [u8]| Record {
            time,
            peer: "127.0.0.1:9",
            subject: None,
            connection: "A",
            n: 1,
            message: Cow::Borrowed(message),
        };
        let early = record("2026-11-22T08:42:00.000000Z", b"one \xff");
        let late = record("2026-11-22T08:43:00.000000Z", b"two");
        let since = Selection { since: Some(at("2026-11-22T08:43:00.000000Z")), ..Selection::default() };
        assert!(!since.wants(&early) && since.wants(&late) && since.needs_fields() && !since.is_all());
        let until = Selection { until: since.since, ..Selection::default() };
        assert!(until.wants(&early) && !until.wants(&late));
        let grep = Selection { grep: Some(pattern(r"(?-u)\xff$").unwrap()), ..Selection::default() };
        assert!(grep.wants(&early) && !grep.wants(&late) && !grep.needs_fields() && !grep.is_all());
        let none = Selection { peer: Some(Peer::parse("unix").unwrap()), ..grep };
        assert!(!none.wants(&early));
        assert!(Selection::default().is_all());
    }

    #[test]
    fn segments_by_their_times() {
        let seal = |lowest: &str, highest: &str| Seal {
            segment: String::new(),
            records: 1,
            bytes: 1,
            lowest: Some(lowest.into()),
            highest: Some(highest.into()),
            good_to: None,
            torn: None,
            acknowledged: None,
            blake3: String::new(),
        };
        let hour = Selection {
            since: Some(at("2026-11-22T08:00:00.000000Z")),
            until: Some(at("2026-11-22T09:00:00.000000Z")),
            ..Selection::default()
        };
        let may = |lowest, highest| hour.may_want(&seal(lowest, highest));
        assert!(may("2026-11-22T07:00:00.000000Z", "2026-11-22T08:00:00.000000Z"));
        assert!(may("2026-11-22T07:00:00.000000Z", "2026-11-22T10:00:00.000000Z"));
        assert!(!may("2026-11-22T07:00:00.000000Z", "2026-11-22T07:59:59.999999Z"));
        assert!(!may("2026-11-22T09:00:00.000000Z", "2026-11-22T09:30:00.000000Z"));
        assert!(hour.may_want(&Seal { lowest: None, highest: None, ..seal("", "") }));
    }

    #[test]
    fn what_is_wrong_with_a_pattern_is_one_line() {
        assert_eq!(pattern("a(").unwrap_err(), "unclosed group");
        for bad in ["(", "[z-a]", "*", "\\q", "a{99999999}"] {
            assert_eq!(pattern(bad).unwrap_err().lines().count(), 1, "{bad}");
        }
    }
}
