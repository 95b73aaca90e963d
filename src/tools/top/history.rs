//! The reports of the last minutes. Pure: moments come in as arguments.
//!
//! Promise: rates are differences of totals over the time between two reports, by the daemon's clock unless that jumped.
//! Memory is bounded, however long it runs. A daemon that was restarted begins with nothing, never with less than that.
use std::collections::VecDeque;
use std::time::Duration;

use super::events::{self, Events, News};
use super::look::Level;
use crate::ipc::report::{Histograms, Report};
use crate::store::clock;
use crate::tools::figures::of_day;

/// So many points of the curves are kept.
const POINTS: usize = 600;
/// Latency is told of so long.
const WINDOW: Duration = Duration::from_secs(10);
/// A daemon that has not answered for so long does not answer.
const SILENT: Duration = Duration::from_secs(3);

/// A report, and when it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Since the beginning.
    pub at: Duration,
    /// What it says.
    pub report: Report,
}

impl Sample {
    /// Its counters have nothing to do with those of `before`.
    pub fn is_of_another_daemon(&self, before: &Self) -> bool {
        self.report.pid != before.report.pid || self.report.uptime_seconds < before.report.uptime_seconds
    }

    /// Seconds since `before`.
    fn since(&self, before: &Self) -> f64 {
        let here = self.at.saturating_sub(before.at).as_secs_f64().max(0.001);
        let micros = |sample: &Self| clock::micros_of(&sample.report.time);
        let Some((from, to)) = micros(before).zip(micros(self)) else { return here };
        let there = to.saturating_sub(from) as f64 / 1e6;
        // The report was made before it came here; a clock that was set is off by more than a delay.
        if there > here / 2.0 && there < here * 2.0 { there } else { here }
    }
}

/// The time from one report to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Messages stored a second.
    pub messages: u64,
    /// Bytes of their records a second.
    pub bytes: u64,
    /// Connections at its end.
    pub connections: u64,
}

/// Whether the daemon answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Contact {
    /// It does.
    #[default]
    There,
    /// Not since then, and why.
    Lost(Duration, String),
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The newest last; nothing where no report came.
    pub points: VecDeque<Option<Point>>,
    /// Those of the window of latency, the newest last.
    samples: VecDeque<Sample>,
    /// What has happened.
    pub events: Events,
    /// Whether the daemon answers.
    pub contact: Contact,
}

