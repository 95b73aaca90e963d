//! Unit tests of the pure parts of `benches/compare`; that program itself is run by `cargo test`, too, for a moment.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(dead_code, reason = "only the tests in it are wanted here")]

#[path = "../benches/compare/bench.rs"]
mod bench;
#[path = "../benches/compare/fairness.rs"]
mod fairness;
#[path = "../benches/compare/figures.rs"]
mod figures;
#[path = "../benches/compare/growth/mod.rs"]
mod growth;
#[path = "../benches/compare/load/mod.rs"]
mod load;
#[path = "../benches/compare/machine.rs"]
mod machine;
#[path = "../benches/compare/options.rs"]
mod options;
#[path = "../benches/compare/places.rs"]
mod places;
#[path = "../benches/compare/plots/mod.rs"]
mod plots;
#[path = "../benches/compare/processes.rs"]
mod processes;
#[path = "../benches/compare/report.rs"]
mod report;
#[path = "../benches/compare/rows.rs"]
mod rows;
#[path = "../benches/compare/scraped.rs"]
mod scraped;
#[path = "../benches/compare/serve/mod.rs"]
mod serve;
#[path = "../benches/compare/servers/mod.rs"]
mod servers;
#[path = "../benches/compare/table.rs"]
mod table;
