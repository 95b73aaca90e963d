//! What ships in `packaging/monitoring`, with a real Prometheus that scrapes a real daemon: the dashboard shows data, the alert rules
//! say what they should.
//!
//! Needs Debian's package `prometheus` (with promtool); where it is missing the tests say SKIPPED.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod dashboard;
mod scrapes;
mod server;
mod shipped;

use std::path::{Path, PathBuf};

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A file of `packaging/monitoring`.
fn shipped_text(name: &str) -> String {
    std::fs::read_to_string(source("packaging/monitoring").join(name)).unwrap()
}

/// What starts with `echostored_` in a text, without the suffixes of a histogram's series.
fn metrics_in(text: &str) -> std::collections::BTreeSet<String> {
    let words = text.split(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_');
    let series = words.filter(|word| word.starts_with("echostored_"));
    let plain =
        |name: &str| ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end).map(str::to_owned));
    series.map(|name| plain(name).unwrap_or_else(|| name.to_owned())).collect()
}
