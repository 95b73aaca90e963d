//! What outlives the processes: the counts of the dead, the times of trouble, the rates.
use crate::ipc::commit::Stored;
use crate::ipc::histogram::{Buckets, Series};
use crate::ipc::report::{
    ArchiverCounts, ExporterCounts, Histogram, Histograms, Restarts, Totals, WorkerCounts, WriterCounts,
};
use crate::ipc::scoreboard::{Count, Scoreboard};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The shortest time over which a rate is taken.
const SPAN: Duration = Duration::from_secs(1);

/// The roles that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Worker,
    Writer,
    Archiver,
    Exporter,
}

/// All that is counted: by the dead, or by them and the living.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub totals: Totals,
    /// By series.
    histograms: [Buckets; Series::ALL.len()],
    /// When something of that name went wrong last.
    last: BTreeMap<(&'static str, &'static str), Instant>,
    /// What the commit record knew when the first writer began, and what it knows now.
    stored: Option<(Stored, Stored)>,
    pub log_dropped: u64,
}

impl Sums {
    /// Adds what a role instance has counted.
    pub fn add(&mut self, of: Of, board: &Scoreboard) {
        self.log_dropped = self.log_dropped.saturating_add(board.get(Count::LogDropped));
        for series in Series::ALL {
            self.histograms[series as usize].add(&board.buckets(series));
        }
        let (name, fields) = match of {
            Of::Worker => ("workers", WorkerCounts::FIELDS),
            Of::Writer => ("writer", WriterCounts::FIELDS),
            Of::Archiver => ("archiver", ArchiverCounts::FIELDS),
            Of::Exporter => ("exporter", ExporterCounts::FIELDS),
        };
        for (field, count) in fields {
            if let Some(last) = board.last(*count) {
                let known = self.last.entry((name, field)).or_insert(last);
                *known = last.max(*known);
            }
        }
        match of {
            Of::Worker => self.totals.workers.add(WorkerCounts::of(board)),
            Of::Archiver => self.totals.archiver.add(ArchiverCounts::of(board)),
            Of::Exporter => self.totals.exporter.add(ExporterCounts::of(board)),
            Of::Writer => {
                self.totals.writer.add(WriterCounts::of(board));
                self.count_stored(board);
            }
        }
    }

    /// A writer may die between a commit and its count: its successor has both from the commit record.
    fn count_stored(&mut self, board: &Scoreboard) {
        if let Some(messages) = board.get(Count::MessagesBefore).checked_sub(1) {
            let before = Stored { messages, bytes: board.get(Count::BytesBefore) };
            let now = before.and(board.get(Count::Messages), board.get(Count::Bytes));
            let (first, _) = self.stored.unwrap_or((before, before));
            self.stored = Some((first, now));
        }
        if let Some((first, now)) = self.stored {
            self.totals.writer.messages = now.messages.wrapping_sub(first.messages);
            self.totals.writer.bytes = now.bytes.wrapping_sub(first.bytes);
        }
    }

    /// The histograms, as they are told.
    pub fn histograms(&self) -> Histograms {
        let of = |series: Series| Histogram::new(series, &self.histograms[series as usize]);
        Histograms {
            echo_microseconds: of(Series::Echo),
            write_microseconds: of(Series::Write),
            sync_microseconds: of(Series::Sync),
            batch_messages: of(Series::Batch),
        }
    }

    /// Trouble by its name, `workers.oversize`, and when it was last.
    pub fn last(&self) -> impl Iterator<Item = (String, Instant)> {
        self.last.iter().map(|((of, field), last)| (format!("{of}.{field}"), *last))
    }
}

/// Messages and bytes stored a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub messages: u64,
    pub bytes: u64,
}

/// Trouble that lasts: how often it began, and when it was there last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lasting {
    pub count: u64,
    there: bool,
    last: Option<Instant>,
}

