//! Telling of clients that went beyond a limit: counted always, logged a few times in a while.
use super::connection::Notice;
use crate::ipc::scoreboard::{Count, Scoreboard};
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

    /// Logs a connection that did not come in in time.
    pub fn tell_late_entry(&self, peer: Peer, what: &str, now: u64) {
        say(&self.handshake, now, format_args!("{peer} did not bring {what}; closing"));
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
