//! A thousand signals a second, for some seconds, under load; then `TERM`.
use super::{echo, reconnecting};
use crate::support::client::End;
use crate::support::daemon::Daemon;
use crate::support::harm::{Tally, verify};
use crate::support::load::{Load, Shape};
use crate::support::seed::{Chance, seed};
use crate::support::{checker, processes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SPAN: Duration = Duration::from_secs(3);

/// Sends one of these for each millisecond: half of them to the supervisor, half to whoever it may be. The most processes seen.
fn rage(daemon: &mut Daemon, signals: &[Signal], chance: &mut Chance) -> usize {
    let (begin, mut sent, mut most) = (Instant::now(), 0, 0);
    let one = |n: usize, chance: &mut Chance| usize::try_from(chance.below(n as u64)).unwrap();
    while begin.elapsed() < SPAN {
        let family = processes::family(daemon.supervisor());
        most = most.max(family.len());
        // However late this thread comes: as many as are due.
        while sent < begin.elapsed().as_millis() {
            let anybody = family[one(family.len(), chance)];
            let target = if chance.below(2) == 0 { daemon.supervisor() } else { anybody };
            // A worker of an old configuration may just have left.
            let _ = kill(Pid::from_raw(target), signals[one(signals.len(), chance)]);
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    daemon.remember();
    println!("{sent} signals in {:.1?}, at most {most} processes", begin.elapsed());
    most
}

/// No connection is refused or lost.
#[test]
fn of_rotations_and_of_what_means_nothing() {
    let mut daemon = echo("stored").start();
    let load = Load::start(daemon.address, Shape { messages_a_connection: Some(200), ..Shape::default() });
    let signals = [Signal::SIGUSR1, Signal::SIGCHLD, Signal::SIGWINCH, Signal::SIGPIPE, Signal::SIGUSR2];
    assert_eq!(rage(&mut daemon, &signals, &mut Chance::new(seed())), 5, "supervisor, writer, archiver, two workers");
    assert!(checker::files(&daemon.store()).len() > 3, "it did not rotate");
    load.progress(1_000);
    Tally::default().settle(daemon, load);
}

/// One connection after the other that ends at once, until told to stop; how many.
fn visit(address: SocketAddr, stop: &AtomicBool) -> usize {
    let mut visits = 0;
    while !stop.load(Ordering::SeqCst) {
        let mut stream = TcpStream::connect(address).expect("no connection is refused");
        stream.shutdown(Shutdown::Write).unwrap();
        let mut echo = Vec::new();
        stream.read_to_end(&mut echo).expect("no connection is reset");
        assert_eq!(echo, b"", "somebody else's echo");
        visits += 1;
    }
    visits
}

/// One reload at a time; a connection ends, in order, at the second reload after it was made. Then `TERM`, amid more of them.
#[test]
fn of_reloads() {
    let mut daemon = echo("stored").start();
    let load = Load::start(daemon.address, reconnecting());
    let (stop, address) = (AtomicBool::new(false), daemon.address);
    let visits = std::thread::scope(|scope| {
        let visitor = scope.spawn(|| visit(address, &stop));
        let signals = [Signal::SIGHUP, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGCHLD, Signal::SIGWINCH];
        let most = rage(&mut daemon, &signals, &mut Chance::new(seed()));
        stop.store(true, Ordering::SeqCst);
        assert!(most < 20, "{most} processes: workers of old configurations pile up");
        visitor.join().unwrap()
    });
    load.progress(1_000);
    for _ in 0..100 {
        daemon.signal(Signal::SIGHUP);
    }
    let heard = daemon.manager().heard();
    let turns: Vec<&str> =
        heard.iter().map(String::as_str).filter(|line| ["RELOADING=1", "READY=1"].contains(line)).collect();
    let reloads = turns.iter().filter(|line| **line == "RELOADING=1").count();
    println!("{visits} short connections, {reloads} reloads, {} connections of the load ended", load.broken());
    assert!(reloads > 3 && visits > 3, "{reloads} reloads, {visits} visits");
    assert!(!turns.windows(2).any(|two| two == ["RELOADING=1"; 2]), "two reloads at a time");
    daemon.remember();
    let histories = load.finish();
    for history in &histories {
        assert_eq!(history.end, Some(End::Eof), "end of {}", history.peer);
    }
    daemon.stop();
    verify(&daemon);
    let expect = checker::Expect { empty_files: true, ..checker::Expect::default() };
    checker::check(&daemon.store(), crate::support::framing::Format::Text, &histories, expect);
}
