//! A daemon under load, scraped each second.
use crate::dashboard;
use crate::server::{Prometheus, get, program};
use crate::support::control::{status, tell};
use crate::support::daemon::{Daemon, Setup, as_user};
use crate::support::load::{Load, Shape};
use crate::support::{DEADLINE, processes, wait_until};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Panels that show something only after some trouble, and which.
const AFTER_TROUBLE: &[(&str, &str)] = &[
    ("Since the last trouble", "a counter of trouble must have moved once"),
    ("Time of trouble", "a counter of trouble must have moved once"),
];

/// A daemon with metrics, and where they are.
fn start() -> (Daemon, SocketAddr) {
    let daemon = Setup::default().set("metrics.listen", "127.0.0.1:0").start();
    let mut address = None;
    wait_until(DEADLINE, "an exporter", || {
        let told = status(&daemon);
        let ready = told["exporter"]["ready"] == true;
        address = told["exporter"]["listener"].as_str().filter(|_| ready).map(|place| place.parse().unwrap());
        address.is_some()
    });
    (daemon, address.unwrap())
}

fn some_load(daemon: &Daemon) -> Load {
    Load::start(daemon.address, Shape { rest: Duration::from_millis(2), ..Shape::default() })
}

#[test]
fn every_panel_shows_data_of_a_daemon_under_load() {
    let (mut daemon, exporter) = start();
    let Some(prometheus) = Prometheus::start(exporter) else { return };
    let load = some_load(&daemon);
    wait_until(DEADLINE, "a target that is up", || {
        let targets = prometheus.api("targets?state=active")["activeTargets"].clone();
        let target = &targets.as_array().unwrap().first().cloned().unwrap_or_default();
        target["health"] == "up" && target["lastError"] == "" && target["labels"]["job"] == "echostored"
    });
    let after_trouble = |panel: &str| AFTER_TROUBLE.iter().any(|(name, _)| *name == panel);
    let queries = dashboard::queries(&exporter.to_string());
    assert!(queries.len() > 80, "{} queries", queries.len());
    for query in queries.iter().filter(|query| after_trouble(&query.panel)) {
        assert_eq!(prometheus.query(&query.text), Vec::<f64>::new(), "{}: there was no trouble", query.panel);
    }
    // There is a closed file then, and some trouble.
    assert_eq!(tell(&daemon, &["rotate"]).code, 0);
    let mut stranger = TcpStream::connect(daemon.address).unwrap();
    stranger.set_read_timeout(Some(DEADLINE)).unwrap();
    let _ = stranger.write_all(&[b'x'; 100_000]);
    let _ = stranger.read_to_end(&mut Vec::new());
    for query in &queries {
        wait_until(DEADLINE, &format!("data for {}: {}", query.panel, query.text), || {
            !prometheus.query(&query.text).is_empty()
        });
    }
    // And the data are the daemon's.
    wait_until(DEADLINE, "as many messages in Prometheus as now", || {
        let told = prometheus.query("echostored_messages_echoed_total");
        told.first().is_some_and(|count| *count >= 1000.0 && *count <= load.echoed() as f64 + 200.0)
    });
    let ratios = prometheus.await_data("echostored_worker_pipe_bytes / echostored_worker_pipe_size_bytes");
    assert!(ratios.len() == 2 && ratios.iter().all(|fill| (0.0..=1.0).contains(fill)), "{ratios:?}");
    rules_are_evaluated(&prometheus);
    load.finish();
    daemon.stop();
}

/// Each without an error; and of a daemon that is well none fires, but for what is of this machine's disk.
fn rules_are_evaluated(prometheus: &Prometheus) {
    wait_until(DEADLINE, "every rule evaluated", || {
        let groups = prometheus.api("rules")["groups"].clone();
        let rules = groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
        let health: Vec<_> = rules.map(|rule| rule["health"].clone()).collect();
        assert!(!health.iter().any(|health| health == "err"), "{groups}");
        health.len() > 15 && health.iter().all(|health| health == "ok")
    });
    let firing: Vec<String> = prometheus.firing().into_iter().filter(|name| name != "EchostoredDiskLow").collect();
    assert_eq!(firing, Vec::<String>::new());
}

#[test]
fn the_exporter_is_killed_under_scrapes_and_the_target_comes_back() {
    const KILLS: u32 = 3;
    let (mut daemon, exporter) = start();
    let Some(prometheus) = Prometheus::start(exporter) else { return };
    let load = some_load(&daemon);
    wait_until(DEADLINE, "a first scrape", || prometheus.query("up{job=\"echostored\"}") == [1.0]);
    for kills in 1..=KILLS {
        let scrapes = prometheus.await_data("echostored_exporter_scrapes_total")[0];
        for pid in daemon.roles("exporter") {
            processes::signal(pid, Signal::SIGKILL);
        }
        wait_until(DEADLINE, "a target that is up again, with what was counted before", || {
            let deaths = prometheus.query("echostored_restarts_total{role=\"exporter\"}");
            let more = prometheus.query("echostored_exporter_scrapes_total").first().is_some_and(|now| *now > scrapes);
            prometheus.query("up{job=\"echostored\"}") == [1.0] && deaths == [f64::from(kills)] && more
        });
    }
    assert_eq!(
        prometheus.await_data("sum(resets(echostored_messages_echoed_total[1m]))"),
        [0.0],
        "no counter began anew"
    );
    // A real alert of a real death.
    wait_until(DEADLINE, "an alert", || prometheus.firing().iter().any(|name| name == "EchostoredRestarts"));
    daemon.remember();
    load.progress(200);
    load.finish();
    daemon.stop();
}

/// What promtool reads is Prometheus' older format, which is given to who asks for no other.
#[test]
fn promtool_finds_nothing_wrong_with_a_page() {
    let Some(promtool) = program("promtool") else { return };
    let (mut daemon, exporter) = start();
    let load = some_load(&daemon);
    load.progress(200);
    let (code, page) = get(exporter, "/metrics").unwrap();
    assert_eq!(code, 200);
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    as_user(&mut command);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}");
    load.finish();
    daemon.stop();
}
