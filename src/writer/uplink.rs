//! A link as the writer sees it: what is in its pipe, what of that is whole frames, and how far it is safe.
//!
//! Promise: reading takes nothing out of the pipe (tee(2)); only [`Uplink::consume`] does, after the commit. Bytes that
//! are not the one frame that must come next break the link, and only it.
use super::intake::{self, Broken, Frame};
use super::plan;
use crate::ipc::commit::Mark;
use crate::ipc::link::{Link, PrivatePipe, Terms};
use crate::protocol::ack::Ack;
use crate::protocol::frame::{Header, Kind};
use crate::sys::{self, AsFd, BorrowedFd, OwnedFd, crash, file, memory, pipe};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// One link.
#[derive(Debug)]
pub struct Uplink {
    terms: Terms,
    data: OwnedFd,
    acks: OwnedFd,
    staging: File,
    /// What is committed.
    mark: Mark,
    /// A copy of the pipe's head, as of the last look.
    buffer: Vec<u8>,
    /// The whole frames in the buffer, which are the first in the pipe.
    frames: VecDeque<Frame>,
    /// Records of these frames that were put together from fragments.
    assembled: Vec<Vec<u8>>,
    /// Bytes of `buffer` that were consumed since the last look.
    consumed: usize,
    /// The pipe may begin in the middle of a committed frame: a predecessor was killed while consuming.
    resync: bool,
    /// There may be bytes in the pipe that were not looked at.
    unseen: bool,
    /// One look takes in all that the pipe can hold; what comes after it makes an edge.
    wide: bool,
    hung_up: bool,
    /// The last ack that the pipe took.
    acked: Option<u64>,
}

impl Uplink {
    /// Takes a link at the place where the commit record says it is.
    ///
    /// `private`: the size of the pipe that looks go through.
    pub fn new(link: Link, mark: Mark, private: usize) -> io::Result<Self> {
        let Link { terms, data, acks, staging } = link;
        let wide = pipe::size(data.as_fd())? <= private;
        Ok(Self {
            terms,
            data,
            acks,
            staging: File::from(staging),
            mark,
            buffer: Vec::new(),
            frames: VecDeque::new(),
            assembled: Vec::new(),
            consumed: 0,
            resync: plan::may_be_stale(mark),
            unseen: true,
            wide,
            hung_up: false,
            acked: None,
        })
    }

    /// The link's id.
    pub fn id(&self) -> u64 {
        self.terms.id
    }

