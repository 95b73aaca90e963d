//! Tests of `store::escape`.
use super::*;
use proptest::prelude::*;

fn text(message: &[u8]) -> String {
    let mut out = Vec::new();
    append_text(&mut out, message);
    String::from_utf8(out).unwrap()
}

fn json(message: &str) -> String {
    let mut out = Vec::new();
    append_json(&mut out, message);
    String::from_utf8(out).unwrap()
}

fn dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[test]
fn text_forms() {
    for (message, expected) in [
        (&b""[..], ""),
        (b"hello world", "hello world"),
        (b" ~\"'", " ~\"'"),
        (b"a\\b\tc\rd\ne", r"a\\b\tc\rd\ne"),
        (b"\0\x1b[31m\x7f", r"\x00\x1b[31m\x7f"),
        ("Grüße, 世界 🙂".as_bytes(), "Grüße, 世界 🙂"),
        ("\u{80}\u{9f}\u{a0}".as_bytes(), "\\xc2\\x80\\xc2\\x9f\u{a0}"),
        (
            "\u{61c}\u{200e}\u{202e}\u{2066}\u{2069}\u{206a}".as_bytes(),
            "\\xd8\\x9c\\xe2\\x80\\x8e\\xe2\\x80\\xae\\xe2\\x81\\xa6\\xe2\\x81\\xa9\u{206a}",
        ),
        (b"\xff\xc3\xa9\xc3", "\\xff\u{e9}\\xc3"),
        (b"\xe2\x80", r"\xe2\x80"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"), // a surrogate is not UTF-8
        (b"0123456789abcdef\n0123456789abcdef", r"0123456789abcdef\n0123456789abcdef"),
    ] {
        assert_eq!(text(message), expected);
        assert_eq!(unescape_text(expected.as_bytes()).as_deref(), Ok(message));
    }
}

#[test]
fn each_character_is_escaped_exactly_where_it_is_dangerous() {
    for c in '\0'..=char::MAX {
        let own = c.to_string();
        assert_eq!(text(own.as_bytes()) != own, dangerous(c) || c == '\\', "U+{:04X}", u32::from(c));
        assert_eq!(json(&own) != own, dangerous(c) || c == '\\' || c == '"', "U+{:04X}", u32::from(c));
    }
}

#[test]
fn refused_with_the_byte() {
    for (escaped, at) in [
        (&b"ab\\"[..], 2),
        (b"ab\\q", 2),
        (b"\\x4", 0),
        (b"ok\\x0G", 2),
        (b"ok\\x1B", 2), // upper case
        (b"ok\\x41", 2), // 'A' needs no escape
        (b"ok\\x5c", 3), // the one form of '\' is `\\`: the second byte differs
        (b"ok\\x0a", 3),
        (b"ok\\xc3\\xa9", 2), // a whole valid character needs no escape
        (b"ok\xc3\\xa9", 3),  // the same, half escaped
        (b"a\tb", 1),
        (b"a\x7f", 1),
        (b"a\xff", 1),
        (b"a\xc2\x9b31m", 1),
        (b"a\xe2\x80\xae", 1),
    ] {
        assert_eq!(unescape_text(escaped).map_err(|bad| bad.at), Err(at), "{}", escaped.escape_ascii());
    }
}

#[test]
fn json_forms() {
    assert_eq!(json("plain"), "plain");
    assert_eq!(json("a\"b\\c/\n\u{7f}\u{9b}\u{202e}é"), "a\\\"b\\\\c/\\u000a\\u007f\\u009b\\u202eé");
}

/// Bytes with many of the borders in them: random ones alone seldom hold a control in valid UTF-8.
pub fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<Vec<u8>>(),
        ".*".prop_map(String::into_bytes),
        "[ -~]{0,40}".prop_map(String::into_bytes),
        "[\\\\\"xtrn0-9a-f\\x00-\\x1f\\x7f-\\u{a0}\\u{61c}\\u{2008}-\\u{2070}]{0,6}".prop_map(String::into_bytes),
        prop::collection::vec(prop::sample::select(&b"\xc2\x80\x9f\xd8\x9c\xe2\x81\xa6\xed\xf0\\x"[..]), 0..6),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_message_round_trips(message in any_message()) {
        let escaped = text(&message);
        prop_assert!(!escaped.chars().any(dangerous));
        prop_assert!(escaped.len() <= 4 * message.len());
        let back = unescape_text(escaped.as_bytes());
        prop_assert_eq!(back.as_deref(), Ok(&message[..]));
    }

    #[test]
    fn what_is_accepted_is_the_one_form(escaped in any_message()) {
        match unescape_text(&escaped) {
            Ok(message) => prop_assert_eq!(text(&message).into_bytes(), escaped),
            Err(bad) => prop_assert!(bad.at <= escaped.len()),
        }
    }

    #[test]
    fn json_is_what_serde_reads(message in ".*|[\\x00-\\u{a0}\\u{61c}\\u{2008}-\\u{2070}]{0,9}") {
        let escaped = json(&message);
        prop_assert!(!escaped.chars().any(dangerous));
        prop_assert!(escaped.len() <= 6 * message.len());
        prop_assert_eq!(serde_json::from_str::<String>(&format!("\"{escaped}\"")).unwrap(), message);
    }

    #[test]
    fn base64_round_trips(message in any::<Vec<u8>>()) {
        let mut out = b"before".to_vec();
        append_base64(&mut out, &message);
        let encoded = std::str::from_utf8(&out[6..]).unwrap();
        prop_assert_eq!(encoded.len(), message.len().div_ceil(3) * 4);
        prop_assert_eq!(decode_base64(encoded), Some(message));
    }
}
