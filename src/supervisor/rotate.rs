//! Rotations that were asked for: each request has a number, and the writer says which are done.
//!
//! Promise: a request outlives the writer that it was told to. One is told at a time, so that requests never pile up.
use super::Supervisor;
use crate::ipc::control::ToWriter;

/// What was asked, told and done. Pure.
#[derive(Debug, Default)]
pub struct Rotations {
    asked: u64,
    told: u64,
    done: u64,
    /// Why the one that was told is not done yet.
    pub trouble: Option<String>,
}

impl Rotations {
    /// A new request; returns its number.
    pub fn ask(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    /// The request to tell the writer now, all earlier ones included.
    pub fn due(&mut self) -> Option<u64> {
        let due = self.asked > self.done && self.told <= self.done;
        due.then(|| {
            self.told = self.asked;
            self.asked
        })
    }

    /// All up to this one are done.
    pub fn finish(&mut self, number: u64) {
        self.done = self.done.max(number);
        self.trouble = None;
    }

    /// There is another writer: what was told is told again.
    pub fn tell_again(&mut self) {
        self.told = self.done;
    }

    /// Whether this one is done.
    pub fn is_done(&self, number: u64) -> bool {
        self.done >= number
    }
}

impl Supervisor {
    /// Tells a writer that serves what was asked.
    pub(super) fn tell_rotation(&mut self) {
        if let Some(writer) = self.writer.as_mut().filter(|writer| writer.ready)
            && let Some(number) = self.rotations.due()
        {
            writer.channel.send(ToWriter::Rotate(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_at_a_time_and_the_next_writer_is_told_again() {
        let mut rotations = Rotations::default();
        assert_eq!(rotations.due(), None);
        assert_eq!((rotations.ask(), rotations.ask()), (1, 2));
        assert_eq!(rotations.due(), Some(2));
        assert_eq!((rotations.ask(), rotations.due()), (3, None));
        rotations.finish(2);
        assert_eq!((rotations.is_done(2), rotations.is_done(3), rotations.due()), (true, false, Some(3)));
        rotations.tell_again();
        assert_eq!((rotations.due(), rotations.due()), (Some(3), None));
        rotations.finish(3);
        rotations.tell_again();
        assert_eq!(rotations.due(), None);
    }
}
