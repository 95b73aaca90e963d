use std::cell::Cell;

use proptest::prelude::*;

use super::*;

mod reference;
use reference::reference;

thread_local! {
    /// Bytes that `find` was given, the measure of scanning work.
    pub static SCANNED: Cell<usize> = const { Cell::new(0) };
}

const FRAMINGS: [Framing; 4] = [Framing::Line, Framing::Nul, Framing::OctetCounted, Framing::LengthPrefixed];
const MODES: [OnOversize; 2] = [OnOversize::Close, OnOversize::Split];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    messages: Vec<Vec<u8>>,
    consumed: usize,
    end: Step,
}

/// Feeds `input` in reads of the given sizes (then one at a time), then EOF, as a connection would.
fn decode(mut decoder: Decoder, input: &[u8], reads: &[usize]) -> Outcome {
    let (mut messages, mut consumed, mut received) = (Vec::new(), 0, 0);
    let mut sizes = reads.iter().copied().chain(std::iter::repeat(1));
    loop {
        let eof = received == input.len();
        let pending = &input[consumed..received];
        match if eof { decoder.finish(pending) } else { decoder.next(pending) } {
            Step::Message { body, consumed: taken } => {
                assert!(taken > 0 && body.end <= taken && taken <= pending.len());
                messages.push(pending[body].to_vec());
                consumed += taken;
            }
            Step::More => {
                assert!(!eof && pending.len() < decoder.enough());
                received = input.len().min(received + sizes.next().unwrap());
            }
            end => {
                assert!(eof || !matches!(end, Step::End | Step::Incomplete));
                return Outcome { messages, consumed, end };
            }
        }
    }
}

fn outcome(framing: Framing, max: usize, mode: OnOversize, input: &[u8]) -> (Vec<String>, usize, Step) {
    let all = decode(Decoder::new(framing, max, mode), input, &[input.len()]);
    let one = decode(Decoder::new(framing, max, mode), input, &[]);
    assert_eq!(all, one);
    (all.messages.into_iter().map(|m| String::from_utf8(m).unwrap()).collect(), all.consumed, all.end)
}

fn encode(framing: Framing, message: &[u8], out: &mut Vec<u8>) {
    match framing {
        Framing::OctetCounted => out.extend(format!("{} ", message.len()).as_bytes()),
        Framing::LengthPrefixed => out.extend(u32::try_from(message.len()).unwrap().to_be_bytes()),
        _ => {}
    }
    out.extend(message);
    match framing {
        Framing::Line => out.push(b'\n'),
        Framing::Nul => out.push(0),
        _ => {}
    }
}

fn rich_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => Just(b'\n'), 4 => Just(b'\r'), 5 => Just(0), 3 => Just(b' '), 5 => b'0'..=b'9', 3 => 1u8..=9, 4 => any::<u8>()];
    prop::collection::vec(byte, 0..60)
}

/// Frames of counted framings, mostly sound, so that random bytes get past the first header.
fn rich_frames(framing: Framing) -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(prop::collection::vec(any::<u8>(), 0..24), 0..6), rich_bytes(), any::<bool>()).prop_map(
        move |(messages, noise, noisy)| {
            let mut bytes = Vec::new();
            messages.iter().for_each(|m| encode(framing, m, &mut bytes));
            bytes.extend(if noisy { noise } else { noise.into_iter().take(3).collect() });
            bytes
        },
    )
}

