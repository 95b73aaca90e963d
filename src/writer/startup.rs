//! A writer's beginning: the first of a run examines the directory, every later one goes on from the commit record.
use super::Writer;
use super::file::Pending;
use super::rotation::{Rotation, Shelf};
use super::syncer::{Job, Outcome, Syncer};
use super::uplink::Uplink;
use crate::config::{Echo, Format};
use crate::exit::Fatal;
use crate::ipc::commit::{CommitRecord, Found, Mark, State};
use crate::ipc::control::ToSupervisor;
use crate::ipc::link::Link;
use crate::ipc::scoreboard::Count;
use crate::ipc::seat::WriterSeat;
use crate::store::directory::{self, Era};
use crate::store::names::SegmentName;
use crate::store::reader::LINE_LIMIT;
use crate::store::recovery::{CleanEnd, Verdict, set_aside, verdict, whole_length};
use crate::store::segment::{Identity, Segment};
use crate::store::{clock, parse};
use crate::sys::poll::Interest;
use crate::sys::signals::{Signals, ignore, reset};
use crate::sys::{AsFd, OwnedFd, crash, pipe};
use nix::sys::signal::Signal;
use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// After an unclean end so many of the newest segments may end in a torn record: the last live one, those closed before
/// it and not yet synced, and one that a start killed in the middle of its recovery has begun.
const DOUBTFUL: usize = super::file::MOST_CLOSING + 2;

/// Becomes the writer: recovers, opens the live segment, finishes what a dead predecessor began.
pub(super) fn begin(seat: WriterSeat) -> Result<Writer, Fatal> {
    let system = |error: io::Error| Fatal::system("start the writer", error);
    reset(&[Signal::SIGTERM]).map_err(system)?;
    ignore(&[Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2]).map_err(system)?;
    let signals = Signals::new(&[Signal::SIGTERM]).map_err(system)?;
    let record = CommitRecord::map(seat.commit.as_fd()).map_err(system)?;
    let mut shelf = Shelf {
        directory: Arc::new(seat.directory),
        prefix: seat.config.store.prefix.clone(),
        mode: seat.config.store.file_mode,
        last_sequence: 0,
    };
    let cannot = |error: io::Error| directory::failed("open the live segment", &error, &seat.config.store.directory);
    let segments = shelf.list().map_err(cannot)?;
    shelf.last_sequence = segments.last().map_or(0, |name| name.sequence);
    let mut found = record.read();
    let opened = match &found {
        Found::Nothing => recover(&mut shelf, &segments, seat.era, seat.config.store.format).map_err(cannot)?,
        Found::Settled(base) | Found::Pending { base, .. } => {
            let base = base.clone();
            match resume(&shelf, &segments, &base.segment, base.offset) {
                Ok(opened) => opened,
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
                Err(error) => {
                    found = Found::Settled(base.clone());
                    replace_lost(&mut shelf, &base, &error).map_err(cannot)?
                }
            }
        }
    };
    // Only now: a thread before the checks above could not be joined on their errors.
    let syncer = Syncer::start().map_err(system)?;
    let mut writer = Writer::new(
        seat.config,
        shelf,
        opened.live,
        opened.offset,
        record,
        syncer,
        signals,
        seat.channel,
        seat.scoreboard,
        seat.private,
        seat.lock,
    )
    .map_err(system)?;
    writer.scoreboard.add(Count::TornRecords, opened.torn);
    let sequence = writer.live.identity.sequence;
    writer.channel.send(ToSupervisor::Segment { sequence, file: opened.second });
    writer.inherit(seat.segments, matches!(found, Found::Pending { .. }));
    drain_private(&writer).map_err(system)?;
    let marks = match &found {
        Found::Nothing => State::default(),
        Found::Settled(base) | Found::Pending { base, .. } => base.clone(),
    };
    for link in seat.links {
        let mark = marks.mark(link.terms.id);
        writer.attach(link, mark).map_err(system)?;
    }
    writer.go_on(found, &segments).map_err(system)?;
    Ok(writer)
}

struct Opened {
    live: Segment,
    offset: u64,
    second: OwnedFd,
    torn: u64,
}

/// The first writer of a run: resumes the newest segment after a clean end, otherwise begins a new one and sets torn
/// ends aside.
fn recover(shelf: &mut Shelf, segments: &[SegmentName], era: Option<Era>, format: Format) -> io::Result<Opened> {
    let directory = Arc::clone(&shelf.directory);
    let clean = CleanEnd::read(directory.as_fd())?;
    let newest = segments.last().map(|name| Segment::open(directory.as_fd(), name.clone())).transpose()?;
    let (live, offset, check) = match newest {
        None => (None, 0, false),
        Some(segment) => {
            let length = segment.length()?;
            match verdict(&segment.name, length, clean.as_ref(), &shelf.prefix, format) {
                Verdict::Resume { check } => (Some(segment), length, check),
                Verdict::Replace { check } => (None, 0, check),
            }
        }
    };
    let (live, second) = match live {
        Some(segment) => Rotation::adopt(segment).run(shelf, clock::now_seconds())?,
        None => Rotation::new().run(shelf, clock::now_seconds())?,
    };
    crash::point("recover-swapped");
    let mut torn = 0;
    if check {
        let since = era.map_or(0, |era| era.since);
        let older = segments.iter().rev().filter(|name| name.sequence != live.identity.sequence);
        for name in older.take(DOUBTFUL).filter(|name| name.sequence >= since) {
            torn += u64::from(set_torn_aside(&directory, name, era.map(|era| era.format))?);
        }
    }
    if era.is_none_or(|era| era.format != format) {
        directory::set_era(directory.as_fd(), Era { format, since: live.identity.sequence })?;
    }
    CleanEnd::remove(directory.as_fd())?;
    match offset {
        0 => info!("live segment {}", live.name.build()),
        _ => info!("live segment {}, resumed at byte {offset}", live.name.build()),
    }
    Ok(Opened { live, offset, second, torn })
}

