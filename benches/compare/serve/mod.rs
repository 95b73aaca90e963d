//! The small servers that echostored is compared with, and what runs a server so that it does not outlive its parent.
mod echo_only;

use clap::Subcommand;
use std::net::{Ipv4Addr, SocketAddr};

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
}

/// Serves until it is ended by a signal. Says `listening on ADDRESS` on its standard output first.
pub fn run(server: Server) -> Result<(), String> {
    match server {
        Server::EchoOnly { port, processes } => echo_only::run(loopback(port), processes)
            .map_err(|error| format!("cannot serve on port {port} of 127.0.0.1: {error}")),
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
