//! The writer: the one process that stores. It reads frames out of the data pipes of all workers, writes them to the
//! live segment in batches, and acknowledges them.
//!
//! Promise: at every instruction it may be killed, and its successor goes on without loss and without duplicate.
//! It never sees a socket, never interprets a message, and leaves last, on the end of all its pipes.

mod batch;
mod fault;
mod file;
pub(crate) mod intake;
#[cfg(test)]
mod model;
mod moving;
mod opening;
mod place;
mod plan;
mod refuse;
mod rescue;
mod room;
mod rotation;
mod slowness;
mod startup;
mod syncer;
mod tamper;
mod timers;
mod uplink;

use crate::config::Config;
use crate::exit::{self, Fatal};
use crate::ipc::commit::{CommitRecord, Mark, Stored};
use crate::ipc::control::{Channel, Received, ToSupervisor, ToWriter};
use crate::ipc::link::PrivatePipe;
use crate::ipc::scoreboard::{Count, Scoreboard};
use crate::ipc::seat::WriterSeat;
use crate::log::{self, Limiter};
use crate::store::recovery::CleanEnd;
use crate::store::schedule::Window;
use crate::store::segment::Segment;
use crate::sys::AsFd;
use crate::sys::poll::{Event, Poller};
use crate::sys::signals::Signals;
use file::{Pending, Spare};
use rescue::Closing;
use room::Room;
use rotation::{Rotation, Shelf};
use slowness::Slowness;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};
use syncer::{Outcome, Syncer};
use uplink::Uplink;

const CONTROL: u64 = 0;
const SIGNALS: u64 = 1;
const SYNC_DONE: u64 = 2;
const FIRST_LINK: u64 = 16;

/// How long an orphaned writer waits for a store that takes nothing.
const ORPHAN_PATIENCE: Duration = Duration::from_millis(1500);
/// Batches between two looks at the control channel.
const BATCHES_A_TURN: usize = 16;

fn data_token(id: u64) -> u64 {
    FIRST_LINK + 2 * id
}

fn ack_token(id: u64) -> u64 {
    FIRST_LINK + 2 * id + 1
}

/// Runs the writer to its end; returns the exit code.
pub fn run(seat: WriterSeat) -> u8 {
    // The seat moves into the writer; a failure before that is told by a channel of its own.
    let mut last_words = seat.channel.as_fd().try_clone_to_owned().map(Channel::<ToSupervisor, ToWriter>::new);
    let ended = startup::begin(seat).and_then(|mut writer| {
        last_words = Err(io::ErrorKind::NotFound.into());
        writer.channel.send(ToSupervisor::Ready);
        writer.serve().map_err(|error| Fatal::system("go on storing", error))
    });
    match ended {
        Ok(code) => code,
        Err(fatal) => {
            error!(ROLE_FAILED, "{fatal}");
            if let Ok(channel) = &mut last_words {
                channel.send(ToSupervisor::Failed { code: fatal.code, message: fatal.message });
            }
            fatal.code
        }
    }
}

#[derive(Debug)]
struct Writer {
    config: Config,
    shelf: Shelf,
    live: Segment,
    /// Bytes of the live segment that are committed.
    offset: u64,
    /// Of these, what a sync has covered.
    good_to: u64,
    /// All that is committed, as the record has it.
    stored: Stored,
    /// What it had when this writer began.
    stored_before: Stored,
    /// The period of `rotate.interval` that the live segment's records belong to.
    window: Option<Window>,
    /// Not rotated by the clock before.
    clock_rests: Instant,
    record: CommitRecord,
    uplinks: Vec<Uplink>,
    /// Which uplink comes first in the next batch.
    turn: usize,
    private: PrivatePipe,
    /// Where consumed bytes go.
    null: File,
    pending: Option<Pending>,
    spare: Spare,
    /// A write failed: try again then.
    stalled: Option<Instant>,
    /// Segments that the move under way leaves settled.
    settled: Vec<u64>,
    /// Segments in a row that failed before anything was stored in them.
    failures: u32,
    /// The kind of error that was told last of a rotation that does not succeed.
    stuck: Option<i32>,
    /// Bytes behind `offset` may be of a batch that was not committed.
    uncommitted: bool,
    room: Room,
    /// The live segment is not written any more.
    leaving: bool,
    rotations_told: Limiter,
    slowness: Slowness,
    rotation: Option<Rotation>,
    rotation_retry: Option<Instant>,
    rotate_requested: bool,
    /// The supervisor's request that is not answered yet.
    rotate_asked: Option<u64>,
    syncer: Syncer,
    /// There are bytes that no sync was asked for.
    dirty: bool,
    syncing: bool,
    /// Closed segments that wait for their sync, or for being saved, the oldest first.
    closing: Vec<Closing>,
    last_sync: Instant,
    channel: Channel<ToSupervisor, ToWriter>,
    scoreboard: Scoreboard,
    poller: Poller,
    signals: Signals,
    /// No more links will come.
    finishing: bool,
    /// The supervisor is dead: if nothing can be stored by then, leave, so that the lock is free for the next daemon.
    orphan_until: Option<Instant>,
    examined_at: Instant,
    /// What is wrong with the store's place, as it was said last.
    trouble: Option<place::Trouble>,
    lock: File,
    /// The loop turns at least this often.
    tick: Duration,
}

