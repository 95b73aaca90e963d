//! Trouble on the way to the store, and in it.
use crate::clients::{connect_from, push, replace, say};
use crate::eye::Eye;
use crate::http::get;
use crate::seen::Seen;
use crate::shim::Shim;
use crate::support::daemon::{Daemon, Setup};
use crate::support::home::Home;
use crate::support::{DEADLINE, processes, remove_all, wait_until};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};

/// Bytes of a small pipe.
const SMALL: i32 = 1 << 14;

fn above(value: &Value, least: u64) -> bool {
    value.as_u64().is_some_and(|value| value > least)
}

/// The data pipe of a worker, once more.
fn data_pipe(worker: i32) -> File {
    let held = processes::descriptors(worker);
    let number = held.iter().find(|held| held.is_pipe() && held.writes()).expect("its data pipe").number;
    let mut options = File::options();
    options.write(true).custom_flags(nix::libc::O_NONBLOCK).open(format!("/proc/{worker}/fd/{number}")).unwrap()
}

/// The writer stands still, a worker dies on a full pipe, another one sends garbage; then each role is killed.
pub fn stalled(seen: &Seen) {
    let mut daemon = crate::start(Setup::default().set("server.workers", 1));
    let eye = Eye::new(seen, &daemon);
    let client = connect_from("127.0.0.1", daemon.address);
    say(&client, "hello\n");
    eye.until("it is stored", |told| above(&told["writer"]["messages"], 0));
    // It is empty. Smaller than what a client may send, so that half a frame is in it.
    fcntl(data_pipe(daemon.workers()[0]), FcntlArg::F_SETPIPE_SZ(SMALL)).unwrap();
    eye.until("a smaller pipe", |told| told["workers"][0]["pipe_size"] == SMALL);
    let writer = daemon.writer();
    processes::signal(writer, Signal::SIGSTOP);
    push(&client, &[[b'.'; 10_000].as_slice(), b"\n"].concat());
    let stalls = |told: &Value| {
        above(&told["workers"][0]["pipe_bytes"], 12_000) && above(&told["oldest_unacknowledged_milliseconds"], 0)
    };
    eye.until("more than a frame waits", stalls);
    let hangs = |told: &Value| told["hanging"] == serde_json::json!(["writer"]) && told["degraded"] == true;
    eye.until("it is stalled", |told| told["stalled"] == true && hangs(told));
    processes::end(daemon.workers()[0]);
    let left = |told: &Value| above(&told["orphaned_bytes"], 0) && above(&told["orphaned_milliseconds"], 0);
    let orphans = |told: &Value| left(told) && told["workers"][0]["restarts"] == 1;
    eye.until("what the dead worker has left", orphans);
    processes::signal(writer, Signal::SIGCONT);
    eye.until("half a frame", |told| told["orphaned_milliseconds"] == 0 && told["writer"]["torn_frames"] == 1);
    drop(client);
    broken_link(&daemon, &eye);
    for role in ["writer", "archiver", "exporter"] {
        replace(&mut daemon, role);
        eye.until(role, |told| told["restarts"][role] == 1 && told[role]["ready"] == true);
    }
    let metrics = eye.metrics().unwrap();
    assert_eq!(get(metrics, "/nothing").unwrap().code, 404);
    eye.until("a bad request", |told| above(&told["exporter"]["bad_requests"], 0));
    daemon.stop();
}

fn broken_link(daemon: &Daemon, eye: &Eye<'_>) {
    eye.until_told("a worker", |told| told["workers"][0]["ready"] == true);
    let mut pipe = data_pipe(daemon.workers()[0]);
    pipe.write_all(&[0xee; 4096]).unwrap();
    drop(pipe);
    eye.until("a broken link", |told| told["writer"]["broken_links"] == 1 && told["workers"][0]["ready"] == true);
}

