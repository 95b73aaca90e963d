//! What there is: the fields of a full report, the metrics of their page.
use crate::seen::leaves;
use echostored::ipc::report::{
    Archiver, ArchiverCounts, Backlog, Disk, Exporter, ExporterCounts, Live, Report, Worker, WorkerCounts, Writer,
    WriterCounts,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The metric that has a series for each counter of trouble.
pub const TROUBLE: &str = "echostored_last_trouble_timestamp_seconds";

/// Counters that tell of trouble, as `last` names them.
pub fn troubles() -> BTreeSet<String> {
    let roles = [
        ("workers", WorkerCounts::FIELDS),
        ("writer", WriterCounts::FIELDS),
        ("archiver", ArchiverCounts::FIELDS),
        ("exporter", ExporterCounts::FIELDS),
    ];
    let of = |(role, fields): (&str, &[(&'static str, _)])| {
        let trouble = fields.iter().filter(|(_, count): &&(_, echostored::ipc::scoreboard::Count)| count.is_trouble());
        trouble.map(|(field, _)| format!("{role}.{field}")).collect::<Vec<_>>()
    };
    let deaths = roles.map(|(role, _)| format!("restarts.{role}"));
    roles.into_iter().flat_map(of).chain(deaths).chain(["outages", "hangs"].map(str::to_owned)).collect()
}

/// Every leaf of a report in which everything is there.
pub fn fields() -> BTreeSet<String> {
    let last: BTreeMap<String, String> = troubles().into_iter().map(|name| (name, String::new())).collect();
    let report = Report {
        workers: vec![Worker::default()],
        writer: Some(Writer::default()),
        archiver: Some(Archiver { backlog: Some(Backlog::default()), ..Archiver::default() }),
        exporter: Some(Exporter::default()),
        live: Some(Live::default()),
        disk: Some(Disk::default()),
        last,
        ..Report::default()
    };
    let mut found = Vec::new();
    leaves(&serde_json::to_value(&report).unwrap(), "", &mut found);
    found.into_iter().map(|(name, _)| name).collect()
}

/// Whether a leaf of a real answer is one of these, or stands for one that is not there just now.
pub fn is_told(name: &str, fields: &BTreeSet<String>) -> bool {
    let absent =
        || fields.iter().any(|field| field.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '['])));
    // `ok` is the reply's, not the report's.
    name == "ok" || fields.contains(name) || absent()
}

/// Every metric of the page on them.
pub fn metrics() -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `echostored_")?.split_once('`'));
    rows.map(|(name, _)| format!("echostored_{name}")).collect()
}

/// Whether a series is of this metric.
pub fn is_of(series: &str, metric: &str) -> bool {
    let name = series.split('{').next().unwrap_or(series);
    name == metric || ["_bucket", "_sum", "_count"].iter().any(|part| name.strip_suffix(part) == Some(metric))
}
