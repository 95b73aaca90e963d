//! What is said to who asks whether all is well. Pure.
use super::{Report, Worker};

/// A message that has waited so long for its acknowledgement (milliseconds) says that the store does not store.
pub const STALLED: u64 = 10_000;
/// A process whose loop has not turned for so long (milliseconds) stands still.
pub const HANGS: u64 = 10_000;

impl Report {
    /// What keeps the daemon from serving as it should. A process that is just being replaced, or stands still, while
    /// others serve, does not.
    pub fn troubles(&self) -> Vec<String> {
        let serving = self.workers.iter().any(|worker| worker.ready && !worker.leaving && !hangs(worker));
        let waits = self.waits_for_store();
        let stalled = format!("stalled: a message has waited for {} s to be stored", waits / 1000);
        let troubles = [
            (self.stopping, "stopping"),
            (!self.stopping && !self.ready, "it does not serve yet"),
            (self.ready && !serving, "no worker serves"),
            (self.homeless, "the store's directory is gone"),
            (self.full, "the disk is full: nothing is stored"),
            (self.writerless_milliseconds >= STALLED, "there is no writer: nothing is stored"),
            (waits >= STALLED, stalled.as_str()),
        ];
        troubles.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned()).collect()
    }

    /// How long (milliseconds) the oldest message waits for the store, or what dead workers left. One of a worker that
    /// stands still counts only if the writer does, too: else it is stored long since, and that worker has not looked.
    pub fn waits_for_store(&self) -> u64 {
        let writer_hangs = self.writer.is_some_and(|writer| writer.heartbeat_milliseconds >= HANGS);
        let waiting = self.workers.iter().filter(|worker| writer_hangs || !hangs(worker));
        let waiting = waiting.map(|worker| worker.oldest_unacknowledged_milliseconds);
        waiting.max().unwrap_or(0).max(self.orphaned_milliseconds)
    }
}

fn hangs(worker: &Worker) -> bool {
    worker.heartbeat_milliseconds >= HANGS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::report::Writer;

    #[test]
    fn troubles_are_told_one_by_one() {
        let worker = Worker { ready: true, ..Worker::default() };
        let well = Report { ready: true, degraded: true, workers: vec![worker], ..Report::default() };
        assert_eq!(well.troubles(), [""; 0]);
        let cases: [(Report, &str); 8] = [
            (Report { writerless_milliseconds: 10_000, ..well.clone() }, "there is no writer: nothing is stored"),
            (
                Report { orphaned_milliseconds: 11_000, ..well.clone() },
                "stalled: a message has waited for 11 s to be stored",
            ),
            (Report { stopping: true, ready: false, ..well.clone() }, "stopping"),
            (Report { ready: false, ..well.clone() }, "it does not serve yet"),
            (Report { workers: vec![Worker { leaving: true, ..worker }], ..well.clone() }, "no worker serves"),
            (Report { homeless: true, ..well.clone() }, "the store's directory is gone"),
            (Report { full: true, ..well.clone() }, "the disk is full: nothing is stored"),
            (
                Report {
                    workers: vec![Worker { oldest_unacknowledged_milliseconds: 12_345, ..worker }],
                    ..well.clone()
                },
                "stalled: a message has waited for 12 s to be stored",
            ),
        ];
        for (report, trouble) in cases {
            assert_eq!(report.troubles(), [trouble]);
        }
    }

    #[test]
    fn a_worker_that_stands_still_is_no_stall_unless_the_writer_does_too() {
        let stalled = "stalled: a message has waited for 12 s to be stored";
        let serving = Worker { ready: true, ..Worker::default() };
        let waiting = Worker { oldest_unacknowledged_milliseconds: 12_345, ..serving };
        // What it knew stands still, too.
        let stopped = Worker { heartbeat_milliseconds: 12_345, ..waiting };
        let [moving, hanging] = [20, 12_345]
            .map(|heartbeat_milliseconds| Some(Writer { ready: true, heartbeat_milliseconds, ..Writer::default() }));
        let cases: [(&[Worker], Option<Writer>, &[&str]); 7] = [
            (&[stopped, serving], moving, &[]),
            (&[stopped, serving], None, &[]),
            (&[stopped, waiting], moving, &[stalled]),
            (&[stopped, serving], hanging, &[stalled]),
            (&[serving, waiting], hanging, &[stalled]),
            (&[stopped, stopped], moving, &["no worker serves"]),
            (&[stopped, Worker { leaving: true, ..serving }], moving, &["no worker serves"]),
        ];
        for (workers, writer, troubles) in cases {
            let report = Report { ready: true, workers: workers.to_vec(), writer, ..Report::default() };
            assert_eq!(report.troubles(), troubles, "{workers:?} {writer:?}");
        }
    }
}
