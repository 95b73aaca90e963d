//! The file itself: found, regular, of sane size, UTF-8. Must never wait: a FIFO is refused, not opened.
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::document::parse;
use super::error::{ConfigError, Fault};
use super::types::{Config, Control};

/// A larger file is not a configuration: 1 MiB, in bytes.
pub const MAX_FILE_SIZE: u64 = 1 << 20;

/// A configuration that was read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What the daemon means.
    pub config: Config,
    /// What is allowed but unwise, one line each.
    pub warnings: Vec<String>,
}

/// Reads the file at `path`; relative paths in it start from the working directory of this moment. A daemon that has
/// changed its working directory reloads with [`load_from`].
///
/// # Errors
/// [`ConfigError`]; exit code 78.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let cwd = std::env::current_dir().map_err(|e| ConfigError::NoWorkingDirectory { why: reason(&e) })?;
    load_from(path, &cwd)
}

/// Reads the file at `path`; relative paths in it (not `path` itself) start from `cwd`, which is absolute.
///
/// # Errors
/// [`ConfigError`]; exit code 78.
pub fn load_from(path: &Path, cwd: &Path) -> Result<Loaded, ConfigError> {
    let (bytes, mode) = slurp(path)?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(e) => {
            let good = e.valid_up_to();
            let valid = String::from_utf8_lossy(&bytes[..good]);
            let problem = format!("not UTF-8: byte 0x{:02x}; TOML is UTF-8 throughout", bytes[good]);
            return Err(Fault { at: good, key: String::new(), problem }.locate(&valid, path));
        }
    };
    let config = parse(text, path, cwd)?;
    let mut warnings = Vec::new();
    if mode & 0o002 != 0 {
        let file = path.display();
        warnings.push(format!(
            "{file}: everyone may write to this configuration (mode {:04o}): chmod o-w {file}",
            mode & 0o7777
        ));
    }
    warnings.extend(open_metrics(&config));
    Ok(Loaded { config, warnings })
}

/// Metrics that others than this machine can read.
fn open_metrics(config: &Config) -> Option<String> {
    let address = config.metrics.listen.filter(|address| !address.ip().to_canonical().is_loopback())?;
    Some(format!(
        "metrics.listen: whoever reaches {address} reads the metrics: there is no authentication and no encryption; let a firewall, or a proxy before 127.0.0.1, decide who does"
    ))
}

/// `[control]` of the file at `path`, also of one with mistakes elsewhere, by which the running daemon was not reloaded.
///
/// # Errors
/// [`ConfigError`]; exit code 78.
pub fn load_control(path: &Path) -> Result<Control, ConfigError> {
    load(path).map(|loaded| loaded.config.control).or_else(|error| {
        let found = match &error {
            ConfigError::Invalid { .. } => slurp(path).ok().zip(std::env::current_dir().ok()),
            _ => None,
        };
        let found = found.and_then(|((bytes, _), cwd)| super::document::socket(&String::from_utf8_lossy(&bytes), &cwd));
        found.ok_or(error)
    })
}

/// The bytes of a regular file and its mode. Looks before it opens: a FIFO would block for ever.
fn slurp(path: &Path) -> Result<(Vec<u8>, u32), ConfigError> {
    let unreadable = |e: io::Error| ConfigError::Unreadable { file: path.to_owned(), why: reason(&e) };
    let kind = std::fs::metadata(path).map_err(unreadable)?.file_type();
    if !kind.is_file() {
        let why = if kind.is_dir() { "is a directory" } else { "not a regular file" };
        return Err(ConfigError::Unreadable { file: path.to_owned(), why: why.to_owned() });
    }
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(ConfigError::TooLarge { file: path.to_owned() });
    }
    Ok((bytes, mode))
}

/// The system's words without their number.
fn reason(e: &io::Error) -> String {
    let text = e.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_owned()
}
