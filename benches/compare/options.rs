//! The command line.
use crate::serve;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Measures echostored beside an echo-only server, the textbook's shape, rsyslog and Redis, and prints the ratios.
#[derive(Parser)]
#[command(name = "compare")]
pub struct Options {
    #[command(subcommand)]
    pub part: Option<Part>,
    /// Each figure is the median of so many rounds; in each round all servers have their turn.
    #[arg(long, global = true, value_name = "N")]
    rounds: Option<usize>,
    /// How long one measurement takes.
    #[arg(long, global = true, value_name = "S")]
    seconds: Option<f64>,
    /// Only the rows (or, of `growth` and `fairness`, the parts) of this name; more than once.
    #[arg(long, global = true, value_name = "NAME")]
    pub only: Vec<String>,
    /// A smoke run: one round of 0.3 s, no warming up. Its figures mean nothing.
    #[arg(long, global = true)]
    pub quick: bool,
    /// Everything that was measured, as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print Markdown.
    #[arg(long, global = true)]
    pub markdown: bool,
    /// Draw the plots into this directory (of `growth`).
    #[arg(long, global = true, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// echostored's release binary; else it is built (target/release/echostored).
    #[arg(long, global = true, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// A directory on tmpfs; else /dev/shm.
    #[arg(long, global = true, value_name = "DIR")]
    pub memory: Option<PathBuf>,
    /// A directory on a disk's file system; else the one for temporary files.
    #[arg(long, global = true, value_name = "DIR")]
    pub disk: Option<PathBuf>,
    /// What `cargo bench` itself adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// What to do.
#[derive(Subcommand)]
pub enum Part {
    /// The table of ratios (this is done if nothing is named).
    Table,
    /// Throughput, latency and memory against connections, message sizes, workers and files.
    Growth,
    /// What a slow reader and a fast client do to a thousand others.
    Fairness,
    /// What it costs to be scraped by Prometheus each second.
    Scraped,
    /// Draws the plots of a `growth --json` file.
    Plot {
        /// What `growth --json` wrote.
        file: PathBuf,
        /// Where the plots go.
        directory: PathBuf,
    },
    /// Runs one of the small servers alone, until it is ended by a signal.
    Serve {
        #[command(subcommand)]
        server: serve::Server,
    },
}

impl Options {
    /// At least one.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }

    /// How long one measurement takes.
    pub fn span(&self) -> Duration {
        let seconds = self.seconds.unwrap_or(if self.quick { 0.3 } else { 5.0 });
        Duration::from_secs_f64(seconds.clamp(0.05, 3600.0))
    }

    /// Whether this row or part is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }
}

/// `cargo test` runs this program, too, with the arguments of a test harness: then it is a smoke run, or nothing.
pub enum Called {
    /// As a program of its own.
    Alone,
    /// By `cargo test`, which wants it.
    ByTests,
    /// By `cargo test` with a filter that names other tests.
    ByOtherTests,
}

/// Who calls. `by_cargo`: cargo has set its variables; `cargo bench` says `--bench`, too. The servers inherit the variables.
pub fn called(arguments: &[String], by_cargo: bool) -> Called {
    let is_server = arguments.first().is_some_and(|first| first == "serve");
    if !by_cargo || is_server || arguments.iter().any(|argument| argument == "--bench") {
        return Called::Alone;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    if filters.is_empty() || filters.iter().any(|filter| "compare".contains(filter.as_str())) {
        Called::ByTests
    } else {
        Called::ByOtherTests
    }
}

#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "run by tests/benches.rs; a program without a harness only compiles them")]
mod tests {
    use super::*;

    #[test]
    fn only_cargo_test_makes_a_smoke_run() {
        let by = |line: &str, by_cargo| {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            called(&arguments, by_cargo)
        };
        assert!(matches!(by("growth --only idle", false), Called::Alone));
        assert!(matches!(by("growth --only idle --bench", true), Called::Alone));
        assert!(matches!(by("serve echo-only --port 0", true), Called::Alone));
        for line in ["", "--nocapture", "comp"] {
            assert!(matches!(by(line, true), Called::ByTests), "{line}");
        }
        assert!(matches!(by("rotation::", true), Called::ByOtherTests));
    }
}