enum Leave {
    Retired,
    Finished,
}

impl Writer {
    fn serve(mut self) -> io::Result<u8> {
        if self.may_publish() {
            self.publish();
        }
        for uplink in &mut self.uplinks {
            // The predecessor's last acks may never have been sent.
            uplink.acknowledge()?;
        }
        let mut events = Vec::new();
        let mut busy = false;
        loop {
            let timeout = if busy { Duration::ZERO } else { self.sleep(Instant::now()) };
            self.poller.wait(Some(timeout), &mut events)?;
            self.scoreboard.add(Count::Heartbeat, 1);
            self.channel.flush();
            for event in &events {
                if let Some(Leave::Retired) = self.dispatch(event)? {
                    return Ok(exit::OK);
                }
            }
            let now = Instant::now();
            self.scoreboard.stamp(Count::Turned, now);
            self.scoreboard.set(Count::LogDropped, log::dropped());
            busy = self.store(now)?;
            self.housekeeping(now);
            if let Some(Leave::Finished) = self.sweep()? {
                return Ok(self.finish());
            }
            let takes_nothing = self.stalled.is_some() || self.must_move();
            if takes_nothing && self.orphan_until.is_some_and(|until| now >= until) {
                error!(
                    ORPHANED_WITH_REST,
                    "the supervisor is dead and the store takes nothing more: leaving; what is left in the pipes was not stored"
                );
                return Ok(exit::FAILED);
            }
        }
    }

    /// Does what may have to wait for the disk, so that the supervisor can tell a slow disk from a writer that hangs.
    fn on_disk<T>(&mut self, deed: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.scoreboard.get(Count::OnDisk);
        self.scoreboard.set(Count::OnDisk, 1);
        let done = deed(self);
        self.scoreboard.set(Count::OnDisk, outer);
        done
    }

    fn dispatch(&mut self, event: &Event) -> io::Result<Option<Leave>> {
        match event.token {
            CONTROL => return self.obey(),
            // `TERM` comes when the supervisor dies, which the channel's end tells too, or from somebody who means all.
            SIGNALS => while self.signals.next()?.is_some() {},
            SYNC_DONE => self.synced(),
            token => {
                let id = (token - FIRST_LINK) / 2;
                let Some(uplink) = self.uplinks.iter_mut().find(|uplink| uplink.id() == id) else { return Ok(None) };
                if token == data_token(id) { uplink.wake(event.hangup) } else { uplink.acknowledge()? }
            }
        }
        Ok(None)
    }

    fn obey(&mut self) -> io::Result<Option<Leave>> {
        loop {
            match self.channel.receive()? {
                Received::Nothing => return Ok(None),
                Received::Message(ToWriter::Attach(link)) => {
                    let mark = Mark { id: link.terms.id, ..Mark::default() };
                    self.attach(link, mark)?;
                }
                Received::Message(ToWriter::Rotate(number)) => {
                    (self.rotate_requested, self.rotate_asked) = (true, Some(number));
                }
                Received::Message(ToWriter::Retire) => return Ok(Some(Leave::Retired)),
                Received::Message(ToWriter::Remind) => self.remind(),
                Received::Message(ToWriter::Stop) => self.stop_waiting(),
                Received::Message(ToWriter::Room) => self.room_was_made(),
                Received::Message(ToWriter::Finish) => {
                    self.finishing = true;
                    self.stop_waiting();
                }
                Received::End => {
                    self.poller.remove(self.channel.as_fd())?;
                    self.orphaned();
                    return Ok(None);
                }
            }
        }
    }

