//! Round trips: what goes in comes back byte-exact, and is in the store exactly once; good clients, bad clients, and many of them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;
use support::checker::{self, Expect, for_each_record};
use support::client::{Client, End, History, Messages, drive, serve};
use support::daemon::{Daemon, Setup};
use support::framing::{Format, Framing};
use support::processes::descriptors;
use support::{DEADLINE, raise_open_files, stays_false, wait_until};

const SECOND: Duration = Duration::from_secs(1);

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

#[test]
fn a_reset_in_mid_message_stores_no_fragment() {
    for framing in [Framing::Line, Framing::OctetCounted, Framing::LengthPrefixed] {
        let daemon = Setup::default().set("server.framing", framing.name()).start();
        let mut clients = vec![connect(daemon.address, framing, Messages::generated(framing, 20, 200)).quota(10)];
        drive(&mut clients, "ten echoes", |clients| clients[0].served());
        let mut client = clients.remove(0);
        let wire = framing.wire(b"this never becomes whole");
        client.send_fragment(&wire[..wire.len() - 5]);
        let mut histories = vec![client.reset()];
        // Another one breaks while its echoes are on their way: what it heard is stored, the rest may be.
        let mut clients = vec![connect(daemon.address, framing, Messages::generated(framing, 20, 200)).window(500)];
        drive(&mut clients, "some echoes", |clients| clients[0].history.echoed > 100);
        histories.push(clients.remove(0).reset());
        let records = stop_and_check(daemon, Format::Text, &histories);
        assert!(records > 110, "{records} records");
    }
}

#[test]
fn an_end_in_mid_frame_stores_no_fragment() {
    for (framing, fragment) in [
        (Framing::OctetCounted, b"100 short" as &[u8]),
        (Framing::OctetCounted, b"12"),
        (Framing::LengthPrefixed, b"\0\0\0\x10short"),
    ] {
        let daemon = Setup::default().set("server.framing", framing.name()).start();
        let mut clients = vec![connect(daemon.address, framing, Messages::generated(framing, 20, 200)).quota(10)];
        drive(&mut clients, "ten echoes", |clients| clients[0].served());
        clients[0].send_fragment(fragment);
        clients[0].finish(true);
        let histories = serve(clients);
        assert_eq!((histories[0].end, histories[0].echoed), (Some(End::Eof), 10));
        assert_eq!(stop_and_check(daemon, Format::Text, &histories), 10);
    }
}

#[test]
fn malformed_framing_ends_the_connection_after_the_echoes() {
    let setup = Setup::default().set("server.framing", "octet-counted");
    let daemon = setup.start();
    let mut wire = Framing::OctetCounted.wire(b"one");
    wire.extend(Framing::OctetCounted.wire(b"two"));
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&[&wire as &[u8], b"x3 bad and a lot more that nobody reads", &[b'.'; 100_000]].concat()).unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("an orderly end, not a reset");
    assert_eq!(heard, wire);
    assert_eq!(stored(daemon), [b"one".to_vec(), b"two".to_vec()]);
}

/// Stops the daemon; all messages in the order of the store.
fn stored(mut daemon: Daemon) -> Vec<Vec<u8>> {
    daemon.stop();
    let mut messages = Vec::new();
    for file in checker::files(&daemon.store()) {
        for_each_record(Format::Text, &file.path, |record, _| messages.push(record.message));
    }
    messages
}

#[test]
fn oversize_closes_after_the_echoes() {
    for framing in [Framing::Line, Framing::OctetCounted, Framing::LengthPrefixed, Framing::Nul] {
        let daemon =
            Setup::default().set("server.framing", framing.name()).set("server.max-message-size", "1KiB").start();
        let good = [vec![b'a'; 1024], b"b".to_vec(), vec![b'c'; 1023]];
        let wire: Vec<u8> = good.iter().flat_map(|message| framing.wire(message)).collect();
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
            .write_all(&[&wire as &[u8], &framing.wire(&[b'd'; 1025]), &framing.wire(&[b'e'; 50_000])].concat())
            .unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("an orderly end, not a reset");
        assert!(heard == wire, "{}: {} of {} bytes", framing.name(), heard.len(), wire.len());
        assert_eq!(stored(daemon), good);
    }
}