fn inputs() -> impl Strategy<Value = (Framing, Vec<u8>)> {
    prop::sample::select(&FRAMINGS[..])
        .prop_flat_map(|framing| (Just(framing), prop_oneof![rich_bytes(), rich_frames(framing)]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_split_into_reads_gives_what_the_reference_gives(
        (framing, input) in inputs(), max in 1usize..9, mode in prop::sample::select(&MODES[..]),
        reads in prop::collection::vec(1usize..12, 0..30),
    ) {
        let mut split = decode(Decoder::new(framing, max, mode), &input, &reads);
        let whole = decode(Decoder::new(framing, max, mode), &input, &[input.len()]);
        prop_assert_eq!(&split, &whole);
        if let Step::Malformed(reason) = &mut split.end {
            *reason = "";
        }
        prop_assert_eq!(split, reference(framing, max, mode, &input));
    }

    #[test]
    fn encoded_messages_come_back(
        framing in prop::sample::select(&FRAMINGS[..]), messages in prop::collection::vec(prop::collection::vec(14u8.., 0..40), 0..8),
        reads in prop::collection::vec(1usize..50, 0..30),
    ) {
        let mut bytes = Vec::new();
        messages.iter().for_each(|m| encode(framing, m, &mut bytes));
        let got = decode(Decoder::new(framing, 40, OnOversize::Close), &bytes, &reads);
        prop_assert_eq!(got, Outcome { messages, consumed: bytes.len(), end: Step::End });
    }

    #[test]
    fn chunks_lose_nothing(input in rich_bytes(), max in 1usize..9, reads in prop::collection::vec(1usize..12, 0..30)) {
        let got = decode(Decoder::new(Framing::Chunk, max, OnOversize::Close), &input, &reads);
        prop_assert!(got.messages.iter().all(|m| !m.is_empty() && m.len() <= max));
        prop_assert_eq!((got.messages.concat(), got.consumed, got.end), (input.clone(), input.len(), Step::End));
    }
}

#[test]
fn lines_at_and_over_the_limit() {
    use OnOversize::{Close, Split};
    let case = |max, mode, input: &str| outcome(Framing::Line, max, mode, input.as_bytes());
    let want = |messages: &[&str], consumed, end| {
        (messages.iter().map(ToString::to_string).collect::<Vec<_>>(), consumed, end)
    };
    assert_eq!(case(3, Close, "abc\r\nabc\n\n\r\nx"), want(&["abc", "abc", "", "", "x"], 13, Step::End));
    assert_eq!(case(3, Close, "ab\nabcd\n"), want(&["ab"], 3, Step::Oversize));
    assert_eq!(case(3, Close, "abc\rd\n"), want(&[], 0, Step::Oversize));
    assert_eq!(case(3, Close, "abc\r"), want(&[], 0, Step::Oversize));
    assert_eq!(case(4, Close, "a\rb\r"), want(&["a\rb\r"], 4, Step::End));
    assert_eq!(case(3, Split, "abc\r"), want(&["abc", "\r"], 4, Step::End));
    assert_eq!(case(3, Split, "abcdef\r\nabc\n"), want(&["abc", "def", "abc"], 12, Step::End));
    assert_eq!(case(3, Split, "abcdefg\n"), want(&["abc", "def", "g"], 8, Step::End));
}

#[test]
fn counted_frames_at_and_over_the_limit() {
    use OnOversize::{Close, Split};
    let case = |max, mode, input: &str| outcome(Framing::OctetCounted, max, mode, input.as_bytes());
    let want = |messages: &[&str], consumed, end| {
        (messages.iter().map(ToString::to_string).collect::<Vec<_>>(), consumed, end)
    };
    assert_eq!(case(64, Close, "11 hello world0 1 x"), want(&["hello world", "", "x"], 19, Step::End));
    assert_eq!(case(3, Close, "3 abc4 abcd"), want(&["abc"], 5, Step::Oversize));
    assert_eq!(case(3, Split, "7 abcdefg6 abcdef"), want(&["abc", "def", "g", "abc", "def"], 17, Step::End));
    assert_eq!(case(3, Split, "9999999999 abcd"), want(&["abc"], 14, Step::Incomplete));
    assert_eq!(case(3, Split, "6 abc"), want(&["abc"], 5, Step::Incomplete));
    for broken in ["01 x", "00 ", " x", "x", "1x", "12345678901", "-1 "] {
        assert!(matches!(case(3, Split, broken), (_, 0, Step::Malformed(_))), "{broken}");
    }
    for cut in ["1", "0", "9999999999", "5 hel"] {
        assert_eq!(case(9, Close, cut), want(&[], 0, Step::Incomplete), "{cut}");
    }
}

#[test]
fn scanning_is_linear_a_byte_at_a_time() {
    let input = [&vec![b'x'; 1 << 16][..], b"\n"].concat();
    for framing in FRAMINGS {
        SCANNED.set(0);
        let got = decode(Decoder::new(framing, 1 << 16, OnOversize::Split), &input, &[]);
        assert!(SCANNED.get() <= input.len() + got.messages.len(), "{framing:?}: {} bytes scanned", SCANNED.get());
    }
    assert!(size_of::<Decoder>() <= 32);
}

#[test]
fn a_broken_connection_is_in_mid_message_only_inside_one() {
    let mut decoder = Decoder::new(Framing::OctetCounted, 3, OnOversize::Split);
    assert!(!decoder.is_mid_message(b""));
    assert_eq!(decoder.next(b"5 abc"), Step::Message { body: 2..5, consumed: 5 });
    assert!(decoder.is_mid_message(b""));
    assert_eq!(decoder.next(b"de"), Step::Message { body: 0..2, consumed: 2 });
    assert!(!decoder.is_mid_message(b""));
}
