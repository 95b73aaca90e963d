//! How throughput, latency and memory grow with connections, message size, workers and files.
pub mod idle;

use crate::bench::Bench;
use crate::figures::{Target, median, number, verdict};
use crate::load::{Amount, Load, Measured};
use crate::machine;
use crate::places::Place;
use crate::processes::Memory;
use crate::report::Report;
use crate::rows::MANY_IN_FLIGHT;
use crate::servers::echostored::{self, Settings};
use crate::servers::{self, Kind, Server, small};
use serde::Serialize;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

/// One measurement. `x` is what grows.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    pub part: &'static str,
    pub x: u64,
    pub server: Kind,
    pub round: usize,
    #[serde(flatten)]
    pub measured: Measured,
    /// Of all the server's processes, in the middle of the measurement.
    pub memory_kib: Memory,
    pub ready_ms: f64,
}

/// What grows, how it is called, and how it is measured in one round.
struct Part {
    name: &'static str,
    x: &'static str,
    measure: fn(&Bench<'_>, &mut Vec<Point>, usize) -> Result<(), String>,
}

const PARTS: [Part; 4] = [
    Part { name: "connections", x: "connections", measure: connections },
    Part { name: "sizes", x: "bytes", measure: sizes },
    Part { name: "workers", x: "workers", measure: workers },
    Part { name: "files", x: "files", measure: files },
];

/// Measures, prints, and gives the JSON; false if something could not be measured.
pub fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(Value, bool), String> {
    let names: Vec<&str> = PARTS.iter().map(|part| part.name).chain(["idle"]).collect();
    if !names.iter().any(|name| bench.options.wants(name)) {
        return Err(format!("no such part of growth; there are: {}", names.join(", ")));
    }
    let described = machine::describe(&bench.binary, &bench.places);
    let (mut points, mut failures) = (Vec::new(), Vec::new());
    for part in PARTS.iter().filter(|part| bench.options.wants(part.name)) {
        for round in 0..bench.options.rounds() {
            if let Err(error) = (part.measure)(bench, &mut points, round) {
                eprintln!("compare: FAILED: {}: {error}", part.name);
                failures.push(format!("{}: {error}", part.name));
            }
        }
        print(report, part, &points);
    }
    let mut idle = Vec::new();
    if bench.options.wants("idle") {
        match idle::measure(bench) {
            Ok(found) => idle = found,
            Err(error) => failures.push(format!("idle: {error}")),
        }
        idle::print(report, &idle);
    }
    failures.iter().for_each(|failure| report.text(format!("FAILED: {failure}")));
    report.heading("Measured on, and with");
    report.table(&["", ""], described.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect());
    let settings =
        json!({"rounds": bench.options.rounds(), "seconds": bench.span().as_secs_f64(), "quick": bench.options.quick});
    let json = json!({"version": 1, "part": "growth", "machine": machine::to_json(&described), "settings": settings,
        "points": points, "idle": idle, "failures": failures});
    Ok((json, failures.is_empty()))
}

/// Measures once, and takes the server's memory in the middle.
fn point(bench: &Bench<'_>, server: &Server, load: Load, at: (&'static str, u64, usize)) -> Result<Point, String> {
    let (part, x, round) = at;
    let span = bench.span();
    let before = server.cpu_seconds();
    let running = bench.generator.start(server, load, Amount::Time(span))?;
    std::thread::sleep(span.mul_f64(0.6));
    let memory_kib = server.memory();
    let measured = running.finish(span)?.costing(server.cpu_seconds() - before);
    let rate = number(measured.messages_per_second);
    eprintln!("compare: round {}, {part} {x}, {}: {rate} messages/s", round + 1, server.kind.name());
    Ok(Point { part, x, server: server.kind, round, measured, memory_kib, ready_ms: server.ready.as_secs_f64() * 1e3 })
}

/// All steps, or the first few for a smoke run.
fn steps<'a, T>(bench: &Bench<'_>, all: &'a [T]) -> &'a [T] {
    if bench.options.quick { &all[..2] } else { all }
}

/// New servers in each round: memory that an earlier round needed may have been kept.
fn connections(bench: &Bench<'_>, points: &mut Vec<Point>, round: usize) -> Result<(), String> {
    let pair = [bench.start(Kind::Stored, Place::Memory)?, bench.start(Kind::EchoOnly, Place::Memory)?];
    for &connections in steps(bench, &[1, 10, 100, 1_000, 10_000]) {
        for server in &pair {
            let load = Load { connections, in_flight: 1, size: 128 };
            points.push(point(bench, server, load, ("connections", connections as u64, round))?);
        }
    }
    Ok(())
}

/// As many in flight as make a mebibyte on each of four connections, but at least one and at most 64.
fn sizes(bench: &Bench<'_>, points: &mut Vec<Point>, round: usize) -> Result<(), String> {
    let settings = Settings { largest: "16MiB", ..Settings::default() };
    let home = servers::home(bench.places.path(Place::Memory))?;
    let ours = echostored::start(Kind::Stored, home, &bench.binary, &settings)?;
    bench.warm_up(&ours, Place::Memory)?;
    let pair = [ours, bench.start(Kind::EchoOnly, Place::Memory)?];
    for &size in steps(bench, &[1, 16, 128, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20]) {
        for server in &pair {
            let load = Load { connections: 4, in_flight: ((1 << 20) / size).clamp(1, 64), size };
            points.push(point(bench, server, load, ("sizes", size as u64, round))?);
        }
    }
    Ok(())
}

