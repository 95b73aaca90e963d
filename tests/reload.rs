//! Reload: nobody is refused, nothing is lost, and what cannot be taken up changes nothing.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use support::checker::{self, Expect};
use support::client::{Client, End, History, Messages};
use support::daemon::{Daemon, Setup, free_address};
use support::drive::{drive, serve};
use support::framing::{Format, Framing};
use support::load::{Load, Shape};
use support::{DEADLINE, processes, wait_until};

fn client(address: SocketAddr) -> Client {
    Client::connect(address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap()
}

fn check(daemon: &Daemon, histories: &[History]) {
    checker::check(&daemon.store(), Format::Text, histories, Expect::default());
}

/// Address and inode of every socket that listens, as `/proc/net/tcp` has them.
fn listeners() -> Vec<(String, String)> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let listening = fields.filter(|fields| fields.get(3) == Some(&"0A"));
    listening.map(|fields| (fields[1].to_owned(), fields[9].to_owned())).collect()
}

/// The inode of the socket that listens on `address`.
fn listener(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { panic!("IPv4 only") };
    let wanted = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    listeners().into_iter().find(|(address, _)| *address == wanted).map(|(_, inode)| inode)
}

fn holds_socket(pid: i32, inode: &str) -> bool {
    processes::descriptors(pid).iter().any(|held| held.target == format!("socket:[{inode}]"))
}

/// Sends `HUP` and waits for a generation of `count` workers that has none of the old ones accepting.
fn reload(daemon: &mut Daemon, count: usize) {
    let old: BTreeSet<i32> = daemon.workers().into_iter().collect();
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "a new generation", || {
        daemon.workers().iter().filter(|pid| !old.contains(pid)).count() == count
    });
    wait_until(DEADLINE, "the old workers have let go of the listeners", || {
        let listeners = listeners();
        !old.iter().any(|pid| listeners.iter().any(|(_, inode)| holds_socket(*pid, inode)))
    });
    daemon.remember();
}

#[test]
fn a_reload_under_load_refuses_nobody_and_loses_nothing() {
    for echo in ["received", "stored", "synced"] {
        let mut daemon = Setup::default().set("server.echo", echo).start();
        let inode = listener(daemon.address).expect("it listens");
        let mut histories = Vec::new();
        // New connections are made all the time; those that are there at a reload go on for as long as they like (until
        // the second reload after).
        let coming = Load::start(daemon.address, Shape { messages_a_connection: Some(10), ..Shape::default() });
        for workers in [3, 1, 2] {
            let lasting = Load::start(daemon.address, Shape::default());
            daemon.reconfigure(|setup| setup.set("server.workers", workers));
            reload(&mut daemon, usize::try_from(workers).unwrap());
            lasting.progress(200);
            coming.progress(200);
            histories.extend(lasting.finish());
        }
        assert_eq!(listener(daemon.address), Some(inode), "the listener never closed");
        histories.extend(coming.finish());
        // The last old connection has ended, and with it the old generations.
        wait_until(DEADLINE, "the end of the old generations", || daemon.workers().len() == 2);
        daemon.stop();
        check(&daemon, &histories);
    }
}

#[test]
fn a_reload_takes_up_a_changed_address() {
    let mut daemon = Setup::default().start();
    let (first, second) = (daemon.address, free_address());
    let inode = listener(first);
    daemon.reconfigure(|setup| setup.listen(&[first, second]));
    reload(&mut daemon, 2);
    assert_eq!(listener(first), inode, "the first one stays");
    let mut histories = serve(vec![client(first).quota(5), client(second).quota(5)]);
    let mut old = vec![client(first).quota(3)];
    drive(&mut old, "three echoes", |clients| clients[0].served());
    daemon.reconfigure(|setup| setup.listen(&[second]));
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "the end of the first address", || TcpStream::connect(first).is_err());
    // The connection that came over it goes on.
    old[0].allow(3);
    drive(&mut old, "three more echoes", |clients| clients[0].served());
    assert!(!old[0].ended());
    histories.extend(old.into_iter().map(Client::leave));
    histories.extend(serve(vec![client(second).quota(5)]));
    daemon.stop();
    check(&daemon, &histories);
}

#[test]
fn a_draining_worker_takes_no_connection_and_no_wake_up() {
    let mut daemon = Setup::default().start();
    let mut lasting: Vec<Client> = (0..8).map(|_| client(daemon.address).quota(1)).collect();
    drive(&mut lasting, "an echo for each", |clients| clients.iter().all(Client::served));
    reload(&mut daemon, 2);
    // One at a time: a wake-up that went to a worker which does not accept would leave that connection waiting.
    let mut histories = Vec::new();
    for _ in 0..50 {
        histories.extend(serve(vec![client(daemon.address).quota(1).half_close()]));
    }
    lasting.iter_mut().for_each(|client| client.finish(true));
    histories.extend(serve(lasting));
    daemon.stop();
    check(&daemon, &histories);
}

