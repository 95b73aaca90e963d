//! What has happened between two reports, in words. Pure.
//!
//! Promise: what happens again and again takes one line with a sum, not a line each time.
use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

use super::history::Sample;
use super::look::Level;
use crate::ipc::report::Report;
use crate::tools::control::printable;

/// So many are kept.
const MOST: usize = 200;
/// The same within so long is one event.
const SAME: Duration = Duration::from_secs(10);

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The same key: the same kind of thing.
    key: String,
    /// How bad it is.
    level: Level,
    /// What.
    what: String,
    /// How often, where that can be summed up.
    times: Option<u64>,
    /// What is said behind.
    more: String,
}

impl News {
    /// Something that is told each time.
    pub fn new(level: Level, what: impl Into<String>) -> Self {
        let what = printable(&what.into());
        Self { key: what.clone(), level, what, times: None, more: String::new() }
    }

    /// Something that is summed up; `more` is of the last time.
    fn summed(level: Level, what: impl Into<String>, times: u64, more: impl Into<String>) -> Self {
        Self { times: Some(times), more: printable(&more.into()), ..Self::new(level, what) }
    }

    fn text(&self) -> String {
        let times =
            self.times.filter(|times| *times > 1 || self.more.starts_with(" (")).map(|times| format!(" +{times}"));
        format!("{}{}{}", self.what, times.unwrap_or_default(), self.more)
    }
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When: of the day, or with its date.
    pub time: String,
    /// How bad it is.
    pub level: Level,
    /// What.
    pub text: String,
}

/// The last ones.
#[derive(Clone, Debug, Default)]
pub struct Events(VecDeque<(Duration, String, News)>);

