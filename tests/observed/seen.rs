//! What was seen: the values of each field of a report and of each series of a page.
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// More values of one thing say nothing more.
const ENOUGH: usize = 4;

/// By the name of a field (`workers[].idle`) or a series (`echostored_restarts_total{role="writer"}`).
pub type Values = BTreeMap<String, BTreeSet<String>>;

/// The collection of all scenarios.
#[derive(Default)]
pub struct Seen {
    fields: Mutex<Values>,
    metrics: Mutex<Values>,
    /// What is not asked for here, and why.
    left_out: Mutex<BTreeMap<String, String>>,
}

impl Seen {
    /// Takes in what `status` told.
    pub fn report(&self, report: &Value) {
        let mut found = Vec::new();
        leaves(report, "", &mut found);
        add(&self.fields, found);
    }

    /// Takes in a page of metrics.
    pub fn page(&self, page: &str) {
        add(&self.metrics, series(page));
    }

    /// These fields and series cannot be moved on this machine: said aloud.
    pub fn leave_out(&self, why: &str, names: &[&str]) {
        crate::support::skip(&format!("{why}; not looked at: {}", names.join(", ")));
        let mut left_out = self.left_out.lock().unwrap();
        left_out.extend(names.iter().map(|name| ((*name).to_owned(), why.to_owned())));
    }

    pub fn fields(&self) -> Values {
        self.fields.lock().unwrap().clone()
    }

    pub fn metrics(&self) -> Values {
        self.metrics.lock().unwrap().clone()
    }

    pub fn is_left_out(&self, name: &str) -> bool {
        self.left_out.lock().unwrap().contains_key(name)
    }
}

fn add(values: &Mutex<Values>, found: Vec<(String, String)>) {
    let mut values = values.lock().unwrap();
    for (name, value) in found {
        let known = values.entry(name).or_default();
        if known.len() < ENOUGH {
            known.insert(value);
        }
    }
}

/// Every leaf with its value: of arrays of objects the index is folded, one of numbers or words is a leaf.
pub fn leaves(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            fields.iter().for_each(|(name, value)| leaves(value, &format!("{path}{dot}{name}"), found));
        }
        Value::Array(values) if values.first().is_some_and(Value::is_object) => {
            values.iter().for_each(|value| leaves(value, &format!("{path}[]"), found));
        }
        _ => found.push((path.to_owned(), value.to_string())),
    }
}

/// Every series with its value. Workers' numbers are folded; all buckets of a histogram are one value; of an info metric
/// the labels are.
fn series(page: &str) -> Vec<(String, String)> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut single = Vec::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a series and its value");
        let (family, labels) = name.split_once('{').unwrap_or((name, ""));
        if family.ends_with("_info") {
            single.push((family.to_owned(), labels.to_owned()));
            continue;
        }
        let labels: Vec<&str> = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()).collect();
        let kept: Vec<&str> = labels.iter().filter(|label| !folds(label)).copied().collect();
        let name = if kept.is_empty() { family.to_owned() } else { format!("{family}{{{}}}", kept.join(",")) };
        if family.ends_with("_bucket") {
            found.entry(name).or_default().push(value.to_owned());
        } else {
            single.push((name, value.to_owned()));
        }
    }
    single.extend(found.into_iter().map(|(name, values)| (name, values.join(" "))));
    single
}

fn folds(label: &str) -> bool {
    ["worker=", "le="].iter().any(|name| label.starts_with(name))
}
