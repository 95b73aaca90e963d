//! Opening the live segment: at the start of a run by what the directory holds, later by the commit record.
//!
//! Promise: nothing acknowledged is touched; the live segment is never cut while it is `current`.
use super::plan;
use super::rescue;
use super::rotation::{Begun, Rotation, Shelf};
use crate::config::Format;
use crate::ipc::commit::{Found, State};
use crate::ipc::scoreboard::{Count, Scoreboard};
use crate::store::clock;
use crate::store::directory::{self, Era};
use crate::store::names::{CURRENT, SegmentName};
use crate::store::recovery::{CleanEnd, Torn, Verdict, repair, verdict};
use crate::store::segment::{Identity, Segment, save_current};
use crate::sys::file::{self, Access};
use crate::sys::{AsFd, OwnedFd, crash};
use nix::sys::stat::FileStat;
use std::io;
use std::sync::Arc;

/// After an unclean end so many of the newest segments may end in a torn record: the last live one, those closed before
/// it and not yet synced, and one that a start killed in the middle of its recovery has begun.
pub(super) const DOUBTFUL: usize = super::file::MOST_CLOSING + 2;

/// An open live segment.
pub(super) struct Opened {
    pub live: Segment,
    /// Its bytes that are committed.
    pub offset: u64,
    /// Of these, what a sync has covered.
    pub good_to: u64,
    /// A second description of it, for the supervisor to keep.
    pub second: OwnedFd,
    /// Torn ends that were set aside.
    pub torn: u64,
    /// The segment that should be in its place.
    pub lost: Option<Lost>,
}

/// A live segment that is not where it was left.
pub(super) struct Lost {
    pub name: SegmentName,
    /// Its bytes that were acknowledged.
    pub bytes: u64,
    /// Its file is there, under another name.
    pub kept: bool,
}

/// Opens the live segment, as the commit record says or, without one, as the directory does. Also returns what of the
/// record still counts: a batch that was pending for a file that is gone is decided on anew.
pub(super) fn open(
    shelf: &mut Shelf,
    found: Found,
    era: Option<Era>,
    format: Format,
    scoreboard: &Scoreboard,
) -> io::Result<(Opened, Found)> {
    let Some(base) = plan::inheritance(&found) else { return Ok((recover(shelf, era, format, scoreboard)?, found)) };
    match resume(shelf, base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok((replace_lost(shelf, base, format)?, plan::without_segment(found)))
        }
        result => Ok((result?, found)),
    }
}

/// The first writer of a run: resumes the newest segment after a clean end, otherwise begins a new one and sets torn
/// ends aside.
fn recover(shelf: &mut Shelf, era: Option<Era>, format: Format, scoreboard: &Scoreboard) -> io::Result<Opened> {
    let progress = |bytes: u64| scoreboard.add(Count::Recovered, bytes);
    let segments = shelf.list()?;
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
    if check {
        notice!(UNCLEAN_END, "the last end was not a clean one; looking for torn records");
    }
    save_foreign_current(&directory, &segments, None)?;
    let unsaved = rescue::unsaved(&directory, &segments, era)?;
    let oldest = unsaved.first().map(|source| source.name.sequence);
    let rotation = match (oldest, live) {
        (Some(oldest), _) => Rotation::rescuing(oldest, unsaved),
        (None, Some(segment)) => Rotation::adopt(segment),
        (None, None) => Rotation::new(),
    };
    let mut begun = rotation.complete(shelf, clock::now_seconds(), progress)?;
    crash::point("recover-swapped");
    rescue::cut_moved(&directory);
    let is_new_era = era.is_none_or(|era| era.format != format);
    if begun.filled > 0 && is_new_era {
        // What was saved is of the old format: a file has but one.
        begun = Rotation::new().complete(shelf, clock::now_seconds(), progress)?;
    }
    let live = begun.segment;
    let offset = if oldest.is_some() { begun.filled } else { offset };
    let mut torn = 0;
    if check {
        let since = era.map_or(0, |era| era.since);
        let older = segments.iter().rev().filter(|name| name.sequence != live.identity.sequence);
        let doubtful = older.take(DOUBTFUL).filter(|name| name.sequence >= since);
        for name in doubtful.filter(|name| rescue::moved_to(&directory, name).is_none()) {
            torn += u64::from(set_torn_aside(&directory, name, era.map(|era| era.format), progress)?);
        }
    }
    if is_new_era {
        directory::set_era(directory.as_fd(), Era { format, since: live.identity.sequence })?;
    }
    CleanEnd::remove(directory.as_fd())?;
    match offset {
        0 => info!(LIVE_SEGMENT { file: &live.name.build() }, "live segment {}", live.name.build()),
        _ => info!(
            LIVE_SEGMENT { file: &live.name.build() },
            "live segment {}, resumed at byte {offset}",
            live.name.build()
        ),
    }
    Ok(Opened { live, offset, good_to: offset, second: begun.second, torn, lost: None })
}

