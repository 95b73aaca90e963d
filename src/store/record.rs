//! Station 3/7, record: the message becomes the final bytes of the file.
//!
//! N workers format in parallel; the writer only moves bytes. What does not change is formatted ahead: the time once per
//! event-loop turn ([`Stamp`]), peer and connection once per connection ([`Source`]). Must never read a clock, allocate for
//! a message (beyond the growth of `out`), or write an LF inside a `text` or `jsonl` record.
use super::escape;
use crate::config::Format;

pub use super::stamp::Stamp;

/// The longest `peer` of a [`Source`] in bytes: an IPv6 address with scope and port has at most 64.
pub const PEER_MAX: usize = 128;
/// The longest `connection` of a [`Source`] in bytes.
pub const CONNECTION_MAX: usize = 40;

/// The longest `subject` of a [`Source`] in bytes.
pub const SUBJECT_MAX: usize = 256;

/// Digits of `u64::MAX`.
const NUMBER_MAX: usize = 20;
/// What stands before the time in `jsonl`.
const JSONL_HEAD: &[u8] = br#"{"time":""#;

/// What is the same in every record of a connection, formatted once at accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source(Box<[u8]>);

impl Source {
    /// Of a client without a certificate: see [`named`](Self::named).
    pub fn new(format: Format, peer: &str, connection: &str) -> Self {
        Self::named(format, peer, None, connection)
    }

