//! TLS, with the clients that people use: `openssl s_client`, `curl`; and rustls where every byte is watched.
use super::{count, hear, peer_and_message, stored};
use crate::support::DEADLINE;
use crate::support::certificates::{Authority, Pair};
use crate::support::daemon::{Daemon, Setup, command, free_address};
use crate::support::home::Home;
use crate::support::{skip, wait_until};
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

pub type Client = StreamOwned<ClientConnection, TcpStream>;

/// A daemon with TLS at `address`, and who signed its certificate.
pub struct Scene {
    pub daemon: Daemon,
    pub authority: Authority,
    pub address: SocketAddr,
}

pub fn scene(change: impl FnOnce(Setup, &Home) -> Setup) -> Scene {
    let home = Home::new();
    let authority = Authority::new(&home, "authority");
    let pair = authority.sign(&home, "server", &["localhost", "127.0.0.1"]);
    let address = free_address();
    let setup = certified(Setup::default(), &pair).set("tls.listen", vec![address.to_string()]);
    let setup = change(setup, &home);
    Scene { daemon: setup.start_in(home), authority, address }
}

fn certified(setup: Setup, pair: &Pair) -> Setup {
    setup.set("tls.certificate", pair.certificate.to_str().unwrap()).set("tls.key", pair.key.to_str().unwrap())
}

/// A client that trusts `authority`, with a certificate of its own or without.
pub fn client(address: SocketAddr, authority: &Authority, own: Option<&Pair>) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.file).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&pair.certificate).unwrap()],
                PrivateKeyDer::from_pem_file(&pair.key).unwrap(),
            )
            .unwrap(),
    };
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    StreamOwned::new(connection, stream)
}

/// Whether the server has a certificate of this authority, and echoes.
fn greets(address: SocketAddr, authority: &Authority) -> bool {
    let mut client = client(address, authority, None);
    let mut echo = [0; 6];
    client.write_all(b"greet\n").and_then(|()| client.read_exact(&mut echo)).is_ok() && &echo == b"greet\n"
}

/// `openssl s_client`, that stays until it is told to leave.
fn s_client(address: SocketAddr, authority: &Authority, more: &[&str]) -> Option<Child> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-verify_return_error", "-connect", &address.to_string(), "-CAfile"]);
    command.arg(&authority.file).args(more);
    match command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => Some(child),
        Err(error) => {
            skip(&format!("openssl: {error}; apt-get install openssl"));
            None
        }
    }
}

