//! promtool finds nothing wrong with what ships, and the rules do what their tests say.
use crate::server::{program, shipped_for};
use crate::support::daemon::as_user;
use std::process::Command;

#[test]
fn promtool_takes_rules_and_configuration_and_their_tests_pass() {
    let Some(promtool) = program("promtool") else { return };
    let home = shipped_for("127.0.0.1:9".parse().unwrap());
    for arguments in [
        ["check", "rules", "echostored.rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "echostored.rules.test.yml"],
    ] {
        let mut command = Command::new(&promtool);
        command.args(arguments).current_dir(home.path());
        as_user(&mut command);
        // It computes for some seconds, and ends by itself.
        let said = command.output().unwrap();
        let text = [said.stdout, said.stderr].concat();
        assert!(said.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&text));
    }
}

/// A rule that no test makes fire may never fire.
#[test]
fn every_alert_fires_in_a_test_and_says_what_to_do() {
    let (rules, tests) =
        (crate::shipped_text("echostored.rules.yml"), crate::shipped_text("echostored.rules.test.yml"));
    let page = std::fs::read_to_string(crate::source("docs/metrics.md")).unwrap();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} fires in no test");
        let severity = alert.split("severity: ").nth(1).unwrap_or_default().split(' ').next().unwrap_or_default();
        assert!(["critical", "warning"].contains(&severity), "{name} is {severity}");
        assert!(
            page.contains(&format!("| `{name}` | {severity} | ")),
            "docs/metrics.md does not list {name} as {severity}"
        );
        for part in ["summary: ", "description: "] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
        let link = alert.split("runbook_url: \"file:///usr/share/doc/echostored/").nth(1).unwrap_or_default();
        leads_somewhere(name, link.split('"').next().unwrap_or_default());
    }
}

/// `page.md#heading`, which both packages install.
fn leads_somewhere(alert: &str, link: &str) {
    let (page, heading) = link.split_once('#').unwrap_or((link, ""));
    let text = std::fs::read_to_string(crate::source("docs").join(page)).unwrap_or_default();
    let slug = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        kept.replace(|letter: char| !letter.is_alphanumeric() && letter != '-', "")
    };
    let mut headings = text.lines().filter(|line| line.starts_with('#')).map(slug);
    assert!(headings.any(|known| heading.is_empty() || known == heading), "{alert}: there is no docs/{link}");
    let packages = std::fs::read_to_string(crate::source("Cargo.toml")).unwrap();
    assert_eq!(packages.matches(&format!("\"docs/{page}\"")).count(), 2, "{alert}: {page} is not in both packages");
}