#[test]
fn oversize_is_split_into_messages_of_their_own() {
    for framing in [Framing::Line, Framing::OctetCounted, Framing::LengthPrefixed, Framing::Nul] {
        let setup = Setup::default().set("server.framing", framing.name()).set("server.max-message-size", "1KiB");
        let daemon = setup.set("server.on-oversize", "split").start();
        let messages: [Vec<u8>; 5] =
            [b"before".to_vec(), vec![b'a'; 1025], vec![b'b'; 2500], vec![b'c'; 1024], b"after".to_vec()];
        let wire: Vec<u8> = messages.iter().flat_map(|message| framing.wire(message)).collect();
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&wire).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        assert!(heard == wire, "{}: {} of {} bytes", framing.name(), heard.len(), wire.len());
        let lengths: Vec<usize> = stored(daemon).iter().map(Vec::len).collect();
        assert_eq!(lengths, [6, 1024, 1, 1024, 1024, 452, 1024, 5], "{}", framing.name());
    }
}

/// The sockets that the workers hold.
fn worker_sockets(daemon: &Daemon) -> usize {
    let sockets = |pid: &i32| descriptors(*pid).iter().filter(|held| held.target.starts_with("socket:")).count();
    daemon.workers().iter().map(sockets).sum()
}

#[test]
fn a_client_that_does_not_read_is_held_up_and_then_closed() {
    let daemon = Setup::default().set("limits.write-timeout", "1s").set("server.max-message-size", "64KiB").start();
    let idle = worker_sockets(&daemon);
    let messages = Messages::generated(Framing::Line, 30_000, 60_000);
    let mut clients = vec![connect(daemon.address, Framing::Line, messages).window(usize::MAX).deaf()];
    // It sends until nothing more goes in: its echoes are bounded, so it is no longer read.
    let sent = std::cell::Cell::new((0, std::time::Instant::now()));
    drive(&mut clients, "back-pressure", |clients| {
        let bytes = clients[0].history.sent_bytes;
        if bytes > sent.get().0 {
            sent.set((bytes, std::time::Instant::now()));
        }
        bytes > 0 && sent.get().1.elapsed() > SECOND / 2
    });
    assert!(sent.get().0 < 256 << 20, "memory for a client that does not read is bounded");
    // Others go on meanwhile, and it is closed by the time-out.
    let mut histories =
        serve(vec![connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 10, 100)).quota(50)]);
    wait_until(DEADLINE, "the time-out closes it", || worker_sockets(&daemon) == idle);
    clients[0].finish(false);
    clients[0].set_reading(true);
    drive(&mut clients, "the end", |clients| clients[0].ended());
    histories.push(clients.remove(0).leave());
    stop_and_check(daemon, Format::Text, &histories);
}

#[test]
fn more_than_max_connections_wait_in_the_backlog() {
    let daemon = Setup::default().set("limits.max-connections", 4).start();
    let client = || connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 10, 100)).quota(1);
    let mut inside: Vec<Client> = (0..4).map(|_| client()).collect();
    drive(&mut inside, "four are served", |clients| clients.iter().all(Client::served));
    let mut outside = vec![client(), client()];
    stays_false(SECOND / 2, "a fifth is served", || {
        support::client::turn(&mut outside).unwrap();
        outside.iter().any(|client| client.history.echoed > 0)
    });
    let mut histories = vec![inside.remove(0).leave()];
    drive(&mut outside, "one of those outside is let in", |clients| clients.iter().any(Client::served));
    stays_false(SECOND / 4, "both are served", || {
        support::client::turn(&mut outside).unwrap();
        outside.iter().all(|client| client.history.echoed > 0)
    });
    histories.extend(inside.into_iter().map(Client::leave));
    histories.extend(serve(outside));
    assert_eq!(stop_and_check(daemon, Format::Text, &histories), 6);
}
