//! TLS that breaks, stops or is cut off: whoever does that harms nobody else, and is noticed.
use super::tls::{Scene, client, scene};
use super::{count, hangs_up, say, stored};
use crate::support::daemon::Daemon;
use crate::support::{DEADLINE, control, processes, wait_until};
use nix::sys::socket::{MsgFlags, send};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// All workers sleep, and have so many connections.
fn settled(daemon: &Daemon, connections: u64) {
    wait_until(DEADLINE, "workers that sleep", || {
        control::status(daemon)["connections"] == connections
            && daemon.workers().iter().all(|pid| processes::status(*pid, "State")[0] == "S")
    });
}

/// Urgent data is an event of its own: a worker that takes it for news of the socket for ever would read nothing else.
#[test]
fn an_urgent_byte_in_a_handshake_holds_up_nobody() {
    let mut scene = scene(|setup, _| setup.set("server.workers", 1).set("tls.handshake-timeout", "1m"));
    let urgent = TcpStream::connect(scene.address).unwrap();
    settled(&scene.daemon, 1);
    send(urgent.as_raw_fd(), &[0x16], MsgFlags::MSG_OOB).unwrap();
    let mut other = TcpStream::connect(scene.daemon.address).unwrap();
    other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for _ in 0..3 {
        say(&mut other, "served\n");
    }
    settled(&scene.daemon, 2);
    drop((urgent, other));
    scene.daemon.stop();
}

/// The end may come together with the first part of a record, in one event.
#[test]
fn an_end_within_a_record_is_seen() {
    let Scene { mut daemon, authority, address } = scene(|setup, _| setup);
    let mut client = client(address, &authority, None);
    say(&mut client, "whole\n");
    settled(&daemon, 1);
    let socket = SockRef::from(&client.sock);
    socket.set_tcp_cork(true).unwrap();
    // An application data record of 100 bytes, of which 20 come.
    (&client.sock).write_all(&[&[23, 3, 3, 0, 100][..], &[7; 20]].concat()).unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    wait_until(DEADLINE, "the end", || control::status(&daemon)["connections"] == 0);
    assert_eq!(count(&daemon, "incomplete"), 1);
    daemon.stop();
    assert_eq!(stored(&daemon).len(), 1);
}

/// The client is told by an alert, in order: no reset destroys the echoes that are on their way.
#[test]
fn a_broken_record_is_answered_by_an_alert_and_counted() {
    let Scene { mut daemon, authority, address } = scene(|setup, _| setup);
    let mut client = client(address, &authority, None);
    say(&mut client, "whole\n");
    (&client.sock).write_all(&[&[23, 3, 3, 0, 100][..], &[7; 100]].concat()).unwrap();
    let error = client.read(&mut [0; 9]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    hangs_up(&mut client.sock);
    assert_eq!(count(&daemon, "handshake_failures"), 1);
    assert!(daemon.log().contains("TLS with 127.0.0.1:"), "{}", daemon.log());
    daemon.stop();
}

/// A handshake's message that claims to be long is not waited for.
#[test]
fn a_handshake_without_end_is_ended() {
    let mut scene = scene(|setup, _| setup);
    let mut stream = TcpStream::connect(scene.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // A ClientHello of 60,000 bytes, in records of 16,000.
    let mut records = Vec::new();
    let hello = [&[1, 0, 0xea, 0x60][..], &[0; 60_000]].concat();
    for piece in hello.chunks(16_000) {
        records.extend_from_slice(&[22, 3, 1]);
        records.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
        records.extend_from_slice(piece);
    }
    // It may be closed before all is sent.
    let _ = stream.write_all(&records[..records.len() - 1]);
    let _ = stream.read_to_end(&mut Vec::new());
    wait_until(DEADLINE, "the count", || count(&scene.daemon, "handshake_failures") == 1);
    scene.daemon.stop();
}
