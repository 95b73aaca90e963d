//! First inputs, from a real store and real traffic. `cargo test --test fuzz_corpus -- --ignored` writes them again.
use crate::fuzz;
use crate::support::client::{Client, Messages};
use crate::support::control::{connect, socket};
use crate::support::daemon::{Daemon, Setup};
use crate::support::drive::serve;
use crate::support::framing::{Format, Framing};
use crate::support::{DEADLINE, wait_until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// What people send, what machines send, and what attackers send.
const MESSAGES: [&[u8]; 9] = [
    b"hello world",
    b"",
    b"temperature=21.5 humidity=40",
    b"back\\slash\ttab \"quoted\"",
    "h\u{e9}llo \u{4e16}\u{754c} \u{1f980}".as_bytes(),
    b"\x1b]52;c;cm0gLXJm\x07\x1b[2J\x9b31m",
    "\u{202e}sdrawkcab\u{2066} \u{85}".as_bytes(),
    b"\xff\xfe\xe2\x82",
    b"2026-11-22T08:42:00.123456Z 127.0.0.1:1 01JD9Z0Q4X-17 forged",
];

fn save(target: &str, name: &str, bytes: &[u8]) {
    let place = fuzz().join("corpus").join(target);
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join(name), bytes).unwrap();
}

/// A daemon that has stored the messages, and what was sent to it.
fn served(setup: Setup, framing: Framing, times: usize) -> (Daemon, Vec<u8>) {
    let daemon = setup.set("server.framing", framing.name()).start();
    let messages: Vec<&[u8]> =
        MESSAGES.iter().copied().filter(|message| !message.is_empty() || framing != Framing::Chunk).collect();
    let messages = messages.repeat(times);
    let client = Client::connect(daemon.address, framing, Messages::listed(framing, &messages)).unwrap();
    serve(vec![client.window(1).half_close()]);
    let wire = MESSAGES.iter().flat_map(|message| framing.wire(message)).collect();
    (daemon, wire)
}

fn live(daemon: &Daemon) -> Vec<u8> {
    fs::read(daemon.current()).unwrap()
}

/// The first file whose name ends so.
fn ending(store: &Path, suffix: &str) -> Option<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().find(|path| path.to_str().unwrap().ends_with(suffix)).map(|path| fs::read(path).unwrap())
}

#[test]
#[ignore = "writes into the checkout"]
fn from_a_real_store() {
    for (number, framing) in (0u8..).zip(Framing::ALL) {
        let (daemon, wire) = served(Setup::default(), framing, 1);
        // Both modes; at most 13 and 40 bytes; reads of 1, 7 and 30.
        save("framing", &format!("{}-close", framing.name()), &[&[number << 1, 39, 0], &wire[..]].concat());
        save(
            "framing",
            &format!("{}-split", framing.name()),
            &[&[number << 1 | 1, 12, 3, 1, 7, 30], &wire[..]].concat(),
        );
        drop(daemon);
    }
    for (number, format) in (0u8..).zip(Format::ALL) {
        let (mut daemon, _) = served(Setup::default().set("store.format", format.name()), Framing::Line, 1);
        let bytes = live(&daemon);
        save("line", format.name(), &bytes);
        save(
            "recovery",
            &format!("{}-torn", format.name()),
            &[&[number | 12, 255, 20], &bytes[..bytes.len() - 9]].concat(),
        );
        daemon.stop();
        save(
            "notes",
            &format!("clean-{}", format.name()),
            &[&[200], &fs::read(daemon.store().join(".clean")).unwrap()[..]].concat(),
        );
        save(
            "notes",
            &format!("store-{}", format.name()),
            &[&[0], &fs::read(daemon.store().join(".store")).unwrap()[..]].concat(),
        );
        if format == Format::Text {
            save("reader", "text", &[&[255, 30, 3, 7, 0, 200], &bytes[..]].concat());
            save("reader", "too-long", &[&[60, 9, 0], &bytes[..]].concat());
            save("last_lines", "text", &[&[0, 4, 50], &bytes[..]].concat());
        }
    }
}

#[test]
#[ignore = "writes into the checkout"]
fn from_closed_files() {
    for (number, (method, suffix)) in (0u8..).zip([("gzip", ".log.gz"), ("zstd", ".log.zst")]) {
        let setup = Setup::default().set("rotate.max-size", "4KiB").set("compress.method", method);
        let (daemon, _) = served(setup, Framing::Line, 20);
        wait_until(DEADLINE, "a compressed file", || ending(&daemon.store(), suffix).is_some());
        save("compressed", method, &[&[number], &ending(&daemon.store(), suffix).unwrap()[..]].concat());
        save(
            "compressed",
            &format!("{method}-cut"),
            &[&[number | 6, 100, 0, 0, 0, 0, 0, 0, 0], &live(&daemon)[..]].concat(),
        );
        if method == "zstd" {
            save("manifest", "real", &[&[0], &fs::read(daemon.store().join("MANIFEST.jsonl")).unwrap()[..]].concat());
            for word in ["status", "rotate", "reload", "stop"] {
                let mut reply = String::new();
                BufReader::new(connect(&socket(&daemon), format!("{word}\n").as_bytes()))
                    .read_line(&mut reply)
                    .unwrap();
                save("command", &format!("reply-{word}"), reply.as_bytes());
            }
            for (number, entry) in fs::read_dir(daemon.store()).unwrap().take(3).enumerate() {
                save("names", &format!("real-{number}"), entry.unwrap().file_name().as_encoded_bytes());
            }
            let mut printed = crate::support::daemon::command(&["check", "--print", "--config"]);
            save("config", "printed", &printed.arg(daemon.config_path()).output().unwrap().stdout);
        }
    }
}

