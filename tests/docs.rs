//! The documents keep step with the code: whoever adds a descriptor, an exit code or a choice, adds it there too.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use echostored::config::{Choice, Echo, Format, Framing};
use echostored::ipc::report::{Archiver, Backlog, Exporter, Report, Worker, Writer};
use echostored::ipc::wiring::{Keeps, TABLE};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The cells of every row of Markdown tables whose first cell begins with code; of that cell, the code.
fn rows(document: &str) -> Vec<Vec<&str>> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix('|')?.split_once('`'));
    rows.map(|(code, rest)| [code].into_iter().chain(rest.split('|').skip(1).map(str::trim)).collect()).collect()
}

fn word(keeps: Keeps) -> &'static str {
    match keeps {
        Keeps::None => "–",
        Keeps::Own => "own",
        Keeps::All => "all",
        Keeps::Passing => "passing",
        Keeps::Makes => "makes",
    }
}

#[test]
fn the_architecture_page_has_the_wiring_table() {
    let page = read("docs/architecture.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Who holds which descriptor")).unwrap();
    let written: Vec<Vec<&str>> =
        rows(section).into_iter().map(|row| [&row[..1], &row[row.len() - 5..]].concat()).collect();
    let expected: Vec<Vec<String>> = TABLE
        .iter()
        .map(|(what, supervisor, worker, writer, archiver, exporter)| {
            let holders = [supervisor, worker, writer, archiver, exporter].map(|keeps| word(*keeps).to_owned());
            [vec![format!("{what:?}")], holders.to_vec()].concat()
        })
        .collect();
    assert_eq!(written, expected);
}

#[test]
fn the_readme_has_every_exit_code() {
    let source = read("src/exit.rs");
    let codes =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(" = ")?.1.strip_suffix(';'));
    let codes: BTreeSet<&str> = codes.collect();
    assert!(codes.len() >= 7, "exit codes are not written as this test reads them");
    let readme = read("README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("Signals and exit codes")).unwrap();
    let told: BTreeSet<&str> =
        rows(section).iter().map(|row| row[0]).filter(|cell| cell.parse::<u8>().is_ok()).collect();
    assert_eq!(told, codes);
}

#[test]
fn the_page_on_status_has_every_field() {
    let archiver = Archiver { backlog: Some(Backlog::default()), ..Archiver::default() };
    let (writer, archiver) = (Some(Writer::default()), Some(archiver));
    let exporter = Some(Exporter::default());
    let report = Report { workers: vec![Worker::default()], writer, archiver, exporter, ..Report::default() };
    let value = serde_json::to_value(&report).unwrap();
    let keys = |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    let page = read("docs/status.md");
    let tables: Vec<BTreeSet<String>> = page
        .split("\n| field |")
        .skip(1)
        .map(|table| rows(table).iter().map(|row| row[0].to_owned()).collect())
        .collect();
    let roles = [&value["workers"][0], &value["writer"], &value["archiver"], &value["exporter"]];
    assert_eq!(tables, [&[keys(&value)][..], &roles.map(keys)].concat());
    let totals = &value["totals"];
    assert_eq!(keys(totals), BTreeSet::from(["workers", "writer", "archiver", "exporter"].map(str::to_owned)));
    assert!(keys(&totals["workers"]).is_subset(&tables[1]) && keys(&totals["writer"]).is_subset(&tables[2]));
    assert!(keys(&totals["archiver"]).is_subset(&tables[3]) && keys(&totals["exporter"]).is_subset(&tables[4]));
}

#[test]
fn the_readme_has_every_choice() {
    fn names<C: Choice>() -> impl Iterator<Item = &'static str> {
        C::NAMES.iter().map(|(name, _)| *name)
    }
    let readme = read("README.md");
    let told: BTreeSet<&str> = rows(&readme).iter().map(|row| row[0]).collect();
    for name in names::<Echo>().chain(names::<Framing>()).chain(names::<Format>()) {
        assert!(told.contains(name), "README.md has no table row for `{name}`");
    }
}

