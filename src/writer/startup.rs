//! A writer's beginning: the first of a run examines the directory, every later one goes on from the commit record.
use super::file::{Pending, Spare};
use super::opening::Lost;
use super::place::is_deleted;
use super::plan::{self, Inherited, Newer, Rebirth, Step};
use super::rescue::{Closing, cut_moved, moved_to, saved_in};
use super::room::Room;
use super::rotation::{Rotation, Shelf};
use super::slowness::Slowness;
use super::syncer::{Job, Outcome, Syncer};
use super::uplink::Uplink;
use super::{Writer, opening};
use crate::config::Timezone;
use crate::exit::Fatal;
use crate::ipc::commit::{CommitRecord, Found, Mark, State, Stored};
use crate::ipc::control::ToSupervisor;
use crate::ipc::link::Link;
use crate::ipc::sandbox;
use crate::ipc::scoreboard::Count;
use crate::ipc::seat::WriterSeat;
use crate::ipc::wiring::Role;
use crate::log::Limiter;
use crate::store::directory;
use crate::store::names::SegmentName;
use crate::store::segment::Segment;
use crate::sys::poll::{Interest, Poller};
use crate::sys::signals::{Signals, ignore, reset};
use crate::sys::{AsFd, OwnedFd, pipe};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Becomes the writer: recovers, opens the live segment, finishes what a dead predecessor began.
pub(super) fn begin(mut seat: WriterSeat) -> Result<Writer, Fatal> {
    let system = |error: io::Error| Fatal::system("start the writer", error);
    seat.scoreboard.set(Count::OnDisk, 1);
    let tools = confine(&seat)?;
    let record = CommitRecord::map(seat.commit.as_fd()).map_err(system)?;
    if is_deleted(&seat.directory) {
        seat.channel.send(ToSupervisor::Reclaim);
    }
    let place = seat.config.store.directory.clone();
    let cannot = |error: io::Error| directory::failed("open the live segment", &error, &place);
    let mut shelf = Shelf::new(&seat.directory, &seat.config).map_err(cannot)?;
    let (opened, found) =
        opening::open(&mut shelf, record.read(), seat.era, seat.config.store.format, &seat.scoreboard)
            .map_err(cannot)?;
    let moved = seat.moved;
    let (links, kept) = (std::mem::take(&mut seat.links), std::mem::take(&mut seat.segments));
    let (sequence, second) = (opened.live.identity.sequence, opened.second);
    let mut writer = assemble(seat, shelf, (opened.live, opened.offset), record, tools).map_err(system)?;
    writer.good_to = opened.good_to;
    writer.scoreboard.add(Count::TornRecords, opened.torn);
    if let Some(lost) = opened.lost {
        writer.note_lost(&lost, moved);
    }
    let name = writer.live.name.build();
    writer.channel.send(ToSupervisor::Segment { sequence, name, file: second });
    let segments = writer.shelf.list().map_err(cannot)?;
    cut_moved(&writer.shelf.directory);
    Segment::forget_hidden(writer.shelf.directory.as_fd()).map_err(cannot)?;
    writer.clear_settled(&segments);
    let kept = match plan::inheritance(&found) {
        // The supervisor that kept them was killed with everybody else.
        Some(_) if kept.is_empty() => writer.reopen(sequence, &segments).map_err(system)?,
        _ => kept,
    };
    writer.inherit(kept, &segments, matches!(found, Found::Pending { .. }));
    drain_private(&writer).map_err(system)?;
    let marks = plan::inheritance(&found).cloned().unwrap_or_default();
    writer.count_on(marks.stored);
    // A predecessor gave up a batch in its middle and was killed before it had left the segment.
    writer.room.overhang = marks.overhang && marks.segment == writer.live.identity;
    writer.uncommitted = writer.room.overhang;
    for link in links {
        let mark = marks.mark(link.terms.id);
        writer.attach(link, mark).map_err(system)?;
    }
    writer.go_on(found, &segments).map_err(system)?;
    writer.publish_room();
    writer.scoreboard.set(Count::OnDisk, 0);
    Ok(writer)
}

/// What a writer could not get any more once it is shut in.
struct Tools {
    signals: Signals,
    poller: Poller,
    syncer: Syncer,
}

/// Takes up its tools and gives up all that a writer does not need, before it reads a byte, its own store's included. The
/// wall holds for a thread and those that it starts, the filter for all there are: the sync thread is started in between.
fn confine(seat: &WriterSeat) -> Result<Tools, Fatal> {
    let system = |error: io::Error| Fatal::system("start the writer", error);
    let (mode, rotate) = (seat.config.security.sandbox, &seat.config.rotate);
    let local = rotate.timezone == Timezone::Local && rotate.interval.is_some();
    let take_up = || -> io::Result<(Signals, Poller)> {
        reset(&[Signal::SIGTERM])?;
        ignore(&[Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2])?;
        Ok((Signals::new(&[Signal::SIGTERM])?, Poller::new(256)?))
    };
    let (signals, poller) = take_up().map_err(system)?;
    let wall = sandbox::wall_in(Role::Writer, mode, Some(seat.directory.as_fd()), local)?;
    let syncer = Syncer::start().map_err(system)?;
    seat.scoreboard.set(Count::Sandbox, sandbox::filter(Role::Writer, mode, wall)?.word());
    Ok(Tools { signals, poller, syncer })
}

