//! The plots of what `growth` has measured: throughput, latency and processor time against connections.
mod axis;
mod chart;

use chart::{Chart, Series};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Blue and orange: told apart by the colour-blind, and on light and dark ground.
const OURS: &str = "#2f81d7";
const THEIRS: &str = "#e0822f";

/// Of a point of the JSON.
type Figure = fn(&Value) -> Option<f64>;

/// Draws them into `directory`, which is made if it is not there; the files' names.
pub fn draw(growth: &Value, directory: &Path) -> Result<Vec<String>, String> {
    fs::create_dir_all(directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    let mut drawn = Vec::new();
    for (name, chart) in charts(growth)? {
        let path = directory.join(name);
        fs::write(&path, chart.draw()?).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        drawn.push(path.display().to_string());
    }
    Ok(drawn)
}

fn charts(growth: &Value) -> Result<[(&'static str, Chart); 3], String> {
    let points = growth["points"].as_array().ok_or("no points in it: it is not what growth --json writes")?;
    let line = |server: &str, name: &str, color, dashed, figure: Figure| Series {
        name: name.to_owned(),
        color,
        dashed,
        points: medians(points, server, figure),
    };
    let rate: Figure = |point| point["messages_per_second"].as_f64();
    let p50: Figure = |point| point["p50"].as_f64();
    let p99: Figure = |point| point["p99"].as_f64();
    let cpu: Figure = |point| point["cpu_per_million"].as_f64();
    let chart = |title: &str, y: &str, logarithmic, series| Chart {
        title: title.to_owned(),
        x: "connections, one message of 128 bytes in flight on each".to_owned(),
        y: y.to_owned(),
        logarithmic,
        series,
    };
    let both = |figure| {
        vec![line("stored", "stored", OURS, false, figure), line("echo-only", "echo-only", THEIRS, false, figure)]
    };
    let latencies = vec![
        line("stored", "stored, p50", OURS, false, p50),
        line("stored", "stored, p99", OURS, true, p99),
        line("echo-only", "echo-only, p50", THEIRS, false, p50),
        line("echo-only", "echo-only, p99", THEIRS, true, p99),
    ];
    Ok([
        ("throughput.svg", chart("Throughput", "messages per second", false, both(rate))),
        ("latency.svg", chart("Latency", "microseconds until the echo", true, latencies)),
        ("cpu.svg", chart("Processor time", "server's CPU seconds per million messages", false, both(cpu))),
    ])
}

/// Of the part `connections`: for each number of them the median over the rounds.
fn medians(points: &[Value], server: &str, figure: Figure) -> Vec<(f64, f64)> {
    let mut all = std::collections::BTreeMap::<u64, Vec<f64>>::new();
    for point in points.iter().filter(|point| point["part"] == "connections" && point["server"] == server) {
        if let (Some(x), Some(y)) = (point["x"].as_u64(), figure(point)) {
            all.entry(x).or_default().push(y);
        }
    }
    all.into_iter().filter_map(|(x, values)| Some((x as f64, crate::figures::median(&values)?))).collect()
}

#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "run by tests/benches.rs; a program without a harness only compiles them")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_plot_has_its_lines_and_its_labels() {
        let point = |x: u64, server: &str, rate: f64| {
            json!({"part": "connections", "x": x, "server": server, "messages_per_second": rate, "p50": 20.0, "p99": 90.0,
                "cpu_per_million": 3.5})
        };
        let points = [
            point(1, "stored", 10e3),
            point(100, "stored", 20e3),
            point(100, "stored", 40e3),
            point(1, "echo-only", 15e3),
        ];
        let growth = json!({ "points": points });
        assert_eq!(
            medians(&points, "stored", |point| point["messages_per_second"].as_f64()),
            [(1.0, 10e3), (100.0, 30e3)]
        );
        for (_, chart) in charts(&growth).unwrap() {
            let drawn = chart.draw().unwrap();
            assert!(
                drawn.starts_with("<svg") && drawn.contains("connections, one message") && drawn.contains("echo-only")
            );
        }
        assert!(charts(&json!({})).is_err());
        assert!(charts(&json!({"points": []})).unwrap()[0].1.draw().is_err(), "an empty plot says nothing");
    }
}
