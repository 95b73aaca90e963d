//! The store: names, formats and rotation of its files.
pub mod escape;
pub mod parse;
pub mod record;
pub mod stamp;