/// Says something by it, hears the echo, and ends it.
fn converse(mut child: Child, message: &str) {
    child.stdin.as_mut().unwrap().write_all(message.as_bytes()).unwrap();
    hear(child.stdout.as_mut().unwrap(), message);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn openssl_speaks_both_versions() {
    let mut scene = scene(|setup, _| setup);
    for version in ["-tls1_2", "-tls1_3"] {
        let Some(child) = s_client(scene.address, &scene.authority, &[version]) else { return };
        converse(child, &format!("by openssl {version}\n"));
    }
    // The plain listener is another one.
    super::say(&mut TcpStream::connect(scene.daemon.address).unwrap(), "plain\n");
    scene.daemon.stop();
    let lines = stored(&scene.daemon);
    let told: Vec<&str> = lines.iter().map(|line| peer_and_message(line).1).collect();
    assert_eq!(told, ["by openssl -tls1_2", "by openssl -tls1_3", "plain"]);
    assert!(scene.daemon.log().contains(&format!("listening on {} (TLS)", scene.address)), "{}", scene.daemon.log());
    crate::support::harm::verify(&scene.daemon);
}

#[test]
fn an_old_version_and_plain_bytes_are_turned_away() {
    let mut scene = scene(|setup, _| setup.set("tls.min-version", "1.3").set("tls.handshake-timeout", "500ms"));
    let Some(child) = s_client(scene.address, &scene.authority, &["-tls1_2"]) else { return };
    let said = child.wait_with_output().unwrap();
    assert!(!said.status.success());
    assert!(String::from_utf8_lossy(&said.stderr).contains("alert protocol version"), "{said:?}");
    let mut plain = TcpStream::connect(scene.address).unwrap();
    plain.write_all(b"hello hello hello\n").unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    // One that says nothing, and one that stops in the middle.
    let (mut silent, mut half) =
        (TcpStream::connect(scene.address).unwrap(), TcpStream::connect(scene.address).unwrap());
    half.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    for stream in [&mut silent, &mut half] {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        super::hangs_up(stream);
    }
    wait_until(DEADLINE, "the count", || count(&scene.daemon, "handshake_failures") == 4);
    let log = scene.daemon.log();
    assert!(log.contains("TLS handshake with 127.0.0.1:") && log.contains("did not bring a TLS handshake"), "{log}");
    scene.daemon.stop();
    assert_eq!(stored(&scene.daemon), Vec::<String>::new());
}

/// curl's request is two or more lines; their echo is to it an answer of HTTP 0.9.
#[test]
fn curl_hears_its_request() {
    let mut scene = scene(|setup, _| setup);
    let url = format!("https://{}/hello", scene.address);
    let mut command = Command::new("curl");
    command.args(["--silent", "--http0.9", "--max-time", "3", "--cacert"]).arg(&scene.authority.file).arg(&url);
    let Ok(said) = command.output() else { return skip("no curl; apt-get install curl") };
    let heard = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(heard.starts_with("GET /hello HTTP/1.1\r\nHost: "), "{said:?}");
    scene.daemon.stop();
    assert!(stored(&scene.daemon)[0].ends_with("-1 GET /hello HTTP/1.1"));
}

/// Its name stands in `jsonl`; without one, or with somebody else's, nobody gets in.
#[test]
fn clients_show_their_certificates() {
    let certificates = Home::new();
    let (ours, theirs) = (Authority::new(&certificates, "clients"), Authority::new(&certificates, "strangers"));
    let good = ours.sign(&certificates, "sensor-7", &["sensor-7"]);
    let bad = theirs.sign(&certificates, "sensor-8", &["sensor-8"]);
    let mut scene =
        scene(|setup, _| setup.set("tls.client-ca", ours.file.to_str().unwrap()).set("store.format", "jsonl"));
    super::say(&mut client(scene.address, &scene.authority, Some(&good)), "by name\n");
    for own in [None, Some(&bad)] {
        let mut client = client(scene.address, &scene.authority, own);
        let refused =
            client.write_all(b"nobody\n").and_then(|()| client.flush()).and_then(|()| client.read(&mut [0; 9]));
        assert!(refused.is_err(), "{refused:?}");
    }
    if let Some(child) = s_client(scene.address, &scene.authority, &["-tls1_2"]) {
        let said = child.wait_with_output().unwrap();
        assert!(!said.status.success(), "without a certificate: {said:?}");
        let own = ["-cert", good.certificate.to_str().unwrap(), "-key", good.key.to_str().unwrap()];
        converse(s_client(scene.address, &scene.authority, &own).unwrap(), "by openssl\n");
    }
    scene.daemon.reconfigure(|setup| setup.set("tls.client-certificate", "optional"));
    let old = scene.daemon.workers();
    scene.daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "new workers", || scene.daemon.workers().iter().all(|pid| !old.contains(pid)));
    super::say(&mut client(scene.address, &scene.authority, None), "nameless\n");
    super::say(&mut client(scene.address, &scene.authority, Some(&good)), "named\n");
    scene.daemon.stop();
    let subject = r#""subject":"CN=sensor-7, O=Example \"quoted\" Ltd","connection":"#;
    for line in stored(&scene.daemon) {
        assert_eq!(line.contains(subject), !line.contains("nameless"), "{line}");
        assert!(!line.contains("nobody"), "{line}");
    }
    crate::support::harm::verify(&scene.daemon);
}

