//! The lines about what stores: writer, syncs, live file, disk, archiver, closed files. Pure.
use super::history::Sample;
use super::look::Level;
use super::view::{Row, absent, age, quantiles};
use crate::ipc::report::{Archiver, Exporter, Histogram, Histograms, Report, Writer};
use crate::store::clock;
use crate::tools::control::printable;
use crate::tools::figures::time;
use crate::tools::figures::{bytes, count, micros, of_day, percent, share};

/// A role whose loop has not turned for so long (milliseconds) is silent: idle ones turn more often.
pub const SILENT: u64 = 10_000;
/// From so much on, in percent, a disk is worth a look, or bad.
const FILLED: (u64, u64) = (90, 97);

/// What matters most first.
pub fn rows(sample: &Sample, lately: Option<&Histograms>) -> Vec<Row> {
    let report = &sample.report;
    let mut rows = vec![
        report.writer.as_ref().map_or_else(|| absent("writer", sample), |writer| self::writer(writer, lately)),
        sync(report, lately.map(|lately| &lately.sync_microseconds)),
        live(report),
        disk(report),
        report.archiver.as_ref().map_or_else(|| absent("archiver", sample), archiver),
        closed(report),
    ];
    if !report.metrics.is_empty() {
        rows.push(report.exporter.as_ref().map_or_else(|| absent("exporter", sample), exporter));
    }
    rows.iter_mut().for_each(|row| row.text = printable(&row.text));
    rows
}

/// Whether it does its work, and whether it moves.
fn process(ready: bool, heartbeat: u64, work: &str) -> (Level, String) {
    match (ready, heartbeat) {
        (_, SILENT..) => (Level::Bad, format!("silent for {}", time(heartbeat / 1000))),
        (true, _) => (Level::Plain, work.to_owned()),
        (false, _) => (Level::Warn, "starting".to_owned()),
    }
}

fn writer(writer: &Writer, lately: Option<&Histograms>) -> Row {
    let (level, mut text) = process(writer.ready, writer.heartbeat_milliseconds, "storing");
    let Writer { uptime_seconds, restarts, .. } = *writer;
    text = format!("{text}, {}", age(uptime_seconds, restarts));
    if let Some(quantiles) = lately.and_then(|lately| quantiles(&lately.write_microseconds)) {
        text = format!("{text}; write {quantiles}");
    }
    if let Some(batch) = lately.and_then(|lately| lately.batch_messages.quantile(0.5)) {
        text = format!("{text}; batch p50 {}", count(batch));
    }
    Row { name: "writer", level, share: None, text }
}

fn sync(report: &Report, lately: Option<&Histogram>) -> Row {
    let mut text = match lately.and_then(quantiles) {
        Some(quantiles) => quantiles,
        None => "none lately".to_owned(),
    };
    if let Some(last) = &report.last_sync {
        let took = micros(report.last_sync_microseconds);
        text = format!("{text}; last {took}, {}", of_day(last, &report.time));
    }
    Row { name: "sync", text, ..Row::default() }
}

fn live(report: &Report) -> Row {
    let name = "live";
    let Some(live) = &report.live else {
        return Row { name, level: Level::Warn, share: None, text: "no live file".to_owned() };
    };
    let size = match live.max_bytes {
        Some(most) => format!("{} of {}", bytes(live.bytes), bytes(most)),
        None => bytes(live.bytes),
    };
    let next = live.next_rotation.as_ref().map(|next| format!(", next {}", of_day(next, &report.time)));
    let segment = report.segment.as_deref().unwrap_or("");
    let share = live.max_bytes.map(|most| share(live.bytes, most));
    let (level, stuck) = if report.rotation_stuck { (Level::Warn, ", no new file") } else { (Level::Plain, "") };
    Row { name, level, share, text: format!("{size}{}{stuck}  {segment}", next.unwrap_or_default()) }
}

fn disk(report: &Report) -> Row {
    let name = "disk";
    let Some(disk) = report.disk else { return Row { name, text: "not known".to_owned(), ..Row::default() } };
    let used = disk.used_percent.min(100);
    let level = match used {
        _ if report.full => Level::Bad,
        used if used >= FILLED.1 => Level::Bad,
        used if used >= FILLED.0 => Level::Warn,
        _ => Level::Plain,
    };
    let full = if report.full { "FULL, nothing is stored; " } else { "" };
    let share = used as f64 / 100.0;
    let text = format!("{full}{} used, {} free of {}", percent(share), bytes(disk.free_bytes), bytes(disk.size_bytes));
    Row { name, level, share: Some(share), text }
}

