//! Round trips: what goes in comes back byte-exact, and is in the store exactly once; good clients, bad clients, and many of them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::net::SocketAddr;
use support::checker::{self, Expect};
use support::client::{Client, End, History, Messages};
use support::daemon::{Daemon, Setup};
use support::drive::{drive, serve};
use support::framing::{Format, Framing};
use support::raise_open_files;

fn connect(address: SocketAddr, framing: Framing, messages: Messages) -> Client {
    Client::connect(address, framing, messages).unwrap()
}

/// Stops the daemon and checks the whole store.
fn stop_and_check(mut daemon: Daemon, format: Format, histories: &[History]) -> usize {
    daemon.stop();
    checker::check(&daemon.store(), format, histories, Expect::default()).records
}

/// Messages that are easy to get wrong.
fn awkward(framing: Framing) -> Messages {
    let allowed = |byte: &u8| Some(*byte) != framing.terminator();
    let every: Vec<u8> = (0..=255).filter(allowed).collect();
    let backwards: Vec<u8> = (0..=255).rev().filter(allowed).collect();
    let largest = vec![b'x'; 65536];
    let texts: [&[u8]; 9] = [
        b"hello world",
        b" leading and trailing ",
        "h\u{e9}llo \u{4e16}\u{754c} \u{1f980}".as_bytes(),
        b"back\\slash \\x41 \\n",
        b"\x1b[31mred\x1b[0m \x07 \x7f",
        "\u{202e}bidi\u{2066} \u{85} c1".as_bytes(),
        b"\xff\xfe cut \xe2\x82",
        b"{\"json\":\"in json\"}",
        b"1 2 3 0 ",
    ];
    let mut messages: Vec<&[u8]> = vec![b"first"];
    // An empty read cannot be a message, so `chunk` has no empty one.
    if framing != Framing::Chunk {
        messages.extend([b"" as &[u8], b"", b"x", b""]);
    }
    messages.extend(texts);
    messages.extend([&every as &[u8], &backwards, &largest]);
    let mut list: Vec<(Vec<u8>, Vec<u8>)> =
        messages.iter().map(|message| (framing.wire(message), message.to_vec())).collect();
    if framing == Framing::Line {
        list.push((b"crlf\r\n".to_vec(), b"crlf".to_vec()));
        list.push((b"\r\n".to_vec(), b"".to_vec()));
        list.push((b"two\r\r\n".to_vec(), b"two\r".to_vec()));
        list.push((b"in\rside\n".to_vec(), b"in\rside".to_vec()));
    }
    if framing.terminator().is_some() {
        list.push((b"no terminator before the end".to_vec(), b"no terminator before the end".to_vec()));
    }
    Messages::Listed(list)
}

/// One daemon, one combination: awkward messages, 1 byte a segment, a pipelined crowd; all are half-closed and answered in full.
fn combination(framing: Framing, echo: &str, format: Format) {
    println!("{} x {echo} x {}", framing.name(), format.name());
    let setup = Setup::default()
        .set("server.framing", framing.name())
        .set("server.echo", echo)
        .set("store.format", format.name());
    let daemon = setup.start();
    let mut clients = vec![
        connect(daemon.address, framing, awkward(framing)).half_close(),
        connect(daemon.address, framing, Messages::generated(framing, 0, 80))
            .quota(5)
            .segment(1)
            .window(2)
            .half_close(),
    ];
    for _ in 0..4 {
        clients.push(connect(daemon.address, framing, Messages::generated(framing, 0, 2000)).quota(100).half_close());
    }
    let histories = serve(clients);
    for history in &histories {
        assert_eq!(
            (history.end, history.echoed_bytes),
            (Some(End::Eof), history.sent_bytes),
            "half-close is answered in full"
        );
    }
    if echo != "received" {
        // If you hear the echo, it is stored: now, not after a stop.
        checker::check(&daemon.store(), format, &histories, Expect::default());
    }
    stop_and_check(daemon, format, &histories);
}

