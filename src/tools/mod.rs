//! Programs for people: they read a store or a configuration file, or ask the running daemon, and print.
pub mod bench;
pub mod carrier;
pub mod cat;
pub mod check;
pub mod control;
pub mod figures;
pub mod man;
pub mod select;
pub mod send;
pub mod show;
pub mod tail;
pub mod top;
pub mod verify;

#[cfg(test)]
mod golden;