impl Events {
    /// Adds one that was seen `at`; `time` is shown.
    pub fn add(&mut self, at: Duration, time: &str, mut news: News) {
        let same = |(seen, _, old): &(Duration, String, News)| {
            news.times.is_some() && old.key == news.key && at.saturating_sub(*seen) < SAME
        };
        if let Some((.., old)) = self.0.iter().position(same).and_then(|index| self.0.remove(index)) {
            news.times = old.times.zip(news.times).map(|(old, new)| old.saturating_add(new));
        }
        self.0.push_back((at, time.to_owned(), news));
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// The newest first.
    pub fn newest(&self) -> Vec<Event> {
        let shown = |(_, time, news): &(Duration, String, News)| Event {
            time: time.clone(),
            level: news.level,
            text: news.text(),
        };
        self.0.iter().rev().map(shown).collect()
    }
}

/// What has happened from one report to the next.
pub fn between(before: &Sample, after: &Sample) -> Vec<News> {
    let (old, new) = (&before.report, &after.report);
    let mut news = Vec::new();
    if after.is_of_another_daemon(before) {
        news.push(News::new(Level::Warn, format!("the daemon was restarted: pid {}, before {}", new.pid, old.pid)));
        news.extend(new.health.iter().map(|trouble| News::new(Level::Bad, trouble)));
        return news;
    }
    news.extend(troubles(old, new));
    news.extend(deaths(before, after));
    if new.generation != old.generation {
        news.push(News::new(Level::Plain, format!("reloaded: generation {}", new.generation)));
    }
    if let Some(segment) = new.segment.as_ref().filter(|_| new.segment != old.segment) {
        let rotations = new.totals.writer.rotations.saturating_sub(old.totals.writer.rotations).max(1);
        news.push(News::summed(Level::Plain, "new live file", rotations, format!(": {segment}")));
    }
    news.extend(risen(old, new));
    news
}

/// A trouble without its figures, which change.
fn kind(trouble: &str) -> &str {
    trouble.split(':').next().unwrap_or(trouble)
}

/// Those that began, and those that are over.
fn troubles(old: &Report, new: &Report) -> Vec<News> {
    let there = |report: &Report, trouble: &str| report.health.iter().any(|other| kind(other) == kind(trouble));
    let began = new.health.iter().filter(|trouble| !there(old, trouble));
    let over = old.health.iter().filter(|trouble| !there(new, trouble));
    let over = over.map(|trouble| News::new(Level::Good, format!("over: {}", kind(trouble))));
    let began = began.map(|trouble| News::new(Level::Bad, trouble));
    over.chain(began).collect()
}

/// Processes that died, by name, and their heirs. Heirs that are seen only later are told then.
fn deaths(before: &Sample, after: &Sample) -> Vec<News> {
    let (old, new) = (&before.report, &after.report);
    let mut news = Vec::new();
    let mut unnamed = new.restarts.workers.saturating_sub(old.restarts.workers);
    for worker in &new.workers {
        let known = old.workers.iter().find(|old| (old.number, old.generation) == (worker.number, worker.generation));
        let times = worker.restarts.saturating_sub(known.map_or(worker.restarts, |known| known.restarts));
        unnamed = unnamed.saturating_sub(times);
        // One of a new generation has no dead one to replace.
        if known.is_some() || worker.restarts > 0 {
            let name = format!("worker {}", worker.number);
            news.extend(death(&name, times, known.map(|known| known.pid), Some(worker.pid)));
        }
    }
    if unnamed > 0 {
        news.push(News::summed(Level::Warn, "workers died", unnamed, " (not replaced yet)"));
    }
    let (is, was) = (new.restarts, old.restarts);
    let pids = (old.writer.map(|old| old.pid), new.writer.map(|new| new.pid));
    news.extend(death("the writer", is.writer.saturating_sub(was.writer), pids.0, pids.1));
    let pids = (old.archiver.map(|old| old.pid), new.archiver.map(|new| new.pid));
    news.extend(death("the archiver", is.archiver.saturating_sub(was.archiver), pids.0, pids.1));
    // The first after metrics were turned on replaces nobody.
    if !old.metrics.is_empty() {
        let pids = (old.exporter.as_ref().map(|old| old.pid), new.exporter.as_ref().map(|new| new.pid));
        news.extend(death("the exporter", is.exporter.saturating_sub(was.exporter), pids.0, pids.1));
    }
    news
}

/// A role that has died so many times since, and was `from`, and is `to`.
fn death(name: &str, times: u64, from: Option<u32>, to: Option<u32>) -> Option<News> {
    let died = |what: &str, more| Some(News::summed(Level::Warn, format!("{name} died{what}"), times, more));
    match (times, from, to) {
        (0, None, Some(to)) => Some(News::new(Level::Good, format!("{name} is replaced: pid {to}"))),
        (0, ..) => None,
        (_, Some(from), Some(to)) => died(" and was replaced", format!(" (pid {to}, before {from})")),
        (_, None, Some(to)) => died(" and was replaced", format!(" (pid {to})")),
        (_, Some(from), None) => died("", format!(" (pid {from})")),
        (_, None, None) => died("", String::new()),
    }
}

/// Counters that tell of trouble (`last` has only such) and have risen.
fn risen(old: &Report, new: &Report) -> Vec<News> {
    let (before, now) = (values(old), values(new));
    let mut news = Vec::new();
    for name in new.last.keys() {
        let Some((role, field)) = name.split_once('.') else { continue };
        let of = |values: &Value| values[role][field].as_u64();
        let (Some(was), Some(is)) = (of(&before), of(&now)) else { continue };
        if is > was {
            let level = if matches!(field, "lost_bytes" | "destroyed_bytes") { Level::Bad } else { Level::Warn };
            let what = format!("{role}: {}", field.replace('_', " "));
            news.push(News::summed(level, what, is - was, format!(" ({is} in all)")));
        }
    }
    let lost = new.log_lines_dropped.saturating_sub(old.log_lines_dropped);
    if lost > 0 {
        news.push(News::summed(Level::Warn, "log lines dropped", lost, format!(" ({} in all)", new.log_lines_dropped)));
    }
    news
}

/// All counters by their names.
pub fn values(report: &Report) -> Value {
    serde_json::to_value(report.totals).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::report::{Exporter, Restarts, Worker, Writer};

    fn sample(change: impl FnOnce(&mut Report)) -> Sample {
        let workers = vec![
            Worker { number: 1, pid: 11, ..Worker::default() },
            Worker { number: 2, pid: 12, ..Worker::default() },
        ];
        let mut report = Report {
            pid: 10,
            uptime_seconds: 100,
            generation: 1,
            workers,
            writer: Some(Writer { pid: 13, ..Writer::default() }),
            metrics: "127.0.0.1:9464".into(),
            exporter: Some(Exporter { pid: 14, ..Exporter::default() }),
            segment: Some("a".into()),
            ..Report::default()
        };
        change(&mut report);
        Sample { at: Duration::ZERO, report }
    }

    fn told(before: &Sample, after: &Sample) -> Vec<String> {
        between(before, after).iter().map(News::text).collect()
    }

    #[test]
    fn what_differs_is_told() {
        let base = || sample(|_| {});
        assert_eq!(told(&base(), &base()), [""; 0]);
        let cases: [(Sample, &[&str]); 11] = [
            (
                sample(|report| {
                    (report.workers[1].pid, report.workers[1].restarts, report.restarts.workers) = (15, 1, 1);
                }),
                &["worker 2 died and was replaced +1 (pid 15, before 12)"],
            ),
            (sample(|report| report.restarts.workers = 2), &["workers died +2 (not replaced yet)"]),
            (
                sample(|report| {
                    report.writer = None;
                    report.restarts.writer = 1;
                    report.degraded = true;
                }),
                &["the writer died +1 (pid 13)"],
            ),
            (
                sample(|report| {
                    report.exporter = Some(Exporter { pid: 16, restarts: 1, ..Exporter::default() });
                    report.restarts.exporter = 1;
                }),
                &["the exporter died and was replaced +1 (pid 16, before 14)"],
            ),
            (
                sample(|report| {
                    report.exporter = None;
                    report.restarts.exporter = 1;
                }),
                &["the exporter died +1 (pid 14)"],
            ),
            (sample(|report| report.segment = Some("b".into())), &["new live file: b"]),
            (
                sample(|report| {
                    report.segment = Some("d".into());
                    report.totals.writer.rotations = 3;
                }),
                &["new live file +3: d"],
            ),
            (sample(|report| report.generation = 2), &["reloaded: generation 2"]),
            (
                sample(|report| report.health = vec!["stalled: a message has waited for 11 s".into()]),
                &["stalled: a message has waited for 11 s"],
            ),
            (
                sample(|report| {
                    report.totals.workers.timed_out = 3;
                    report.totals.workers.messages = 9;
                    report.last.insert("workers.timed_out".into(), "t".into());
                    report.last.insert("workers.of_a_later_version".into(), "t".into());
                    report.last.insert("strange".into(), "t".into());
                }),
                &["workers: timed out +3 (3 in all)"],
            ),
            (sample(|report| report.log_lines_dropped = 1), &["log lines dropped +1 (1 in all)"]),
        ];
        for (after, expected) in cases {
            assert_eq!(told(&base(), &after), expected);
        }
    }

    #[test]
    fn heirs_that_come_later_are_told_then() {
        let without = sample(|report| {
            (report.writer, report.restarts.writer, report.restarts.workers) = (None, 1, 1);
            report.workers.pop();
        });
        let with = sample(|report| {
            (report.restarts.writer, report.restarts.workers) = (1, 1);
            (report.workers[1].restarts, report.workers[1].pid) = (1, 15);
        });
        assert_eq!(told(&without, &with), ["worker 2 is replaced: pid 15", "the writer is replaced: pid 13"]);
        let started = sample(|report| report.workers[1].generation = 2);
        assert_eq!(told(&with, &started), [""; 0], "a new generation replaces nobody");
    }

    #[test]
    fn troubles_begin_and_end_once() {
        let stalled = |seconds| sample(|report| report.health = vec![format!("stalled: for {seconds} s")]);
        assert_eq!(told(&stalled(11), &stalled(12)), [""; 0], "it goes on");
        assert_eq!(told(&stalled(11), &sample(|_| {})), ["over: stalled"]);
        let full = sample(|report| report.health = vec!["the disk is full: nothing is stored".into()]);
        assert_eq!(told(&stalled(11), &full), ["over: stalled", "the disk is full: nothing is stored"]);
    }

    #[test]
    fn another_daemon_is_one_event() {
        let old = sample(|report| report.restarts = Restarts { workers: 7, ..Restarts::default() });
        let new = sample(|report| report.pid = 99);
        assert_eq!(told(&old, &new), ["the daemon was restarted: pid 99, before 10"]);
        let fallen = sample(|report| report.uptime_seconds = 1);
        assert_eq!(told(&old, &fallen).len(), 1);
    }

    #[test]
    fn the_same_again_is_one_line() {
        let mut events = Events::default();
        let denied = |times, all| News::summed(Level::Warn, "workers: denied", times, format!(" ({all} in all)"));
        events.add(Duration::from_secs(1), "1", denied(2, 2));
        events.add(Duration::from_secs(2), "2", News::new(Level::Plain, "reloaded"));
        events.add(Duration::from_secs(3), "3", denied(3, 5));
        events.add(Duration::from_secs(30), "30", denied(1, 6));
        events.add(Duration::from_secs(31), "31", News::new(Level::Plain, "reloaded"));
        let told: Vec<String> =
            events.newest().into_iter().map(|event| format!("{} {}", event.time, event.text)).collect();
        assert_eq!(
            told,
            ["31 reloaded", "30 workers: denied +1 (6 in all)", "3 workers: denied +5 (5 in all)", "2 reloaded"]
        );
        (0..500).for_each(|n| events.add(Duration::from_secs(99), "", News::new(Level::Plain, format!("{n}"))));
        assert_eq!(events.newest().len(), MOST);
    }

    #[test]
    fn nothing_in_it_reaches_the_terminal_as_a_command() {
        let news = between(&sample(|_| {}), &sample(|report| report.segment = Some("\u{1b}[2J".into())));
        assert_eq!(news[0].text(), "new live file: \u{fffd}[2J");
    }
}
