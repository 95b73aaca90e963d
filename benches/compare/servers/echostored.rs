//! echostored itself, in one of its echo modes.
use super::{Kind, Server, attached, await_ready, spawn, write};
use crate::places::free_address;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Instant;

/// What differs between measurements.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `server.workers`; `None`: as the default.
    pub workers: Option<usize>,
    /// Closed files that are kept.
    pub kept: usize,
    /// `server.max-message-size`.
    pub largest: &'static str,
    /// `metrics.listen`; `None`: off.
    pub metrics: Option<SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { workers: None, kept: KEPT, largest: "64KiB", metrics: None }
    }
}

/// Closed files that are kept, if a measurement wants no others.
const KEPT: usize = 3;
/// Size of a file.
const FILE: u64 = 64 << 20;
/// What the store holds when retention has settled.
pub const RETAINED: u64 = (KEPT as u64 + 1) * FILE;

/// Starts it with its store in `home`; a directory `store` that is there already is taken.
pub fn start(kind: Kind, home: tempfile::TempDir, binary: &Path, settings: &Settings) -> Result<Server, String> {
    let echo = kind.echo().ok_or("not ours")?;
    let (address, path) = (free_address()?, home.path());
    let workers = settings.workers.map_or("\"auto\"".to_owned(), |workers| workers.to_string());
    let metrics = settings.metrics.map_or_else(String::new, |address| address.to_string());
    let config = format!(
        "[server]\nlisten = [\"{address}\"]\nworkers = {workers}\necho = \"{echo}\"\nmax-message-size = \"{}\"\n\
         [limits]\nmax-connections = 20000\n[store]\ndirectory = \"{home}/store\"\n[rotate]\nmax-size = \"64MiB\"\n\
         [retain]\nmax-files = {}\n[daemon]\npid-file = \"{home}/pid\"\n[control]\nsocket = \"{home}/control.sock\"\n\
         [metrics]\nlisten = \"{metrics}\"\n",
        settings.largest,
        settings.kept,
        home = path.display()
    );
    write(&path.join("echostored.toml"), &config)?;
    let cannot = |error: std::io::Error| format!("cannot make the notification socket in {}: {error}", path.display());
    let notify = UnixDatagram::bind(path.join("notify")).map_err(cannot)?;
    notify.set_nonblocking(true).map_err(cannot)?;
    let log = path.join("log");
    let mut command = attached(binary.as_os_str(), &log)?;
    command.args(["run", "--config"]).arg(path.join("echostored.toml")).env("NOTIFY_SOCKET", path.join("notify"));
    let begin = Instant::now();
    let mut child = spawn(command)?;
    let mut buffer = [0; 4096];
    let mut is_ready = || match notify.recv(&mut buffer) {
        Ok(length) => String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "READY=1"),
        Err(_) => false,
    };
    await_ready(&mut child, &log, &mut is_ready).map_err(|error| format!("{}: {error}", kind.name()))?;
    Ok(Server { kind, address, config, ready: begin.elapsed(), store: path.join("store"), child, _home: home })
}