/// Whether a torn end was set aside. The format is what the store says, never what the bytes look like: in a `raw` store
/// they are the clients'. Where it is unknown, and in `raw`, whatever ends with a newline counts as whole.
fn set_torn_aside(directory: &Arc<OwnedFd>, name: &SegmentName, format: Option<Format>) -> io::Result<bool> {
    let segment = Segment::open(directory.as_fd(), name.clone())?;
    let is_record = |line: &[u8]| format.is_none_or(|format| parse::parse(format, line).is_ok());
    let whole = whole_length(&segment.file, LINE_LIMIT as u64, is_record)?;
    let moved = set_aside(directory.as_fd(), name, &segment.file, whole)?;
    if moved > 0 {
        let name = name.build();
        warn!(
            "unclean end: {moved} bytes after byte {whole} of {name} are no whole record; none of it was echoed as stored; moved to {name}.torn"
        );
    }
    Ok(moved > 0)
}

/// A later writer: opens the segment that the commit record names.
fn resume(shelf: &Shelf, segments: &[SegmentName], identity: &Identity, offset: u64) -> io::Result<Opened> {
    let name = segments.iter().find(|name| name.sequence == identity.sequence).ok_or(io::ErrorKind::NotFound)?;
    let live = Segment::open(shelf.directory.as_fd(), name.clone())?;
    if live.identity != *identity {
        let message = format!("{} is another file", live.name.build());
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    let second = live.second_description(shelf.directory.as_fd())?;
    notice!("going on with {} at byte {offset}", live.name.build());
    Ok(Opened { live, offset, second, torn: 0 })
}

/// The live segment is not where it was left: somebody removed or replaced it. What was not committed is still in the
/// pipes and goes to a new one.
fn replace_lost(shelf: &mut Shelf, base: &State, why: &io::Error) -> io::Result<Opened> {
    let Identity { sequence, .. } = base.segment;
    crate::error!(
        "segment {sequence} is gone ({why}), and {} bytes of records with it; a new one takes over",
        base.offset
    );
    shelf.last_sequence = shelf.last_sequence.max(sequence);
    let (live, second) = Rotation::new().run(shelf, clock::now_seconds())?;
    Ok(Opened { live, offset: 0, second, torn: 0 })
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
    /// Syncs what a dead writer may have left unsynced, by descriptions that it never used: they tell of the errors too
    /// that only it was told.
    ///
    /// `synced` mode and a batch to repeat: the answer is waited for, since a file that failed must not get the batch.
    fn inherit(&mut self, kept: Vec<(u64, OwnedFd)>, pending: bool) {
        let live = self.live.identity.sequence;
        for (sequence, file) in kept {
            match sequence.cmp(&live) {
                Ordering::Equal if pending && self.config.server.echo == Echo::Synced => {
                    let result = File::from(file).sync_data();
                    self.judge(&Outcome { sequence, live: true, result });
                }
                Ordering::Less => self.close(sequence, Arc::new(File::from(file))),
                Ordering::Equal => self.syncer.submit(Job::Inherited { sequence, file }),
                // Of a rotation that was not published; it is adopted, and then opened anew.
                Ordering::Greater => {}
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
        self.pending = Some(Pending { parts, next });
        self.store_some(Instant::now())?;
        Ok(())
    }

    /// Finishes what a predecessor was killed in: a rotation, which left a segment newer than the committed one, or a
    /// batch. An intent that names another segment than the commit is a rotation's, and is made anew with it.
    fn go_on(&mut self, found: Found, segments: &[SegmentName]) -> io::Result<()> {
        let live = self.live.identity;
        let pending = match found {
            Found::Pending { base, next } if base.segment == next.segment => Some(next),
            _ => None,
        };
        if let Some(newer) = segments.iter().rev().find(|name| name.sequence > live.sequence) {
            let segment = Segment::open(self.shelf.directory.as_fd(), newer.clone())?;
            if segment.length()? == 0 {
                if pending.is_some() {
                    // The predecessor was leaving this segment in the middle of a batch: so do we, whatever it takes.
                    self.record.set_suspect(live.sequence);
                }
                self.rotation = Some(Rotation::adopt(segment));
                self.move_on(Instant::now());
                return Ok(());
            }
        }
        match pending {
            Some(next) if !self.record.is_suspect(live.sequence) => self.replay(next),
            _ => Ok(()),
        }
    }
}
