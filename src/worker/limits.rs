//! Telling of clients that went beyond a limit: counted always, logged a few times in a while.
use super::connection::Notice;
use super::guests::Refusal;
use crate::ipc::admission::Uncounted;
use crate::ipc::scoreboard::{Count, Scoreboard};
use crate::log::catalogue::{
    DENIED, ECHOES_NOT_READ, ENTRY_LATE, EVICTED, Event, FRAMING_BROKEN, HANDSHAKE_FAILED, MESSAGE_TOO_LARGE,
    NO_PROXY_HEADER, RATE_LIMITED, SILENT, TLS_BROKEN, TOO_MANY_OF_ADDRESS,
};
use crate::log::{self, Limiter};
use crate::sys::socket::Peer;

/// One limiter a kind, so that one kind does not hide another.
#[derive(Debug, Default)]
pub struct Limits {
    oversize: Limiter,
    malformed: Limiter,
    timeout: Limiter,
    proxy: Limiter,
    handshake: Limiter,
    denied: Limiter,
    crowd: Limiter,
    silence: Limiter,
    delay: Limiter,
}

impl Limits {
    /// Counts `notice` and logs it; `now` in milliseconds.
    pub fn tell(&self, notice: Notice, peer: Peer, scoreboard: &Scoreboard, now: u64) {
        match notice {
            Notice::Incomplete => scoreboard.add(Count::Incomplete, 1),
            Notice::Oversize => {
                scoreboard.add(Count::Oversize, 1);
                say(
                    &self.oversize,
                    now,
                    &MESSAGE_TOO_LARGE,
                    Some(&peer),
                    format_args!("{peer} sent a message above server.max-message-size; closing"),
                );
            }
            Notice::Malformed(why) => {
                scoreboard.add(Count::Malformed, 1);
                say(
                    &self.malformed,
                    now,
                    &FRAMING_BROKEN,
                    Some(&peer),
                    format_args!("{peer} broke the framing ({why}); closing"),
                );
            }
        }
    }

    /// Logs a client that did not read its echoes.
    pub fn tell_timeout(&self, peer: Peer, now: u64) {
        say(
            &self.timeout,
            now,
            &ECHOES_NOT_READ,
            Some(&peer),
            format_args!("{peer} did not read its echoes for limits.write-timeout; closed"),
        );
    }

    /// Logs a client that held memory with a message it did not finish, while others waited for it.
    pub fn tell_eviction(&self, peer: Peer, now: u64) {
        say(
            &self.timeout,
            now,
            &EVICTED,
            Some(&peer),
            format_args!("{peer} did not finish a message while memory was short; closing"),
        );
    }

    /// Logs a connection of a proxy that did not begin with a PROXY header.
    pub fn tell_no_header(&self, peer: Peer, now: u64) {
        say(
            &self.proxy,
            now,
            &NO_PROXY_HEADER,
            Some(&peer),
            format_args!("{peer}, one of proxy.from, sent no PROXY header; closing"),
        );
    }

    /// Logs a TLS handshake that failed.
    pub fn tell_handshake(&self, peer: Peer, error: &std::io::Error, now: u64) {
        say(
            &self.handshake,
            now,
            &HANDSHAKE_FAILED,
            Some(&peer),
            format_args!("TLS handshake with {peer} failed: {error}; closing"),
        );
    }

    /// Logs TLS that broke after its handshake.
    pub fn tell_broken(&self, peer: Peer, error: &std::io::Error, now: u64) {
        say(&self.handshake, now, &TLS_BROKEN, Some(&peer), format_args!("TLS with {peer} broke: {error}; closing"));
    }

    /// Logs a connection that did not come in in time.
    pub fn tell_late_entry(&self, peer: Peer, what: &str, now: u64) {
        say(&self.handshake, now, &ENTRY_LATE, Some(&peer), format_args!("{peer} did not bring {what}; closing"));
    }

    /// Counts a client that was turned away, and logs it.
    pub fn tell_refusal(&self, refusal: Refusal, peer: Peer, scoreboard: &Scoreboard, now: u64) {
        match refusal {
            Refusal::Denied => {
                scoreboard.add(Count::Denied, 1);
                say(
                    &self.denied,
                    now,
                    &DENIED,
                    Some(&peer),
                    format_args!("{peer} may not connect (limits.allow, limits.deny); closed"),
                );
            }
            Refusal::TooMany(why) => {
                scoreboard.add(Count::TooMany, 1);
                let why = match why {
                    Uncounted::TooMany => "limits.max-connections-per-ip is reached for its address",
                    Uncounted::NoPlace => "there are too many addresses to count",
                };
                say(
                    &self.crowd,
                    now,
                    &TOO_MANY_OF_ADDRESS,
                    Some(&peer),
                    format_args!("{peer} is one too many: {why}; closed"),
                );
            }
        }
    }

    /// Logs a client that sent no whole message in time.
    pub fn tell_silence(&self, peer: Peer, first: bool, now: u64) {
        let key = if first { "first-message-timeout" } else { "idle-timeout" };
        say(
            &self.silence,
            now,
            &SILENT,
            Some(&peer),
            format_args!("{peer} sent no whole message for limits.{key}; closing"),
        );
    }

    /// Logs a client whose address is over its rate.
    pub fn tell_delay(&self, peer: Peer, now: u64) {
        say(
            &self.delay,
            now,
            &RATE_LIMITED,
            Some(&peer),
            format_args!("{peer} waits: its address is over limits.max-rate-per-ip or max-byte-rate-per-ip"),
        );
    }
}

fn say(limiter: &Limiter, now: u64, event: &'static Event, peer: Option<&Peer>, text: std::fmt::Arguments<'_>) {
    let Some(more) = limiter.admit(now / 1000) else { return };
    let address = peer.map(host);
    let fields = peer.zip(address.as_ref()).map(|(peer, address)| [("peer", peer.into()), ("address", address.into())]);
    let fields = fields.as_ref().map_or(&[][..], <[_; 2]>::as_slice);
    match more {
        0 => log::write(event.level, Some(event), fields, text),
        _ => {
            log::write(event.level, Some(event), fields, format_args!("{text} ({more} more like this were not logged)"))
        }
    }
}

/// Who it is, whatever connection it is: the address without its port; of a Unix socket the user, `unix:UID`.
pub fn host(peer: &Peer) -> String {
    match peer {
        Peer::Inet(address) => address.ip().to_string(),
        Peer::Unix { uid, .. } => format!("unix:{uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_found_by_the_address_alone() {
        let inet = |text: &str| host(&Peer::of(text.parse().unwrap()));
        assert_eq!((inet("192.0.2.7:53210").as_str(), inet("[2001:db8::1]:5").as_str()), ("192.0.2.7", "2001:db8::1"));
        assert_eq!(inet("[::ffff:192.0.2.7]:5"), "192.0.2.7");
        assert_eq!(host(&Peer::Unix { pid: 7, uid: 1000 }), "unix:1000");
    }
}
