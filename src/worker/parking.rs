//! Connections that wait for something other than their socket: room in the outbox, or memory.
//!
//! Promise: a connection stands here once, and those that are gone take up no lasting room, however long the wait.
use super::table::{Key, Table};

/// A list of waiting connections.
#[derive(Debug, Default)]
pub struct Parking(Vec<Key>);

impl Parking {
    /// Adds `key`, unless it waits already.
    pub fn add(&mut self, key: Key, table: &mut Table) {
        let Some(connection) = table.get(key).filter(|connection| !connection.parked) else { return };
        connection.parked = true;
        if self.0.len() > 2 * table.len() {
            self.0.retain(|&key| table.get(key).is_some());
        }
        self.0.push(key);
    }

    /// Gives all of them a turn at `now`; until then they were not idle.
    pub fn release(&mut self, table: &mut Table, now: u64) {
        for key in self.0.drain(..) {
            if let Some(connection) = table.get(key) {
                connection.parked = false;
                connection.active = now;
                table.enqueue(key);
            }
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
