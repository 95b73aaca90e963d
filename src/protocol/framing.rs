//! Station 2/7, frame: bytes become messages by `server.framing`.
//!
//! Promises: the messages, the bytes they consume and the end depend on the bytes alone, never on how they were split
//! into reads (but for `chunk`, where the read is the message). Each byte is looked at once. Never allocates, never
//! believes a claimed length beyond `max`, never panics on any input.
use std::ops::Range;

use memchr::memchr;

use crate::config::{Framing, OnOversize};

/// RFC 6587 §3.4.1 leaves the number of digits open; ten hold every length that a 32-bit one can.
const MAX_DIGITS: usize = 10;
const PREFIX: usize = 4;

/// What the bytes at hand amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One message: `body` is what to store, the first `consumed` bytes of the input are what to echo and drop.
    Message { body: Range<usize>, consumed: usize },
    /// Nothing yet: call again when more bytes have come. Never said by [`Decoder::finish`].
    More,
    /// The message that begins here is longer than `max`, and `on-oversize` is `close`. Said again if asked again.
    Oversize,
    /// The framing is broken here, for this reason. Said again if asked again.
    Malformed(&'static str),
    /// Only from [`Decoder::finish`]: the stream ended inside a frame; the fragment is not to be stored.
    Incomplete,
    /// Only from [`Decoder::finish`]: the stream ended between two messages.
    End,
}

/// An incremental decoder: one per connection, 32 bytes.
#[derive(Clone, Debug)]
pub struct Decoder {
    max: usize,
    /// Delimited framings: so many bytes of the input hold no delimiter.
    scanned: usize,
    /// Counted framings: bytes of the current frame's body that no message has taken yet.
    left: u64,
    /// Counted framings: length of the current frame's header; 0 once a part has consumed it, or before it is whole.
    header: u8,
    framing: Framing,
    on_oversize: OnOversize,
}

impl Decoder {
    /// `max`: the longest body in bytes, at least 1 (0 counts as 1).
    #[must_use]
    pub fn new(framing: Framing, max: usize, on_oversize: OnOversize) -> Self {
        let max = max.clamp(1, u32::MAX as usize);
        Self {
            max,
            scanned: 0,
            left: 0,
            header: 0,
            framing,
            on_oversize,
        }
    }

    /// So many unconsumed bytes always suffice for an answer other than [`Step::More`]: the size of an input buffer.
    #[must_use]
    pub fn enough(&self) -> usize {
        self.max
            + match self.framing {
                Framing::Line => 2,
                Framing::Nul => 1,
                Framing::OctetCounted => MAX_DIGITS + 1,
                Framing::LengthPrefixed => PREFIX,
                Framing::Chunk => 0,
            }
    }

    /// Whether a connection that breaks now, with `rest` not consumed, breaks in mid-message.
    #[must_use]
    pub fn is_mid_message(&self, rest: &[u8]) -> bool {
        !rest.is_empty() || self.header > 0 || self.left > 0
    }

    /// Decodes the next message. `input` is all that was received and not consumed; it begins at the first such byte,
    /// and between two calls it may only lose what was consumed at its front and grow at its end.
    /// `chunk`: all of `input`, up to `max`, is one message, so call this after every read.
    pub fn next(&mut self, input: &[u8]) -> Step {
        match self.framing {
            Framing::Line => self.delimited(input, b'\n'),
            Framing::Nul => self.delimited(input, 0),
            Framing::OctetCounted => self.counted(input, octet_count),
            Framing::LengthPrefixed => self.counted(input, length_prefix),
            Framing::Chunk if input.is_empty() => Step::More,
            Framing::Chunk => whole(input.len().min(self.max)),
        }
    }

    /// After EOF: what the rest means. Call until it says something other than [`Step::Message`].
    pub fn finish(&mut self, input: &[u8]) -> Step {
        match (self.next(input), self.framing) {
            (Step::More, _) if !self.is_mid_message(input) => Step::End,
            (Step::More, Framing::OctetCounted | Framing::LengthPrefixed) => Step::Incomplete,
            // A CR that still waited for its LF: now it is content, and one byte too many.
            (Step::More, _) if input.len() > self.max => self.oversize(),
            (Step::More, _) => {
                self.scanned = 0;
                whole(input.len())
            }
            (step, _) => step,
        }
    }

