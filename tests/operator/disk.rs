//! A disk that is full, or slow.
use crate::shim::Shim;
use crate::support::daemon::{Daemon, Setup};
use crate::support::home::Home;
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::small::Small;
use crate::support::{DEADLINE, stays_false, wait_until};
use crate::view::{View, is_said, said, say, until, until_said, until_sound};
use crate::watched;
use std::time::Duration;

const SIZE: u64 = 1 << 20;

/// What a full disk shows by any policy.
fn is_full(view: &View) -> Vec<(&'static str, bool)> {
    vec![
        ("exit code, health in all", view.is_sound(false)),
        ("why, in the JSON", view.health().contains(&"the disk is full: nothing is stored")),
        ("why, on the screen", view.row("health").contains("the disk is full: nothing is stored")),
        ("full", view.field("/full") == true && view.row("status").starts_with("disk full: 2 workers")),
        ("its metric", view.metric("echostored_full") == 1.0),
        ("the room", view.number("/disk/free_bytes") < 64 << 10 && view.number("/disk/used_percent") >= 94),
        ("its metrics", (0.0..65_536.0).contains(&view.metric("echostored_disk_free_bytes"))),
        ("used, in the metrics", view.metric("echostored_disk_used_ratio") >= 0.94),
        ("the room, on the screen", view.row("disk").contains(" % used, ")),
    ]
}

fn is_not_full(view: &View) -> Vec<(&'static str, bool)> {
    vec![
        ("healthy", view.is_sound(true)),
        ("not full", view.field("/full") == false && view.metric("echostored_full") == 0.0),
        ("room", view.number("/disk/free_bytes") > 64 << 20),
    ]
}

fn full(policy: &str, on_break: OnBreak) -> Option<(Small, Daemon, Load)> {
    let home = Home::new();
    let small = Small::new(&home, SIZE)?;
    let setup = Setup::default().set("store.on-disk-full", policy).set("rotate.max-size", "64MiB");
    let daemon = watched(setup).start_in(home);
    until_sound(&daemon, "before");
    let load = Load::start(daemon.address, Shape { on_break, rest: Duration::from_millis(2), ..Shape::default() });
    Some((small, daemon, load))
}

#[test]
fn it_is_full_and_clients_wait() {
    let Some((small, mut daemon, load)) = full("wait", OnBreak::Fail) else { return };
    until(&daemon, "a full disk", is_full);
    until(&daemon, "and messages that wait", |view| {
        let metric = view.metric("echostored_oldest_unacknowledged_seconds");
        vec![
            ("their age", view.number("/oldest_unacknowledged_milliseconds") > 1_000 && metric > 1.0),
            ("nothing is refused", view.number("/totals/writer/refused") == 0),
        ]
    });
    // Five tries a second.
    stays_false(Duration::from_secs(2), "it is said again", || said(&daemon, "disk-full").len() > 1);
    let words = ["cannot write to ", "No space left on device", "nothing is echoed until it can", "make room"];
    is_said(&daemon, "disk-full", 1, &words);
    small.give_room();
    load.progress(200);
    until(&daemon, "after", is_not_full);
    is_said(&daemon, "storing-again", 1, &["storing again in "]);
    assert_eq!(load.broken(), 0);
    load.finish();
    daemon.stop();
}

#[test]
fn it_is_full_and_clients_are_refused() {
    let Some((small, mut daemon, load)) = full("reject", OnBreak::Reconnect) else { return };
    until(&daemon, "a full disk", is_full);
    until(&daemon, "and who sends is refused", |view| {
        let closed = view.metric("echostored_connections_closed_total{reason=\"no_room\"}");
        let last = "echostored_last_trouble_timestamp_seconds{counter=\"writer.refused\"}";
        vec![
            ("messages", view.number("/totals/writer/refused") > 10),
            ("their metric", view.metric("echostored_messages_refused_total") > 10.0),
            ("connections", view.number("/totals/workers/refused") > 10 && closed > 10.0),
            ("when", view.field("/last/writer.refused").is_string() && view.row("writer.refused").contains("0s ago")),
            ("when, in the metrics", view.metric(last) > 1.7e9),
            ("who, on the screen", view.row("disk").contains(" messages refused")),
        ]
    });
    let words = ["cannot write to ", "No space left on device", "who sends is closed without an echo"];
    // A batch that still fits into the rest of the last page ends it, for that moment: each is told, and few are.
    wait_until(DEADLINE, "one beginning more than ends", || {
        said(&daemon, "disk-full-refusing").len() == said(&daemon, "storing-again").len() + 1
    });
    let lines = said(&daemon, "disk-full-refusing");
    assert!(lines.len() <= 10, "{} times", lines.len());
    say(&lines, &words);
    small.give_room();
    load.progress(200);
    until(&daemon, "after", is_not_full);
    until_said(&daemon, "storing-again", lines.len());
    say(&said(&daemon, "storing-again"), &["storing again in ", " messages were refused for want of room"]);
    load.finish();
    daemon.stop();
}

