//! The status for people. Pure: the report and the time come in, text goes out.
use crate::ipc::report::{ArchiverCounts, Backlog, ExporterCounts, Guest, Histogram, Report, WorkerCounts};
use crate::ipc::sandbox::InForce;
use crate::store::clock;
use crate::tools::figures::{bytes, micros, time};
use serde_json::Value;
use std::fmt::Write as _;

/// Nothing that a terminal obeys.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if crate::log::is_hostile(c) { '\u{fffd}' } else { c }).collect()
}

/// All of it.
pub fn status(report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in rows(report) {
        let _ = writeln!(text, "{name:<14}{}", printable(&value));
    }
    [text, aligned(&processes(report)), troubles(report), aligned(&sandboxes(report))].join("\n")
}

/// Connections, the busiest first.
pub fn guests(guests: &[Guest]) -> String {
    let heads = ["peer", "connection", "messages/s", "bytes/s", "open", "messages", "bytes"];
    let mut table = vec![heads.map(str::to_owned)];
    for guest in guests {
        let counts = [guest.messages_per_second, guest.bytes_per_second, guest.messages, guest.bytes];
        let [rate, flow, messages, bytes] = counts.map(|count| count.to_string());
        let [peer, connection] = [&guest.peer, &guest.connection].map(|text| printable(text));
        table.push([peer, connection, rate, flow, time(guest.seconds), messages, bytes]);
    }
    aligned(&table)
}

fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let Report { totals, archiver, histograms, .. } = report;
    let segment = report.segment.as_deref().unwrap_or("none yet");
    let (stored, served) = (&totals.writer, &totals.workers);
    let messages = format!("{} received, {} echoes released", served.messages, served.echoes);
    vec![
        ("status", report.status.clone()),
        ("health", if report.health.is_empty() { "ok".to_owned() } else { report.health.join("; ") }),
        ("daemon", daemon(report)),
        ("configuration", format!("{}, generation {}", report.config, report.generation)),
        ("listening", report.listeners.join(", ")),
        ("mode", format!("echo {}, framing {}", report.echo, report.framing)),
        ("connections", format!("{} open, {} accepted", report.connections, served.accepted)),
        ("turned away", turned_away(served)),
        ("rate", format!("{} messages/s, {}/s", report.messages_per_second, bytes(report.bytes_per_second))),
        ("messages", messages),
        ("stored", format!("{} messages, {} bytes, {} rotations", stored.messages, stored.bytes, stored.rotations)),
        ("waiting", waiting(report)),
        ("echo", quantiles(&histograms.echo_microseconds)),
        ("write", format!("{}; last {}", quantiles(&histograms.write_microseconds), last(&report.last_write, report))),
        ("sync", sync(report)),
        ("store", report.directory.clone()),
        ("live file", live(segment, report)),
        (
            "closed",
            archiver
                .and_then(|archiver| archiver.backlog)
                .map_or_else(|| "not known".to_owned(), |backlog| closed(&backlog)),
        ),
        ("archived", archived(&totals.archiver)),
        ("retention", if report.retention.is_empty() { "none".to_owned() } else { report.retention.clone() }),
        ("disk", disk(report)),
        ("metrics", metrics(report)),
    ]
}

fn daemon(report: &Report) -> String {
    let state = match () {
        () if report.stopping => "stopping",
        () if !report.ready => "not ready",
        () => "ready",
    };
    format!("{state}, pid {}, up {}, version {}", report.pid, time(report.uptime_seconds), report.version)
}

fn waiting(report: &Report) -> String {
    let oldest = format!("the oldest message for {} ms", report.oldest_unacknowledged_milliseconds);
    match report.orphaned_bytes {
        0 => oldest,
        left => format!("{oldest}; {} of dead workers", bytes(left)),
    }
}

/// Half of all, and 99 of a hundred, took so long at most.
fn quantiles(histogram: &Histogram) -> String {
    match (histogram.quantile(0.5), histogram.quantile(0.99)) {
        (Some(half), Some(most)) => format!("p50 {}, p99 {}", micros(half), micros(most)),
        _ => "none yet".to_owned(),
    }
}

fn sync(report: &Report) -> String {
    let took = if report.last_sync.is_some() {
        format!(", took {}", micros(report.last_sync_microseconds))
    } else {
        String::new()
    };
    format!("{}; last {}{took}", quantiles(&report.histograms.sync_microseconds), last(&report.last_sync, report))
}

fn live(segment: &str, report: &Report) -> String {
    let Some(live) = &report.live else { return segment.to_owned() };
    let of = live.max_bytes.map_or_else(String::new, |most| format!(" of {}", bytes(most)));
    let next = live.next_rotation.as_ref().map_or_else(String::new, |next| format!(", the next one at {next}"));
    let stuck = if report.rotation_stuck { "; no new file can be begun" } else { "" };
    format!("{segment}, {}{of}{next}{stuck}", bytes(live.bytes))
}