    /// The data pipe's end, to be watched.
    pub fn data(&self) -> BorrowedFd<'_> {
        self.data.as_fd()
    }

    /// The ack pipe's end, to be watched.
    pub fn acks(&self) -> BorrowedFd<'_> {
        self.acks.as_fd()
    }

    /// Notes that the pipe has news; `hangup`: its last writer is gone.
    pub fn wake(&mut self, hangup: bool) {
        self.unseen = true;
        self.hung_up |= hangup;
    }

    /// Whether a look is worth its system calls.
    pub fn wants_look(&self) -> bool {
        self.unseen && self.frames.is_empty()
    }

    /// Whether the worker is gone and all its whole frames are stored. What is left, if anything, is a frame that its
    /// death cut off; none of its messages was echoed.
    pub fn is_drained(&self) -> bool {
        self.hung_up && !self.unseen && self.frames.is_empty()
    }

    /// Bytes of a frame, or of a record in fragments, that the worker's death cut off.
    pub fn torn_bytes(&self) -> usize {
        self.buffer.len() - self.consumed + usize::try_from(self.mark.staged).unwrap_or(usize::MAX)
    }

    /// The whole frames at hand that may be stored: none as long as a refusal is not told, or goes on.
    pub fn headers(&self) -> impl Iterator<Item = &Header> {
        let untold = self.is_refusing() && self.acked != Some(self.mark.through);
        let count = if untold || self.late() > 0 { 0 } else { self.frames.len() };
        self.frames.iter().take(count).map(|frame| &frame.header)
    }

    /// Whether the last frame was refused.
    fn is_refusing(&self) -> bool {
        self.mark.refused_from > 0
    }

    /// How many of the frames at hand were made before the worker learned of the last refusal: they may hold the next
    /// messages of connections that were refused, and are refused too, room or not.
    pub fn late(&self) -> usize {
        plan::late(self.mark, self.frames.iter().map(|frame| &frame.header))
    }

    /// How many of the frames at hand may be refused when there is no room: all, unless they were echoed already.
    pub fn refusable(&self) -> usize {
        let promised = self.frames.iter().any(|frame| frame.header.promised);
        if promised { 0 } else { self.frames.len() }
    }

    /// Messages in the first `count` frames.
    pub fn records(&self, count: usize) -> u64 {
        self.frames.iter().take(count).map(|frame| u64::from(frame.header.records)).sum()
    }

    /// Looks at all that is in the pipe, through `private`, and finds the whole frames.
    pub fn look(&mut self, private: &PrivatePipe, null: &File) -> io::Result<Result<(), Broken>> {
        let seen_before = self.buffer.len() - self.consumed;
        self.unseen = false;
        self.buffer.clear();
        self.consumed = 0;
        match pipe::tee(self.data.as_fd(), private.write.as_fd(), private.size) {
            Ok(count) => {
                pipe::read_to(private.read.as_fd(), &mut self.buffer, count)?;
            }
            Err(error) if sys::would_block(&error) => {}
            Err(error) => return Err(error),
        }
        let mut skipped = 0;
        if self.resync {
            match self.skip_stale(null)? {
                Ok(stale) => skipped = stale,
                Err(broken) => return Ok(Err(broken)),
            }
        }
        let found = intake::whole_frames(&self.buffer, &self.terms, self.mark, &mut self.frames);
        let grew = self.buffer.len() > seen_before;
        // What is broken is found again once the frames before it are stored.
        self.unseen |= found.is_err();
        self.unseen |= intake::look_again(self.wide, !self.frames.is_empty(), skipped, grew);
        Ok(found)
    }

    /// Takes out of the pipe what belongs to committed frames, up to the next frame's mark or, as long as that has not
    /// come, all that cannot be its beginning. Returns how many bytes.
    fn skip_stale(&mut self, null: &File) -> io::Result<Result<usize, Broken>> {
        let stale = match intake::stale(&self.buffer, &self.terms, self.mark) {
            Ok(stale) => stale,
            Err(broken) => return Ok(Err(broken)),
        };
        pipe::consume(self.data.as_fd(), null, stale)?;
        self.buffer.drain(..stale);
        self.resync = intake::may_be_stale(&self.buffer);
        Ok(Ok(stale))
    }

    /// Where the first `count` frames leave the link once they are stored.
    pub fn mark_after(&self, count: usize) -> Mark {
        plan::mark_after(self.mark, self.last_of(count))
    }

    fn last_of(&self, count: usize) -> Option<&Header> {
        let last = count.checked_sub(1).and_then(|last| self.frames.get(last));
        last.map(|frame| &frame.header)
    }

    /// Where the first `count` frames leave the link once they are refused. What was staged of their record is void.
    pub fn mark_refused(&self, count: usize) -> Mark {
        plan::mark_refused(self.mark, self.frames.front().map(|frame| &frame.header), self.last_of(count))
    }

    /// What is committed.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// How many of the frames at hand are needed to come to frame `through`, if they are all there.
    pub fn count_to(&self, through: u64) -> Option<usize> {
        plan::count_to(self.mark, through, self.frames.len())
    }

    /// Copies the fragments among the first `count` frames into the staging area, and puts together the record that
    /// they complete: doing it twice does no harm.
    pub fn assemble(&mut self, count: usize) -> io::Result<()> {
        self.assembled.clear();
        for frame in self.frames.iter().take(count) {
            let Header { kind, offset, .. } = frame.header;
            match kind {
                Kind::Records => {}
                Kind::Fragment => self.staging.write_all_at(frame.body(&self.buffer), u64::from(offset))?,
                Kind::LastFragment => {
                    let mut record = vec![0; offset as usize];
                    self.staging.read_exact_at(&mut record, 0)?;
                    record.extend_from_slice(frame.body(&self.buffer));
                    self.assembled.push(record);
                }
            }
        }
        Ok(())
    }

    /// The file bytes of the first `count` frames, which are [assembled](Self::assemble), in order.
    pub fn bodies(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        let mut assembled = self.assembled.iter();
        self.frames.iter().take(count).filter_map(move |frame| match frame.header.kind {
            Kind::Records => Some(frame.body(&self.buffer)),
            Kind::Fragment => None,
            Kind::LastFragment => assembled.next().map(Vec::as_slice),
        })
    }

    /// Takes the first `count` frames, which are committed, out of the pipe.
    pub fn consume(&mut self, count: usize, null: &File) -> io::Result<()> {
        self.take(count, self.mark_after(count), null, "half-consume")
    }

    /// The same of frames that are refused.
    pub fn drop_refused(&mut self, count: usize, null: &File) -> io::Result<()> {
        self.take(count, self.mark_refused(count), null, "half-refuse")
    }

    fn take(&mut self, count: usize, mark: Mark, null: &File, point: &str) -> io::Result<()> {
        let bytes = self.frames.iter().take(count).map(|frame| frame.header.frame_len()).sum();
        if crash::strikes(point) {
            pipe::consume(self.data.as_fd(), null, bytes / 2)?;
            crash::die();
        }
        pipe::consume(self.data.as_fd(), null, bytes)?;
        self.consumed += bytes;
        let completed = self.frames.drain(..count).any(|frame| frame.header.kind == Kind::LastFragment);
        if self.mark.staged > 0 && mark.staged == 0 || completed {
            memory::resize(self.staging.as_fd(), 0)?;
            self.assembled.clear();
        }
        self.mark = mark;
        Ok(())
    }

    /// Sends the ack for all that is committed, unless it was sent. One that finds no room waits for the ack pipe.
    ///
    /// A refusal goes together with the "safe" before it, which may not have been sent: the pipe takes both or neither.
    pub fn acknowledge(&mut self) -> io::Result<()> {
        let Some(through) = plan::ack_due(self.mark, self.acked) else { return Ok(()) };
        let sent = match self.mark.refused_from.checked_sub(1) {
            None => file::write(self.acks.as_fd(), &Ack::Safe(through).encode()),
            Some(safe) => {
                let both = [Ack::Safe(safe), Ack::Refused(through)].map(Ack::encode);
                file::write(self.acks.as_fd(), both.as_flattened())
            }
        };
        match sent {
            Err(error) if sys::would_block(&error) => return Ok(()),
            // The worker is gone; its data pipe tells the same.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => self.acked = Some(through),
        }
        Ok(())
    }
}
