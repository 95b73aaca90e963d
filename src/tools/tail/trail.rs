//! The way of a reader through a store: from a place on, segment after segment, each record once and in order, as far as
//! there is something; called again, it goes on.
//!
//! A segment is left for a newer one only when it is final: once a newer one has bytes, or is `current`. Then it is read
//! to its end once more. While it is read it is held open, so that neither compression nor retention takes it away.
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use super::cursor::Place;
use super::moved::printed_before;
use crate::exit::{self, Fatal};
use crate::store::failed::Failures;
use crate::store::index::{Facts, Index, OpenError, Opened};
use crate::store::names::SegmentName;
use crate::store::reader::{self, Piece};
use crate::tools::show::{Lines, Show};

/// Lengths of segments that are kept for the case that they fail: more than are ever without a sync.
const REMEMBERED: usize = 64;

/// Called between two pieces with the place behind the last; may end the reading.
pub type Turn<'t, O, C> = &'t mut dyn FnMut(&mut Show<O, C>, Place) -> io::Result<ControlFlow<()>>;

/// A reader on its way.
pub struct Trail {
    /// The store.
    pub index: Index,
    facts: Facts,
    failures: Failures,
    /// Segments to come, by number.
    queue: VecDeque<SegmentName>,
    opened: Option<Opened>,
    place: Option<Place>,
    /// How far each segment was printed.
    handled: BTreeMap<u64, u64>,
    /// With which segment the reading began.
    first: u64,
    /// The newest segment when it began: what is missing behind it was there once.
    newest: u64,
    /// Length and hash of the last line.
    last_line: Option<(u64, u64)>,
    /// Segments that were gone when their turn came.
    vanished: Vec<u64>,
    /// The store is being followed: `current` counts, too.
    pub following: bool,
}

impl Trail {
    /// From `place` on, or from the oldest segment.
    ///
    /// # Errors
    /// Exit 1: the place is none of this store. Exit 74: the store's notes cannot be read.
    pub fn begin(index: Index, facts: Facts, place: Option<Place>) -> Result<Self, Fatal> {
        let failures = index.failures(&facts).map_err(|error| {
            Fatal::new(exit::STORE, format!("cannot read the notes of {}: {error}", index.path().display()))
        })?;
        let newest = index.segments.last().map_or(0, |name| name.sequence);
        let first = place.map_or(0, |place| place.sequence);
        let at = index.segments.partition_point(|name| name.sequence < first);
        let queue = index.segments[at..].iter().cloned().collect();
        let handled = BTreeMap::new();
        let mut trail = Self {
            index,
            facts,
            failures,
            queue,
            opened: None,
            place,
            handled,
            first,
            newest,
            last_line: None,
            vanished: Vec::new(),
            following: false,
        };
        trail.measure(at);
        if let Some(place) = place {
            trail.enter(place)?;
        }
        Ok(trail)
    }

    /// Notes how long the segments before the first one are: their ends may yet be moved.
    fn measure(&mut self, before: usize) {
        for name in &self.index.segments[before.saturating_sub(REMEMBERED)..before] {
            let stat = crate::sys::file::stat_at(crate::sys::AsFd::as_fd(&self.index), &name.build());
            if let Some(length) = stat.ok().and_then(|stat| u64::try_from(stat.st_size).ok()) {
                self.handled.insert(name.sequence, length);
            }
        }
    }

    /// Opens the segment of a place, if it is there.
    fn enter(&mut self, place: Place) -> Result<(), Fatal> {
        let Some(name) = self.queue.front().filter(|name| name.sequence == place.sequence).cloned() else {
            return match self.newest < place.sequence && self.newest > 0 {
                true => Err(refused(place, &format!("the newest segment is number {}", self.newest))),
                false => Ok(()),
            };
        };
        let cut = self.cut(&name);
        let offset = place.offset.min(cut.unwrap_or(u64::MAX));
        if offset < place.offset {
            self.handled.insert(place.sequence, place.offset);
        }
        match self.index.open_segment(&name, offset, cut) {
            Ok(opened) => {
                self.opened = Some(opened);
                self.queue.pop_front();
                Ok(())
            }
            Err(OpenError::Gone) => Ok(()),
            // Said when its turn comes.
            Err(OpenError::Io(_)) if offset == 0 => Ok(()),
            Err(OpenError::Beyond(length)) => Err(refused(place, &format!("that segment has {length} bytes"))),
            Err(OpenError::InLine) => Err(refused(place, "no record begins there")),
            Err(OpenError::Io(error)) => {
                Err(Fatal::new(exit::FAILED, format!("cannot read {}: {error}", name.build())))
            }
        }
    }