fn disk(report: &Report) -> String {
    let counts = &report.totals.writer;
    let place = report.disk.map_or_else(
        || "not known".to_owned(),
        |disk| format!("{} % used, {} of {} free", disk.used_percent, bytes(disk.free_bytes), bytes(disk.size_bytes)),
    );
    format!("{place}; {} syncs, {} faults, {} messages refused", counts.syncs, counts.faults, counts.refused)
}

fn processes(report: &Report) -> Vec<[String; 10]> {
    let head = ["process", "pid", "up", "state", "restarts", "heartbeat", "connections", "messages", "pipe", "waiting"];
    let mut table = vec![head.map(str::to_owned)];
    let ago = |milliseconds: u64| format!("{milliseconds} ms");
    for worker in &report.workers {
        let state = if worker.leaving { "leaving" } else { serving(worker.ready) };
        let full = (worker.pipe_bytes * 100).checked_div(worker.pipe_size).unwrap_or(0);
        table.push([
            format!("worker {}", worker.number),
            worker.pid.to_string(),
            time(worker.uptime_seconds),
            format!("{state} ({})", worker.generation),
            worker.restarts.to_string(),
            ago(worker.heartbeat_milliseconds),
            worker.connections.to_string(),
            worker.counts.messages.to_string(),
            format!("{full} %"),
            ago(worker.oldest_unacknowledged_milliseconds),
        ]);
    }
    let told = |pid: u32, seconds, ready, beat, messages: Option<u64>| {
        let messages = messages.map_or_else(String::new, |messages| messages.to_string());
        [pid.to_string(), time(seconds), serving(ready).to_owned(), ago(beat), messages]
    };
    let Report { writer, archiver, exporter, restarts, .. } = report;
    let writer =
        writer.map(|w| told(w.pid, w.uptime_seconds, w.ready, w.heartbeat_milliseconds, Some(w.counts.messages)));
    let archiver = archiver.map(|a| told(a.pid, a.uptime_seconds, a.ready, a.heartbeat_milliseconds, None));
    let exporter = exporter.as_ref().map(|e| told(e.pid, e.uptime_seconds, e.ready, e.heartbeat_milliseconds, None));
    let mut others = vec![("writer", writer, restarts.writer), ("archiver", archiver, restarts.archiver)];
    if !report.metrics.is_empty() {
        others.push(("exporter", exporter, restarts.exporter));
    }
    for (name, told, restarts) in others {
        let missing = || ["", "", "missing", "", ""].map(str::to_owned);
        let ([pid, up, state, beat, messages], none) = (told.unwrap_or_else(missing), String::new);
        table.push([name.to_owned(), pid, up, state, restarts.to_string(), beat, none(), messages, none(), none()]);
    }
    table
}

/// Everything that has gone wrong since the start: how often, and when last.
fn troubles(report: &Report) -> String {
    if report.last.is_empty() && report.log_lines_dropped == 0 {
        return "no trouble since the start\n".to_owned();
    }
    // By the names of `last`: `workers.oversize`, `restarts.writer`.
    let mut counts = serde_json::to_value(report.totals).unwrap_or_default();
    counts["restarts"] = serde_json::to_value(report.restarts).unwrap_or_default();
    (counts["outages"], counts["hangs"]) = (report.outages.into(), report.hangs.into());
    let count =
        |name: &str| counts.pointer(&format!("/{}", name.replace('.', "/"))).and_then(Value::as_u64).unwrap_or(0);
    let mut table = vec![["trouble", "count", "last"].map(str::to_owned)];
    for (name, at) in &report.last {
        table.push([printable(name), count(name).to_string(), last(&Some(printable(at)), report)]);
    }
    if report.log_lines_dropped > 0 {
        table.push(["log lines dropped".to_owned(), report.log_lines_dropped.to_string(), String::new()]);
    }
    aligned(&table)
}

/// What keeps each process from doing more than its work.
fn sandboxes(report: &Report) -> Vec<[String; 2]> {
    let row = |name: &str, sandbox: InForce| [name.to_owned(), sandbox.to_string()];
    let mut table = vec![["process", "sandbox"].map(str::to_owned), row("supervisor", report.sandbox)];
    table.extend(report.workers.iter().map(|worker| row(&format!("worker {}", worker.number), worker.sandbox)));
    table.extend(report.writer.iter().map(|writer| row("writer", writer.sandbox)));
    table.extend(report.archiver.iter().map(|archiver| row("archiver", archiver.sandbox)));
    table.extend(report.exporter.iter().map(|exporter| row("exporter", exporter.sandbox)));
    table
}

