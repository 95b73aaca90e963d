//! The table of families: the one place that names them all.
use super::Family;
use super::samples::{Kind, Labels, Number, Sample, buckets, each, microseconds, milliseconds, one, roles, workers};
use crate::ipc::report::{Report, Worker};
use crate::store::clock;
use Kind::{Counter, Gauge, Histogram, Info};

const BYTES: Option<&str> = Some("bytes");
const SECONDS: Option<&str> = Some("seconds");

const fn family(
    name: &'static str,
    unit: Option<&'static str>,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Report) -> Vec<Sample>,
) -> Family {
    Family { name, unit, kind, labels, help, read }
}

/// Every family, in the order of the page.
#[rustfmt::skip]
pub const FAMILIES: &[Family] = &[
    // The daemon.
    family("build", None, Info, &["version", "echo", "framing", "on_disk_full"], "Version, what an echo proves and a message is, and what a full disk means", build),
    family("start_time", SECONDS, Gauge, &[], "When the supervisor started, in seconds since 1970", |r| one(r.started)),
    family("healthy", None, Gauge, &[], "1: it serves as it should; 0: GET /healthz says why not", |r| one(r.health.is_empty())),
    family("ready", None, Gauge, &[], "1: the current generation serves", |r| one(r.ready)),
    family("stopping", None, Gauge, &[], "1: a stop is under way", |r| one(r.stopping)),
    family("degraded", None, Gauge, &[], "1: a worker or the writer is missing and waits to be replaced, or stands still", |r| one(r.degraded)),
    family("stalled", None, Gauge, &[], "1: a message has waited for 10 s to be stored", |r| one(r.stalled)),
    family("full", None, Gauge, &[], "1: the store takes nothing for want of room", |r| one(r.full)),
    family("rotation_stuck", None, Gauge, &[], "1: no new file can be begun; it is tried again every second, and the old one goes on if it may", |r| one(r.rotation_stuck)),
    family("homeless", None, Gauge, &[], "1: the store's directory is gone and cannot be made again", |r| one(r.homeless)),
    family("generation", None, Gauge, &[], "Counts reloads, from 1", |r| one(r.generation)),
    // Roles.
    family("role_ready", None, Gauge, &["role", "worker"], "1: this process serves; absent while it is being replaced", |r| roles(r, |c| Some(c.ready))),
    family("role_uptime", SECONDS, Gauge, &["role", "worker"], "Age of this process; it falls when the process is replaced", |r| roles(r, |c| Some(c.uptime))),
    family("role_heartbeat_age", SECONDS, Gauge, &["role", "worker"], "Since the loop of this process turned last; one that has nothing to do turns every few seconds at least", |r| roles(r, |c| c.beat.map(milliseconds))),
    family("role_no_new_privs", None, Gauge, &["role", "worker"], "1: no program gives this process new rights", |r| roles(r, |c| Some(c.sandbox.no_new_privs))),
    family("role_seccomp", None, Gauge, &["role", "worker"], "1: a filter of system calls is in force", |r| roles(r, |c| Some(c.sandbox.seccomp))),
    family("role_landlock_abi", None, Gauge, &["role", "worker"], "Version of Landlock whose rules are in force; 0: none, as for the supervisor", |r| roles(r, |c| Some(u64::from(c.sandbox.landlock)))),
    family("restarts", None, Counter, &["role"], "Deaths of processes that nobody had asked for", |r| each("role", [
        ("worker", r.restarts.workers), ("writer", r.restarts.writer), ("archiver", r.restarts.archiver), ("exporter", r.restarts.exporter)])),
    family("outages", None, Counter, &[], "Times that the daemon was not healthy, from the first readiness to the stop", |r| one(r.outages)),
    family("hangs", None, Counter, &[], "Times that a worker or the writer stood still for ten seconds", |r| one(r.hangs)),
    family("log_lines_dropped", None, Counter, &[], "Lines for the log that were lost, since nobody took them", |r| one(r.log_lines_dropped)),
    family("last_trouble_timestamp", SECONDS, Gauge, &["counter"], "When a counter that tells of trouble was last added to, by its name in the status, in seconds since 1970; absent: never", troubles),
    family("workers", None, Gauge, &["state"], "Workers of all generations", states),
    family("worker_connections", None, Gauge, &["worker"], "Connections open now, by worker", |r| workers(r, |w| w.connections, u64::saturating_add, Number::Whole)),
    family("worker_restarts", None, Counter, &["worker"], "How often the worker of this number has died and was replaced", |r| workers(r, |w| w.restarts, u64::max, Number::Whole)),
    family("worker_pipe", BYTES, Gauge, &["worker"], "Bytes in the worker's data pipe", |r| workers(r, |w| w.pipe_bytes, u64::saturating_add, Number::Whole)),
    family("worker_pipe_size", BYTES, Gauge, &["worker"], "Bytes that the pipe takes", |r| workers(r, |w| w.pipe_size, u64::saturating_add, Number::Whole)),
    family("worker_oldest_unacknowledged", SECONDS, Gauge, &["worker"], "How long the worker's oldest message waits that is not acknowledged yet", |r| workers(r, |w| w.oldest_unacknowledged_milliseconds, u64::max, milliseconds)),
    // Clients.
    family("connections", None, Gauge, &[], "Connections open now", |r| one(r.connections)),
    family("connections_accepted", None, Counter, &[], "Connections accepted", |r| one(r.totals.workers.accepted)),
    family("connections_refused", None, Counter, &["reason"], "Clients turned away: denied by limits.deny or limits.allow; too_many from one address", |r| each("reason", [
        ("denied", r.totals.workers.denied), ("too_many", r.totals.workers.too_many)])),
    family("connections_closed", None, Counter, &["reason"], "Connections that the daemon closed, and why", closed),
    family("accept_pauses", None, Counter, &[], "Times that accepting paused, for want of descriptors or by limits.max-connections; while that holds, another each second", |r| one(r.totals.workers.accept_pauses)),
    family("rate_delays", None, Counter, &[], "Times that a connection had to wait for its address's rate", |r| one(r.totals.workers.delayed)),
    family("messages_received", None, Counter, &[], "Messages received", |r| one(r.totals.workers.messages)),
    family("received", BYTES, Counter, &[], "Bytes of messages received", |r| one(r.totals.workers.bytes)),
    family("echoed", BYTES, Counter, &[], "Bytes echoed", |r| one(r.totals.workers.echoed)),
    family("messages_echoed", None, Counter, &[], "Messages whose echo was released: they are as safe as server.echo says", |r| one(r.totals.workers.echoes)),
    family("echo_duration", SECONDS, Histogram, &[], "Messages, from receipt to the release of the echo", |r| buckets(&r.histograms.echo_microseconds, 1e6)),
    family("oldest_unacknowledged", SECONDS, Gauge, &[], "How long the oldest message waits that is not acknowledged yet", |r| one(milliseconds(r.oldest_unacknowledged_milliseconds))),
    family("messages_oversize", None, Counter, &[], "Messages above server.max-message-size", |r| one(r.totals.workers.oversize)),
    family("messages_incomplete", None, Counter, &[], "Unfinished messages of connections that ended; not stored", |r| one(r.totals.workers.incomplete)),
    // The store.
    family("messages_stored", None, Counter, &[], "Messages stored", |r| one(r.totals.writer.messages)),
    family("stored", BYTES, Counter, &[], "Bytes of records stored", |r| one(r.totals.writer.bytes)),
    family("messages_refused", None, Counter, &[], "Messages refused for want of room", |r| one(r.totals.writer.refused)),
    family("waits_for_room", None, Counter, &[], "Batches that had to wait for room", |r| one(r.totals.writer.waits_for_room)),
    family("orphaned", BYTES, Gauge, &[], "Bytes that dead workers have left in their pipes, still to be stored", |r| one(r.orphaned_bytes)),
    family("orphaned", SECONDS, Gauge, &[], "How long there have been such bytes", |r| one(milliseconds(r.orphaned_milliseconds))),
    family("writerless", SECONDS, Gauge, &[], "How long no writer has been there that stores", |r| one(milliseconds(r.writerless_milliseconds))),
    family("batches", None, Counter, &[], "Batches written", |r| one(r.totals.writer.batches)),
    family("batch_messages", None, Histogram, &[], "Messages of stored batches", |r| buckets(&r.histograms.batch_messages, 1.0)),
    family("write_duration", SECONDS, Histogram, &[], "Writes of batches", |r| buckets(&r.histograms.write_microseconds, 1e6)),
    family("last_write_timestamp", SECONDS, Gauge, &[], "When a batch was written last, by the writer there is, in seconds since 1970; absent: not yet", |r| of(r.last_write.as_deref(), moment)),
    family("syncs", None, Counter, &[], "Syncs done", |r| one(r.totals.writer.syncs)),
    family("sync_duration", SECONDS, Histogram, &[], "Syncs of files", |r| buckets(&r.histograms.sync_microseconds, 1e6)),
    family("sync_interval", SECONDS, Gauge, &[], "How long records may wait for a sync: store.sync-interval; 0: their echoes wait for it; absent: only rotations sync", |r| of(r.sync_interval_milliseconds.as_ref(), |interval| Some(milliseconds(*interval)))),
    family("last_sync_duration", SECONDS, Gauge, &[], "How long the last sync took, of the writer there is", |r| one(microseconds(r.last_sync_microseconds))),
    family("last_sync_timestamp", SECONDS, Gauge, &[], "When a sync ended well last, by the writer there is, in seconds since 1970; absent: not yet", |r| of(r.last_sync.as_deref(), moment)),
    family("write_faults", None, Counter, &[], "Writes or syncs that failed, but for want of room for a write", |r| one(r.totals.writer.faults)),
    family("files_begun", None, Counter, &[], "Files begun", |r| one(r.totals.writer.rotations)),
    family("live_file", BYTES, Gauge, &[], "Bytes of the records in the live file", |r| of(r.live.as_ref(), |live| Some(live.bytes))),
    family("live_file_limit", BYTES, Gauge, &[], "rotate.max-size; absent: the live file may grow for ever", |r| of(r.live.as_ref(), |live| live.max_bytes)),
    family("next_rotation_timestamp", SECONDS, Gauge, &[], "When the clock asks for the next file, in seconds since 1970; absent: never", |r| of(r.live.as_ref(), |live| moment(live.next_rotation.as_ref()?))),
    family("disk_size", BYTES, Gauge, &[], "Bytes of the store's file system", |r| of(r.disk.as_ref(), |disk| Some(disk.size_bytes))),
    family("disk_free", BYTES, Gauge, &[], "Those that the daemon may still use", |r| of(r.disk.as_ref(), |disk| Some(disk.free_bytes))),
    family("disk_used", Some("ratio"), Gauge, &[], "What is used of the store's file system, as df shows it, in whole percent", |r| of(r.disk.as_ref(), |disk| Some(Number::Real(disk.used_percent as f64 / 100.0)))),
    family("torn_frames", None, Counter, &[], "Unfinished frames of dead workers, dropped; none of their messages was echoed", |r| one(r.totals.writer.torn_frames)),
    family("torn_records", None, Counter, &[], "Torn records set aside at the start", |r| one(r.totals.writer.torn_records)),
    family("records_rescued", None, Counter, &[], "Records saved from files that failed", |r| one(r.totals.writer.rescued)),
    family("lost", BYTES, Counter, &[], "Acknowledged bytes that could not be read back from them", |r| one(r.totals.writer.lost_bytes)),
    family("destroyed", BYTES, Counter, &[], "Acknowledged bytes that somebody else has destroyed: the live file was truncated or deleted", |r| one(r.totals.writer.destroyed_bytes)),
    family("broken_links", None, Counter, &[], "Workers that sent what none sends, and were killed", |r| one(r.totals.writer.broken_links)),
    // Closed files.
    family("closed_files", None, Gauge, &[], "Closed files", |r| of(r.archiver.as_ref(), |a| a.backlog.map(|b| b.closed))),
    family("closed_files", BYTES, Gauge, &[], "Bytes of closed files", |r| of(r.archiver.as_ref(), |a| a.backlog.map(|b| b.closed_bytes))),
    family("oldest_closed_file_timestamp", SECONDS, Gauge, &[], "When the oldest closed file was begun, in seconds since 1970; absent: there is none", |r| of(r.archiver.as_ref(), |a| a.backlog.map(|b| b.oldest_closed).filter(|begun| *begun > 0))),
    family("files_waiting", None, Gauge, &["for"], "Closed files that wait to be sealed, compressed, or handed to rotate.on-close", waiting),
    family("files_sealed", None, Counter, &[], "Closed files sealed", |r| one(r.totals.archiver.sealed)),
    family("files_compressed", None, Counter, &[], "Closed files compressed", |r| one(r.totals.archiver.compressed)),
    family("files_pruned", None, Counter, &[], "Closed files deleted by retention, or to make room", |r| one(r.totals.archiver.pruned)),
    family("hook_runs", None, Counter, &["result"], "Runs of rotate.on-close", |r| each("result", [
        ("ok", r.totals.archiver.hooked), ("failed", r.totals.archiver.hook_failures)])),
    family("hook_failures_in_a_row", None, Gauge, &[], "Runs of rotate.on-close on one file that failed, one after the other; 0: the last one went well", |r| of(r.archiver.as_ref(), |a| a.backlog.map(|b| b.hook_failures_in_a_row))),
    family("archive_faults", None, Counter, &[], "Deeds of the archiver that failed; they are tried again", |r| one(r.totals.archiver.archive_faults)),
    // The exporter itself.
    family("exporter_scrapes", None, Counter, &[], "Requests answered with metrics, before this one", |r| one(r.totals.exporter.scrapes)),
    family("exporter_bad_requests", None, Counter, &[], "Requests refused, connections closed because none came in time or because its response was not taken, and those for which there was no place", |r| one(r.totals.exporter.bad_requests)),
];