/// A daemon whose syncs will take two seconds each.
fn slow(echo: &str) -> Option<(Shim, Small, Daemon, Load)> {
    let home = Home::new();
    let shim = Shim::new(&home)?;
    // No disk but the shim's is to be slow.
    let memory = Small::new(&home, 1 << 30)?;
    shim.arm(false);
    let setup = Setup::default().set("server.echo", echo).set("store.sync-interval", "100ms");
    let daemon = shim.equip(watched(setup), Some("writer:fdatasync:delay=2000:0")).start_in(home);
    let load = Load::start(daemon.address, Shape { rest: Duration::from_millis(5), ..Shape::default() });
    until(&daemon, "before", |view| {
        let took = view.metric("echostored_last_sync_duration_seconds");
        vec![
            ("healthy", view.is_sound(true)),
            ("syncs", view.number("/totals/writer/syncs") > 0),
            ("quick ones", view.number("/last_sync_microseconds") < 1_000_000 && took < 1.0),
        ]
    });
    shim.arm(true);
    wait_until(DEADLINE, "slow syncs", || shim.fired() >= 5);
    Some((shim, memory, daemon, load))
}

/// Syncs that took longer than a second, of the histogram.
fn slow_syncs(view: &View) -> u64 {
    let array = |name: &str| -> Vec<u64> {
        let values = view.field(&format!("/histograms/sync_microseconds/{name}")).as_array().unwrap();
        values.iter().map(|value| value.as_u64().unwrap()).collect()
    };
    let (bounds, counts) = (array("le"), array("counts"));
    let above = bounds.iter().position(|bound| *bound >= 1_000_000).unwrap() + 1;
    counts[above..].iter().sum()
}

fn is_slow(view: &View) -> Vec<(&'static str, bool)> {
    let sum = view.metric("echostored_sync_duration_seconds_sum");
    vec![
        ("the last one", view.number("/last_sync_microseconds") >= 2_000_000),
        ("the last one, on the screen", view.row("sync").contains(", took 2.")),
        ("the last one, in the metrics", view.metric("echostored_last_sync_duration_seconds") >= 2.0),
        ("all of them", slow_syncs(view) >= 4),
        ("all of them, in the metrics", sum >= 8.0),
    ]
}

fn is_quick(view: &View) -> Vec<(&'static str, bool)> {
    let took = view.metric("echostored_last_sync_duration_seconds");
    vec![
        ("healthy", view.is_sound(true)),
        ("the last one", view.number("/last_sync_microseconds") < 1_000_000 && took < 1.0),
        ("what was slow stays", slow_syncs(view) >= 4),
    ]
}

#[test]
fn its_syncs_take_two_seconds_and_echoes_wait_for_them() {
    let Some((shim, _memory, mut daemon, load)) = slow("synced") else { return };
    until(&daemon, "slow syncs", |view| {
        let ages = ["echostored_oldest_unacknowledged_seconds", "echostored_healthy"].map(|name| view.metric(name));
        let more = vec![
            // Slow, and serving: nobody is to be woken by the exit code.
            ("healthy", view.is_sound(true)),
            ("messages wait", view.number("/oldest_unacknowledged_milliseconds") > 500 && ages[0] > 0.0),
        ];
        [is_slow(view), more].concat()
    });
    is_said(&daemon, "disk-slow", 1, &["the disk is slow: the sync of ", " took 2."]);
    shim.arm(false);
    load.progress(500);
    until_said(&daemon, "disk-quick", 1);
    is_said(&daemon, "disk-quick", 1, &["the disk is quick again; ", "the longest 2."]);
    is_said(&daemon, "disk-slow", 1, &[]);
    until(&daemon, "after", is_quick);
    load.finish();
    daemon.stop();
}

#[test]
fn its_syncs_take_two_seconds_and_nobody_waits() {
    let Some((shim, _memory, mut daemon, load)) = slow("stored") else { return };
    let view = until(&daemon, "slow syncs", is_slow);
    assert!(view.is_sound(true), "{:?}", view.health());
    until_said(&daemon, "sync-late", 1);
    stays_false(Duration::from_secs(3), "it is said again", || said(&daemon, "sync-late").len() > 1);
    is_said(&daemon, "sync-late", 1, &["a sync is not done after 1s", "storing goes on until 4 closed files wait"]);
    is_said(&daemon, "sync-again", 0, &[]);
    shim.arm(false);
    until_said(&daemon, "sync-again", 1);
    is_said(&daemon, "sync-again", 1, &["the disk syncs again"]);
    is_said(&daemon, "sync-late", 1, &[]);
    until(&daemon, "after", is_quick);
    load.finish();
    daemon.stop();
}
