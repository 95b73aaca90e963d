//! `send`: the reference client. Messages from standard input go to a server, and each is kept until its echo has come back, byte by byte.
//!
//! Promises: every message is sent, in order, until it was echoed over one connection, so it is stored at least once; exit code 0 only
//! if all were. Memory is bounded by the window, whatever the input, the server and the number of connections; nothing runs while there is
//! nothing to do. What the echo proves is the server's `server.echo`.
//!
//! It cannot keep a message from being stored twice: where a connection ended between the storing and the echo, it does not know of the
//! storing. `--exactly` tells which messages that may concern.
mod connection;
mod cutter;
mod options;
mod patience;
mod resent;
mod session;
mod source;
mod talk;
mod window;

pub use options::{Framing, Options, Target};

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::exit;
use crate::sys::signals::Signals;
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
    let begun = Instant::now();
    let mut session = Session::new(options);
    let end = session.run(&signals);
    session.close();
    report(&mut session, &end, begun)
}

fn report(session: &mut Session, end: &End, begun: Instant) -> u8 {
    let (waiting, fragment) = session.source.left();
    let unechoed = session.window.len() as u64 + waiting;
    let all = session.source.taken() + waiting;
    let unit = session.options.framing.unit();
    let mut failed = unechoed > 0;
    if let End::Failed(why) = end {
        session.talk.error(why);
        failed = true;
    }
    if let Some(fault) = session.source.fault() {
        session.talk.error(fault);
        failed = true;
    } else if fragment > 0 {
        session.talk.error(&format!("{unit} {} was not read to its end, and is not sent", all + 1));
        failed = true;
    }
    if unechoed > 0 {
        let (first, unread) =
            (session.window.first(), if session.source.is_open() { "; the input was not read to its end" } else { "" });
        session
            .talk
            .error(&format!("{unechoed} of {all} messages were not echoed, the first is {unit} {first}{unread}"));
    }
    let resent = session.window.resent().total();
    let again = if resent > 0 { format!(", {resent} of them sent again") } else { String::new() };
    let reconnects = match session.connections.saturating_sub(1) {
        0 => String::new(),
        1 => ", after 1 reconnect".to_owned(),
        more => format!(", after {more} reconnects"),
    };
    let (echoed, seconds) = (session.count().echoed, begun.elapsed().as_secs_f64());
    session.talk.note(&format!("{echoed} messages echoed in {seconds:.1} s{again}{reconnects}"));
    if failed { exit::FAILED } else { exit::OK }
}
