//! What the page says: the same as `status`, in good form.
use crate::http::{Connection, get};
use crate::support::checker::{self, Expect};
use crate::support::control::{status, tell};
use crate::support::daemon::{Daemon, Setup};
use crate::support::framing::Format;
use crate::support::load::{Load, Shape};
use crate::support::{DEADLINE, processes, wait_until};
use crate::{scrape, start, value};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Counters of the page and where `status` has them.
const SAME: &[(&str, &str)] = &[
    ("echostored_messages_received_total", "/totals/workers/messages"),
    ("echostored_received_bytes_total", "/totals/workers/bytes"),
    ("echostored_echoed_bytes_total", "/totals/workers/echoed"),
    ("echostored_connections_accepted_total", "/totals/workers/accepted"),
    ("echostored_messages_stored_total", "/totals/writer/messages"),
    ("echostored_stored_bytes_total", "/totals/writer/bytes"),
    ("echostored_batches_total", "/totals/writer/batches"),
    ("echostored_messages_echoed_total", "/totals/workers/echoes"),
    ("echostored_echo_duration_seconds_count", "/totals/workers/echoes"),
    ("echostored_batch_messages_sum", "/totals/writer/messages"),
    ("echostored_connections", "/connections"),
    ("echostored_generation", "/generation"),
    ("echostored_start_time_seconds", "/started"),
];

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn metrics_say_what_status_says() {
    let (mut daemon, address) = start(Setup::default());
    let load = Load::start(daemon.address, Shape::default());
    load.progress(20_000);
    let during = scrape(address);
    assert!(value(&during, "echostored_messages_stored_total") > 1000.0);
    assert_eq!(value(&during, "echostored_connections"), 8.0);
    let per_worker = (1..=2).map(|n| value(&during, &format!("echostored_worker_connections{{worker=\"{n}\"}}")));
    assert_eq!(per_worker.sum::<f64>(), 8.0);
    let histories = load.finish();
    // Quiet now, but for what is swept up a moment later.
    wait_until(DEADLINE, "the same numbers in both", || {
        let (page, told) = (scrape(address), status(&daemon));
        std::thread::sleep(std::time::Duration::from_millis(100));
        SAME.iter().all(|(series, place)| value(&page, series) == number(told.pointer(place).unwrap()))
    });
    let page = scrape(address);
    let echoed: usize = histories.iter().map(|history| history.echoed).sum();
    assert_eq!(value(&page, "echostored_messages_stored_total"), echoed as f64);
    let told = status(&daemon);
    assert!(number(&told["exporter"]["scrapes"]) >= 3.0 && told["exporter"]["bad_requests"] == 0, "{told}");
    assert_eq!(value(&page, "echostored_role_ready{role=\"exporter\"}"), 1.0);
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

#[test]
fn counters_survive_the_deaths_of_all_who_count() {
    let (mut daemon, address) = start(Setup::default());
    let stored = "echostored_messages_stored_total";
    let mut last = 0.0;
    for role in ["worker 1", "writer", "archiver", "exporter"] {
        let load = Load::start(daemon.address, Shape { messages_a_connection: Some(50), ..Shape::default() });
        load.progress(500);
        load.finish();
        let old = daemon.roles(role)[0];
        processes::signal(old, Signal::SIGKILL);
        wait_until(DEADLINE, "all roles again", || {
            daemon.roles(role).iter().any(|pid| *pid != old)
                && get(address, "/healthz").is_ok_and(|told| told.code == 200)
        });
        // A page may be a moment old.
        let mut now = 0.0;
        wait_until(DEADLINE, &format!("all of it counted, after a {role}'s death"), || {
            now = value(&scrape(address), stored);
            assert!(now >= last, "after a {role}'s death: {last}, then {now}");
            now >= last + 500.0
        });
        last = now;
    }
    daemon.remember();
    daemon.stop();
}

#[test]
fn the_page_comes_in_good_form() {
    let (mut daemon, address) = start(Setup::default());
    let mut connection = Connection::new(address);
    for _ in 0..3 {
        let whole = connection.ask("GET", "/metrics").unwrap();
        assert_eq!(whole.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
        assert!(whole.body.ends_with("\n# EOF\n") && whole.header("connection").is_none());
        let head = connection.ask("HEAD", "/metrics").unwrap();
        assert_eq!((head.code, head.header("content-type")), (200, whole.header("content-type")));
    }
    // Who does not say that it can read it gets the older form.
    connection.say(b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n").unwrap();
    let old = connection.hear(true).unwrap();
    assert_eq!(old.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(old.body.contains("\n# TYPE echostored_messages_stored_total counter\n") && !old.body.contains("# EOF"));
    let front = connection.ask("GET", "/").unwrap();
    assert!(front.code == 200 && front.body.contains("href=\"/metrics\""), "{front:?}");
    let health = connection.ask("GET", "/healthz").unwrap();
    assert_eq!((health.code, health.body.as_str()), (200, "ok\n"));
    // Several requests at once are answered one after the other.
    connection.say(&b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(40)).unwrap();
    for _ in 0..40 {
        assert_eq!(connection.hear(true).unwrap().code, 200);
    }
    connection.say(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(connection.hear(true).unwrap().header("connection"), Some("close"));
    assert!(connection.ends(DEADLINE));
    let page = scrape(address);
    let version = format!(
        "echostored_build_info{{version=\"{}\",echo=\"stored\",framing=\"line\",on_disk_full=\"wait\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(value(&page, &version), 1.0);
    daemon.stop();
}

#[test]
fn a_writer_that_stands_still_is_not_healthy_and_status_agrees() {
    let (mut daemon, address) = start(Setup::default());
    let health = || get(address, "/healthz").unwrap();
    assert_eq!((health().code, value(&scrape(address), "echostored_healthy")), (200, 1.0));
    let writer = daemon.writer();
    processes::signal(writer, Signal::SIGSTOP);
    let mut client = std::net::TcpStream::connect(daemon.address).unwrap();
    std::io::Write::write_all(&mut client, b"waits\n").unwrap();
    let mut told = health();
    wait_until(DEADLINE, "a word of it", || {
        told = health();
        told.code == 503
    });
    assert!(told.body.starts_with("stalled: a message has waited for 1"), "{told:?}");
    let page = scrape(address);
    let waited = value(&page, "echostored_oldest_unacknowledged_seconds");
    assert!((10.0..40.0).contains(&waited) && value(&page, "echostored_healthy") == 0.0, "{waited}");
    assert!(status_of_trouble(&daemon).contains("stalled"));
    processes::signal(writer, Signal::SIGCONT);
    wait_until(DEADLINE, "health", || health().code == 200);
    assert_eq!(value(&scrape(address), "echostored_oldest_unacknowledged_seconds"), 0.0);
    drop(client);
    daemon.stop();
}

/// `health` of a status whose exit code may be 1.
fn status_of_trouble(daemon: &Daemon) -> String {
    let ended = tell(daemon, &["status", "--json"]);
    serde_json::from_str::<Value>(&ended.stdout).unwrap()["health"].to_string()
}
