//! What can be wrong with a configuration, as the operator reads it. One line each, and never a raw control byte of
//! the file in it: the text goes to terminals and logs.
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why there is no configuration. Exit code 78; on reload the old one stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read, or is not a regular file.
    Unreadable {
        /// As it was given.
        file: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// The file is larger than [`super::MAX_FILE_SIZE`].
    TooLarge {
        /// As it was given.
        file: PathBuf,
    },
    /// Relative paths mean nothing: the working directory is gone or closed to this user.
    NoWorkingDirectory {
        /// The system's reason.
        why: String,
    },
    /// Something in the file is wrong.
    Invalid {
        /// As it was given.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// With its table, `server.workers`; empty where the fault belongs to no key.
        key: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, why } => {
                write!(f, "cannot read configuration {}: {why}; give another with --config FILE", file.display())
            }
            Self::TooLarge { file } => {
                let most = super::units::format_size(super::MAX_FILE_SIZE);
                write!(
                    f,
                    "cannot read configuration {}: larger than {most}; give another with --config FILE",
                    file.display()
                )
            }
            Self::NoWorkingDirectory { why } => {
                write!(
                    f,
                    "cannot find the working directory, which relative paths start from: {why}; change to another and try again"
                )
            }
            Self::Invalid { file, line, column, key, problem } => {
                write!(f, "{}:{line}:{column}: ", file.display())?;
                if !key.is_empty() {
                    write!(f, "{key}: ")?;
                }
                f.write_str(problem)
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// A fault and its place in the text, before the text's lines are counted.
#[derive(Debug)]
pub(super) struct Fault {
    /// Bytes from the start of the text.
    pub at: usize,
    pub key: String,
    pub problem: String,
}

impl Fault {
    /// The error for people.
    pub fn locate(self, text: &str, file: &Path) -> ConfigError {
        let (line, column) = position(text, self.at);
        ConfigError::Invalid { file: file.to_owned(), line, column, key: self.key, problem: self.problem }
    }
}

/// Line and column, from 1, the column in characters. A byte order mark counts for nothing, as in editors.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let before = &text[..at];
    let before = before.strip_prefix('\u{feff}').unwrap_or(before);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// At most this many characters of the file appear in a message.
const SHOWN: usize = 48;

/// A piece of the file as a message may show it: one line, short, control characters escaped.
pub(super) fn shown(text: &str, span: Range<usize>) -> String {
    excerpt(text.get(span).unwrap_or_default())
}

/// See [`shown`].
pub(super) fn excerpt(piece: &str) -> String {
    let mut out = String::new();
    for (n, c) in piece.chars().enumerate() {
        if n == SHOWN {
            out.push('…');
            break;
        }
        // Quotes and backslashes stay as the file has them; only what cannot be seen or misleads is escaped.
        if matches!(c, '"' | '\'' | '\\') {
            out.push(c);
        } else {
            out.extend(c.escape_debug());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let text = "\u{feff}ab\nöü = 1\r\n\tx";
        for (at, place) in
            [(0, (1, 1)), (3, (1, 1)), (4, (1, 2)), (6, (2, 1)), (8, (2, 2)), (10, (2, 3)), (17, (3, 2)), (999, (3, 3))]
        {
            assert_eq!(position(text, at), place, "byte {at}");
        }
        assert_eq!(position("", 0), (1, 1));
        assert_eq!(position("a\n", 2), (2, 1));
    }

    #[test]
    fn excerpts_are_short_and_harmless() {
        assert_eq!(excerpt("\"a\\b\" 'c'"), "\"a\\b\" 'c'");
        assert_eq!(excerpt("a\n\u{1b}[2J\u{202e}"), "a\\n\\u{1b}[2J\\u{202e}");
        assert_eq!(excerpt(&"x".repeat(100)).chars().count(), SHOWN + 1);
    }
}