/// The writer with its live segment open and nothing done yet.
fn assemble(
    seat: WriterSeat,
    shelf: Shelf,
    (live, offset): (Segment, u64),
    record: CommitRecord,
    tools: Tools,
) -> io::Result<Writer> {
    let Tools { signals, poller, syncer } = tools;
    poller.add(&seat.channel, super::CONTROL, Interest::Input)?;
    poller.add(&signals, super::SIGNALS, Interest::Input)?;
    poller.add(syncer.bell(), super::SYNC_DONE, Interest::Input)?;
    let mut writer = Writer {
        config: seat.config,
        shelf,
        live,
        offset,
        good_to: 0,
        stored: Stored::default(),
        stored_before: Stored::default(),
        window: None,
        clock_rests: Instant::now(),
        record,
        uplinks: Vec::new(),
        turn: 0,
        private: seat.private,
        null: File::options().write(true).open("/dev/null")?,
        pending: None,
        spare: Spare::default(),
        stalled: None,
        settled: Vec::new(),
        failures: 0,
        stuck: None,
        uncommitted: false,
        room: Room::new(Instant::now()),
        leaving: false,
        rotations_told: Limiter::new(),
        slowness: Slowness::new(),
        rotation: None,
        rotation_retry: None,
        rotate_requested: false,
        rotate_asked: None,
        syncer,
        dirty: true,
        syncing: false,
        closing: Vec::new(),
        last_sync: Instant::now(),
        channel: seat.channel,
        scoreboard: seat.scoreboard,
        poller,
        signals,
        finishing: false,
        orphan_until: None,
        examined_at: Instant::now(),
        trouble: None,
        lock: seat.lock,
        tick: seat.tick,
    };
    writer.open_window();
    Ok(writer)
}

/// A predecessor may have been killed between filling its private pipe and reading it.
fn drain_private(writer: &Writer) -> io::Result<()> {
    let mut rest = Vec::new();
    while pipe::read_to(writer.private.read.as_fd(), &mut rest, writer.private.size)? > 0 {
        rest.clear();
    }
    Ok(())
}

impl Writer {
    /// Goes on counting from what the record knows: what a predecessor committed and had no time to count is in it.
    fn count_on(&mut self, stored: Stored) {
        (self.stored, self.stored_before) = (stored, stored);
        self.scoreboard.set(Count::BytesBefore, stored.bytes);
        self.tell_stored();
        // Last: with this one the supervisor takes the others.
        self.scoreboard.set(Count::MessagesBefore, stored.messages.wrapping_add(1));
    }

    /// Descriptions of the newest segments; the supervisor keeps those of closed ones until they are synced.
    fn reopen(&mut self, live: u64, segments: &[SegmentName]) -> io::Result<Vec<(u64, OwnedFd)>> {
        let reopened = opening::reopened(&self.shelf, segments);
        for (sequence, file) in reopened.iter().filter(|(sequence, _)| *sequence < live) {
            let name = segments.iter().find(|name| name.sequence == *sequence).map(SegmentName::build);
            let (sequence, name, file) = (*sequence, name.unwrap_or_default(), file.try_clone()?);
            self.channel.send(ToSupervisor::Segment { sequence, name, file });
        }
        Ok(reopened)
    }

    /// Syncs what a dead writer may have left unsynced, by descriptions that it never used.
    fn inherit(&mut self, kept: Vec<(u64, OwnedFd)>, segments: &[SegmentName], pending: bool) {
        let (live, failed) = (self.live.identity.sequence, self.record.failed());
        for (sequence, file) in kept {
            match plan::inherited(sequence, live, failed, pending, self.config.server.echo) {
                Inherited::SyncFirst => {
                    let begun = Instant::now();
                    let result = File::from(file).sync_data();
                    self.judge(&Outcome::of_live(sequence, self.offset, begun, result));
                }
                Inherited::SyncAside => self.syncer.submit(Job::Inherited { sequence, upto: self.offset, file }),
                Inherited::Close => self.inherit_closed(sequence, File::from(file), segments, true),
                Inherited::Keep => self.inherit_closed(sequence, File::from(file), segments, false),
                Inherited::Drop => {}
            }
        }
    }

    /// A segment that a predecessor closed and that no sync is known to have covered; one that failed waits for being
    /// saved, and one whose end was saved is done with.
    fn inherit_closed(&mut self, sequence: u64, file: File, segments: &[SegmentName], sync: bool) {
        let name = segments.iter().find(|name| name.sequence == sequence);
        let name = name.filter(|name| moved_to(&self.shelf.directory, name).is_none());
        let (Some(name), Ok(metadata)) = (name, file.metadata()) else {
            return self.channel.send(ToSupervisor::Settled(sequence));
        };
        let closing = Closing { name: name.clone(), file: Arc::new(file), good_to: 0, end: metadata.len() };
        if sync { self.close(closing) } else { self.closing.push(closing) }
    }

