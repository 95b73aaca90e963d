//! What the worker tells of itself: its counts, every turn; and who is busiest, when a person asks.
use super::Worker;
use super::connection::Connection;
use super::table::Key;
use crate::ipc::control::ToSupervisor;
use crate::ipc::histogram::{self, Series};
use crate::ipc::report::{Guest, MOST_GUESTS};
use crate::ipc::scoreboard::Count;
use crate::log;

/// For how long it is counted who sends, in milliseconds.
const SPAN: u64 = 1000;

/// A person has asked who is busiest, and it is being counted.
#[derive(Debug)]
pub struct Sample {
    /// In milliseconds of the worker's clock.
    began: u64,
    /// Messages and bytes that had come over each connection by then, in the order of their keys.
    before: Vec<(Key, [u64; 2])>,
}

impl Sample {
    /// When it has been counted for long enough.
    pub fn ends(&self) -> u64 {
        self.began + SPAN
    }

    /// What has come over a connection since, a second: of a newer one all.
    fn rates(&self, key: Key, counts: [u64; 2], now: u64) -> [u64; 2] {
        let known = self.before.binary_search_by_key(&key, |(key, _)| *key).ok();
        let [messages, bytes] = known.and_then(|at| self.before.get(at)).map_or([0; 2], |(_, before)| *before);
        let span = now.saturating_sub(self.began).max(1);
        [counts[0].saturating_sub(messages), counts[1].saturating_sub(bytes)]
            .map(|more| more.saturating_mul(1000).saturating_add(span / 2) / span)
    }
}

impl Worker {
    /// What a turn has changed, for the scoreboard.
    pub(super) fn tell_counts(&mut self) {
        let scoreboard = &self.scoreboard;
        scoreboard.set(Count::Connections, self.table.len() as u64);
        match self.outbox.oldest() {
            Some(since) => scoreboard.stamp(Count::Oldest, since),
            None => scoreboard.set(Count::Oldest, 0),
        }
        scoreboard.set(Count::LogDropped, log::dropped());
        self.count_echoes();
    }

    /// Messages that were released.
    pub(super) fn count_echoes(&mut self) {
        let scoreboard = &self.scoreboard;
        for (waited, messages) in self.outbox.freed() {
            scoreboard.observe(Series::Echo, histogram::micros(waited), u64::from(messages));
            scoreboard.add(Count::Echoes, u64::from(messages));
        }
    }

    /// Begins to count who is busiest. It is asked by a person, and walks over all connections, as does its end.
    pub(super) fn begin_sample(&mut self) {
        let mut before = Vec::with_capacity(self.table.len());
        for key in self.table.keys() {
            before.extend(self.table.get(key).map(|connection| (key, received(connection))));
        }
        self.sample = Some(Sample { began: self.now, before });
    }

    /// Names the busiest connections, once they are counted.
    pub(super) fn end_sample(&mut self) {
        let Some(sample) = self.sample.take_if(|sample| self.now >= sample.ends()) else { return };
        let mut guests: Vec<Guest> = Vec::new();
        for key in self.table.keys() {
            let Some(connection) = self.table.get(key) else { continue };
            let (number, began, peer) = (connection.story.number, connection.story.began, connection.peer);
            let counts @ [messages, bytes] = received(connection);
            let [messages_per_second, bytes_per_second] = sample.rates(key, counts, self.now);
            guests.push(Guest {
                peer: peer.to_string(),
                connection: if number > 0 { self.id(number).to_string() } else { String::new() },
                messages_per_second,
                bytes_per_second,
                messages,
                bytes,
                seconds: self.now.saturating_sub(began) / 1000,
            });
            if guests.len() >= 2 * MOST_GUESTS {
                keep_busiest(&mut guests);
            }
        }
        keep_busiest(&mut guests);
        guests.into_iter().for_each(|guest| self.channel.send(ToSupervisor::Guest(guest)));
        self.channel.send(ToSupervisor::Counted);
    }
}

/// Messages and bytes.
fn received(connection: &Connection) -> [u64; 2] {
    [connection.story.messages, connection.bytes()[0]]
}

fn keep_busiest(guests: &mut Vec<Guest>) {
    guests.sort_by(Guest::busier_first);
    guests.truncate(MOST_GUESTS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_came_since_for_each_second() {
        let key = |index: u64| Key::from_token(Key::FIRST_TOKEN + index);
        let sample = Sample { began: 500, before: vec![(key(1), [10, 100]), (key(4), [7, 70])] };
        assert_eq!(sample.ends(), 1500);
        assert_eq!(sample.rates(key(1), [30, 500], 1500), [20, 400]);
        assert_eq!(sample.rates(key(4), [7, 70], 1500), [0, 0]);
        assert_eq!(sample.rates(key(4), [8, 80], 1503), [1, 10], "rounded");
        assert_eq!(sample.rates(key(4), [27, 90], 2500), [10, 10]);
        // Newer ones: at another place, or at a place that another one had.
        assert_eq!(sample.rates(key(2), [5, 50], 1500), [5, 50]);
        assert_eq!(sample.rates(key(1 + (1 << 32)), [5, 50], 1500), [5, 50]);
    }
}