/// A long conversation, in both directions at once, of messages that fill many records; then an orderly end.
#[test]
fn every_byte_comes_back() {
    let mut scene = scene(|setup, _| setup.set("server.max-message-size", "1MiB"));
    let mut client = client(scene.address, &scene.authority, None);
    let mut sizes = [1usize, 100, 16_384, 16_385, 70_000, 1_000_000].iter().cycle();
    let mut sent = 0u64;
    for n in 0..60u8 {
        let mut message = vec![b'a' + n % 26; *sizes.next().unwrap()];
        message.push(b'\n');
        client.write_all(&message).unwrap();
        client.flush().unwrap();
        let mut echo = vec![0; message.len()];
        client.read_exact(&mut echo).unwrap();
        assert!(echo == message, "message {n}");
        sent += 1;
    }
    // Its last message has no end but that of the conversation.
    client.write_all(b"last").unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last");
    scene.daemon.stop();
    assert_eq!(stored(&scene.daemon).len() as u64, sent + 1);
    crate::support::harm::verify(&scene.daemon);
}

/// An end that the peer has not said may be an attacker's: what has no end of its own is no message.
#[test]
fn a_conversation_that_is_cut_off_leaves_no_fragment() {
    let mut scene = scene(|setup, _| setup);
    let mut client = client(scene.address, &scene.authority, None);
    client.write_all(b"whole\nfragment").unwrap();
    client.flush().unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    hear(&mut client, "whole\n");
    let mut rest = Vec::new();
    match client.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
    }
    assert_eq!(rest, b"");
    wait_until(DEADLINE, "the count", || count(&scene.daemon, "incomplete") == 1);
    scene.daemon.stop();
    assert_eq!(stored(&scene.daemon).len(), 1);
}

/// A renewed certificate is shown to those who come after the reload; who is there stays.
#[test]
fn a_reload_takes_up_a_new_certificate() {
    let mut scene = scene(|setup, _| setup);
    let mut before = client(scene.address, &scene.authority, None);
    super::say(&mut before, "before\n");
    let authority = Authority::new(scene.daemon.home(), "successor");
    let pair = authority.sign(scene.daemon.home(), "renewed", &["localhost"]);
    scene.daemon.reconfigure(|setup| certified(setup, &pair));
    let old = scene.daemon.workers();
    scene.daemon.signal(Signal::SIGHUP);
    // Until the new workers serve, the old ones accept.
    wait_until(DEADLINE, "the new certificate", || greets(scene.address, &authority));
    super::say(&mut before, "still here\n");
    assert!(old.iter().any(|pid| crate::support::processes::runs(*pid)));
    // A bad one changes nothing.
    scene.daemon.home().write("renewed.pem", "no certificate");
    scene.daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "a refusal", || scene.daemon.log().contains("not reloaded"));
    assert!(scene.daemon.log().contains("tls.certificate"), "{}", scene.daemon.log());
    wait_until(DEADLINE, "the new certificate, still", || greets(scene.address, &authority));
    super::say(&mut before, "and still here\n");
    drop(before);
    scene.daemon.stop();
}

/// Exit 78, with the file and what is wrong with it.
#[test]
fn files_that_do_not_serve_are_named() {
    let home = Home::new();
    let authority = Authority::new(&home, "authority");
    let (pair, other) =
        (authority.sign(&home, "server", &["localhost"]), authority.sign(&home, "other", &["localhost"]));
    let mut daemon = Daemon::new(home, certified(Setup::default(), &pair));
    let empty = daemon.home().write("empty.pem", "");
    for (key, file, why) in [
        ("tls.certificate", daemon.home().join("none.pem"), "No such file"),
        ("tls.certificate", empty.clone(), "no certificate is in it"),
        ("tls.key", empty, "no private key is in it"),
        ("tls.key", other.key, "is it the key of the first certificate"),
        ("tls.client-ca", pair.key.clone(), "no certificate is in it"),
        ("tls.key", "credential:tls.key".into(), "LoadCredential=tls.key"),
    ] {
        daemon.reconfigure(|setup| certified(setup, &pair).set("tls.client-ca", "").set(key, file.to_str().unwrap()));
        assert_eq!(daemon.launch(), Err(78), "{why}");
        let log = daemon.log();
        assert!(log.contains(why) && log.contains(key), "{key}, {why}:\n{log}");
    }
}

