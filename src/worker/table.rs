//! The table of connections, and the queue of those with something to do.
//!
//! Promise: a key is never mistaken for a later connection in the same place; a connection stands in the queue once.
use super::connection::Connection;
use std::collections::VecDeque;

/// Names a connection for ever: its place, and how often that place was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Tokens below this are free for other uses.
    pub const FIRST_TOKEN: u64 = 1 << 16;

    /// The key as an epoll token.
    pub fn token(self) -> u64 {
        (u64::from(self.generation) << 32) + u64::from(self.index) + Self::FIRST_TOKEN
    }

    /// The key of a token at or above [`FIRST_TOKEN`](Self::FIRST_TOKEN).
    pub fn from_token(token: u64) -> Self {
        let token = token - Self::FIRST_TOKEN;
        let [low, high] = [token & u64::from(u32::MAX), token >> 32];
        Self { index: u32::try_from(low).unwrap_or(u32::MAX), generation: u32::try_from(high).unwrap_or(u32::MAX) }
    }
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    queued: bool,
    connection: Option<Box<Connection>>,
}

/// The connections of a worker.
#[derive(Debug, Default)]
pub struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    queue: VecDeque<Key>,
    count: usize,
}

impl Table {
    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The key that the next [`insert`](Self::insert) will use.
    pub fn next_key(&mut self) -> Key {
        let index = match self.free.last() {
            Some(&index) => index,
            None => {
                self.places.push(Place::default());
                let index = u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX);
                self.free.push(index);
                index
            }
        };
        Key { index, generation: self.places[index as usize].generation }
    }

    /// Takes in a connection.
    pub fn insert(&mut self, connection: Connection) -> Key {
        let key = self.next_key();
        self.free.pop();
        self.places[key.index as usize].connection = Some(Box::new(connection));
        self.count += 1;
        key
    }

    /// The connection, if it is still there.
    pub fn get(&mut self, key: Key) -> Option<&mut Connection> {
        let place = self.places.get_mut(key.index as usize).filter(|place| place.generation == key.generation)?;
        place.connection.as_deref_mut()
    }

    /// Takes the connection out for good.
    pub fn remove(&mut self, key: Key) -> Option<Box<Connection>> {
        self.get(key)?;
        let place = &mut self.places[key.index as usize];
        place.generation = place.generation.wrapping_add(1);
        place.queued = false;
        self.free.push(key.index);
        self.count -= 1;
        place.connection.take()
    }

    /// Puts the connection into the queue, unless it stands there.
    pub fn enqueue(&mut self, key: Key) {
        if let Some(place) = self.places.get_mut(key.index as usize)
            && place.generation == key.generation
            && !place.queued
        {
            place.queued = true;
            self.queue.push_back(key);
        }
    }

    /// The first `count` of the queue are this turn's.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The next one of the queue.
    pub fn dequeue(&mut self) -> Option<Key> {
        let key = self.queue.pop_front()?;
        if let Some(place) = self.places.get_mut(key.index as usize).filter(|place| place.generation == key.generation) {
            place.queued = false;
        }
        Some(key)
    }

    /// All keys.
    pub fn keys(&self) -> Vec<Key> {
        let filled = self.places.iter().enumerate().filter(|(_, place)| place.connection.is_some());
        filled.map(|(index, place)| Key { index: u32::try_from(index).unwrap_or(u32::MAX), generation: place.generation }).collect()
    }
}
