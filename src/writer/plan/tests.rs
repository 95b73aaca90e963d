use super::*;
use nix::libc::{EIO, ENOSPC, EROFS};

fn state(sequence: u64, offset: u64) -> State {
    let marks = vec![Mark { id: 7, through: offset, ..Mark::default() }];
    State { segment: Identity { sequence, ..Identity::default() }, offset, good_to: 0, marks, ..State::default() }
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
    let given_up = |saving| stages(saving).into_iter().map(|stage| stage.may_be_given_up(saving)).collect::<Vec<_>>();
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
    let next =
        after_batch(Identity::default(), 100, 50, vec![mark], [(mark, frames.iter()), (idle, [].iter())].into_iter());
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