#[test]
fn a_third_generation_closes_the_first() {
    let mut daemon = Setup::default().start();
    let mut clients = vec![client(daemon.address).quota(3)];
    drive(&mut clients, "three echoes", |clients| clients[0].served());
    reload(&mut daemon, 2);
    clients[0].allow(3);
    drive(&mut clients, "three more echoes", |clients| clients[0].served());
    assert!(!clients[0].ended(), "one reload ends nobody");
    reload(&mut daemon, 2);
    drive(&mut clients, "the end", |clients| clients[0].ended());
    assert_eq!(clients[0].history.end, Some(End::Eof));
    let histories: Vec<History> = clients.into_iter().map(Client::leave).collect();
    daemon.stop();
    check(&daemon, &histories);
}

#[test]
fn a_reload_changes_what_it_may() {
    let mut daemon = Setup::default().set("server.max-message-size", "1KiB").start();
    daemon.reconfigure(|setup| {
        let setup = setup
            .set("server.framing", "octet-counted")
            .set("server.max-message-size", "1MiB")
            .set("server.echo", "synced");
        setup.set("rotate.max-size", "64KiB").set("server.reload-timeout", "1s")
    });
    reload(&mut daemon, 2);
    wait_until(DEADLINE, "the end of the old generation", || daemon.workers().len() == 2);
    let messages = || Messages::generated(Framing::OctetCounted, 1, 200_000);
    let clients =
        (0..3).map(|_| Client::connect(daemon.address, Framing::OctetCounted, messages()).unwrap().quota(10)).collect();
    let histories = serve(clients);
    daemon.stop();
    let report = checker::check(
        &daemon.store(),
        Format::Text,
        &histories,
        Expect { max_size: Some(65536), ..Expect::default() },
    );
    assert!(report.files.len() > 3);
}

#[test]
fn old_connections_end_at_the_reload_timeout() {
    let mut daemon = Setup::default().set("server.reload-timeout", "1s").start();
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut clients = vec![client(daemon.address).quota(3)];
    drive(&mut clients, "three echoes", |clients| clients[0].served());
    reload(&mut daemon, 2);
    assert_eq!(stream.read(&mut [0; 10]).expect("an orderly end"), 0);
    drive(&mut clients, "the end", |clients| clients[0].ended());
    assert_eq!(clients[0].history.end, Some(End::Eof));
    wait_until(DEADLINE, "the end of the old generation", || daemon.workers().len() == 2);
    let histories: Vec<History> = clients.into_iter().map(Client::leave).collect();
    daemon.stop();
    check(&daemon, &histories);
}

#[test]
fn a_bad_configuration_leaves_the_old_one() {
    let mut daemon = Setup::default().start();
    let workers = daemon.workers();
    let load = Load::start(daemon.address, Shape { messages_a_connection: Some(10), ..Shape::default() });
    let good = std::fs::read_to_string(daemon.config_path()).unwrap();
    let other = daemon.home().join("elsewhere").display().to_string();
    type Change = Box<dyn Fn(Setup) -> Setup>;
    let refused: [(&str, Change); 6] = [
        ("server.ecko", Box::new(|setup| setup.set("server.ecko", "stored"))),
        ("server.workers", Box::new(|setup| setup.set("server.workers", "many"))),
        ("store.directory", Box::new(move |setup| setup.set("store.directory", other.as_str()))),
        ("store.prefix", Box::new(|setup| setup.set("store.prefix", "other"))),
        ("store.format", Box::new(|setup| setup.set("store.format", "jsonl"))),
        ("daemon.pid-file", Box::new(|setup| setup.set("daemon.pid-file", "/run/other.pid"))),
    ];
    for (key, change) in refused {
        let before = daemon.log().len();
        std::fs::write(daemon.config_path(), change(daemon.setup.clone()).text(daemon.home())).unwrap();
        daemon.signal(Signal::SIGHUP);
        let name = key.split_once('.').unwrap().1;
        wait_until(DEADLINE, &format!("the log names {key}"), || daemon.log()[before..].contains(name));
        load.progress(50);
        assert_eq!(daemon.workers(), workers, "the old workers go on after {key}");
    }
    std::fs::write(daemon.config_path(), good).unwrap();
    reload(&mut daemon, 2);
    load.progress(50);
    let histories = load.finish();
    daemon.stop();
    check(&daemon, &histories);
}

#[test]
fn a_deaf_service_manager_holds_nobody_up() {
    let mut daemon = Setup::default().start();
    daemon.manager().go_deaf();
    // More messages than its queue takes (net.unix.max_dgram_qlen, usually 10): two for each reload.
    for _ in 0..20 {
        reload(&mut daemon, 2);
        wait_until(DEADLINE, "the end of the old generation", || daemon.workers().len() == 2);
    }
    let victim = daemon.workers()[0];
    processes::signal(victim, Signal::SIGKILL);
    wait_until(DEADLINE, "another worker", || {
        let workers = daemon.workers();
        workers.len() == 2 && !workers.contains(&victim)
    });
    let histories = serve(vec![client(daemon.address).quota(20).half_close()]);
    daemon.remember();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit(DEADLINE), 0);
    check(&daemon, &histories);
}
