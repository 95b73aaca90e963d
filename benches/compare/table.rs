//! The table: all servers in turn, round by round, the ratios, and what they were measured with.
use crate::bench::Bench;
use crate::figures::{Target, median, number, verdict};
use crate::load::{Amount, Load};
use crate::places::Place;
use crate::report::Report;
use crate::rows::{Figure, Judged, MANY_IN_FLIGHT, Outcome, ROWS, Row, Run, judge};
use crate::servers::{Kind, Server};
use crate::{machine, processes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

/// Servers that are measured at one place: running, or why not.
type Servers = BTreeMap<Kind, Result<Server, Outcome>>;

const NO_VERDICT: &str = "no verdict: a smoke run";

/// A figure of its own, without another server.
struct Absolute {
    name: &'static str,
    what: &'static str,
    target: f64,
    figures: Vec<Result<f64, String>>,
}

/// Measures, prints, and gives the JSON; false if something could not be measured.
pub fn run(bench: &Bench<'_>, report: &mut Report) -> Result<(Value, bool), String> {
    let described = machine::describe(&bench.binary, &bench.places);
    let rows: Vec<Row> = ROWS.into_iter().filter(|row| bench.options.wants(row.name)).collect();
    let mut absolutes: Vec<Absolute> = absolutes().into_iter().filter(|row| bench.options.wants(row.name)).collect();
    if rows.is_empty() && absolutes.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).chain(["ready", "killed-writer"]).collect();
        return Err(format!("no such row; there are: {}", names.join(", ")));
    }
    let (mut runs, mut configs) = (Vec::new(), BTreeMap::new());
    for place in [Place::Memory, Place::Disk] {
        measure_place(bench, place, &rows, &mut runs, &mut configs);
    }
    for absolute in &mut absolutes {
        let figures =
            (0..bench.options.rounds()).map(|_| if absolute.name == "ready" { ready(bench) } else { stall(bench) });
        absolute.figures = figures.collect();
    }
    let mut judged: Vec<Judged> = rows.into_iter().map(|row| judge(row, &runs)).collect();
    if bench.options.quick {
        let measured = judged.iter_mut().filter(|judged| judged.ratio.is_some());
        measured.for_each(|judged| NO_VERDICT.clone_into(&mut judged.verdict));
    }
    print(bench, report, &judged, &absolutes, &runs);
    report.heading("Measured on, and with");
    report.table(&["", ""], described.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect());
    configs.iter().for_each(|(name, config): (&String, &String)| report.verbatim(name, config));
    let failed = runs.iter().any(|run| matches!(run.result, Outcome::Failed(_)))
        || absolutes.iter().any(|row| row.figures.iter().any(Result::is_err));
    let absolutes: Vec<Value> = absolutes.iter().map(|row| row.to_json(bench.options.quick)).collect();
    let settings =
        json!({"rounds": bench.options.rounds(), "seconds": bench.span().as_secs_f64(), "quick": bench.options.quick});
    let json = json!({"version": 1, "part": "table", "machine": machine::to_json(&described), "settings": settings,
        "rows": judged, "absolutes": absolutes, "configurations": configs, "runs": runs});
    Ok((json, !failed))
}

/// The loads that are wanted at a place, with the servers that have their turn in each: ours and theirs, A and B in turn.
fn plan(bench: &Bench<'_>, place: Place, rows: &[Row]) -> BTreeMap<Load, Vec<Kind>> {
    let mut plan: BTreeMap<Load, Vec<Kind>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.place == place) {
        let kinds = plan.entry(row.load).or_default();
        // Beside what the rows need, what a reader will ask for.
        let (whole, all) = (!bench.options.quick, !bench.options.quick || row.load == MANY_IN_FLIGHT);
        let beside: &[Kind] = match place {
            Place::Memory if all => &[Kind::Received, Kind::Synced],
            Place::Disk if whole => &[Kind::Stored],
            _ => &[],
        };
        let textbook = (place == Place::Memory && whole).then_some(Kind::Textbook);
        let wanted = [row.ours, row.theirs].into_iter().chain(row.ours.again()).chain(textbook);
        for kind in wanted.chain(beside.iter().copied()) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    plan
}

