use proptest::prelude::*;

use super::*;
use crate::tools::golden::{Golden, name, numbered, record};

const FORMATS: [Format; 3] = [Format::Text, Format::Jsonl, Format::Raw];

/// Exit code, output, complaints.
fn cat(store: &Golden, format: Option<Format>) -> (u8, Vec<u8>, String) {
    let (mut out, mut complaints) = (Vec::new(), Vec::new());
    let code = copy(store.path(), format, &mut out, &mut complaints).unwrap();
    (code, out, String::from_utf8(complaints).unwrap())
}

fn three_messages(format: Format) -> Vec<u8> {
    [&b"hello world"[..], b"", b"tab\tand \xff"]
        .iter()
        .zip(1..)
        .flat_map(|(message, n)| record(format, "A1", n, message))
        .collect()
}

#[test]
fn every_format_becomes_every_format_that_holds_no_more_than_it() {
    for stored in FORMATS {
        let store = Golden::with(&[&three_messages(stored)]);
        assert_eq!(cat(&store, None), (0, three_messages(stored), String::new()));
        for asked in FORMATS {
            let (code, out, complaints) = cat(&store, Some(asked));
            if stored == Format::Raw && asked != Format::Raw {
                let what = "is stored as raw, which has no time, peer and number: only --format raw can print it";
                assert_eq!((code, out, complaints), (1, Vec::new(), format!("{}: {what}\n", name(1))));
            } else {
                assert_eq!((code, out, complaints), (0, three_messages(asked), String::new()));
            }
        }
    }
}

#[test]
fn files_come_by_sequence_and_nothing_else_comes() {
    let store = Golden::with(&[&numbered("A", &[1]), &numbered("A", &[2]), &numbered("A", &[3])]);
    store.write(&format!("{}.torn", name(2)), &numbered("X", &[1]));
    store.write("MANIFEST.jsonl", b"{}\n");
    store.write("other.log", &numbered("X", &[1]));
    store.write("aaaa-0000000004-20000101T000000Z.log", &numbered("B", &[1])); // another prefix, an earlier clock
    let expected = [numbered("A", &[1, 2, 3]), numbered("B", &[1])].concat();
    assert_eq!(cat(&store, None), (0, expected, String::new()));
}

#[test]
fn an_unfinished_line_is_not_printed() {
    let (whole, torn) = (numbered("A", &[1]), [numbered("A", &[1]), b"2026-11".to_vec()].concat());
    for format in [None, Some(Format::Jsonl)] {
        let (code, out, complaints) = cat(&Golden::with(&[&torn]), format);
        assert_eq!((code, complaints), (0, String::new()));
        assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert_eq!(out.last(), Some(&b'\n'));
    }
    // During a rotation the new file is there, empty, and the older one still live.
    assert_eq!(cat(&Golden::with(&[&torn, b""]), None), (0, whole.clone(), String::new()));
    // Before a file that has records it is torn, and must not be welded to them.
    let (code, out, complaints) = cat(&Golden::with(&[&torn, &numbered("B", &[1])]), None);
    assert_eq!((code, out), (1, [whole.clone(), numbered("B", &[1])].concat()));
    let (from, to) = (whole.len(), torn.len() - 1);
    assert_eq!(complaints, format!("{}:2:{from}: torn record, bytes {from}-{to}; not printed\n", name(1)));
}

#[test]
fn what_does_not_parse_is_reported_and_left_out() {
    let mut lines = numbered("A", &[1, 2, 3, 4]);
    let second = lines.len() / 4;
    lines[second + 5] = b'x';
    let store = Golden::with(&[&lines]);
    let (code, out, complaints) = cat(&store, Some(Format::Raw));
    assert_eq!((code, &out[..]), (1, &b"hello\nhello\nhello\n"[..]));
    assert!(complaints.starts_with(&format!("{}:2:{second}: not a time", name(1))), "{complaints}");
    assert_eq!(cat(&store, Some(Format::Text)), (0, lines, String::new())); // as stored: copied, not judged
}

#[test]
fn what_is_no_store_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    let run = |path: &Path| {
        let mut complaints = Vec::new();
        let code = copy(path, None, io::sink(), &mut complaints).unwrap();
        (code, String::from_utf8(complaints).unwrap())
    };
    let (code, complaint) = run(empty.path());
    assert_eq!(code, 74);
    assert!(complaint.contains("is not an echostored store"), "{complaint}");
    let (code, complaint) = run(&empty.path().join("missing"));
    assert_eq!((code, complaint.lines().count()), (74, 1));
    assert!(complaint.contains("missing: No such file or directory"), "{complaint}");
    assert_eq!(cat(&Golden::new(), None), (0, Vec::new(), String::new()));
}

#[test]
fn only_output_that_cannot_be_written_is_an_error() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let store = Golden::with(&[&numbered("A", &[1])]);
    let error = copy(store.path(), Some(Format::Raw), Gone, io::sink()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exact_bytes_come_back(messages in prop::collection::vec(any::<Vec<u8>>(), 1..9), split in any::<prop::sample::Index>()) {
        let split = split.index(messages.len());
        for stored in [Format::Text, Format::Jsonl] {
            let all = |format, part: &[Vec<u8>], from| -> Vec<u8> {
                part.iter().zip(from..).flat_map(|(message, n)| record(format, "A1", n, message)).collect()
            };
            let (one, two) = messages.split_at(split);
            let store = Golden::with(&[&all(stored, one, 1), &all(stored, two, 1 + split as u64)]);
            for asked in FORMATS {
                prop_assert_eq!(cat(&store, Some(asked)), (0, all(asked, &messages, 1), String::new()));
            }
        }
    }
}