#[test]
fn the_stations_are_told_in_their_order() {
    let page = read("docs/architecture.md");
    let places: Vec<usize> = (1..=7).map(|n| page.find(&format!("\n{n}. **")).unwrap()).collect();
    assert!(places.is_sorted());
}

/// `faults::bytes::flips::name` → its file below `tests/`, and `name`.
fn test_of(path: &str) -> Option<(String, &str)> {
    let (module, name) = path.rsplit_once("::")?;
    let place = module.replace("::", "/");
    let files = [format!("tests/{place}.rs"), format!("tests/{place}/mod.rs"), format!("tests/{place}/main.rs")];
    let found = files.into_iter().find(|file| Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists())?;
    Some((found, name))
}

/// The last cell of every row of the page of faults: its tests. One without a module is of the same as the one before.
fn tests_of_faults(page: &str) -> Vec<String> {
    // Behind the table for operators, whose last cells are no tests.
    let evidence = page.split_once("\n## Processes").map_or(page, |(_, evidence)| evidence);
    let rows = evidence.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault |"));
    let cells = rows.filter_map(|row| row.trim_end().strip_suffix('|')?.rsplit_once('|').map(|(_, cell)| cell));
    let mut tests: Vec<String> = Vec::new();
    for name in cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        let before = tests.last().and_then(|test| test.rsplit_once("::"));
        let module = before.filter(|_| !name.contains("::")).map(|(module, _)| format!("{module}::"));
        tests.push(module.unwrap_or_default() + name);
    }
    tests
}

#[test]
fn every_test_of_a_fault_is_there_and_every_module_of_faults_has_a_row() {
    let page = read("docs/failure-modes.md");
    let told = tests_of_faults(&page);
    assert!(!told.is_empty());
    for path in &told {
        let (file, name) = test_of(path).unwrap_or_else(|| panic!("{path}: there is no such file of tests"));
        assert!(read(&file).contains(&format!("fn {name}(")), "{path}: no such test in {file}");
    }
    let modules = read("tests/faults/main.rs");
    let modules = modules.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    for module in modules.filter(|module| *module != "support") {
        let source = read(&format!("tests/faults/{module}.rs"));
        let begun = source.contains("#[test]") || source.contains("\nmod ");
        let row = told.iter().any(|path| path.starts_with(&format!("faults::{module}::")));
        assert!(row || !begun, "docs/failure-modes.md has no row for tests/faults/{module}.rs");
    }
}

/// `tests/planted/names.rs::as_the_directory` → file and function.
fn tests_of_security(page: &str) -> Vec<(&str, &str)> {
    let code = page.split('`').skip(1).step_by(2);
    code.filter_map(|code| code.split_once(".rs::").map(|(_, name)| (&code[..code.len() - name.len() - 2], name)))
        .collect()
}

#[test]
fn every_test_that_the_page_on_security_names_is_there() {
    let page = read("SECURITY.md");
    let told = tests_of_security(&page);
    assert!(told.len() > 50, "tests are not named as this test reads them");
    for (file, name) in told {
        let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        let source = source.unwrap_or_else(|error| panic!("SECURITY.md: {file}: {error}"));
        let at = source.find(&format!("fn {name}(")).unwrap_or_else(|| panic!("SECURITY.md: no {name} in {file}"));
        let head = source[..at].rsplit("\n\n").next().unwrap_or_default();
        assert!(
            head.contains("#[test]") && !head.contains("#[ignore"),
            "SECURITY.md: {file}::{name} is no test that is run"
        );
    }
}

/// What is claimed has its evidence: the last cell of each row of a table with tests.
#[test]
fn every_row_of_the_page_on_security_names_a_test() {
    let page = read("SECURITY.md");
    let mut shown = false;
    for line in page.lines() {
        match line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) {
            None => shown = false,
            Some(cells) if cells.contains("---") => {}
            Some(cells) if cells.trim_end().ends_with("shown by") => shown = true,
            Some(cells) => {
                let last = cells.rsplit('|').next().unwrap_or_default();
                assert!(!shown || last.contains(".rs::"), "SECURITY.md: no test: {line}");
            }
        }
    }
}
