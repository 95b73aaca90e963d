//! Records: what is written is read back, and what is read is what is written.
use super::{Input, is_harmless};
use crate::config::Format;
use crate::store::escape;
use crate::store::parse::{self, Parser, Record, parse};
use crate::store::record::{self, Head, Source, Stamp};

const FORMATS: [Format; 3] = [Format::Text, Format::Jsonl, Format::Raw];
const PEERS: [&str; 5] = [
    "127.0.0.1:53210",
    "[::1]:5",
    "unix:0:0",
    "unix:4194304:65534",
    "[fe80:1111:2222:3333:4444:5555:6666:7777%4294967295]:65535",
];

fn rendered(format: Format, record: &Record<'_>, stamp: &Stamp) -> Vec<u8> {
    let mut bytes = Vec::new();
    let source = Source::named(format, record.peer, record.subject.as_deref(), record.connection);
    record::append(&mut bytes, format, stamp, &source, record.n, &record.message);
    bytes
}

/// Any message from any peer, in every format and back.
pub fn record(data: &[u8]) {
    let mut input = Input(data);
    let peer = PEERS[usize::from(input.byte()) % PEERS.len()];
    let stamp = Stamp::new(input.word().cast_signed());
    let n = input.word().max(1);
    let named = input.byte();
    let subject = String::from_utf8_lossy(input.take(usize::from(named) % 80)).into_owned();
    let subject = (named & 1 == 1 && subject.len() <= record::SUBJECT_MAX).then_some(&*subject);
    let message = input.rest();
    for format in FORMATS {
        // Only the framing `line` may be stored as `raw`.
        if format == Format::Raw && message.contains(&b'\n') {
            continue;
        }
        let source = Source::named(format, peer, subject, "01JD9Z0Q4X");
        let mut bytes = Vec::new();
        record::append(&mut bytes, format, &stamp, &source, n, message);
        assert!(bytes.len() <= record::max_len(format, message.len()), "longer than its bound");
        let Some((b'\n', line)) = bytes.split_last() else { panic!("no LF at the end") };
        assert!(!line.contains(&b'\n'), "a record of two lines");
        let read = parse(format, line);
        let Ok(read) = read else { panic!("{format:?}: not read back: {read:?}") };
        assert_eq!(read.message, message);
        assert_eq!(read.subject.as_deref(), subject.filter(|_| format == Format::Jsonl));
        if format != Format::Raw {
            let Ok(text) = std::str::from_utf8(line) else { panic!("a record that is not UTF-8") };
            assert!(is_harmless(text), "a terminal would be attacked");
            assert_eq!(
                (read.time.as_bytes(), read.peer, read.connection, read.n),
                (stamp.as_bytes(), peer, "01JD9Z0Q4X", n)
            );
            // Bytes that clients chose must not make the file look like one of another format.
            assert_eq!(parse::detect(line), format);
        }
    }
    same_as_head(peer, &stamp, message);
}

/// What is changed in place from record to record is what is formatted anew.
fn same_as_head(peer: &str, stamp: &Stamp, message: &[u8]) {
    for format in FORMATS {
        let source = Source::new(format, peer, "c");
        let mut head = Head::new(format, &source);
        for n in 1..=2 {
            let [mut one, mut other] = [Vec::new(), Vec::new()];
            head.stamp(stamp);
            head.append(&mut one, message);
            record::append(&mut other, format, stamp, &source, n, message);
            assert_eq!(one, other);
        }
    }
}

/// Any lines: what is accepted is what is written, one after the other as each alone.
pub fn line(data: &[u8]) {
    let mut parsers = FORMATS.map(Parser::new);
    for line in data.split(|&byte| byte == b'\n') {
        parse::detect(line);
        for (format, parser) in FORMATS.into_iter().zip(&mut parsers) {
            let alone = parse(format, line);
            assert_eq!(parser.parse(line), alone, "what came before makes a difference");
            match alone {
                Ok(record) if format != Format::Raw => {
                    let Some(stamp) = Stamp::parse(record.time.as_bytes()) else { panic!("a time that is none") };
                    assert_eq!(rendered(format, &record, &stamp), [line, b"\n"].concat());
                }
                Ok(record) => assert_eq!(record.message, line),
                Err(malformed) => assert!(malformed.at <= line.len() && format != Format::Raw),
            }
        }
        if let Ok(message) = escape::unescape_text(line) {
            let mut again = Vec::new();
            escape::append_text(&mut again, &message);
            assert_eq!(again, line, "a second escaped form");
        }
    }
}
