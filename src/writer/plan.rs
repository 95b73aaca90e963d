//! The writer's decisions apart from its deeds: the order of a batch's steps and of a rotation's stages, what a failure
//! means, and what a newborn writer goes on with.
//!
//! Promise: pure. The writer goes by these functions, and so does the model of it that is killed at every step.
use super::batch::file_bytes;
use crate::config::Echo;
use crate::ipc::commit::{Found, Mark, State};
use crate::protocol::frame::{Header, Kind};
use crate::store::segment::Identity;
use std::cmp::Ordering;

/// A step of a batch. The order is the promise: killed before the commit, the batch is written again, the same bytes at
/// the same place; killed after it, it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Publishes what is about to be written.
    Intend,
    /// Writes it, at the end of what is committed.
    Write,
    /// Makes it durable.
    Sync,
    /// Publishes that it was done.
    Commit,
    /// Takes the frames out of the pipes.
    Consume,
    /// Tells the workers.
    Acknowledge,
}

impl Step {
    /// The step after this one; `None`: the batch is done.
    #[inline]
    pub fn next(self, echo: Echo) -> Option<Self> {
        match self {
            Self::Intend => Some(Self::Write),
            Self::Write if echo == Echo::Synced => Some(Self::Sync),
            Self::Write | Self::Sync => Some(Self::Commit),
            Self::Commit => Some(Self::Consume),
            Self::Consume => Some(Self::Acknowledge),
            Self::Acknowledge => None,
        }
    }
}

/// What a failed write or sync asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// There is no room, or no permission to write: it may be tried again, at the same place.
    Wait,
    /// The file's state is unknown: it must never be written or synced again.
    Leave,
}

/// What a failed write asks for. (A failed sync asks for a new segment, whatever the error: the kernel has marked the
/// pages clean.)
pub fn failed_write(errno: Option<i32>) -> Remedy {
    use nix::libc::{EDQUOT, ENOMEM, ENOSPC, EROFS};
    match errno {
        Some(ENOSPC | EDQUOT | EROFS | ENOMEM) => Remedy::Wait,
        _ => Remedy::Leave,
    }
}

/// A stage of a rotation, from the live segment to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Makes the new file; one that shall hold saved records has no name yet.
    Create,
    /// Copies to it what has to be saved, and makes that durable.
    Fill,
    /// Notes in the manifest under which name that will be found.
    Note,
    /// Gives it that name: from here on the saved records count there, and no more where they were.
    Name,
    /// Makes the new file and its name durable.
    Sync,
    /// Gives it a second name.
    Link,
    /// Renames that over `current`.
    Swap,
}

impl Stage {
    /// The stage after this one; `None`: the new segment is `current`. `saving`: records of failed segments.
    pub fn next(self, saving: bool) -> Option<Self> {
        match self {
            Self::Create if saving => Some(Self::Fill),
            Self::Fill => Some(Self::Note),
            Self::Note => Some(Self::Name),
            Self::Create | Self::Name => Some(Self::Sync),
            Self::Sync => Some(Self::Link),
            Self::Link => Some(Self::Swap),
            Self::Swap => None,
        }
    }

    /// Whether the rotation can still be given up without a trace: the old segment goes on, or another rotation does.
    /// Not once the swap may have happened, nor once the saved records count in the new segment.
    pub fn may_be_given_up(self, saving: bool) -> bool {
        match self {
            Self::Create | Self::Fill | Self::Note => true,
            // The name may be there already, though giving it was said to have failed.
            Self::Name | Self::Sync | Self::Link => !saving,
            Self::Swap => false,
        }
    }
}

/// What is still to be done once the new segment is `current`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Cuts off what a batch left in the old segment without a commit.
    Cut,
    /// Gives that batch up: its frames are still in the pipes, and are decided on anew.
    Forget,
    /// Publishes the new segment. From here on the old one is of no concern.
    Publish,
    /// Cuts off, where records were saved, what is now in the new segment.
    Settle,
}

impl Farewell {
    /// The first deed behind the swap.
    pub const FIRST: Self = Self::Cut;

    /// The deed after this one.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Cut => Some(Self::Forget),
            Self::Forget => Some(Self::Publish),
            Self::Publish => Some(Self::Settle),
            Self::Settle => None,
        }
    }
}

/// Where to cut a segment that is left, of `length` bytes with `kept` of them committed. Bytes that no batch of ours can
/// have left are somebody else's, and stay.
pub fn cut(length: u64, kept: u64, uncommitted: bool) -> Option<u64> {
    (uncommitted && length > kept).then_some(kept)
}

/// The state that a newborn writer begins with; `None`: nothing was committed in this run, the directory has to be
/// examined. The file's length counts for nothing.
pub fn inheritance(found: &Found) -> Option<&State> {
    match found {
        Found::Nothing => None,
        Found::Settled(base) | Found::Pending { base, .. } => Some(base),
    }
}

/// What of the record still counts when the committed segment is gone: a batch that was pending is decided on anew.
pub fn without_segment(found: Found) -> Found {
    match found {
        Found::Pending { base, .. } => Found::Settled(base),
        found => found,
    }
}

/// What a newborn writer goes on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebirth {
    /// Nothing was under way.
    Decide,
    /// A batch: the very same frames, at the same place.
    Replay(State),
    /// A rotation, which left a newer, empty segment.
    Adopt {
        /// It was leaving in the middle of a batch.
        mid_batch: bool,
        /// The old segment must not go on, whatever becomes of the new one.
        leave: bool,
    },
    /// A batch, in a segment that failed: it is cut off there, and its frames go to a new one.
    Leave,
}

