//! Figures of a report that are no plain counters.
use crate::ipc::histogram::{Buckets, Series};
use serde::{Deserialize, Serialize};

/// The store's file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// Its bytes.
    pub size_bytes: u64,
    /// Those that the daemon may still use.
    pub free_bytes: u64,
    /// What is used, in percent, as df(1) shows it.
    pub used_percent: u64,
}

/// The live file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Live {
    /// Bytes of the records in it.
    pub bytes: u64,
    /// `rotate.max-size`; none: it may grow for ever.
    pub max_bytes: Option<u64>,
    /// When the clock asks for the next file; none: never.
    pub next_rotation: Option<String>,
}

/// A connection, as `status --connections` tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Guest {
    /// The client's address.
    pub peer: String,
    /// The connection's id, as it stands in its records; empty: it has not come in yet.
    pub connection: String,
    /// Messages received in a second, counted when it was asked.
    pub messages_per_second: u64,
    /// Bytes received in it.
    pub bytes_per_second: u64,
    /// Messages received since it was accepted.
    pub messages: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Since it was accepted.
    pub seconds: u64,
}

impl Guest {
    /// Who comes first sends more messages now, then more bytes; of the quiet ones, who has sent more.
    pub fn busier_first(a: &Self, b: &Self) -> std::cmp::Ordering {
        let rank = |guest: &Self| (guest.messages_per_second, guest.bytes_per_second, guest.messages, guest.bytes);
        rank(b).cmp(&rank(a)).then_with(|| a.peer.cmp(&b.peer))
    }
}

/// Deaths that nobody had asked for, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restarts {
    /// Of all workers.
    pub workers: u64,
    /// Of the writer.
    pub writer: u64,
    /// Of the archiver.
    pub archiver: u64,
    /// Of the exporter.
    pub exporter: u64,
}

/// How often what took how long, or was how large.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// Upper bounds, inclusive, rising.
    pub le: Vec<u64>,
    /// Events up to each bound and above the one before; one more at the end for those above all.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// Of a series.
    pub fn new(series: Series, buckets: &Buckets) -> Self {
        Self { le: series.bounds().to_vec(), counts: buckets.counts.to_vec(), sum: buckets.sum }
    }

    /// All events.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// The value below which `share` (0 to 1) of all events are, between two bounds by a straight line; `None`: there are
    /// none. Above the last bound: that.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = share * self.counts.iter().map(|count| *count as f64).sum::<f64>();
        let mut below = 0.0;
        for (index, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            if below + count as f64 >= wanted {
                let low = index.checked_sub(1).and_then(|index| self.le.get(index)).copied().unwrap_or(0);
                let Some(&high) = self.le.get(index) else { return Some(low) };
                let part = (wanted - below).max(0.0) / count as f64;
                return Some(low + ((high.saturating_sub(low)) as f64 * part) as u64);
            }
            below += count as f64;
        }
        None
    }

    /// What came since `before`, an earlier one of the same daemon.
    pub fn since(&self, before: &Self) -> Self {
        let old = before.counts.iter().chain(std::iter::repeat(&0));
        let counts = self.counts.iter().zip(old).map(|(now, old)| now.saturating_sub(*old)).collect();
        Self { le: self.le.clone(), counts, sum: self.sum.saturating_sub(before.sum) }
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histograms {
    /// Messages: from receipt to the release of the echo.
    pub echo_microseconds: Histogram,
    /// Writes of batches.
    pub write_microseconds: Histogram,
    /// Syncs of files.
    pub sync_microseconds: Histogram,
    /// Stored batches: their messages.
    pub batch_messages: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: &[u64]) -> Histogram {
        Histogram { le: vec![10, 20, 40], counts: counts.to_vec(), sum: 0 }
    }

    #[test]
    fn quantiles() {
        let cases = [
            (&[0, 0, 0, 0][..], 0.5, None),
            (&[10, 0, 0, 0], 0.5, Some(5)),
            (&[10, 0, 10, 0], 0.75, Some(30)),
            (&[10, 0, 10, 0], 1.0, Some(40)),
            (&[0, 0, 0, 7], 0.5, Some(40)),
            (&[1, 0, 0, 99], 0.01, Some(10)),
            (&[u64::MAX; 4], 0.99, Some(40)),
        ];
        for (counts, share, expected) in cases {
            assert_eq!(histogram(counts).quantile(share), expected, "{counts:?} {share}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn differences() {
        let (old, new) = (histogram(&[1, 2, 3, 4]), histogram(&[2, 2, 5, 4]));
        assert_eq!(new.since(&old).counts, [1, 0, 2, 0]);
        assert_eq!(new.since(&Histogram::default()), new);
        assert_eq!(old.since(&new).counts, [0; 4], "a daemon that began anew");
    }
}
