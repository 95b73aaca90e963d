//! What connects the processes: links (a data pipe, an ack pipe and a staging area for each worker), control channels,
//! shared counters, what commands ask of the running daemon, and the table of who keeps which end.
//!
//! Promise: no room here knows what a record is; each end has a type, and each message one legal sender.

pub mod admission;
pub mod command;
pub mod commit;
pub mod control;
pub mod histogram;
pub mod link;
pub mod rates;
pub mod register;
pub mod report;
pub mod sandbox;
pub mod scoreboard;
pub mod seat;
pub mod visitors;
pub mod wiring;
