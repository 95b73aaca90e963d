//! The store: names, formats and rotation of its files.
pub mod names;
pub mod schedule;