    /// A predecessor's live segment is not there. What it had seen destroyed itself, it has counted. In a directory in
    /// the place of one that was deleted (`moved`) nothing is missing.
    fn note_lost(&mut self, lost: &Lost, moved: bool) {
        let is_known = lost.kept || self.record.is_tampered(lost.name.sequence);
        let destroyed = if is_known { 0 } else { lost.bytes };
        if moved {
            self.scoreboard.add(Count::DestroyedBytes, destroyed);
        } else {
            self.note_harm(lost.name.build(), lost.bytes, destroyed);
        }
        self.record.set_tampered(lost.name.sequence);
    }

    /// Takes a link into service.
    pub(super) fn attach(&mut self, link: Link, mark: Mark) -> io::Result<()> {
        let uplink = Uplink::new(link, mark, self.private.size)?;
        self.poller.add(uplink.data(), super::data_token(uplink.id()), Interest::InputEdge)?;
        self.poller.add(uplink.acks(), super::ack_token(uplink.id()), Interest::OutputEdge)?;
        self.uplinks.push(uplink);
        Ok(())
    }

    /// Whether a link whose frames an intent has is gone: the service manager did not keep it.
    fn lacks_frames_of(&self, next: &State) -> bool {
        next.marks.iter().any(|mark| !self.uplinks.iter().any(|uplink| uplink.id() == mark.id))
    }

    /// What cannot be repeated is cut off, as after a refusal; the frames that are there are decided on anew.
    fn give_up_batch(&mut self) {
        error!(
            BATCH_NOT_REPEATED,
            "a batch that the last writer did not commit cannot be repeated: a link of it was not kept"
        );
        (self.uncommitted, self.room.overhang) = (true, true);
        self.record.settle(&self.state_with(self.uplinks.iter().map(Uplink::mark).collect()));
    }

    /// Carries out a predecessor's intent with the very same frames: they are still in the pipes.
    fn replay(&mut self, next: State) -> io::Result<()> {
        let mut parts = Vec::new();
        for mark in &next.marks {
            let index = self.uplinks.iter().position(|uplink| uplink.id() == mark.id);
            let index = index.ok_or_else(|| io::Error::other("an intended link is gone"))?;
            let uplink = &mut self.uplinks[index];
            if uplink.mark().through < mark.through {
                // The frames of the batch are the first in the pipe, whatever a worker that was broken into has sent behind
                // them since.
                let _ = uplink.look(&self.private, &self.null)?;
            }
            let count = uplink.count_to(mark.through);
            parts.push((index, count.ok_or_else(|| io::Error::other("an intended frame is not in its pipe"))?));
        }
        let frames: usize = parts.iter().map(|part| part.1).sum();
        notice!(BATCH_REPEATED, "repeating a batch of {frames} frames that the last writer did not commit");
        self.uncommitted = true;
        self.pending = Some(Pending { parts, next, step: Step::Write });
        self.store_some(Instant::now())?;
        Ok(())
    }

    /// Finishes what a predecessor was killed in: a rotation or a batch.
    fn go_on(&mut self, found: Found, segments: &[SegmentName]) -> io::Result<()> {
        let (directory, live) = (Arc::clone(&self.shelf.directory), self.live.identity.sequence);
        let name = segments.last().filter(|name| name.sequence > live);
        let newest = name.map(|name| Segment::open(directory.as_fd(), name.clone())).transpose()?;
        let failed = self.record.failed();
        let saves = newest
            .as_ref()
            .zip(failed)
            .and_then(|(newest, failed)| saved_in(&directory, segments, failed, &newest.name));
        let saved = saves.is_some();
        let swapped = !self.live.is_current(directory.as_fd())?;
        let newer = |newest: &Segment| Ok::<_, io::Error>(Newer { length: newest.length()?, saved, swapped });
        let newer = newest.as_ref().map(newer).transpose()?;
        match (plan::rebirth(found, self.must_move(), newer), newest) {
            (Rebirth::Adopt { mid_batch, leave }, Some(segment)) => {
                self.leaving = leave;
                // Also what was given up before.
                self.uncommitted |= mid_batch;
                self.rotation = Some(match saves {
                    Some(saves) => Rotation::adopt_saved(segment, saves)?,
                    None => Rotation::adopt(segment),
                });
                self.move_on(Instant::now());
            }
            (Rebirth::Replay(next), _) if self.lacks_frames_of(&next) => self.give_up_batch(),
            (Rebirth::Replay(next), _) => self.replay(next)?,
            (Rebirth::Leave, _) => self.uncommitted = true,
            (Rebirth::Decide | Rebirth::Adopt { .. }, _) => {}
        }
        Ok(())
    }
}
