//! Against the real daemon.
use super::support::daemon::{Daemon, Setup, command, free_address, run};
use super::support::framing::{Format, Framing};
use super::support::home::Home;
use super::support::{DEADLINE, checker, processes, wait_until};
use super::{bench, failed, figures, json, text};
use nix::sys::signal::Signal;
use std::fs::File;
use std::process::Stdio;

fn daemon(framing: Framing) -> Daemon {
    Setup::default().set("server.framing", framing.name()).set("server.max-message-size", "16MiB").start()
}

/// Records in the store, by the tests' own reading.
fn stored(daemon: &Daemon) -> usize {
    checker::files(&daemon.store())
        .iter()
        .map(|file| checker::for_each_record(Format::Text, &file.path, |_, _| {}))
        .sum()
}

#[test]
fn every_framing_and_size_is_echoed_and_stored() {
    for framing in [Framing::Line, Framing::Nul, Framing::OctetCounted, Framing::LengthPrefixed] {
        let daemon = daemon(framing);
        let address = daemon.address.to_string();
        let mut all = 0;
        for (size, connections, in_flight, count) in
            [("40", 1, 1, 100), ("128", 50, 7, 10_000), ("128", 3, 1000, 9_001), ("70000", 4, 4, 50), ("1MiB", 2, 3, 7)]
        {
            let numbers = [connections, in_flight, count].map(|number: u64| number.to_string());
            let [connections, in_flight, count] = &numbers;
            let figures = figures(
                &address,
                &[
                    "--size",
                    size,
                    "--connections",
                    connections,
                    "--in-flight",
                    in_flight,
                    "--count",
                    count,
                    "--framing",
                    framing.name(),
                    "--store",
                    text(&daemon.store()),
                ],
            );
            let wanted: u64 = count.parse().unwrap();
            assert_eq!(
                (figures["messages"].as_u64(), figures["framing"].as_str()),
                (Some(wanted), Some(framing.name()))
            );
            let store = &figures["store"];
            assert_eq!((store["checked"].as_u64(), store["echoed"].as_u64()), (Some(wanted), Some(wanted)), "{store}");
            for wrong in ["missing", "doubled", "disordered", "altered", "foreign", "deleted"] {
                assert_eq!(store[wrong], 0, "{wrong}: {store}");
            }
            all += usize::try_from(wanted).unwrap();
        }
        assert_eq!(stored(&daemon), all, "{framing:?}");
    }
}

#[test]
fn the_smallest_messages_and_a_very_large_one() {
    let line = daemon(Framing::Line);
    let address = line.address.to_string();
    for (size, count) in [("1", "5000"), ("2", "5000"), ("27", "500"), ("16777217", "3")] {
        let figures = figures(&address, &["--size", size, "--count", count, "--connections", "3", "--in-flight", "20"]);
        assert_eq!(figures["messages"].to_string(), count, "{size} bytes");
        assert_eq!(
            figures["bytes"].as_u64().unwrap(),
            figures["messages"].as_u64().unwrap() * size.parse::<u64>().unwrap()
        );
    }
    assert_eq!(stored(&line), 10_503);
    let prefixed = daemon(Framing::LengthPrefixed);
    let empty = figures(
        &prefixed.address.to_string(),
        &["--size", "4", "--count", "777", "--framing", "length-prefixed", "--threads", "2"],
    );
    assert_eq!((empty["messages"].as_u64(), stored(&prefixed)), (Some(777), 777));
}

