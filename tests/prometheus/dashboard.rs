//! The dashboard's file: what it asks for, and that it is whole.
use crate::{metrics_in, shipped_text, source};
use serde_json::Value;
use std::collections::BTreeSet;

/// One query of a panel, with the variables filled in.
pub struct Query {
    pub panel: String,
    pub text: String,
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&shipped_text("grafana-dashboard.json")).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

/// Every query of every panel, for the daemon that is scraped at `instance`.
pub fn queries(instance: &str) -> Vec<Query> {
    let filled = |text: &str| {
        let text = text.replace("$__rate_interval", "10s").replace("$__range", "1m").replace("$instance", instance);
        assert!(!text.contains('$'), "a variable that the test does not know: {text}");
        text
    };
    let mut all = Vec::new();
    for panel in panels() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = filled(target["expr"].as_str().unwrap());
            all.push(Query { panel: panel["title"].as_str().unwrap().to_owned(), text });
        }
    }
    all
}

/// Metrics that neither a panel nor a rule has, and why.
const NOT_SHOWN: &[(&str, &str)] =
    &[("echostored_disk_used_ratio", "the panels show what is free, in bytes and as a part")];

#[test]
fn every_metric_is_in_a_panel_or_a_rule() {
    let documented: BTreeSet<String> = std::fs::read_to_string(source("docs/metrics.md"))
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `echostored_")?.split('`').next()?.to_owned()))
        .map(|name| format!("echostored_{name}"))
        .collect();
    let panels = serde_json::to_string(&panels()).unwrap();
    let mut used = metrics_in(&panels);
    used.extend(metrics_in(&shipped_text("echostored.rules.yml")));
    assert!(documented.len() > 60, "{documented:?}");
    let not_shown: BTreeSet<String> = NOT_SHOWN.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        documented.difference(&used).cloned().collect::<BTreeSet<_>>(),
        not_shown,
        "neither in a panel nor in a rule"
    );
    assert_eq!(used.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "there is no such metric");
}

#[test]
fn the_dashboard_is_whole() {
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: another panel has its id");
        let of = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(of("x") + of("w") <= 24, "{title} is out of the grid");
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(cells.insert((x, y)), "{title} covers another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_ne!(panel["description"].as_str().unwrap_or_default(), "", "{title} says what it shows");
        for target in panel["targets"].as_array().unwrap() {
            let text = target["expr"].as_str().unwrap();
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            // Each series of a query is of the chosen instance.
            let series = text.matches("echostored_").count() + text.matches("up{").count();
            assert_eq!(text.matches("instance=\"$instance\"").count(), series, "{title}: {text}");
        }
    }
}