/// A `current` that is no segment's second name is somebody else's file, or part of a copy, or the last name of the `live`
/// segment: it gets another name before a new one takes its place. Returns whether it was the live one's.
pub(super) fn save_foreign_current(
    directory: &Arc<OwnedFd>,
    segments: &[SegmentName],
    live: Option<(&SegmentName, Identity)>,
) -> io::Result<bool> {
    let current = match file::stat_at(directory.as_fd(), CURRENT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        result => result?,
    };
    // The newest is the likeliest.
    for name in segments.iter().rev() {
        let segment = file::stat_at(directory.as_fd(), &name.build())?;
        if (segment.st_dev, segment.st_ino) == (current.st_dev, current.st_ino) {
            return Ok(false);
        }
    }
    let aside = save_current(directory.as_fd())?;
    let live = live.filter(|(_, live)| (live.device, live.inode) == (current.st_dev, current.st_ino));
    match live {
        Some((name, _)) => crate::error!(
            LIVE_FILE_KEPT { file: &aside },
            "{} has lost its name, its records are in {aside}: give it its name back; a new one takes over",
            name.build()
        ),
        None => warn!(
            FOREIGN_CURRENT { file: &aside },
            "{CURRENT} is not a file of this store (or the store is a copy); it is kept as {aside}"
        ),
    }
    Ok(live.is_some())
}

/// Whether a torn end was set aside.
fn set_torn_aside(
    directory: &Arc<OwnedFd>,
    name: &SegmentName,
    format: Option<Format>,
    progress: impl Fn(u64),
) -> io::Result<bool> {
    let Some(Torn { whole, moved, aside }) = repair(directory.as_fd(), name, format, progress)? else {
        return Ok(false);
    };
    let name = name.build();
    warn!(
        TORN_RECORDS_MOVED { file: &name, bytes: moved },
        "unclean end: {moved} bytes after byte {whole} of {name} are no whole record; moved to {aside}; unless power was cut, or somebody else changed the file, none of it was echoed as stored"
    );
    Ok(true)
}

/// A later writer: opens the segment that the commit record names.
fn resume(shelf: &Shelf, base: &State) -> io::Result<Opened> {
    let State { segment: identity, offset, good_to, .. } = base;
    let segments = shelf.list()?;
    let is_it = |name: &&SegmentName| (name.sequence, name.start) == (identity.sequence, identity.start);
    let name = segments.iter().find(is_it).ok_or(io::ErrorKind::NotFound)?;
    let live = open_writable(shelf, name, identity)?;
    if live.identity != *identity {
        let message = format!("{} is another file", live.name.build());
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    let second = live.second_description(shelf.directory.as_fd())?;
    notice!(WRITER_CONTINUES { file: &live.name.build() }, "going on with {} at byte {offset}", live.name.build());
    Ok(Opened { live, offset: *offset, good_to: *good_to, second, torn: 0, lost: None })
}

/// Descriptions of the newest segments, in the place of those that the supervisor keeps for a writer's successor. An
/// error of a sync that nobody has noted is not seen by them.
pub(super) fn reopened(shelf: &Shelf, segments: &[SegmentName]) -> Vec<(u64, OwnedFd)> {
    let newest = segments.iter().rev().take(DOUBTFUL).rev();
    let open = |name: &SegmentName| {
        let file = file::open_at(shelf.directory.as_fd(), &name.build(), Access::Read, 0).ok()?;
        Some((name.sequence, file.into()))
    };
    newest.filter_map(open).collect()
}

/// Opens the segment; one that was made read-only is the daemon's own, and gets its mode again.
fn open_writable(shelf: &Shelf, name: &SegmentName, identity: &Identity) -> io::Result<Segment> {
    let (directory, file) = (shelf.directory.as_fd(), name.build());
    let opened = Segment::open(directory, name.clone());
    let denied = opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    let ours = |stat: FileStat| (stat.st_dev, stat.st_ino) == (identity.device, identity.inode);
    if !denied || !file::stat_at(directory, &file).is_ok_and(ours) {
        return opened;
    }
    warn!(LIVE_FILE_READ_ONLY { file: &file }, "{file} was made read-only by somebody else; its mode is set again");
    file::set_mode_at(directory, &file, shelf.mode)?;
    Segment::open(directory, name.clone())
}

/// The live segment is not where it was left: somebody removed or replaced it. What was not committed is still in the
/// pipes and goes to a new one.
fn replace_lost(shelf: &mut Shelf, base: &State, format: Format) -> io::Result<Opened> {
    let Identity { sequence, start, .. } = base.segment;
    let name = SegmentName { prefix: shelf.prefix.clone(), sequence, start };
    // The swap would take its last name away.
    let kept = save_foreign_current(&shelf.directory, &shelf.list()?, Some((&name, base.segment)))?;
    if !kept {
        crate::error!(
            LIVE_FILE_GONE { bytes: base.offset },
            "segment {sequence} is gone, and {} bytes of records with it; a new one takes over",
            base.offset
        );
    }
    shelf.last_sequence = shelf.last_sequence.max(sequence);
    let Begun { segment: live, second, .. } = Rotation::new().complete(shelf, clock::now_seconds(), |_| {})?;
    // What was put in the place of a deleted directory may be an older copy, in another format.
    if directory::era(shelf.directory.as_fd()).is_some_and(|era| era.format != format) {
        directory::set_era(shelf.directory.as_fd(), Era { format, since: live.identity.sequence })?;
    }
    let lost = Some(Lost { name, bytes: base.offset, kept });
    Ok(Opened { live, offset: 0, good_to: 0, second, torn: 0, lost })
}
