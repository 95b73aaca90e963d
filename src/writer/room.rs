//! Room: what the writer knows of the room on its disk, whom it tells, and how it learns that there is room again.
//!
//! Promise: the disk counts as full until something was stored, or until there is room for what found none, also when
//! nobody sends any more; under `prune` a wait for the next deletion is not a full disk. Nothing is kept reserved.
use super::Writer;
use super::fault::{WRITE_RETRY, remedy};
use crate::config::OnDiskFull;
use crate::ipc::control::ToSupervisor;
use crate::ipc::scoreboard::Count;
use crate::log::Limiter;
use crate::sys::file as disk;
use std::io;
use std::mem;
use std::time::{Duration, Instant};

/// How long after want of room each batch asks for room before it writes: a write that fails in its middle leaves bytes
/// behind, and costs a segment.
const CAUTION: Duration = Duration::from_secs(60);
/// Between two looks for room that nobody waits for.
const LOOK: Duration = Duration::from_secs(1);
/// The least that is looked for: a few bytes may fit where no message does.
const LEAST: u64 = 64 << 10;
/// How long pruning may take. It makes room within milliseconds, if it can.
const PRUNING: Duration = Duration::from_secs(2);

/// What the writer knows of the room on its disk.
#[derive(Debug)]
pub(super) struct Room {
    /// A stop has begun: nothing waits for room any more.
    pub stopping: bool,
    /// Bytes behind the committed ones are of a batch that was given up: the live segment has to be left, and cut.
    pub overhang: bool,
    /// Whether frames are refused for want of room now, and whether that was logged.
    pub refusing: Option<bool>,
    /// Messages refused that no line of the log has counted.
    pub refused: u64,
    pub told: Limiter,
    /// What the last write, or the last new segment, lacked.
    want: Option<Want>,
    cautious_until: Instant,
    /// The log has said that a batch waits.
    told_waiting: bool,
}

/// Room that was not there.
#[derive(Clone, Copy, Debug)]
struct Want {
    code: i32,
    /// For so many bytes; 0: for a new segment.
    bytes: u64,
    since: Instant,
    /// If nothing waits for it: when to look for it.
    look_at: Instant,
}

impl Room {
    /// As at the beginning of a writer, which knows nothing: it is careful.
    pub fn new(now: Instant) -> Self {
        Self {
            stopping: false,
            overhang: false,
            refusing: None,
            refused: 0,
            told: Limiter::new(),
            want: None,
            cautious_until: now + CAUTION,
            told_waiting: false,
        }
    }

    /// The error of the last write, or of the last new segment, if it was want of room.
    pub fn wanted(&self) -> Option<i32> {
        self.want.map(|want| want.code)
    }

    /// There may be room now: a look need not wait.
    pub fn look_soon(&mut self, now: Instant) {
        if let Some(want) = &mut self.want {
            want.look_at = now;
        }
    }
}

/// Whether the error means that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(is_want_of_room)
}

fn is_want_of_room(code: i32) -> bool {
    use nix::libc::{EDQUOT, ENOSPC};
    matches!(code, ENOSPC | EDQUOT)
}

/// Whether want of room that has lasted so long is a full disk, and not just the policy at its work.
fn is_full_disk(policy: OnDiskFull, lasted: Duration) -> bool {
    policy != OnDiskFull::Prune || lasted >= PRUNING
}

/// Whether `bytes` have room. `counted`: all bytes of the file system and the free ones, if it counts. `tried`: what it
/// said when it was asked for them; one that cannot be asked has what it counts, and the next write tells the rest.
fn has_room(bytes: u64, counted: Option<(u64, u64)>, tried: impl FnOnce() -> io::Result<()>) -> bool {
    let short = counted.is_some_and(|(size, free)| size > 0 && free < bytes);
    !short && !tried().is_err_and(|error| is_full(&error))
}

impl Writer {
    /// Notes why nothing can be stored.
    pub(super) fn note(&mut self, error: &io::Error, now: Instant) {
        let before = self.room.want.take();
        let of_batch = self.pending.as_ref().map(|pending| pending.next.offset.saturating_sub(self.offset));
        self.room.want = error.raw_os_error().filter(|code| is_want_of_room(*code)).map(|code| Want {
            code,
            bytes: of_batch.or(before.map(|want| want.bytes)).unwrap_or(0),
            since: before.map_or(now, |want| want.since),
            look_at: now + LOOK,
        });
        let full = self.room.want.is_some() && self.is_more_than_pruning(now);
        self.scoreboard.set(Count::Full, u64::from(full));
        self.heed(error, now);
    }

    /// Want of room, even if the old segment still has some: asks for pruning, if that is the policy, and is careful.
    pub(super) fn heed(&mut self, error: &io::Error, now: Instant) {
        if !is_full(error) {
            return;
        }
        self.room.cautious_until = now + CAUTION;
        if self.config.store.on_disk_full == OnDiskFull::Prune && self.channel.unsent() == 0 {
            self.channel.send(ToSupervisor::Full);
        }
    }

