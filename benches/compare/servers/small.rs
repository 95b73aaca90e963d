//! The two small servers of this folder, each a process of this very program.
use super::{Kind, Server, attached, await_ready, spawn};
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

/// The echo-only server, with so many processes.
pub fn echo_only(home: tempfile::TempDir, processes: usize) -> Result<Server, String> {
    let arguments = ["echo-only", "--port", "0", "--processes", &processes.to_string()].map(str::to_owned);
    start(Kind::EchoOnly, home, &arguments)
}

/// The textbook's shape.
pub fn textbook(home: tempfile::TempDir) -> Result<Server, String> {
    let file = home.path().join("messages").to_string_lossy().into_owned();
    let arguments = ["textbook", "--port", "0", "--file"].map(str::to_owned).into_iter().chain([file]);
    start(Kind::Textbook, home, &arguments.collect::<Vec<_>>())
}

fn start(kind: Kind, home: tempfile::TempDir, arguments: &[String]) -> Result<Server, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find this program itself: {error}"))?;
    let (log, said) = (home.path().join("log"), home.path().join("said"));
    let mut command = attached(own.as_os_str(), &log)?;
    let cannot = |error| format!("cannot write {}: {error}", said.display());
    command.arg("serve").args(arguments).stdout(File::create(&said).map_err(cannot)?);
    let begin = Instant::now();
    let mut child = spawn(command)?;
    let mut address = None;
    await_ready(&mut child, &log, || {
        address = told_address(&said);
        address.is_some()
    })
    .map_err(|error| format!("{}: {error}", kind.name()))?;
    let address = address.ok_or("no address")?;
    let config = format!("compare serve {}", arguments.join(" "));
    let store = home.path().to_owned();
    Ok(Server { kind, address, config, ready: begin.elapsed(), store, child, _home: home })
}

fn told_address(said: &Path) -> Option<SocketAddr> {
    std::fs::read_to_string(said).ok()?.strip_prefix("listening on ")?.strip_suffix('\n')?.parse().ok()
}
