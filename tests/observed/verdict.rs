//! What should have moved, and has not.
use crate::reports;
use crate::seen::{Seen, Values};
use std::collections::BTreeSet;

/// Fields that never move in one build, and why.
const CONSTANT_FIELDS: &[(&str, &str)] = &[
    ("schema", "the version of the form"),
    ("version", "the version of the build"),
    ("sandbox.landlock", "the supervisor has no wall"),
    ("histograms.echo_microseconds.le", "bounds stand in the code"),
    ("histograms.write_microseconds.le", "bounds stand in the code"),
    ("histograms.sync_microseconds.le", "bounds stand in the code"),
    ("histograms.batch_messages.le", "bounds stand in the code"),
];

/// Series of the same kind.
const CONSTANT_SERIES: &[(&str, &str)] = &[
    ("echostored_role_landlock_abi{role=\"supervisor\"}", "the supervisor has no wall"),
    ("echostored_role_ready{role=\"exporter\"}", "it is the exporter that serves the page"),
];

/// Times of trouble: to be there says that there was some.
fn once(name: &str) -> bool {
    name.starts_with("last.") || name.starts_with("echostored_last_trouble_timestamp_seconds{")
}

/// Of these names, those that have not moved, and those that should not have.
fn amiss(names: &BTreeSet<String>, values: &Values, constant: &[(&str, &str)], seen: &Seen) -> Vec<String> {
    let of = |name: &String| {
        let count = values.get(name).map_or(0, BTreeSet::len);
        let reason = constant.iter().find(|(constant, _)| constant == name).map(|(_, reason)| *reason);
        match reason {
            Some(_) if count == 1 => None,
            Some(reason) => Some(format!("{name}: {count} values, but \"{reason}\"")),
            None if seen.is_left_out(name) || count > 1 || (count == 1 && once(name)) => None,
            None => Some(format!("{name}: {}", values.get(name).map_or("never there".to_owned(), told))),
        }
    };
    names.iter().filter_map(of).collect()
}

fn told(values: &BTreeSet<String>) -> String {
    format!("always {}", values.iter().cloned().collect::<Vec<_>>().join(", "))
}

/// The list of all that none has moved, printed.
pub fn list(seen: &Seen) -> Vec<String> {
    let (fields, metrics) = (seen.fields(), seen.metrics());
    let wanted = reports::fields();
    let strangers: Vec<&String> = fields.keys().filter(|name| !reports::is_told(name, &wanted)).collect();
    assert!(strangers.is_empty(), "status tells what is in no report: {strangers:?}");
    // Every series that there was, and every time of trouble; and of every metric at least one.
    let families = reports::metrics();
    let mut series: BTreeSet<String> = metrics.keys().cloned().collect();
    series.extend(reports::troubles().iter().map(|name| format!("{}{{counter=\"{name}\"}}", reports::TROUBLE)));
    let absent = families.iter().filter(|family| !series.iter().any(|name| reports::is_of(name, family)));
    let absent: Vec<String> = absent.map(|family| format!("{family}: never there")).collect();
    let mut list = amiss(&wanted, &fields, CONSTANT_FIELDS, seen);
    list.extend(amiss(&series, &metrics, CONSTANT_SERIES, seen));
    list.extend(absent);
    println!("{} fields, {} series of {} metrics", wanted.len(), series.len(), families.len());
    for line in &list {
        println!("NOT MOVED {line}");
    }
    list
}
