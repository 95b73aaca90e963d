//! What the commands do and answer.
use crate::support::checker::{self, Expect};
use crate::support::control::{connect, hear, socket, status, tell, tell_at};
use crate::support::daemon::{Daemon, Setup};
use crate::support::framing::Format;
use crate::support::home::{Home, user};
use crate::support::load::{Load, OnBreak, Shape};
use crate::support::{DEADLINE, processes, wait_until};
use crate::{number, said, store};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn pids(status: &Value) -> BTreeSet<i32> {
    let workers = status["workers"].as_array().unwrap();
    workers.iter().map(|worker| i32::try_from(worker["pid"].as_i64().unwrap()).unwrap()).collect()
}

fn live(daemon: &Daemon) -> String {
    let inode = daemon.current().metadata().unwrap().ino();
    let files = checker::files(&daemon.store()).into_iter();
    let file = files.map(|file| file.path).find(|path| path.metadata().unwrap().ino() == inode).unwrap();
    file.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn status_tells_what_is() {
    let mut daemon = Setup::default().start();
    let metadata = fs::symlink_metadata(socket(&daemon)).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
    if let Some(owner) = user() {
        assert_eq!((metadata.uid(), metadata.gid()), owner);
    }
    store(&daemon, 4, 10);
    let told = status(&daemon);
    let config = daemon.config_path().display().to_string();
    let expected = serde_json::json!({
        "ok": true, "schema": 1, "version": env!("CARGO_PKG_VERSION"), "pid": daemon.supervisor(), "ready": true,
        "stopping": false, "degraded": false, "full": false, "homeless": false, "generation": 1, "config": config,
        "listeners": [daemon.address.to_string()], "directory": daemon.store(), "segment": live(&daemon),
        "echo": "stored", "framing": "line",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&told[key], value, "{key}");
    }
    assert_eq!(pids(&told), daemon.workers().into_iter().collect());
    assert_eq!(number(&told, "/writer/pid"), u64::try_from(daemon.writer()).unwrap());
    let counts = |told: &Value| {
        ["/totals/workers/accepted", "/totals/workers/messages", "/totals/writer/messages"].map(|at| number(told, at))
    };
    assert_eq!(counts(&told), [4, 40, 40]);
    assert_eq!(number(&told, "/totals/workers/echoed"), number(&told, "/totals/workers/bytes") + 40, "with line ends");
    // The dead count.
    let (workers, writer) = (daemon.workers(), daemon.writer());
    workers.iter().chain([&writer]).for_each(|pid| processes::signal(*pid, Signal::SIGKILL));
    wait_until(DEADLINE, "others", || {
        let told = status(&daemon);
        told["degraded"] == false && pids(&told).is_disjoint(&workers.iter().copied().collect())
    });
    store(&daemon, 1, 2);
    let told = status(&daemon);
    assert_eq!(counts(&told), [5, 42, 42]);
    assert!(number(&told, "/writer/messages") <= 2);
    let text = tell(&daemon, &["status"]);
    assert_eq!((text.code, text.stderr.as_str()), (0, ""));
    let row =
        |name: &str| text.stdout.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text:?}"));
    assert!(row("stored").contains("42 messages"), "{text:?}");
    assert!(row("configuration").contains(&config) && row("writer").contains("serving"), "{text:?}");
    daemon.stop();
    assert!(!socket(&daemon).exists(), "removed at the end");
    assert_eq!(fs::read_dir(daemon.home().join("run")).unwrap().count(), 0, "nothing is left");
}

