//! The second page: every counter, and when those of trouble were last added to. Pure.
use super::events::values;
use super::history::Sample;
use crate::ipc::report::{ArchiverCounts, ExporterCounts, WorkerCounts, WriterCounts};
use crate::tools::control::printable;
use crate::tools::figures::{count, of_day};

/// The counters of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// The role.
    pub name: &'static str,
    /// Name, value, last time.
    pub rows: Vec<(String, String, String)>,
}

/// All of them.
pub fn sections(sample: &Sample) -> Vec<Section> {
    let report = &sample.report;
    let values = values(report);
    let last = |name: &str| {
        let last = report.last.get(name);
        last.map_or(String::new(), |last| of_day(&printable(last), &report.time))
    };
    let roles = [
        ("workers", WorkerCounts::FIELDS),
        ("writer", WriterCounts::FIELDS),
        ("archiver", ArchiverCounts::FIELDS),
        ("exporter", ExporterCounts::FIELDS),
    ];
    let mut sections: Vec<Section> = Vec::new();
    for (name, fields) in roles {
        let row = |field: &str| {
            let last = last(&format!("{name}.{field}"));
            (field.replace('_', " "), count(values[name][field].as_u64().unwrap_or(0)), last)
        };
        sections.push(Section { name, rows: fields.iter().map(|(field, _)| row(field)).collect() });
    }
    let row = |name: &str, value, last_of: &str| (name.to_owned(), count(value), last(last_of));
    let rows = vec![
        row("workers died", report.restarts.workers, "restarts.workers"),
        row("writer died", report.restarts.writer, "restarts.writer"),
        row("archiver died", report.restarts.archiver, "restarts.archiver"),
        row("exporter died", report.restarts.exporter, "restarts.exporter"),
        row("outages", report.outages, "outages"),
        row("hangs", report.hangs, "hangs"),
        row("log lines dropped", report.log_lines_dropped, ""),
    ];
    sections.push(Section { name: "daemon", rows });
    sections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::report::Report;

    #[test]
    fn every_counter_is_there_once() {
        let mut report = Report { time: "2026-11-22T08:42:00Z".into(), ..Report::default() };
        report.totals.workers.timed_out = 7;
        report.last.insert("workers.timed_out".into(), "2026-11-22T08:41:00Z".into());
        let sections = sections(&Sample { report, ..Sample::default() });
        let numbers: Vec<usize> = sections.iter().map(|section| section.rows.len()).collect();
        let roles = [WorkerCounts::FIELDS.len(), WriterCounts::FIELDS.len(), ArchiverCounts::FIELDS.len()];
        let fields = [&roles[..], &[ExporterCounts::FIELDS.len(), 7]].concat();
        assert_eq!(numbers, fields);
        assert!(sections[0].rows.contains(&("timed out".into(), "7".into(), "08:41:00".into())));
    }
}
