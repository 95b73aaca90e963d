//! What the writer does without being asked: rotation by the clock, the background sync, the look at the live file; and
//! when it wakes for them.
use super::Writer;
use super::file::MOST_CLOSING;
use super::syncer::Job;
use crate::config::Echo;
use crate::ipc::control::ToSupervisor;
use crate::ipc::scoreboard::Count;
use crate::store::{clock, schedule};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often, at least, the store is looked at; an idle writer also wakes to notice a clock that was set.
const TICK: Duration = Duration::from_secs(1);
/// Between two rotations by the clock, which may jump to and fro; the shortest interval is twice as long.
const CLOCK_REST: Duration = Duration::from_millis(500);

impl Writer {
    /// Rotation by clock and by request, and the background sync.
    pub(super) fn housekeeping(&mut self, now: Instant) {
        let due = self.window.is_some_and(|window| schedule::due(clock::now_seconds(), window));
        // An empty segment is never rotated: it just belongs to the new period.
        if due && self.offset == 0 {
            self.open_window();
        } else if due && now >= self.clock_rests {
            (self.rotate_requested, self.clock_rests) = (true, now + CLOCK_REST);
        }
        if now >= self.examined_at + TICK {
            self.examined_at = now;
            self.examine_live();
            self.examine_place();
            self.slowness.waits(self.syncer.waits_since().map(|since| now.saturating_duration_since(since)), now);
        }
        self.look_for_room(now);
        self.rotate_requested &= self.offset > 0;
        if self.wants_rotation() {
            self.move_on(now);
        }
        // A new segment took over, or the live one is empty: either way nothing older stands in it.
        if let Some(number) = self.rotate_asked.take_if(|_| !self.rotate_requested) {
            self.channel.send(ToSupervisor::Rotated(number));
        }
        if self.sync_at().is_some_and(|at| now >= at) {
            (self.dirty, self.syncing, self.last_sync) = (false, true, now);
            let file = Arc::clone(&self.live.file);
            self.syncer.submit(Job::Live { sequence: self.live.identity.sequence, upto: self.offset, file });
        }
    }

    /// Whether a rotation can go on now: it was asked for, or failed before and is tried again.
    pub(super) fn wants_rotation(&self) -> bool {
        let may = self.pending.is_none() && self.closing.len() < MOST_CLOSING;
        may && (self.rotate_requested || self.rotation.is_some())
    }

    /// The period that the live segment belongs to.
    pub(super) fn open_window(&mut self) {
        let rotate = &self.config.rotate;
        let since = if self.offset == 0 { clock::now_seconds() } else { self.live.name.start };
        self.window = rotate.interval.map(|interval| schedule::window_in(rotate.timezone, since, interval));
        let end = self.window.and_then(|window| u64::try_from(window.end).ok());
        self.scoreboard.set(Count::NextRotation, end.unwrap_or(0));
    }

    /// How long to wait for news. Only a deed that can be done then counts: anything else would spin.
    pub(super) fn sleep(&self, now: Instant) -> Duration {
        let retry = self.rotation_retry.filter(|_| self.wants_rotation() || self.must_move());
        let until = |at: Instant| at.saturating_duration_since(now);
        let timers =
            [self.stalled.filter(|_| !self.must_move()), retry, self.sync_at()].into_iter().flatten().map(until);
        timers.chain(self.edge(now)).chain([TICK, self.tick]).min().unwrap_or(TICK)
    }

    /// When the live segment is synced in the background.
    fn sync_at(&self) -> Option<Instant> {
        let may = self.dirty && !self.syncing && !self.must_move() && self.config.server.echo != Echo::Synced;
        self.config.store.sync_interval.filter(|_| may).map(|interval| self.last_sync + interval)
    }

    /// How long until the clock asks for a rotation.
    fn edge(&self, now: Instant) -> Option<Duration> {
        let window = self.window.filter(|_| self.offset > 0 && !self.rotate_requested)?;
        let micros = window.end.saturating_mul(1_000_000).saturating_sub(clock::now_micros());
        let edge = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        Some(edge.max(self.clock_rests.saturating_duration_since(now)))
    }
}