    fn delimited(&mut self, input: &[u8], delimiter: u8) -> Step {
        // A delimiter beyond `max` cannot make a message of at most `max` bytes (CRLF apart, below).
        let window = &input[..input.len().min(self.max + 1)];
        if let Some(at) = find(delimiter, window.get(self.scanned..).unwrap_or_default()) {
            let end = self.scanned + at;
            self.scanned = 0;
            let crlf = self.framing == Framing::Line && end > 0 && input[end - 1] == b'\r';
            return Step::Message {
                body: 0..end - usize::from(crlf),
                consumed: end + 1,
            };
        }
        self.scanned = window.len();
        if window.len() <= self.max {
            return Step::More;
        }
        if self.framing == Framing::Line && input[self.max] == b'\r' {
            match input.get(self.max + 1) {
                None => return Step::More,
                Some(b'\n') => {
                    self.scanned = 0;
                    return Step::Message {
                        body: 0..self.max,
                        consumed: self.max + 2,
                    };
                }
                Some(_) => {}
            }
        }
        self.oversize()
    }

    fn counted(&mut self, input: &[u8], parse: fn(&[u8]) -> Header) -> Step {
        if self.header == 0 && self.left == 0 {
            match parse(input) {
                Header::Whole { header, length } => (self.header, self.left) = (header, length),
                Header::More => return Step::More,
                Header::Malformed(reason) => return Step::Malformed(reason),
            }
        }
        let header = usize::from(self.header);
        let max = self.max as u64;
        // Close decides when the header is whole: a part is never at hand in this mode, so `left` is the claimed length.
        if self.left > max && self.on_oversize == OnOversize::Close {
            return Step::Oversize;
        }
        let part = usize::try_from(self.left.min(max)).unwrap_or(self.max);
        if input.len() < header + part {
            return Step::More;
        }
        self.header = 0;
        self.left -= part as u64;
        Step::Message {
            body: header..header + part,
            consumed: header + part,
        }
    }

    /// The bytes at hand hold more than `max` bytes of body, for certain.
    fn oversize(&mut self) -> Step {
        match self.on_oversize {
            OnOversize::Close => Step::Oversize,
            OnOversize::Split => {
                self.scanned = 0;
                whole(self.max)
            }
        }
    }
}

fn whole(length: usize) -> Step {
    Step::Message {
        body: 0..length,
        consumed: length,
    }
}

fn find(needle: u8, haystack: &[u8]) -> Option<usize> {
    #[cfg(test)]
    tests::SCANNED.with(|total| total.set(total.get() + haystack.len()));
    memchr(needle, haystack)
}

enum Header {
    Whole { header: u8, length: u64 },
    More,
    Malformed(&'static str),
}

/// RFC 6587 §3.4.1 `MSG-LEN SP`, with `0 ` for an empty message.
fn octet_count(input: &[u8]) -> Header {
    let mut length = 0u64;
    for (digits, &byte) in (0u8..).zip(input.iter().take(MAX_DIGITS + 1)) {
        match byte {
            b' ' if digits > 0 => {
                return Header::Whole {
                    header: digits + 1,
                    length,
                };
            }
            b'0'..=b'9' if usize::from(digits) == MAX_DIGITS => {
                return Header::Malformed("the length has more than 10 digits");
            }
            b'0'..=b'9' if digits > 0 && length == 0 => {
                return Header::Malformed("the length begins with 0");
            }
            b'0'..=b'9' => length = length * 10 + u64::from(byte - b'0'),
            _ if digits == 0 => {
                return Header::Malformed("a frame must begin with its length in decimal digits");
            }
            _ => return Header::Malformed("the length must be followed by one space"),
        }
    }
    Header::More
}

/// A 32-bit big-endian length.
fn length_prefix(input: &[u8]) -> Header {
    match input.first_chunk::<PREFIX>() {
        Some(bytes) => Header::Whole {
            header: PREFIX as u8,
            length: u64::from(u32::from_be_bytes(*bytes)),
        },
        None => Header::More,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    thread_local! {
        /// Bytes that `find` was given, the measure of scanning work.
        pub static SCANNED: Cell<usize> = const { Cell::new(0) };
    }

    const FRAMINGS: [Framing; 4] = [
        Framing::Line,
        Framing::Nul,
        Framing::OctetCounted,
        Framing::LengthPrefixed,
    ];
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
            match if eof {
                decoder.finish(pending)
            } else {
                decoder.next(pending)
            } {
                Step::Message {
                    body,
                    consumed: taken,
                } => {
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
                    return Outcome {
                        messages,
                        consumed,
                        end,
                    };
                }
            }
        }
    }

