//! The status line: made purely, told once a second.
use super::{Supervisor, TICK};
use crate::ipc::report::HANGS;
use crate::ipc::scoreboard::{Count, Scoreboard};
use std::time::Instant;

/// What it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Workers serving.
    pub workers: usize,
    /// Workers of older generations that still have connections.
    pub leaving: usize,
    /// Open connections.
    pub connections: u64,
    /// Messages stored in the last second.
    pub rate: u64,
    /// Used space of the store's file system in percent, if it is known.
    pub disk: Option<u64>,
    /// The store's directory is gone and cannot be made again.
    pub homeless: bool,
    /// The store takes nothing for want of room.
    pub full: bool,
    /// A role is missing and waits to be replaced, or stands still.
    pub degraded: bool,
    /// Those that stand still, by their titles.
    pub hanging: Vec<String>,
}

/// `4 workers · 812 connections · 96k msg/s · disk 71 %`.
pub fn line(figures: &Figures) -> String {
    let Figures { workers, leaving, connections, rate, disk, homeless, full, degraded, ref hanging } = *figures;
    let plural = |count: u64, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    let mut line = plural(workers as u64, "worker");
    if leaving > 0 {
        line += &format!(" (and {leaving} leaving)");
    }
    line += &format!(" · {} · {} msg/s", plural(connections, "connection"), short(rate));
    if let Some(percent) = disk {
        line += &format!(" · disk {percent} %");
    }
    if full {
        line.insert_str(0, "disk full: ");
    }
    match hanging.as_slice() {
        [] => {}
        [one] => line.insert_str(0, &format!("{one} stands still: ")),
        [one, others @ ..] => line.insert_str(0, &format!("{one} and {} more stand still: ", others.len())),
    }
    match (homeless, degraded) {
        (true, _) => format!("no store, see the log: {line}"),
        (false, true) => format!("degraded: {line}"),
        (false, false) => line,
    }
}

/// Three digits at most, and a letter.
fn short(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..10_000 => format!("{}.{}k", number / 1_000, number / 100 % 10),
        10_000..1_000_000 => format!("{}k", number / 1_000),
        _ => format!("{}.{}M", number / 1_000_000, number / 100_000 % 10),
    }
}

impl Supervisor {
    pub(super) fn figures(&self, rate: u64, now: Instant) -> Figures {
        let hanging = self.hanging(now);
        let serving = self.current_workers().filter(|worker| worker.ready).count();
        Figures {
            workers: serving,
            leaving: self.workers.len() - self.current_workers().count(),
            connections: self.ground.admission.total(),
            rate,
            disk: self.writer.as_ref().and_then(|writer| writer.scoreboard.get(Count::DiskUsed).checked_sub(1)),
            homeless: self.complaint.stands(now),
            full: self.writer.as_ref().is_some_and(|writer| writer.scoreboard.get(Count::Full) > 0),
            degraded: serving < self.wanted_workers
                || self.writer.as_ref().is_none_or(|writer| !writer.ready)
                || !hanging.is_empty(),
            hanging,
        }
    }

    /// Workers, and the writer, whose loop has not turned for [`HANGS`], by their titles.
    pub(super) fn hanging(&self, now: Instant) -> Vec<String> {
        let hangs = |board: &Scoreboard| {
            let turned = board.moment(Count::Turned);
            turned.is_some_and(|turned| now.saturating_duration_since(turned).as_millis() >= u128::from(HANGS))
        };
        let workers = self.workers.iter().filter(|worker| hangs(&worker.scoreboard));
        let mut numbers: Vec<usize> = workers.map(|worker| worker.number).collect();
        numbers.sort_unstable();
        let writer = self.writer.iter().filter(|writer| hangs(&writer.scoreboard)).map(|_| "writer".to_owned());
        numbers.into_iter().map(|number| format!("worker {number}")).chain(writer).collect()
    }

    pub(super) fn tell_status(&mut self, now: Instant) {
        self.status_at = now + TICK;
        let writerless = self.writer.as_ref().is_none_or(|writer| !writer.ready);
        let orphaned = self.orphaned_bytes() > 0;
        self.ground.control.ledger.note(writerless, orphaned, now);
        if !self.was_ready {
            return;
        }
        let report = self.report(now);
        if self.stop.is_none() {
            self.ground.control.ledger.note_trouble(!report.health.is_empty(), !report.hanging.is_empty(), now);
        }
        if self.notify.wanted() {
            self.notify.status(&report.status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_likes_to_read_it() {
        let figures = Figures { workers: 4, connections: 812, rate: 96_400, ..Figures::default() };
        assert_eq!(line(&figures), "4 workers · 812 connections · 96k msg/s");
        let figures = Figures { disk: Some(71), ..figures };
        assert_eq!(line(&figures), "4 workers · 812 connections · 96k msg/s · disk 71 %");
        let figures =
            Figures { workers: 1, leaving: 2, connections: 1, rate: 2_510_000, degraded: true, ..Figures::default() };
        assert_eq!(line(&figures), "degraded: 1 worker (and 2 leaving) · 1 connection · 2.5M msg/s");
        assert!(line(&Figures { homeless: true, ..figures }).starts_with("no store, see the log: 1 worker"));
        let figures = Figures { workers: 2, full: true, ..Figures::default() };
        assert_eq!(line(&figures), "disk full: 2 workers · 0 connections · 0 msg/s");
        let figures = Figures { degraded: true, full: false, hanging: vec!["worker 1".into()], ..figures };
        assert_eq!(line(&figures), "degraded: worker 1 stands still: 2 workers · 0 connections · 0 msg/s");
        let figures = Figures { hanging: vec!["worker 1".into(), "writer".into()], ..figures };
        assert!(line(&figures).starts_with("degraded: worker 1 and 1 more stand still: 2 workers"));
        assert_eq!([0, 999, 1_000, 9_999, 10_000].map(short), ["0", "999", "1.0k", "9.9k", "10k"]);
    }
}
