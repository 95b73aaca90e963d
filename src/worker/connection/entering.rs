//! A connection that has still to come in: see [`crate::worker`]'s `entry`.
use super::super::spare::Spare;
use super::{Connection, Phase};
use crate::store::record::Head;
use std::io;

/// A read before the first message: a TLS record.
const NEGOTIATE_MAX: usize = 16 << 10;

impl Connection {
    /// It still has to come in.
    pub fn enter_first(&mut self) {
        self.phase = Phase::Entering;
    }

    /// It has come in at `now`, perhaps with its first bytes.
    pub fn has_entered(&mut self, head: Head, now: u64) {
        self.head = head;
        self.phase = Phase::Open;
        self.active = now;
        self.undecoded = !self.buffer.is_empty();
    }

    /// Takes the next step of its transport's own (a handshake), with the bytes that are there. Whether there may be more.
    ///
    /// # Errors
    /// The connection is broken, or the client has left.
    pub fn negotiate(&mut self, spare: &mut Spare) -> io::Result<bool> {
        let taken = self.transport.read(&mut self.buffer, NEGOTIATE_MAX, spare)?;
        if taken.end.is_some() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.writable = self.transport.flush(spare)?;
        // A socket that gave nothing is empty, whatever came with what it gave before.
        self.readable = !taken.drained || (self.ending && taken.wire > 0);
        Ok(self.readable)
    }

    /// The socket may have bytes for it.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// It has none, until the socket says so.
    pub fn wait_for_bytes(&mut self) {
        self.readable = self.ending;
    }
}
