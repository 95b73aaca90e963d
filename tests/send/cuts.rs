//! Connections that are cut.
use super::proxy::{Manner, Proxy};
use super::{Feeder, Sender, all_doubles_are_told, stored};
use crate::support::daemon::{Daemon, Setup};
use crate::support::framing::Framing;
use crate::support::{DEADLINE, processes, seed, wait_until};
use nix::sys::signal::Signal;
use std::time::Duration;

/// Sends through a proxy that cuts so many connections, and checks the store.
fn through(framing: Framing, manner: Manner, count: usize) -> (Daemon, u64, u64) {
    let mut daemon = Setup::default().set("server.framing", framing.name()).start();
    let proxy = Proxy::start(daemon.address, count, manner);
    let address = proxy.address.to_string();
    let mut sender = Sender::start(&[&address, "--framing", framing.name(), "--exactly"]);
    let feeder = Feeder::start(sender.input(), framing);
    wait_until(DEADLINE + Duration::from_secs(2) * u32::try_from(count).unwrap(), "all cuts", || proxy.cuts() >= count);
    let fed = feeder.stop();
    let ended = sender.end(DEADLINE);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    daemon.stop();
    let times = stored(&daemon, framing, fed);
    let (doubles, told) = all_doubles_are_told(&times, &ended.stdout);
    assert!(ended.stderr.contains(&format!("; {told} messages were sent again; ")), "{}", ended.stderr);
    println!("{count} cuts, {fed} messages, {doubles} stored twice, {told} told");
    (daemon, doubles, told)
}

#[test]
fn everything_is_stored_through_cut_connections() {
    let count = seed::count("ECHOSTORED_TEST_SEND", 10);
    let (_daemon, doubles, _) = through(Framing::Line, Manner::Reset, count);
    assert!(doubles > 0, "no message is stored twice: the cuts were too gentle to show anything");
}

/// An orderly end in the midst of a message: with a length before it the server can tell.
#[test]
fn everything_is_stored_through_connections_that_end_too_soon() {
    through(Framing::OctetCounted, Manner::Close, 10);
}

/// A worker takes its connections with it; what it had handed on is stored, and not echoed.
#[test]
fn everything_is_stored_through_dying_workers() {
    let mut daemon = Setup::default().start();
    let mut sender = Sender::start(&[&daemon.address.to_string(), "--exactly"]);
    let feeder = Feeder::start(sender.input(), Framing::Line);
    for _ in 0..10 {
        let size = || std::fs::metadata(daemon.current()).map_or(0, |meta| meta.len());
        let before = size();
        wait_until(DEADLINE, "more in the store", || size() > before);
        daemon.workers().into_iter().for_each(|pid| processes::signal(pid, Signal::SIGKILL));
        daemon.remember();
    }
    let fed = feeder.stop();
    let ended = sender.end(DEADLINE);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    daemon.stop();
    all_doubles_are_told(&stored(&daemon, Framing::Line, fed), &ended.stdout);
}
