//! The store: names, formats and rotation of its files.
pub mod names;
pub mod schedule;
pub mod clock;
pub mod directory;
pub mod recovery;
pub mod segment;