fn measure_place(
    bench: &Bench<'_>,
    place: Place,
    rows: &[Row],
    runs: &mut Vec<Run>,
    configs: &mut BTreeMap<String, String>,
) {
    let plan = plan(bench, place, rows);
    let mut kinds: Vec<Kind> = plan.values().flatten().copied().collect();
    kinds.sort();
    kinds.dedup();
    let servers: Servers = kinds.into_iter().map(|kind| (kind, start(bench, kind, place))).collect();
    // Second instances have the same, but for names.
    let again = |kind: Kind| [Kind::StoredAgain, Kind::SyncedAgain].contains(&kind);
    for server in servers.values().flatten().filter(|server| !again(server.kind)) {
        let name = format!("{} ({})", server.kind.name(), bench.places.file_system(place));
        configs.insert(name, server.config.clone());
    }
    for round in 0..bench.options.rounds() {
        for (load, kinds) in &plan {
            let mut order = kinds.clone();
            // What goes first may have it better or worse.
            if round % 2 == 1 {
                order.reverse();
            }
            for kind in order {
                let result = servers.get(&kind).map_or_else(
                    || Outcome::Failed("it was not started".to_owned()),
                    |server| measure(bench, place, server.as_ref(), *load),
                );
                tell(round, *load, kind, &result);
                runs.push(Run { round, place, load: *load, server: kind, result });
            }
        }
    }
}

fn start(bench: &Bench<'_>, kind: Kind, place: Place) -> Result<Server, Outcome> {
    match kind.missing() {
        Some(why) => {
            eprintln!("compare: SKIPPED {}: {why}", kind.name());
            Err(Outcome::Skipped(why))
        }
        None => bench.start(kind, place).map_err(Outcome::Failed),
    }
}

fn measure(bench: &Bench<'_>, place: Place, server: Result<&Server, &Outcome>, load: Load) -> Outcome {
    let server = match server {
        Ok(server) => server,
        Err(why) => return why.clone(),
    };
    if place == Place::Disk {
        // What was measured before must not be written while this is.
        let synced = std::fs::File::open(bench.places.path(place)).map(|place| nix::unistd::syncfs(place.as_fd()));
        if !matches!(synced, Ok(Ok(()))) {
            eprintln!("compare: {} cannot be synced", bench.places.path(place).display());
        }
    }
    bench.measure(server, load).map_or_else(Outcome::Failed, Outcome::Measured)
}

fn tell(round: usize, load: Load, kind: Kind, result: &Outcome) {
    let what = match result {
        Outcome::Measured(measured) => format!("{} messages/s", number(measured.messages_per_second)),
        Outcome::Failed(why) => format!("FAILED: {why}"),
        // Said once, when it should have been started.
        Outcome::Skipped(_) => return,
    };
    eprintln!("compare: round {}, {load}, {}: {what}", round + 1, kind.name());
}

fn absolutes() -> [Absolute; 2] {
    [
        Absolute { name: "ready", what: "from the start until ready, ms", target: 50.0, figures: Vec::new() },
        Absolute {
            name: "killed-writer",
            what: "longest echo when the writer is killed, ms",
            target: 100.0,
            figures: Vec::new(),
        },
    ]
}

impl Absolute {
    fn median(&self) -> Option<f64> {
        median(&self.figures.iter().filter_map(|figure| figure.as_ref().ok().copied()).collect::<Vec<_>>())
    }

    fn verdict(&self, quick: bool) -> String {
        match self.figures.iter().find_map(|figure| figure.as_ref().err()) {
            Some(error) => format!("FAILED: {error}"),
            None if quick => NO_VERDICT.to_owned(),
            None => self.median().map_or_else(String::new, |figure| verdict(figure, Target::AtMost(self.target), None)),
        }
    }

    fn to_json(&self, quick: bool) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|figure| figure.as_ref().map_or_else(|why| json!(why), |figure| json!(figure)))
            .collect();
        json!({"name": self.name, "what": self.what, "at-most": self.target, "figures": figures,
            "median": self.median(), "verdict": self.verdict(quick)})
    }
}

