//! Tests of `store::parse`.
use super::*;
use proptest::prelude::*;

const TEXT: &str = "2026-11-22T08:42:00.123456Z 127.0.0.1:53210 01JD9Z0Q4X-17 hello\\tworld";
const JSONL: &str = r#"{"time":"2026-11-22T08:42:00.123456Z","peer":"127.0.0.1:53210","connection":"01JD9Z0Q4X","n":17,"message":"hello world"}"#;

#[test]
fn fields_come_back() {
    let record = parse(Format::Text, TEXT.as_bytes()).unwrap();
    assert_eq!((record.time, record.peer), ("2026-11-22T08:42:00.123456Z", "127.0.0.1:53210"));
    assert_eq!((record.connection, record.n, &record.message[..]), ("01JD9Z0Q4X", 17, &b"hello\tworld"[..]));
    let record = parse(Format::Jsonl, JSONL.as_bytes()).unwrap();
    assert_eq!((record.connection, record.n), ("01JD9Z0Q4X", 17));
    assert!(matches!(record.message, Cow::Borrowed(b"hello world")));
    assert_eq!(&parse(Format::Raw, b"\xff \\").unwrap().message[..], b"\xff \\");
}

const BAD_TEXT: &[(&str, usize, &str)] = &[
    ("", 0, BAD_TIME),
    ("2026-11-22T08:42:00.123456Z", 27, BAD_TIME),
    ("2026-02-30T08:42:00.123456Z [::1]:5 A-1 x", 0, BAD_TIME),
    ("2026-11-22T08:42:00.123456Z  A-1 x", 28, BAD_PEER),
    ("2026-11-22T08:42:00.123456Z localhost:5 A-1 x", 28, BAD_PEER),
    ("2026-11-22T08:42:00.123456Z ::1:5 A-1 x", 28, BAD_PEER),
    ("2026-11-22T08:42:00.123456Z unix: A-1 x", 28, BAD_PEER),
    ("2026-11-22T08:42:00.123456Z unix:01 A-1 x", 28, BAD_PEER),
    ("2026-11-22T08:42:00.123456Z unix:-1 A-1 x", 28, BAD_PEER),
    ("2026-11-22T08:42:00.123456Z unix:2147483648 A-1 x", 28, BAD_PEER),
    ("2026-11-22T08:42:00.123456Z unix:5: A-1 x", 28, BAD_PEER),
    ("2026-11-22T08:42:00.123456Z unix:5:05 A-1 x", 28, BAD_PEER),
    ("2026-11-22T08:42:00.123456Z unix:5:4294967296 A-1 x", 28, BAD_PEER),
    ("2026-11-22T08:42:00.123456Z unix:5:5:5 A-1 x", 28, BAD_PEER),
    ("2026-11-22T08:42:00.123456Z [::1]:5 -1 x", 36, BAD_CONNECTION),
    ("2026-11-22T08:42:00.123456Z [::1]:5 A_-1 x", 36, BAD_CONNECTION),
    ("2026-11-22T08:42:00.123456Z [::1]:5 A 1 x", 36, BAD_CONNECTION),
    ("2026-11-22T08:42:00.123456Z [::1]:5 A-0 x", 38, BAD_NUMBER),
    ("2026-11-22T08:42:00.123456Z [::1]:5 A-01 x", 38, BAD_NUMBER),
    ("2026-11-22T08:42:00.123456Z [::1]:5 A-+1 x", 38, BAD_NUMBER),
    ("2026-11-22T08:42:00.123456Z [::1]:5 A-18446744073709551616 x", 38, BAD_NUMBER),
    ("2026-11-22T08:42:00.123456Z [::1]:5 A-1", 38, BAD_NUMBER),
    ("2026-11-22T08:42:00.123456Z [::1]:5 A-1 ok\\q", 42, "unknown escape"),
];

#[test]
fn malformed_text_with_the_byte() {
    for &(line, at, what) in BAD_TEXT {
        assert_eq!(parse(Format::Text, line.as_bytes()), Err(Malformed { at, what }), "{line}");
    }
    let endless = format!("2026-11-22T08:42:00.123456Z [::1]:{}5 A-1 x", "0".repeat(500));
    assert_eq!(parse(Format::Text, endless.as_bytes()), Err(Malformed { at: 28, what: BAD_PEER }));
    let endless = JSONL.replace(":53210", &format!(":{}5", "0".repeat(500)));
    assert_eq!(parse(Format::Jsonl, endless.as_bytes()), Err(Malformed { at: 46, what: BAD_PEER }));
    assert!(parse(Format::Text, b"2026-11-22T08:42:00.123456Z [::1]:5 A-1 ").unwrap().message.is_empty());
}

