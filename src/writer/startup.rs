//! A writer's beginning: the first of a run examines the directory, every later one goes on from the commit record.
use super::file::Pending;
use super::plan::{self, Inherited, Rebirth, Step};
use super::rotation::{Rotation, Shelf};
use super::syncer::{Job, Outcome, Syncer};
use super::uplink::Uplink;
use super::{Writer, opening};
use crate::exit::Fatal;
use crate::ipc::commit::{CommitRecord, Found, Mark, State};
use crate::ipc::control::ToSupervisor;
use crate::ipc::link::Link;
use crate::ipc::scoreboard::Count;
use crate::ipc::seat::WriterSeat;
use crate::log::Limiter;
use crate::store::directory;
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
    let record = CommitRecord::map(seat.commit.as_fd()).map_err(system)?;
    let place = seat.config.store.directory.clone();
    let cannot = |error: io::Error| directory::failed("open the live segment", &error, &place);
    let mut shelf = Shelf::new(&seat.directory, &seat.config).map_err(cannot)?;
    let (opened, found) =
        opening::open(&mut shelf, record.read(), seat.era, seat.config.store.format).map_err(cannot)?;
    let (links, kept) = (std::mem::take(&mut seat.links), std::mem::take(&mut seat.segments));
    let (sequence, second) = (opened.live.identity.sequence, opened.second);
    let mut writer = assemble(seat, shelf, opened.live, opened.offset, record).map_err(system)?;
    writer.scoreboard.add(Count::TornRecords, opened.torn);
    writer.channel.send(ToSupervisor::Segment { sequence, file: second });
    writer.inherit(kept, matches!(found, Found::Pending { .. }));
    drain_private(&writer).map_err(system)?;
    let marks = plan::inheritance(&found).cloned().unwrap_or_default();
    for link in links {
        let mark = marks.mark(link.terms.id);
        writer.attach(link, mark).map_err(system)?;
    }
    writer.go_on(found).map_err(system)?;
    Ok(writer)
}

/// The writer with its live segment open and nothing done yet.
fn assemble(seat: WriterSeat, shelf: Shelf, live: Segment, offset: u64, record: CommitRecord) -> io::Result<Writer> {
    reset(&[Signal::SIGTERM])?;
    ignore(&[Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2])?;
    let signals = Signals::new(&[Signal::SIGTERM])?;
    let syncer = Syncer::start()?;
    let poller = Poller::new(256)?;
    poller.add(&seat.channel, super::CONTROL, Interest::Input)?;
    poller.add(&signals, super::SIGNALS, Interest::Input)?;
    poller.add(syncer.bell(), super::SYNC_DONE, Interest::Input)?;
    let mut writer = Writer {
        config: seat.config,
        shelf,
        live,
        offset,
        window: None,
        record,
        uplinks: Vec::new(),
        turn: 0,
        private: seat.private,
        null: File::options().write(true).open("/dev/null")?,
        pending: None,
        stalled: None,
        failures: 0,
        uncommitted: false,
        rotations_told: Limiter::new(),
        rotation: None,
        rotation_retry: None,
        rotate_requested: false,
        syncer,
        dirty: true,
        syncing: false,
        closing: 0,
        last_sync: Instant::now(),
        channel: seat.channel,
        scoreboard: seat.scoreboard,
        poller,
        signals,
        finishing: false,
        orphan_until: None,
        examined_at: Instant::now(),
        lock: seat.lock,
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
    /// Syncs what a dead writer may have left unsynced, by descriptions that it never used.
    fn inherit(&mut self, kept: Vec<(u64, OwnedFd)>, pending: bool) {
        let live = self.live.identity.sequence;
        for (sequence, file) in kept {
            match plan::inherited(sequence, live, pending, self.config.server.echo) {
                Inherited::SyncFirst => {
                    let result = File::from(file).sync_data();
                    self.judge(&Outcome { sequence, live: true, result });
                }
                Inherited::Close => self.close(sequence, Arc::new(File::from(file))),
                Inherited::SyncAside => self.syncer.submit(Job::Inherited { sequence, file }),
                Inherited::Drop => {}
            }
        }
    }

    /// Takes a link into service.
    pub(super) fn attach(&mut self, link: Link, mark: Mark) -> io::Result<()> {
        let uplink = Uplink::new(link, mark, self.private.size)?;
        self.poller.add(uplink.data(), super::data_token(uplink.id()), Interest::InputEdge)?;
        self.poller.add(uplink.acks(), super::ack_token(uplink.id()), Interest::OutputEdge)?;
        self.uplinks.push(uplink);
        Ok(())
    }

    /// Carries out a predecessor's intent with the very same frames: they are still in the pipes.
    fn replay(&mut self, next: State) -> io::Result<()> {
        let mut parts = Vec::new();
        for mark in &next.marks {
            let index = self.uplinks.iter().position(|uplink| uplink.id() == mark.id);
            let index = index.ok_or_else(|| io::Error::other("an intended link is gone"))?;
            let uplink = &mut self.uplinks[index];
            if uplink.mark().through < mark.through {
                uplink.look(&self.private, &self.null)?.map_err(|broken| io::Error::other(broken.0))?;
            }
            let count = uplink.count_to(mark.through);
            parts.push((index, count.ok_or_else(|| io::Error::other("an intended frame is not in its pipe"))?));
        }
        let frames: usize = parts.iter().map(|part| part.1).sum();
        notice!("repeating a batch of {frames} frames that the last writer did not commit");
        self.uncommitted = true;
        self.pending = Some(Pending { parts, next, step: Step::Write });
        self.store_some(Instant::now())?;
        Ok(())
    }

    /// Finishes what a predecessor was killed in: a rotation or a batch.
    fn go_on(&mut self, found: Found) -> io::Result<()> {
        let live = self.live.identity.sequence;
        let newest = match self.shelf.list()?.pop().filter(|name| name.sequence > live) {
            Some(name) => Some(Segment::open(self.shelf.directory.as_fd(), name)?),
            None => None,
        };
        let length = newest.as_ref().map(Segment::length).transpose()?;
        match (plan::rebirth(found, self.record.is_suspect(live), length), newest) {
            (Rebirth::Adopt { mid_batch }, Some(segment)) => {
                if mid_batch {
                    self.record.set_suspect(live);
                    self.uncommitted = true;
                }
                self.rotation = Some(Rotation::adopt(segment));
                self.move_on(Instant::now());
            }
            (Rebirth::Replay(next), _) => self.replay(next)?,
            (Rebirth::Leave, _) => self.uncommitted = true,
            (Rebirth::Decide | Rebirth::Adopt { .. }, _) => {}
        }
        Ok(())
    }
}
