//! The harness itself: a checker that accepts everything proves nothing, so here each kind of damage must be found.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use support::checker::{self, Expect};
use support::client::{Client, End, History, Messages};
use support::drive::{drive, serve};
use support::framing::{Format, Framing};
use support::home::Home;
use support::record::{parse, unescape};

/// Answers one connection with what `answer` makes of each read.
fn stand_in(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 65536];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&answer(&buffer[..count])).unwrap();
        }
    });
    address
}

fn echoed(messages: &[&[u8]]) -> History {
    let address = stand_in(<[u8]>::to_vec);
    let client = Client::connect(address, Framing::Line, Messages::listed(Framing::Line, messages)).unwrap();
    serve(vec![client.half_close()]).remove(0)
}

/// A store of one file with these messages as the given (n, message).
fn write_store(home: &Home, history: &History, records: &[(u64, &str)]) {
    write_file(home, 1, history, records);
    std::fs::hard_link(log_path(home.path(), 1), home.join("current")).unwrap();
}

fn log_path(directory: &Path, sequence: u64) -> std::path::PathBuf {
    directory.join(format!("messages-{sequence:010}-20261122T084200Z.log"))
}

fn write_file(home: &Home, sequence: u64, history: &History, records: &[(u64, &str)]) {
    use std::os::unix::fs::PermissionsExt;
    let line =
        |(n, message): &(u64, &str)| format!("2026-11-22T08:42:00.123456Z {} 01JD9Z0Q4X-{n} {message}\n", history.peer);
    let path = log_path(home.path(), sequence);
    std::fs::write(&path, records.iter().map(line).collect::<String>()).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
}

/// Whether the checker accepts, with its complaint if not.
fn verdict(home: &Home, history: &History) -> Result<usize, String> {
    let histories = [history.clone()];
    let result =
        catch_unwind(AssertUnwindSafe(|| checker::check(home.path(), Format::Text, &histories, Expect::default())));
    let text = |panic: Box<dyn std::any::Any + Send>| match panic.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    };
    result.map(|report| report.records).map_err(text)
}

#[test]
fn the_checker_accepts_what_is_right() {
    let history = echoed(&[b"one", b"", b"th\tree"]);
    assert_eq!((history.sent, history.echoed, history.end), (3, 3, Some(End::Eof)));
    let home = Home::new();
    write_store(&home, &history, &[(1, "one"), (2, ""), (3, "th\\tree")]);
    assert_eq!(verdict(&home, &history), Ok(3));
}

#[test]
fn the_checker_finds_every_kind_of_damage() {
    let history = echoed(&[b"one", b"two", b"three"]);
    let damages: [(&str, &[(u64, &str)]); 7] = [
        ("are stored", &[(1, "one"), (2, "two")]),
        ("repeats or leaves out", &[(1, "one"), (2, "two"), (2, "two"), (3, "three")]),
        ("repeats or leaves out", &[(1, "one"), (3, "three"), (2, "two")]),
        ("is stored, ", &[(1, "one"), (2, "twO"), (3, "three")]),
        ("was not sent", &[(1, "one"), (2, "two"), (3, "three"), (4, "four")]),
        ("never sent", &[(1, "other"), (2, "two"), (3, "three")]),
        ("unescaped", &[(1, "one"), (2, "t\u{1b}o"), (3, "three")]),
    ];
    for (complaint, records) in damages {
        let home = Home::new();
        write_store(&home, &history, records);
        let found = verdict(&home, &history).expect_err(complaint);
        assert!(found.contains(complaint), "{found:?} instead of {complaint:?}");
    }
}

#[test]
fn the_checker_finds_damaged_files() {
    let history = echoed(&[b"one", b"two"]);
    let all: &[(u64, &str)] = &[(1, "one"), (2, "two")];
    let damaged = |complaint: &str, harm: &dyn Fn(&Home)| {
        let home = Home::new();
        write_store(&home, &history, all);
        harm(&home);
        let found = verdict(&home, &history).expect_err(complaint);
        assert!(found.contains(complaint), "{found:?} instead of {complaint:?}");
    };
    damaged("split record", &|home| {
        let path = log_path(home.path(), 1);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 2]).unwrap();
    });
    damaged("not the newest", &|home| write_file(home, 2, &history, &[]));
    damaged("a gap", &|home| write_file(home, 3, &history, &[]));
    damaged("does not belong", &|home| drop(home.write("messages-1.log", "")));
    damaged("no hard link", &|home| {
        std::fs::remove_file(home.join("current")).unwrap();
        std::os::unix::fs::symlink(log_path(home.path(), 1), home.join("current")).unwrap();
    });
    damaged("stored twice, or was never sent", &|home| {
        let path = log_path(home.path(), 1);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{}", text.replace("01JD9Z0Q4X", "01JD9Z0Q4Y"))).unwrap();
    });
}

#[test]
fn a_client_finds_a_foreign_byte() {
    for answer in [
        |bytes: &[u8]| bytes.to_ascii_uppercase(),
        |bytes: &[u8]| [bytes, b"more"].concat(),
        |bytes: &[u8]| bytes[1..].to_vec(),
    ] {
        let client =
            Client::connect(stand_in(answer), Framing::Line, Messages::listed(Framing::Line, &[b"one", b"two"]))
                .unwrap();
        let mut clients = vec![client];
        let driven = catch_unwind(AssertUnwindSafe(|| {
            drive(&mut clients, "an echo", |clients| clients[0].history.echoed_bytes > 6)
        }));
        assert!(driven.is_err(), "a broken echo was not noticed");
    }
}

#[test]
fn generated_messages_are_framed_so_that_they_can_be_told_apart() {
    for framing in Framing::ALL {
        let messages = Messages::generated(framing, 0, 500);
        for index in 0..200 {
            let (stored, wire) = (messages.stored(index), messages.wire(index));
            assert_eq!(stored, messages.stored(index), "the same every time");
            assert_eq!(framing.wire(&stored), wire);
            if let Some(terminator) = framing.terminator() {
                assert_eq!(wire.iter().position(|byte| *byte == terminator), Some(wire.len() - 1));
                assert!(framing != Framing::Line || !stored.ends_with(b"\r"));
            }
        }
    }
}

#[test]
fn records_are_read_strictly() {
    assert_eq!(unescape("a\\\\b\\x00\\xff\\t é"), Ok(b"a\\b\x00\xff\t \xc3\xa9".to_vec()));
    for wrong in ["\\", "\\q", "\\x4", "\\xFF", "\\x41", "\u{7f}", "\u{85}", "\u{202e}"] {
        assert!(unescape(wrong).is_err(), "{wrong:?}");
    }
    let head = r#"{"time":"2026-11-22T08:42:00.123456Z","peer":"[::1]:5","connection":"A","n":1,"#;
    let read = |tail: &str| parse(Format::Jsonl, format!("{head}{tail}").as_bytes()).map(|record| record.message);
    assert_eq!(read(r#""message":"a\u0000é"}"#), Ok("a\0é".into()));
    assert_eq!(read(r#""message_base64":"/w=="}"#), Ok(vec![0xff]));
    assert!(read(r#""message_base64":"YQ=="}"#).is_err(), "base64 for text");
    for wrong in [
        "x",
        "2026-11-22T08:42:00.123456Z 1.2.3.4:5 A-0 m",
        "2026-11-22 1.2.3.4:5 A-1 m",
        "2026-11-22T08:42:00.123456Z 1.2.3.4 A-1 m",
    ] {
        assert!(parse(Format::Text, wrong.as_bytes()).is_err(), "{wrong:?}");
    }
}
