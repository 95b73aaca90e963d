//! What was measured, as JSON and as a table. Pure.
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::load::Measured;
use super::options::Options;
use super::store::Verdict;

/// The figures of a run; its fields are those of the JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Raised when a field goes away or changes its meaning.
    pub version: u32,
    /// The server, as it was named.
    pub address: String,
    /// As asked for.
    pub connections: u64,
    /// As asked for, on each connection.
    pub in_flight: u64,
    /// Of a message with its framing, in bytes.
    pub size: usize,
    /// The name that `server.framing` has for it.
    pub framing: &'static str,
    /// As asked for.
    pub threads: u64,
    /// How long it was measured.
    pub seconds: f64,
    /// Whose echoes were read in that time.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Over the whole time.
    pub messages_per_second: f64,
    /// Over the whole time.
    pub bytes_per_second: f64,
    /// From the sending of a message's first byte to the reading of its echo's last one.
    pub latency_us: Latency,
    /// The same of the connection with the highest p99, if that was asked for.
    pub worst_connection_us: Option<Latency>,
    /// User and system time of the threads that send and read.
    pub cpu_seconds: f64,
    /// What the check of the store found, if there was one.
    pub store: Option<Verdict>,
}

/// In microseconds; 0 if nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let within = |share| micros(histogram.value_at_quantile(share));
        // The histogram's own greatest is the end of its step.
        let max = micros(histogram.max());
        Self { p50: within(0.5), p90: within(0.9), p99: within(0.99), p99_9: within(0.999), max }
    }
}

impl Figures {
    /// Adds up what the threads have measured.
    pub fn new(options: &Options, parts: &[Measured]) -> Self {
        let messages: u64 = parts.iter().map(|part| part.messages).sum();
        let span = parts.iter().map(|part| part.span).max().unwrap_or(Duration::ZERO).as_secs_f64();
        let bytes = messages.saturating_mul(options.size as u64);
        let rate = |count: u64| if span > 0.0 { count as f64 / span } else { 0.0 };
        let mut latency: Option<Histogram<u64>> = None;
        for part in parts {
            match &mut latency {
                // All have the same bounds.
                Some(all) => drop(all.add(&part.latency)),
                None => latency = Some(part.latency.clone()),
            }
        }
        Self {
            version: 1,
            address: options.server.to_string(),
            connections: options.connections,
            in_flight: options.in_flight,
            size: options.size,
            framing: options.framing.name(),
            threads: options.threads,
            seconds: span,
            messages,
            bytes,
            messages_per_second: rate(messages),
            bytes_per_second: rate(bytes),
            latency_us: latency.as_ref().map(Latency::of).unwrap_or_default(),
            worst_connection_us: parts
                .iter()
                .flat_map(|part| &part.each)
                .max_by_key(|own| own.value_at_quantile(0.99))
                .map(Latency::of),
            cpu_seconds: parts.iter().map(|part| part.cpu.as_secs_f64()).sum(),
            store: None,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u64, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let (connections, threads) = (plural(self.connections, "connection"), plural(self.threads, "thread"));
        writeln!(
            f,
            "{}: {connections} × {} in flight × {} bytes ({}), {threads}",
            self.address, self.in_flight, self.size, self.framing
        )?;
        writeln!(f, "{:>12} messages echoed in {:.2} s", self.messages, self.seconds)?;
        writeln!(f, "{:>12.0} messages/s", self.messages_per_second)?;
        writeln!(f, "{:>12.1} MB/s", self.bytes_per_second / 1e6)?;
        writeln!(f, "{:>12.2} s of CPU time of this program", self.cpu_seconds)?;
        writeln!(f, "{:>12} {:>10} {:>10} {:>10} {:>10}  latency, µs", "p50", "p90", "p99", "p99.9", "max")?;
        let mut line = |latency: Latency, end: &str| {
            let Latency { p50, p90, p99, p99_9, max } = latency;
            writeln!(f, "{p50:>12.1} {p90:>10.1} {p99:>10.1} {p99_9:>10.1} {max:>10.1}{end}")
        };
        line(self.latency_us, "")?;
        if let Some(worst) = self.worst_connection_us {
            line(worst, "  of the connection that fared worst")?;
        }
        self.store.iter().try_for_each(|verdict| writeln!(f, "{verdict}"))
    }
}