    fn outcome(
        framing: Framing,
        max: usize,
        mode: OnOversize,
        input: &[u8],
    ) -> (Vec<String>, usize, Step) {
        let all = decode(Decoder::new(framing, max, mode), input, &[input.len()]);
        let one = decode(Decoder::new(framing, max, mode), input, &[]);
        assert_eq!(all, one);
        (
            all.messages
                .into_iter()
                .map(|m| String::from_utf8(m).unwrap())
                .collect(),
            all.consumed,
            all.end,
        )
    }

    /// The same rules over the whole input at once: cut into frames, then look at each body.
    fn reference(framing: Framing, max: usize, mode: OnOversize, input: &[u8]) -> Outcome {
        let mut result = Outcome {
            messages: Vec::new(),
            consumed: 0,
            end: Step::End,
        };
        while result.consumed < input.len() {
            let rest = &input[result.consumed..];
            let (body, length, whole) = match framing {
                Framing::Line | Framing::Nul => {
                    let delimiter = if framing == Framing::Line { b'\n' } else { 0 };
                    let line = rest.split_inclusive(|&b| b == delimiter).next().unwrap();
                    let body = match line.strip_suffix(&[delimiter]) {
                        Some(body) if framing == Framing::Line => {
                            body.strip_suffix(b"\r").unwrap_or(body)
                        }
                        Some(body) => body,
                        None => line,
                    };
                    (body, body.len(), line.len())
                }
                _ => {
                    let (header, length) = if framing == Framing::LengthPrefixed {
                        if rest.len() < 4 {
                            result.end = Step::Incomplete;
                            return result;
                        }
                        (
                            4,
                            rest[..4]
                                .iter()
                                .fold(0, |sum, &b| sum * 256 + usize::from(b)),
                        )
                    } else {
                        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                        let text = std::str::from_utf8(&rest[..digits]).unwrap();
                        let after = rest.get(digits);
                        if digits > 10
                            || (digits > 1 && text.starts_with('0'))
                            || after.is_some_and(|&b| b != b' ' || digits == 0)
                        {
                            result.end = Step::Malformed("");
                            return result;
                        }
                        if after.is_none() {
                            result.end = Step::Incomplete;
                            return result;
                        }
                        (digits + 1, text.parse().unwrap())
                    };
                    (
                        &rest[header..rest.len().min(header + length)],
                        length,
                        header + length,
                    )
                }
            };
            if length > max && mode == OnOversize::Close {
                result.end = Step::Oversize;
                return result;
            }
            if body.len() < length {
                let parts = body.chunks_exact(max);
                let cut = if length > max {
                    body.len() - parts.remainder().len()
                } else {
                    0
                };
                if cut > 0 {
                    result.messages.extend(parts.map(<[u8]>::to_vec));
                    result.consumed += whole - length + cut;
                }
                result.end = Step::Incomplete;
                return result;
            }
            result.messages.extend(body.chunks(max).map(<[u8]>::to_vec));
            if body.is_empty() {
                result.messages.push(Vec::new());
            }
            result.consumed += whole;
        }
        result
    }

