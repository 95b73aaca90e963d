//! The store: its directory, its segments' names, life and recovery, the formats of its records, and reading them back.
//!
//! Promise: decisions (names, rotation windows, verdicts, formats) are pure; deeds are thin and may be repeated.

pub mod clock;
pub mod content;
pub mod directory;
pub mod disk;
pub mod escape;
pub mod failed;
pub mod index;
pub mod manifest;
pub mod names;
pub mod parse;
pub mod reader;
pub mod record;
pub mod recovery;
pub mod rescue;
pub mod schedule;
pub mod segment;
pub mod stamp;