/// Milliseconds from the call until `READY=1`, with a new store.
fn ready(bench: &Bench<'_>) -> Result<f64, String> {
    let server = Server::start(Kind::Stored, Place::Memory, &bench.places, &bench.binary)?;
    Ok(server.ready.as_secs_f64() * 1e3)
}

/// The longest wait for an echo, in milliseconds, while the writer is killed under load; a lost connection is an error.
fn stall(bench: &Bench<'_>) -> Result<f64, String> {
    let server = bench.start(Kind::Stored, Place::Memory)?;
    let span = bench.span().max(Duration::from_secs(1));
    let running = bench.generator.start(&server, MANY_IN_FLIGHT, Amount::Time(span))?;
    std::thread::sleep(span / 2);
    let writer = processes::titled(server.pid(), "echostored: writer").ok_or("no writer is found")?;
    kill(Pid::from_raw(writer), Signal::SIGKILL).map_err(|error| format!("cannot kill the writer: {error}"))?;
    let measured = running.finish(span)?;
    measured.max.map(|micros| micros / 1e3).ok_or_else(|| "no latency was measured".to_owned())
}

fn print(bench: &Bench<'_>, report: &mut Report, judged: &[Judged], absolutes: &[Absolute], runs: &[Run]) {
    let shown = |figure: Option<f64>| figure.map_or_else(|| "–".to_owned(), number);
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
    report.heading("Ratios");
    let (rounds, seconds) = (bench.options.rounds(), bench.span().as_secs_f64());
    report.text(format!(
        "Connections × in flight × bytes. Medians of {rounds} rounds of {seconds} s; ratios are taken within a round. A/A: a \
         second instance of echostored against the first."
    ));
    let rows = judged.iter().map(|judged| {
        let row = &judged.row;
        let against = format!("{} / {}", row.ours.name(), row.theirs.name());
        let figures = [shown(judged.our_figure), shown(judged.their_figure), ratio(judged.ratio)];
        let head = [row.name.to_owned(), row.load.to_string(), against, row.figure.name().to_owned()];
        let tail = [row.target.to_string(), ratio(judged.again), judged.verdict.clone()];
        [&head[..], &figures, &tail].concat()
    });
    let head = ["row", "load", "servers", "figure", "ours", "theirs", "ratio", "target", "A/A", "verdict"];
    if !judged.is_empty() {
        report.table(&head, rows.collect());
    }
    if !absolutes.is_empty() {
        let rows = absolutes.iter().map(|row| {
            vec![
                row.name.to_owned(),
                row.what.to_owned(),
                shown(row.median()),
                format!("≤ {}", row.target),
                row.verdict(bench.options.quick),
            ]
        });
        report.table(&["row", "figure", "measured", "target", "verdict"], rows.collect());
    }
    if runs.is_empty() {
        return;
    }
    report.heading("Figures");
    let rows = groups(runs).into_iter().map(|((place, load, kind), runs)| {
        let of = |figure: Figure| shown(median(&runs.iter().filter_map(|run| figure.of(run)).collect::<Vec<_>>()));
        let p99 = shown(median(&runs.iter().filter_map(|run| run.p99).collect::<Vec<_>>()));
        let figures = [of(Figure::Rate), of(Figure::MedianLatency), p99, of(Figure::CpuPerMillion)];
        [&[load.to_string(), bench.places.file_system(place), kind.name().to_owned()], &figures[..]].concat()
    });
    let head = ["load", "store on", "server", "messages/s", "p50 µs", "p99 µs", "CPU s/million"];
    report.table(&head, rows.collect());
}

/// What was measured of each server with each load.
fn groups(runs: &[Run]) -> BTreeMap<(Place, Load, Kind), Vec<&crate::load::Measured>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for run in runs {
        if let Outcome::Measured(measured) = &run.result {
            groups.entry((run.place, run.load, run.server)).or_default().push(measured);
        }
    }
    groups
}
