//! `run --daemon`: the door of daemonize.
//!
//! Promise, daemon(7): the command returns 0 only when the daemon serves, otherwise its error on standard error and its
//! exit code. The crate forks and detaches; pid file and user switching are our own (see `pidfile` and `start`).
use crate::config::Daemon;
use crate::exit::{self, Fatal};
use crate::sys::{file, process};
use daemonize::{Daemonize, Outcome, Stdio};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::exit as leave;

/// The daemon's way to tell the waiting command how the start went.
#[derive(Debug)]
pub struct Starter(Option<File>);

impl Starter {
    /// For a daemon in the foreground: nobody waits.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// The daemon serves: the command returns 0.
    pub fn ready(&mut self) {
        self.tell(exit::OK, "");
    }

    /// The daemon does not start: the command prints this and returns its code.
    pub fn failed(&mut self, fatal: &Fatal) {
        self.tell(fatal.code, &fatal.message);
    }

    fn tell(&mut self, code: u8, message: &str) {
        if let Some(mut pipe) = self.0.take() {
            let _ = pipe.write_all(&[&[code], message.as_bytes()].concat());
        }
    }
}

/// Becomes a daemon; returns in the daemon only. The command that was called waits for the daemon's word and leaves.
pub fn detach(settings: &Daemon) -> Result<Starter, Fatal> {
    let system = |error: io::Error| Fatal::system("detach from the terminal", error);
    let log = match &settings.log_file {
        None => Stdio::devnull(),
        Some(path) => Stdio::from(open_log(path).map_err(|error| {
            let message = format!("cannot open daemon.log-file {}: {error}; set another", path.display());
            Fatal::new(exit::CONFIG, message)
        })?),
    };
    let (answer, word) = crate::sys::pipe::blocking_pipe().map_err(system)?;
    // `execute`, never `start`: `start` loses the child's exit status.
    match Daemonize::new().working_directory("/").umask(0o027).stdout(Stdio::devnull()).stderr(log).execute() {
        Outcome::Parent(Err(error)) | Outcome::Child(Err(error)) => {
            Err(Fatal::new(exit::FAILED, format!("cannot detach from the terminal: {error}")))
        }
        Outcome::Parent(Ok(_)) => {
            drop(word);
            leave(i32::from(wait(File::from(answer))))
        }
        Outcome::Child(Ok(_)) => {
            drop(answer);
            Ok(Starter(Some(File::from(word))))
        }
    }
}

/// Opens the log file for appending. Its directory is made if it is not there, as the pid file's is.
fn open_log(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(nix::libc::O_NOFOLLOW).open(path)
}

/// Goes on in a new log file if the old one was moved away, as logrotate(8) does. True: it did.
pub fn reopen_log(settings: &Daemon) -> io::Result<bool> {
    let Some(path) = &settings.log_file else { return Ok(false) };
    let log = open_log(path)?;
    let (new, old) = (file::stat(&log)?, file::stat(io::stderr())?);
    if (new.st_dev, new.st_ino) == (old.st_dev, old.st_ino) {
        return Ok(false);
    }
    process::replace_stderr(&log)?;
    Ok(true)
}

/// Waits for the daemon's word: its exit code, after printing its error.
fn wait(mut answer: File) -> u8 {
    let mut word = Vec::new();
    let _ = answer.read_to_end(&mut word);
    match word.split_first() {
        Some((&exit::OK, _)) => exit::OK,
        Some((&code, message)) => {
            eprintln!("echostored: {}", String::from_utf8_lossy(message));
            code
        }
        None => {
            eprintln!("echostored: the daemon died before it could serve; its log may tell why");
            exit::FAILED
        }
    }
}
