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

/// The state after a batch that stands at `offset`: every link's mark, and the frames of it that take part.
pub fn after_batch<'a, H>(segment: Identity, offset: u64, good_to: u64, parts: impl Iterator<Item = (Mark, H)>) -> State
where
    H: Iterator<Item = &'a Header>,
{
    let marks = Vec::with_capacity(parts.size_hint().0);
    let mut next = State { segment, offset, good_to, marks, overhang: false };
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
mod tests {
    use super::*;
    use nix::libc::{EIO, ENOSPC, EROFS};

    fn state(sequence: u64, offset: u64) -> State {
        let marks = vec![Mark { id: 7, through: offset, ..Mark::default() }];
        State { segment: Identity { sequence, ..Identity::default() }, offset, good_to: 0, marks, overhang: false }
    }

    fn in_a_batch() -> Found {
        Found::Pending { base: state(3, 10), next: state(3, 20) }
    }

    fn all<T: Copy>(first: T, next: impl Fn(T) -> Option<T>) -> Vec<T> {
        std::iter::successors(Some(first), |now| next(*now)).collect()
    }

    #[test]
    fn a_batch_is_committed_when_it_is_safe_and_acknowledged_last() {
        use Step::{Acknowledge, Commit, Consume, Intend, Sync, Write};
        for echo in [Echo::Received, Echo::Stored] {
            assert_eq!(all(Intend, |step| step.next(echo)), [Intend, Write, Commit, Consume, Acknowledge]);
        }
        assert_eq!(all(Intend, |step| step.next(Echo::Synced)), [Intend, Write, Sync, Commit, Consume, Acknowledge]);
    }

    #[test]
    fn the_old_segment_may_be_written_until_the_swap() {
        use Stage::{Create, Fill, Link, Name, Note, Swap, Sync};
        let stages = |saving| all(Create, |stage: Stage| stage.next(saving));
        assert_eq!(stages(false), [Create, Sync, Link, Swap]);
        assert_eq!(stages(true), [Create, Fill, Note, Name, Sync, Link, Swap]);
        let given_up =
            |saving| stages(saving).into_iter().map(|stage| stage.may_be_given_up(saving)).collect::<Vec<_>>();
        assert_eq!(given_up(false), [true, true, true, false]);
        assert_eq!(given_up(true), [true, true, true, false, false, false, false]);
        let deeds = [Farewell::Cut, Farewell::Forget, Farewell::Publish, Farewell::Settle];
        assert_eq!(all(Farewell::FIRST, Farewell::next), deeds);
    }

    #[test]
    fn only_want_of_room_or_permission_is_waited_for() {
        assert_eq!(failed_write(Some(ENOSPC)), Remedy::Wait);
        assert_eq!(failed_write(Some(EROFS)), Remedy::Wait);
        assert_eq!(failed_write(Some(EIO)), Remedy::Leave);
        assert_eq!(failed_write(None), Remedy::Leave);
    }

    #[test]
    fn only_what_a_batch_left_is_cut() {
        assert_eq!(cut(12, 10, true), Some(10));
        assert_eq!(cut(12, 10, false), None);
        assert_eq!(cut(10, 10, true), None);
        assert_eq!(cut(5, 10, true), None);
    }

    #[test]
    fn a_newborn_begins_with_what_was_committed() {
        assert_eq!(inheritance(&Found::Nothing), None);
        assert_eq!(inheritance(&Found::Settled(state(3, 10))), Some(&state(3, 10)));
        assert_eq!(inheritance(&in_a_batch()), Some(&state(3, 10)));
        assert_eq!(without_segment(in_a_batch()), Found::Settled(state(3, 10)));
    }

    #[test]
    fn a_batch_is_repeated_where_it_may_be_written() {
        assert_eq!(rebirth(in_a_batch(), false, None), Rebirth::Replay(state(3, 20)));
        assert_eq!(rebirth(in_a_batch(), true, None), Rebirth::Leave);
        assert_eq!(rebirth(Found::Settled(state(3, 10)), true, None), Rebirth::Decide);
        assert_eq!(rebirth(Found::Nothing, false, None), Rebirth::Decide);
    }

    #[test]
    fn a_rotation_goes_on_with_its_empty_segment_only() {
        let rotating = || Found::Pending { base: state(3, 10), next: state(4, 0) };
        let newer = |length, saved| Some(Newer { length, saved, swapped: false });
        let (stay, leave) =
            (Rebirth::Adopt { mid_batch: false, leave: false }, Rebirth::Adopt { mid_batch: true, leave: true });
        assert_eq!(rebirth(rotating(), false, newer(0, false)), stay);
        assert_eq!(rebirth(rotating(), false, newer(1, false)), Rebirth::Decide);
        assert_eq!(rebirth(rotating(), false, None), Rebirth::Decide);
        assert_eq!(rebirth(Found::Settled(state(3, 10)), false, newer(0, false)), stay);
        for suspect in [false, true] {
            assert_eq!(rebirth(in_a_batch(), suspect, newer(0, false)), leave);
            assert_eq!(rebirth(in_a_batch(), suspect, newer(9, true)), leave);
        }
        assert_eq!(rebirth(in_a_batch(), false, newer(1, false)), Rebirth::Replay(state(3, 20)));
        let swapped = Some(Newer { length: 0, saved: false, swapped: true });
        assert_eq!(rebirth(rotating(), false, swapped), Rebirth::Adopt { mid_batch: false, leave: true });
    }

    #[test]
    fn an_intent_is_replaced_only_when_its_batch_is_settled() {
        assert!(may_publish(false, false));
        assert!(!may_publish(true, true));
        assert!(!may_publish(false, true));
    }

    #[test]
    fn the_answer_of_an_inherited_description_is_waited_for_where_it_decides() {
        assert_eq!(inherited(3, 3, None, true, Echo::Synced), Inherited::SyncFirst);
        assert_eq!(inherited(3, 3, None, false, Echo::Synced), Inherited::SyncAside);
        assert_eq!(inherited(3, 3, None, true, Echo::Stored), Inherited::SyncAside);
        assert_eq!(inherited(2, 3, None, true, Echo::Synced), Inherited::Close);
        assert_eq!(inherited(1, 3, Some(2), true, Echo::Stored), Inherited::Close);
        assert_eq!(inherited(2, 3, Some(2), true, Echo::Stored), Inherited::Keep);
        assert_eq!(inherited(3, 3, Some(2), true, Echo::Synced), Inherited::Drop);
        assert_eq!(inherited(4, 3, None, true, Echo::Synced), Inherited::Drop);
    }

    #[test]
    fn a_mark_moves_with_the_frames() {
        let mark = Mark { id: 7, through: 4, staged: 9, refused_from: 0 };
        let frame =
            |kind, offset| Header { sequence: 6, length: 5, records: 1, kind, offset, fresh: false, promised: false };
        assert_eq!(mark_after(mark, None), mark);
        assert_eq!(mark_after(mark, Some(&frame(Kind::Records, 0))), Mark { through: 6, staged: 0, ..mark });
        assert_eq!(mark_after(mark, Some(&frame(Kind::Fragment, 9))), Mark { through: 6, staged: 14, ..mark });
        assert_eq!(mark_after(mark, Some(&frame(Kind::LastFragment, 9))), Mark { through: 6, staged: 0, ..mark });
        let frames = [frame(Kind::LastFragment, 9), Header { sequence: 7, ..frame(Kind::Records, 0) }];
        let idle = Mark { id: 8, ..mark };
        let next = after_batch(Identity::default(), 100, 50, [(mark, frames.iter()), (idle, [].iter())].into_iter());
        assert_eq!((next.offset, next.marks), (119, vec![Mark { through: 7, staged: 0, ..mark }, idle]));
        assert_eq!(count_to(mark, 6, 2), Some(2));
        assert_eq!(count_to(mark, 6, 1), None);
        assert_eq!(count_to(mark, 4, 0), Some(0));
        assert_eq!(count_to(mark, 3, 5), None);
    }

    #[test]
    fn what_follows_a_refused_frame_is_refused_up_to_a_fresh_one() {
        let frame = |sequence, fresh| {
            let kind = Kind::Records;
            Header { sequence, length: 5, records: 1, kind, offset: 0, fresh, promised: false }
        };
        let frames = [frame(5, false), frame(6, false), frame(7, true), frame(8, false)];
        let storing = Mark { id: 7, through: 4, staged: 9, refused_from: 0 };
        assert_eq!(late(storing, frames.iter()), 0);
        assert_eq!(mark_refused(storing, None, None), storing);
        let refusing = mark_refused(storing, frames.first(), frames.get(1));
        assert_eq!(refusing, Mark { id: 7, through: 6, staged: 0, refused_from: 5 });
        assert_eq!(late(refusing, frames.iter()), 2);
        assert_eq!(late(refusing, frames[..2].iter()), 2);
        assert_eq!(late(refusing, frames[2..].iter()), 0);
        // Still full: the refusal goes on from where it began.
        let again = mark_refused(refusing, frames.get(2), frames.get(3));
        assert_eq!(again, Mark { through: 8, ..refusing });
        assert_eq!(mark_after(refusing, frames.get(2)), Mark { through: 7, refused_from: 0, ..refusing });
    }

    #[test]
    fn a_newborn_repeats_the_last_ack() {
        let mark = Mark { id: 7, through: 4, ..Mark::default() };
        assert_eq!(ack_due(mark, None), Some(4));
        assert_eq!(ack_due(mark, Some(3)), Some(4));
        assert_eq!(ack_due(mark, Some(4)), None);
        assert!(may_be_stale(mark));
        assert!(!may_be_stale(Mark { through: 0, ..mark }));
    }
}
