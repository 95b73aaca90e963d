//! What a failure means for the writer, how long it waits, and what the operator can do.
use super::Writer;
use super::plan::{self, Remedy};
use std::io;
use std::time::{Duration, Instant};

/// How long to wait before a failed write is tried again: space that returns is noticed well within a second.
pub(super) const WRITE_RETRY: Duration = Duration::from_millis(200);
/// The longest wait between two segments that fail.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Why a batch could not be carried out.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is no room, or no permission to write: it may be tried again, at the same place.
    Wait(io::Error),
    /// A write or sync failed in a way that leaves the file's state unknown: it must never be written or synced again.
    Suspect(io::Error),
    /// Pipes or memory failed: the writer cannot go on, its successor may.
    Internal(io::Error),
}

impl Fault {
    pub(super) fn of_write(error: io::Error) -> Self {
        match plan::failed_write(error.raw_os_error()) {
            Remedy::Wait => Self::Wait(error),
            Remedy::Leave => Self::Suspect(error),
        }
    }
}

impl Writer {
    /// Counts a segment that failed, and says how long to wait before another takes over: the first failure costs no time;
    /// a disk that goes on failing must neither fill its directory nor the log.
    pub(super) fn back_off(&mut self) -> Duration {
        self.failures += 1;
        let wait = backoff(self.failures);
        if !wait.is_zero() {
            self.rotation_retry = Some(Instant::now() + wait);
        }
        wait
    }
}

/// How long to wait after so many segments failed in a row: not at all, then twice as long each time.
fn backoff(failures: u32) -> Duration {
    match failures.checked_sub(2) {
        None => Duration::ZERO,
        Some(more) => LONGEST_RETRY.min(WRITE_RETRY * (1 << more.min(10))),
    }
}

/// What the operator can do, as the end of a sentence.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    use nix::libc::{EDQUOT, EIO, ENOENT, ENOSPC, EROFS};
    match error.raw_os_error() {
        Some(EIO) => "; the disk fails, the kernel's log (dmesg) tells how",
        Some(ENOENT) => "; the store's directory is gone: it is made again if that is allowed",
        Some(ENOSPC | EDQUOT) => "; make room there (bytes, inodes or quota), it goes on by itself",
        Some(EROFS) => "; remount it writable, or add ReadWritePaths= to the service unit",
        _ => "",
    }
}
