//! Programs for people.
pub mod check;