#[test]
#[ignore = "writes into the checkout"]
fn by_openssl() {
    for (name, subject) in [("usual", "/CN=sensor-7/O=Example"), ("odd", "/CN=\u{1b}[31m\u{202e}, O=x+y\\/OU=\u{e4}\"")]
    {
        let mut command = std::process::Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ed25519",
            "-nodes",
            "-keyout",
            "/dev/null",
            "-outform",
            "DER",
            "-utf8",
            "-subj",
            subject,
        ]);
        save("subject", name, &command.output().unwrap().stdout);
    }
}

#[test]
#[ignore = "writes into the checkout"]
fn by_hand() {
    for name in ["echostored.toml", "dev.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        save("config", name, &fs::read(path).unwrap());
    }
    for (number, message) in MESSAGES.iter().enumerate().filter(|(_, message)| !message.is_empty()) {
        let head = [&[number as u8][..], &1_795_336_920_123_456_u64.to_le_bytes(), &17_u64.to_le_bytes()];
        let head = [&head.concat()[..], if number % 2 == 1 { b"\x0bCN=sensor-7" } else { b"\0" }].concat();
        save("record", &format!("message-{number}"), &[&head, *message].concat());
    }
    // Terms and mark, then records, a record in three fragments, a wrong header, bytes of no frame.
    let frames =
        b"\x10\x40\x00\x00\x00\xff\xff\x00\x05hello\x01\x04frag\x01\x04ment\x02\x03end\x20\x02no\x00\xff\xf0\x04bare";
    save("pipe_frame", "frames", frames);
    save(
        "pipe_frame",
        "stale",
        b"\x10\x40\x00\x02\x00\x30\x00\xf0\x04rest\xf0\x10a secret\x02\0\0\0\0\0\0\0\x00\x05hello",
    );
    save("pipe_frame", "refusing", b"\x10\x40\x01\x07\x20\xff\xff\x01\x05lost.\x08\x05fresh");
    save("ack", "acks", b"safe thr\x03\0\0\0\0\0\0\0refused \x07\0\0\0\0\0\0\0safe thr\x09\0\0\0\0\0\0\0safe");
    for (name, id) in [("usual", "000G010005"), ("wide", "Z0Z000Z0Z0Z110000"), ("wrong", "Z0000G010005")] {
        save("ids", name, id.as_bytes());
    }
    save("cursor", "cursor", b"00c0ffee00c0ffee:42:81920");
    save("cutter", "lines", b"\x00\x03\x01\x07\x02one\ntwo\n\nlast");
    save("cutter", "nul", b"\x01\x00one\0two\0");
    for request in ["status\n", "rotate\r\n", "reload", "stop\n"] {
        save("command", &format!("request-{}", request.trim()), request.as_bytes());
    }
}

#[test]
#[ignore = "writes into the checkout"]
fn of_notes_and_words() {
    save("manifest", "cut", b"\x21\xdd\0\0\0\0\0\0\0\x08\x01\x01\x01\x0a\x02\x02\x01\x03\x03\x04\x04");
    save("manifest", "changed", b"\x26\x50\x01\0\0\0\0\0\0\x08\x01\x01\x01\x02\x01\x04\x05");
    let one = "messages-0000000001-20261122T084200Z.log";
    let two = "messages-0000000002-20261122T084300Z.log";
    let failed = format!(
        "{{\"segment\":\"{one}\",\"good-to\":81920}}\n{{\"segment\":\"{one}\",\"good-to\":81920,\"moved-to\":\"{two}\",\"lost\":[[9,12]]}}\n{{\"segment\":\"{two}\",\"good-"
    );
    save("failed", "torn", failed.as_bytes());
    save("names", "zst", format!("{one}.zst").as_bytes());
    for (number, text) in
        (0u8..).zip(["2026-11-22 08:42:00.25", "1h30m", "192.0.2.0/24", "2001:db8::/33", "[::1]:5", "unix:77"])
    {
        let address = [[number & 2].as_slice(), &[192, 0, 2, 7], &[0; 12]].concat();
        save("select", &format!("text-{number}"), &[&address, text.as_bytes()].concat());
    }
    for (name, text) in [("size", "64KiB"), ("time", "1w2d3h4m5s6ms"), ("number", "18446744073709551615B")] {
        save("units", name, text.as_bytes());
    }
    save("control", "attach", &[&[3, 0][..], &[7; 32]].concat());
    save("control", "rotate", &[0, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
    save("control", "settled", &[10, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    save("control", "segment", &[&[16, 2, 1, 0, 0, 0, 0, 0, 0, 0], one.as_bytes()].concat());
    save("control", "failed", b"\x0f\x01\x4adisk full");
    save("proxy", "version-1", b"\x00PROXY TCP4 192.0.2.7 198.51.100.1 53210 7007\r\nhello\n");
    save(
        "proxy",
        "version-2",
        b"\x00\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xcf\xda\x1b\x5fhello\n",
    );
    save("proxy", "local", b"\x00\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
    for choice in [1, 5, 9, 2, 6, 10] {
        save("proxy", &format!("made-{choice}"), &[&[choice][..], &[7; 40]].concat());
    }
    save("last_lines", "some", b"\x01\x02\x05r1\nx\nr2\nlonger than a block\nr3\nx\nrest");
}
