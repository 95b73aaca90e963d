//! Station 6/7, ack: the writer tells a worker which of its frames are safe.
//!
//! An ack is cumulative ("all frames up to n"), so that it may be repeated, and a later one makes an earlier one
//! superfluous: one that does not fit into the ack pipe waits and is overtaken, never queued.

/// Bytes of an ack, far below `PIPE_BUF`: written whole or not at all (pipe(7)).
pub const ACK: usize = 16;

/// First word of an ack that says "safe".
const SAFE: u64 = u64::from_le_bytes(*b"safe thr");

/// The bytes of "all frames up to `through` are safe".
pub fn encode(through: u64) -> [u8; ACK] {
    let mut out = [0; ACK];
    out[..8].copy_from_slice(&SAFE.to_le_bytes());
    out[8..].copy_from_slice(&through.to_le_bytes());
    out
}

/// The highest frame that whole acks in `bytes` call safe; `None` if there is no whole ack, or one is malformed.
pub fn decode(bytes: &[u8]) -> Option<u64> {
    let (acks, _) = bytes.as_chunks::<ACK>();
    let one = |ack: &[u8; ACK]| -> Option<u64> {
        let (tag, through) = ack.split_first_chunk::<8>()?;
        (u64::from_le_bytes(*tag) == SAFE).then_some(u64::from_le_bytes(through.try_into().ok()?))
    };
    acks.iter().map(one).try_fold(None, |highest: Option<u64>, ack| Some(Some(highest.unwrap_or(0).max(ack?))))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_ack_counts() {
        let bytes = [encode(3), encode(7), encode(5)].concat();
        assert_eq!(decode(&bytes), Some(7));
        assert_eq!(decode(&encode(0)), Some(0));
    }

    #[test]
    fn nothing_is_made_of_garbage() {
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[0; ACK]), None);
        assert_eq!(decode(&encode(3)[..15]), None);
    }
}
