//! What travels in a data pipe: frames, each a header and the final bytes of one or more records.
//!
//! Promise: pure, and total over bytes from a worker that may have been broken into: a header that is not exactly the
//! one expected is an error, never a guess.
//!
//! ```text
//! 0        8          16       20        24     28       32
//! │ secret │ sequence │ length │ records │ kind │ offset │ body: `length` bytes
//! ```
//! All numbers are little-endian. `secret` is the pipe's own and unknown to clients, so that no stored message can
//! look like a header. `sequence` counts a pipe's frames from 1. `kind` holds the kind and, above it, the two flags.

use std::cmp::Ordering;

/// Bytes of a header.
pub const HEADER: usize = 32;

/// What a frame's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole records.
    Records,
    /// A part of a record that is larger than a frame, at `offset`; more follow.
    Fragment,
    /// The last part of such a record.
    LastFragment,
}

/// Bits above the kind.
const FRESH: u32 = 1 << 8;
const PROMISED: u32 = 1 << 9;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The place of this frame among all of its pipe, from 1.
    pub sequence: u64,
    /// Bytes of the body.
    pub length: u32,
    /// Records that this frame completes.
    pub records: u32,
    /// What the body is.
    pub kind: Kind,
    /// Of a fragment: where in the record it belongs. Otherwise 0.
    pub offset: u32,
    /// The first that the worker has made since it learned of a refusal: none of its messages follows one that was
    /// refused.
    pub fresh: bool,
    /// Its messages are echoed without an ack (`received`): it must never be refused.
    pub promised: bool,
}

/// Why bytes are not the frame that has to come next. The pipe is then of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Not this pipe's secret: the stream is out of step, or forged.
    Secret,
    /// Not the next sequence number.
    Sequence,
    /// A length of 0 or above the pipe's limit.
    Length,
    /// An unknown kind, or fields that do not fit the kind.
    Kind,
    /// More records than bytes.
    Records,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secret => "a frame without the pipe's secret",
            Self::Sequence => "a frame out of sequence",
            Self::Length => "a frame of impossible length",
            Self::Kind => "a frame of impossible kind",
            Self::Records => "a frame of more records than bytes",
        })
    }
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self, secret: u64) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..16].copy_from_slice(&mark(secret, self.sequence));
        out[16..20].copy_from_slice(&self.length.to_le_bytes());
        out[20..24].copy_from_slice(&self.records.to_le_bytes());
        let kind = match self.kind {
            Kind::Records => 0u32,
            Kind::Fragment => 1,
            Kind::LastFragment => 2,
        };
        let flags = if self.fresh { FRESH } else { 0 } | if self.promised { PROMISED } else { 0 };
        out[24..28].copy_from_slice(&(kind | flags).to_le_bytes());
        out[28..].copy_from_slice(&self.offset.to_le_bytes());
        out
    }

    /// Reads the header that must come next. `Ok(None)`: too few bytes yet.
    pub fn decode(bytes: &[u8], secret: u64, sequence: u64, limit: usize) -> Result<Option<Self>, Broken> {
        let Some(head) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let expected = mark(secret, sequence);
        if head[..8] != expected[..8] {
            return Err(Broken::Secret);
        }
        if head[8..16] != expected[8..] {
            return Err(Broken::Sequence);
        }
        let (length, records, offset) = (word(16), word(20), word(28));
        let [fresh, promised] = [FRESH, PROMISED].map(|flag| word(24) & flag != 0);
        let kind = match (word(24) & !(FRESH | PROMISED), records, offset) {
            (0, 1.., 0) => Kind::Records,
            (1, 0, _) => Kind::Fragment,
            (2, 1, _) => Kind::LastFragment,
            _ => return Err(Broken::Kind),
        };
        if length == 0 || HEADER + length as usize > limit {
            return Err(Broken::Length);
        }
        // Each has at least its LF.
        if records > length {
            return Err(Broken::Records);
        }
        Ok(Some(Self { sequence, length, records, kind, offset, fresh, promised }))
    }

    /// Bytes of the whole frame.
    pub fn frame_len(&self) -> usize {
        HEADER + self.length as usize
    }
}

/// The first 16 bytes of frame `sequence`: what to look for after a kill in the middle of consuming.
fn mark(secret: u64, sequence: u64) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&secret.to_le_bytes());
    out[8..].copy_from_slice(&sequence.to_le_bytes());
    out
}

