//! Runs echostored beside what it is measured against.
//!
//! `compare serve echo-only --port 7100` runs one of the small servers alone.
mod serve;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    part: Part,
    /// What `cargo bench` itself adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Part {
    /// Runs one of the small servers alone, until it is ended by a signal.
    Serve {
        #[command(subcommand)]
        server: serve::Server,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.part {
        Part::Serve { server } => serve::run(server),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}
