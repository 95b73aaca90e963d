//! One measurement of one server.
mod redis;
mod send;

use crate::servers::{Kind, Server, attached, wait_exit};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a measurement may take beyond the time that it was asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections × messages in flight on each × bytes of a message, its line feed counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Load {
    pub connections: usize,
    pub in_flight: usize,
    pub size: usize,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} × {}", self.connections, self.in_flight, self.size)
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    Time(Duration),
    Messages(u64),
}

/// What a measurement gave. Latencies in microseconds; `None` where no answer is awaited.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub messages: u64,
    pub seconds: f64,
    pub messages_per_second: f64,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
    /// The highest p99 of any one connection, where that was asked for.
    pub worst_p99: Option<f64>,
    /// Processor time of all processes of the server, for a million messages.
    pub cpu_per_million: f64,
}

impl Measured {
    /// With the server's processor time, in seconds.
    pub fn costing(mut self, cpu: f64) -> Self {
        self.cpu_per_million = cpu * 1e6 / self.messages.max(1) as f64;
        self
    }
}

/// What `echostored bench --json` says, as far as it is needed.
#[derive(Deserialize)]
struct Said {
    seconds: f64,
    messages: u64,
    messages_per_second: f64,
    latency_us: Latency,
    worst_connection_us: Option<Latency>,
}

#[derive(Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
    max: f64,
}

/// The load program: `echostored bench`.
#[derive(Clone, Debug)]
pub struct Generator {
    pub binary: PathBuf,
    /// Where its messages go.
    pub log: PathBuf,
    /// It tells the connection that fared worst.
    pub per_connection: bool,
}

impl Generator {
    /// Measures `server` by what fits it: echoes, or what is stored without an answer.
    pub fn measure(&self, server: &Server, load: Load, span: Duration) -> Result<Measured, String> {
        match server.kind {
            Kind::Rsyslog => send::measure(server, load, span),
            Kind::Redis => redis::measure(server, load, span, &self.log),
            _ => {
                let before = server.cpu_seconds();
                let measured = self.start(server, load, Amount::Time(span))?.finish(span)?;
                Ok(measured.costing(server.cpu_seconds() - before))
            }
        }
    }

    /// Begins to load an echoing server.
    pub fn start(&self, server: &Server, load: Load, amount: Amount) -> Result<Running, String> {
        let mut command = attached(self.binary.as_os_str(), &self.log)?;
        command.arg("bench").arg(server.address.to_string()).arg("--json");
        let numbers = [("--connections", load.connections), ("--in-flight", load.in_flight), ("--size", load.size)];
        for (option, number) in numbers {
            command.arg(option).arg(number.to_string());
        }
        if self.per_connection {
            command.arg("--per-connection");
        }
        match amount {
            Amount::Time(span) => command.arg("--duration").arg(format!("{}ms", span.as_millis())),
            Amount::Messages(count) => command.arg("--count").arg(count.to_string()),
        };
        let child = piped(command)?;
        Ok(Running { child, log: self.log.clone(), what: format!("echostored bench {load} at {}", server.kind.name()) })
    }
}

fn piped(mut command: Command) -> Result<Child, String> {
    command.stdout(Stdio::piped());
    command.spawn().map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))
}

/// A load program that runs. Killed when it is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
    what: String,
}

impl Running {
    /// Waits for its end, at most a minute longer than `span`; its figures, without the server's processor time.
    pub fn finish(self, span: Duration) -> Result<Measured, String> {
        let what = self.what.clone();
        let said: Said = serde_json::from_str(&self.output(span)?)
            .map_err(|error| format!("{what}: its JSON is not understood: {error}"))?;
        let Latency { p50, p99, max } = said.latency_us;
        Ok(Measured {
            messages: said.messages,
            seconds: said.seconds,
            messages_per_second: said.messages_per_second,
            p50: Some(p50),
            p99: Some(p99),
            max: Some(max),
            worst_p99: said.worst_connection_us.map(|worst| worst.p99),
            cpu_per_million: 0.0,
        })
    }

    /// What it says on its standard output: little enough to wait in a pipe.
    fn output(mut self, span: Duration) -> Result<String, String> {
        let limit = span + PATIENCE;
        let status = wait_exit(&mut self.child, limit).map_err(|error| format!("{}: {error}", self.what))?;
        let Some(status) = status else { return Err(format!("{} did not end within {limit:?}", self.what)) };
        if !status.success() {
            return Err(format!("{} failed ({status}): {}", self.what, last_words(&self.log)));
        }
        let mut said = String::new();
        if let Some(mut output) = self.child.stdout.take() {
            std::io::Read::read_to_string(&mut output, &mut said).map_err(|error| format!("{}: {error}", self.what))?;
        }
        Ok(said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn last_words(log: &Path) -> String {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}