    /// `peer`: printable, without a space, at most [`PEER_MAX`] bytes. `subject`: of the client's certificate, at most
    /// [`SUBJECT_MAX`] bytes; only `jsonl` shows it. `connection`: ASCII letters and digits, at most [`CONNECTION_MAX`]. The
    /// format must be the one later given to [`append`].
    pub fn named(format: Format, peer: &str, subject: Option<&str>, connection: &str) -> Self {
        debug_assert!(!peer.is_empty() && peer.len() <= PEER_MAX && peer.bytes().all(|byte| byte.is_ascii_graphic()));
        debug_assert!(!connection.is_empty() && connection.len() <= CONNECTION_MAX);
        debug_assert!(connection.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let mut bytes = Vec::new();
        match format {
            Format::Text => {
                for part in [" ", peer, " ", connection, "-"] {
                    bytes.extend_from_slice(part.as_bytes());
                }
            }
            Format::Jsonl => {
                bytes.extend_from_slice(br#"","peer":""#);
                escape::append_json(&mut bytes, peer);
                if let Some(subject) = subject {
                    bytes.extend_from_slice(br#"","subject":""#);
                    escape::append_json(&mut bytes, subject);
                }
                bytes.extend_from_slice(br#"","connection":""#);
                escape::append_json(&mut bytes, connection);
                bytes.extend_from_slice(br#"","n":"#);
            }
            Format::Raw => {}
        }
        Self(bytes.into_boxed_slice())
    }
}

/// Appends one whole record, its LF included. `n`: which message of its connection this is, from 1. In `raw` the message must
/// be without LF, which only `line` framing promises.
pub fn append(out: &mut Vec<u8>, format: Format, stamp: &Stamp, source: &Source, n: u64, message: &[u8]) {
    append_head(out, format, stamp, source, n);
    append_rest(out, format, message);
}

/// What stands before the message, up to the number.
fn append_head(out: &mut Vec<u8>, format: Format, stamp: &Stamp, source: &Source, n: u64) {
    match format {
        Format::Text => out.reserve(Stamp::LEN + source.0.len() + NUMBER_MAX),
        Format::Jsonl => out.extend_from_slice(JSONL_HEAD),
        Format::Raw => return,
    }
    out.extend_from_slice(stamp.as_bytes());
    out.extend_from_slice(&source.0);
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// The message, and what stands around it behind the number.
fn append_rest(out: &mut Vec<u8>, format: Format, message: &[u8]) {
    out.reserve(message.len() + 2);
    match format {
        Format::Text => {
            out.push(b' ');
            escape::append_text(out, message);
            out.push(b'\n');
        }
        Format::Jsonl => append_jsonl_message(out, message),
        Format::Raw => {
            out.extend_from_slice(message);
            out.push(b'\n');
        }
    }
}

/// The head of a connection's next record: only the number and the time change from one to the next, and are changed in
/// place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    format: Format,
    bytes: Vec<u8>,
    /// Where the number begins.
    number: usize,
}

impl Head {
    /// Of a client that is not known yet: no record can have it.
    pub const fn unknown() -> Self {
        Self { format: Format::Raw, bytes: Vec::new(), number: 0 }
    }

    /// Before the first record.
    pub fn new(format: Format, source: &Source) -> Self {
        let mut bytes = Vec::with_capacity(JSONL_HEAD.len() + Stamp::LEN + source.0.len() + NUMBER_MAX);
        append_head(&mut bytes, format, &Stamp::new(0), source, 0);
        let number = bytes.len().saturating_sub(1);
        Self { format, bytes, number }
    }

    /// The time of the records to come.
    pub fn stamp(&mut self, stamp: &Stamp) {
        let at = match self.format {
            Format::Text => 0,
            Format::Jsonl => JSONL_HEAD.len(),
            Format::Raw => return,
        };
        self.bytes[at..at + Stamp::LEN].copy_from_slice(stamp.as_bytes());
    }

    /// Appends the next record: what [`append`] would write.
    pub fn append(&mut self, out: &mut Vec<u8>, message: &[u8]) {
        if self.format != Format::Raw {
            self.count();
        }
        out.extend_from_slice(&self.bytes);
        append_rest(out, self.format, message);
    }

    /// Adds one to the number, as one does by hand.
    fn count(&mut self) {
        for digit in self.bytes[self.number..].iter_mut().rev() {
            if *digit != b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
        self.bytes.insert(self.number, b'1');
    }
}

fn append_jsonl_message(out: &mut Vec<u8>, message: &[u8]) {
    match std::str::from_utf8(message) {
        Ok(text) => {
            out.extend_from_slice(br#","message":""#);
            escape::append_json(out, text);
        }
        Err(_) => {
            out.extend_from_slice(br#","message_base64":""#);
            escape::append_base64(out, message);
        }
    }
    out.extend_from_slice(b"\"}\n");
}

/// Upper bound of one record's bytes for a message of at most `max_message` bytes (the frame and staging limits are computed
/// from it).
pub const fn max_len(format: Format, max_message: usize) -> usize {
    const FIXED: usize = Stamp::LEN + PEER_MAX + CONNECTION_MAX + NUMBER_MAX;
    match format {
        // Four spaces and dashes, and LF; each byte may become `\xNN`.
        Format::Text => FIXED + 5 + 4 * max_message,
        // A control byte becomes `\u00NN`; base64 (4 for 3, and padding) stays below that from the second byte on.
        Format::Jsonl => {
            FIXED
                + 6 * SUBJECT_MAX
                + br#"{"time":"","peer":"","subject":"","connection":"","n":,"message_base64":""}"#.len()
                + 1
                + 4
                + 6 * max_message
        }
        Format::Raw => max_message + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MICROS: i64 = 1_795_336_920_123_456;

    fn record(format: Format, peer: &str, n: u64, message: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        append(&mut out, format, &Stamp::new(MICROS), &Source::new(format, peer, "01JD9Z0Q4X"), n, message);
        out.split_off(6)
    }

    #[test]
    fn text_is_the_design_s_example() {
        let expected = "2026-11-22T08:42:00.123456Z 127.0.0.1:53210 01JD9Z0Q4X-17 hello world\n";
        assert_eq!(record(Format::Text, "127.0.0.1:53210", 17, b"hello world"), expected.as_bytes());
        let expected = "2026-11-22T08:42:00.123456Z [::1]:5 01JD9Z0Q4X-18446744073709551615 \n";
        assert_eq!(record(Format::Text, "[::1]:5", u64::MAX, b""), expected.as_bytes());
    }

    #[test]
    fn jsonl_has_fixed_keys_in_fixed_order() {
        let expected = r#"{"time":"2026-11-22T08:42:00.123456Z","peer":"127.0.0.1:53210","connection":"01JD9Z0Q4X","n":17,"message":"a \"b\""}"#;
        assert_eq!(record(Format::Jsonl, "127.0.0.1:53210", 17, b"a \"b\""), format!("{expected}\n").as_bytes());
        let expected = r#"{"time":"2026-11-22T08:42:00.123456Z","peer":"[::1]:5","connection":"01JD9Z0Q4X","n":1,"message_base64":"/wA="}"#;
        assert_eq!(record(Format::Jsonl, "[::1]:5", 1, b"\xff\0"), format!("{expected}\n").as_bytes());
    }

    #[test]
    fn a_head_writes_what_append_writes() {
        for format in [Format::Text, Format::Jsonl, Format::Raw] {
            let source = Source::new(format, "[::1]:5", "c1");
            let mut head = Head::new(format, &source);
            for n in 1..2010 {
                let (stamp, message) = (Stamp::new(MICROS + (n / 7) as i64), n.to_string());
                head.stamp(&stamp);
                let [mut one, mut other] = [Vec::new(), Vec::new()];
                head.append(&mut one, message.as_bytes());
                append(&mut other, format, &stamp, &source, n, message.as_bytes());
                assert_eq!(one, other);
            }
        }
    }

    #[test]
    fn raw_is_the_message() {
        assert_eq!(record(Format::Raw, "[::1]:5", 1, b"a\0\\\xff"), b"a\0\\\xff\n");
    }

    proptest! {
        #[test]
        fn a_record_is_one_line_within_its_bound(
            message in prop_oneof![any::<Vec<u8>>(), "\\PC*".prop_map(String::into_bytes), "[\\x00-\\x1f]*".prop_map(String::into_bytes)],
            n in 1..=u64::MAX,
        ) {
            let peer = "[fe80:1111:2222:3333:4444:5555:6666:7777%4294967295]:65535";
            for format in [Format::Text, Format::Jsonl] {
                let record = record(format, peer, n, &message);
                prop_assert!(record.len() <= max_len(format, message.len()));
                prop_assert_eq!(memchr::memchr(b'\n', &record), Some(record.len() - 1));
            }
        }

        #[test]
        fn jsonl_is_json_with_the_same_bytes(message in prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)]) {
            let value: serde_json::Value = serde_json::from_slice(&record(Format::Jsonl, "127.0.0.1:1", 3, &message)).unwrap();
            let stored = match value["message"].as_str() {
                Some(text) => text.as_bytes().to_vec(),
                None => escape::decode_base64(value["message_base64"].as_str().unwrap()).unwrap(),
            };
            prop_assert_eq!(stored, message);
            prop_assert_eq!(value.as_object().unwrap().len(), 5);
        }
    }

    #[test]
    fn the_bound_is_reached_by_the_worst_and_no_more() {
        for (format, slack) in [(Format::Text, 0), (Format::Jsonl, 16)] {
            let subject = "\0".repeat(SUBJECT_MAX);
            let source = Source::named(format, &"1".repeat(PEER_MAX), Some(&subject), &"A".repeat(CONNECTION_MAX));
            let mut out = Vec::new();
            append(&mut out, format, &Stamp::new(0), &source, u64::MAX, &[0; 100]);
            assert!((out.len()..=out.len() + slack).contains(&max_len(format, 100)), "{format:?}");
        }
        assert_eq!(max_len(Format::Raw, 100), 101);
    }
}
