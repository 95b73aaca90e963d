//! Who keeps which descriptor, as code: the table that forking goes by and that a test compares with `/proc/PID/fd`.
//!
//! `O_CLOEXEC` does nothing for a fork without exec. A sibling that keeps a data pipe's write end open would keep EOF
//! from ever coming, so each role closes everything that this table does not give it, first thing after the fork.
use crate::sys::RawFd;

/// The roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Listens, forks, watches.
    Supervisor,
    /// Serves clients.
    Worker,
    /// Stores.
    Writer,
    /// Seals, compresses and deletes closed segments.
    Archiver,
    /// Serves metrics.
    Exporter,
}

/// The kinds of descriptors that outlive a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Descriptor {
    /// A listening socket.
    Listener,
    /// The one for metrics.
    MetricsListener,
    /// Write end of a link's data pipe.
    DataWrite,
    /// Read end of a link's data pipe.
    DataRead,
    /// Write end of a link's ack pipe.
    AckWrite,
    /// Read end of a link's ack pipe.
    AckRead,
    /// A link's staging memory.
    Staging,
    /// Read end of the writer's private pipe.
    PrivateRead,
    /// Write end of the writer's private pipe.
    PrivateWrite,
    /// The commit record's memory.
    CommitRecord,
    /// A role's counters; closed by both sides once mapped.
    Scoreboard,
    /// The admission board's memory; closed by a worker once mapped.
    Admission,
    /// The store's directory.
    Directory,
    /// The store's lock.
    Lock,
    /// Second descriptions of the live segment and of closed ones not synced yet.
    Segment,
    /// The writer's own description of the live segment.
    LiveSegment,
    /// `/dev/null`, into which consumed bytes go.
    Null,
    /// The supervisor's end of a role's control channel.
    ControlSupervisor,
    /// The role's end of its control channel.
    ControlRole,
    /// The socket to the service manager.
    Notify,
    /// The socket to the journal, for the log; where there is one.
    Journal,
    /// The control socket and the commands connected to it.
    Control,
    /// The pid file of `run --daemon`, and its directory.
    PidFile,
    /// A role's own signalfd and epoll instance, made after the fork.
    Signals,
    /// See `Signals`.
    Epoll,
    /// The eventfd by which the writer's sync thread reports.
    SyncDone,
}

/// How many of a kind a role keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// None.
    None,
    /// The one that is its own.
    Own,
    /// All there are.
    All,
    /// All there are, over the fork only: closed once mapped, or handed on.
    Passing,
    /// It makes its own after the fork.
    Makes,
}

use Descriptor::*;
use Keeps::{All, Makes, None, Own, Passing};

/// The table: descriptor, supervisor, worker, writer, archiver, exporter.
pub const TABLE: &[(Descriptor, Keeps, Keeps, Keeps, Keeps, Keeps)] = &[
    (Listener, All, All, None, None, None),
    (MetricsListener, All, None, None, None, All),
    (DataWrite, None, Own, None, None, None),
    (DataRead, All, None, All, None, None),
    (AckWrite, All, None, All, None, None),
    (AckRead, None, Own, None, None, None),
    (Staging, All, None, All, None, None),
    (PrivateRead, All, None, All, None, None),
    (PrivateWrite, All, None, All, None, None),
    (CommitRecord, All, None, Passing, None, None),
    (Scoreboard, None, Passing, Passing, Passing, Passing),
    (Admission, All, Passing, None, None, None),
    (Directory, All, None, All, All, None),
    (Lock, All, None, All, All, None),
    (Segment, All, None, Passing, None, None),
    (LiveSegment, None, None, Makes, None, None),
    (Null, None, None, Makes, None, None),
    (ControlSupervisor, All, None, None, None, None),
    (ControlRole, None, Own, Own, Own, Own),
    (Notify, All, None, None, None, None),
    (Journal, All, All, All, All, All),
    (Control, All, None, None, None, None),
    (PidFile, All, None, None, None, None),
    (Signals, Makes, Makes, Makes, Makes, Makes),
    (Epoll, Makes, Makes, Makes, Makes, Makes),
    (SyncDone, None, None, Makes, None, None),
];

/// A descriptor that is open in the supervisor at the moment of a fork.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Its kind.
    pub what: Descriptor,
    /// Whether it was prepared for the role being forked.
    pub own: bool,
    /// The descriptor.
    pub fd: RawFd,
}

/// What `role` keeps of all that is open.
pub fn keep(role: Role, inventory: &[Held]) -> Vec<RawFd> {
    inventory.iter().filter(|held| keeps(role, held.what).includes(held)).map(|held| held.fd).collect()
}

/// The table's answer for one cell.
pub fn keeps(role: Role, what: Descriptor) -> Keeps {
    let row = TABLE.iter().find(|row| row.0 == what);
    row.map_or(None, |row| match role {
        Role::Supervisor => row.1,
        Role::Worker => row.2,
        Role::Writer => row.3,
        Role::Archiver => row.4,
        Role::Exporter => row.5,
    })
}

impl Keeps {
    fn includes(self, held: &Held) -> bool {
        match self {
            None | Makes => false,
            Own => held.own,
            All | Passing => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_keeps_only_its_own_pipe_ends() {
        let held = |what, own, fd| Held { what, own, fd };
        let inventory = [
            held(DataWrite, true, 10),
            held(DataWrite, false, 11),
            held(DataRead, true, 12),
            held(Listener, false, 13),
            held(Lock, false, 14),
        ];
        assert_eq!(keep(Role::Worker, &inventory), [10, 13]);
        assert_eq!(keep(Role::Writer, &inventory), [12, 14]);
        assert!(keep(Role::Exporter, &inventory).is_empty());
    }

    #[test]
    fn each_kind_has_one_row() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(TABLE[index + 1..].iter().all(|other| other.0 != row.0), "{:?}", row.0);
        }
    }
}
