//! What is to be seen, as figures and words: out of the history. Pure.
//!
//! Promise: whatever a report says, and whatever it does not say, gives a view; nothing in it is obeyed by a terminal.
use std::time::Duration;

use super::counters::{self, Section};
use super::events::Event;
use super::history::{Contact, History, Point, Sample};
use super::look::Level;
use super::store;
use super::workers::{self, WorkerRow};
use crate::ipc::report::{Histogram, Report};
use crate::tools::control::printable;
use crate::tools::figures::time;
use crate::tools::figures::{Written, bound, count, micros, millis, of_day};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The first line.
    pub head: Head,
    /// How it is, in words; else where it listens.
    pub state: String,
    /// Messages, bytes, connections.
    pub rates: Vec<Rate>,
    /// How long echoes have taken lately.
    pub latency: Latency,
    /// Writer, syncs, live file, disk, archiver, closed files.
    pub store: Vec<Row>,
    /// The oldest message that waits.
    pub oldest: (Level, String),
    /// Each of them.
    pub workers: Vec<WorkerRow>,
    /// The newest first.
    pub events: Vec<Event>,
    /// All counters.
    pub counters: Vec<Section>,
    /// The time from one question to the next.
    pub interval: String,
}

/// Who it is, and whether all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// In one or two words, and how good that is.
    pub state: (Level, String),
    /// Its version, age, mode, in the order of what matters.
    pub about: Vec<String>,
    /// When the report was made.
    pub clock: String,
    /// The picture is held.
    pub paused: bool,
}

/// A curve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Of what.
    pub name: &'static str,
    /// The newest.
    pub now: String,
    /// The newest last.
    pub values: Vec<Option<u64>>,
    /// How `values` are written.
    pub written: Written,
}

/// A histogram, and figures of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Of what, and of how long.
    pub title: String,
    /// Each bucket's upper bound, and what is in it.
    pub bars: Vec<(String, u64)>,
}

/// A line about a part of the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Of what.
    pub name: &'static str,
    /// How good it is.
    pub level: Level,
    /// How full it is.
    pub share: Option<f64>,
    /// In words.
    pub text: String,
}

/// What is seen at `now`; `paused`: it is held. `None`: no report has come yet.
pub fn view(history: &History, now: Duration, interval: Duration, paused: bool) -> Option<View> {
    let (last, before) = history.last()?;
    let report = &last.report;
    let state = state(report, &history.contact);
    let lately = history.lately();
    let waits = report.oldest_unacknowledged_milliseconds;
    Some(View {
        head: Head { about: about(report), clock: of_day(&report.time, &report.time), paused, state: state.0 },
        state: lost(&history.contact, now).unwrap_or(state.1),
        rates: rates(history),
        latency: latency(lately.as_ref().map(|(span, lately)| (*span, &lately.echo_microseconds))),
        store: store::rows(last, lately.as_ref().map(|(_, lately)| lately)),
        oldest: (workers::waiting(waits), millis(waits)),
        workers: workers::rows(last, before),
        events: history.events.newest(),
        counters: counters::sections(last),
        interval: self::interval(interval),
    })
}

fn interval(interval: Duration) -> String {
    if interval.subsec_millis() == 0 { time(interval.as_secs()) } else { millis(interval.as_millis() as u64) }
}

fn about(report: &Report) -> Vec<String> {
    let mut about = vec![
        format!("up {}", time(report.uptime_seconds)),
        format!("echo {}", report.echo),
        format!("echostored {}", report.version),
        format!("pid {}", report.pid),
        format!("generation {}", report.generation),
    ];
    about.iter_mut().for_each(|text| *text = printable(text));
    about
}

/// One word, and the second line.
fn state(report: &Report, contact: &Contact) -> ((Level, String), String) {
    let word = |level, word: &str| (level, word.to_owned());
    if *contact != Contact::There {
        return (word(Level::Bad, "NO ANSWER"), String::new());
    }
    if !report.health.is_empty() {
        let troubles = printable(&report.health.join("; "));
        return (word(Level::Bad, if report.stopping { "STOPPING" } else { "NOT HEALTHY" }), troubles);
    }
    if report.degraded {
        let why = match report.hanging.as_slice() {
            [] => "a process is missing, and waits to be replaced; others serve".to_owned(),
            hanging => printable(&format!("{} not moving; others serve", hanging.join(", "))),
        };
        return (word(Level::Warn, "degraded"), why);
    }
    let listens = report.listeners.join(", ");
    (word(Level::Good, "healthy"), printable(&format!("{listens} · {} · {}", report.framing, report.directory)))
}

fn lost(contact: &Contact, now: Duration) -> Option<String> {
    let Contact::Lost(since, why) = contact else { return None };
    let seconds = now.saturating_sub(*since).as_secs();
    Some(printable(&format!("no answer for {} (below is old): {why}", time(seconds))))
}

fn rates(history: &History) -> Vec<Rate> {
    let curve = |of: fn(&Point) -> u64| -> Vec<Option<u64>> {
        history.points.iter().map(|point| point.as_ref().map(of)).collect()
    };
    let rate = |name, of, written: Written| {
        let values = curve(of);
        let now = values.last().copied().flatten().map_or("-".to_owned(), |value| written.text(value));
        Rate { name, now, values, written }
    };
    let mut rates = vec![
        rate("messages/s", |point| point.messages, Written::Number),
        rate("bytes/s", |point| point.bytes, Written::Bytes),
        rate("connections", |point| point.connections, Written::Number),
    ];
    // Known before there are two reports.
    if let (Contact::There, Some((last, _)), Some(connections)) = (&history.contact, history.last(), rates.get_mut(2)) {
        connections.now = count(last.report.connections);
    }
    rates
}

/// `p50 25 µs, p99 1.20 ms`; of nothing: nothing.
pub fn quantiles(histogram: &Histogram) -> Option<String> {
    let (half, most) = histogram.quantile(0.5).zip(histogram.quantile(0.99))?;
    Some(format!("p50 {}, p99 {}", micros(half), micros(most)))
}

fn latency(lately: Option<(Duration, &Histogram)>) -> Latency {
    let Some((span, histogram)) = lately else {
        return Latency { title: "echo latency".to_owned(), bars: Vec::new() };
    };
    let title = match quantiles(histogram) {
        None => format!("echo latency, last {}: no echoes", interval(span)),
        Some(quantiles) => {
            let highest = histogram.counts.iter().rposition(|count| *count > 0);
            let above = || histogram.le.last().map_or(String::new(), |last| format!("above {}", micros(*last)));
            let most = highest
                .and_then(|index| histogram.le.get(index))
                .map_or_else(above, |le| format!("up to {}", micros(*le)));
            format!("echo latency, last {}: {quantiles}, {most}", time(span.as_secs_f64().round() as u64))
        }
    };
    let names = histogram.le.iter().map(|le| bound(*le)).chain(["more".to_owned()]);
    Latency { title, bars: names.zip(histogram.counts.iter().copied()).collect() }
}

/// How long a process is up, and how often it has died.
pub fn age(uptime: u64, restarts: u64) -> String {
    format!("up {}, {} restarts", time(uptime), count(restarts))
}

/// Where a sample has no such process.
pub fn absent(name: &'static str, sample: &Sample) -> Row {
    let level = if sample.report.stopping { Level::Plain } else { Level::Bad };
    Row { name, level, share: None, text: "is gone, or just being replaced".to_owned() }
}
