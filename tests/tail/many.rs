//! A hundred thousand segments: an hour of them is found at once.
use super::support::home::Home;
use super::{run, said};
use std::fmt::Write;
use std::time::Instant;

const SEGMENTS: u64 = 100_000;

/// The time of a segment: one a minute.
fn time(sequence: u64) -> (String, String) {
    let (day, hour, minute) = (sequence / 1440, sequence / 60 % 24, sequence % 60);
    let (month, day) = (1 + day / 28, 1 + day % 28);
    (
        format!("2026{month:02}{day:02}T{hour:02}{minute:02}00Z"),
        format!("2026-{month:02}-{day:02}T{hour:02}:{minute:02}"),
    )
}

#[test]
fn an_hour_of_a_hundred_thousand_segments() {
    let home = Home::new();
    let store = home.make_dir("store");
    home.write("store/.store", "version = 1\nepoch = 1\nid = 2748\n");
    let mut manifest = String::new();
    let mut wanted = String::new();
    for sequence in 1..=SEGMENTS {
        let (start, minute) = time(sequence);
        let name = format!("messages-{sequence:010}-{start}.log");
        let line = format!("{minute}:30.123456Z 127.0.0.1:5 A-{sequence} hello\n");
        std::fs::write(store.join(&name), &line).unwrap();
        let stamp = &line[..27];
        let (hash, length) = ("0".repeat(64), line.len());
        writeln!(manifest, "{{\"seal\":\"{name}\",\"records\":1,\"bytes\":{length},\"lowest\":\"{stamp}\",\"highest\":\"{stamp}\",\"blake3\":\"{hash}\",\"chain\":\"{hash}\"}}").unwrap();
        if sequence > SEGMENTS - 60 {
            wanted.push_str(&line);
        }
    }
    home.write("store/MANIFEST.jsonl", &manifest);
    let since = format!("{}:00Z", time(SEGMENTS - 59).1);
    for arguments in [&["tail", "--since", &since][..], &["tail", "-n", "60"]] {
        let begin = Instant::now();
        let printed = said(&run(&store, arguments));
        let took = begin.elapsed();
        assert_eq!(printed, (0, wanted.clone(), String::new()));
        println!("{arguments:?} of {SEGMENTS} segments: {took:?}");
        // Code that is not optimised, on a loaded machine, may take long.
        let limit = if cfg!(debug_assertions) { 30 } else { 1 };
        assert!(took.as_secs() < limit, "{took:?}");
    }
}
