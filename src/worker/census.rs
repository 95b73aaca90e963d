//! What the worker tells of itself: its counts, every turn; and who is busiest, when a person asks.
use super::Worker;
use crate::ipc::control::ToSupervisor;
use crate::ipc::histogram::{self, Series};
use crate::ipc::report::{Guest, MOST_GUESTS};
use crate::ipc::scoreboard::Count;
use crate::log;

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

    /// Names the busiest connections. It is asked by a person, and walks over all of them once.
    pub(super) fn tell_guests(&mut self) {
        let mut guests: Vec<Guest> = Vec::new();
        for key in self.table.keys() {
            let Some(connection) = self.table.get(key) else { continue };
            let (story, [bytes, _]) = (&connection.story, connection.bytes());
            let (number, messages, began, peer) = (story.number, story.messages, story.began, connection.peer);
            guests.push(Guest {
                peer: peer.to_string(),
                connection: if number > 0 { self.id(number).to_string() } else { String::new() },
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

fn keep_busiest(guests: &mut Vec<Guest>) {
    guests.sort_by(Guest::busier_first);
    guests.truncate(MOST_GUESTS);
}
