//! What idle connections cost: user memory and processor time.
use crate::bench::Bench;
use crate::figures::{Target, number, verdict};
use crate::places::Place;
use crate::processes::Memory;
use crate::report::Report;
use crate::servers::{Kind, Server};
use serde::Serialize;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a connection, and an echo, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of one server.
#[derive(Clone, Debug, Serialize)]
pub struct Idle {
    pub server: Kind,
    pub connections: usize,
    /// KiB, all processes: with a few connections that have spoken and gone; with all connected; with all having spoken once.
    pub before: Memory,
    pub connected: Memory,
    pub spoken: Memory,
    /// Processor seconds in a second, with all connected.
    pub cpu: f64,
}

impl Idle {
    /// Bytes of user memory for one connection.
    fn each(&self, now: Memory) -> f64 {
        (now.pss as f64 - self.before.pss as f64) * 1024.0 / self.connections as f64
    }
}

/// Both servers.
pub fn measure(bench: &Bench<'_>) -> Result<Vec<Idle>, String> {
    [Kind::Stored, Kind::EchoOnly].into_iter().map(|kind| of(bench, &bench.start(kind, Place::Memory)?)).collect()
}

fn of(bench: &Bench<'_>, server: &Server) -> Result<Idle, String> {
    let connections = if bench.options.quick { 100 } else { 10_000 };
    let calm = Duration::from_secs(if bench.options.quick { 1 } else { 10 });
    let mut few = connect(server, 20)?;
    speak(&mut few)?;
    drop(few);
    server.settle(calm);
    let before = server.memory();
    let mut all = connect(server, connections)?;
    server.settle(calm);
    let connected = server.memory();
    speak(&mut all)?;
    server.settle(calm);
    // What is given back after a while is given back by now.
    std::thread::sleep(calm / 3);
    let spoken = server.memory();
    let (span, used) = (calm, server.cpu_seconds());
    std::thread::sleep(span);
    let cpu = (server.cpu_seconds() - used) / span.as_secs_f64();
    Ok(Idle { server: server.kind, connections, before, connected, spoken, cpu })
}

fn connect(server: &Server, count: usize) -> Result<Vec<TcpStream>, String> {
    let cannot = |error: std::io::Error| format!("cannot connect to {}: {error}", server.kind.name());
    let connect = |_| {
        let stream = TcpStream::connect_timeout(&server.address, PATIENCE).map_err(cannot)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(cannot)?;
        Ok(stream)
    };
    (0..count).map(connect).collect()
}

/// One message on each, and its echo: what a server makes for a connection when it is first used is made.
fn speak(streams: &mut [TcpStream]) -> Result<(), String> {
    let message = [[b'm'; 127].as_slice(), b"\n"].concat();
    let mut echo = vec![0; message.len()];
    for stream in streams {
        let said = stream.write_all(&message).and_then(|()| stream.read_exact(&mut echo));
        said.map_err(|error| format!("no echo: {error}"))?;
    }
    Ok(())
}

/// As a table, with what is wanted.
pub fn print(report: &mut Report, all: &[Idle]) {
    report.heading("Idle connections");
    report.text(
        "User memory of all processes (the sum of Pss in /proc/PID/smaps_rollup), with the connections less without them, for \
         each; the kernel's own memory for a socket is not in it.",
    );
    let rows = all.iter().map(|idle| {
        let mebibytes = |memory: Memory| number(memory.pss as f64 / 1024.0);
        let verdict = verdict(idle.each(idle.spoken), Target::AtMost(1024.0), None);
        vec![
            idle.server.name().to_owned(),
            idle.connections.to_string(),
            mebibytes(idle.before),
            mebibytes(idle.connected),
            mebibytes(idle.spoken),
            number(idle.each(idle.connected)),
            number(idle.each(idle.spoken)),
            number(idle.cpu * 100.0),
            if idle.server == Kind::Stored { verdict } else { String::new() },
        ]
    });
    let head = [
        "server",
        "connections",
        "before MiB",
        "connected MiB",
        "after one message MiB",
        "bytes each",
        "bytes each, after one message",
        "CPU %",
        "≤ 1024 bytes",
    ];
    report.table(&head, rows.collect());
}
