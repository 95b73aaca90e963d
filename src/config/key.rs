//! One row of the table of keys: what people read of a key, and how it is read and printed.
use super::read::{Given, Refused};
use super::types::Config;

/// A key of the configuration file.
#[derive(Clone, Copy)]
pub struct Key {
    /// Its table, without brackets.
    pub table: &'static str,
    /// Its name in that table.
    pub name: &'static str,
    /// The default, as TOML.
    pub default: &'static str,
    /// What it is for: one sentence without its full stop.
    pub doc: &'static str,
    /// What it accepts; completes "expected …".
    pub allowed: &'static str,
    /// Why a reload cannot change it; `None`: it can.
    pub restart: Option<&'static str>,
    pub(super) set: fn(&mut Config, &Given<'_>) -> Result<(), Refused>,
    pub(super) get: fn(&Config) -> String,
}

impl Key {
    /// `table.name`.
    #[must_use]
    pub fn dotted(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }

    /// What `config` has for this key, as TOML.
    #[must_use]
    pub fn value(&self, config: &Config) -> String {
        (self.get)(config)
    }
}

/// Puts a value that was read into its place, or leaves the place and passes the refusal on.
pub(super) fn put<T>(place: &mut T, value: Result<T, Refused>) -> Result<(), Refused> {
    *place = value?;
    Ok(())
}
