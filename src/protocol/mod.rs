//! The languages spoken here, as pure code: framing on the socket, frames in the data pipe, acks, connection ids.
//!
//! Promise: no system call, no clock, no state outside the values given; bytes from outside never panic.

pub mod ack;
pub mod frame;
pub mod framing;
pub mod ids;
pub mod proxy;