#[test]
fn the_json_is_as_agreed() {
    let daemon = daemon(Framing::Line);
    let figures = figures(
        &daemon.address.to_string(),
        &["--duration", "500ms", "--warm-up", "200ms", "--in-flight", "4", "--connections", "5", "--threads", "2"],
    );
    let mut keys: Vec<&str> = figures.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut expected = [
        "version",
        "address",
        "connections",
        "in_flight",
        "size",
        "framing",
        "threads",
        "seconds",
        "messages",
        "bytes",
        "messages_per_second",
        "bytes_per_second",
        "latency_us",
        "cpu_seconds",
        "worst_connection_us",
        "store",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(figures["address"], daemon.address.to_string());
    assert_eq!(
        ["version", "connections", "in_flight", "size", "threads"].map(|key| figures[key].as_u64().unwrap()),
        [1, 5, 4, 128, 2]
    );
    assert!(figures["store"].is_null());
    let number = |key: &str| figures[key].as_f64().unwrap();
    assert!((0.5..5.0).contains(&number("seconds")), "{figures}");
    assert!(number("messages") > 0.0 && number("bytes") == number("messages") * 128.0, "{figures}");
    assert!((number("messages_per_second") - number("messages") / number("seconds")).abs() < 1.0, "{figures}");
    assert!(number("cpu_seconds") > 0.0 && number("cpu_seconds") < 10.0, "{figures}");
    let latency: Vec<f64> =
        ["p50", "p90", "p99", "p99_9", "max"].map(|key| figures["latency_us"][key].as_f64().unwrap()).to_vec();
    assert!(latency.is_sorted() && latency[0] > 0.0 && latency[4] < 5e6, "{figures}");
    // What was sent in the warm-up is stored, too, and not counted.
    assert!(stored(&daemon) as f64 > number("messages"));
}

#[test]
fn the_table_is_for_people() {
    let daemon = daemon(Framing::Line);
    let ended = bench(&daemon.address.to_string(), &["--count", "1000"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "no bar where there is no terminal");
    for told in ["50 connections × 1 in flight × 128 bytes (line), 1 thread", " 1000 messages echoed", "p99.9", "MB/s"]
    {
        assert!(ended.stdout.contains(told), "{told:?} is missing:\n{}", ended.stdout);
    }
}

#[test]
fn a_signal_ends_it_early_with_the_figures() {
    let (daemon, home) = (daemon(Framing::Line), Home::new());
    let out = home.join("out");
    let address = daemon.address.to_string();
    let store = daemon.store();
    let mut command = command(&["bench", &address, "--duration", "1h", "--json", "--store", text(&store)]);
    command.stdin(Stdio::null()).stdout(File::create(&out).unwrap());
    let mut child = command.spawn().unwrap();
    wait_until(DEADLINE, "the first records", || {
        std::fs::metadata(daemon.current()).is_ok_and(|meta| meta.len() > 10_000)
    });
    processes::signal(child.id().cast_signed(), Signal::SIGINT);
    let mut status = None;
    wait_until(DEADLINE, "its end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let stdout = std::fs::read_to_string(&out).unwrap();
    assert_eq!(status.unwrap().code(), Some(0), "{stdout}");
    let figures: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(figures["messages"].as_u64().unwrap() > 0);
    assert_eq!(figures["store"]["checked"].as_u64().unwrap() as usize, stored(&daemon));
}

#[test]
fn every_format_and_compressed_files_are_read() {
    for (format, compression) in [("jsonl", "none"), ("raw", "zstd"), ("text", "gzip")] {
        let daemon = Setup::default()
            .set("store.format", format)
            .set("compress.method", compression)
            .set("rotate.max-size", "100KiB")
            .start();
        let store = daemon.store();
        let figures = figures(&daemon.address.to_string(), &["--count", "10000", "--store", text(&store)]);
        assert_eq!(figures["store"]["checked"], 10_000, "{format}");
        assert!(figures["store"]["files"].as_u64().unwrap() > 10, "{format}");
        // Only what may hold the run is read.
        let again = super::figures(&daemon.address.to_string(), &["--count", "100", "--store", text(&store)]);
        assert!(again["store"]["files"].as_u64().unwrap() <= 2, "{format}: {again}");
    }
}

#[test]
fn a_thousand_connections() {
    let daemon = daemon(Framing::Line);
    let store = daemon.store();
    let figures = figures(
        &daemon.address.to_string(),
        &["--connections", "1000", "--in-flight", "3", "--count", "20000", "--store", text(&store)],
    );
    assert_eq!(figures["store"]["checked"], 20_000);
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let nobody = free_address().to_string();
    failed(&bench(&nobody, &[]), 1, &[&format!("cannot connect to {nobody}: Connection refused"), "server.listen"]);
    failed(&bench(&nobody, &["--framing", "chunk"]), 2, &["wherever its reads end"]);
    failed(&bench(&nobody, &["--size", "0"]), 2, &["at least its terminator"]);
    failed(&bench(&nobody, &["--size", "17MiB"]), 2, &["16 MiB"]);
    failed(&bench(&nobody, &["--size", "12", "--framing", "octet-counted"]), 2, &["11 or 13"]);
    failed(&bench(&nobody, &["--size", "27", "--store", "/nonexistent"]), 2, &["28 bytes or more"]);
    failed(&bench(&nobody, &["--store", "/nonexistent"]), 74, &["/nonexistent", "cannot read the store"]);
    failed(&bench(&nobody, &["--count", "1", "--duration", "1s"]), 2, &["cannot be used with"]);
    let home = Home::new();
    assert_eq!(run(&home, command(&["bench", "--help"])).code, 0);
}

#[test]
fn a_message_that_the_server_refuses_ends_it() {
    let daemon = Setup::default().start();
    let ended = bench(&daemon.address.to_string(), &["--size", "100000", "--connections", "1", "--timeout", "10s"]);
    failed(&ended, 1, &["connection 1 (127.0.0.1:", "max-message-size"]);
    assert_eq!(ended.stdout, "");
}

#[test]
fn retention_that_takes_the_runs_files_is_told() {
    let daemon = Setup::default().set("rotate.max-size", "64KiB").set("retain.max-files", 1).start();
    let store = daemon.store();
    let ended = bench(&daemon.address.to_string(), &["--count", "20000", "--json", "--store", text(&store)]);
    failed(&ended, 1, &["is not what was echoed", "retention"]);
    let figures = json(&ended);
    assert!(figures["store"]["deleted"].as_u64().unwrap() > 0 && figures["store"]["missing"].as_u64().unwrap() > 0);
}