    fn encode(framing: Framing, message: &[u8], out: &mut Vec<u8>) {
        match framing {
            Framing::OctetCounted => out.extend(format!("{} ", message.len()).as_bytes()),
            Framing::LengthPrefixed => {
                out.extend(u32::try_from(message.len()).unwrap().to_be_bytes())
            }
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
        (
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..24), 0..6),
            rich_bytes(),
            any::<bool>(),
        )
            .prop_map(move |(messages, noise, noisy)| {
                let mut bytes = Vec::new();
                messages.iter().for_each(|m| encode(framing, m, &mut bytes));
                bytes.extend(if noisy {
                    noise
                } else {
                    noise.into_iter().take(3).collect()
                });
                bytes
            })
    }

    fn inputs() -> impl Strategy<Value = (Framing, Vec<u8>)> {
        prop::sample::select(&FRAMINGS[..]).prop_flat_map(|framing| {
            (
                Just(framing),
                prop_oneof![rich_bytes(), rich_frames(framing)],
            )
        })
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
            (
                messages.iter().map(ToString::to_string).collect::<Vec<_>>(),
                consumed,
                end,
            )
        };
        assert_eq!(
            case(3, Close, "abc\r\nabc\n\n\r\nx"),
            want(&["abc", "abc", "", "", "x"], 13, Step::End)
        );
        assert_eq!(
            case(3, Close, "ab\nabcd\n"),
            want(&["ab"], 3, Step::Oversize)
        );
        assert_eq!(case(3, Close, "abc\rd\n"), want(&[], 0, Step::Oversize));
        assert_eq!(case(3, Close, "abc\r"), want(&[], 0, Step::Oversize));
        assert_eq!(case(4, Close, "a\rb\r"), want(&["a\rb\r"], 4, Step::End));
        assert_eq!(case(3, Split, "abc\r"), want(&["abc", "\r"], 4, Step::End));
        assert_eq!(
            case(3, Split, "abcdef\r\nabc\n"),
            want(&["abc", "def", "abc"], 12, Step::End)
        );
        assert_eq!(
            case(3, Split, "abcdefg\n"),
            want(&["abc", "def", "g"], 8, Step::End)
        );
    }

    #[test]
    fn counted_frames_at_and_over_the_limit() {
        use OnOversize::{Close, Split};
        let case =
            |max, mode, input: &str| outcome(Framing::OctetCounted, max, mode, input.as_bytes());
        let want = |messages: &[&str], consumed, end| {
            (
                messages.iter().map(ToString::to_string).collect::<Vec<_>>(),
                consumed,
                end,
            )
        };
        assert_eq!(
            case(64, Close, "11 hello world0 1 x"),
            want(&["hello world", "", "x"], 19, Step::End)
        );
        assert_eq!(
            case(3, Close, "3 abc4 abcd"),
            want(&["abc"], 5, Step::Oversize)
        );
        assert_eq!(
            case(3, Split, "7 abcdefg6 abcdef"),
            want(&["abc", "def", "g", "abc", "def"], 17, Step::End)
        );
        assert_eq!(
            case(3, Split, "9999999999 abcd"),
            want(&["abc"], 14, Step::Incomplete)
        );
        assert_eq!(case(3, Split, "6 abc"), want(&["abc"], 5, Step::Incomplete));
        for broken in ["01 x", "00 ", " x", "x", "1x", "12345678901", "-1 "] {
            assert!(
                matches!(case(3, Split, broken), (_, 0, Step::Malformed(_))),
                "{broken}"
            );
        }
        for cut in ["1", "0", "9999999999", "5 hel"] {
            assert_eq!(case(9, Close, cut), want(&[], 0, Step::Incomplete), "{cut}");
        }
    }

    #[test]
    fn scanning_is_linear_a_byte_at_a_time() {
        let input = [&vec![b'x'; 1 << 20][..], b"\n"].concat();
        for framing in FRAMINGS {
            SCANNED.set(0);
            let got = decode(
                Decoder::new(framing, 1 << 20, OnOversize::Split),
                &input,
                &[],
            );
            assert!(
                SCANNED.get() <= input.len() + got.messages.len(),
                "{framing:?}: {} bytes scanned",
                SCANNED.get()
            );
        }
        assert!(size_of::<Decoder>() <= 32);
    }

    #[test]
    fn a_broken_connection_is_in_mid_message_only_inside_one() {
        let mut decoder = Decoder::new(Framing::OctetCounted, 3, OnOversize::Split);
        assert!(!decoder.is_mid_message(b""));
        assert_eq!(
            decoder.next(b"5 abc"),
            Step::Message {
                body: 2..5,
                consumed: 5
            }
        );
        assert!(decoder.is_mid_message(b""));
        assert_eq!(
            decoder.next(b"de"),
            Step::Message {
                body: 0..2,
                consumed: 2
            }
        );
        assert!(!decoder.is_mid_message(b""));
    }
}
