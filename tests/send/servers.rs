//! Servers that are no echostored, or do not want what is sent.
use super::{Sender, send};
use crate::support::daemon::{Ended, Setup, free_address};
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A server of the test's own; it lives as long as the test binary.
fn serve(each: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(each));
    address
}

fn read_all(mut stream: &TcpStream) {
    let mut buffer = [0; 65536];
    while matches!(stream.read(&mut buffer), Ok(1..)) {}
}

fn failed(ended: &Ended, told: &[&str]) {
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    for told in told {
        assert!(ended.stderr.contains(told), "{told:?} is missing:\n{}", ended.stderr);
    }
}

#[test]
fn another_byte_is_found_and_ends_it() {
    let address = serve(|mut stream| {
        let mut buffer = [0; 100];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let changed = String::from_utf8_lossy(&buffer[..count]).replace("wo", "WO");
            stream.write_all(changed.as_bytes()).unwrap();
        }
    });
    let ended = send(&[&address], b"one\ntwo\nthree\n");
    failed(
        &ended,
        &[
            "at line 2, byte 2, 0x77 was sent and 0x57 came back",
            "2 of 3 messages were not echoed, the first is line 2",
        ],
    );
}

#[test]
fn a_greeting_is_no_echo() {
    let address = serve(|mut stream| {
        stream.write_all(b"SSH-2.0-Other\r\n").unwrap();
        read_all(&stream);
    });
    let mut sender = Sender::start(&[&address]);
    // Nothing is sent before the greeting has come.
    let input = sender.input();
    let ended = sender.end(DEADLINE);
    drop(input);
    let told =
        ["no echo server", "came back and was not sent: \"SSH-2.0-Other", "standard input was not read to its end"];
    failed(&ended, &told);
}

#[test]
fn a_silent_server_is_left_after_the_timeout() {
    let address = serve(std::mem::forget);
    let begun = Instant::now();
    let ended = send(&[&address, "--timeout", "200ms", "--retries", "1", "--exactly"], b"one\ntwo\n");
    assert!(begun.elapsed() >= Duration::from_millis(500), "two timeouts and a rest");
    failed(&ended, &["no echo for 200ms (--timeout)", "2 of 2 messages were not echoed, the first is line 1"]);
    assert_eq!(ended.stdout, "1-2\ntotal 2\n", "what was sent twice may be stored twice");
}

#[test]
fn a_server_that_closes_at_once_is_told_with_its_reasons() {
    let address = serve(drop);
    let ended = send(&[&address, "--retries", "6"], b"one\ntwo\n");
    failed(&ended, &["2 of 2 messages were not echoed, the first is line 1", "the connection to 127.0.0.1"]);
}

#[test]
fn nobody_there_and_a_name_that_is_none() {
    let nowhere = free_address().to_string();
    let ended = send(&[&nowhere, "--retries", "2"], b"one\n");
    failed(&ended, &["Connection refused; trying again", "1 of 1 messages were not echoed", "not echoed"]);
    assert_eq!(ended.stderr.matches("trying again").count(), 1, "told once: {}", ended.stderr);
    let ended = send(&["nobody.invalid:7007", "--retries", "0"], b"one\n");
    failed(&ended, &["cannot connect to nobody.invalid:7007: failed to lookup"]);
    let ended = send(&["unix:/nonexistent/socket", "--retries", "0"], b"one\n");
    failed(&ended, &["cannot connect to unix:/nonexistent/socket: No such file"]);
}

/// The daemon closes the connection at a message that is too long, each time again: the user hears which, and why that may be.
#[test]
fn a_message_that_the_server_does_not_take_is_named() {
    let mut daemon = Setup::default().set("server.max-message-size", "100B").set("store.format", "raw").start();
    let input = format!("one\ntwo\n{}\nfour\n", "x".repeat(200));
    let ended = send(&[&daemon.address.to_string(), "--retries", "6", "--window", "3"], input.as_bytes());
    let told = ["line 3 (201 bytes) was sent 5 times and never echoed", "server.max-message-size", "going on"];
    failed(&ended, &told);
    failed(&ended, &["2 of 4 messages were not echoed, the first is line 3"]);
    assert_eq!(ended.stderr.matches("going on").count(), 1, "told once: {}", ended.stderr);
    daemon.stop();
    assert_eq!(std::fs::read_to_string(daemon.current()).unwrap(), "one\ntwo\n");
}

