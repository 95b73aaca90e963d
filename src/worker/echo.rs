//! Station 7/7, echo: the bytes exactly as they came, in order, released by the ack.
use super::spare::Spare;
use super::transport::Transport;
use crate::sys;
use std::io;

/// What the socket took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes taken.
    pub bytes: usize,
    /// It has no more room: wait for it to say so.
    pub full: bool,
}

/// Writes as much of `due` as the socket takes. A client that does not read makes it full, and is then read no more.
pub fn send(transport: &mut Transport, due: &[u8], spare: &mut Spare) -> io::Result<Sent> {
    let mut bytes = 0;
    while bytes < due.len() {
        match transport.write(&due[bytes..], spare) {
            Ok(count) => bytes += count,
            Err(error) if sys::would_block(&error) => return Ok(Sent { bytes, full: true }),
            Err(error) => return Err(error),
        }
    }
    Ok(Sent { bytes, full: false })
}
