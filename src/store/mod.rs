//! The store: names, formats and rotation of its files.
pub mod escape;
pub mod names;
pub mod parse;
pub mod reader;
pub mod record;
pub mod schedule;
pub mod stamp;