    fn is_more_than_pruning(&self, now: Instant) -> bool {
        let lasted = |since| now.saturating_duration_since(since);
        self.room.want.is_none_or(|want| is_full_disk(self.config.store.on_disk_full, lasted(want.since)))
    }

    /// Something was deleted: what there was no room for is tried again at once.
    pub(super) fn room_was_made(&mut self) {
        if self.room.want.is_some() || self.stuck.is_some_and(is_want_of_room) {
            let now = Instant::now();
            self.stalled = self.stalled.map(|_| now);
            self.rotation_retry = self.rotation_retry.map(|_| now);
            self.room.look_soon(now);
        }
    }

    /// A batch cannot be written for now, and its place is not spoilt: it is refused, or waits. True: it was refused.
    pub(super) fn wait_for_room(&mut self, error: &io::Error, now: Instant) -> io::Result<bool> {
        self.note(error, now);
        if self.refuse_for_room()? {
            return Ok(true);
        }
        if !is_full(error) {
            self.scoreboard.add(Count::Faults, 1);
        } else if self.stalled.is_none() {
            self.scoreboard.add(Count::WaitsForRoom, 1);
        }
        if self.is_more_than_pruning(now) && !mem::replace(&mut self.room.told_waiting, true) {
            let (name, offset, remedy) = (self.live.name.build(), self.offset, remedy(error));
            error!(
                DISK_FULL { file: &name },
                "cannot write to {name} at byte {offset}: {error}; nothing is echoed until it can{remedy}"
            );
        }
        self.stalled = Some(now + WRITE_RETRY);
        Ok(false)
    }

    /// Has the file system keep room for the batch, where it lately had none.
    pub(super) fn ask_for_room(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 || !self.may_refuse() || Instant::now() >= self.room.cautious_until {
            return Ok(());
        }
        match disk::reserve(&self.live.file, self.offset, bytes) {
            Err(error) if is_full(&error) => Err(error),
            // A file system that cannot, for example: the write tells what there is to be told.
            _ => Ok(()),
        }
    }

    /// What found no room may wait no more: it was refused, or its sender has gone. Then no write finds out that there is
    /// room again, and whoever looks at the health before sending would never send. As much is looked for as was lacking,
    /// lest the disk counts as full and not full by turns.
    pub(super) fn look_for_room(&mut self, now: Instant) {
        // A batch that waits, and a segment that must be left, try for themselves.
        let waits = self.pending.is_some() || self.must_move();
        let Some(want) = self.room.want.as_mut().filter(|want| !waits && now >= want.look_at) else { return };
        want.look_at = now + LOOK;
        let bytes = want.bytes.max(LEAST);
        let found = self.on_disk(|writer| {
            let directory = &*writer.shelf.directory;
            has_room(bytes, disk::room(directory).ok(), || disk::try_room(directory, bytes))
        });
        if found {
            self.found_room();
        }
    }

    /// Something was stored, or could be.
    pub(super) fn found_room(&mut self) {
        if self.room.want.take().is_some() {
            self.scoreboard.set(Count::Full, 0);
        }
        self.stalled = None;
        let told = mem::take(&mut self.room.told_waiting);
        match self.room.refusing.take() {
            Some(true) => {
                let (name, refused) = (self.live.name.build(), mem::take(&mut self.room.refused));
                notice!(
                    STORING_AGAIN { file: &name },
                    "storing again in {name}; {refused} messages were refused for want of room"
                );
            }
            _ if told => {
                notice!(STORING_AGAIN { file: &self.live.name.build() }, "storing again in {}", self.live.name.build())
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc::{EDQUOT, EIO, ENOSPC, EOPNOTSUPP};

    #[test]
    fn a_wait_for_the_next_deletion_is_no_full_disk() {
        let soon = PRUNING - Duration::from_millis(1);
        for policy in [OnDiskFull::Wait, OnDiskFull::Reject] {
            assert!(is_full_disk(policy, Duration::ZERO));
        }
        assert!(!is_full_disk(OnDiskFull::Prune, soon) && is_full_disk(OnDiskFull::Prune, PRUNING));
    }

    #[test]
    fn there_is_room_when_the_file_system_says_so_twice() {
        let says = |code: i32| move || Err(io::Error::from_raw_os_error(code));
        assert!(has_room(10, Some((100, 10)), || Ok(())) && has_room(10, None, || Ok(())));
        assert!(has_room(10, Some((0, 0)), || Ok(())), "one that does not count");
        assert!(has_room(10, Some((100, 10)), says(EOPNOTSUPP)), "one that keeps nothing");
        // A quota, or room that is counted and not there.
        assert!(!has_room(10, Some((100, 50)), says(EDQUOT)) && !has_room(10, Some((100, 50)), says(ENOSPC)));
        assert!(has_room(10, Some((100, 50)), says(EIO)), "no want of room");
        let asked = || -> io::Result<()> { panic!("asked, though it counts too few") };
        assert!(!has_room(10, Some((100, 9)), asked));
    }
}
