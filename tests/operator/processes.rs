//! Processes that stand still, or keep dying.
use crate::clients::served;
use crate::support::daemon::Setup;
use crate::support::home::Home;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, processes, stays_false, wait_until};
use crate::view::{View, is_said, said, until, until_said, until_sound};
use crate::{start, watched};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

/// Clients that have always more to send than the pipes take.
const PUSHING: Shape = Shape {
    connections: 8,
    window: 200,
    framing: crate::support::framing::Framing::Line,
    smallest: 500,
    largest: 4_000,
    on_break: OnBreak::Fail,
    messages_a_connection: None,
    rest: Duration::ZERO,
};

/// How full the fullest pipe is, in percent.
fn fill(view: &View) -> u64 {
    let of = |worker: &serde_json::Value| {
        let [bytes, size] = ["pipe_bytes", "pipe_size"].map(|name| worker[name].as_u64().unwrap());
        (bytes * 100).checked_div(size).unwrap_or(0)
    };
    view.field("/workers").as_array().unwrap().iter().map(of).max().unwrap_or(0)
}

/// How long the oldest message of a worker waits, in milliseconds.
fn waits(view: &View, worker: usize) -> u64 {
    view.number(&format!("/workers/{worker}/oldest_unacknowledged_milliseconds"))
}

#[test]
fn the_writer_is_stopped() {
    let mut daemon = start(Setup::default().set("rotate.max-size", "8MiB"));
    let load = Load::start(daemon.address, PUSHING);
    until_sound(&daemon, "before");
    let writer = daemon.writer();
    processes::signal(writer, Signal::SIGSTOP);
    // At once: the pipes fill, and the age grows; that it is stalled is said after ten seconds.
    until(&daemon, "the pipes fill", |view| {
        let old = view.number("/oldest_unacknowledged_milliseconds") >= 9_000;
        vec![("a full pipe", fill(view) > 50), ("healthy, or old enough", view.is_sound(true) || old)]
    });
    until(&daemon, "it is stalled", |view| {
        let beat = view.number("/writer/heartbeat_milliseconds");
        vec![
            ("exit code, health in all", view.is_sound(false)),
            (
                "why, in the JSON",
                view.health().iter().any(|why| why.starts_with("stalled: a message has waited for 1")),
            ),
            ("why, on the screen", view.row("health").contains("stalled: a message has waited for 1")),
            ("the age", view.number("/oldest_unacknowledged_milliseconds") >= 10_000),
            ("the age of a worker's", (0..2).any(|n| waits(view, n) >= 10_000)),
            ("the age, on the screen", view.row("waiting").starts_with("the oldest message for 1")),
            ("the age, in the metrics", view.metric("echostored_oldest_unacknowledged_seconds") >= 10.0),
            ("the heartbeat", beat >= 10_000),
            ("the heartbeat, on the screen", view.row("writer").contains(" ms")),
            ("its metric", view.metric("echostored_role_heartbeat_age_seconds{role=\"writer\"}") >= 10.0),
            ("the pipes", fill(view) > 50),
            (
                "their metric",
                [1, 2].iter().any(|n| view.metric(&format!("echostored_worker_pipe_bytes{{worker=\"{n}\"}}")) > 0.0),
            ),
            ("nothing is stored", view.number("/messages_per_second") == 0),
            (
                "stalled, in the JSON and in the metrics",
                view.field("/stalled") == true && view.metric("echostored_stalled") == 1.0,
            ),
            ("who, and the rest works", view.row("status").starts_with("degraded: writer stands still: 2 workers")),
        ]
    });
    until_said(&daemon, "role-hangs", 1);
    stays_false(Duration::from_secs(3), "it is said again", || said(&daemon, "role-hangs").len() > 1);
    is_said(&daemon, "role-hangs", 1, &["the writer (", "has not moved for 1", "kill -CONT"]);
    processes::signal(writer, Signal::SIGCONT);
    load.progress(1_000);
    until(&daemon, "after", |view| {
        let (outages, hangs) = (view.metric("echostored_outages_total"), view.metric("echostored_hangs_total"));
        vec![
            ("healthy", view.is_sound(true)),
            ("remembered", view.number("/outages") == 1 && view.number("/hangs") == 1),
            ("in the metrics", outages == 1.0 && hangs == 1.0),
            ("when", view.field("/last/outages").is_string() && view.row("outages").contains(" ago (")),
        ]
    });
    until_said(&daemon, "role-goes-on", 1);
    is_said(&daemon, "role-goes-on", 1, &["the writer (", "goes on, after"]);
    assert_eq!(load.broken(), 0);
    load.finish();
    daemon.stop();
}