/// The closed files, and what waits.
fn closed(backlog: &Backlog) -> String {
    let Backlog { closed, closed_bytes, oldest_closed, unsealed, uncompressed, unhooked, hook_failures_in_a_row } =
        backlog;
    let mut text = format!("{closed} files, {}", bytes(*closed_bytes));
    if let Some(oldest) = i64::try_from(*oldest_closed).ok().filter(|&seconds| seconds > 0) {
        let _ = write!(text, ", the oldest begun at {}", clock::text(oldest.saturating_mul(1_000_000)));
    }
    for (count, what) in [(unsealed, "to seal"), (uncompressed, "to compress"), (unhooked, "to hand on")] {
        if *count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    if *hook_failures_in_a_row > 0 {
        let _ = write!(text, " ({hook_failures_in_a_row} failures in a row)");
    }
    text
}

fn archived(counts: &ArchiverCounts) -> String {
    let ArchiverCounts { sealed, compressed, pruned, hooked, hook_failures, archive_faults } = counts;
    let hooks = format!("{hooked} handed on ({hook_failures} failures)");
    format!("{sealed} sealed, {compressed} compressed, {pruned} deleted, {hooks}, {archive_faults} faults")
}

/// Where they are read, and how often they were.
fn metrics(report: &Report) -> String {
    if report.metrics.is_empty() {
        return "none".to_owned();
    }
    let ExporterCounts { scrapes, bad_requests } = report.totals.exporter;
    format!("http://{}/metrics, {scrapes} scrapes, {bad_requests} bad requests", report.metrics)
}

/// Those whom `[limits]` has closed or held up.
fn turned_away(counts: &WorkerCounts) -> String {
    let WorkerCounts { denied, too_many, idle, late, timed_out, delayed, .. } = counts;
    let ended = format!("{idle} idle, {late} late with their first message, {timed_out} not reading");
    format!("{denied} denied, {too_many} too many of an address; closed: {ended}; {delayed} delays by rate")
}

fn serving(ready: bool) -> &'static str {
    if ready { "serving" } else { "starting" }
}

/// `5m 3s ago (2026-11-22T08:42:00.123Z)`.
fn last(at: &Option<String>, report: &Report) -> String {
    let Some(at) = at else { return "never".to_owned() };
    match (clock::micros_of(at), clock::micros_of(&report.time)) {
        (Some(then), Some(now)) => {
            let ago = u64::try_from(now.saturating_sub(then) / 1_000_000).unwrap_or(0);
            format!("{} ago ({at})", time(ago))
        }
        _ => at.clone(),
    }
}

/// Columns as wide as they must be: words to the left, numbers to the right.
fn aligned<const N: usize>(table: &[[String; N]]) -> String {
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let number = |column: usize| {
        let is = |row: &[String; N]| {
            let mut digits = row[column].trim_end_matches(" ms").trim_end_matches(" %").bytes();
            digits.all(|byte| byte.is_ascii_digit())
        };
        table.iter().skip(1).all(is)
    };
    let right: [bool; N] = std::array::from_fn(number);
    let mut text = String::new();
    for row in table {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if right[column] { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn columns_are_aligned() {
        let table = [["process", "pid", "state"], ["worker 10", "7", "serving"], ["writer", "1234", ""]];
        let table: Vec<[String; 3]> = table.iter().map(|row| row.map(str::to_owned)).collect();
        assert_eq!(aligned(&table), "process     pid  state\nworker 10     7  serving\nwriter     1234\n");
    }

    #[test]
    fn nothing_in_a_status_reaches_the_terminal_as_a_command() {
        let last = BTreeMap::from([("workers.\u{1b}[2J".to_owned(), "\u{7}".to_owned())]);
        let report = Report { directory: "/a\u{1b}[2J\n".into(), status: "\u{7}".into(), last, ..Report::default() };
        let guest = Guest { peer: "\u{1b}[2J".into(), ..Guest::default() };
        let text = status(&report) + &guests(&[guest]);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains("store         /a\u{fffd}[2J\u{fffd}\n"), "{text}");
    }

    #[test]
    fn trouble_is_told_with_its_count_and_time() {
        let time = "2026-11-22T08:42:00.000Z".to_owned();
        let mut report = Report { time, ..Report::default() };
        assert!(status(&report).contains("no trouble since the start"));
        report.totals.workers.oversize = 7;
        report.restarts.writer = 3;
        let at = "2026-11-22T08:36:54.000Z".to_owned();
        report.last = ["workers.oversize", "restarts.writer"].map(|name| (name.to_owned(), at.clone())).into();
        let text = status(&report);
        assert!(text.contains("restarts.writer       3  5m 6s ago (2026-11-22T08:36:54.000Z)\n"), "{text}");
        assert!(text.contains("workers.oversize      7  5m 6s ago (2026-11-22T08:36:54.000Z)\n"), "{text}");
    }
}