impl History {
    /// A report has come.
    pub fn push(&mut self, sample: Sample) {
        let time = of_day(&sample.report.time, &sample.report.time);
        if self.contact != Contact::There {
            self.contact = Contact::There;
            self.events.add(sample.at, &time, News::new(Level::Good, "the daemon answers again"));
        }
        if let Some(before) = self.samples.back() {
            let (point, another) = (point(before, &sample), sample.is_of_another_daemon(before));
            for news in events::between(before, &sample) {
                self.events.add(sample.at, &time, news);
            }
            if another {
                self.samples.clear();
            }
            self.point(Some(point));
        }
        // The youngest that is out of the window is its beginning.
        while self.samples.get(1).is_some_and(|second| sample.at.saturating_sub(second.at) >= WINDOW) {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// None has come; `time` (RFC 3339, UTC) is now.
    pub fn lost(&mut self, at: Duration, time: &str, why: &str) {
        self.point(None);
        match &mut self.contact {
            Contact::Lost(_, known) => why.clone_into(known),
            Contact::There => {
                self.contact = Contact::Lost(at, why.to_owned());
                self.events.add(at, &of_day(time, time), News::new(Level::Bad, "the daemon does not answer"));
            }
        }
    }

    /// One is awaited since `asked`: after a while that is no contact.
    pub fn waiting(&mut self, at: Duration, asked: Duration, time: &str) {
        if self.contact == Contact::There && at.saturating_sub(asked) >= SILENT {
            self.lost(at, time, "it takes the question, and says nothing");
        }
    }

    fn point(&mut self, point: Option<Point>) {
        self.points.push_back(point);
        if self.points.len() > POINTS {
            self.points.pop_front();
        }
    }

    /// The last report, and the one before.
    pub fn last(&self) -> Option<(&Sample, Option<&Sample>)> {
        let last = self.samples.back()?;
        Some((last, self.samples.len().checked_sub(2).and_then(|index| self.samples.get(index))))
    }

    /// What the histograms have got lately, and in how long.
    pub fn lately(&self) -> Option<(Duration, Histograms)> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        if self.samples.len() < 2 {
            return None;
        }
        let (old, new) = (&first.report.histograms, &last.report.histograms);
        let histograms = Histograms {
            echo_microseconds: new.echo_microseconds.since(&old.echo_microseconds),
            write_microseconds: new.write_microseconds.since(&old.write_microseconds),
            sync_microseconds: new.sync_microseconds.since(&old.sync_microseconds),
            batch_messages: new.batch_messages.since(&old.batch_messages),
        };
        Some((last.at.saturating_sub(first.at), histograms))
    }
}

fn point(before: &Sample, after: &Sample) -> Point {
    let seconds = after.since(before);
    let nothing = Report::default();
    let old = if after.is_of_another_daemon(before) { &nothing } else { &before.report };
    let rate = |now: u64, was: u64| (now.saturating_sub(was) as f64 / seconds).round() as u64;
    let (now, was) = (&after.report.totals.writer, &old.totals.writer);
    Point {
        messages: rate(now.messages, was.messages),
        bytes: rate(now.bytes, was.bytes),
        connections: after.report.connections,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At `second` of both clocks, with so many messages.
    fn sample(second: u64, messages: u64) -> Sample {
        let mut report = Report { pid: 1, uptime_seconds: second, connections: 5, ..Report::default() };
        report.time = format!("2026-11-22T08:42:{second:02}.000000Z");
        report.totals.writer.messages = messages;
        report.totals.writer.bytes = messages * 10;
        Sample { at: Duration::from_secs(second), report }
    }

    #[test]
    fn rates_are_differences() {
        let mut history = History::default();
        [(0, 100), (1, 600), (3, 1600)].iter().for_each(|(second, messages)| history.push(sample(*second, *messages)));
        let points: Vec<_> = history.points.iter().flatten().map(|point| (point.messages, point.bytes)).collect();
        assert_eq!(points, [(500, 5000), (500, 5000)]);
    }

    #[test]
    fn a_late_report_is_taken_at_its_own_time_and_a_clock_that_is_set_is_not() {
        let mut late = sample(10, 0);
        late.at = Duration::from_millis(11_500);
        assert!((late.since(&sample(8, 0)) - 2.0).abs() < 1e-9);
        let mut set = sample(59, 0);
        set.at = Duration::from_secs(9);
        assert!((set.since(&sample(8, 0)) - 1.0).abs() < 1e-9);
        let mut absent = sample(9, 0);
        absent.report.time.clear();
        assert!((absent.since(&sample(8, 0)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_daemon_that_began_anew_is_no_overflow() {
        let mut history = History::default();
        history.push(sample(50, u64::MAX / 20));
        let mut new = sample(51, 70);
        (new.report.pid, new.report.uptime_seconds) = (2, 1);
        history.push(new);
        assert_eq!(history.points.back().copied().flatten().map(|point| point.messages), Some(70));
        assert_eq!(history.lately(), None);
        let mut fallen = sample(52, 3);
        (fallen.report.pid, fallen.report.uptime_seconds) = (2, 2);
        history.push(fallen);
        assert_eq!(history.points.back().copied().flatten().map(|point| point.messages), Some(0));
    }

    #[test]
    fn lost_and_found() {
        let mut history = History::default();
        history.push(sample(1, 0));
        history.lost(Duration::from_secs(2), "2026-11-22T08:42:02Z", "nobody listens");
        history.lost(Duration::from_secs(3), "2026-11-22T08:42:03Z", "no such socket");
        assert_eq!(history.contact, Contact::Lost(Duration::from_secs(2), "no such socket".into()));
        history.push(sample(4, 0));
        let told: Vec<String> =
            history.events.newest().into_iter().map(|event| event.time + " " + &event.text).collect();
        assert_eq!(told, ["08:42:04 the daemon answers again", "08:42:02 the daemon does not answer"]);
        assert_eq!(history.points, [None, None, Some(Point { connections: 5, ..Point::default() })]);
        let asked = Duration::from_secs(5);
        history.waiting(Duration::from_secs(6), asked, "");
        assert_eq!(history.contact, Contact::There);
        history.waiting(Duration::from_secs(8), asked, "");
        assert_ne!(history.contact, Contact::There);
    }

    #[test]
    fn it_never_grows() {
        let mut history = History::default();
        (0..2000).for_each(|second| history.push(Sample { at: Duration::from_secs(second), ..Sample::default() }));
        assert_eq!((history.points.len(), history.samples.len()), (POINTS, 11));
        assert_eq!(history.lately().map(|(span, _)| span), Some(WINDOW));
    }
}
