//! Framing: any bytes in any split, against the reference decoder.
use super::Input;
use crate::config::{Framing, OnOversize};
use crate::protocol::framing::{Decoder, Step};

#[path = "../protocol/framing/tests/reference.rs"]
#[allow(
    clippy::unwrap_used,
    clippy::duplicate_mod,
    reason = "a failed unwrap is a finding; the unit tests have it, too"
)]
mod reference;

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    messages: Vec<Vec<u8>>,
    consumed: usize,
    end: Step,
}

const FRAMINGS: [Framing; 5] =
    [Framing::Line, Framing::Nul, Framing::OctetCounted, Framing::LengthPrefixed, Framing::Chunk];

/// Framing and mode, the longest message, the sizes of the reads, the stream.
pub fn framing(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let framing = FRAMINGS[usize::from(choice >> 1) % FRAMINGS.len()];
    let mode = if choice & 1 == 0 { OnOversize::Close } else { OnOversize::Split };
    let max = 1 + usize::from(input.byte() % 80);
    let reads = input.some();
    let stream = input.rest();
    let decoder = Decoder::new(framing, max, mode);
    let split = decode(decoder.clone(), stream, reads);
    if framing == Framing::Chunk {
        assert_eq!(split.messages.concat(), stream);
        assert_eq!((split.consumed, split.end), (stream.len(), Step::End));
        return;
    }
    let whole = decode(decoder, stream, &[]);
    assert_eq!(split, whole, "the reads make a difference");
    let mut expected = reference::reference(framing, max, mode, stream);
    // Its reasons are not compared.
    if let (Step::Malformed(reason), Step::Malformed(_)) = (&whole.end, &expected.end) {
        expected.end = Step::Malformed(reason);
    }
    assert_eq!(whole, expected);
}

/// Feeds the stream in reads of these sizes (0 counts as 256), then the rest at once, then its end.
fn decode(mut decoder: Decoder, stream: &[u8], reads: &[u8]) -> Outcome {
    let (mut messages, mut consumed, mut received) = (Vec::new(), 0, 0);
    let mut sizes = reads.iter().map(|&size| if size == 0 { 256 } else { usize::from(size) });
    loop {
        let ended = received == stream.len();
        let pending = &stream[consumed..received];
        let before = decoder.clone();
        let step = if ended { decoder.finish(pending) } else { decoder.next(pending) };
        match step {
            Step::Message { body, consumed: taken } => {
                assert!(taken > 0 && body.end <= taken && taken <= pending.len());
                messages.push(pending[body].to_vec());
                consumed += taken;
            }
            Step::More => {
                assert!(!ended && pending.len() < before.enough(), "an input buffer would not suffice");
                received = stream.len().min(received + sizes.next().unwrap_or(stream.len()));
            }
            end => {
                assert!(ended || !matches!(end, Step::End | Step::Incomplete));
                let again = if ended { decoder.finish(pending) } else { decoder.next(pending) };
                assert_eq!(again, end, "said otherwise when asked again");
                return Outcome { messages, consumed, end };
            }
        }
    }
}