#[test]
fn malformed_jsonl() {
    let change = |from: &str, to: &str| JSONL.replacen(from, to, 1);
    for (line, at) in [
        (change("2026-11", "2026-13"), 9),
        (change("127.0.0.1", "127.0.0.x"), 46),
        (change("01JD", "01-D"), 77),
        (change(":17", ":0"), 93),
        (change(":17", ":017"), 94),
        (change(":17", ":-1"), 94),
        (change(",\"n\"", ", \"n\""), 89),
        (change("{\"time", "{ \"time"), 1),
        (change("hello", "h\\u0065llo"), 108),
        (change("\"n\":17,", ""), JSONL.len() - 7 - 1),
        (change("\"message\":\"hello world\"", "\"message_base64\":\"aGk=\""), 104), // is UTF-8
        (change("\"message\":\"hello world\"", "\"message_base64\":\"_w==\""), 114),
        (change("}", ",\"more\":1}"), JSONL.len() + 5),
        (format!("{JSONL}x"), JSONL.len()),
        (JSONL[..50].to_owned(), 49),
    ] {
        assert_eq!(parse(Format::Jsonl, line.as_bytes()).map_err(|bad| bad.at), Err(at), "{line}");
    }
}

#[test]
fn formats_are_told_apart() {
    assert_eq!(detect(TEXT.as_bytes()), Format::Text);
    assert_eq!(detect(JSONL.as_bytes()), Format::Jsonl);
    assert_eq!(detect(&JSONL.as_bytes()[..20]), Format::Jsonl);
    assert_eq!(detect(b"2026-11-22T08:42:00.123456Z a log line"), Format::Raw);
    assert_eq!(detect(b""), Format::Raw);
}

proptest! {
    #[test]
    fn what_is_appended_parses(message in any::<Vec<u8>>(), n in 1..=u64::MAX, micros in 0..4_000_000_000_000_000i64, peer in 0..5usize, subject in prop::option::of(".{0,64}")) {
        let peer = ["[2001:db8::1]:65535", "10.0.0.1:1", "unix:0", "unix:2147483647", "unix:7:4294967295"][peer];
        for format in [Format::Text, Format::Jsonl] {
            let (stamp, mut line) = (Stamp::new(micros), Vec::new());
            let source = Source::named(format, peer, subject.as_deref(), "Zz9");
            record::append(&mut line, format, &stamp, &source, n, &message);
            prop_assert_eq!(line.pop(), Some(b'\n'));
            let record = parse(format, &line).unwrap();
            prop_assert_eq!((record.time.as_bytes(), record.peer, record.connection), (stamp.as_bytes(), peer, "Zz9"));
            prop_assert_eq!((record.n, &record.message[..]), (n, &message[..]));
            let shown = if format == Format::Jsonl { subject.as_deref() } else { None };
            prop_assert_eq!(record.subject.as_deref(), shown);
            prop_assert_eq!(detect(&line), format);
        }
    }

    /// A changed line is refused, or it is the one form of another record: never a panic, never a second form.
    #[test]
    fn mutated_lines(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..4)) {
        for (format, good) in [(Format::Text, TEXT), (Format::Jsonl, JSONL)] {
            let mut line = good.as_bytes().to_vec();
            for (index, byte, edit) in &edits {
                let at = index.index(line.len());
                match edit {
                    0 => line[at] = *byte,
                    1 => line.insert(at, *byte),
                    _ => drop(line.remove(at)),
                }
            }
            match parse(format, &line) {
                Ok(record) => {
                    let (stamp, mut again) = (Stamp::parse(record.time.as_bytes()).unwrap(), Vec::new());
                    let source = Source::new(format, record.peer, record.connection);
                    record::append(&mut again, format, &stamp, &source, record.n, &record.message);
                    again.pop();
                    prop_assert_eq!(&again, &line);
                }
                Err(bad) => prop_assert!(bad.at <= line.len()),
            }
            detect(&line);
        }
    }

    #[test]
    fn random_lines(line in any::<Vec<u8>>()) {
        for format in [Format::Text, Format::Jsonl, Format::Raw] {
            if let Err(bad) = parse(format, &line) {
                prop_assert!(bad.at <= line.len());
            }
        }
    }
}