#[test]
fn rotate_names_the_new_file_and_leaves_an_empty_one() {
    let mut daemon = Setup::default().start();
    let first = live(&daemon);
    let nothing = format!("nothing to rotate: {first} is empty\n");
    assert_eq!(said(&tell(&daemon, &["rotate"])), (0, "", nothing.as_str()));
    let histories = store(&daemon, 1, 3);
    let ended = tell(&daemon, &["rotate"]);
    let second = live(&daemon);
    assert_eq!(said(&ended), (0, format!("{second}\n").as_str(), ""));
    assert_ne!(first, second);
    let reply = hear(connect(&socket(&daemon), b"rotate\n"));
    assert_eq!(reply, serde_json::json!({"ok": true, "rotated": false, "segment": second}));
    // No request is left over that a later writer would carry out.
    let histories = [histories, store(&daemon, 1, 3)].concat();
    let writer = daemon.writer();
    processes::signal(writer, Signal::SIGKILL);
    wait_until(DEADLINE, "another writer", || {
        status(&daemon)["writer"]["ready"] == true && daemon.roles("writer") != [writer]
    });
    let histories = [histories, store(&daemon, 1, 3)].concat();
    assert_eq!(live(&daemon), second);
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

#[test]
fn rotate_is_answered_although_the_writer_dies() {
    let mut daemon = Setup::default().start();
    let load = Load::start(daemon.address, Shape { rest: Duration::from_millis(1), ..Shape::default() });
    let mut names = Vec::new();
    for round in 0..30 {
        // Echoes may be late ones of the file before.
        wait_until(DEADLINE, "records in the live file", || daemon.current().metadata().unwrap().len() > 0);
        let writer = daemon.writer();
        let asked = (round % 2 == 0).then(|| connect(&socket(&daemon), b"rotate\n"));
        processes::signal(writer, Signal::SIGKILL);
        let reply = hear(asked.unwrap_or_else(|| connect(&socket(&daemon), b"rotate\n")));
        assert_eq!((&reply["ok"], &reply["rotated"]), (&Value::Bool(true), &Value::Bool(true)), "{reply}");
        let name = reply["segment"].as_str().unwrap().to_owned();
        assert!(daemon.store().join(&name).exists());
        names.push(name);
        daemon.remember();
    }
    assert!(names.is_sorted_by(|before, after| before < after), "{names:?}");
    let histories = load.finish();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

#[test]
fn a_bad_configuration_is_refused_with_its_error_and_changes_nothing() {
    let mut daemon = Setup::default().start();
    let workers = daemon.workers();
    let good = fs::read_to_string(daemon.config_path()).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _taken = std::net::TcpListener::bind(taken).unwrap();
    let shown = daemon.config_path().display().to_string();
    let cases = [
        (good.replace("workers = 2", "workers = \"x\""), format!("{shown}:"), "server.workers: invalid value \"x\""),
        (good.replace("workers = 2", "workerz = 2"), format!("{shown}:"), "did you mean \"workers\"?"),
        (format!("{good}\n[log"), format!("{shown}:"), "not valid TOML"),
        (good.replace("[store]\n", "[store]\nprefix = \"other\"\n"), "store.prefix: ".to_owned(), "needs a restart"),
        (good.replace(&daemon.address.to_string(), &taken.to_string()), "cannot listen on ".to_owned(), "in use"),
    ];
    for (text, beginning, words) in cases {
        assert_ne!(text, good);
        daemon.home().write("echostored.toml", &text);
        let ended = tell_at(&daemon, &socket(&daemon), "reload");
        assert_eq!((ended.code, ended.stdout.as_str()), (78, ""), "{ended:?}");
        assert!(ended.stderr.starts_with(&format!("echostored: {beginning}")), "{ended:?}");
        assert!(ended.stderr.contains(words), "{ended:?}");
        // By the file, which has the mistake, the daemon is found all the same.
        let told = tell_at(&daemon, &socket(&daemon), "status");
        let by_file = tell(&daemon, &["status"]);
        assert_eq!((told.code, by_file.code), (0, 0), "{by_file:?}");
        let told = hear(connect(&socket(&daemon), b"status\n"));
        assert_eq!((number(&told, "/generation"), told["ready"].clone()), (1, true.into()));
        assert_eq!(daemon.workers(), workers, "nobody was replaced");
    }
    let path = daemon.home().write("echostored.toml", &good);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let ended = tell(&daemon, &["reload"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""));
    assert!(ended.stderr.starts_with("warning: ") && ended.stderr.contains("chmod o-w"), "{ended:?}");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(said(&tell(&daemon, &["reload"])), (0, "", ""));
    assert_eq!(number(&status(&daemon), "/generation"), 3);
    daemon.remember();
    store(&daemon, 2, 2);
    daemon.stop();
}

#[test]
fn reload_is_answered_when_the_new_generation_serves() {
    let mut daemon = Setup::default().start();
    let coming = Load::start(daemon.address, Shape { messages_a_connection: Some(10), ..Shape::default() });
    for round in 0..6 {
        let (before, workers) = (status(&daemon), 1 + round % 3);
        daemon.reconfigure(|setup| setup.set("server.workers", workers));
        // By hand, and so at once: a reply that came too early would show.
        let reply = hear(connect(&socket(&daemon), b"reload\n"));
        let after = hear(connect(&socket(&daemon), b"status\n"));
        assert_eq!(reply, serde_json::json!({"ok": true, "workers": workers, "warnings": []}));
        assert_eq!(number(&after, "/generation"), number(&before, "/generation") + 1);
        assert_eq!((&after["ready"], &after["degraded"]), (&Value::Bool(true), &Value::Bool(false)));
        let serving = after["workers"].as_array().unwrap().iter();
        let serving = serving.filter(|worker| worker["ready"] == true && worker["generation"] == after["generation"]);
        assert_eq!(serving.count(), usize::try_from(workers).unwrap());
        daemon.remember();
        coming.progress(50);
    }
    let mut histories = coming.finish();
    // Many at once: one reload answers all that came before it. They may follow each other faster than a client that has just
    // connected sends: the generation after the next then closes its connection, in order.
    let shape = Shape { messages_a_connection: Some(10), on_break: OnBreak::Reconnect, ..Shape::default() };
    let coming = Load::start(daemon.address, shape);
    let before = number(&status(&daemon), "/generation");
    let asked: Vec<UnixStream> = (0..12).map(|_| connect(&socket(&daemon), b"reload\n")).collect();
    for reply in asked.into_iter().map(hear) {
        assert_eq!((&reply["ok"], &reply["workers"]), (&Value::Bool(true), &Value::from(3)), "{reply}");
    }
    let reloads = number(&status(&daemon), "/generation") - before;
    assert!((1..=12).contains(&reloads), "{reloads}");
    histories.extend(coming.finish());
    wait_until(DEADLINE, "the end of the old generations", || daemon.workers().len() == 3);
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

#[test]
fn what_takes_too_long_is_told() {
    let home = Home::new();
    let cause = home.join("worker 1 dies at birth");
    let setup = Setup::default().environment("ECHOSTORED_CRASH", "worker 1");
    let mut daemon = setup.environment("ECHOSTORED_CRASH_WHILE", cause.to_str().unwrap()).start_in(home);
    let histories = store(&daemon, 1, 3);
    // The file stands in the way of a new one: so does a directory that takes no files.
    let writable = daemon.store().metadata().unwrap().permissions();
    fs::set_permissions(daemon.store(), PermissionsExt::from_mode(0o550)).unwrap();
    daemon.home().write("worker 1 dies at birth", "");
    let (rotate, reload) = (connect(&socket(&daemon), b"rotate\n"), connect(&socket(&daemon), b"reload\n"));
    let told = status(&daemon);
    assert_eq!((&told["ready"], number(&told, "/generation")), (&Value::Bool(false), 2));
    let (rotated, reloaded) = (hear(rotate), hear(reload));
    for (reply, words) in [(rotated, "cannot begin a new segment: Permission denied"), (reloaded, "do not serve")] {
        assert_eq!((&reply["ok"], &reply["code"]), (&Value::Bool(false), &Value::from(1)), "{reply}");
        assert!(reply["error"].as_str().unwrap().contains(words), "{reply}");
    }
    // Both are done when they can be.
    let old = live(&daemon);
    fs::set_permissions(daemon.store(), writable).unwrap();
    fs::remove_file(&cause).unwrap();
    wait_until(DEADLINE, "readiness and a new file", || live(&daemon) != old && status(&daemon)["ready"] == true);
    assert_eq!(tell(&daemon, &["reload"]).code, 0);
    daemon.remember();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}

/// A configuration is in force when the writer works by it, too; and of a file that does not come the reason is told.
#[test]
fn a_writer_that_stands_still_is_waited_for_and_named() {
    let mut daemon = Setup::default().start();
    let histories = store(&daemon, 1, 3);
    let writer = daemon.writer();
    processes::signal(writer, Signal::SIGSTOP);
    wait_until(DEADLINE, "it is noticed", || status(&daemon)["hanging"] == serde_json::json!(["writer"]));
    let old = live(&daemon);
    daemon.reconfigure(|setup| setup.set("log.level", "debug"));
    let (rotate, reload) = (connect(&socket(&daemon), b"rotate\n"), connect(&socket(&daemon), b"reload\n"));
    for (reply, words) in [(hear(rotate), "the writer stands still"), (hear(reload), "its processes do not serve")] {
        assert_eq!((&reply["ok"], &reply["code"]), (&Value::Bool(false), &Value::from(1)), "{reply}");
        assert!(reply["error"].as_str().unwrap().contains(words), "{reply}");
    }
    assert!(!daemon.log().contains("is in force"), "{}", daemon.log());
    processes::signal(writer, Signal::SIGCONT);
    wait_until(DEADLINE, "readiness and a new file", || live(&daemon) != old && status(&daemon)["ready"] == true);
    assert!(daemon.log().contains("is in force"), "{}", daemon.log());
    assert_ne!(daemon.writer(), writer);
    daemon.remember();
    daemon.stop();
    checker::check(&daemon.store(), Format::Text, &histories, Expect::default());
}
