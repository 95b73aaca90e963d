//! Clients that break off, send too much or nonsense, do not read, or are too many: each has its documented answer.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;
use support::checker::{self, Expect, for_each_record};
use support::client::{Client, End, History, Messages};
use support::daemon::{Daemon, Setup};
use support::drive::{drive, hear_out, held_up, serve};
use support::framing::{Format, Framing};
use support::processes::descriptors;
use support::{DEADLINE, stays_false, wait_until};

const SECOND: Duration = Duration::from_secs(1);

fn connect(address: SocketAddr, framing: Framing, messages: Messages) -> Client {
    Client::connect(address, framing, messages).unwrap()
}

/// Stops the daemon and checks the whole store.
fn stop_and_check(mut daemon: Daemon, histories: &[History]) -> usize {
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, histories, Expect::default()).records
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
        let records = stop_and_check(daemon, &histories);
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
        assert_eq!(stop_and_check(daemon, &histories), 10);
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

/// The close lingers: with input unread, a plain one would send RST and destroy the echoes that wait for a slow client.
#[test]
fn echoes_on_their_way_survive_the_close() {
    let daemon = Setup::default().set("server.max-message-size", "1KiB").start();
    let good: Vec<u8> = (0..300).flat_map(|index| Framing::Line.wire(format!("{index:0>1000}").as_bytes())).collect();
    // A small window: most echoes are still in the daemon's send buffer when it closes.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&daemon.address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let sender = stream.try_clone().unwrap();
    let oversize = vec![b'x'; 100_000];
    let sending = std::thread::spawn({
        let all = [&good as &[u8], &oversize].concat();
        move || (&sender).write_all(&all)
    });
    let mut heard = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        match stream.read(&mut buffer).expect("an orderly end, not a reset") {
            0 => break,
            count => heard.extend_from_slice(&buffer[..count]),
        }
        // This client is slow: that is its fault, and the test's.
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(heard == good, "{} of {} bytes", heard.len(), good.len());
    sending.join().unwrap().expect("all was taken, or thrown away, by the daemon");
    assert_eq!(stored(daemon).len(), 300);
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
    let daemon = Setup::default().set("limits.write-timeout", "3s").start();
    let idle = worker_sockets(&daemon);
    // It sends until nothing more goes in: its echoes are bounded, so it is no longer read.
    let clients = held_up(daemon.address);
    // Others go on meanwhile, and it is closed by the time-out.
    let mut histories =
        serve(vec![connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 10, 100)).quota(50)]);
    wait_until(DEADLINE, "the time-out closes it", || worker_sockets(&daemon) == idle);
    histories.extend(hear_out(clients));
    stop_and_check(daemon, &histories);
}

#[test]
fn more_than_max_connections_wait_in_the_backlog() {
    let daemon = Setup::default().set("limits.max-connections", 4).start();
    let client = || connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 10, 100)).quota(1);
    let mut inside: Vec<Client> = (0..4).map(|_| client()).collect();
    drive(&mut inside, "four are served", |clients| clients.iter().all(Client::served));
    let mut outside = vec![client(), client()];
    stays_false(SECOND / 2, "a fifth is served", || {
        support::drive::turn(&mut outside).unwrap();
        outside.iter().any(|client| client.history.echoed > 0)
    });
    let mut histories = vec![inside.remove(0).leave()];
    drive(&mut outside, "one of those outside is let in", |clients| clients.iter().any(Client::served));
    stays_false(SECOND / 4, "both are served", || {
        support::drive::turn(&mut outside).unwrap();
        outside.iter().all(|client| client.history.echoed > 0)
    });
    histories.extend(inside.into_iter().map(Client::leave));
    histories.extend(serve(outside));
    assert_eq!(stop_and_check(daemon, &histories), 6);
}
