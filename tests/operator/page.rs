//! The table of what the operator sees, in `docs/failure-modes.md`: what it names is there, and it has every fault.
use echostored::ipc::report::{Archiver, Backlog, Disk, Exporter, Live, Report, Worker, Writer};
use echostored::log::catalogue::CHAPTERS;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// What stands between backticks.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The cells of each row of the table, and all that follows it.
fn table(page: &str) -> (Vec<Vec<&str>>, &str) {
    let (_, section) = page.split_once("\n## What the operator sees\n").unwrap();
    let (_, rest) = section.split_once("\n## Processes\n").unwrap();
    let rows = section.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows: Vec<Vec<&str>> = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(rows.len() > 30 && rows.iter().all(|row| row.len() == 5), "the table is not as this test reads it");
    (rows, rest)
}

fn report() -> Value {
    let report = Report {
        workers: vec![Worker::default()],
        writer: Some(Writer::default()),
        archiver: Some(Archiver { backlog: Some(Backlog::default()), ..Archiver::default() }),
        exporter: Some(Exporter::default()),
        live: Some(Live::default()),
        disk: Some(Disk::default()),
        ..Report::default()
    };
    serde_json::to_value(report).unwrap()
}

/// Whether the JSON has it; `workers.messages` is in each of them.
fn has(report: &Value, field: &str) -> bool {
    let mut place = report;
    for name in field.split('.') {
        let within = place.get(0).unwrap_or(place);
        let Some(next) = within.get(name) else { return false };
        place = next;
    }
    true
}

#[test]
fn every_field_metric_and_event_that_it_names_is_there() {
    let page = read("docs/failure-modes.md");
    let (rows, _) = table(&page);
    let report = report();
    let metrics = read("docs/metrics.md");
    let metrics: BTreeSet<&str> =
        metrics.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let events: BTreeSet<&str> = CHAPTERS.iter().flat_map(|(_, events)| *events).map(|event| event.name).collect();
    for row in rows {
        // Words of `health`, a mode and a command are no fields.
        let is_word = |text: &&str| text.contains([' ', '…']) || ["synced", "verify"].contains(text);
        for field in code(row[1]).filter(|text| !is_word(text)) {
            assert!(has(&report, field), "{}: the status has no {field}", row[0]);
        }
        for metric in code(row[2]) {
            assert!(metrics.contains(metric), "{}: there is no metric {metric}", row[0]);
        }
        for event in code(row[3]) {
            assert!(events.contains(event), "{}: there is no event {event}", row[0]);
        }
    }
    assert!(!has(&report, "workers.nothing") && !has(&report, "nothing") && has(&report, "workers.messages"));
}

/// The tests of the tables below: the last cell of each row. One without a module is of the same as the one before.
fn tests(tables: &str) -> Vec<String> {
    let rows = tables.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault |"));
    let cells = rows.filter_map(|row| row.trim_end().strip_suffix('|')?.rsplit_once('|').map(|(_, cell)| cell));
    let mut tests: Vec<String> = Vec::new();
    for name in cells.flat_map(code) {
        let before = tests.last().and_then(|test| test.rsplit_once("::"));
        let module = before.filter(|_| !name.contains("::")).map(|(module, _)| format!("{module}::"));
        tests.push(module.unwrap_or_default() + name);
    }
    tests
}

#[test]
fn every_fault_of_the_tables_below_has_a_row() {
    let page = read("docs/failure-modes.md");
    let (rows, rest) = table(&page);
    let begins: Vec<&str> = rows.iter().flat_map(|row| code(row[4])).map(|text| text.trim_end_matches('…')).collect();
    let tests = tests(rest);
    assert!(tests.len() > 100, "the tables are not as this test reads them");
    for test in &tests {
        assert!(begins.iter().any(|begin| test.starts_with(begin)), "no row tells what the operator sees in {test}");
    }
    for begin in begins {
        let own = begin.strip_prefix("operator::").and_then(|rest| rest.split_once("::"));
        let is_here = own.is_some_and(|(module, name)| {
            read(&format!("tests/operator/{module}.rs")).contains(&format!("\nfn {name}"))
        });
        assert!(is_here || tests.iter().any(|test| test.starts_with(begin)), "{begin}…: there is no such test");
    }
}

/// Each of them is about the fault that its name tells, so that the page can point there.
#[test]
fn what_the_page_says_is_looked_at_from_outside_is() {
    let page = read("docs/failure-modes.md");
    let (_, section) = page.split_once("\n## What the operator sees\n").unwrap();
    let head = section.split("\n| fault |").next().unwrap();
    let modules: BTreeSet<&str> = code(head).filter_map(|text| text.strip_prefix("operator::")).collect();
    assert_eq!(modules, BTreeSet::from(["clients", "closed", "disk", "processes", "speed"]));
    for module in modules {
        assert!(read(&format!("tests/operator/{module}.rs")).contains("#[test]"));
    }
}
