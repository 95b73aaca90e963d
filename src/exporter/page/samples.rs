//! Numbers with their labels, as families read them out of a report.
use crate::ipc::report::{Histogram, Report, Worker};
use crate::ipc::sandbox::InForce;
use std::collections::BTreeMap;

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It grows from the daemon's start.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
    /// Words in labels.
    Info,
}

/// Names and values.
pub type Labels = Vec<(&'static str, String)>;

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// A count.
    Whole(u64),
    /// A measure.
    Real(f64),
    /// Of a histogram: the sum of all values, how many there are, and how many in each bucket, by its upper end.
    Buckets {
        /// The sum of all values.
        sum: f64,
        /// How many there are.
        count: u64,
        /// How many in each bucket alone, by its upper end; the last is infinite.
        buckets: Vec<(f64, u64)>,
    },
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Self::Whole(count)
    }
}

impl From<bool> for Number {
    fn from(is_so: bool) -> Self {
        Self::Whole(u64::from(is_so))
    }
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: Labels,
    pub number: Number,
}

/// The only series of its family.
pub fn one(number: impl Into<Number>) -> Vec<Sample> {
    vec![Sample { labels: Labels::new(), number: number.into() }]
}

/// A series for each value of one label.
pub fn each<const N: usize>(label: &'static str, series: [(&str, u64); N]) -> Vec<Sample> {
    let sample = |(value, count): (&str, u64)| Sample { labels: vec![(label, value.to_owned())], number: count.into() };
    series.into_iter().map(sample).collect()
}

/// A time as Prometheus wants it.
pub fn milliseconds(time: u64) -> Number {
    Number::Real(time as f64 / 1e3)
}

/// The same of a finer one.
pub fn microseconds(time: u64) -> Number {
    Number::Real(time as f64 / 1e6)
}

/// A histogram whose values are told in `unit`s of theirs.
pub fn buckets(histogram: &Histogram, unit: f64) -> Vec<Sample> {
    let bounds = histogram.le.iter().map(|bound| *bound as f64 / unit).chain([f64::INFINITY]);
    let buckets = bounds.zip(histogram.counts.iter().copied()).collect();
    one(Number::Buckets { sum: histogram.sum as f64 / unit, count: histogram.total(), buckets })
}

/// A series for each worker's number. Of two generations that have it, `join` makes one number.
pub fn workers<N: Into<Number>>(
    report: &Report,
    read: fn(&Worker) -> u64,
    join: fn(u64, u64) -> u64,
    tell: fn(u64) -> N,
) -> Vec<Sample> {
    let mut numbers: BTreeMap<usize, u64> = BTreeMap::new();
    for worker in &report.workers {
        let value = read(worker);
        numbers.entry(worker.number).and_modify(|old| *old = join(*old, value)).or_insert(value);
    }
    let labels = |worker: usize| vec![("worker", worker.to_string())];
    let sample = |(worker, value)| Sample { labels: labels(worker), number: tell(value).into() };
    numbers.into_iter().map(sample).collect()
}

/// What is told of every role alike.
pub struct Common {
    pub ready: bool,
    pub uptime: u64,
    /// Milliseconds since its loop turned; the supervisor's is not told.
    pub beat: Option<u64>,
    pub sandbox: InForce,
}

macro_rules! common {
    ($role:expr) => {
        Common {
            ready: $role.ready,
            uptime: $role.uptime_seconds,
            beat: Some($role.heartbeat_milliseconds),
            sandbox: $role.sandbox,
        }
    };
}

/// A series for each role; workers by number, of the newest generation that has it.
pub fn roles<N: Into<Number>>(report: &Report, read: fn(&Common) -> Option<N>) -> Vec<Sample> {
    let supervisor = Common { ready: report.ready, uptime: report.uptime_seconds, beat: None, sandbox: report.sandbox };
    let mut all = vec![("supervisor", None, supervisor)];
    // They come in the order of their generations.
    let newest: BTreeMap<usize, &Worker> = report.workers.iter().map(|worker| (worker.number, worker)).collect();
    all.extend(newest.into_iter().map(|(number, worker)| ("worker", Some(number), common!(worker))));
    all.extend(report.writer.iter().map(|role| ("writer", None, common!(role))));
    all.extend(report.archiver.iter().map(|role| ("archiver", None, common!(role))));
    all.extend(report.exporter.iter().map(|role| ("exporter", None, common!(role))));
    let sample = |(role, worker, common): (&str, Option<usize>, Common)| {
        let mut labels = vec![("role", role.to_owned())];
        labels.extend(worker.map(|number| ("worker", number.to_string())));
        Some(Sample { labels, number: read(&common)?.into() })
    };
    all.into_iter().filter_map(sample).collect()
}