    /// Says which segments a cursor has missed.
    pub fn tell_missed<O: Write, C: Write>(&self, show: &mut Show<O, C>) {
        let (Some(place), None, Some(next)) = (self.place, &self.opened, self.queue.front()) else { return };
        let seals = |sequence| self.facts.seals.get(&sequence);
        let was_at_end = seals(place.sequence).is_some_and(|seal| place.offset >= seal.bytes);
        let from = place.sequence + u64::from(was_at_end);
        let to = next.sequence.saturating_sub(1);
        if from > to {
            return;
        }
        let known: Option<Vec<u64>> = (from..=to).map(|sequence| seals(sequence).map(|seal| seal.records)).collect();
        let records = match known.map(|records| records.iter().sum::<u64>()) {
            None => String::new(),
            Some(records) if from == place.sequence && place.offset > 0 => format!(", with at most {records} records"),
            Some(records) => format!(", with {records} records"),
        };
        show.say(format_args!("{} deleted since the cursor{records}", these(from, to)));
    }

    /// The place behind what was handled.
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// The segment that is being read, if it may grow.
    pub fn growing(&self) -> Option<&Opened> {
        self.opened.as_ref().filter(|opened| opened.growing().is_some())
    }

    /// Takes in the name of a segment that has appeared.
    pub fn offer(&mut self, name: SegmentName) {
        let behind = self.opened.as_ref().map(|opened| &opened.name).is_some_and(|at| name.sequence <= at.sequence)
            || self.place.is_some_and(|place| name.sequence < place.sequence)
            || (self.opened.is_none() && self.place.is_some_and(|place| name.sequence == place.sequence));
        if let Err(at) = self.queue.binary_search(&name)
            && !behind
        {
            self.queue.insert(at, name);
        }
    }

