//! Rates: by delay, never by drop.
use crate::support::checker::{self, Expect};
use crate::support::client::{Client, History, Messages};
use crate::support::daemon::{Daemon, Setup};
use crate::support::drive::{drive, serve};
use crate::support::framing::{Format, Framing};
use crate::{Answer, ask, connect_from, counted, hear, ticks};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

fn client(ip: &str, daemon: &Daemon, seed: u64, count: usize, size: usize) -> Client {
    let message = |n| format!("{ip} {seed} {n:.>size$}").into_bytes();
    let messages = (0..count).map(message).map(|body| (Framing::Line.wire(&body), body));
    let messages = Messages::Listed(messages.collect());
    Client::connect_with(connect_from(ip, daemon.address), Framing::Line, messages).unwrap().window(usize::MAX)
}

fn stop_and_check(mut daemon: Daemon, histories: &[History]) {
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, histories, Expect::default());
}

#[test]
fn connections_of_an_address_together_keep_to_its_rate_and_others_do_not_notice() {
    const RATE: i64 = 50;
    let daemon = Setup::default().set("limits.max-rate-per-ip", RATE).start();
    let workers = daemon.workers();
    let (before, begin) = (ticks(&workers), Instant::now());
    let slow: Vec<Client> = (0..3).map(|n| client("127.0.0.2", &daemon, n, 60, 1)).collect();
    let (slow, fast) = std::thread::scope(|scope| {
        let slow = scope.spawn(|| (serve(slow), begin.elapsed()));
        // Twenty addresses, each with less than a second's worth.
        let quick: Vec<Client> = (3..23).map(|n| client(&format!("127.0.0.{n}"), &daemon, n, 40, 1)).collect();
        let fast = (serve(quick), begin.elapsed());
        (slow.join().unwrap(), fast)
    });
    // 180 messages: a second's worth at once, the others in 2.6 s.
    assert!(slow.1 >= Duration::from_millis(2200), "{:?} for 180 messages", slow.1);
    assert!(slow.1 < Duration::from_secs(15), "{:?} for 180 messages", slow.1);
    assert!(fast.1 < Duration::from_millis(2000) && fast.1 < slow.1, "{:?} for the others", fast.1);
    // 100 ticks are a second: who waits does not spin.
    assert!(ticks(&workers) - before < 100, "{} ticks of CPU", ticks(&workers) - before);
    assert!(counted(&daemon, "delayed") > 0 && daemon.log().contains("waits: its address is over"));
    stop_and_check(daemon, &[slow.0, fast.0].concat());
}

#[test]
fn bytes_keep_to_their_rate_whatever_the_messages_are() {
    for size in [10_usize, 1000, 20_000] {
        let daemon = Setup::default().set("limits.max-byte-rate-per-ip", "64KiB").start();
        let begin = Instant::now();
        let clients: Vec<Client> =
            (0..2).map(|n| client("127.0.0.2", &daemon, n, (128 << 10) / (size + 15), size)).collect();
        let histories = serve(clients);
        let (took, bytes) = (begin.elapsed(), histories.iter().map(|history| history.echoed_bytes).sum::<usize>());
        let least = Duration::from_secs_f64((bytes as f64 / 65_536.0 - 1.0) * 0.8);
        assert!(took >= least && took < 6 * least, "{took:?} for {bytes} bytes in messages of {size}, not {least:?}");
        stop_and_check(daemon, &histories);
    }
}

/// A new connection brings no new rate.
#[test]
fn a_connection_for_each_message_is_no_faster() {
    let mut daemon = Setup::default().set("limits.max-rate-per-ip", 20).start();
    let begin = Instant::now();
    for _ in 0..80 {
        assert_eq!(ask(&connect_from("127.0.0.2", daemon.address)), Answer::Echo);
    }
    assert!(begin.elapsed() >= Duration::from_millis(2500), "{:?} for 80 messages", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?} for 80 messages", begin.elapsed());
    daemon.stop();
}

/// Half-closed, it still waits; and who leaves in the line does not hold up the others for ever.
#[test]
fn all_that_was_sent_before_an_end_is_stored_and_echoed() {
    let daemon = Setup::default().set("limits.max-rate-per-ip", 10).start();
    let clients: Vec<Client> = (0..2).map(|n| client("127.0.0.2", &daemon, n, 15, 1).half_close()).collect();
    let mut gone = Vec::new();
    for _ in 0..50 {
        let mut stream = connect_from("127.0.0.2", daemon.address);
        stream.write_all(b"gone\ngone\n").unwrap();
        gone.push(stream);
    }
    drop(gone);
    let begin = Instant::now();
    let histories = serve(clients);
    assert!(histories.iter().all(|history| history.echoed == 15));
    // 30 messages, and 100 of those that have left, of which each may be stored.
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    let mut daemon = daemon;
    daemon.stop();
}

/// What has arrived is stored and echoed in a stop, not waited with.
#[test]
fn a_stop_does_not_wait_for_the_rate() {
    let mut daemon = Setup::default().set("limits.max-rate-per-ip", 1).start();
    let mut stream = connect_from("127.0.0.2", daemon.address);
    let sent: Vec<u8> = (0..40).flat_map(|n| format!("message {n}\n").into_bytes()).collect();
    stream.write_all(&sent).unwrap();
    assert_eq!(hear(&stream, b"message 0\n"), Answer::Echo);
    let begin = Instant::now();
    daemon.stop();
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, &sent[b"message 0\n".len()..]);
    let _ = stream.shutdown(Shutdown::Both);
}

/// A rate that is never reached costs no message a wait.
#[test]
fn below_the_rate_nobody_waits() {
    let daemon = Setup::default().set("limits.max-rate-per-ip", 1_000_000).set("limits.max-byte-rate-per-ip", "1GiB");
    let daemon = daemon.start();
    let messages = |n| Messages::generated(Framing::Line, n, 100);
    let mut clients: Vec<Client> =
        (0..10).map(|n| Client::connect(daemon.address, Framing::Line, messages(n)).unwrap().quota(2000)).collect();
    drive(&mut clients, "all echoes", |clients| clients.iter().all(Client::served));
    let histories: Vec<History> = clients.into_iter().map(Client::leave).collect();
    assert_eq!(counted(&daemon, "delayed"), 0);
    stop_and_check(daemon, &histories);
}
