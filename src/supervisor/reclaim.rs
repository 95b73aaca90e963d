//! The store's directory, its lock or its mark was deleted while the daemon runs: made again where that can be done.
//!
//! Promise: the same checks as at a start; the same epoch, so that no connection's name comes twice; the writer is
//! replaced by one that holds the new directory, and the frames that nobody has acknowledged go on from the pipes.
use super::Supervisor;
use super::restart::{Deaths, replace_at};
use super::start::OpenStore;
use crate::config::Config;
use crate::exit::Fatal;
use crate::ipc::control::ToWriter;
use crate::store::directory::Directory;
use crate::sys::{OwnedFd, file};
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// A writer that has not complained for so long is content.
const CONTENT: Duration = Duration::from_secs(15);

/// What the writer has complained about, and the attempts to mend it.
#[derive(Debug, Default)]
pub struct Complaint {
    heard: Option<Instant>,
    failures: Deaths,
    retry: Option<Instant>,
}

impl Complaint {
    /// Whether the store is still not what it must be.
    pub fn stands(&self, now: Instant) -> bool {
        self.failures.in_a_row() > 0 && self.heard.is_some_and(|heard| now < heard + CONTENT)
    }
}

/// What takes the place of what was lost.
struct Reclaimed {
    directory: OwnedFd,
    lock: File,
    /// The directory is another one.
    moved: bool,
}

impl Supervisor {
    /// The writer misses the directory, the lock or the mark.
    pub(super) fn reclaim(&mut self, now: Instant) {
        if !self.was_ready || self.complaint.retry.is_some_and(|retry| now < retry) {
            self.complaint.heard = Some(now);
            return;
        }
        let first = !self.complaint.stands(now);
        self.complaint.heard = Some(now);
        let path = self.config.store.directory.display();
        match reclaim(&self.ground.store, &self.config) {
            Ok(reclaimed) => {
                self.complaint = Complaint::default();
                let Some(Reclaimed { directory, lock, moved }) = reclaimed else { return };
                match moved {
                    true => crate::notice!(
                        STORE_MADE_AGAIN,
                        "the store goes on in {path}, which is there again; what was in the deleted directory is gone"
                    ),
                    false => crate::notice!(STORE_LOCKED_AGAIN, "the store {path} is locked again"),
                }
                (self.ground.store.directory, self.ground.store.lock) = (directory, lock);
                self.ground.run.follow(&self.ground.store, &self.config);
                self.ground.store.moved |= moved;
                if moved {
                    // Of files that have no name any more.
                    self.segments.clear();
                }
                self.retire_writer();
                self.archive.retire();
            }
            Err(fatal) => {
                self.complaint.retry = Some(replace_at(&mut self.complaint.failures, false, Duration::ZERO, now));
                if first {
                    crate::error!(STORE_NOT_MADE_AGAIN, "{fatal}; trying again until it can");
                }
            }
        }
    }

    /// Has the writer replaced by one that is forked with what the supervisor holds now.
    pub(super) fn retire_writer(&mut self) {
        if let Some(writer) = self.writer.as_mut().filter(|writer| !writer.retiring) {
            writer.retiring = true;
            writer.channel.send(ToWriter::Retire);
        }
    }
}

/// `None`: the writer need not be replaced.
fn reclaim(store: &OpenStore, config: &Config) -> Result<Option<Reclaimed>, Fatal> {
    let system = |error: io::Error| Fatal::system("look at the store's directory", error);
    let path = &config.store.directory;
    let moved = file::stat(&store.directory).map_err(system)?.st_nlink == 0;
    let directory = match moved {
        true => Directory::open_or_make(path)?,
        false => Directory::held(store.directory.try_clone().map_err(system)?, path),
    };
    let locked = !moved && directory.has_lock(&store.lock);
    let lock = if locked { None } else { Some(directory.lock()?) };
    directory.keep_epoch(store.epoch, store.run, config.store.format)?;
    Ok(lock.map(|lock| Reclaimed { directory: directory.into_fd(), lock, moved }))
}
