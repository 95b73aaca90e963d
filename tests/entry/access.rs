//! The access log of those who come in by a proxy, by TLS, or not at all.
use super::tls::{self, scene};
use super::{hear, say};
use crate::support::certificates::Authority;
use crate::support::daemon::{Daemon, Setup};
use crate::support::home::Home;
use crate::support::{DEADLINE, wait_until};
use serde_json::Value;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

fn told(setup: Setup) -> Setup {
    setup.set("log.access", true).set("log.format", "json")
}

/// The line of an event of this client.
fn line(daemon: &Daemon, event: &str, peer: &str) -> Value {
    let mut found = None;
    wait_until(DEADLINE, &format!("{event} of {peer}"), || {
        let log = daemon.log();
        let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let mut lines = whole.map(|line| serde_json::from_str::<Value>(line).unwrap());
        found =
            lines.find(|line| line["event"] == event && line["peer"].as_str().is_some_and(|is| is.starts_with(peer)));
        found.is_some()
    });
    found.unwrap()
}

fn reason(daemon: &Daemon, peer: &SocketAddr) -> String {
    line(daemon, "connection-closed", &peer.to_string())["reason"].as_str().unwrap().to_owned()
}

#[test]
fn tls_is_told_with_the_subject_and_with_what_went_wrong() {
    let mut scene = scene(|setup, home| {
        let clients = Authority::new(home, "clients");
        clients.sign(home, "sensor-7", &[]);
        told(setup)
            .set("tls.client-ca", clients.file.to_str().unwrap())
            .set("tls.client-certificate", "optional")
            .set("tls.handshake-timeout", "500ms")
    });
    let home = scene.daemon.home();
    let pair =
        crate::support::certificates::Pair { certificate: home.join("sensor-7.pem"), key: home.join("sensor-7.key") };
    let mut client = tls::client(scene.address, &scene.authority, Some(&pair));
    let own = client.sock.local_addr().unwrap();
    say(&mut client, "hello\n");
    let opened = line(&scene.daemon, "connection-opened", &own.to_string());
    assert_eq!((&opened["transport"], &opened["listener"]), (&"tls".into(), &scene.address.to_string().into()));
    assert!(opened["subject"].as_str().unwrap().contains("CN=sensor-7"), "{opened}");
    client.conn.send_close_notify();
    client.flush().unwrap();
    drop(client);
    let closed = line(&scene.daemon, "connection-closed", &own.to_string());
    assert_eq!(
        (&closed["reason"], &closed["bytes_in"], &closed["bytes_echoed"]),
        (&"client closed".into(), &6.into(), &6.into())
    );
    // Without its farewell.
    let mut client = tls::client(scene.address, &scene.authority, None);
    let own = client.sock.local_addr().unwrap();
    say(&mut client, "hello\n");
    client.sock.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(reason(&scene.daemon, &own), "cut");
    // What is no TLS after the handshake.
    let mut client = tls::client(scene.address, &scene.authority, None);
    let own = client.sock.local_addr().unwrap();
    say(&mut client, "hello\n");
    client.sock.write_all(&[0; 100]).unwrap();
    assert_eq!(reason(&scene.daemon, &own), "TLS broken");
    let mut plain = TcpStream::connect(scene.address).unwrap();
    plain.write_all(b"hello\n").unwrap();
    assert_eq!(reason(&scene.daemon, &plain.local_addr().unwrap()), "handshake failed");
    let silent = TcpStream::connect(scene.address).unwrap();
    assert_eq!(reason(&scene.daemon, &silent.local_addr().unwrap()), "entry late");
    scene.daemon.stop();
}

#[test]
fn a_client_behind_a_proxy_is_told_by_its_own_name() {
    let mut daemon = told(Setup::default()).set("proxy.from", vec!["127.0.0.1"]).start();
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 203.0.113.9 56324 443\r\nhello\n").unwrap();
    hear(&mut stream, "hello\n");
    drop(stream);
    let opened = line(&daemon, "connection-opened", "192.0.2.7:56324");
    assert_eq!(line(&daemon, "connection-closed", "192.0.2.7:56324")["connection"], opened["connection"]);
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.write_all(b"hello\n").unwrap();
    assert_eq!(reason(&daemon, &stream.local_addr().unwrap()), "no PROXY header");
    daemon.stop();
}

#[test]
fn a_unix_socket_is_told_by_its_path() {
    let home = Home::new();
    home.make_dir("run");
    let path = home.join("run/echo.sock");
    let mut daemon = Daemon::new(home, told(Setup::default()));
    let both = vec![daemon.address.to_string(), format!("unix:{}", path.display())];
    daemon.reconfigure(|setup| setup.set("server.listen", both).set("server.unix-mode", "0666"));
    assert_eq!(daemon.launch(), Ok(()));
    let mut stream = UnixStream::connect(&path).unwrap();
    say(&mut stream, "hello\n");
    let peer = format!("unix:{}:", std::process::id());
    let opened = line(&daemon, "connection-opened", &peer);
    assert_eq!(
        (&opened["transport"], &opened["listener"]),
        (&"unix".into(), &format!("unix:{}", path.display()).into())
    );
    daemon.stop();
}
