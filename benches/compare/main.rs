//! Runs echostored beside what it is measured against: an echo-only server, the textbook's shape, rsyslog and Redis.
//!
//! `cargo bench --bench compare` prints the ratios; `-- growth`, `-- fairness` and `-- scraped` more; `-- --help` tells the options.
//! `docs/performance.md` says what is measured and how. `cargo test` runs it, too, for a moment, to see that it works.
mod bench;
mod fairness;
mod figures;
mod growth;
mod load;
mod machine;
mod options;
mod places;
mod plots;
mod processes;
mod report;
mod rows;
mod scraped;
mod serve;
mod servers;
mod table;

use bench::Bench;
use clap::Parser;
use nix::sys::signal::Signal;
use options::{Called, Options, Part};
use report::Report;
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let options = match options::called(&arguments[1..], std::env::var_os("CARGO_MANIFEST_DIR").is_some()) {
        Called::ByOtherTests => return ExitCode::SUCCESS,
        Called::Alone => Options::parse(),
        Called::ByTests => match smoke() {
            Some(options) => options,
            None => return ExitCode::SUCCESS,
        },
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A smoke run with the release binary that is there; none is built.
fn smoke() -> Option<Options> {
    let binary = bench::release_binary();
    if !binary.exists() || bench::has_crash_points(&binary) {
        println!("SKIPPED: compare needs {}; run cargo build --release", binary.display());
        return None;
    }
    Some(Options::parse_from(["compare".as_ref(), "--quick".as_ref(), "--binary".as_ref(), binary.as_os_str()]))
}

/// False: something could not be measured.
fn run(options: &Options) -> Result<bool, String> {
    match &options.part {
        Some(Part::Serve { server }) => return serve::run(server).map(|()| true),
        Some(Part::Plot { file, directory }) => return plot(file, directory).map(|()| true),
        _ => {}
    }
    // Ctrl-C ends the servers and the load, which ends this in order.
    echostored::sys::signals::ignore(&[Signal::SIGINT]).map_err(|error| format!("signal: {error}"))?;
    echostored::sys::process::raise_file_limit().map_err(|error| format!("open files: {error}"))?;
    let mut bench = Bench::prepare(options)?;
    let mut report = Report::default();
    let (json, whole) = match options.part {
        Some(Part::Growth) => growth::run(&bench, &mut report)?,
        Some(Part::Fairness) => {
            bench.generator.per_connection = true;
            fairness::run(&bench, &mut report)?
        }
        Some(Part::Scraped) => scraped::run(&bench, &mut report)?,
        _ => table::run(&bench, &mut report)?,
    };
    print!("{}", report.render(options.markdown));
    if let Some(path) = &options.json {
        save(path, &json)?;
    }
    if let Some(directory) = options.plots.as_deref().filter(|_| matches!(options.part, Some(Part::Growth))) {
        tell(&plots::draw(&json, directory)?);
    }
    Ok(whole)
}

fn plot(file: &Path, directory: &Path) -> Result<(), String> {
    let cannot = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| cannot(&error))?;
    let growth = serde_json::from_str(&text).map_err(|error| cannot(&error))?;
    tell(&plots::draw(&growth, directory)?);
    Ok(())
}

fn tell(drawn: &[String]) {
    drawn.iter().for_each(|path| eprintln!("compare: drawn: {path}"));
}

fn save(path: &Path, json: &Value) -> Result<(), String> {
    std::fs::write(path, format!("{json:#}\n")).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
