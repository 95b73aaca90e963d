//! What one client does to a thousand others: one that does not read, and one that sends as fast as it can.
use crate::bench::Bench;
use crate::figures::{Target, median, number, verdict};
use crate::load::{Amount, Load, Measured};
use crate::machine;
use crate::places::Place;
use crate::report::Report;
use crate::servers::{Kind, Server};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MANY: Load = Load { connections: 1000, in_flight: 1, size: 128 };
const FAST: Load = Load { connections: 1, in_flight: 256, size: 128 };

/// Who disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Disturbance {
    SlowReader,
    FastClient,
}

impl Disturbance {
    fn name(self) -> &'static str {
        match self {
            Self::SlowReader => "slow-reader",
            Self::FastClient => "fast-client",
        }
    }

    /// What is compared: a slow reader must not cost the others anything, a fast client none of them much.
    fn figure(self, measured: &Measured) -> Option<f64> {
        match self {
            Self::SlowReader => measured.p99,
            Self::FastClient => measured.worst_p99,
        }
    }

    /// Of the others' figure with it against theirs without it.
    fn target(self) -> Target {
        match self {
            Self::SlowReader => Target::AtMost(1.10),
            Self::FastClient => Target::AtMost(2.0),
        }
    }
}

/// The others in one round: without it, with it, and without it again.
#[derive(Clone, Debug, Serialize)]
struct Round {
    disturbance: Disturbance,
    server: Kind,
    without: Measured,
    with: Measured,
    again: Measured,
}

/// Measures, prints, and gives the JSON; false if something could not be measured.
pub fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(Value, bool), String> {
    let both = [Disturbance::SlowReader, Disturbance::FastClient];
    if !both.iter().any(|disturbance| bench.options.wants(disturbance.name())) {
        return Err("no such part of fairness; there are: slow-reader, fast-client".to_owned());
    }
    let described = machine::describe(&bench.binary, &bench.places);
    let (mut rounds, mut rows, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for kind in [Kind::Stored, Kind::EchoOnly] {
        let server = bench.start(kind, Place::Memory)?;
        for disturbance in both {
            if !bench.options.wants(disturbance.name()) {
                continue;
            }
            let measured: Result<Vec<Round>, String> =
                (0..bench.options.rounds()).map(|_| round(bench, &server, disturbance)).collect();
            match measured {
                Ok(measured) => {
                    rows.push(row(kind, disturbance, &measured));
                    rounds.extend(measured);
                }
                Err(error) => failures.push(format!("{}, {}: {error}", disturbance.name(), kind.name())),
            }
        }
    }
    report.heading("Fairness");
    report.text(format!(
        "{MANY}: their latency without and with one more client. slow-reader: it sends without end and reads 128 bytes ten times \
         a second; p99 of all. fast-client: {FAST}; p99 of the one that fares worst. A/A: without it once more."
    ));
    let head = [
        "disturbance",
        "server",
        "p99 µs without",
        "with",
        "ratio",
        "target",
        "A/A",
        "messages/s without",
        "with",
        "verdict",
    ];
    report.table(&head, rows);
    failures.iter().for_each(|failure| report.text(format!("FAILED: {failure}")));
    let json = json!({"version": 1, "part": "fairness", "machine": machine::to_json(&described), "rounds": rounds,
        "failures": failures});
    Ok((json, failures.is_empty()))
}

fn row(kind: Kind, disturbance: Disturbance, rounds: &[Round]) -> Vec<String> {
    let middle = |figure: &dyn Fn(&Round) -> Option<f64>| median(&rounds.iter().filter_map(figure).collect::<Vec<_>>());
    let of = |measured: &Measured| disturbance.figure(measured);
    let ratio = middle(&|round| Some(of(&round.with)? / of(&round.without)?.midpoint(of(&round.again)?)));
    let again = middle(&|round| Some(of(&round.again)? / of(&round.without)?));
    let shown = |figure: Option<f64>| figure.map_or_else(|| "–".to_owned(), number);
    let verdict = ratio.map_or_else(String::new, |ratio| verdict(ratio, disturbance.target(), again));
    vec![
        disturbance.name().to_owned(),
        kind.name().to_owned(),
        shown(middle(&|round| of(&round.without))),
        shown(middle(&|round| of(&round.with))),
        shown(ratio),
        disturbance.target().to_string(),
        shown(again),
        shown(middle(&|round| Some(round.without.messages_per_second))),
        shown(middle(&|round| Some(round.with.messages_per_second))),
        // The echo-only server is shown, not judged.
        if kind == Kind::Stored { verdict } else { String::new() },
    ]
}

fn round(bench: &Bench<'_>, server: &Server, disturbance: Disturbance) -> Result<Round, String> {
    let alone = || bench.measure(server, MANY);
    let without = alone()?;
    let with = match disturbance {
        Disturbance::SlowReader => beside_slow_reader(bench, server)?,
        Disturbance::FastClient => {
            let span = bench.span();
            // It begins before the others and ends after them.
            let longer = span * 2 + Duration::from_secs(2);
            let fast = bench.generator.start(server, FAST, Amount::Time(longer))?;
            std::thread::sleep(span / 10);
            let measured = bench.measure(server, MANY)?;
            drop(fast);
            measured
        }
    };
    let again = alone()?;
    let figures = [&without, &with, &again].map(|measured| measured.p99.map_or_else(|| "–".to_owned(), number));
    eprintln!("compare: {}, {}: p99 {} µs", disturbance.name(), server.kind.name(), figures.join(", "));
    Ok(Round { disturbance, server: server.kind, without, with, again })
}

fn beside_slow_reader(bench: &Bench<'_>, server: &Server) -> Result<Measured, String> {
    let done = AtomicBool::new(false);
    let mut stream = TcpStream::connect(server.address).map_err(|error| format!("cannot connect: {error}"))?;
    stream.set_nonblocking(true).map_err(|error| format!("cannot set the socket: {error}"))?;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_slowly(&mut stream, &done));
        let measured = bench.measure(server, MANY);
        done.store(true, Ordering::SeqCst);
        match reader.join() {
            Ok(Ok(())) => measured,
            Ok(Err(error)) => Err(format!("the slow reader was thrown out: {error}")),
            Err(_) => Err("the slow reader broke".to_owned()),
        }
    })
}

/// Sends whatever is taken; reads a little ten times a second.
fn read_slowly(stream: &mut TcpStream, done: &AtomicBool) -> std::io::Result<()> {
    let later = |result: std::io::Result<usize>| match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    };
    let message = [[b's'; 127].as_slice(), b"\n"].concat().repeat(64);
    let (mut sent, mut echo) = (0, [0; 128]);
    while !done.load(Ordering::SeqCst) {
        // Until the server takes no more: from then on it has a client that does not read.
        loop {
            let count = later(stream.write(&message[sent..]))?;
            sent = (sent + count) % message.len();
            if count == 0 || done.load(Ordering::SeqCst) {
                break;
            }
        }
        later(stream.read(&mut echo))?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
