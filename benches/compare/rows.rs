//! The rows of the table: what is to be how many times as good as what, and how well it did.
use crate::figures::{Target, median, verdict};
use crate::load::{Load, Measured};
use crate::places::Place;
use crate::servers::Kind;
use serde::Serialize;

/// What of a measurement is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    Rate,
    MedianLatency,
    CpuPerMillion,
}

impl Figure {
    /// With its unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "messages/s",
            Self::MedianLatency => "p50 µs",
            Self::CpuPerMillion => "CPU s/million",
        }
    }

    /// `None`: it was not measured.
    pub fn of(self, measured: &Measured) -> Option<f64> {
        match self {
            Self::Rate => Some(measured.messages_per_second),
            Self::MedianLatency => measured.p50,
            Self::CpuPerMillion => Some(measured.cpu_per_million),
        }
    }
}

/// One comparison.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub load: Load,
    pub place: Place,
    pub figure: Figure,
    pub ours: Kind,
    pub theirs: Kind,
    pub target: Target,
}

const fn load(connections: usize, in_flight: usize, size: usize) -> Load {
    Load { connections, in_flight, size }
}

const fn stored(name: &'static str, load: Load, figure: Figure, theirs: Kind, target: Target) -> Row {
    Row { name, load, place: Place::Memory, figure, ours: Kind::Stored, theirs, target }
}

const fn synced(name: &'static str, load: Load, target: Target) -> Row {
    Row { name, load, place: Place::Disk, figure: Figure::Rate, ours: Kind::Synced, theirs: Kind::Redis, target }
}

pub const ONE_IN_FLIGHT: Load = load(50, 1, 128);
pub const MANY_IN_FLIGHT: Load = load(50, 64, 128);
const LARGE: Load = load(4, 4, 65536);
const ALONE: Load = load(1, 1, 128);

/// The targets of the project.
pub const ROWS: [Row; 10] = [
    stored("50x1", ONE_IN_FLIGHT, Figure::Rate, Kind::EchoOnly, Target::AtLeast(0.90)),
    stored("50x1-textbook", ONE_IN_FLIGHT, Figure::Rate, Kind::Textbook, Target::AtLeast(1.7)),
    stored("50x64", MANY_IN_FLIGHT, Figure::Rate, Kind::EchoOnly, Target::AtLeast(0.70)),
    stored("50x64-rsyslog", MANY_IN_FLIGHT, Figure::Rate, Kind::Rsyslog, Target::AtLeast(2.5)),
    stored("4x4x64k", LARGE, Figure::Rate, Kind::EchoOnly, Target::AtLeast(0.35)),
    stored("latency", ALONE, Figure::MedianLatency, Kind::EchoOnly, Target::AtMost(3.0)),
    stored("cpu", MANY_IN_FLIGHT, Figure::CpuPerMillion, Kind::EchoOnly, Target::AtMost(2.0)),
    synced("synced-50x1", ONE_IN_FLIGHT, Target::AtLeast(1.2)),
    synced("synced-50x64", MANY_IN_FLIGHT, Target::AtLeast(4.0)),
    synced("synced-1x1", ALONE, Target::AtLeast(1.0)),
];

/// One measurement, or why there is none.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub round: usize,
    pub place: Place,
    pub load: Load,
    pub server: Kind,
    #[serde(flatten)]
    pub result: Outcome,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Measured(Measured),
    Failed(String),
    Skipped(String),
}

/// A row with its figures: medians over the rounds; the ratios are taken within each round.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    #[serde(flatten)]
    pub row: Row,
    pub our_figure: Option<f64>,
    pub their_figure: Option<f64>,
    pub ratio: Option<f64>,
    pub ratios: Vec<f64>,
    /// Our server's second instance against the first.
    pub again: Option<f64>,
    pub verdict: String,
}

