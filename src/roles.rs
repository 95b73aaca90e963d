//! The role table: the one place that names all roles.
//!
//! | role | title in `ps` | entry | lives in |
//! |---|---|---|---|
//! | supervisor | `echostored: supervisor` | [`crate::supervisor::run`] | `src/supervisor/` |
//! | worker | `echostored: worker N` | [`crate::worker::run`] | `src/worker/` |
//! | writer | `echostored: writer` | [`crate::writer::run`] | `src/writer/` |
//! | archiver | `echostored: archiver` | [`crate::archiver::run`] | `src/archiver/` |
//! | exporter | `echostored: exporter` | [`crate::exporter::run`] | `src/exporter/` |
use crate::ipc::seat::Entries;
use crate::supervisor::{self, Options};
use crate::{archiver, exporter, worker, writer};

/// What the supervisor forks.
const FORKED: Entries =
    Entries { worker: worker::run, writer: writer::run, archiver: archiver::run, exporter: exporter::run };

/// Runs the daemon to its end; returns the exit code.
pub fn run(options: Options) -> u8 {
    supervisor::run(options, FORKED)
}
