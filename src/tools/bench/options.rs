//! What the command line of `bench` says. Pure.
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::message::LONGEST;
use crate::config::units;
use crate::tools::carrier::Security;
use crate::tools::send::{Framing, Target};

const MOST_CONNECTIONS: u64 = 100_000;
const MOST_IN_FLIGHT: u64 = 1_000_000;
const MOST_THREADS: u64 = 64;
/// A message's number has twelve digits.
const MOST_MESSAGES: u64 = 100_000_000_000;

/// The arguments of `bench`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The server: HOST:PORT, HOST, [IPv6]:PORT, or unix:PATH (unix:@NAME for an abstract name). Without a port, 7007
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:7007", value_parser = Target::parse)]
    pub server: Target,
    /// How many connections
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=MOST_CONNECTIONS))]
    pub connections: u64,
    /// How many messages may be sent and not yet echoed, on each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MOST_IN_FLIGHT))]
    pub in_flight: u64,
    /// A message's whole length as it is sent, with what frames it: 128 with line are 127 bytes and a LF
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = size)]
    pub size: usize,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::parse_time)]
    pub duration: Duration,
    /// Measure so many messages in all, however long they take
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..=MOST_MESSAGES))]
    pub count: Option<u64>,
    /// Send so long before measuring
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::parse_time)]
    pub warm_up: Duration,
    /// The server's framing: line, nul, octet-counted or length-prefixed
    #[arg(long, default_value = "line", value_parser = Framing::parse)]
    pub framing: Framing,
    /// How many threads send and read; each has its share of the connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MOST_THREADS))]
    pub threads: u64,
    /// How long a connection, and then an echo, may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = patience)]
    pub timeout: Duration,
    /// Also tell the latency of the connection that fared worst: the one with the highest p99
    #[arg(long)]
    pub per_connection: bool,
    /// Print the figures as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Afterwards check in this store, the server's, that every echoed message is there, once, whole and in order
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// With or without TLS.
    #[command(flatten)]
    pub security: Security,
}

fn size(text: &str) -> Result<usize, String> {
    match units::parse_size(text)? {
        0 => Err("a message has at least its terminator".to_owned()),
        bytes => usize::try_from(bytes)
            .ok()
            .filter(|bytes| *bytes <= LONGEST)
            .ok_or_else(|| "an echostored takes messages of at most 16 MiB".to_owned()),
    }
}

fn patience(text: &str) -> Result<Duration, String> {
    match units::parse_time(text)? {
        Duration::ZERO => Err("a time above 0 is expected".to_owned()),
        time => Ok(time),
    }
}

impl Options {
    /// How many messages of the count this connection sends.
    pub fn share(&self, connection: u64) -> Option<u64> {
        let count = self.count?;
        Some(count / self.connections + u64::from(connection < count % self.connections))
    }
}
