//! The counters of each role, by name.
use crate::ipc::scoreboard::{Count, Scoreboard};
use serde::{Deserialize, Serialize};

/// Declares counters, each by its field and its word of the scoreboard.
macro_rules! counts {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $count:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name { $($(#[$field_doc])* pub $field: u64,)* }

        impl $name {
            /// Every field by its name, with its word.
            pub const FIELDS: &[(&'static str, Count)] = &[$((stringify!($field), Count::$count),)*];

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
        /// Messages whose echo was released: they are as safe as `server.echo` says.
        echoes: Echoes,
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
        /// Times that accepting paused, for want of descriptors or by `limits.max-connections`; while that holds, another each second.
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
        /// Writes or syncs that failed, but for want of room for a write.
        faults: Faults,
        /// Segments begun.
        rotations: Rotations,
        /// Unfinished frames of dead workers, dropped; none of their messages was echoed.
        torn_frames: TornFrames,
        /// Torn records set aside at the start.
        torn_records: TornRecords,
        /// Messages refused for want of room.
        refused: Refused,
        /// Batches that had to wait for room.
        waits_for_room: WaitsForRoom,
        /// Records saved from segments that failed.
        rescued: Rescued,
        /// Acknowledged bytes that could not be read back from them.
        lost_bytes: LostBytes,
        /// Acknowledged bytes that somebody else has destroyed: the live file was truncated or deleted.
        destroyed_bytes: DestroyedBytes,
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
        /// When the oldest of them was begun, in seconds since 1970; 0: there is none.
        oldest_closed: OldestClosed,
        /// Those not sealed yet.
        unsealed: Unsealed,
        /// Those to be compressed.
        uncompressed: Uncompressed,
        /// Those for which `rotate.on-close` is still to be run.
        unhooked: Unhooked,
        /// Runs of it on one file that failed, one after the other; 0: the last one went well.
        hook_failures_in_a_row: HookFailing,
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

counts! {
    /// What the exporter counts.
    ExporterCounts {
        /// Requests answered with metrics.
        scrapes: Scrapes,
        /// Requests refused, connections closed because none came in time or because its response was not taken, and
        /// those for which there was no place.
        bad_requests: BadRequests,
    }
}