    /// The supervisor is dead. Who is turned away by the lock now is told our pid.
    fn orphaned(&mut self) {
        error!(SUPERVISOR_GONE, "the supervisor is dead: storing what is on its way, then leaving");
        self.finishing = true;
        self.stop_waiting();
        self.orphan_until = Some(Instant::now() + ORPHAN_PATIENCE);
        let _ = self
            .lock
            .set_len(0)
            .and_then(|()| self.lock.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0));
    }

    /// Stores what is in the pipes. True: there is more.
    fn store(&mut self, now: Instant) -> io::Result<bool> {
        if self.stalled.is_some_and(|until| now < until) {
            return Ok(false);
        }
        for _ in 0..BATCHES_A_TURN {
            let mut index = 0;
            while index < self.uplinks.len() {
                if self.uplinks[index].wants_look()
                    && let Err(broken) = self.uplinks[index].look(&self.private, &self.null)?
                    && self.pending.is_none()
                {
                    self.drop_broken(index, &broken.0)?;
                    continue;
                }
                index += 1;
            }
            if !self.store_some(now)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn drop_broken(&mut self, index: usize, why: &str) -> io::Result<()> {
        let uplink = self.detach(index)?;
        self.scoreboard.add(Count::BrokenLinks, 1);
        error!(LINK_BROKEN, "worker link {} carries {why}; its worker is replaced", uplink.id());
        self.channel.send(ToSupervisor::Broken(uplink.id()));
        Ok(())
    }

    /// Takes a link out of service. The supervisor holds the same pipes: closing ours would not end the watching.
    fn detach(&mut self, index: usize) -> io::Result<Uplink> {
        let uplink = self.uplinks.swap_remove(index);
        self.poller.remove(uplink.data())?;
        self.poller.remove(uplink.acks())?;
        Ok(uplink)
    }

    /// Drops the links that are at their end. `Finished`: none is left and none will come.
    fn sweep(&mut self) -> io::Result<Option<Leave>> {
        if self.may_publish() {
            let mut index = 0;
            while index < self.uplinks.len() {
                if !self.uplinks[index].is_drained() {
                    index += 1;
                    continue;
                }
                let uplink = self.detach(index)?;
                if uplink.torn_bytes() > 0 {
                    self.scoreboard.add(Count::TornFrames, 1);
                    info!(
                        FRAME_TORN { bytes: uplink.torn_bytes() },
                        "dropped {} bytes of an unfinished frame of a dead worker; none of it was echoed",
                        uplink.torn_bytes()
                    );
                }
                // Told before it is forgotten: a successor must not take up a link that its commit record does not know.
                self.channel.send(ToSupervisor::Drained(uplink.id()));
                self.publish();
            }
        }
        let done = self.finishing && self.uplinks.is_empty() && self.pending.is_none() && !self.has_to_cut();
        Ok(done.then_some(Leave::Finished))
    }

    fn synced(&mut self) {
        self.syncer.bell().clear();
        while let Some(outcome) = self.syncer.outcome() {
            self.judge(&outcome);
            match outcome.live {
                Some(_) => self.syncing = false,
                // Until they are saved, the next writer needs the one that failed and all after it.
                None if self.record.failed().is_some_and(|failed| failed <= outcome.sequence) => {}
                None => self.channel.send(ToSupervisor::Settled(outcome.sequence)),
            }
        }
    }

    /// The last to leave: saves what failed, syncs, notes the clean end.
    fn finish(mut self) -> u8 {
        self.tell_refused();
        self.scoreboard.set(Count::OnDisk, 1);
        self.syncer.finish().iter().for_each(|outcome| self.judge(outcome));
        if self.record.failed().is_none() {
            let begun = Instant::now();
            let result = self.live.file.sync_all();
            self.judge(&Outcome::of_live(self.live.identity.sequence, self.offset, begun, result));
        }
        self.rotation_retry = None;
        while self.record.failed().is_some() && self.move_on(Instant::now()) {}
        let name = self.live.name.build();
        info!(LIVE_SEGMENT_END { file: &name, bytes: self.offset }, "{name} ends at byte {}", self.offset);
        if self.record.failed().is_some() {
            error!(NOT_SAVED, "what could not be synced could not be saved either: the next start will try again");
            return exit::FAILED;
        }
        let noted =
            CleanEnd::write(self.shelf.directory.as_fd(), &self.live.name, self.offset, self.config.store.format);
        if let Err(error) = noted {
            if room::is_full(&error) {
                warn!(
                    CLEAN_END_NOT_NOTED { file: &name },
                    "cannot note the clean end of {name}: {error}; the next start will look for torn records"
                );
                return exit::OK;
            }
            error!(
                CLEAN_END_FAILED { file: &name },
                "cannot note the clean end of {name}: {error}; the next start will look for torn records"
            );
            return exit::FAILED;
        }
        exit::OK
    }
}
