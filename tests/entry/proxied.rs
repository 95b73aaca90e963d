//! Behind a proxy: the header of the PROXY protocol.
use super::{count, hangs_up, hear, peer_and_message, say, stored};
use crate::support::DEADLINE;
use crate::support::daemon::{Daemon, Setup};
use crate::support::wait_until;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn behind(proxies: &[&str]) -> Setup {
    Setup::default().set("proxy.from", proxies.to_vec()).set("server.echo", "stored")
}

fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// From another address of this machine.
fn connect_from(source: &str, daemon: &Daemon) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
    socket.connect(&daemon.address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[test]
fn the_client_that_the_header_names_stands_in_the_record() {
    let mut daemon = behind(&["127.0.0.1"]).start();
    // Header and message in one segment, in one of each, byte by byte; LOCAL names nobody.
    let one = b"PROXY TCP4 192.0.2.7 203.0.113.9 56324 443\r\n";
    let mut together = connect(&daemon);
    together.write_all(&[&one[..], b"together\n"].concat()).unwrap();
    hear(&mut together, "together\n");
    let mut apart = connect(&daemon);
    apart.write_all(b"PROXY TCP6 2001:db8::7 2001:db8::9 1 2\r\n").unwrap();
    say(&mut apart, "apart\n");
    let mut bytes = connect(&daemon);
    for byte in [V2, &[0x21, 0x11, 0, 15, 198, 51, 100, 1, 203, 0, 113, 9, 0, 80, 1, 187, 4, 0, 0], b"byte"].concat() {
        bytes.write_all(&[byte]).unwrap();
    }
    bytes.write_all(b"wise\n").unwrap();
    hear(&mut bytes, "bytewise\n");
    let mut local = connect(&daemon);
    local.write_all(&[V2, &[0x20, 0, 0, 0]].concat()).unwrap();
    say(&mut local, "local\n");
    let own = local.local_addr().unwrap().to_string();
    // Only those who are listed are believed.
    let mut stranger = connect_from("127.0.0.2", &daemon);
    say(&mut stranger, "PROXY TCP4 192.0.2.7 203.0.113.9 56324 443\r\n");
    let strangers = stranger.local_addr().unwrap().to_string();
    for stream in [together, apart, bytes, local, stranger] {
        drop(stream);
    }
    daemon.stop();
    let lines = stored(&daemon);
    let told: Vec<(&str, &str)> = lines.iter().map(|line| peer_and_message(line)).collect();
    let expected = [
        ("192.0.2.7:56324", "together"),
        ("[2001:db8::7]:1", "apart"),
        ("198.51.100.1:80", "bytewise"),
        (&own, "local"),
        (&strangers, "PROXY TCP4 192.0.2.7 203.0.113.9 56324 443"),
    ];
    assert_eq!(told, expected);
    crate::support::harm::verify(&daemon);
}

/// Who may come in, and how often, is said of the client, not of its proxy.
#[test]
fn the_limits_are_for_the_client_that_the_header_names() {
    let limited = behind(&["127.0.0.1"]).set("limits.deny", vec!["192.0.2.66"]).set("limits.max-connections-per-ip", 2);
    let mut daemon = limited.start();
    let come = |client: &str| {
        let mut stream = connect(&daemon);
        stream.write_all(format!("PROXY TCP4 {client} 203.0.113.9 1 2\r\nfrom {client}\n").as_bytes()).unwrap();
        stream
    };
    let heard = |mut stream: TcpStream, client: &str| {
        let mut echo = Vec::new();
        let wanted = format!("from {client}\n").into_bytes();
        // A refused one sees an end or a reset.
        while echo.len() < wanted.len() {
            let mut some = [0; 100];
            match stream.read(&mut some) {
                Ok(0) | Err(_) => return None,
                Ok(count) => echo.extend_from_slice(&some[..count]),
            }
        }
        (echo == wanted).then_some(stream)
    };
    assert!(heard(come("192.0.2.66"), "192.0.2.66").is_none());
    let stay: Vec<_> = (0..2).map(|_| heard(come("192.0.2.7"), "192.0.2.7").unwrap()).collect();
    assert!(heard(come("192.0.2.7"), "192.0.2.7").is_none());
    let others: Vec<_> = (8..20).map(|n| format!("192.0.2.{n}")).collect();
    let others: Vec<_> = others.iter().map(|client| heard(come(client), client).unwrap()).collect();
    assert_eq!((count(&daemon, "denied"), count(&daemon, "too_many")), (1, 1));
    drop(stay);
    wait_until(DEADLINE, "room", || heard(come("192.0.2.7"), "192.0.2.7").is_some());
    drop(others);
    daemon.stop();
    assert!(!stored(&daemon).iter().any(|line| line.contains("192.0.2.66")));
}

#[test]
fn who_brings_no_header_is_closed_and_nothing_of_it_is_stored() {
    let mut daemon = behind(&["127.0.0.0/8"]).set("proxy.header-timeout", "300ms").start();
    let mut plain = connect(&daemon);
    plain.write_all(b"hello\n").unwrap();
    hangs_up(&mut plain);
    let mut endless = connect(&daemon);
    endless.write_all(&[b"PROXY TCP4 ".to_vec(), vec![b'1'; 5000]].concat()).unwrap();
    hangs_up(&mut endless);
    let mut silent = connect(&daemon);
    hangs_up(&mut silent);
    let mut half = connect(&daemon);
    half.write_all(b"PROXY TC").unwrap();
    hangs_up(&mut half);
    // A look whether the port is open (a health check) is no fault.
    drop(connect(&daemon));
    wait_until(DEADLINE, "the count", || count(&daemon, "bad_proxy_headers") == 4);
    assert!(daemon.log().contains("one of proxy.from, sent no PROXY header"), "{}", daemon.log());
    assert!(daemon.log().contains("did not bring a PROXY header"), "{}", daemon.log());
    daemon.stop();
    assert_eq!(stored(&daemon), Vec::<String>::new());
}
