//! `echostored check`: is this file a configuration? Reads only the file, never the system: whether a port is free
//! or a directory can be written shows at the start.
use std::io::Write as _;
use std::path::Path;

use crate::config;

const WELL: u8 = 0;
const FAILED: u8 = 1;
const CONFIGURATION: u8 = 78;

/// Checks the file at `path` and returns the exit code: 0 and `FILE: ok` (with `print` the effective configuration as
/// TOML) on stdout, or 78 and the error on stderr; 1 if stdout cannot be written. Warnings go to stderr.
#[must_use]
pub fn run(path: &Path, print: bool) -> u8 {
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(e) => {
            eprintln!("{e}");
            return CONFIGURATION;
        }
    };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let text = if print { config::print(&loaded.config) } else { format!("{}: ok\n", path.display()) };
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => WELL,
        Err(e) => {
            eprintln!("cannot write the result to stdout: {e}; give it a place that can be written");
            FAILED
        }
    }
}
