//! The decisions that the model's writer goes by. As they stand they are the writer's own; a mutant replaces one of them.
use crate::config::Echo;
use crate::ipc::commit::{Found, Mark, State};
use crate::protocol::frame::Header;
use crate::store::segment::Identity;
use crate::writer::batch::{self, Decision};
use crate::writer::intake::{self, Frame};
use crate::writer::plan::{self, Farewell, Newer, Rebirth, Remedy, Stage, Step};
use std::collections::VecDeque;

/// One link's share of a batch: its mark, and the headers of its frames.
pub type Share<'a> = (Mark, Vec<&'a Header>);

pub trait Rules: Sync {
    fn first_step(&self) -> Step {
        Step::Intend
    }

    fn next_step(&self, step: Step, echo: Echo) -> Option<Step> {
        step.next(echo)
    }

    fn failed_write(&self, errno: i32) -> Remedy {
        plan::failed_write(Some(errno))
    }

    fn next_stage(&self, stage: Stage, saving: bool) -> Option<Stage> {
        stage.next(saving)
    }

    fn may_be_given_up(&self, stage: Stage, saving: bool) -> bool {
        stage.may_be_given_up(saving)
    }

    fn farewell(&self, after: Option<Farewell>) -> Option<Farewell> {
        after.map_or(Some(Farewell::FIRST), Farewell::next)
    }

    fn cut(&self, length: u64, kept: u64, uncommitted: bool) -> Option<u64> {
        plan::cut(length, kept, uncommitted)
    }

    fn rebirth(&self, found: Found, leave: bool, newest: Option<Newer>) -> Rebirth {
        plan::rebirth(found, leave, newest)
    }

    fn may_publish(&self, pending: bool, uncommitted: bool) -> bool {
        plan::may_publish(pending, uncommitted)
    }

    fn decide(&self, offers: &[&VecDeque<Frame>], length: u64, limit: Option<u64>) -> (Decision, Vec<usize>) {
        let mut counts = Vec::new();
        let offers = offers.iter().map(|offer| offer.iter().map(|frame| &frame.header));
        (batch::decide(offers, length, limit, &mut counts), counts)
    }

    fn after_batch(&self, segment: Identity, offset: u64, good_to: u64, shares: Vec<Share<'_>>) -> State {
        plan::after_batch(
            segment,
            offset,
            good_to,
            Vec::new(),
            shares.into_iter().map(|(mark, headers)| (mark, headers.into_iter())),
        )
    }

    fn mark_after(&self, mark: Mark, last: Option<&Header>) -> Mark {
        plan::mark_after(mark, last)
    }

    fn count_to(&self, mark: Mark, through: u64, at_hand: usize) -> Option<usize> {
        plan::count_to(mark, through, at_hand)
    }

    fn look_again(&self, wide: bool, found_frames: bool, skipped: usize, grew: bool) -> bool {
        intake::look_again(wide, found_frames, skipped, grew)
    }

    fn may_be_stale(&self, mark: Mark) -> bool {
        plan::may_be_stale(mark)
    }

    fn ack_due(&self, mark: Mark, acked: Option<u64>) -> Option<u64> {
        plan::ack_due(mark, acked)
    }

    /// What a newborn writer takes for acknowledged.
    fn acked_at_birth(&self, _: Mark) -> Option<u64> {
        None
    }

    /// Where a batch is written: the file's length counts for nothing.
    fn place(&self, committed: u64, _length: u64) -> u64 {
        committed
    }

    /// Whether the staging area is given back at this step.
    fn frees_staging(&self, step: Step) -> bool {
        step == Step::Consume
    }
}

/// The writer's own.
pub struct Real;

impl Rules for Real {}
