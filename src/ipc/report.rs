//! What `status` tells of the running daemon: numbers, names and paths of its own, never a client's bytes.
//!
//! Promise: [`SCHEMA`] is raised when a field goes away or changes its meaning; new ones may come at any time. The
//! fields are told in `docs/status.md`, which a test compares.
use super::sandbox::InForce;
use super::scoreboard::{Count, Scoreboard};
use serde::{Deserialize, Serialize};

/// The version of the fields.
pub const SCHEMA: u32 = 1;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The daemon's version.
    pub version: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// Seconds since its start.
    pub uptime_seconds: u64,
    /// What keeps the supervisor, and all that it starts, from doing more than their work.
    #[serde(default)]
    pub sandbox: InForce,
    /// The status line, as systemctl shows it.
    pub status: String,
    /// The current generation serves.
    pub ready: bool,
    /// A stop is under way.
    pub stopping: bool,
    /// A role is missing and waits to be replaced.
    pub degraded: bool,
    /// The store takes nothing for want of room.
    pub full: bool,
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
    /// Connections open now.
    pub connections: u64,
    /// Messages stored in the last second or so.
    pub messages_per_second: u64,
    /// Of all processes since the start, the dead ones included.
    pub totals: Totals,
    /// The workers there are, of all generations.
    pub workers: Vec<Worker>,
    /// The writer, unless it is just being replaced.
    pub writer: Option<Writer>,
    /// The archiver, unless it is just being replaced.
    #[serde(default)]
    pub archiver: Option<Archiver>,
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// What workers count.
    pub workers: WorkerCounts,
    /// What writers count.
    pub writer: WriterCounts,
    /// What archivers count.
    #[serde(default)]
    pub archiver: ArchiverCounts,
}

/// One worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(default)]
    pub sandbox: InForce,
    /// It serves.
    pub ready: bool,
    /// It accepts nothing more, and leaves when its connections have ended.
    pub leaving: bool,
    /// Connections open now.
    pub connections: u64,
    /// Its counters.
    #[serde(flatten)]
    pub counts: WorkerCounts,
}

/// The writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Its process id.
    pub pid: u32,
    /// Seconds since it was forked.
    pub uptime_seconds: u64,
    /// What keeps it from doing more than its work.
    #[serde(default)]
    pub sandbox: InForce,
    /// It stores.
    pub ready: bool,
    /// Its counters.
    #[serde(flatten)]
    pub counts: WriterCounts,
}

/// The archiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archiver {
    /// Its process id.
    pub pid: u32,
    /// Seconds since it was forked.
    pub uptime_seconds: u64,
    /// What keeps it from doing more than its work.
    #[serde(default)]
    pub sandbox: InForce,
    /// It works.
    pub ready: bool,
    /// What there is, and what waits.
    #[serde(flatten)]
    pub backlog: Backlog,
    /// Its counters.
    #[serde(flatten)]
    pub counts: ArchiverCounts,
}

/// Declares counters, each by its field and its word of the scoreboard.
macro_rules! counts {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $count:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name { $($(#[$field_doc])* pub $field: u64,)* }

        impl $name {
            /// What a role has counted so far.
            pub fn of(scoreboard: &Scoreboard) -> Self {
                Self { $($field: scoreboard.get(Count::$count),)* }
            }

            /// Adds another role's.
            pub fn add(&mut self, other: Self) {
                $(self.$field = self.$field.saturating_add(other.$field);)*
            }
        }
    };
}

counts! {
    /// What a worker counts.
    WorkerCounts {
        /// Connections accepted.
        accepted: Accepted,
        /// Messages received.
        messages: Messages,
        /// Their bytes.
        bytes: Bytes,
        /// Bytes echoed.
        echoed: Echoed,
        /// Messages above `server.max-message-size`.
        oversize: Oversize,
        /// Connections closed for malformed framing.
        malformed: Malformed,
        /// Unfinished messages of connections that ended.
        incomplete: Incomplete,
        /// Connections closed because the client did not read its echoes.
        timed_out: TimedOut,
        /// Connections of `proxy.from` closed for want of a PROXY header.
        bad_proxy_headers: BadProxyHeaders,
        /// Connections closed for TLS that failed, or a handshake that took too long.
        handshake_failures: HandshakeFailures,
        /// Clients turned away by `limits.allow` and `limits.deny`.
        denied: Denied,
        /// Clients turned away because their address had enough connections.
        too_many: TooMany,
        /// Connections closed because no whole message came for `limits.idle-timeout`.
        idle: Idle,
        /// Connections closed because their first message took longer than `limits.first-message-timeout`.
        late: Late,
        /// Times that a connection had to wait for its address's rate.
        delayed: Delayed,
        /// Times that accepting paused, for want of descriptors or by `limits.max-connections`.
        accept_pauses: AcceptPauses,
        /// Connections closed because there was no room for their messages.
        refused: Refused,
    }
}

counts! {
    /// What the writer counts.
    WriterCounts {
        /// Messages stored.
        messages: Messages,
        /// Bytes of their records.
        bytes: Bytes,
        /// Batches committed.
        batches: Batches,
        /// Syncs done.
        syncs: Syncs,
        /// Writes or syncs that failed.
        faults: Faults,
        /// Segments begun.
        rotations: Rotations,
        /// Unfinished frames of dead workers, dropped; none of their messages was echoed.
        torn_frames: TornFrames,
        /// Torn records set aside at the start.
        torn_records: TornRecords,
        /// Messages refused for want of room.
        refused: Refused,
        /// Records saved from segments that failed.
        rescued: Rescued,
        /// Acknowledged bytes that could not be read back from them.
        lost_bytes: LostBytes,
        /// Workers that sent what none sends, and were killed.
        broken_links: BrokenLinks,
    }
}

counts! {
    /// The closed segments as the archiver saw them last.
    Backlog {
        /// How many there are.
        closed: Closed,
        /// Bytes of their files.
        closed_bytes: ClosedBytes,
        /// Those not sealed yet.
        unsealed: Unsealed,
        /// Those to be compressed.
        uncompressed: Uncompressed,
        /// Those for which `rotate.on-close` is still to be run.
        unhooked: Unhooked,
    }
}

counts! {
    /// What the archiver counts.
    ArchiverCounts {
        /// Segments sealed.
        sealed: Sealed,
        /// Segments compressed.
        compressed: Compressed,
        /// Segments deleted by retention, or to make room.
        pruned: Pruned,
        /// Runs of `rotate.on-close` that ended well.
        hooked: Hooked,
        /// Runs of it that did not.
        hook_failures: HookFailures,
        /// Its deeds that failed; they are tried again.
        archive_faults: ArchiveFaults,
    }
}
