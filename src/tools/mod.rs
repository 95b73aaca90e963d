//! Programs for people: they read a store or a configuration file, and print.
pub mod cat;
pub mod check;
pub mod man;
pub mod verify;

#[cfg(test)]
mod golden;
