//! No room for the store: messages are refused, or wait.
use crate::clients::{connect_from, push};
use crate::eye::Eye;
use crate::reports::TROUBLE;
use crate::seen::Seen;
use crate::support::control;
use crate::support::daemon::Setup;
use crate::support::home::Home;
use crate::support::small::Small;

/// What only a full disk moves.
fn names() -> Vec<String> {
    let fields = ["full", "workers[].refused", "totals.workers.refused", "writer.refused", "totals.writer.refused"];
    let more = ["last.workers.refused", "last.writer.refused", "disk.size_bytes", "disk.used_percent", "on_disk_full"];
    let waits = ["writer.waits_for_room", "totals.writer.waits_for_room", "last.writer.waits_for_room"];
    let metrics =
        ["full", "waits_for_room_total", "messages_refused_total", "connections_closed_total{reason=\"no_room\"}"];
    let mut names: Vec<String> = fields.iter().chain(&more).chain(&waits).map(|name| (*name).to_owned()).collect();
    names
        .extend(metrics.iter().chain(&["disk_size_bytes", "disk_used_ratio"]).map(|name| format!("echostored_{name}")));
    let counters = ["workers.refused", "writer.refused", "writer.waits_for_room"];
    names.extend(counters.map(|counter| format!("{TROUBLE}{{counter=\"{counter}\"}}")));
    names
}

pub fn play(seen: &Seen) {
    let home = Home::new();
    let Some(small) = Small::new(&home, 1 << 20) else {
        return seen.leave_out("no small file system", &names().iter().map(String::as_str).collect::<Vec<_>>());
    };
    let mut daemon = crate::start_in(home, Setup::default().set("store.on-disk-full", "reject"));
    let eye = Eye::new(seen, &daemon);
    let message = [[b'.'; 10_000].as_slice(), b"\n"].concat();
    push(&connect_from("127.0.0.1", daemon.address), &message);
    let refused = |told: &serde_json::Value| {
        let counts = [&told["totals"]["workers"]["refused"], &told["totals"]["writer"]["refused"]];
        counts.iter().all(|count| count.as_u64() > Some(0)) && told["full"] == true
    };
    eye.until("messages are refused", refused);
    small.give_room();
    // Nobody sends any more.
    eye.until("it has noticed", |told| told["full"] == false);
    daemon.reconfigure(|setup| setup.set("store.on-disk-full", "wait"));
    assert_eq!(control::tell(&daemon, &["reload"]).code, 0);
    eye.until("another policy", |told| told["on_disk_full"] == "wait");
    small.leave_room(0);
    let waiting = connect_from("127.0.0.1", daemon.address);
    push(&waiting, &message);
    eye.until("no room", |told| {
        let moved = [&told["oldest_unacknowledged_milliseconds"], &told["writer"]["waits_for_room"]];
        told["full"] == true && moved.iter().all(|value| value.as_u64() > Some(0))
    });
    small.give_room();
    eye.until("there is room again", |told| told["full"] == false);
    drop(waiting);
    daemon.stop();
}
