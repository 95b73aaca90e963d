//! Writers that are wrong in one decision each: the model has to catch every one of them.
use super::rules::{Rules, Share};
use crate::config::Echo;
use crate::ipc::commit::{Found, Mark, State};
use crate::protocol::frame::Kind;
use crate::store::segment::Identity;
use crate::writer::batch::Decision;
use crate::writer::intake::Frame;
use crate::writer::plan::{Farewell, Newer, Rebirth, Stage, Step};
use std::collections::VecDeque;

/// The step after `step` in an order of steps.
fn in_order(order: &[Step], step: Step, echo: Echo) -> Option<Step> {
    let mut steps = order.iter().filter(|step| **step != Step::Sync || echo == Echo::Synced);
    steps.find(|known| **known == step)?;
    steps.next().copied()
}

macro_rules! mutant {
    ($name:ident { $($body:tt)* }) => {
        struct $name;
        impl Rules for $name {
            $($body)*
        }
    };
}

macro_rules! reordered {
    ($name:ident, [$first:ident $(, $step:ident)*]) => {
        mutant!($name {
            fn first_step(&self) -> Step {
                Step::$first
            }
            fn next_step(&self, step: Step, echo: Echo) -> Option<Step> {
                in_order(&[Step::$first $(, Step::$step)*], step, echo)
            }
        });
    };
}

reordered!(AckBeforeWrite, [Intend, Acknowledge, Write, Sync, Commit, Consume]);
reordered!(AckBeforeSync, [Intend, Write, Acknowledge, Sync, Commit, Consume]);
reordered!(AckBeforeCommit, [Intend, Write, Sync, Acknowledge, Commit, Consume]);
reordered!(NoIntent, [Write, Sync, Commit, Consume, Acknowledge]);
reordered!(IntentAfterWrite, [Write, Intend, Sync, Commit, Consume, Acknowledge]);
reordered!(ConsumeBeforeCommit, [Intend, Write, Sync, Consume, Commit, Acknowledge]);
reordered!(CommitBeforeWrite, [Intend, Commit, Write, Sync, Consume, Acknowledge]);
reordered!(CommitBeforeSync, [Intend, Write, Commit, Sync, Consume, Acknowledge]);
reordered!(NoSync, [Intend, Write, Commit, Consume, Acknowledge]);

mutant!(NoRepeatedAck {
    fn acked_at_birth(&self, mark: Mark) -> Option<u64> {
        Some(mark.through)
    }
});

mutant!(NoResync {
    fn may_be_stale(&self, _: Mark) -> bool {
        false
    }
});

mutant!(OneNarrowLook {
    fn look_again(&self, wide: bool, found_frames: bool, _: usize, grew: bool) -> bool {
        super::super::intake::look_again(wide, found_frames, 0, grew)
    }
});

mutant!(WriteAtTheEnd {
    fn place(&self, _: u64, length: u64) -> u64 {
        length
    }
});

mutant!(ReplayAllAtHand {
    fn count_to(&self, _: Mark, _: u64, at_hand: usize) -> Option<usize> {
        Some(at_hand)
    }
});

mutant!(NoReplay {
    fn rebirth(&self, found: Found, leave: bool, newest: Option<Newer>) -> Rebirth {
        match super::rules::Real.rebirth(found, leave, newest) {
            Rebirth::Replay(_) => Rebirth::Decide,
            rebirth => rebirth,
        }
    }
});

mutant!(MaxSizeIgnored {
    fn decide(&self, offers: &[&VecDeque<Frame>], length: u64, _: Option<u64>) -> (Decision, Vec<usize>) {
        super::rules::Real.decide(offers, length, None)
    }
});

mutant!(BatchGoesOnBehindFragments {
    fn decide(&self, offers: &[&VecDeque<Frame>], length: u64, limit: Option<u64>) -> (Decision, Vec<usize>) {
        let whole = |offer: &&VecDeque<Frame>| offer.iter().any(|frame| frame.header.kind == Kind::LastFragment);
        match super::rules::Real.decide(offers, length, limit) {
            (Decision::Store, counts) if limit.is_none() => {
                let all = |(offer, count): (&&VecDeque<Frame>, usize)| if whole(offer) { offer.len() } else { count };
                (Decision::Store, offers.iter().zip(counts).map(all).collect())
            }
            decision => decision,
        }
    }
});

mutant!(OneLinkForgotten {
    fn after_batch(&self, segment: Identity, offset: u64, good_to: u64, mut shares: Vec<Share<'_>>) -> State {
        shares.retain(|(_, headers)| !headers.is_empty());
        super::rules::Real.after_batch(segment, offset, good_to, shares)
    }
});

