//! The small servers that echostored is compared with, and what keeps a server from outliving its parent.
mod echo_only;
mod textbook;

use clap::Subcommand;
use echostored::sys::signals;
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Which server, and how.
#[derive(Subcommand)]
pub enum Server {
    /// Echoes and does nothing else: an epoll loop in each of a few processes.
    EchoOnly {
        /// On 127.0.0.1; 0: a free one.
        #[arg(long)]
        port: u16,
        #[arg(long, default_value_t = 2)]
        processes: usize,
    },
    /// Forks for each connection; all children write into one pipe, and one process stores what comes out of it.
    Textbook {
        /// On 127.0.0.1; 0: a free one.
        #[arg(long)]
        port: u16,
        /// Where the messages are appended to.
        #[arg(long)]
        file: PathBuf,
    },
    /// Becomes another program, which gets TERM when the process that called this one dies.
    WithParent {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

/// Serves until it is ended by a signal. The small servers say `listening on ADDRESS` on their standard output first.
pub fn run(server: &Server) -> Result<(), String> {
    let cannot = |port: u16, error: std::io::Error| format!("cannot serve on port {port} of 127.0.0.1: {error}");
    match server {
        Server::EchoOnly { port, processes } => {
            echo_only::run(loopback(*port), *processes).map_err(|error| cannot(*port, error))
        }
        Server::Textbook { port, file } => textbook::run(loopback(*port), file).map_err(|error| cannot(*port, error)),
        Server::WithParent { command } => become_program(command),
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn become_program(command: &[OsString]) -> Result<(), String> {
    let [program, arguments @ ..] = command else { return Err("no program is named".to_owned()) };
    // Kept over exec (prctl(2), `PR_SET_PDEATHSIG`).
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(|error| format!("prctl: {error}"))?;
    // The parent ignores it, so that it can clean up after a Ctrl-C.
    signals::reset(&[Signal::SIGINT]).map_err(|error| format!("signal: {error}"))?;
    let error = Command::new(program).args(arguments).exec();
    Err(format!("cannot run {}: {error}", program.display()))
}
