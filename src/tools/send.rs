//! `send`: the reference client. Messages from standard input go to a server, and each is kept until its echo has come back, byte by byte.
//!
//! Promises: every message is sent, in order, until it was echoed over one connection, so it is stored at least once; exit code 0 only
//! if all were. Memory is bounded by the window, whatever the input, the server and the number of connections; nothing runs while there is
//! nothing to do. What the echo proves is the server's `server.echo`.
//!
//! It cannot keep a message from being stored twice: where a connection ended between the storing and the echo, it does not know of the
//! storing. `--exactly` tells which messages that may concern.
mod connection;
pub(crate) mod cutter;
mod options;
mod patience;
mod resent;
mod session;
mod source;
mod talk;
mod window;
mod words;

pub use options::{Framing, Options, Target};

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::exit;
use crate::sys::signals::Signals;
use crate::tools::carrier::Means;
use session::{End, Session};

/// Sends all of standard input; returns the exit code: 0 if every message was echoed, else 1.
pub fn run(options: Options) -> u8 {
    let signals = match Signals::new(&[Signal::SIGINT, Signal::SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("echostored: cannot watch for signals: {error}");
            return exit::FAILED;
        }
    };
    let means = match Means::prepare(&options.security, &options.server) {
        Ok(means) => means,
        Err(why) => {
            eprintln!("echostored: {why}");
            return exit::FAILED;
        }
    };
    let begun = Instant::now();
    let mut session = Session::new(options, means);
    let end = session.run(&signals);
    session.close();
    report(&mut session, &end, begun)
}

fn report(session: &mut Session, end: &End, begun: Instant) -> u8 {
    let (waiting, fragment) = session.source.left();
    let unechoed = session.window.len() as u64 + waiting;
    let all = session.source.taken() + waiting;
    let unit = session.options.framing.unit();
    let mut faults = Vec::new();
    if let End::Failed(why) = end {
        faults.push(why.clone());
    }
    match session.source.fault() {
        Some(fault) => faults.push(fault.to_owned()),
        None if session.source.is_open() || session.source.is_unread() => {
            faults.push("standard input was not read to its end".to_owned())
        }
        None if fragment > 0 => faults.push(format!("{unit} {} was not read to its end, and is not sent", all + 1)),
        None => {}
    }
    if unechoed > 0 {
        let first = session.window.first();
        faults.push(format!("{unechoed} of {all} messages were not echoed, the first is {unit} {first}"));
    }
    faults.iter().for_each(|fault| session.talk.error(fault));
    let summary = summary(session, begun);
    session.talk.note(&summary);
    if faults.is_empty() { exit::OK } else { exit::FAILED }
}

/// What was done, in a line.
fn summary(session: &mut Session, begun: Instant) -> String {
    let (echoed, seconds) = (session.count().echoed, begun.elapsed().as_secs_f64());
    let mut text = format!("{echoed} messages echoed in {seconds:.1} s");
    match session.window.resent().total() {
        0 => {}
        1 => text += "; 1 message was sent again",
        more => text += &format!("; {more} messages were sent again"),
    }
    match session.connections {
        0 | 1 => {}
        2 => text += "; 1 reconnect",
        more => text += &format!("; {} reconnects", more - 1),
    }
    text
}