/// How many bytes at the head of a pipe belong to frames before `sequence`, which were committed but not wholly
/// consumed: everything up to the mark of `sequence`; without it, everything that cannot be the mark's beginning.
///
/// # Errors
/// A later frame comes first: frames are missing, and skipping on would swallow all that follow without a word.
pub fn stale_prefix(bytes: &[u8], secret: u64, sequence: u64) -> Result<usize, Broken> {
    let mark = mark(secret, sequence);
    for at in memchr::memmem::find_iter(bytes, &mark[..8]) {
        let Some(found) = bytes[at + 8..].first_chunk::<8>() else { break };
        match u64::from_le_bytes(*found).cmp(&sequence) {
            Ordering::Less => {}
            Ordering::Equal => return Ok(at),
            Ordering::Greater => return Err(Broken::Sequence),
        }
    }
    let longest = (1..mark.len().min(bytes.len() + 1)).rev().find(|&n| bytes.ends_with(&mark[..n]));
    Ok(bytes.len() - longest.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: u64 = 0x1122_3344_5566_7788;

    fn header(sequence: u64, length: u32) -> Header {
        Header { sequence, length, records: 1, kind: Kind::Records, offset: 0, fresh: false, promised: false }
    }

    #[test]
    fn a_header_comes_back() {
        for kind in [Kind::Records, Kind::Fragment, Kind::LastFragment] {
            let records = u32::from(kind != Kind::Fragment);
            let offset = if kind == Kind::Records { 0 } else { 77 };
            for (fresh, promised) in [(false, false), (true, false), (false, true), (true, true)] {
                let header = Header { sequence: 9, length: 100, records, kind, offset, fresh, promised };
                let bytes = header.encode(SECRET);
                assert_eq!(Header::decode(&bytes, SECRET, 9, 4096), Ok(Some(header)));
                assert_eq!(Header::decode(&bytes[..31], SECRET, 9, 4096), Ok(None));
            }
        }
    }

    #[test]
    fn whatever_is_not_expected_is_refused() {
        let bytes = header(9, 100).encode(SECRET);
        assert_eq!(Header::decode(&bytes, SECRET + 1, 9, 4096), Err(Broken::Secret));
        assert_eq!(Header::decode(&bytes, SECRET, 8, 4096), Err(Broken::Sequence));
        assert_eq!(Header::decode(&bytes, SECRET, 9, 131), Err(Broken::Length));
        assert_eq!(Header::decode(&header(9, 0).encode(SECRET), SECRET, 9, 4096), Err(Broken::Length));
        let many = Header { records: 101, ..header(9, 100) }.encode(SECRET);
        assert_eq!(Header::decode(&many, SECRET, 9, 4096), Err(Broken::Records));
        let mut forged = bytes;
        forged[24] = 7;
        assert_eq!(Header::decode(&forged, SECRET, 9, 4096), Err(Broken::Kind));
        let mut forged = bytes;
        forged[25] = 4;
        assert_eq!(Header::decode(&forged, SECRET, 9, 4096), Err(Broken::Kind));
    }

    #[test]
    fn a_gap_is_not_skipped() {
        let pipe = [b"rest of 4".to_vec(), header(6, 10).encode(SECRET).to_vec()].concat();
        assert_eq!(stale_prefix(&pipe, SECRET, 5), Err(Broken::Sequence));
        assert_eq!(stale_prefix(&pipe, SECRET, 6), Ok(9));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), sequence: u64) {
            let _ = Header::decode(&bytes, SECRET, sequence, 4096);
            prop_assert!(stale_prefix(&bytes, SECRET, sequence).is_ok_and(|stale| stale <= bytes.len()));
        }

        /// Cut anywhere, the next frame is found, and not a byte of it is taken for stale.
        #[test]
        fn the_next_frame_is_found_after_any_cut(old in proptest::collection::vec(any::<u8>(), 1..200), cut in 0usize..232, seen in 0usize..64) {
            let mut pipe = header(4, u32::try_from(old.len()).unwrap()).encode(SECRET).to_vec();
            pipe.extend(&old);
            let cut = cut.min(pipe.len());
            let mut rest = pipe.split_off(cut);
            let stale = rest.len();
            rest.extend(header(5, 10).encode(SECRET));
            rest.extend([b'x'; 10]);
            let visible = (stale + seen).min(rest.len());
            let skipped = stale_prefix(&rest[..visible], SECRET, 5).unwrap();
            prop_assert!(skipped <= stale);
            if seen >= 16 {
                prop_assert_eq!(skipped, stale);
            }
        }
    }
}
