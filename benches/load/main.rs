//! The load program: how many messages a second are stored and echoed, and how long an echo takes.
//!
//! `cargo bench --bench load -- --addr 127.0.0.1:7007 --connections 50 --in-flight 64 --size 128 --seconds 5`
//! `cargo bench --bench load -- --spawn [--binary target/release/echostored] [--seconds 5] [--modes stored,synced]`
//!
//! Every echoed byte is compared with what was sent. Framing is `line`; the size counts the line feed.
#![allow(clippy::unwrap_used, reason = "a program for developers: a failed unwrap is a failed measurement")]

mod connection;
mod latency;
mod options;
mod spawn;

use connection::Connection;
use latency::Latency;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use options::{Options, Workload};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What one measurement gave.
struct Measured {
    messages: u64,
    span: Duration,
    latency: Latency,
}

fn main() {
    let options = Options::parse(std::env::args().skip(1));
    if options.spawn {
        spawn::table(&options);
        return;
    }
    println!("{}", Row::HEAD);
    let measured = measure(options.address, options.workload, options.span, options.threads);
    println!("{}", Row { mode: "-", workload: options.workload, measured: &measured });
}

/// One line of the report.
struct Row<'a> {
    mode: &'a str,
    workload: Workload,
    measured: &'a Measured,
}

impl Row<'_> {
    const HEAD: &'static str = "echo       workload           messages/s       MB/s    p50 µs    p99 µs";
}

impl std::fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Measured { messages, span, latency } = self.measured;
        let rate = *messages as f64 / span.as_secs_f64();
        let megabytes = rate * self.workload.size as f64 / 1e6;
        let micros = |share| latency.quantile(share).as_nanos() as f64 / 1000.0;
        let (p50, p99) = (micros(0.50), micros(0.99));
        write!(f, "{:<10} {:<16} {rate:>12.0} {megabytes:>10.1} {p50:>9.1} {p99:>9.1}", self.mode, self.workload)
    }
}

/// Runs a workload: `threads` threads share the connections.
fn measure(address: SocketAddr, workload: Workload, span: Duration, threads: usize) -> Measured {
    let threads = threads.min(workload.connections);
    let part =
        |thread: usize| (workload.connections * thread / threads)..(workload.connections * (thread + 1) / threads);
    let parts: Vec<Measured> = std::thread::scope(|scope| {
        let running: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || run(address, workload, part(thread), span))).collect();
        running.into_iter().map(|thread| thread.join().expect("a measurement does not panic")).collect()
    });
    let mut all = Measured { messages: 0, span: Duration::ZERO, latency: Latency::default() };
    for part in parts {
        all.messages += part.messages;
        all.span = all.span.max(part.span);
        all.latency.add(&part.latency);
    }
    all
}

/// One thread's connections, for `span`; then every echo that is due is awaited, but no longer counted.
fn run(address: SocketAddr, workload: Workload, part: std::ops::Range<usize>, span: Duration) -> Measured {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let mut connections: Vec<Connection> = part.map(|number| Connection::open(address, number, workload)).collect();
    for (index, connection) in connections.iter().enumerate() {
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(connection.stream(), EpollEvent::new(events, index as u64)).unwrap();
    }
    let mut latency = Latency::default();
    let begin = Instant::now();
    connections.iter_mut().for_each(Connection::send);
    let mut buffer = vec![0; 1 << 18];
    let (mut measured, mut waiting) = (None, connections.len());
    let mut events = vec![EpollEvent::empty(); connections.len()];
    while waiting > 0 {
        let count = epoll.wait(&mut events, EpollTimeout::from(100_u8)).unwrap_or(0);
        let passed = begin.elapsed();
        if measured.is_none() && passed >= span {
            measured = Some((connections.iter().map(Connection::echoed).sum(), passed, latency.clone()));
            waiting = connections.iter_mut().map(|connection| usize::from(!connection.finish())).sum();
        }
        assert!(passed < span + Duration::from_secs(60), "echoes are missing a minute after the end");
        for event in &events[..count] {
            let connection = &mut connections[usize::try_from(event.data()).unwrap()];
            let was_due = connection.is_due();
            connection.receive(&mut buffer, &mut latency);
            connection.send();
            waiting -= usize::from(measured.is_some() && was_due && !connection.is_due());
        }
    }
    let (messages, span, latency) = measured.expect("the loop ends only after it");
    Measured { messages, span, latency }
}
