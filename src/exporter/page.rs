//! The page of metrics: a report as OpenMetrics text. Pure; by prometheus-client.
//!
//! Promise: the families are those of [`FAMILIES`], told in `docs/metrics.md`, which a test compares; a label has a name or
//! a small number of ours, never a client's.
mod families;
mod samples;

use crate::ipc::report::Report;
pub use families::FAMILIES;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
pub use samples::{Kind, Number, Sample};
use std::collections::BTreeMap;
use std::fmt;

/// Begins every name.
const PREFIX: &str = "echostored";

/// A family of metrics: one row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, without prefix, unit and `_total`.
    pub name: &'static str,
    /// The base unit, which ends the name.
    pub unit: Option<&'static str>,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// One sentence without its full stop.
    pub help: &'static str,
    read: fn(&Report) -> Vec<Sample>,
}

impl Family {
    /// The name of its series, as people look for them.
    pub fn full_name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{PREFIX}_{}{unit}{suffix}", self.name)
    }

    fn encode(&self, report: &Report, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let unit = self.unit.map(|unit| Unit::Other(unit.to_owned()));
        let mut family = encoder.encode_descriptor(self.name, self.help, unit.as_ref(), self.kind.metric_type())?;
        for sample in (self.read)(report) {
            if self.kind == Kind::Info {
                family.encode_info(&sample.labels)?;
            } else if sample.labels.is_empty() {
                put(&mut family, self.kind, &sample.number)?;
            } else {
                put(&mut family.encode_family(&sample.labels)?, self.kind, &sample.number)?;
            }
        }
        Ok(())
    }
}

fn put(encoder: &mut MetricEncoder<'_>, kind: Kind, number: &Number) -> fmt::Result {
    match (kind, number) {
        (Kind::Counter, Number::Whole(count)) => encoder.encode_counter::<NoLabelSet, u64, f64>(count, None),
        // Whole numbers are 64 bits with a sign there.
        (_, Number::Whole(value)) => encoder.encode_gauge(&i64::try_from(*value).unwrap_or(i64::MAX)),
        (Kind::Counter, Number::Real(value)) => encoder.encode_counter::<NoLabelSet, f64, f64>(value, None),
        (_, Number::Real(value)) => encoder.encode_gauge(value),
        (_, Number::Buckets { sum, count, buckets }) => {
            encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        }
    }
}

impl Kind {
    fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
            Self::Info => MetricType::Info,
        }
    }
}

#[derive(Debug)]
struct Page(Report);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        FAMILIES.iter().try_for_each(|family| family.encode(&self.0, &mut encoder))
    }
}

/// The whole page.
///
/// # Errors
/// The encoder refuses a number; none of ours.
pub fn page(report: Report) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Page(report)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// A page in Prometheus' older text format: there a family is named as its series are.
pub fn classic(page: &str) -> String {
    let kinds = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let kinds: BTreeMap<&str, &str> = kinds.collect();
    let mut text = String::with_capacity(page.len());
    for line in page.lines() {
        let Some(told) = line.strip_prefix("# ") else {
            text.extend([line, "\n"]);
            continue;
        };
        let mut words = told.splitn(3, ' ');
        let (Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (suffix, kind) = match kinds.get(name).copied() {
            Some("counter") => ("_total", "counter"),
            Some("info") => ("_info", "gauge"),
            other => ("", other.unwrap_or_default()),
        };
        let rest = if what == "TYPE" { kind } else { rest };
        text.extend(["# ", what, " ", name, suffix, " ", rest, "\n"]);
    }
    text
}

#[cfg(test)]
mod tests;
