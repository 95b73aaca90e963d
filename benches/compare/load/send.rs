//! Load for a server that does not answer: what counts is how long it takes until everything stands in its file.
use super::{Load, Measured};
use crate::servers::Server;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long one write, and then the storing of the rest, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many to send, a short run tells; how long a record is, too: all are of one length.
pub fn measure(server: &Server, load: Load, span: Duration) -> Result<Measured, String> {
    let turn = (load.connections * load.in_flight) as u64;
    let trial = run(server, load, (30_000 / turn).max(1), None)?;
    let size = fs::metadata(&server.store).map_err(|error| cannot(server, &error))?.len();
    let record = size / trial.messages;
    let turns = (trial.messages_per_second * span.as_secs_f64()) as u64 / turn;
    let before = server.cpu_seconds();
    let measured = run(server, load, turns.max(1), Some(record))?;
    let measured = measured.costing(server.cpu_seconds() - before);
    let stored = lines(server)?;
    if stored != measured.messages {
        return Err(format!("{}: {} sent, {stored} stored", server.kind.name(), measured.messages));
    }
    Ok(measured)
}

fn cannot(server: &Server, error: &std::io::Error) -> String {
    format!("cannot read {}: {error}", server.store.display())
}

/// Sends `in_flight` messages on each connection in turn, so many times. Without a record's length, lines are counted.
fn run(server: &Server, load: Load, turns: u64, record: Option<u64>) -> Result<Measured, String> {
    if let Ok(file) = File::options().write(true).open(&server.store) {
        // It is only appended to: what comes goes to its new beginning.
        file.set_len(0).map_err(|error| cannot(server, &error))?;
    }
    let failed = |error: std::io::Error| format!("{}: cannot send: {error}", server.kind.name());
    let mut message = vec![b'm'; load.size - 1];
    message.push(b'\n');
    let chunk = message.repeat(load.in_flight);
    let mut streams = Vec::new();
    for _ in 0..load.connections {
        let stream = TcpStream::connect(server.address).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        streams.push(stream);
    }
    let messages = turns * (load.connections * load.in_flight) as u64;
    let begin = Instant::now();
    for _ in 0..turns {
        streams.iter_mut().try_for_each(|stream| stream.write_all(&chunk)).map_err(failed)?;
    }
    let end = Instant::now() + PATIENCE;
    let is_stored = || match record {
        Some(record) => Ok(fs::metadata(&server.store).is_ok_and(|found| found.len() >= messages * record)),
        None => lines(server).map(|lines| lines >= messages),
    };
    while !is_stored()? {
        if Instant::now() > end {
            let stored = lines(server)?;
            return Err(format!("{}: of {messages} sent {stored} stored after {PATIENCE:?}", server.kind.name()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let seconds = begin.elapsed().as_secs_f64();
    let messages_per_second = messages as f64 / seconds;
    Ok(Measured {
        messages,
        seconds,
        messages_per_second,
        p50: None,
        p99: None,
        worst_p99: None,
        max: None,
        cpu_per_million: 0.0,
    })
}

/// Lines in the file; none if it is not there yet.
fn lines(server: &Server) -> Result<u64, String> {
    let Ok(mut file) = File::open(&server.store) else { return Ok(0) };
    let (mut buffer, mut count) = (vec![0; 1 << 18], 0);
    loop {
        let read = file.read(&mut buffer).map_err(|error| cannot(server, &error))?;
        if read == 0 {
            return Ok(count);
        }
        count += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64;
    }
}