mutant!(PendingCarriedOver {
    fn farewell(&self, after: Option<Farewell>) -> Option<Farewell> {
        match super::rules::Real.farewell(after) {
            Some(Farewell::Forget) => Some(Farewell::Publish),
            next => next,
        }
    }
});

mutant!(SavedCutBeforePublished {
    fn farewell(&self, after: Option<Farewell>) -> Option<Farewell> {
        match after {
            None => Some(Farewell::Cut),
            Some(Farewell::Cut) => Some(Farewell::Forget),
            Some(Farewell::Forget) => Some(Farewell::Settle),
            Some(Farewell::Settle) => Some(Farewell::Publish),
            Some(Farewell::Publish) => None,
        }
    }
});

mutant!(AdoptsWhatIsNotEmpty {
    fn rebirth(&self, found: Found, leave: bool, newest: Option<Newer>) -> Rebirth {
        super::rules::Real.rebirth(found, leave, newest.map(|newest| Newer { length: 0, ..newest }))
    }
});

mutant!(AdoptsNothing {
    fn rebirth(&self, found: Found, leave: bool, _: Option<Newer>) -> Rebirth {
        super::rules::Real.rebirth(found, leave, None)
    }
});

mutant!(GoesBackBehindTheSwap {
    fn rebirth(&self, found: Found, leave: bool, newest: Option<Newer>) -> Rebirth {
        super::rules::Real.rebirth(found, leave, newest.map(|newest| Newer { swapped: false, ..newest }))
    }
});

mutant!(OldWrittenAfterTheSwap {
    fn may_be_given_up(&self, _: Stage, _: bool) -> bool {
        true
    }
});

mutant!(NewSegmentNotDurable {
    fn next_stage(&self, stage: Stage, saving: bool) -> Option<Stage> {
        match super::rules::Real.next_stage(stage, saving) {
            Some(Stage::Sync) => Some(Stage::Link),
            next => next,
        }
    }
});

mutant!(SavedNamedBeforeNoted {
    fn next_stage(&self, stage: Stage, saving: bool) -> Option<Stage> {
        match super::rules::Real.next_stage(stage, saving) {
            Some(Stage::Note) => Some(Stage::Name),
            next => next,
        }
    }
});

mutant!(StagingDroppedBeforeCommit {
    fn frees_staging(&self, step: Step) -> bool {
        step == Step::Write
    }
});

mutant!(StagedForgotten {
    fn mark_after(&self, mark: Mark, last: Option<&crate::protocol::frame::Header>) -> Mark {
        Mark { staged: 0, ..super::rules::Real.mark_after(mark, last) }
    }
});

mutant!(AckedOnlyOnce {
    fn ack_due(&self, mark: Mark, acked: Option<u64>) -> Option<u64> {
        if acked.is_some_and(|acked| acked > 0) { None } else { super::rules::Real.ack_due(mark, acked) }
    }
});

/// All of them, by name.
pub const ALL: &[(&str, &dyn Rules)] = &[
    ("ack before write", &AckBeforeWrite),
    ("ack before sync", &AckBeforeSync),
    ("ack before commit", &AckBeforeCommit),
    ("no intent", &NoIntent),
    ("intent after write", &IntentAfterWrite),
    ("consume before commit", &ConsumeBeforeCommit),
    ("commit before write", &CommitBeforeWrite),
    ("commit before sync", &CommitBeforeSync),
    ("no sync in synced", &NoSync),
    ("no repeated ack", &NoRepeatedAck),
    ("one ack for ever", &AckedOnlyOnce),
    ("no resync behind a half consumed frame", &NoResync),
    ("one narrow look", &OneNarrowLook),
    ("batch written at the file's end", &WriteAtTheEnd),
    ("replay of all that is at hand", &ReplayAllAtHand),
    ("no replay", &NoReplay),
    ("rotate.max-size ignored", &MaxSizeIgnored),
    ("batch goes on behind a completed record of fragments", &BatchGoesOnBehindFragments),
    ("mark of an idle link forgotten", &OneLinkForgotten),
    ("pending batch carried to a new segment", &PendingCarriedOver),
    ("saved records cut before they are published", &SavedCutBeforePublished),
    ("rotation adopts a file that is not empty", &AdoptsWhatIsNotEmpty),
    ("rotation adopts nothing", &AdoptsNothing),
    ("back to the old segment behind a swap", &GoesBackBehindTheSwap),
    ("old segment written after a swap that failed", &OldWrittenAfterTheSwap),
    ("new segment not durable", &NewSegmentNotDurable),
    ("saved records named before they are noted", &SavedNamedBeforeNoted),
    ("staging dropped before commit", &StagingDroppedBeforeCommit),
    ("staged bytes forgotten", &StagedForgotten),
];
