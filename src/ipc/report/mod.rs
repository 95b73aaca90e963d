//! What `status` tells of the running daemon: numbers, names and paths of its own, never a client's bytes.
//!
//! Promise: [`SCHEMA`] is raised when a field goes away or changes its meaning; new ones may come at any time. The
//! fields are told in `docs/status.md`, which a test compares.
mod counts;
mod figures;
mod health;

use super::sandbox::InForce;
pub use counts::{ArchiverCounts, Backlog, ExporterCounts, WorkerCounts, WriterCounts};
pub use figures::{Disk, Guest, Histogram, Histograms, Live, Restarts};
pub use health::{HANGS, STALLED};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most connections that are named, of each worker and of all.
pub const MOST_GUESTS: usize = 20;

/// The version of the fields.
pub const SCHEMA: u32 = 1;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When it was made: RFC 3339, UTC, as all times here.
    pub time: String,
    /// The daemon's version.
    pub version: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// Seconds since its start.
    pub uptime_seconds: u64,
    /// When that was, in seconds since 1970.
    pub started: u64,
    /// What keeps it from serving as it should, in words; empty: it is healthy.
    pub health: Vec<String>,
    /// What keeps the supervisor, and all that it starts, from doing more than their work.
    pub sandbox: InForce,
    /// The status line, as systemctl shows it.
    pub status: String,
    /// The current generation serves.
    pub ready: bool,
    /// A stop is under way.
    pub stopping: bool,
    /// A worker or the writer is missing and waits to be replaced, or stands still.
    pub degraded: bool,
    /// Workers, and the writer, whose loop has not turned for 10 s, by their titles.
    pub hanging: Vec<String>,
    /// A message has waited for 10 s to be stored.
    pub stalled: bool,
    /// The store takes nothing for want of room.
    pub full: bool,
    /// No new file can be begun: it is tried again every second, and the old one goes on if it may.
    pub rotation_stuck: bool,
    /// The store's directory is gone and cannot be made again.
    pub homeless: bool,
    /// Counts reloads, from 1.
    pub generation: u64,
    /// The configuration file.
    pub config: String,
    /// Addresses that are listened on.
    pub listeners: Vec<String>,
    /// The store's directory.
    pub directory: String,
    /// The live segment's file name, once there is one.
    pub segment: Option<String>,
    /// `server.echo`.
    pub echo: String,
    /// `server.framing`.
    pub framing: String,
    /// `store.on-disk-full`.
    pub on_disk_full: String,
    /// Connections open now.
    pub connections: u64,
    /// Messages stored in the last second or so.
    pub messages_per_second: u64,
    /// Bytes of their records.
    pub bytes_per_second: u64,
    /// How long the oldest message waits that is not acknowledged yet.
    pub oldest_unacknowledged_milliseconds: u64,
    /// Bytes that dead workers have left in their pipes, still to be stored.
    pub orphaned_bytes: u64,
    /// How long there have been such.
    pub orphaned_milliseconds: u64,
    /// How long no writer has been there that stores.
    pub writerless_milliseconds: u64,
    /// How long records may wait for a sync: `store.sync-interval`; 0: their echoes wait for it (`synced`); none: only
    /// rotations sync.
    pub sync_interval_milliseconds: Option<u64>,
    /// When a batch was written last, by the writer there is.
    pub last_write: Option<String>,
    /// When a sync ended well last, by the writer there is.
    pub last_sync: Option<String>,
    /// How long that took.
    pub last_sync_microseconds: u64,
    /// The live file, once there is one.
    pub live: Option<Live>,
    /// The store's file system, if it is known.
    pub disk: Option<Disk>,
    /// The rules of `[retain]` that hold, and `[compress]`; empty: closed files stay as they are, for ever.
    pub retention: String,
    /// Deaths of processes that nobody had asked for.
    pub restarts: Restarts,
    /// Times that `health` was not ok, from the first readiness to the stop. Looked at once a second.
    pub outages: u64,
    /// Times that a worker or the writer stood still for ten seconds.
    pub hangs: u64,
    /// Lines for the log that were lost, since nobody took them.
    pub log_lines_dropped: u64,
    /// Counters that tell of trouble, as `workers.oversize` and `restarts.writer`: when each was last added to.
    pub last: BTreeMap<String, String>,
    /// Times and sizes, of all processes since the start.
    pub histograms: Histograms,
    /// Of all processes since the start, the dead ones included.
    pub totals: Totals,
    /// The address at which metrics are served; empty: they are off.
    pub metrics: String,
    /// The workers there are, of all generations.
    pub workers: Vec<Worker>,
    /// The writer, unless it is just being replaced.
    pub writer: Option<Writer>,
    /// The archiver, unless it is just being replaced.
    pub archiver: Option<Archiver>,
    /// The exporter, if `metrics.listen` is set, unless it is just being replaced.
    pub exporter: Option<Exporter>,
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// What workers count.
    pub workers: WorkerCounts,
    /// What writers count.
    pub writer: WriterCounts,
    /// What archivers count.
    pub archiver: ArchiverCounts,
    /// What exporters count.
    pub exporter: ExporterCounts,
}

