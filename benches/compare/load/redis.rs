//! Redis is measured by its own load program.
//!
//! The command is `SET` of one key: of all that append a value to the log, the one that costs Redis least (`RPUSH` keeps
//! every value in memory, too). The value has as many bytes as a message.
use super::{Load, Measured, Running, piped};
use crate::servers::{Server, attached, find_program};
use std::path::Path;
use std::time::Duration;

/// It counts requests, not time: how many, a short run tells.
pub fn measure(server: &Server, load: Load, span: Duration, log: &Path) -> Result<Measured, String> {
    let least = (load.connections * load.in_flight * 4) as u64;
    let trial = run(server, load, least.max(1000), span, log)?;
    let count = (trial.messages_per_second * span.as_secs_f64()) as u64;
    let before = server.cpu_seconds();
    let measured = run(server, load, count.max(least), span, log)?;
    Ok(measured.costing(server.cpu_seconds() - before))
}

fn run(server: &Server, load: Load, count: u64, span: Duration, log: &Path) -> Result<Measured, String> {
    let program = find_program("redis-benchmark").ok_or("no redis-benchmark on this machine")?;
    let mut command = attached(program.as_os_str(), log)?;
    command.args(["--csv", "--precision", "3", "-t", "set", "-h"]).arg(server.address.ip().to_string());
    let numbers = [
        ("-p", u64::from(server.address.port())),
        ("-c", load.connections as u64),
        ("-P", load.in_flight as u64),
        ("-d", load.size as u64),
        ("-n", count),
    ];
    for (option, number) in numbers {
        command.arg(option).arg(number.to_string());
    }
    let child = piped(command)?;
    let running = Running { child, log: log.to_owned(), what: format!("redis-benchmark {load}") };
    let said = running.output(span)?;
    figures(&said, count).ok_or_else(|| format!("redis-benchmark: its output is not understood: {said}"))
}

/// Of the CSV's line of SET: requests a second; milliseconds: average, least, p50, p95, p99, most.
fn figures(said: &str, count: u64) -> Option<Measured> {
    let line = said.lines().find_map(|line| line.trim_start().strip_prefix("\"SET\","))?;
    let fields: Option<Vec<f64>> = line.split(',').map(|field| field.trim().trim_matches('"').parse().ok()).collect();
    let [rate, _, _, p50, _, p99, max] = fields?[..] else { return None };
    let micros = |millis: f64| Some(millis * 1000.0);
    Some(Measured {
        messages: count,
        seconds: count as f64 / rate,
        messages_per_second: rate,
        p50: micros(p50),
        p99: micros(p99),
        max: micros(max),
        worst_p99: None,
        cpu_per_million: 0.0,
    })
}
