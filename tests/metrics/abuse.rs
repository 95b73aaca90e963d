//! Clients of the metrics port that are slow, huge, garbage, many, or gone.
use crate::http::{Connection, get};
use crate::support::control::status;
use crate::support::daemon::Setup;
use crate::support::load::{Load, Shape};
use crate::support::{DEADLINE, processes, wait_until};
use crate::{scrape, start};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What comes back for these bytes.
fn said(address: SocketAddr, bytes: &[u8]) -> u16 {
    let mut connection = Connection::new(address);
    // One that is refused early may hang up before all is said.
    let _ = connection.say(bytes);
    let response = connection.hear(true).unwrap();
    if response.header("connection") == Some("close") {
        assert!(connection.ends(DEADLINE));
    }
    response.code
}

#[test]
fn what_is_no_request_of_ours_is_refused_and_counted() {
    let (mut daemon, address) = start(Setup::default());
    let huge = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(1 << 20));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let all: &[(&[u8], u16)] = &[
        (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 405),
        (b"DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/9.9\r\nHost: a\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (&[0; 10_000], 400),
        (&[0xff; 10_000], 400),
        (huge.as_bytes(), 431),
        (many.as_bytes(), 431),
        (&[b'A'; 100_000], 431),
    ];
    for (bytes, code) in all {
        assert_eq!(said(address, bytes), *code, "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
    }
    scrape(address);
    let told = status(&daemon);
    assert_eq!(told["exporter"]["bad_requests"], all.len(), "{told}");
    assert!(!daemon.log().contains("exporter") || !daemon.log().contains("ended"), "{}", daemon.log());
    daemon.stop();
}

#[test]
fn who_is_slow_is_told_so_and_who_says_nothing_is_closed() {
    let (mut daemon, address) = start(Setup::default());
    let begin = Instant::now();
    let mut half = Connection::new(address);
    half.say(b"GET /metrics HTTP/1.1\r\nHo").unwrap();
    let mut silent = Connection::new(address);
    let mut drip = Connection::new(address);
    while begin.elapsed() < Duration::from_secs(4) {
        drip.say(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    for slow in [&mut half, &mut drip] {
        assert_eq!(slow.hear(true).unwrap().code, 408);
        assert!(slow.ends(DEADLINE));
    }
    assert!(silent.ends(DEADLINE));
    assert!(
        begin.elapsed() > Duration::from_secs(4) && begin.elapsed() < Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(status(&daemon)["exporter"]["bad_requests"], 2);
    daemon.stop();
}

#[test]
fn a_kept_connection_may_rest_and_has_its_time_for_the_next_request() {
    let (mut daemon, address) = start(Setup::default());
    let mut connection = Connection::new(address);
    assert_eq!(connection.ask("GET", "/metrics").unwrap().code, 200);
    // Longer than a request may take.
    std::thread::sleep(Duration::from_secs(6));
    for byte in b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" {
        connection.say(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(connection.hear(true).unwrap().code, 200);
    // Begun and not ended.
    connection.say(b"GET").unwrap();
    assert_eq!(connection.hear(true).unwrap().code, 408);
    daemon.stop();
}

#[test]
fn a_crowd_keeps_nobody_out_and_takes_little() {
    let (mut daemon, address) = start(Setup::default());
    let load = Load::start(daemon.address, Shape::default());
    let mut kept = Connection::new(address);
    assert_eq!(kept.ask("GET", "/metrics").unwrap().code, 200);
    let mut crowd = Vec::new();
    for round in 0..100 {
        let mut one = Connection::new(address);
        match round % 3 {
            0 => {}
            1 => one.say(b"GET /metrics HTTP/1.1\r\n").unwrap(),
            // Asks for much and never reads.
            _ => drop(one.say(&b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100))),
        }
        crowd.push(one);
    }
    assert_eq!(get(address, "/metrics").unwrap().code, 200);
    assert_eq!(kept.ask("GET", "/metrics").unwrap().code, 200, "one that was served before is not given up for them");
    let pid = daemon.roles("exporter")[0];
    let sockets = processes::descriptors(pid).iter().filter(|held| held.target.starts_with("socket:")).count();
    assert!(sockets <= 32 + 2, "{sockets} sockets");
    let resident: u64 = processes::status(pid, "RssAnon")[0].parse().unwrap();
    assert!(resident < 16 << 10, "{resident} KiB");
    load.progress(200);
    drop(crowd);
    load.finish();
    assert_eq!(get(address, "/metrics").unwrap().code, 200);
    daemon.stop();
}

#[test]
fn a_crowd_that_does_not_read_keeps_nobody_out() {
    let (mut daemon, address) = start(Setup::default());
    let bad = || crate::value(&scrape(address), "echostored_exporter_bad_requests_total");
    let before = bad();
    let mut crowd = Vec::new();
    for _ in 0..40 {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut one = TcpStream::from(socket);
        one.write_all(&b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(300)).unwrap();
        crowd.push(one);
    }
    for _ in 0..20 {
        assert_eq!(get(address, "/metrics").unwrap().code, 200);
    }
    // A page may be some moments old.
    wait_until(DEADLINE, "who has to make room is counted", || bad() > before);
    drop(crowd);
    daemon.stop();
}

#[test]
fn who_does_not_read_is_closed() {
    let (mut daemon, address) = start(Setup::default());
    let mut one = Connection::new(address);
    let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200);
    let begin = Instant::now();
    // The kernel's buffers take some megabytes.
    let mut sent = 0;
    one.0.get_mut().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    while begin.elapsed() < Duration::from_secs(20) && one.say(&request).is_ok() {
        sent += 1;
    }
    assert!(sent > 0);
    wait_until(DEADLINE, "it is given up", || status(&daemon)["exporter"]["bad_requests"].as_u64() > Some(0));
    // What had been sent can be read; then it ends.
    let mut rest = Vec::new();
    let _ = one.0.read_to_end(&mut rest);
    assert!(begin.elapsed() < DEADLINE + Duration::from_secs(26));
    assert_eq!(get(address, "/metrics").unwrap().code, 200);
    daemon.stop();
}

#[test]
fn any_bytes_are_answered_or_closed() {
    use crate::support::seed::seed;
    let (mut daemon, address) = start(Setup::default());
    let pid = daemon.roles("exporter")[0];
    let mut state = seed() | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words: [&[u8]; 12] = [
        b"GET ",
        b"/metrics",
        b" HTTP/1.1",
        b"\r\n",
        b"Host: a",
        b"\r\n\r\n",
        b"\0",
        b"\xff",
        b"Content-Length: 99999999999999999999",
        b"HEAD ",
        b": ",
        b"x",
    ];
    for _ in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..next() % 20 {
            let word = words[usize::try_from(next() % 12).unwrap()];
            bytes.extend_from_slice(word);
        }
        let mut one = Connection::new(address);
        one.say(&bytes).unwrap();
        one.0.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
        assert!(one.ends(DEADLINE), "{bytes:?}");
    }
    assert_eq!(daemon.roles("exporter"), [pid], "the same process");
    scrape(address);
    daemon.stop();
}
