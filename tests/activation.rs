//! Sockets that the service manager passes, by name (sd_listen_fds(3)).
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use support::checker::{self, Expect};
use support::client::{Client, History, Messages};
use support::daemon::{Daemon, Setup, free_address};
use support::drive::serve;
use support::framing::{Format, Framing};
use support::home::Home;
use support::wait_until;
use support::{DEADLINE, home};

fn named<T: Into<OwnedFd>>(name: &str, socket: T) -> (String, OwnedFd) {
    (name.to_owned(), socket.into())
}

fn client(address: std::net::SocketAddr) -> Client {
    Client::connect(address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap().quota(5)
}

/// IPv4, IPv6 and Unix at once; the configuration's address is not listened on.
#[test]
fn sockets_of_all_families_are_served_and_no_other() {
    let home = Home::new();
    let four = TcpListener::bind("127.0.0.1:0").unwrap();
    let six = TcpListener::bind("[::1]:0").unwrap();
    let path = home.join("echo.sock");
    let unix = UnixListener::bind(&path).unwrap();
    home::give_away(&path);
    let addresses = [four.local_addr().unwrap(), six.local_addr().unwrap()];
    let mut daemon = Daemon::new(home, Setup::default());
    // The second one's unit does not say what it is called.
    daemon.activated_by(vec![named("echo", four), named("some-unit.socket", six), named("echo", unix)]);
    assert_eq!(daemon.launch(), Ok(()));
    let mut histories: Vec<History> = serve(addresses.map(client).into());
    let log = daemon.log();
    for place in [addresses[0].to_string(), addresses[1].to_string(), path.display().to_string()] {
        assert!(log.contains(&format!("listening on {place} (the service manager's socket)")), "{place}:\n{log}");
    }
    assert!(TcpStream::connect(daemon.address).is_err(), "server.listen");

    let mut stream = UnixStream::connect(&path).unwrap();
    let mut echo = [0; 6];
    stream.write_all(b"hello\n").unwrap();
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello\n");
    // A reload takes up nothing of server.listen, and closes none of them.
    let (second, before) = (free_address(), daemon.workers());
    daemon.reconfigure(|setup| setup.listen(&[second]));
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "new workers", || daemon.workers().iter().any(|pid| !before.contains(pid)));
    histories.extend(serve(addresses.map(client).into()));
    assert!(TcpStream::connect(second).is_err());
    // None of them is the daemon's to keep.
    assert!(!daemon.manager().kept().iter().any(|name| name.starts_with("listener")));
    drop(stream);
    daemon.stop();
    let peer = format!(" unix:{}:{} ", std::process::id(), nix::unistd::getuid());
    let stored: Vec<String> = checker::files(&daemon.store())
        .iter()
        .flat_map(|file| std::fs::read_to_string(&file.path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let of_unix: Vec<&String> = stored.iter().filter(|line| line.contains(&peer)).collect();
    assert_eq!(of_unix.len(), 1, "{stored:?}");
    assert!(of_unix[0].ends_with("-1 hello"), "{of_unix:?}");
    support::harm::verify(&daemon);
}

/// With the manager's sockets too: the connections of a restart wait, they are not refused.
#[test]
fn a_restart_refuses_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut daemon = Daemon::new(Home::new(), Setup::default());
    daemon.activated_by(vec![named("echo", listener)]);
    daemon.restarted_by_manager();
    assert_eq!(daemon.launch(), Ok(()));
    let mut histories = Vec::new();
    for _ in 0..5 {
        daemon.stop();
        let waiting = client(address);
        daemon.start_again();
        histories.extend(serve(vec![waiting]));
    }
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

/// Exit 78, with what is wrong and what to do.
#[test]
fn what_is_no_listening_stream_socket_is_refused() {
    let connected = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap()
    };
    let file = || std::fs::File::open("/dev/null").unwrap();
    let cases: [((String, OwnedFd), &str); 4] = [
        (named("echo", connected()), "it does not listen"),
        (named("echo", UdpSocket::bind("127.0.0.1:0").unwrap()), "it is not a stream socket"),
        (named("echo", file()), "it is not a socket"),
        (named("metrics", TcpListener::bind("127.0.0.1:0").unwrap()), "set FileDescriptorName=echo"),
    ];
    for (socket, why) in cases {
        let mut daemon = Daemon::new(Home::new(), Setup::default());
        daemon.activated_by(vec![socket]);
        assert_eq!(daemon.launch(), Err(78), "{why}");
        assert!(daemon.log().contains(why), "{why}:\n{}", daemon.log());
    }
}

/// What is meant for another process is not taken.
#[test]
fn another_process_is_meant() {
    let mut daemon = Setup::default().environment("LISTEN_FDS", "2").environment("LISTEN_PID", "1").start();
    let histories = serve(vec![client(daemon.address)]);
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}
