//! What the bytes at the head of a data pipe are: the rest of frames that are committed, whole frames, a frame that is
//! still coming.
//!
//! Promise: pure, and total over bytes from a worker that may have been broken into: bytes that are not the one frame that
//! must come next are an error, never a guess.
use crate::ipc::commit::Mark;
use crate::ipc::link::Terms;
use crate::protocol::frame::{self, HEADER, Header, Kind};
use std::collections::VecDeque;

/// A whole frame in a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Where its body begins in the buffer.
    pub at: usize,
}

impl Frame {
    /// Its body, in the buffer that it was found in.
    pub fn body<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.at..self.at + self.header.length as usize]
    }
}

/// What is wrong with a link for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl From<frame::Broken> for Broken {
    fn from(broken: frame::Broken) -> Self {
        Self(broken.to_string())
    }
}

/// How many bytes at the head of `buffer` belong to frames that `mark` says are committed.
pub fn stale(buffer: &[u8], terms: &Terms, mark: Mark) -> Result<usize, Broken> {
    Ok(frame::stale_prefix(buffer, terms.secret, mark.through + 1)?)
}

/// Whether, with its stale bytes gone, `buffer` may still be followed by more of them: the next frame's header is not there.
pub fn may_be_stale(buffer: &[u8]) -> bool {
    buffer.len() < HEADER
}

/// Whether to look again without having been woken: where one look cannot take in all (it is not `wide`), until there is
/// nothing new. Stale bytes that were taken out may have hidden what stood behind them.
pub fn look_again(wide: bool, found_frames: bool, skipped: usize, grew: bool) -> bool {
    !wide && (found_frames || skipped > 0 || grew)
}

/// Appends the whole frames at the head of `buffer` to `frames`: the first is the one behind `mark`.
pub fn whole_frames(buffer: &[u8], terms: &Terms, mark: Mark, frames: &mut VecDeque<Frame>) -> Result<(), Broken> {
    let mut at = 0;
    let mut sequence = mark.through + 1;
    let mut fragment_at = mark.staged;
    let mut refusing = mark.refused_from > 0;
    loop {
        let rest = &buffer[at..];
        let header = match Header::decode(rest, terms.secret, sequence, terms.frame_limit)? {
            Some(header) if header.frame_len() <= rest.len() => header,
            _ => return Ok(()),
        };
        let body = &rest[HEADER..header.frame_len()];
        // What is refused anyway may begin in the middle of a record; a fresh frame never does.
        refusing &= !header.fresh;
        if !refusing {
            fragment_at = next_fragment(&header, body, fragment_at, terms.record_limit as u64)?;
        }
        frames.push_back(Frame { header, at: at + HEADER });
        at += header.frame_len();
        sequence += 1;
    }
}

/// Checks a frame against what came before it: where the next fragment must begin, if one follows.
fn next_fragment(header: &Header, body: &[u8], at: u64, record_limit: u64) -> Result<u64, Broken> {
    let end = u64::from(header.offset) + u64::from(header.length);
    let fits = match header.kind {
        Kind::Records => at == 0,
        _ => u64::from(header.offset) == at && end <= record_limit,
    };
    if !fits {
        return Err(Broken("a fragment out of place".to_owned()));
    }
    if header.kind != Kind::Fragment && body.last() != Some(&b'\n') {
        return Err(Broken("a record without its end".to_owned()));
    }
    Ok(if header.kind == Kind::Fragment { end } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_look_is_repeated_until_there_is_nothing_new() {
        assert!(look_again(false, true, 0, false));
        assert!(look_again(false, false, 0, true));
        assert!(look_again(false, false, 9, false), "a frame behind stale bytes would wait for the next one");
        assert!(!look_again(false, false, 0, false));
        assert!(!look_again(true, true, 9, true));
    }
}
