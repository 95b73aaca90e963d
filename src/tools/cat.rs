//! `cat`: all records of a store, in order, on standard output: [`tail`](super::tail) from the oldest on, and without
//! following. How they are printed: [`show`](super::show).
use std::io::{self, Write};
use std::path::Path;

use super::select::Selection;
use super::show::{Look, Show};
use super::tail::{self, Request};
use crate::config::Format;

/// Prints the records of the store in `directory` to any output, as `format` or as stored; `complaints` takes what is meant
/// for standard error. Returns the exit code.
///
/// # Errors
/// `out` cannot be written. What cannot be read is a complaint instead.
pub fn copy(directory: &Path, format: Option<Format>, out: impl Write, complaints: impl Write) -> io::Result<u8> {
    let request = Request { format, ..Request::all(directory) };
    let look = Look { format, ..Look::default() };
    let mut show = Show::new(look, Selection::default(), out, complaints);
    tail::read(&request, &mut show, None, None)
}

#[cfg(test)]
mod tests;