    /// Lists the directory again.
    ///
    /// # Errors
    /// As `readdir(3)`.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.index.list()?;
        let from = self.place.map_or(0, |place| place.sequence);
        let at = self.index.segments.partition_point(|name| name.sequence < from);
        let names: Vec<SegmentName> = self.index.segments[at..].to_vec();
        // Names that were made and taken back again are forgotten here.
        self.queue.retain(|name| names.binary_search(name).is_ok() || name.sequence <= self.newest);
        names.into_iter().for_each(|name| self.offer(name));
        Ok(())
    }

    /// Prints what there is. Breaks when `turn` does.
    ///
    /// # Errors
    /// The output cannot be written; what cannot be read is said instead.
    pub fn advance<O: Write, C: Write>(
        &mut self,
        show: &mut Show<O, C>,
        turn: Turn<'_, O, C>,
    ) -> io::Result<ControlFlow<()>> {
        loop {
            if self.read_on(show, turn)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if self.opened.is_some() {
                if !self.is_final() {
                    return Ok(ControlFlow::Continue(()));
                }
                self.settle();
                if self.read_on(show, turn)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                self.leave(show);
            }
            if !self.open_next(show)? {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    /// Reads the open segment to the end that it has now.
    fn read_on<O: Write, C: Write>(
        &mut self,
        show: &mut Show<O, C>,
        turn: Turn<'_, O, C>,
    ) -> io::Result<ControlFlow<()>> {
        let Some(opened) = &mut self.opened else { return Ok(ControlFlow::Continue(())) };
        opened.look_again();
        let sequence = opened.name.sequence;
        loop {
            let (file, numbered) = (&opened.file, opened.numbered);
            let mut usable = true;
            match opened.lines.next_piece() {
                Ok(Some(Piece::Lines { offset, number, bytes })) => {
                    let format = *opened.format.get_or_insert_with(|| reader::detect(bytes));
                    let number = numbered.then_some(number);
                    usable = show.lines(&Lines { file, format, offset, number, bytes })?;
                    self.last_line = Some(fingerprint(bytes));
                }
                Ok(Some(Piece::TooLong { offset, number, length })) => {
                    show.too_long(file, numbered.then_some(number), offset, length);
                    self.last_line = None;
                }
                Ok(None) => return Ok(ControlFlow::Continue(())),
                Err(error) => {
                    show.fail(format_args!("{file}: cannot read: {error}"));
                    usable = false;
                }
            }
            let place = Place { sequence, offset: opened.lines.offset() };
            self.place = Some(place);
            if !usable {
                self.handled.insert(sequence, place.offset);
                self.opened = None;
                return Ok(ControlFlow::Continue(()));
            }
            if turn(show, place)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Whether the open segment will never grow again. Empty ones behind it say nothing: while one is made, records still
    /// go to its predecessor.
    fn is_final(&self) -> bool {
        self.queue
            .iter()
            .any(|name| self.index.has_bytes(name) == Some(true) || (self.following && self.index.is_current(name)))
    }

    /// Takes up what was noted of failures: the note is older than the segment that the end was moved to.
    fn settle(&mut self) {
        // What cannot be read now will be tried at the next segment; meanwhile what is known counts.
        if let Ok(failures) = self.index.failures(&self.facts) {
            self.failures = failures;
        }
        let cut = self.opened.as_ref().and_then(|opened| self.cut(&opened.name));
        if let (Some(opened), Some(cut)) = (&mut self.opened, cut) {
            opened.cut(cut);
        }
    }

    fn cut(&self, name: &SegmentName) -> Option<u64> {
        self.failures.cut(&name.build(), |target| self.index.exists(target))
    }

    fn leave<O: Write, C: Write>(&mut self, show: &mut Show<O, C>) {
        let Some(opened) = self.opened.take() else { return };
        let sequence = opened.name.sequence;
        if let Some(unfinished) = opened.lines.unfinished() {
            // A start sets it aside, and says so in the daemon's log.
            let length = opened.growing().and_then(|file| file.metadata().ok()).map(|meta| meta.len());
            if length.is_none_or(|length| length > unfinished.offset) {
                show.torn(&opened.file, opened.numbered, unfinished);
            }
        }
        // What was printed beyond a cut is known from before.
        let end = self.handled.entry(sequence).or_default();
        *end = (*end).max(opened.lines.offset());
        while self.handled.len() > REMEMBERED {
            self.handled.pop_first();
        }
    }

    /// Opens the next segment that is there and may hold what is wanted; false: there is none yet.
    fn open_next<O: Write, C: Write>(&mut self, show: &mut Show<O, C>) -> io::Result<bool> {
        let mut listed = false;
        while let Some(name) = self.queue.front().cloned() {
            let after = self.place.map_or(0, |place| place.sequence);
            let seal = self.facts.seals.get(&name.sequence).filter(|_| show.selection.needs_time());
            if let Some(seal) = seal.filter(|seal| !show.selection.may_want(seal)) {
                self.place = Some(Place { sequence: name.sequence, offset: seal.bytes });
                self.queue.pop_front();
                continue;
            }
            if self.following && !listed && after > 0 && name.sequence > after + 1 && name.sequence > self.newest {
                // A listing that ran beside a rotation may have passed one by.
                self.refresh()?;
                listed = true;
                continue;
            }
            let skip = self.skip(&name, show);
            match self.index.open_segment(&name, skip, self.cut(&name)) {
                Ok(opened) => {
                    self.tell_vanished(after, name.sequence, show);
                    self.place = Some(Place { sequence: name.sequence, offset: skip });
                    self.opened = Some(opened);
                }
                Err(OpenError::Gone) => self.vanished.push(name.sequence),
                Err(error) => show.fail(format_args!("{}: cannot open: {error}", name.build())),
            }
            self.queue.pop_front();
            if self.opened.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many bytes at the beginning of a segment were printed where they were before.
    fn skip<O: Write, C: Write>(&self, name: &SegmentName, show: &mut Show<O, C>) -> u64 {
        let target = name.build();
        let moved = self.failures.moved(|target| self.index.exists(target));
        let moved = moved.filter(|entry| entry.moved_to.as_deref() == Some(target.as_str()));
        match printed_before(moved, &self.handled, self.first) {
            Some(0) => 0,
            Some(skip) if self.ends_as_printed(name, skip) => skip,
            _ => {
                show.say(format_args!(
                    "{target}: begins with records that were saved from an older segment; some may be printed twice"
                ));
                0
            }
        }
    }

    /// Whether the last line before this place is the last one that was printed, as far as that is known.
    fn ends_as_printed(&self, name: &SegmentName, place: u64) -> bool {
        let Some((length, hash)) = self.last_line else { return true };
        let Some(from) = place.checked_sub(length) else { return false };
        let read = || -> Result<Vec<u8>, OpenError> {
            let mut opened = self.index.open_segment(name, from, None)?;
            let mut line = Vec::new();
            opened.lines.source_mut().take(length).read_to_end(&mut line)?;
            Ok(line)
        };
        read().is_ok_and(|line| line.ends_with(b"\n") && fingerprint(&line) == (length, hash))
    }

    /// Says which segments between two that were read are gone.
    fn tell_vanished<O: Write, C: Write>(&mut self, after: u64, next: u64, show: &mut Show<O, C>) {
        let mut vanished = std::mem::take(&mut self.vanished);
        // A name that was taken back before it was live leaves its number to another.
        vanished.retain(|sequence| *sequence < next);
        // Between segments that were there from the beginning, only those that had been seen.
        let unseen = (after > 0 && self.following).then_some(self.newest.max(after) + 1).filter(|from| *from < next);
        let from = vanished.first().copied().into_iter().chain(unseen).min();
        let to = vanished.last().copied().into_iter().chain(unseen.map(|_| next - 1)).max();
        if let (Some(from), Some(to)) = (from, to) {
            show.say(format_args!(
                "{} deleted before {} read",
                these(from, to),
                if from == to { "it was" } else { "they were" }
            ));
        }
    }
}

/// `1 segment, number 7, was`, `3 segments, number 7 to 9, were`.
fn these(from: u64, to: u64) -> String {
    match to - from + 1 {
        1 => format!("1 segment, number {from}, was"),
        count => format!("{count} segments, number {from} to {to}, were"),
    }
}

fn refused(Place { sequence, offset }: Place, why: &str) -> Fatal {
    Fatal::new(
        exit::FAILED,
        format!(
            "the cursor stands at byte {offset} of segment {sequence}, but {why}; is it one of this store? Begin without it to read from the oldest record"
        ),
    )
}

/// Length and hash of the last of these lines.
fn fingerprint(lines: &[u8]) -> (u64, u64) {
    let before = lines.len().saturating_sub(1);
    let line = &lines[memchr::memrchr(b'\n', &lines[..before]).map_or(0, |feed| feed + 1)..];
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    (line.len() as u64, hasher.finish())
}
