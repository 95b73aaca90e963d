//! The effective configuration as TOML: every key, in the order of the documentation. What it prints parses back to
//! the same configuration (paths that are not UTF-8 excepted: TOML cannot hold them).
use std::path::Path;
use std::time::Duration;

use super::keys::{KEYS, TABLES};
use super::types::{Choice, Config, Pem, Space};
use super::units::{format_size, format_time};

/// `config` as a file of every key.
#[must_use]
pub fn print(config: &Config) -> String {
    let mut text = String::new();
    for (n, table) in TABLES.iter().enumerate() {
        let gap = if n == 0 { "" } else { "\n" };
        text.push_str(&format!("{gap}[{table}]\n"));
        for key in KEYS.iter().filter(|key| key.table == *table) {
            text.push_str(&format!("{} = {}\n", key.name, key.value(config)));
        }
    }
    text
}

/// A TOML string: a basic one, on one line, whatever it holds.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            _ if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(super) fn choice(value: impl Choice) -> String {
    quoted(value.name())
}

pub(super) fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// No file is `""`.
pub(super) fn pem(pem: Option<&Pem>) -> String {
    quoted(&pem.map(ToString::to_string).unwrap_or_default())
}

pub(super) fn array<T: ToString>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

pub(super) fn time(time: Duration) -> String {
    quoted(&format_time(time))
}

/// Off is `"0"`.
pub(super) fn time_or_off(value: Option<Duration>) -> String {
    time(value.unwrap_or_default())
}

/// Off is `"0"`.
pub(super) fn size(bytes: u64) -> String {
    quoted(&format_size(bytes))
}

/// Off is `"0"`.
pub(super) fn space(value: Option<Space>) -> String {
    match value {
        Some(Space::Percent(part)) => quoted(&format!("{part}%")),
        Some(Space::Bytes(bytes)) => size(bytes),
        None => size(0),
    }
}