fn build(report: &Report) -> Vec<Sample> {
    let Report { version, echo, framing, on_disk_full, .. } = report;
    let texts = [("version", version), ("echo", echo), ("framing", framing), ("on_disk_full", on_disk_full)];
    let labels: Labels = texts.into_iter().map(|(name, text)| (name, text.clone())).collect();
    one(1_u64).into_iter().map(|sample| Sample { labels: labels.clone(), ..sample }).collect()
}

fn states(report: &Report) -> Vec<Sample> {
    let count = |is: fn(&Worker) -> bool| report.workers.iter().filter(|worker| is(worker)).count() as u64;
    each(
        "state",
        [
            ("serving", count(|worker| worker.ready && !worker.leaving)),
            ("starting", count(|worker| !worker.ready && !worker.leaving)),
            ("leaving", count(|worker| worker.leaving)),
        ],
    )
}

fn closed(report: &Report) -> Vec<Sample> {
    let counts = &report.totals.workers;
    each(
        "reason",
        [
            ("malformed", counts.malformed),
            ("write_timeout", counts.timed_out),
            ("no_proxy_header", counts.bad_proxy_headers),
            ("tls", counts.handshake_failures),
            ("idle", counts.idle),
            ("first_message", counts.late),
            ("no_room", counts.refused),
        ],
    )
}

/// One series, if there is what it is of, and if that has it.
fn of<T: ?Sized, N: Into<Number>>(thing: Option<&T>, read: fn(&T) -> Option<N>) -> Vec<Sample> {
    thing.and_then(read).into_iter().flat_map(one).collect()
}

/// A time in RFC 3339 as seconds since 1970.
fn moment(time: &str) -> Option<Number> {
    Some(microseconds(u64::try_from(clock::micros_of(time)?).ok()?))
}

fn troubles(report: &Report) -> Vec<Sample> {
    let sample = |(counter, time): (&String, &String)| {
        Some(Sample { labels: vec![("counter", counter.clone())], number: moment(time)? })
    };
    report.last.iter().filter_map(sample).collect()
}

fn waiting(report: &Report) -> Vec<Sample> {
    let backlog = report.archiver.and_then(|archiver| archiver.backlog).into_iter();
    let series = backlog.map(|b| [("seal", b.unsealed), ("compress", b.uncompressed), ("hook", b.unhooked)]);
    series.flat_map(|series| each("for", series)).collect()
}
