//! Exit codes (sysexits.h where it has one) and the error that carries one.
use std::fmt;

/// All went well.
pub const OK: u8 = 0;
/// Failed while running.
pub const FAILED: u8 = 1;
/// The command line was wrong.
pub const USAGE: u8 = 2;
/// Cannot listen on an address.
pub const CANNOT_LISTEN: u8 = 69;
/// The store cannot be used.
pub const STORE: u8 = 74;
/// Another daemon has locked the store, or the pid file.
pub const LOCKED: u8 = 75;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;

/// Why the program, or a role, has to end: a message for the operator and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// One of the codes above.
    pub code: u8,
    /// What was tried, on what, why it failed, what to do.
    pub message: String,
}

impl Fatal {
    /// A fatal error of the given code.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// One that no operator's mistake explains: a system call that ought to work did not.
    pub fn system(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self::new(FAILED, format!("cannot {what}: {error}"))
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fatal {}
