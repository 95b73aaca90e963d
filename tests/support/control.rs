//! Commands to a running daemon: by the program, and by bare hands over the socket.
use super::DEADLINE;
use super::daemon::{Daemon, Ended, command, run};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the daemon's socket is, unless the test has chosen another place.
pub fn socket(daemon: &Daemon) -> PathBuf {
    daemon.home().join("run/control.sock")
}

/// `echostored ARGUMENTS --config FILE`, to its end.
pub fn tell(daemon: &Daemon, arguments: &[&str]) -> Ended {
    let mut command = command(arguments);
    command.arg("--config").arg(daemon.config_path());
    run(daemon.home(), command)
}

/// The same with `--socket`.
pub fn tell_at(daemon: &Daemon, socket: &Path, word: &str) -> Ended {
    let mut command = command(&[word, "--socket"]);
    command.arg(socket);
    run(daemon.home(), command)
}

/// What `status --json` prints.
pub fn status(daemon: &Daemon) -> Value {
    let ended = tell(daemon, &["status", "--json"]);
    // 1: it does not serve as it should, and says how it is all the same.
    assert!(ended.code <= 1 && ended.stderr.is_empty(), "{ended:?}");
    serde_json::from_str(&ended.stdout).expect("one JSON object")
}

/// A connection to the control socket that has said so much.
pub fn connect(socket: &Path, said: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(2 * DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(said).unwrap();
    stream
}

/// The line that comes back.
pub fn hear(stream: UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// Whether the daemon hangs up within `span`.
pub fn hangs_up(stream: &UnixStream, span: Duration) -> bool {
    stream.set_read_timeout(Some(span)).unwrap();
    let mut reader = BufReader::new(stream);
    let mut rest = Vec::new();
    match std::io::Read::read_to_end(&mut reader, &mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}