/// All framings and formats with one mode of the echo, a few daemons at a time.
fn all_with(echo: &'static str) {
    let pairs = Framing::ALL.into_iter().flat_map(|framing| Format::ALL.map(|format| (framing, format)));
    let valid: Vec<_> = pairs.filter(|(framing, format)| format.goes_with(*framing)).collect();
    assert_eq!(valid.len(), 11);
    for group in valid.chunks(4) {
        std::thread::scope(|scope| {
            for (framing, format) in group.iter().copied() {
                scope.spawn(move || combination(framing, echo, format));
            }
        });
    }
}

#[test]
fn every_framing_and_format_with_echo_received() {
    all_with("received");
}

#[test]
fn every_framing_and_format_with_echo_stored() {
    all_with("stored");
}

#[test]
fn every_framing_and_format_with_echo_synced() {
    all_with("synced");
}

#[test]
fn the_store_agrees_with_verify_and_cat() {
    let mut daemon = Setup::default().start();
    let histories = serve(vec![connect(daemon.address, Framing::Line, awkward(Framing::Line)).half_close()]);
    daemon.stop();
    let store = daemon.store();
    let run = |arguments: &[&str]| {
        let mut command = support::daemon::command(arguments);
        command.arg("--directory").arg(&store);
        support::daemon::run(daemon.home(), command)
    };
    let verified = run(&["verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let mut raw = Vec::new();
    (0..histories[0].sent).for_each(|index| raw.extend([histories[0].messages.stored(index), b"\n".to_vec()].concat()));
    let printed = run(&["cat", "--format", "raw"]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    assert!(
        std::fs::read(daemon.home().join("command.out")).unwrap() == raw,
        "cat --format raw gives the exact bytes back"
    );
    checker::check(&store, Format::Text, &histories, Expect::default());
}

#[test]
fn messages_of_a_mebibyte() {
    let groups = ["received", "stored", "synced"];
    std::thread::scope(|scope| {
        for echo in groups {
            scope.spawn(move || {
                let setup = Setup::default().set("server.max-message-size", "1MiB").set("server.echo", echo);
                let daemon = setup.set("server.framing", "octet-counted").start();
                let generated = |largest| Messages::generated(Framing::OctetCounted, largest, largest);
                let mut clients: Vec<Client> = (0..3)
                    .map(|_| {
                        connect(daemon.address, Framing::OctetCounted, generated(1 << 20))
                            .quota(3)
                            .window(2)
                            .half_close()
                    })
                    .collect();
                // Small ones go on between the fragments of the large.
                clients.push(
                    connect(daemon.address, Framing::OctetCounted, generated(100)).quota(200).window(1).half_close(),
                );
                stop_and_check(daemon, Format::Text, &serve(clients));
            });
        }
    });
}

#[test]
fn a_message_of_sixteen_mebibytes() {
    let daemon = Setup::default().set("server.max-message-size", "16MiB").start();
    let client =
        connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 16 << 20, 16 << 20)).quota(1);
    let small =
        connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 10, 100)).quota(100).window(1);
    stop_and_check(daemon, Format::Text, &serve(vec![client, small]));
}

#[test]
fn a_thousand_connections_at_once() {
    raise_open_files();
    let daemon = Setup::default().start();
    let mut clients: Vec<Client> = (0..1000)
        .map(|_| connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).quota(1))
        .collect();
    drive(&mut clients, "a first echo for each", |clients| clients.iter().all(Client::served));
    // All are open now. Another round, then the half-close.
    clients.iter_mut().for_each(|client| client.allow(5));
    drive(&mut clients, "five more for each", |clients| clients.iter().all(Client::served));
    assert!(clients.iter().all(|client| !client.ended()), "none of them was closed");
    clients.iter_mut().for_each(|client| client.finish(true));
    let histories = serve(clients);
    assert!(histories.iter().all(|history| history.end == Some(End::Eof) && history.echoed == 6));
    assert_eq!(stop_and_check(daemon, Format::Text, &histories), 6000);
}