#[test]
fn a_unix_socket_is_served() {
    let home = crate::support::home::Home::new();
    let path = home.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    crate::support::home::give_away(&path);
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut copy = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut copy).unwrap();
    });
    let ended = send(&[&format!("unix:{}", path.display())], b"one\ntwo\n");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

/// The first signal waits for the echoes, the second does not.
#[test]
fn the_second_signal_ends_it_at_once() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&arrived);
    let address = serve(move |mut stream| {
        let mut buffer = [0; 100];
        while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
            count.fetch_add(bytes, Ordering::SeqCst);
        }
    });
    let mut sender = Sender::start(&[&address]);
    let mut input = sender.input();
    input.write_all(b"one\ntwo\n").unwrap();
    wait_until(DEADLINE, "both are sent", || arrived.load(Ordering::SeqCst) == 8);
    sender.signal(Signal::SIGTERM);
    wait_until(DEADLINE, "the first signal is told", || sender.said().contains("waiting for the echoes of 2 messages"));
    let second = Instant::now();
    sender.signal(Signal::SIGINT);
    let ended = sender.end(DEADLINE);
    assert!(second.elapsed() < Duration::from_secs(4), "not at once: {:?}", second.elapsed());
    failed(&ended, &["2 of 2 messages were not echoed, the first is line 1"]);
}

/// A sender that is killed in the midst of a message must not leave a beginning of it that a server takes for a whole one.
#[test]
fn killed_in_mid_message_it_leaves_a_broken_connection() {
    let long = [vec![b'x'; 15 << 20], vec![b'\n']].concat();
    for (input, broken) in [(&long[..], true), (b"whole\n", false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = Sender::start(&[&listener.local_addr().unwrap().to_string()]);
        let mut pipe = sender.input();
        pipe.write_all(input).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 6];
        stream.read_exact(&mut buffer).unwrap();
        // More than the sockets hold: it waits for room, or, with the short one, for its echo.
        wait_until(DEADLINE, "a waiting sender", || processes::status(sender.pid(), "State")[0] == "S");
        sender.signal(Signal::SIGKILL);
        let end = loop {
            match stream.read(&mut buffer) {
                Ok(1..) => {}
                end => break end.map_err(|error| error.kind()),
            }
        };
        let expected = if broken { Err(std::io::ErrorKind::ConnectionReset) } else { Ok(0) };
        assert_eq!(end, expected, "{} bytes were to be sent", input.len());
    }
}

/// Input without end, through connections that bring little and are then reset: the sender's memory stays as it is.
#[test]
fn memory_is_bounded_by_the_window() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let address = serve(move |mut stream| {
        let mut buffer = vec![0; 64 << 10];
        for _ in 0..40 {
            let Ok(read @ 1..) = stream.read(&mut buffer) else { return };
            if stream.write_all(&buffer[..read]).is_err() {
                return;
            }
        }
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        count.fetch_add(1, Ordering::SeqCst);
    });
    let mut sender = Sender::start(&[&address, "--window", "100000", "--exactly"]);
    let mut input = sender.input();
    let fed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fed);
    let feeder = std::thread::spawn(move || {
        let line = [vec![b'x'; 3000], vec![b'\n']].concat();
        while input.write_all(&line).is_ok() {
            count.fetch_add(line.len(), Ordering::SeqCst);
        }
    });
    let kilobytes = |sender: &Sender| processes::status(sender.pid(), "VmHWM")[0].parse::<u64>().unwrap();
    wait_until(DEADLINE * 3, "many connections, and more input than its memory", || {
        connections.load(Ordering::SeqCst) >= 20 && fed.load(Ordering::SeqCst) > 64 << 20
    });
    let highest = kilobytes(&sender);
    sender.signal(Signal::SIGTERM);
    sender.signal(Signal::SIGINT);
    let ended = sender.end(DEADLINE);
    failed(&ended, &["messages were not echoed"]);
    feeder.join().unwrap();
    assert!(highest < 40 << 10, "{highest} KiB of memory at most");
}