/// What it knew stands still with it, and grows old: its messages are stored, and others serve. No stall, whatever it had on
/// its way.
#[test]
fn one_worker_is_stopped() {
    let mut daemon = start(Setup::default().set("limits.write-timeout", "10m"));
    let load = Load::start(daemon.address, PUSHING);
    until_sound(&daemon, "before");
    let writer = daemon.writer();
    // So that it has messages on their way when it is stopped. All clients may have come to one worker.
    processes::signal(writer, Signal::SIGSTOP);
    let view = until(&daemon, "messages wait", |view| vec![("in one", (0..2).any(|n| waits(view, n) > 0))]);
    let victim = usize::from(waits(&view, 1) > waits(&view, 0));
    let title = format!("worker {}", victim + 1);
    let worker = daemon.roles(&title)[0];
    processes::signal(worker, Signal::SIGSTOP);
    processes::signal(writer, Signal::SIGCONT);
    until(&daemon, "it hangs", |view| {
        vec![
            ("its message, as it knew it", waits(view, victim) >= 10_000),
            ("its heartbeat", view.number(&format!("/workers/{victim}/heartbeat_milliseconds")) >= 10_000),
            ("who", view.field("/hanging") == &serde_json::json!([title])),
            (
                "who, on the screen",
                view.row("status").starts_with(&format!("degraded: {title} stands still: 2 workers")),
            ),
            ("degraded", view.field("/degraded") == true && view.metric("echostored_degraded") == 1.0),
            ("no stall", view.field("/stalled") == false && view.metric("echostored_stalled") == 0.0),
            ("healthy: the other serves", view.is_sound(true)),
        ]
    });
    until_said(&daemon, "role-hangs", 1);
    is_said(&daemon, "role-hangs", 1, &[&format!("{title} ("), "kill -CONT"]);
    drop(served(&daemon));
    processes::signal(worker, Signal::SIGCONT);
    until(&daemon, "after", |view| {
        vec![
            ("healthy", view.is_sound(true)),
            ("all move", view.field("/hanging") == &serde_json::json!([]) && view.field("/degraded") == false),
        ]
    });
    load.progress(1_000);
    assert_eq!(load.broken(), 0);
    load.finish();
    daemon.stop();
}

/// A role that dies again and again: others serve, and it is told once, however often it dies.
#[test]
fn a_worker_dies_at_birth_again_and_again() {
    let home = Home::new();
    let cause = home.join("dying");
    let setup = watched(Setup::default()).environment("ECHOSTORED_CRASH", "worker 2");
    let mut daemon = setup.environment("ECHOSTORED_CRASH_WHILE", cause.to_str().unwrap()).start_in(home);
    let shape = Shape { messages_a_connection: Some(50), on_break: OnBreak::Reconnect, ..Shape::default() };
    let load = Load::start(daemon.address, Shape { rest: Duration::from_millis(2), ..shape });
    until_sound(&daemon, "before");
    fs::write(&cause, "").unwrap();
    processes::signal(daemon.roles("worker 2")[0], Signal::SIGKILL);
    let view = until(&daemon, "it dies and dies", |view| {
        vec![
            ("degraded", view.field("/degraded") == true),
            ("degraded, on the screen", view.row("status").starts_with("degraded: 1 worker")),
            ("degraded, in the metrics", view.metric("echostored_degraded") == 1.0),
            ("it is not there", view.row("worker 2").is_empty() && view.field("/workers/1").is_null()),
            ("the other is", view.field("/workers/0/ready") == true),
            ("healthy: the other serves", view.is_sound(true)),
            ("deaths", view.number("/restarts/workers") >= 4),
            (
                "the last one",
                view.field("/last/restarts.workers").is_string() && view.row("restarts.workers").contains(" ago ("),
            ),
            ("deaths, in the metrics", view.metric("echostored_restarts_total{role=\"worker\"}") >= 4.0),
        ]
    });
    // Each death is an event; that they come one after the other is another, once.
    assert!(said(&daemon, "worker-ended").len() as u64 >= view.number("/restarts/workers"));
    is_said(&daemon, "worker-keeps-dying", 1, &["worker 2 keeps dying; next try in ", "at last every 10s"]);
    fs::remove_file(&cause).unwrap();
    until(&daemon, "after", |view| {
        let deaths = view.metric("echostored_worker_restarts_total{worker=\"2\"}");
        vec![
            ("healthy", view.is_sound(true)),
            ("not degraded", view.field("/degraded") == false && view.metric("echostored_degraded") == 0.0),
            (
                "it is there again",
                view.row("worker 2").contains("serving") && view.row("status").starts_with("2 workers"),
            ),
            ("its deaths stay", view.number("/workers/1/restarts") >= 4 && deaths >= 4.0),
        ]
    });
    until_said(&daemon, "role-lives", 1);
    is_said(&daemon, "role-lives", 1, &["worker 2 (", "lives again"]);
    is_said(&daemon, "worker-keeps-dying", 1, &[]);
    load.progress(500);
    daemon.remember();
    load.finish();
    daemon.stop();
}

/// Nobody serves what it should store: the messages wait, and that is what is told.
#[test]
fn the_writer_dies_at_every_batch() {
    let home = Home::new();
    let cause = home.join("dying");
    let setup = watched(Setup::default()).environment("ECHOSTORED_CRASH", "after-write");
    let mut daemon = setup.environment("ECHOSTORED_CRASH_WHILE", cause.to_str().unwrap()).start_in(home);
    let load = Load::start(daemon.address, Shape::default());
    fs::write(&cause, "").unwrap();
    processes::signal(daemon.writer(), Signal::SIGKILL);
    until(&daemon, "it dies and dies", |view| {
        vec![
            ("unhealthy", view.is_sound(false)),
            ("why", view.row("health").contains("there is no writer: nothing is stored")),
            ("deaths", view.number("/restarts/writer") >= 4),
            ("their metric", view.metric("echostored_restarts_total{role=\"writer\"}") >= 4.0),
        ]
    });
    is_said(&daemon, "writer-keeps-dying", 1, &["keeps dying without storing anything; next try in "]);
    fs::remove_file(&cause).unwrap();
    load.progress(1_000);
    until_sound(&daemon, "after");
    until_said(&daemon, "role-lives", 1);
    is_said(&daemon, "role-lives", 1, &["the writer (", "lives again"]);
    wait_until(DEADLINE, "the writer", || daemon.roles("writer").len() == 1);
    daemon.remember();
    load.finish();
    daemon.stop();
}