/// One worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// The number in its title.
    pub number: usize,
    /// Its process id.
    pub pid: u32,
    /// The generation that it belongs to.
    pub generation: u64,
    /// Seconds since it was forked.
    pub uptime_seconds: u64,
    /// What keeps it from doing more than its work.
    pub sandbox: InForce,
    /// It serves.
    pub ready: bool,
    /// It accepts nothing more, and leaves when its connections have ended.
    pub leaving: bool,
    /// How often the worker of this number has died and was replaced.
    pub restarts: u64,
    /// Since its loop turned last; one that has nothing to do turns every few seconds at least.
    pub heartbeat_milliseconds: u64,
    /// Connections open now.
    pub connections: u64,
    /// Bytes in its data pipe.
    pub pipe_bytes: u64,
    /// Bytes that the pipe takes.
    pub pipe_size: u64,
    /// How long its oldest message waits that is not acknowledged yet.
    pub oldest_unacknowledged_milliseconds: u64,
    /// Its counters.
    #[serde(flatten)]
    pub counts: WorkerCounts,
}

/// The writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Writer {
    /// Its process id.
    pub pid: u32,
    /// Seconds since it was forked.
    pub uptime_seconds: u64,
    /// What keeps it from doing more than its work.
    pub sandbox: InForce,
    /// It stores.
    pub ready: bool,
    /// How often it has died and was replaced.
    pub restarts: u64,
    /// Since its loop turned last.
    pub heartbeat_milliseconds: u64,
    /// Its counters.
    #[serde(flatten)]
    pub counts: WriterCounts,
}

/// The archiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Archiver {
    /// Its process id.
    pub pid: u32,
    /// Seconds since it was forked.
    pub uptime_seconds: u64,
    /// What keeps it from doing more than its work.
    pub sandbox: InForce,
    /// It works.
    pub ready: bool,
    /// How often it has died and was replaced.
    pub restarts: u64,
    /// Since its loop turned last.
    pub heartbeat_milliseconds: u64,
    /// What there is, and what waits, once it has looked.
    #[serde(flatten)]
    pub backlog: Option<Backlog>,
    /// Its counters.
    #[serde(flatten)]
    pub counts: ArchiverCounts,
}

/// The exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exporter {
    /// Its process id.
    pub pid: u32,
    /// Seconds since it was forked.
    pub uptime_seconds: u64,
    /// What keeps it from doing more than its work.
    pub sandbox: InForce,
    /// It serves.
    pub ready: bool,
    /// How often it has died and was replaced.
    pub restarts: u64,
    /// Since its loop turned last.
    pub heartbeat_milliseconds: u64,
    /// The address at which metrics are served.
    pub listener: String,
    /// Its counters.
    #[serde(flatten)]
    pub counts: ExporterCounts,
}
