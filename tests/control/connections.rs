//! `status --connections`: who is connected, the busiest first.
use crate::support::client::{Client, Messages};
use crate::support::control::tell;
use crate::support::daemon::{Daemon, Setup};
use crate::support::drive::drive;
use crate::support::framing::Framing;
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

fn asked(daemon: &Daemon) -> (Value, String) {
    let ended = tell(daemon, &["status", "--connections", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let text = tell(daemon, &["status", "--connections"]);
    assert_eq!(text.code, 0, "{text:?}");
    (serde_json::from_str(&ended.stdout).unwrap(), text.stdout + &text.stderr)
}

fn column(told: &Value, name: &str) -> Vec<u64> {
    told["busiest"].as_array().unwrap().iter().map(|guest| guest[name].as_u64().unwrap()).collect()
}

#[test]
fn the_busiest_come_first_and_one_that_hangs_is_named() {
    let mut daemon = Setup::default().start();
    let (none, _) = asked(&daemon);
    assert_eq!((column(&none, "messages"), none["missing"].as_array().unwrap().len()), (vec![], 0));
    let quotas: Vec<usize> = (1..=30).collect();
    let mut clients: Vec<Client> = quotas
        .iter()
        .map(|&quota| {
            let messages = Messages::generated(Framing::Line, 50, 51);
            Client::connect(daemon.address, Framing::Line, messages).unwrap().quota(quota)
        })
        .collect();
    drive(&mut clients, "every message is echoed", |clients| clients.iter().all(Client::served));
    let (told, text) = asked(&daemon);
    assert_eq!(column(&told, "messages"), (11..=30).rev().collect::<Vec<u64>>(), "twenty of thirty");
    let bytes = column(&told, "bytes");
    assert!(bytes.iter().zip(column(&told, "messages")).all(|(bytes, messages)| *bytes >= messages * 50), "{bytes:?}");
    let peers = |clients: &[Client]| -> BTreeSet<String> {
        clients.iter().map(|client| client.stream().local_addr().unwrap().to_string()).collect()
    };
    for guest in told["busiest"].as_array().unwrap() {
        let peer = guest["peer"].as_str().unwrap();
        assert!(peers(&clients).contains(peer) && text.contains(peer), "{peer} in {text}");
    }
    who_sends_now_comes_first(&daemon);
    // One worker hangs: the others' connections are told within some seconds, and which number is missing.
    let stopped = daemon.workers()[0];
    processes::signal(stopped, Signal::SIGSTOP);
    let (told, text) = asked(&daemon);
    processes::signal(stopped, Signal::SIGCONT);
    assert_eq!(told["missing"].as_array().unwrap().len(), 1, "{told}");
    assert!(text.contains(&format!("worker {} does not answer", told["missing"][0])), "{text}");
    let (told, _) = asked(&daemon);
    assert_eq!((column(&told, "messages").len(), told["missing"].as_array().unwrap().len()), (20, 0));
    clients.into_iter().for_each(|client| drop(client.leave()));
    daemon.stop();
}

/// Others have sent more, and are quiet. More than one try: on a disk that hangs for a second nothing is sent in it.
fn who_sends_now_comes_first(daemon: &Daemon) {
    let sender = TcpStream::connect(daemon.address).unwrap();
    let own = sender.local_addr().unwrap().to_string();
    let mut stream = sender.try_clone().unwrap();
    let talk =
        std::thread::spawn(
            move || {
                while stream.write_all(b"x\n").and_then(|()| stream.read_exact(&mut [0; 2])).is_ok() {}
            },
        );
    wait_until(DEADLINE, "who sends now comes first", || {
        let told = asked(daemon).0;
        let rates = [column(&told, "messages_per_second"), column(&told, "bytes_per_second")];
        assert!(rates.iter().all(|rates| rates[1..].iter().all(|rate| *rate == 0)), "{told}");
        told["busiest"][0]["peer"] == own.as_str() && rates.iter().all(|rates| rates[0] > 0)
    });
    sender.shutdown(Shutdown::Both).unwrap();
    talk.join().unwrap();
}
