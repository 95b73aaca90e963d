//! Messages that are aimed at whoever looks at them: at the file, through `tail` and `cat`, in the log, in the status.
use crate::support::checker;
use crate::support::client::{Client, Messages};
use crate::support::control::tell;
use crate::support::daemon::{Daemon, Setup, command, run};
use crate::support::drive::serve;
use crate::support::framing::{Format, Framing};
use crate::support::home::give_away;
use crate::support::{DEADLINE, wait_until};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;

/// CSI, OSC 52 (the clipboard), OSC 8 (links), DCS, a title, BEL, backspaces, CR, C1 as UTF-8 and bare, bidirectional
/// controls, line separators of others, records that were never received.
const ATTACKS: [&[u8]; 16] = [
    b"\x1b[2J\x1b[H\x1b[31mred",
    b"\x1b]52;c;cm0gLXJmIC8K\x07",
    b"\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    b"\x1bP$q\"p\x1b\\\x1b[6n\x1b[c",
    b"\x1b]0;title\x07\x07\x07",
    b"harmless\x08\x08\x08\x08\x08\x08\x08\x08evil",
    b"shown\rhidden",
    "\u{9b}31m\u{9d}52;c;x\u{9c}\u{85}".as_bytes(),
    b"\x9b31m\x9d52;c;x\x9c\x90",
    "\u{202e}txt.exe\u{2066}\u{2069}\u{200f}\u{61c}".as_bytes(),
    "\u{feff}\u{2028}\u{2029}".as_bytes(),
    b"\x7f\0\x0b\x0c\x0e\x0f",
    b"2026-11-22T08:42:00.123456Z 192.0.2.1:1 FAKE000001-1 never received",
    b"x\n2026-11-22T08:42:00.123456Z 192.0.2.1:1 FAKE000001-1 never received\ny",
    b"\"}\n{\"time\":\"2026-11-22T08:42:00.123456Z\",\"peer\":\"192.0.2.1:1\",\"connection\":\"FAKE000001\",\"n\":1,\"message\":\"x\"}\n",
    b"\x1b_Gf=32;AAAA\x1b\\\xe2\x80",
];

/// Nothing that a terminal takes for a command or that turns the text; LFs only where lines end.
fn is_harmless(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what} is not UTF-8: {error}"));
    let turns =
        |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let bad = text.chars().find(|c| (c.is_control() && *c != '\n') || turns(*c));
    assert_eq!(bad, None, "in {what}: {}", text.escape_debug());
}

/// A daemon that all attacks were sent to, and how many they were.
fn attacked(framing: Framing, format: Format) -> (Daemon, usize) {
    let setup = Setup::default()
        .set("server.framing", framing.name())
        .set("store.format", format.name())
        .set("log.level", "debug");
    let daemon = setup.start();
    let allowed = |message: &&[u8]| framing.terminator().is_none_or(|end| !message.contains(&end));
    let attacks: Vec<&[u8]> = ATTACKS.into_iter().filter(allowed).collect();
    let client = Client::connect(daemon.address, framing, Messages::listed(framing, &attacks)).unwrap();
    serve(vec![client.window(1).half_close()]);
    (daemon, attacks.len())
}

#[test]
fn in_the_file_and_in_what_tail_and_cat_print() {
    for framing in [Framing::Line, Framing::OctetCounted] {
        for format in [Format::Text, Format::Jsonl] {
            let (mut daemon, count) = attacked(framing, format);
            let stored = fs::read(daemon.current()).unwrap();
            is_harmless("the file", &stored);
            assert_eq!(stored.iter().filter(|byte| **byte == b'\n').count(), count, "one line each");
            let mut lines = 0;
            checker::for_each_record(format, &daemon.current(), |record, _| {
                assert!(!format!("{:?}", record.origin).contains("FAKE000001"), "a record that was never received");
                lines += 1;
            });
            assert_eq!(lines, count);
            daemon.stop();
            for arguments in [
                &["cat"] as &[&str],
                &["tail", "-n", "100"],
                &["cat", "--format", "text"],
                &["cat", "--format", "jsonl"],
            ] {
                let mut command = command(arguments);
                let ended = run(daemon.home(), {
                    command.arg("--directory").arg(daemon.store());
                    command
                });
                assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{arguments:?}");
                is_harmless(&arguments.join(" "), ended.stdout.as_bytes());
                assert_eq!(ended.stdout.lines().count(), count);
            }
        }
    }
}

#[test]
fn in_the_log_and_in_the_status() {
    let (daemon, _) = attacked(Framing::OctetCounted, Format::Text);
    // What is worth a line of the log: broken framing, messages that are too long, connections that break.
    for attack in ATTACKS {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        let _ = stream.write_all(attack);
        let _ = stream.write_all(b"99999999 \x1b[2J\x1b]52;c;x\x07");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    wait_until(DEADLINE, "they are told", || daemon.log().contains("framing") || daemon.log().contains("malformed"));
    let status = tell(&daemon, &["status"]);
    is_harmless("the status", status.stdout.as_bytes());
    is_harmless("STATUS", daemon.manager().heard().join("\n").as_bytes());
    assert!(daemon.notified("STATUS="));
    is_harmless("the log", daemon.log().as_bytes());
}

/// Names of files are anybody's who may write to the directory.
#[test]
fn in_the_names_of_files() {
    let (mut daemon, _) = attacked(Framing::Line, Format::Text);
    let names: [&[u8]; 4] = [
        b"\x1b[2J.log",
        b"\x9b31m.log.gz",
        "\u{202e}gol.log".as_bytes(),
        b"messages-0000000009-20261122T084200Z.log\n.log",
    ];
    for name in names {
        let path = daemon.store().join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, "").unwrap();
        give_away(&path);
    }
    assert_eq!(tell(&daemon, &["rotate"]).code, 0);
    daemon.stop();
    for word in ["verify", "cat", "tail"] {
        let mut command = command(&[word]);
        let ended = run(daemon.home(), {
            command.arg("--directory").arg(daemon.store());
            command
        });
        is_harmless(word, ended.stdout.as_bytes());
        is_harmless(word, ended.stderr.as_bytes());
    }
    is_harmless("the log", daemon.log().as_bytes());
}

/// Who has changed the file itself cannot attack who looks at it with our programs.
#[test]
fn in_a_file_that_was_changed() {
    for format in [Format::Text, Format::Jsonl] {
        let (mut daemon, count) = attacked(Framing::Line, format);
        daemon.stop();
        let file = checker::files(&daemon.store()).pop().unwrap().path;
        let mut bytes = fs::read(&file).unwrap();
        for attack in ATTACKS {
            bytes.extend_from_slice(attack);
            bytes.push(b'\n');
        }
        fs::write(&file, bytes).unwrap();
        for word in ["cat", "tail", "verify"] {
            let mut command = command(&[word]);
            let ended = run(daemon.home(), {
                command.arg("--directory").arg(daemon.store());
                command
            });
            is_harmless(word, ended.stdout.as_bytes());
            is_harmless(word, ended.stderr.as_bytes());
            assert!(word != "cat" || ended.stdout.lines().count() >= count);
        }
    }
}
