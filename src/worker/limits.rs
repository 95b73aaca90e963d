//! Telling of clients that went beyond a limit: counted always, logged a few times in a while.
use super::connection::Notice;
use super::guests::Refusal;
use crate::ipc::scoreboard::{Count, Scoreboard, Uncounted};
use crate::log::Limiter;
use crate::sys::socket::Peer;

/// One limiter a kind, so that one kind does not hide another.
#[derive(Debug, Default)]
pub struct Limits {
    oversize: Limiter,
    malformed: Limiter,
    timeout: Limiter,
    exhausted: Limiter,
    full: Limiter,
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
                say(&self.oversize, now, format_args!("{peer} sent a message above server.max-message-size; closing"));
            }
            Notice::Malformed(why) => {
                scoreboard.add(Count::Malformed, 1);
                say(&self.malformed, now, format_args!("{peer} broke the framing ({why}); closing"));
            }
        }
    }

    /// Logs a client that did not read its echoes.
    pub fn tell_timeout(&self, peer: Peer, now: u64) {
        say(&self.timeout, now, format_args!("{peer} did not read its echoes for limits.write-timeout; closed"));
    }

    /// Logs a client that held memory with a message it did not finish, while others waited for it.
    pub fn tell_eviction(&self, peer: Peer, now: u64) {
        say(&self.timeout, now, format_args!("{peer} did not finish a message while memory was short; closing"));
    }

    /// Logs a connection of a proxy that did not begin with a PROXY header.
    pub fn tell_no_header(&self, peer: Peer, now: u64) {
        say(&self.proxy, now, format_args!("{peer}, one of proxy.from, sent no PROXY header; closing"));
    }

    /// Logs a TLS handshake that failed.
    pub fn tell_handshake(&self, peer: Peer, error: &std::io::Error, now: u64) {
        say(&self.handshake, now, format_args!("TLS handshake with {peer} failed: {error}; closing"));
    }

    /// Logs TLS that broke after its handshake.
    pub fn tell_broken(&self, peer: Peer, error: &std::io::Error, now: u64) {
        say(&self.handshake, now, format_args!("TLS with {peer} broke: {error}; closing"));
    }

    /// Logs a connection that did not come in in time.
    pub fn tell_late_entry(&self, peer: Peer, what: &str, now: u64) {
        say(&self.handshake, now, format_args!("{peer} did not bring {what}; closing"));
    }

    /// Counts a client that was turned away, and logs it.
    pub fn tell_refusal(&self, refusal: Refusal, peer: Peer, scoreboard: &Scoreboard, now: u64) {
        match refusal {
            Refusal::Denied => {
                scoreboard.add(Count::Denied, 1);
                say(&self.denied, now, format_args!("{peer} may not connect (limits.allow, limits.deny); closed"));
            }
            Refusal::TooMany(why) => {
                scoreboard.add(Count::TooMany, 1);
                let why = match why {
                    Uncounted::TooMany => "limits.max-connections-per-ip is reached for its address",
                    Uncounted::NoPlace => "there are too many addresses to count",
                };
                say(&self.crowd, now, format_args!("{peer} is one too many: {why}; closed"));
            }
        }
    }

    /// Logs a client that sent no whole message in time.
    pub fn tell_silence(&self, peer: Peer, first: bool, now: u64) {
        let key = if first { "first-message-timeout" } else { "idle-timeout" };
        say(&self.silence, now, format_args!("{peer} sent no whole message for limits.{key}; closing"));
    }

    /// Logs a client whose address is over its rate.
    pub fn tell_delay(&self, peer: Peer, now: u64) {
        say(
            &self.delay,
            now,
            format_args!("{peer} waits: its address is over limits.max-rate-per-ip or max-byte-rate-per-ip"),
        );
    }

    /// Logs that the connections of all workers are at the limit.
    pub fn tell_full(&self, now: u64) {
        say(&self.full, now, format_args!("limits.max-connections is reached; new clients wait until others leave"));
    }

    /// Logs that no connection can be accepted.
    pub fn tell_exhausted(&self, error: &std::io::Error, now: u64) {
        say(
            &self.exhausted,
            now,
            format_args!("cannot accept a connection: {error}; trying again; raise LimitNOFILE= if this lasts"),
        );
    }
}

fn say(limiter: &Limiter, now: u64, text: std::fmt::Arguments<'_>) {
    match limiter.admit(now / 1000) {
        None => {}
        Some(0) => crate::warn!("{text}"),
        Some(more) => crate::warn!("{text} ({more} more like this were not logged)"),
    }
}