fn archiver(archiver: &Archiver) -> Row {
    let (level, text) = process(archiver.ready, archiver.heartbeat_milliseconds, "working");
    let Archiver { uptime_seconds, restarts, counts, .. } = *archiver;
    let mut text = format!("{text}, {}; {} sealed", age(uptime_seconds, restarts), count(counts.sealed));
    let more = [
        (counts.compressed, "compressed"),
        (counts.pruned, "deleted"),
        (counts.hooked, "handed on"),
        (counts.archive_faults, "faults"),
    ];
    for (number, what) in more.into_iter().filter(|(number, _)| *number > 0) {
        text = format!("{text}, {} {what}", count(number));
    }
    Row { name: "archiver", level, share: None, text }
}

fn exporter(exporter: &Exporter) -> Row {
    let (level, text) = process(exporter.ready, exporter.heartbeat_milliseconds, "serving");
    let text = format!("{text}, {}", age(exporter.uptime_seconds, exporter.restarts));
    Row { name: "exporter", level, share: None, text }
}

fn closed(report: &Report) -> Row {
    let name = "closed";
    let Some(backlog) = report.archiver.and_then(|archiver| archiver.backlog) else {
        return Row { name, text: "not known before the archiver has looked".to_owned(), ..Row::default() };
    };
    let mut text = format!("{} files, {}", count(backlog.closed), bytes(backlog.closed_bytes));
    for (number, what) in
        [(backlog.unsealed, "to seal"), (backlog.uncompressed, "to compress"), (backlog.unhooked, "to hand on")]
    {
        if number > 0 {
            text = format!("{text}, {} {what}", count(number));
        }
    }
    let now = clock::micros_of(&report.time).and_then(|now| u64::try_from(now / 1_000_000).ok());
    if let (Some(now), 1..) = (now, backlog.oldest_closed) {
        text = format!("{text}; oldest {}", time(now.saturating_sub(backlog.oldest_closed)));
    }
    if !report.retention.is_empty() {
        text = format!("{text}; {}", report.retention);
    }
    Row { name, text, ..Row::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::report::{Backlog, Disk, Live};

    fn text(report: Report) -> Vec<(Level, String)> {
        let sample = Sample { report, ..Sample::default() };
        rows(&sample, None).into_iter().map(|row| (row.level, format!("{} {}", row.name, row.text))).collect()
    }

    #[test]
    fn each_part_has_a_line() {
        let backlog = Backlog {
            closed: 12,
            closed_bytes: 3 << 20,
            unsealed: 1,
            oldest_closed: 1_795_336_920,
            ..Backlog::default()
        };
        let report = Report {
            time: "2026-11-22T08:42:00.000000Z".into(),
            writer: Some(Writer { ready: true, uptime_seconds: 90, ..Writer::default() }),
            archiver: Some(Archiver {
                ready: true,
                heartbeat_milliseconds: 12_000,
                backlog: Some(backlog),
                ..Archiver::default()
            }),
            last_sync: Some("2026-11-22T08:41:59.5Z".into()),
            last_sync_microseconds: 1200,
            live: Some(Live {
                bytes: 1 << 20,
                max_bytes: Some(4 << 20),
                next_rotation: Some("2026-11-23T00:00:00Z".into()),
            }),
            segment: Some("a.log".into()),
            disk: Some(Disk { size_bytes: 10 << 30, free_bytes: 1 << 29, used_percent: 95 }),
            ..Report::default()
        };
        let expected = [
            (Level::Plain, "writer storing, up 1m 30s, 0 restarts"),
            (Level::Plain, "sync none lately; last 1.20 ms, 08:41:59"),
            (Level::Plain, "live 1.00 MiB of 4.00 MiB, next 11-23 00:00  a.log"),
            (Level::Warn, "disk 95 % used, 512 MiB free of 10.0 GiB"),
            (Level::Bad, "archiver silent for 12s, up 0s, 0 restarts; 0 sealed"),
            (Level::Plain, "closed 12 files, 3.00 MiB, 1 to seal; oldest 0s"),
        ];
        let told = text(report);
        assert_eq!(told.iter().map(|(level, text)| (*level, text.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let told = text(Report::default());
        assert_eq!(told[0], (Level::Bad, "writer is gone, or just being replaced".to_owned()));
        assert_eq!(told[2].1, "live no live file");
        assert_eq!(told[5].1, "closed not known before the archiver has looked");
        let full =
            Report { full: true, disk: Some(Disk { used_percent: 100, ..Disk::default() }), ..Report::default() };
        assert!(text(full)[3].1.starts_with("disk FULL, nothing is stored; 100 % used"));
    }
}
