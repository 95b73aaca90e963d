//! Programs for people: they read a store, or talk to a daemon, and print.
pub mod cat;
pub mod verify;

#[cfg(test)]
mod golden;