/// The program's own clients, with a writer that dies again and again: every message is stored once.
#[test]
fn bench_and_send_speak_tls() {
    let mut scene = scene(|setup, _| setup);
    let address = scene.address.to_string();
    let trust = ["--tls", "--tls-ca", scene.authority.file.to_str().unwrap()];
    let store = scene.daemon.store();
    let mut arguments =
        vec!["bench", &address, "--connections", "8", "--in-flight", "16", "--duration", "3s", "--store"];
    arguments.push(store.to_str().unwrap());
    let mut bench = command(&[&arguments[..], &trust].concat());
    let bench = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..5 {
        let before = messages(&scene.daemon);
        wait_until(DEADLINE, "more messages", || messages(&scene.daemon) > before + 100);
        crate::support::harm::kill_writer(&mut scene.daemon);
    }
    let said = bench.wait_with_output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stdout).contains("missing 0, doubled 0"), "{said:?}");

    let lines: String = (0..5000).map(|n| format!("line {n}\n")).collect();
    let mut send = command(&[&["send", &address, "--exactly"][..], &trust].concat());
    let mut send = send.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    send.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let said = send.wait_with_output().unwrap();
    assert!(said.status.success() && said.stdout == b"total 0\n", "{said:?}");
    // Who is not trusted gets nothing.
    let stranger = Authority::new(scene.daemon.home(), "stranger");
    for trust in [&["--tls", "--tls-ca", stranger.file.to_str().unwrap()][..], &["--tls"]] {
        let mut send = command(&[&["send", &address, "--retries", "0"], trust].concat());
        let mut send = send.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        send.stdin.take().unwrap().write_all(b"nobody\n").unwrap();
        let said = send.wait_with_output().unwrap();
        let why = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && (why.contains("TLS: ") || why.contains("--tls-ca")), "{said:?}");
    }
    scene.daemon.stop();
    assert_eq!(stored(&scene.daemon).iter().filter(|line| line.contains(" line ")).count(), 5000);
}

/// Messages stored so far.
fn messages(daemon: &Daemon) -> u64 {
    crate::support::control::status(daemon)["totals"]["writer"]["messages"].as_u64().unwrap()
}

/// A socket of a socket unit, by its name.
#[test]
fn a_socket_that_the_service_manager_passes_speaks_tls() {
    let home = Home::new();
    let authority = Authority::new(&home, "authority");
    let pair = authority.sign(&home, "server", &["localhost"]);
    let listeners = ["echo", "tls"].map(|name| (name, TcpListener::bind("127.0.0.1:0").unwrap()));
    let [plain, tls] = [&listeners[0].1, &listeners[1].1].map(|listener| listener.local_addr().unwrap());
    let mut daemon = Daemon::new(home, certified(Setup::default(), &pair));
    daemon.activated_by(listeners.map(|(name, listener)| (name.to_owned(), listener.into())).into());
    assert_eq!(daemon.launch(), Ok(()));
    super::say(&mut client(tls, &authority, None), "encrypted\n");
    super::say(&mut TcpStream::connect(plain).unwrap(), "plain\n");
    daemon.stop();
    daemon.reconfigure(|setup| setup.set("tls.certificate", "").set("tls.key", ""));
    assert_eq!(daemon.launch(), Err(78));
    assert!(daemon.log().contains("there is no certificate for it"), "{}", daemon.log());
}