impl Lasting {
    fn note(&mut self, there: bool, now: Instant) {
        self.count += u64::from(there && !self.there);
        self.there = there;
        self.last = if there { Some(now) } else { self.last };
    }
}

/// What is known of the dead, and how fast it goes.
#[derive(Debug)]
pub struct Ledger {
    pub born: Instant,
    /// The same by the clock, in seconds since 1970.
    pub started: u64,
    dead: Sums,
    pub restarts: Restarts,
    /// By the worker's number.
    worker_restarts: BTreeMap<usize, u64>,
    /// The last deaths, by what counts them.
    deaths: BTreeMap<&'static str, Instant>,
    /// Times that the daemon was not healthy.
    pub outages: Lasting,
    /// Times that processes stood still.
    pub hangs: Lasting,
    /// Since when no writer has stored, as far as it was looked.
    pub writerless: Option<Instant>,
    /// Since when dead workers' pipes have not been empty.
    pub orphaned: Option<Instant>,
    measured: Instant,
    stored: (u64, u64),
    pub rates: Rates,
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            born: now,
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            dead: Sums::default(),
            restarts: Restarts::default(),
            worker_restarts: BTreeMap::new(),
            deaths: BTreeMap::new(),
            outages: Lasting::default(),
            hangs: Lasting::default(),
            writerless: None,
            orphaned: None,
            measured: now,
            stored: (0, 0),
            rates: Rates::default(),
        }
    }

    /// What a look at the store's side of things found.
    pub fn note(&mut self, writerless: bool, orphaned: bool, now: Instant) {
        let since = |was: Option<Instant>, is: bool| is.then(|| was.unwrap_or(now));
        self.writerless = since(self.writerless, writerless);
        self.orphaned = since(self.orphaned, orphaned);
    }

    /// What a look at all of it found.
    pub fn note_trouble(&mut self, ill: bool, hanging: bool, now: Instant) {
        self.outages.note(ill, now);
        self.hangs.note(hanging, now);
    }

    /// Seconds since the start.
    pub fn age(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_secs()
    }

    /// Keeps what one that is dead has counted.
    pub fn bury(&mut self, of: Of, board: &Scoreboard) {
        self.dead.add(of, board);
    }

    /// A worker has died, and nobody had asked for it.
    pub fn mourn_worker(&mut self, number: usize, now: Instant) {
        self.mourn(Of::Worker, now);
        *self.worker_restarts.entry(number).or_default() += 1;
    }

    /// The same of any role.
    pub fn mourn(&mut self, of: Of, now: Instant) {
        let Restarts { workers, writer, archiver, exporter } = &mut self.restarts;
        let (count, name) = match of {
            Of::Worker => (workers, "restarts.workers"),
            Of::Writer => (writer, "restarts.writer"),
            Of::Archiver => (archiver, "restarts.archiver"),
            Of::Exporter => (exporter, "restarts.exporter"),
        };
        *count += 1;
        self.deaths.insert(name, now);
    }

    /// What no role counts of itself, by its name among the troubles (`restarts.writer`, `outages`): when it was last.
    pub fn last_by_us(&self) -> impl Iterator<Item = (String, Instant)> {
        let lasting = [("outages", self.outages.last), ("hangs", self.hangs.last)];
        let lasting = lasting.into_iter().filter_map(|(name, last)| Some((name, last?)));
        self.deaths.iter().map(|(name, last)| (*name, *last)).chain(lasting).map(|(name, last)| (name.to_owned(), last))
    }

    /// How often that happened to the worker of this number.
    pub fn restarts_of(&self, number: usize) -> u64 {
        self.worker_restarts.get(&number).copied().unwrap_or(0)
    }

    /// What the dead have counted.
    pub fn dead(&self) -> Sums {
        self.dead.clone()
    }

    /// Whether it is time to take the rates.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.measured + SPAN
    }

    /// Takes the rates of stored messages and bytes.
    pub fn measure(&mut self, stored: &WriterCounts, now: Instant) {
        let span = now.saturating_duration_since(self.measured).as_millis().max(1);
        let rate = |now: u64, before: u64| {
            let more = u128::from(now.saturating_sub(before)) * 1000 / span;
            u64::try_from(more).unwrap_or(u64::MAX)
        };
        self.rates = Rates { messages: rate(stored.messages, self.stored.0), bytes: rate(stored.bytes, self.stored.1) };
        (self.measured, self.stored) = (now, (stored.messages, stored.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn writer(before: u64, stored: u64) -> Scoreboard {
        let board = Scoreboard::map(Scoreboard::memory().unwrap().as_fd()).unwrap();
        board.set(Count::MessagesBefore, before + 1);
        board.set(Count::Messages, stored);
        board
    }

    #[test]
    fn what_a_writer_committed_and_did_not_count_its_successor_counts() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.dead().totals.writer.messages, 0);
        // The memory was kept from an earlier daemon, which had stored 100.
        ledger.bury(Of::Writer, &writer(100, 20));
        assert_eq!(ledger.dead().totals.writer.messages, 20);
        // One that died before it had looked.
        ledger.bury(Of::Writer, &Scoreboard::map(Scoreboard::memory().unwrap().as_fd()).unwrap());
        assert_eq!(ledger.dead().totals.writer.messages, 20);
        // It had committed five more.
        let mut sums = ledger.dead();
        sums.add(Of::Writer, &writer(125, 3));
        assert_eq!(sums.totals.writer.messages, 28);
    }

    #[test]
    fn the_last_death_of_each_role_is_kept() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.last_by_us().count(), 0);
        let [first, second] = [1, 2].map(|seconds| ledger.born + Duration::from_secs(seconds));
        ledger.mourn_worker(2, first);
        ledger.mourn_worker(1, second);
        ledger.mourn(Of::Exporter, first);
        let expected = [("restarts.exporter", first), ("restarts.workers", second)];
        assert_eq!(ledger.last_by_us().collect::<Vec<_>>(), expected.map(|(name, at)| (name.to_owned(), at)));
        assert_eq!(ledger.restarts, Restarts { workers: 2, exporter: 1, ..Restarts::default() });
        assert_eq!((ledger.restarts_of(1), ledger.restarts_of(3)), (1, 0));
    }

    #[test]
    fn what_lasts_has_begun_when_it_was_first_seen() {
        let mut ledger = Ledger::new();
        let [first, second] = [1, 2].map(|seconds| ledger.born + Duration::from_secs(seconds));
        ledger.note(true, false, first);
        ledger.note(true, true, second);
        assert_eq!((ledger.writerless, ledger.orphaned), (Some(first), Some(second)));
        ledger.note(false, true, second);
        assert_eq!((ledger.writerless, ledger.orphaned), (None, Some(second)));
    }

    #[test]
    fn rates_are_by_the_second() {
        let mut ledger = Ledger::new();
        let later = ledger.measured + Duration::from_millis(2500);
        assert!(!ledger.is_due(ledger.measured) && ledger.is_due(later));
        ledger.measure(&WriterCounts { messages: 5000, bytes: 25, ..WriterCounts::default() }, later);
        assert_eq!(ledger.rates, Rates { messages: 2000, bytes: 10 });
    }

    #[test]
    fn what_lasts_is_counted_once_and_its_time_goes_on() {
        let (mut lasting, begin) = (Lasting::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        lasting.note(false, begin);
        assert_eq!(lasting, Lasting::default());
        [1, 2, 3].into_iter().for_each(|second| lasting.note(true, after(second)));
        assert_eq!((lasting.count, lasting.last), (1, Some(after(3))));
        lasting.note(false, after(4));
        assert_eq!((lasting.count, lasting.last), (1, Some(after(3))));
        lasting.note(true, after(5));
        assert_eq!((lasting.count, lasting.last), (2, Some(after(5))));
    }
}
