//! Clients that are turned away, held up or closed: each kind from addresses of its own.
use crate::eye::Eye;
use crate::seen::Seen;
use crate::support::certificates::Authority;
use crate::support::daemon::{Daemon, Setup, free_address};
use crate::support::home::Home;
use crate::support::{DEADLINE, processes};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// One that has been let in, or not; with a small window, so that echoes that it does not read soon hold it up.
pub fn connect_from(ip: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(1 << 14).unwrap();
    socket.bind(&SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
    socket.connect_timeout(&to.into(), DEADLINE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends until nothing more goes in for a while, or the daemon closes; it never reads.
pub fn push(mut stream: &TcpStream, bytes: &[u8]) {
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    while stream.write_all(bytes).is_ok() {}
}

/// Sends a message and hears its echo.
pub fn say(mut stream: &TcpStream, message: &str) {
    stream.write_all(message.as_bytes()).unwrap();
    let mut heard = vec![0; message.len()];
    stream.read_exact(&mut heard).unwrap_or_else(|error| panic!("no echo: {error}"));
    assert_eq!(heard, message.as_bytes());
}

/// Sends what may already be refused.
fn send(mut stream: &TcpStream, bytes: &[u8]) {
    match stream.write_all(bytes) {
        Err(error) if ![ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()) => panic!("{error}"),
        _ => {}
    }
}

fn limits(home: &Home) -> (Setup, SocketAddr) {
    let pair = Authority::new(home, "authority").sign(home, "server", &["localhost"]);
    let tls = free_address();
    let setup = Setup::default()
        .set("server.framing", "octet-counted")
        .set("rotate.interval", "365d")
        .set("proxy.from", vec!["127.0.1.0/24"])
        .set("limits.deny", vec!["127.0.2.0/24"])
        .set("limits.max-connections", 12)
        .set("limits.max-connections-per-ip", 3)
        .set("limits.max-rate-per-ip", 1000)
        .set("limits.idle-timeout", "10s")
        .set("limits.first-message-timeout", "5s")
        .set("limits.write-timeout", "1s")
        .set("tls.listen", vec![tls.to_string()])
        .set("tls.certificate", pair.certificate.to_str().unwrap())
        .set("tls.key", pair.key.to_str().unwrap());
    (setup, tls)
}

pub fn play(seen: &Seen) {
    let home = Home::new();
    let (setup, tls) = limits(&home);
    let mut daemon = crate::start_in(home, setup);
    let eye = Eye::new(seen, &daemon);
    let come = |ip: &str| connect_from(ip, daemon.address);
    let idle = come("127.0.0.2");
    say(&idle, "5 hello");
    eye.until("a connection", |told| told["connections"] == 1);
    eye.until_told("a rate", |told| {
        say(&idle, "5 hello");
        told["messages_per_second"].as_u64() > Some(0)
    });
    let silent = come("127.0.0.3");
    send(&come("127.0.0.4"), b"100000 ");
    eye.until_counted("oversize");
    send(&come("127.0.0.5"), b"x3 bad");
    eye.until_counted("malformed");
    let fragment = come("127.0.0.6");
    send(&fragment, b"100 short");
    fragment.shutdown(Shutdown::Write).unwrap();
    eye.until_counted("incomplete");
    send(&come("127.0.1.1"), b"5 hello");
    eye.until_counted("bad_proxy_headers");
    send(&come("127.0.2.1"), b"5 hello");
    eye.until_counted("denied");
    let crowd: Vec<TcpStream> = (0..4).map(|_| come("127.0.3.1")).collect();
    eye.until_counted("too_many");
    drop(crowd);
    send(&connect_from("127.0.0.7", tls), b"GET / HTTP/1.0\r\n\r\n");
    eye.until_counted("handshake_failures");
    eye.until_counted("idle");
    eye.until_counted("late");
    drop((idle, silent));
    let hasty = come("127.0.0.8");
    send(&hasty, &b"1 x".repeat(1500));
    eye.until_counted("delayed");
    drop(hasty);
    let deaf = come("127.0.0.9");
    push(&deaf, &[b"60000 ".as_slice(), &[b'.'; 60_000]].concat());
    eye.until_counted("timed_out");
    drop(deaf);
    let many: Vec<TcpStream> = (1..=20).map(|n| come(&format!("127.0.4.{n}"))).collect();
    eye.until_counted("accept_pauses");
    drop(many);
    daemon.stop();
}

/// Another process in the place of a killed one.
pub fn replace(daemon: &mut Daemon, role: &str) {
    let old = daemon.roles(role)[0];
    processes::end(old);
    crate::support::wait_until(DEADLINE, role, || daemon.roles(role).iter().any(|pid| *pid != old));
    daemon.remember();
}
