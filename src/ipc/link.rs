//! Station 4/7, pipe: a worker's frames travel to the writer, and stay in the pipe until they are in the file.
//!
//! A link is all that connects one worker, in one life of it, with the writer: the data pipe up, the ack pipe down, and
//! a staging area for records larger than a frame. A new worker gets a new link; ids are never used twice.
use crate::sys::{AsFd, OwnedFd, memory, pipe, process};
use std::io;

/// The size asked for a data pipe and for the writer's private pipe: what is read back counts.
pub const PIPE_SIZE: usize = 1 << 20;
/// An ack pipe needs room for one ack. Two pages: a pipe of one is full with one ack, and each ack that is read would
/// wake the writer for the room.
const ACK_PIPE_SIZE: usize = 8192;
/// What a frame leaves free in a pipe: a pipe is a ring of pages, and a page half consumed still takes a whole one.
const PAGE: usize = 4096;
/// The most links at a time: workers of three generations, and dead ones whose frames are not stored yet.
pub const MAX_LINKS: usize = 256;

/// The ends that the writer uses, and that the supervisor keeps for the next writer.
#[derive(Debug)]
pub struct Link {
    /// What both sides know of the link.
    pub terms: Terms,
    /// Read end of the data pipe.
    pub data: OwnedFd,
    /// Write end of the ack pipe.
    pub acks: OwnedFd,
    /// Memory for a record that arrives in fragments.
    pub staging: OwnedFd,
}

/// The ends of the worker, which nobody else keeps: so EOF tells of its death.
#[derive(Debug)]
pub struct WorkerEnds {
    /// Write end of the data pipe.
    pub data: OwnedFd,
    /// Read end of the ack pipe.
    pub acks: OwnedFd,
}

/// What writer and worker agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The worker's incarnation: unique in a run of the daemon.
    pub id: u64,
    /// What the header of every frame begins with.
    pub secret: u64,
    /// Bytes of the largest frame, header included.
    pub frame_limit: usize,
    /// Bytes of the largest record.
    pub record_limit: usize,
}

/// The writer's private pipe, into which it tees.
#[derive(Debug)]
pub struct PrivatePipe {
    /// Read end.
    pub read: OwnedFd,
    /// Write end.
    pub write: OwnedFd,
    /// Capacity in bytes.
    pub size: usize,
}

impl PrivatePipe {
    /// Makes it, as large as the system allows.
    pub fn new() -> io::Result<Self> {
        let (read, write) = pipe::pipe()?;
        let size = pipe::resize(write.as_fd(), PIPE_SIZE)?;
        Ok(Self { read, write, size })
    }
}

impl Link {
    /// The same link by descriptors of its own (dup(2)).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            terms: self.terms,
            data: self.data.try_clone()?,
            acks: self.acks.try_clone()?,
            staging: self.staging.try_clone()?,
        })
    }
}

/// Makes a link for worker `id`; `private` is the size of the writer's private pipe.
pub fn new(id: u64, private: usize, record_limit: usize) -> io::Result<(Link, WorkerEnds)> {
    let (data_read, data_write) = pipe::pipe()?;
    let (ack_read, ack_write) = pipe::pipe()?;
    let size = pipe::resize(data_write.as_fd(), PIPE_SIZE)?;
    pipe::resize(ack_write.as_fd(), ACK_PIPE_SIZE)?;
    let frame_limit = frame_limit(size, private)
        .ok_or_else(|| io::Error::other(format!("the pipes are too small: {size} and {private} bytes")))?;
    let staging = memory::memfd("staging", 0)?;
    let terms = Terms { id, secret: process::random_word()?, frame_limit, record_limit };
    Ok((Link { terms, data: data_read, acks: ack_write, staging }, WorkerEnds { data: data_write, acks: ack_read }))
}

/// A link whose worker is dead, of what outlived it. Nobody hears its acks.
pub fn of_dead_worker(terms: Terms, data: OwnedFd, staging: OwnedFd) -> io::Result<Link> {
    let (_, acks) = pipe::pipe()?;
    Ok(Link { terms, data, acks, staging })
}

/// The largest frame for a data pipe and a private pipe of these sizes; `None` if they cannot hold one.
fn frame_limit(data: usize, private: usize) -> Option<usize> {
    data.min(private).checked_sub(PAGE).filter(|&limit| limit >= PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_leaves_a_page_free() {
        assert_eq!(frame_limit(1 << 20, 1 << 20), Some((1 << 20) - 4096));
        assert_eq!(frame_limit(8192, 1 << 20), Some(4096));
        assert_eq!(frame_limit(4096, 1 << 20), None);
    }

    #[test]
    fn the_real_sizes_are_read_back() {
        let private = PrivatePipe::new().unwrap();
        let (link, ends) = new(1, private.size, 1000).unwrap();
        assert!(link.terms.frame_limit >= PAGE);
        assert_eq!(pipe::size(ends.data.as_fd()).unwrap().min(private.size) - PAGE, link.terms.frame_limit);
        assert_eq!(pipe::size(link.acks.as_fd()).unwrap(), ACK_PIPE_SIZE);
    }
}
