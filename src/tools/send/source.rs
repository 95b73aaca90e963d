//! Standard input, read as it comes and cut into messages.
//!
//! It is read only when the window has room for what would come: the sender's memory is bounded, and whoever writes to it waits. It stays as
//! it was given: other processes may share it, so it is never made non-blocking.
use std::io::{self, Stdin, stdin};

use super::cutter::{Cutter, MAX};
use super::options::Framing;
use super::window::Window;
use crate::sys::ready::{self, Watched};
use crate::sys::{AsFd, file, would_block};
use std::time::Duration;

/// One read, in bytes.
const TURN: usize = 64 << 10;

/// Where the messages come from.
#[derive(Debug)]
pub struct Source {
    input: Stdin,
    cutter: Cutter,
    open: bool,
    /// It was stopped with more to read.
    unread: bool,
    /// Why it had to stop before the end of the input.
    fault: Option<String>,
    read: u64,
    unit: &'static str,
}

impl Source {
    /// Standard input.
    pub fn new(framing: Framing) -> Self {
        let (input, cutter) = (stdin(), Cutter::new(framing.separator()));
        Self { input, cutter, open: true, unread: false, fault: None, read: 0, unit: framing.unit() }
    }

    /// Moves what there is into the window, as far as it fits. Whether anything was moved.
    pub fn pour(&mut self, window: &mut Window) -> bool {
        let before = self.read;
        while self.fault.is_none() {
            match self.cutter.peek() {
                Ok(Some(message)) if window.fits(message.len()) => window.push(message),
                Ok(_) => break,
                Err(_) => {
                    let line = self.read + 1;
                    self.fault = Some(format!(
                        "{} {line} is longer than {} MiB, which no echostored takes; it and what follows is not sent",
                        self.unit,
                        MAX >> 20
                    ));
                    self.open = false;
                    break;
                }
            }
            self.cutter.take();
            self.read += 1;
        }
        self.read > before
    }

    /// For poll(2), while a read is of use.
    pub fn watched(&mut self) -> Option<Watched<'_>> {
        let wanted = self.open && matches!(self.cutter.peek(), Ok(None));
        wanted.then(|| Watched { fd: self.input.as_fd(), input: true, output: false })
    }

    /// Reads once.
    pub fn read(&mut self) {
        match file::read_append(self.input.as_fd(), self.cutter.buffer(), TURN) {
            Ok(0) => {
                self.open = false;
                self.cutter.end();
            }
            Ok(_) => {}
            Err(error) if would_block(&error) || error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                self.open = false;
                self.fault = Some(format!("cannot read standard input: {error}; what follows is not sent"));
            }
        }
    }

    /// Reads no more; what is read is still sent, if it is whole. What is there and was not read is a fault.
    pub fn stop(&mut self) {
        if !self.open {
            return;
        }
        let watched = Watched { fd: self.input.as_fd(), input: true, output: false };
        let is_there = ready::wait(&[watched], Some(Duration::ZERO)).is_ok_and(|there| there[0]);
        if is_there {
            // The end of the input is there to be read, too.
            self.read();
            self.unread = self.open;
        }
        self.open = false;
    }

    /// Whether it was stopped before the end of what was there to be read.
    pub fn is_unread(&self) -> bool {
        self.unread
    }

    /// Whether nothing more will come into the window.
    pub fn is_dry(&mut self) -> bool {
        !self.open && (self.fault.is_some() || matches!(self.cutter.peek(), Ok(None)))
    }

    /// Whether the input was read to its end.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// What ended it before its end, if something did.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// How many messages the window has taken.
    pub fn taken(&self) -> u64 {
        self.read
    }

    /// Whole messages that the window has not taken, and bytes of one that is not whole.
    pub fn left(&self) -> (u64, usize) {
        self.cutter.left()
    }
}