fn workers(bench: &Bench<'_>, points: &mut Vec<Point>, round: usize) -> Result<(), String> {
    for &workers in steps(bench, &[1, 2, 3, 4, 8]) {
        let settings = Settings { workers: Some(workers), ..Settings::default() };
        let home = || servers::home(bench.places.path(Place::Memory));
        let ours = echostored::start(Kind::Stored, home()?, &bench.binary, &settings)?;
        bench.warm_up(&ours, Place::Memory)?;
        for server in [ours, small::echo_only(home()?, workers)?] {
            points.push(point(bench, &server, MANY_IN_FLIGHT, ("workers", workers as u64, round))?);
        }
    }
    Ok(())
}

/// The directory holds so many closed files before the start, and retention keeps as many.
fn files(bench: &Bench<'_>, points: &mut Vec<Point>, round: usize) -> Result<(), String> {
    for &count in steps(bench, &[10, 100, 1_000, 10_000, 100_000]) {
        let home = servers::home(bench.places.path(Place::Memory))?;
        fill(&home.path().join("store"), count)?;
        let settings = Settings { kept: count, ..Settings::default() };
        let server = echostored::start(Kind::Stored, home, &bench.binary, &settings)?;
        // The archiver seals what it finds.
        server.settle(Duration::from_secs(if bench.options.quick { 1 } else { 60 }));
        points.push(point(bench, &server, MANY_IN_FLIGHT, ("files", count as u64, round))?);
    }
    Ok(())
}

/// A store with `count` closed files of one record each.
fn fill(store: &std::path::Path, count: usize) -> Result<(), String> {
    let cannot = |error| format!("cannot fill {}: {error}", store.display());
    fs::DirBuilder::new().create(store).map_err(cannot)?;
    fs::set_permissions(store, std::os::unix::fs::PermissionsExt::from_mode(0o750)).map_err(cannot)?;
    for number in 1..=count {
        let record = format!("2026-01-01T00:00:00.000000Z 127.0.0.1:1 1.1.{number}-1 m\n");
        let name = format!("messages-{number:010}-20260101T000000Z.log");
        fs::write(store.join(name), record).map_err(cannot)?;
    }
    Ok(())
}

/// The median over the rounds of one figure of the points at `x`.
pub fn at(points: &[Point], part: &str, x: u64, server: Kind, figure: impl Fn(&Point) -> Option<f64>) -> Option<f64> {
    let here = points.iter().filter(|point| (point.part, point.x, point.server) == (part, x, server));
    median(&here.filter_map(figure).collect::<Vec<_>>())
}

fn print(report: &mut Report, part: &Part, points: &[Point]) {
    let mut keys: Vec<(u64, Kind)> =
        points.iter().filter(|point| point.part == part.name).map(|point| (point.x, point.server)).collect();
    keys.sort();
    keys.dedup();
    let rows = keys.iter().map(|&(x, server)| {
        let shown = |figure: fn(&Point) -> Option<f64>| {
            at(points, part.name, x, server, figure).map_or_else(|| "–".to_owned(), number)
        };
        vec![
            number(x as f64).trim_end_matches(".00").trim_end_matches(".0").to_owned(),
            server.name().to_owned(),
            shown(|point| Some(point.measured.messages_per_second)),
            shown(|point| {
                Some(
                    point.measured.messages_per_second * if point.part == "sizes" { point.x as f64 } else { 128.0 }
                        / 1e6,
                )
            }),
            shown(|point| point.measured.p50),
            shown(|point| point.measured.p99),
            shown(|point| Some(point.measured.cpu_per_million)),
            shown(|point| Some(point.memory_kib.pss as f64 / 1024.0)),
            shown(|point| Some(point.ready_ms)),
        ]
    });
    report.heading(format!("Growth: {}", part.name));
    let head = [part.x, "server", "messages/s", "MB/s", "p50 µs", "p99 µs", "CPU s/million", "memory MiB", "ready ms"];
    report.table(&head, rows.collect());
    if part.name == "connections" {
        let drop = |server| {
            let rate = |x| at(points, part.name, x, server, |point| Some(point.measured.messages_per_second));
            Some(rate(100)? / rate(10_000)?)
        };
        if let (Some(ours), Some(theirs)) = (drop(Kind::Stored), drop(Kind::EchoOnly)) {
            let verdict = verdict(ours / theirs, Target::AtMost(1.2), None);
            report.text(format!(
                "From 100 to 10,000 connections throughput falls to 1/{ours:.2}; of echo-only to 1/{theirs:.2}: {:.2} times as \
                 much (target ≤ 1.2): {verdict}.",
                ours / theirs
            ));
        }
    }
}
