//! The lines of the workers. Pure.
use super::history::Sample;
use super::look::Level;
use super::store::SILENT;
use crate::ipc::report::{STALLED, Worker};
use crate::tools::figures::{count, millis, share};

/// A message that waits so long (milliseconds) is worth a look.
const LONG: u64 = 1000;
/// So is a data pipe that is filled so far.
const FILLED: f64 = 0.9;

/// One worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerRow {
    /// The number in its title.
    pub number: usize,
    /// How good it is.
    pub level: Level,
    /// What it does.
    pub state: &'static str,
    /// Its part of the messages of late.
    pub share: f64,
    /// Connections open now.
    pub connections: String,
    /// How full its data pipe is.
    pub pipe: f64,
    /// How long its oldest message waits.
    pub oldest: String,
    /// How often it has died.
    pub restarts: String,
    /// Its process id.
    pub pid: u32,
}

/// How bad it is that a message waits so long (milliseconds).
pub fn waiting(millis: u64) -> Level {
    match millis {
        STALLED.. => Level::Bad,
        LONG.. => Level::Warn,
        _ => Level::Plain,
    }
}

/// In the report's order.
pub fn rows(last: &Sample, before: Option<&Sample>) -> Vec<WorkerRow> {
    let workers = &last.report.workers;
    let moved: Vec<u64> = workers.iter().map(|worker| messages(worker, before)).collect();
    let all = moved.iter().fold(0, |sum: u64, moved| sum.saturating_add(*moved));
    workers.iter().zip(moved).map(|(worker, moved)| row(worker, share(moved, all))).collect()
}

/// Messages since the report before; of one that is new, all of its.
fn messages(worker: &Worker, before: Option<&Sample>) -> u64 {
    let same = |old: &&Worker| (old.number, old.pid) == (worker.number, worker.pid);
    let old = before.and_then(|before| before.report.workers.iter().find(same));
    worker.counts.messages.saturating_sub(old.map_or(0, |old| old.counts.messages))
}

fn row(worker: &Worker, share_of_messages: f64) -> WorkerRow {
    let (level, state) = match worker {
        Worker { heartbeat_milliseconds: SILENT.., .. } => (Level::Bad, "silent"),
        Worker { leaving: true, .. } => (Level::Plain, "leaving"),
        Worker { ready: true, .. } => (Level::Plain, "serving"),
        _ => (Level::Warn, "starting"),
    };
    let pipe = share(worker.pipe_bytes, worker.pipe_size);
    let filled = if pipe >= FILLED { Level::Warn } else { Level::Plain };
    WorkerRow {
        number: worker.number,
        level: level.max(filled).max(waiting(worker.oldest_unacknowledged_milliseconds)),
        state,
        share: share_of_messages,
        connections: count(worker.connections),
        pipe,
        oldest: millis(worker.oldest_unacknowledged_milliseconds),
        restarts: count(worker.restarts),
        pid: worker.pid,
    }
}

/// Those that are shown where there is room for `room`: if not all fit, those with trouble, then the busiest. And how many
/// are left out.
pub fn chosen(rows: &[WorkerRow], room: usize) -> (Vec<&WorkerRow>, usize) {
    let mut chosen: Vec<&WorkerRow> = rows.iter().collect();
    if chosen.len() <= room {
        return (chosen, 0);
    }
    chosen.sort_by(|a, b| b.level.cmp(&a.level).then(b.share.total_cmp(&a.share)));
    chosen.truncate(room.saturating_sub(1));
    // In their order again: a list that is shuffled each second cannot be read.
    chosen.sort_by_key(|row| row.number);
    let left_out = rows.len() - chosen.len();
    (chosen, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::report::{Report, WorkerCounts};

    fn worker(number: usize, messages: u64) -> Worker {
        let counts = WorkerCounts { messages, ..WorkerCounts::default() };
        Worker { number, pid: 100 + number as u32, ready: true, pipe_size: 100, counts, ..Worker::default() }
    }

    fn sample(workers: Vec<Worker>) -> Sample {
        Sample { report: Report { workers, ..Report::default() }, ..Sample::default() }
    }

    #[test]
    fn shares_are_of_the_last_interval() {
        let before = sample(vec![worker(1, 1000), worker(2, 0)]);
        let now = sample(vec![worker(1, 1010), worker(2, 30)]);
        let shares: Vec<f64> = rows(&now, Some(&before)).iter().map(|row| row.share).collect();
        assert_eq!(shares, [0.25, 0.75]);
        let fallen = rows(&before, Some(&now));
        assert_eq!(fallen.iter().map(|row| row.share).collect::<Vec<_>>(), [0.0, 0.0]);
    }

    #[test]
    fn trouble_is_seen() {
        let cases = [
            (Worker { heartbeat_milliseconds: SILENT, ..worker(1, 0) }, Level::Bad, "silent"),
            (Worker { leaving: true, ..worker(1, 0) }, Level::Plain, "leaving"),
            (Worker { ready: false, ..worker(1, 0) }, Level::Warn, "starting"),
            (Worker { pipe_bytes: 95, ..worker(1, 0) }, Level::Warn, "serving"),
            (Worker { oldest_unacknowledged_milliseconds: STALLED, ..worker(1, 0) }, Level::Bad, "serving"),
        ];
        for (worker, level, state) in cases {
            let row = row(&worker, 0.0);
            assert_eq!((row.level, row.state), (level, state));
        }
    }

    #[test]
    fn the_busiest_are_chosen() {
        let rows = rows(&sample((1..=9).map(|number| worker(number, number as u64)).collect()), None);
        assert_eq!(chosen(&rows, 9).1, 0);
        let (few, left_out) = chosen(&rows, 4);
        assert_eq!((few.iter().map(|row| row.number).collect::<Vec<_>>(), left_out), (vec![7, 8, 9], 6));
        assert_eq!(chosen(&rows, 0).1, 9);
    }
}
