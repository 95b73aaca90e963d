//! Station 6/7, ack: the writer tells a worker which of its frames are safe, and which will never be.
//!
//! An ack is cumulative ("all frames up to n"), so that it may be repeated. One that says "safe" is made superfluous by a
//! later one: if it does not fit into the ack pipe it waits and is overtaken, never queued. One that says "refused" comes
//! together with the last "safe" before it, and nothing overtakes the two.

/// Bytes of an ack, far below `PIPE_BUF`, as are two: written whole or not at all (pipe(7)).
pub const ACK: usize = 16;

/// First word of an ack that says "safe".
const SAFE: u64 = u64::from_le_bytes(*b"safe thr");
/// First word of an ack that says "refused".
const REFUSED: u64 = u64::from_le_bytes(*b"refused ");

/// What the writer says of a worker's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// All frames up to this one that were not refused are safe.
    Safe(u64),
    /// No frame up to this one, and after the last safe one, was stored or will be.
    Refused(u64),
}

impl Ack {
    /// The ack's bytes.
    pub fn encode(self) -> [u8; ACK] {
        let (tag, through) = match self {
            Self::Safe(through) => (SAFE, through),
            Self::Refused(through) => (REFUSED, through),
        };
        let mut out = [0; ACK];
        out[..8].copy_from_slice(&tag.to_le_bytes());
        out[8..].copy_from_slice(&through.to_le_bytes());
        out
    }

    fn of(bytes: &[u8; ACK]) -> Option<Self> {
        let (tag, through) = bytes.split_first_chunk::<8>()?;
        let through = u64::from_le_bytes(through.try_into().ok()?);
        match u64::from_le_bytes(*tag) {
            SAFE => Some(Self::Safe(through)),
            REFUSED => Some(Self::Refused(through)),
            _ => None,
        }
    }
}

/// The whole acks in `bytes`, in their order, up to one that is malformed.
pub fn decode(bytes: &[u8]) -> impl Iterator<Item = Ack> {
    bytes.as_chunks::<ACK>().0.iter().map_while(Ack::of)
}

#[cfg(test)]
mod tests {
    use super::Ack::*;
    use super::*;

    #[test]
    fn acks_come_in_their_order() {
        let all = [Safe(3), Refused(7), Safe(9), Safe(0)];
        let bytes = all.map(Ack::encode).concat();
        assert_eq!(decode(&bytes).collect::<Vec<_>>(), all);
        assert_eq!(decode(&bytes[..ACK * 2 - 1]).collect::<Vec<_>>(), [Safe(3)]);
    }

    #[test]
    fn nothing_is_made_of_garbage() {
        assert_eq!(decode(&[]).count(), 0);
        assert_eq!(decode(&[0; ACK]).count(), 0);
        let bytes = [Safe(3).encode(), [7; ACK], Safe(9).encode()].concat();
        assert_eq!(decode(&bytes).collect::<Vec<_>>(), [Safe(3)]);
    }
}