/// A segment that is newer than the live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newer {
    /// Its length.
    pub length: u64,
    /// It begins with what was saved from the segment that failed.
    pub saved: bool,
    /// The live one is not `current` any more.
    pub swapped: bool,
}

/// Decides what a newborn writer goes on with. `leave`: its live segment must not be written. `newest`: the newest
/// segment, if that is newer than the live one.
///
/// An intent that names another segment than the commit is a rotation's, and is made anew with it. A newer segment that
/// is neither empty nor made of saved records is somebody else's: a rotation publishes before it writes.
pub fn rebirth(found: Found, leave: bool, newest: Option<Newer>) -> Rebirth {
    let pending = match found {
        Found::Pending { base, next } if base.segment == next.segment => Some(next),
        _ => None,
    };
    match (newest, pending) {
        (Some(newest), pending) if newest.saved || newest.length == 0 => {
            let mid_batch = pending.is_some();
            Rebirth::Adopt { mid_batch, leave: mid_batch || newest.swapped }
        }
        (_, Some(_)) if leave => Rebirth::Leave,
        (_, Some(next)) => Rebirth::Replay(next),
        (_, None) => Rebirth::Decide,
    }
}

/// Whether the committed state may be published. Not over an intent whose batch may be in the file: a successor would not
/// know of it, and would neither finish it nor cut it off.
pub fn may_publish(pending: bool, uncommitted: bool) -> bool {
    !pending && !uncommitted
}

/// What to do with a description of a segment that a dead writer never used: it tells of the errors too that only the
/// dead one was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherited {
    /// Sync it, and wait for the answer: a file that failed must not get the batch that is to be repeated.
    SyncFirst,
    /// Sync it beside the data path.
    SyncAside,
    /// Sync it as a closed segment.
    Close,
    /// It has failed, or one before it has: it is only kept, to be saved.
    Keep,
    /// Drop it: of a rotation that was not published, and is adopted.
    Drop,
}

/// Decides what to do with an inherited description of segment `sequence`. `failed`: the oldest segment that has failed.
/// `pending`: there is a batch to repeat.
pub fn inherited(sequence: u64, live: u64, failed: Option<u64>, pending: bool, echo: Echo) -> Inherited {
    let in_doubt = failed.is_some_and(|failed| failed <= sequence);
    match sequence.cmp(&live) {
        Ordering::Equal if in_doubt => Inherited::Drop,
        Ordering::Less if in_doubt => Inherited::Keep,
        Ordering::Equal if pending && echo == Echo::Synced => Inherited::SyncFirst,
        Ordering::Equal => Inherited::SyncAside,
        Ordering::Less => Inherited::Close,
        Ordering::Greater => Inherited::Drop,
    }
}

/// The state after a batch that stands at `offset`: every link's mark, and the frames of it that take part. `marks` is
/// memory to be used.
pub fn after_batch<'a, H>(
    segment: Identity,
    offset: u64,
    good_to: u64,
    mut marks: Vec<Mark>,
    parts: impl Iterator<Item = (Mark, H)>,
) -> State
where
    H: Iterator<Item = &'a Header>,
{
    marks.clear();
    let mut next = State { segment, offset, good_to, marks, ..State::default() };
    for (mark, headers) in parts {
        let mut last = None;
        for header in headers {
            next.offset += file_bytes(header);
            last = Some(header);
        }
        next.marks.push(mark_after(mark, last));
    }
    next
}

/// Where a link stands after frames that were stored, of which `last` is the last.
pub fn mark_after(mark: Mark, last: Option<&Header>) -> Mark {
    let Some(header) = last else { return mark };
    let staged = match header.kind {
        Kind::Fragment => u64::from(header.offset) + u64::from(header.length),
        _ => 0,
    };
    Mark { through: header.sequence, staged, refused_from: 0, ..mark }
}

/// Where a link stands after frames that were refused, from the `first` to the `last`. What was staged of their record is
/// void.
pub fn mark_refused(mark: Mark, first: Option<&Header>, last: Option<&Header>) -> Mark {
    let (Some(first), Some(last)) = (first, last) else { return mark };
    let refused_from = if mark.refused_from > 0 { mark.refused_from } else { first.sequence };
    Mark { through: last.sequence, staged: 0, refused_from, ..mark }
}

/// How many of these frames were made before the worker learned of the last refusal: they may hold the next messages of
/// connections that were refused, and are refused too, room or not.
pub fn late<'a>(mark: Mark, mut frames: impl ExactSizeIterator<Item = &'a Header>) -> usize {
    let count = frames.len();
    if mark.refused_from == 0 { 0 } else { frames.position(|header| header.fresh).unwrap_or(count) }
}

/// How many of the `at_hand` frames behind `mark` come to frame `through`, if they are all there.
pub fn count_to(mark: Mark, through: u64, at_hand: usize) -> Option<usize> {
    let count = usize::try_from(through.checked_sub(mark.through)?).ok()?;
    (count <= at_hand).then_some(count)
}

/// Whether a newborn writer may find a link's pipe beginning in the middle of a committed frame: its predecessor may
/// have been killed while consuming.
pub fn may_be_stale(mark: Mark) -> bool {
    mark.through > 0
}

/// The ack to send, if the pipe did not take it yet. A newborn writer does not know what was sent, and repeats the last.
#[inline]
pub fn ack_due(mark: Mark, acked: Option<u64>) -> Option<u64> {
    (acked != Some(mark.through)).then_some(mark.through)
}

#[cfg(test)]
mod tests;
