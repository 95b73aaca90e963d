//! `docs/metrics.md` has every metric of a real page, with its type, unit, labels and meaning; and no other.
use crate::support::daemon::Setup;
use crate::{scrape, start};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

/// A row: type, unit, labels, meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    kind: String,
    unit: String,
    labels: BTreeSet<String>,
    help: String,
}

/// The families of a page by the name of their series.
fn families(page: &str) -> BTreeMap<String, Row> {
    let (mut rows, mut full) = (BTreeMap::<String, Row>::new(), BTreeMap::<String, String>::new());
    for line in page.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => rows.entry(name.to_owned()).or_default().help = help.to_owned(),
            ["#", "TYPE", name, kind] => {
                let suffix = match kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                full.insert(name.to_owned(), format!("{name}{suffix}"));
                rows.get_mut(name).unwrap().kind = kind.to_owned();
            }
            ["#", "UNIT", name, unit] => rows.get_mut(name).unwrap().unit = unit.to_owned(),
            _ if line == "# EOF" => {}
            _ => {
                let series = line.split(['{', ' ']).next().unwrap();
                let family = ["_total", "_info", "_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| series.strip_suffix(suffix));
                let family = family.filter(|name| rows.contains_key(*name)).unwrap_or(series);
                let labels = line.split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap());
                let names =
                    labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
                rows.get_mut(family).unwrap().labels.extend(names.filter(|name| name != "le"));
            }
        }
    }
    rows.into_iter().map(|(name, row)| (full[&name].clone(), row)).collect()
}

/// The rows of the tables: `| name | type | unit | labels | meaning |`.
fn told() -> BTreeMap<String, Row> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `echostored_")?.strip_suffix(" |"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(" | ").collect();
        let plain = |cell: &str| if cell == "–" { String::new() } else { cell.replace('`', "") };
        let labels = plain(cells[3]).split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        let row = Row { kind: plain(cells[1]), unit: plain(cells[2]), labels, help: cells[4].replace('`', "") };
        (format!("echostored_{}", cells[0].trim_end_matches('`')), row)
    };
    rows.map(row).collect()
}

#[test]
fn the_page_on_metrics_has_what_a_scrape_has() {
    let (mut daemon, address) = start(Setup::default());
    let (mut scraped, told) = (BTreeMap::new(), told());
    // Some trouble, so that there is a time of it.
    let mut client = TcpStream::connect(daemon.address).unwrap();
    let _ = client.write_all(&[b'x'; 100_000]);
    // The archiver may not have looked yet.
    crate::wait_until(crate::DEADLINE, "all roles in the page, and the trouble", || {
        scraped = families(&scrape(address));
        let has = |name: &str| !scraped[name].labels.is_empty();
        has("echostored_files_waiting") && has("echostored_last_trouble_timestamp_seconds")
    });
    for (name, row) in &scraped {
        assert_eq!(Some(row), told.get(name), "{name}");
    }
    assert_eq!(told.keys().collect::<Vec<_>>(), scraped.keys().collect::<Vec<_>>());
    daemon.stop();
}
