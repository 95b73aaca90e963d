//! echostored: a TCP message recorder whose echo proves storage.
//!
//! The rooms, upper imports lower only: `cli`, `roles` → `supervisor`, `worker`, `writer`, `archiver`, `exporter`, `tools` → `ipc`, `store` →
//! `protocol`, `config`, `log`, `sys`, `tls`. Roles never import each other; `tests/layering.rs` holds this.

// First: the others use its macros.
#[macro_use]
pub mod log;

pub mod archiver;
pub mod cli;
pub mod config;
pub mod exit;
pub mod exporter;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod ipc;
pub mod protocol;
pub mod roles;
pub mod store;
pub mod supervisor;
pub mod sys;
pub mod tls;
pub mod tools;
pub mod worker;
pub mod writer;
