//! `echostored status`, `reload`, `rotate`: ask the running daemon over its control socket, and wait for its answer.
mod screen;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::config;
use crate::exit::{self, Fatal};
use crate::ipc::command::{self, Reply, Request};
pub(super) use screen::printable;

/// The daemon answers within 30 s that something takes too long. One that does not is itself hung.
const PATIENCE: Duration = Duration::from_secs(40);
/// No reply is longer, in bytes.
const MAX_REPLY: u64 = 16 << 20;
/// The longest path that connect(2) takes.
const MAX_PATH: usize = 107;

/// How often a daemon that has no place for another command is asked, and the time between.
const TRIES: u32 = 20;
const REST: Duration = Duration::from_millis(100);

/// How the answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// For people.
    Text,
    /// The reply itself, one line of JSON.
    Json,
}

/// Asks the daemon at `socket`, else the one of the configuration file `config`; returns the exit code: 0, that of the
/// daemon's refusal, 1 if none answers or its status says that it is not healthy, 78 if `config` cannot be read.
pub fn run(request: Request, socket: Option<PathBuf>, config: &Path, shown: Shown) -> u8 {
    match place(socket, config).and_then(|path| answer(request, &path)) {
        Ok((line, reply)) if shown == Shown::Json => worse(print(&line), health(&reply)),
        Ok((_, reply)) => worse(show(&reply), health(&reply)),
        Err(Fatal { code, message }) => fail(code, &message),
    }
}

/// Where the daemon's socket is: `socket`, else as the configuration file `config` says.
///
/// # Errors
/// 78: `config` cannot be read.
pub fn place(socket: Option<PathBuf>, config: &Path) -> Result<PathBuf, Fatal> {
    let configured = || match config::load_control(config) {
        Ok(control) => Ok(command::place(&control)),
        Err(error) => Err(Fatal::new(exit::CONFIG, format!("{error}; or give the daemon's socket with --socket PATH"))),
    };
    socket.map_or_else(configured, Ok)
}

/// What the daemon at `path` answers, as a line and as what that says. One that is busy is asked again.
///
/// # Errors
/// Its refusal, with the exit code that it names; 1: none answers.
pub fn answer(request: Request, path: &Path) -> Result<(String, Reply), Fatal> {
    let mut tries = 1..TRIES;
    loop {
        let line = ask(request, path).map_err(|error| Fatal::new(exit::FAILED, no_answer(request, path, &error)))?;
        match Reply::parse(&line) {
            Some(Reply::Failed { error, .. }) if error == command::BUSY && tries.next().is_some() => sleep(REST),
            Some(Reply::Failed { code, error }) => return Err(Fatal::new(code.max(exit::FAILED), error)),
            Some(reply) => return Ok((line, reply)),
            None => {
                let what = "what answers there is no echostored of this version";
                return Err(Fatal::new(exit::FAILED, format!("{}: {what}", path.display())));
            }
        }
    }
}

/// A daemon that does not serve as it should is a failure of `status`, whatever it prints.
fn health(reply: &Reply) -> u8 {
    match reply {
        Reply::Status(report) if !report.health.is_empty() => exit::FAILED,
        _ => exit::OK,
    }
}

fn worse(code: u8, other: u8) -> u8 {
    if code == exit::OK { other } else { code }
}

pub(super) fn fail(code: u8, message: &str) -> u8 {
    eprintln!("echostored: {}", printable(message));
    code
}

/// Sends the request and reads the reply's line.
fn ask(request: Request, path: &Path) -> io::Result<String> {
    let mut stream = connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // One that is busy has answered and left already: its answer counts.
    let sent = stream.write_all(format!("{}\n", request.word()).as_bytes());
    let mut line = String::new();
    match BufReader::new(stream).take(MAX_REPLY).read_line(&mut line) {
        _ if line.ends_with('\n') => Ok(line),
        Err(error) => Err(error),
        Ok(_) => Err(sent.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let (parent, name) = (path.parent(), path.file_name());
    match (parent, name) {
        (Some(parent), Some(name)) if path.as_os_str().len() > MAX_PATH => {
            let directory = File::open(parent)?;
            UnixStream::connect(Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name))
        }
        _ => UnixStream::connect(path),
    }
}

/// What was tried, where, why it failed, what to do.
fn no_answer(request: Request, path: &Path, error: &io::Error) -> String {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied, TimedOut, UnexpectedEof, WouldBlock};
    let running =
        "is it running? (systemctl status echostored) If control.socket was just changed, it is still at the old one";
    let (why, remedy) = match error.kind() {
        NotFound => ("there is no such socket".to_owned(), running),
        ConnectionRefused => ("nobody listens".to_owned(), running),
        PermissionDenied => ("permission denied".to_owned(), "root may, and members of its group"),
        WouldBlock | TimedOut => (format!("no answer within {PATIENCE:?}"), "its log may tell why"),
        UnexpectedEof => ("it went away without an answer".to_owned(), "its log may tell why"),
        _ => (error.to_string(), "its log may tell why"),
    };
    let (word, path) = (request.word(), path.display());
    format!("cannot ask the daemon for {word} at {path}: {why}; {remedy}. Another socket: --socket PATH")
}

/// Warnings go to stderr; of a reload there is nothing else to say.
fn show(reply: &Reply) -> u8 {
    match reply {
        Reply::Failed { code, error } => fail(*code, error),
        Reply::Reloaded { warnings, .. } => {
            warnings.iter().for_each(|warning| eprintln!("warning: {}", printable(warning)));
            exit::OK
        }
        Reply::Rotated { rotated: true, segment } => print(&format!("{}\n", printable(segment))),
        Reply::Rotated { rotated: false, segment } => {
            eprintln!("nothing to rotate: {} is empty", printable(segment));
            exit::OK
        }
        Reply::Connections { busiest, missing } => {
            for number in missing {
                eprintln!("worker {number} does not answer; its connections are not shown");
            }
            print(&screen::guests(busiest))
        }
        Reply::Status(report) => print(&screen::status(report)),
    }
}

pub(super) fn print(text: &str) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A closed pipe (`| head`) is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(exit::FAILED, &format!("cannot write to standard output: {error}"))
        }
        _ => exit::OK,
    }
}