fn measured<'a>(runs: &'a [Run], row: &Row, server: Kind) -> impl Iterator<Item = (usize, f64)> + 'a {
    let (place, load, figure) = (row.place, row.load, row.figure);
    let of = runs.iter().filter(move |run| (run.place, run.load, run.server) == (place, load, server));
    of.filter_map(move |run| match &run.result {
        Outcome::Measured(measured) => Some((run.round, figure.of(measured)?)),
        _ => None,
    })
}

/// The ratios of a figure of two servers, round by round.
fn ratios(runs: &[Run], row: &Row, above: Kind, below: Kind) -> Vec<f64> {
    let of_round = |round| measured(runs, row, below).find(|(other, _)| *other == round);
    let pairs = measured(runs, row, above).filter_map(|(round, figure)| Some((figure, of_round(round)?.1)));
    pairs.filter(|(_, below)| *below > 0.0).map(|(above, below)| above / below).collect()
}

/// Why this row has no figures.
fn why_not(runs: &[Run], row: &Row) -> String {
    let of = runs.iter().filter(|run| {
        (run.place, run.load) == (row.place, row.load) && (run.server == row.ours || run.server == row.theirs)
    });
    let reasons: Vec<String> = of
        .filter_map(|run| match &run.result {
            Outcome::Measured(_) => None,
            Outcome::Failed(why) => Some(format!("FAILED: {why}")),
            Outcome::Skipped(why) => Some(format!("SKIPPED: {why}")),
        })
        .collect();
    reasons.into_iter().next().unwrap_or_else(|| "FAILED: nothing could be measured".to_owned())
}

/// Judges a row by all runs.
pub fn judge(row: Row, runs: &[Run]) -> Judged {
    let figure = |server| median(&measured(runs, &row, server).map(|(_, figure)| figure).collect::<Vec<_>>());
    let ratios_of_row = ratios(runs, &row, row.ours, row.theirs);
    let ratio = median(&ratios_of_row);
    let again = row.ours.again().and_then(|again| median(&ratios(runs, &row, again, row.ours)));
    let verdict = match ratio {
        Some(ratio) => verdict(ratio, row.target, again),
        None => why_not(runs, &row),
    };
    let (our_figure, their_figure) = (figure(row.ours), figure(row.theirs));
    Judged { row, our_figure, their_figure, ratio, ratios: ratios_of_row, again, verdict }
}

#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "run by tests/benches.rs; a program without a harness only compiles them")]
mod tests {
    use super::*;

    fn run(round: usize, server: Kind, rate: f64) -> Run {
        let measured = Measured {
            messages: 1,
            seconds: 1.0,
            messages_per_second: rate,
            p50: None,
            p99: None,
            worst_p99: None,
            max: None,
            cpu_per_million: 1.0,
        };
        Run { round, place: Place::Memory, load: ONE_IN_FLIGHT, server, result: Outcome::Measured(measured) }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let runs = [
            run(0, Kind::Stored, 90.0),
            run(0, Kind::EchoOnly, 100.0),
            run(1, Kind::Stored, 190.0),
            run(1, Kind::EchoOnly, 200.0),
            run(2, Kind::Stored, 50.0),
            run(1, Kind::StoredAgain, 200.0),
        ];
        let judged = judge(ROWS[0], &runs);
        assert_eq!(judged.ratios, [0.9, 0.95]);
        assert_eq!(judged.ratio, Some(0.925));
        assert_eq!(judged.again, Some(200.0 / 190.0));
        assert_eq!((judged.our_figure, judged.their_figure), (Some(90.0), Some(150.0)));
        assert_eq!(judged.verdict, "pass");
    }

    #[test]
    fn what_was_not_measured_says_why() {
        let mut skipped = run(0, Kind::Rsyslog, 0.0);
        skipped.load = MANY_IN_FLIGHT;
        skipped.result = Outcome::Skipped("no rsyslogd".to_owned());
        assert_eq!(judge(ROWS[3], &[skipped]).verdict, "SKIPPED: no rsyslogd");
        assert!(judge(ROWS[3], &[]).verdict.starts_with("FAILED"));
        assert_eq!(judge(ROWS[5], &[]).ratio, None);
    }
}
