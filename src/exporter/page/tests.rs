use super::*;
use crate::ipc::report::{Archiver, Backlog, Disk, Exporter, Histogram, Histograms, Live, Worker, Writer};
use serde_json::Value;
use std::collections::BTreeSet;

fn histogram() -> Histogram {
    Histogram { le: vec![100, 2_500_000], counts: vec![1, 2, 3], sum: 5_000_050 }
}

/// A report in which everything is there.
fn full() -> Report {
    Report {
        version: "1.2.3".to_owned(),
        echo: "stored".to_owned(),
        framing: "line".to_owned(),
        on_disk_full: "wait".to_owned(),
        workers: vec![Worker { number: 1, generation: 1, ..Worker::default() }],
        writer: Some(Writer::default()),
        archiver: Some(Archiver { backlog: Some(Backlog::default()), ..Archiver::default() }),
        sync_interval_milliseconds: Some(1000),
        live: Some(Live { max_bytes: Some(9), ..Live::default() }),
        disk: Some(Disk::default()),
        histograms: Histograms {
            echo_microseconds: histogram(),
            write_microseconds: histogram(),
            sync_microseconds: histogram(),
            batch_messages: histogram(),
        },
        exporter: Some(Exporter::default()),
        ..Report::default()
    }
}

fn of(report: &Report) -> String {
    page(report.clone()).unwrap()
}

/// What is no metric, and why.
const NOT_TOLD: &[&str] = &[
    // The form of the report.
    "/schema",
    // A number of the system.
    "/pid",
    "/workers/0/pid",
    "/writer/pid",
    "/archiver/pid",
    "/exporter/pid",
    // The generation is the daemon's; of a worker's, what it means is told: leaving.
    "/workers/0/generation",
    // rate(echostored_messages_stored_total[…]) says it for any span.
    "/messages_per_second",
    "/bytes_per_second",
    // echostored_restarts_total{role="…"}, whether or not there is one just now.
    "/writer/restarts",
    "/archiver/restarts",
    "/exporter/restarts",
];

/// The numbers of one process are in the totals, which outlive it.
const IN_TOTALS: &[(&str, &str)] = &[
    ("/workers/0/", "/totals/workers/"),
    ("/writer/", "/totals/writer/"),
    ("/archiver/", "/totals/archiver/"),
    ("/exporter/", "/totals/exporter/"),
];

fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| leaves(value, &format!("{path}/{name}"), found))
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(at, value)| leaves(value, &format!("{path}/{at}"), found))
        }
        Value::Number(_) | Value::Bool(_) => found.push(path.to_owned()),
        _ => {}
    }
}

#[test]
fn every_number_of_the_report_moves_a_metric() {
    let (report, mut paths) = (serde_json::to_value(full()).unwrap(), Vec::new());
    leaves(&report, "", &mut paths);
    assert!(paths.len() > 80, "{paths:?}");
    let (before, all) = (of(&full()), paths.iter().map(String::as_str).collect::<BTreeSet<_>>());
    for path in &paths {
        let told_in_totals = IN_TOTALS.iter().any(|(one, totals)| {
            path.strip_prefix(one).is_some_and(|field| all.contains(format!("{totals}{field}").as_str()))
        });
        let mut changed = report.clone();
        let place = changed.pointer_mut(path).unwrap();
        *place = match place {
            Value::Bool(is_so) => Value::Bool(!*is_so),
            _ => Value::from(77),
        };
        let after = of(&serde_json::from_value(changed).unwrap());
        let expected = !NOT_TOLD.contains(&path.as_str()) && !told_in_totals;
        assert_eq!(before != after, expected, "{path}: a metric, or a reason");
    }
}

#[test]
fn the_page_is_as_prometheus_wants_it() {
    let mut report = full();
    report.totals.writer.messages = 5;
    report.workers[0].connections = 2;
    report.workers.push(Worker { number: 1, generation: 2, connections: 3, ready: true, ..Worker::default() });
    report.last_sync = Some("2026-11-22T08:42:00.500Z".to_owned());
    report.last.insert("workers.oversize".to_owned(), "2026-11-22T08:42:01.000Z".to_owned());
    let page = of(&report);
    for line in [
        "# HELP echostored_messages_stored Messages stored",
        "# TYPE echostored_messages_stored counter",
        "echostored_messages_stored_total 5",
        "# UNIT echostored_stored_bytes bytes",
        "echostored_build_info{version=\"1.2.3\",echo=\"stored\",framing=\"line\",on_disk_full=\"wait\"} 1",
        "echostored_worker_connections{worker=\"1\"} 5",
        "echostored_role_ready{role=\"worker\",worker=\"1\"} 1",
        "echostored_role_ready{role=\"writer\"} 0",
        "echostored_echo_duration_seconds_bucket{le=\"0.0001\"} 1",
        "echostored_echo_duration_seconds_bucket{le=\"2.5\"} 3",
        "echostored_echo_duration_seconds_bucket{le=\"+Inf\"} 6",
        "echostored_echo_duration_seconds_sum 5.00005",
        "echostored_echo_duration_seconds_count 6",
        "echostored_batch_messages_bucket{le=\"100.0\"} 1",
        "echostored_live_file_limit_bytes 9",
        "echostored_last_sync_timestamp_seconds 1795336920.5",
        "echostored_last_trouble_timestamp_seconds{counter=\"workers.oversize\"} 1795336921.0",
    ] {
        assert!(page.lines().any(|there| there == line), "no {line:?} in\n{page}");
    }
    assert!(page.ends_with("\n# EOF\n"));
    let series: Vec<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(series.iter().collect::<BTreeSet<_>>().len(), series.len(), "a series is there twice");
}

#[test]
fn names_keep_to_the_convention() {
    let mut names = BTreeSet::new();
    for family in FAMILIES {
        let name = family.full_name();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert!(!family.help.ends_with('.') && !family.help.contains(['\n', '\\']), "{name}");
        for word in ["_milliseconds", "_micros", "_kib", "_mb"] {
            assert!(!name.contains(word), "{name}: base units only");
        }
    }
}

#[test]
fn the_older_form_has_the_same_series() {
    let open = of(&full());
    let old = classic(&open);
    let series = |page: &str| page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(series(&old), series(&open));
    for line in [
        "# HELP echostored_messages_stored_total Messages stored",
        "# TYPE echostored_messages_stored_total counter",
        "# TYPE echostored_build_info gauge",
        "# TYPE echostored_echo_duration_seconds histogram",
    ] {
        assert!(old.lines().any(|there| there == line), "no {line:?} in\n{old}");
    }
    assert!(!old.contains("# UNIT") && !old.contains("# EOF"));
}
