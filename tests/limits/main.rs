//! `[limits]`: who may come in, how many of one address, how fast, how quiet, how much they may hold; over several workers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod memory;
mod rates;
mod silence;

use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;
use support::DEADLINE;
use support::daemon::Daemon;

/// A connection from an address of this machine: all of 127.0.0.0/8 is.
fn connect_from(ip: &str, to: SocketAddr) -> TcpStream {
    let ip: IpAddr = ip.parse().unwrap();
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(ip, 0).into()).unwrap();
    socket.connect_timeout(&to.into(), DEADLINE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// How the daemon answers a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// By the echo.
    Echo,
    /// By the end of the connection.
    End,
    /// By RST.
    Reset,
}

/// What comes next over the stream: the echo of `message`, or the end.
fn hear(mut stream: &TcpStream, message: &[u8]) -> Answer {
    let mut heard = vec![0; message.len()];
    let mut length = 0;
    while length < heard.len() {
        match stream.read(&mut heard[length..]) {
            Ok(0) => return Answer::End,
            Ok(count) => length += count,
            Err(error) if [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()) => {
                return Answer::Reset;
            }
            Err(error) => panic!("neither echo nor end: {error}"),
        }
    }
    assert_eq!(heard, message);
    Answer::Echo
}

/// Sends a line, and hears.
fn ask(mut stream: &TcpStream) -> Answer {
    match stream.write_all(b"hello\n") {
        Ok(()) => hear(stream, b"hello\n"),
        Err(_) => Answer::Reset,
    }
}

/// Whether the daemon serves this client.
fn is_served(stream: &TcpStream) -> bool {
    ask(stream) == Answer::Echo
}

/// A client from there, if it is let in.
fn enter(ip: &str, daemon: &Daemon) -> Option<TcpStream> {
    Some(connect_from(ip, daemon.address)).filter(is_served)
}

/// Whether the daemon ends the connection within `span`.
fn ends_within(mut stream: &TcpStream, span: Duration) -> bool {
    stream.set_read_timeout(Some(span)).unwrap();
    let ended = match stream.read(&mut [0; 1]) {
        Ok(0) => true,
        Ok(_) => panic!("an echo that nobody asked for"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("not an orderly end: {error}"),
    };
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    ended
}

/// A counter of all workers since the start.
fn counted(daemon: &Daemon, name: &str) -> u64 {
    let status = support::control::status(daemon);
    status["totals"]["workers"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {status}"))
}

/// Clock ticks of CPU that these processes have used.
fn ticks(pids: &[i32]) -> u64 {
    let of = |pid: &i32| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    pids.iter().map(of).sum()
}