/// The directory is gone, and a file stands in its way. Nobody is shut in here.
pub fn homeless(seen: &Seen) {
    let mut daemon = crate::start(Setup::default().set("security.sandbox", "off"));
    let eye = Eye::new(seen, &daemon);
    let (store, doomed) = (daemon.store(), daemon.home().join("doomed"));
    fs::rename(&store, &doomed).unwrap();
    fs::write(&store, "in the way").unwrap();
    remove_all(&doomed);
    eye.until("no directory", |told| told["homeless"] == true && told["health"][0].is_string());
    fs::remove_file(&store).unwrap();
    eye.until("a directory", |told| told["homeless"] == false);
    daemon.stop();
}

/// A sync that fails, when a record was harmed that had been acknowledged.
pub fn rescue(seen: &Seen) {
    let home = Home::new();
    let Some(shim) = Shim::new(&home) else {
        let fields = ["faults", "rescued", "lost_bytes"];
        let fields = fields.map(|field| [format!("writer.{field}"), format!("totals.writer.{field}")]).concat();
        let metrics = ["write_faults_total", "records_rescued_total", "lost_bytes_total"];
        let mut names = [fields, metrics.map(|name| format!("echostored_{name}")).to_vec()].concat();
        for counter in ["writer.faults", "writer.rescued", "writer.lost_bytes"] {
            names.push(format!("last.{counter}"));
            names.push(format!("{}{{counter=\"{counter}\"}}", crate::reports::TROUBLE));
        }
        return seen.leave_out("no C compiler for the shim", &names.iter().map(String::as_str).collect::<Vec<_>>());
    };
    shim.arm(false);
    let setup = Setup::default().set("store.sync-interval", "0").set("server.echo", "stored");
    let mut daemon = crate::start_in(home, shim.equip(setup, Some("writer:fdatasync:5:1")));
    let eye = Eye::new(seen, &daemon);
    let client = connect_from("127.0.0.1", daemon.address);
    (0..10).for_each(|_| say(&client, "hello\n"));
    let live = File::options().write(true).open(daemon.current()).unwrap();
    // In place of the first record's time.
    live.write_all_at(b"XXXXXXXX", 0).unwrap();
    shim.arm(true);
    daemon.signal(Signal::SIGUSR1);
    let saved = |told: &Value| {
        let writer = &told["writer"];
        ["faults", "rescued", "lost_bytes"].iter().all(|count| above(&writer[count], 0))
    };
    eye.until("what was saved, and lost", saved);
    drop(client);
    daemon.stop();
}

/// Somebody empties the live file.
pub fn tampered(seen: &Seen) {
    let mut daemon = crate::start(Setup::default());
    let eye = Eye::new(seen, &daemon);
    say(&connect_from("127.0.0.1", daemon.address), "hello\n");
    File::create(daemon.current()).unwrap();
    eye.until("what is destroyed", |told| above(&told["writer"]["destroyed_bytes"], 0));
    daemon.stop();
}

/// All are killed, and half a record stands at the end of the file; then no file can be begun.
pub fn torn(seen: &Seen) {
    let mut daemon = crate::start(Setup::default());
    say(&connect_from("127.0.0.1", daemon.address), "hello\n");
    daemon.kill_all();
    File::options().append(true).open(daemon.current()).unwrap().write_all(b"half a rec").unwrap();
    daemon.start_again();
    let eye = Eye::new(seen, &daemon);
    eye.until("a torn record", |told| told["writer"]["torn_records"] == 1);
    wait_until(DEADLINE, "it is set aside", || daemon.log().contains(".torn"));
    no_rotation(&daemon, &eye);
    daemon.stop();
}

/// No new file can be begun, since the directory may not be written to.
fn no_rotation(daemon: &Daemon, eye: &Eye<'_>) {
    let permit = |mode: u32| fs::set_permissions(daemon.store(), PermissionsExt::from_mode(mode)).unwrap();
    say(&connect_from("127.0.0.1", daemon.address), "hello\n");
    permit(0o500);
    daemon.signal(Signal::SIGUSR1);
    eye.until("no new file", |told| told["rotation_stuck"] == true && told["health"][0].is_null());
    permit(0o750);
    eye.until("a new file", |told| told["rotation_stuck"] == false);
}
