//! A connection that echoes what is due, and ends when nothing more is.
use super::super::echo;
use super::super::spare::Spare;
use super::{Connection, Phase, READ_MIN};
use std::io;

impl Connection {
    /// Echoes what is due and moves on: the bytes echoed. `HalfClosed` and `Refusing` end here once nothing is due.
    pub fn echo(&mut self, spare: &mut Spare) -> io::Result<usize> {
        let mut count = 0;
        if self.writable && self.transport.is_pending() {
            self.writable = self.transport.flush(spare)?;
        }
        if self.is_due() && self.writable {
            let from = usize::try_from(self.echoed - self.base).unwrap_or(usize::MAX);
            let to = usize::try_from(self.released - self.base).unwrap_or(usize::MAX);
            let sent = echo::send(&mut self.transport, self.buffer.get(from..to).unwrap_or_default(), spare)?;
            count = sent.bytes;
            self.writable = !sent.full && !self.transport.is_pending();
            self.echoed += count as u64;
            self.compact(spare);
        }
        let finished = self.echoed == self.decoded && !self.undecoded;
        if !finished || !matches!(self.phase, Phase::HalfClosed | Phase::Refusing) || !self.part(spare)? {
            return Ok(count);
        }
        match self.phase {
            Phase::HalfClosed => self.phase = Phase::Closed,
            _ => {
                self.transport.stream().finish()?;
                self.phase = Phase::Lingering;
                self.readable = true;
                self.give_back(spare);
            }
        }
        Ok(count)
    }

    /// The transport's own farewell; whether all of it is on its way.
    fn part(&mut self, spare: &mut Spare) -> io::Result<bool> {
        self.transport.part(spare);
        self.writable = self.transport.flush(spare)?;
        Ok(self.writable)
    }

    /// Drops echoed bytes when that is cheap: all at once when nothing else is there, else when they are the larger part.
    fn compact(&mut self, spare: &mut Spare) {
        let done = usize::try_from(self.echoed - self.base).unwrap_or(usize::MAX);
        if done == self.buffer.len() {
            self.give_back(spare);
        } else if done >= READ_MIN && done >= self.buffer.len() / 2 {
            self.drop_echoed();
        }
    }

    pub(super) fn drop_echoed(&mut self) {
        self.buffer.drain(..usize::try_from(self.echoed - self.base).unwrap_or(usize::MAX).min(self.buffer.len()));
        self.base = self.echoed;
    }
}
