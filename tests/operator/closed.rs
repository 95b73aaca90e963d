//! Closed files: deleted by retention, or not to be compressed.
use crate::start;
use crate::support::client::{Client, Messages};
use crate::support::daemon::{Daemon, Setup};
use crate::support::drive::serve;
use crate::support::framing::Framing;
use crate::support::{DEADLINE, wait_until};
use crate::view::{is_said, said, until, until_said, until_sound};
use std::fs;
use std::time::Instant;

/// Some twenty messages a file.
fn small_files() -> Setup {
    Setup::default().set("rotate.max-size", "4KiB")
}

/// So many messages over one connection, all echoed.
fn feed(daemon: &Daemon, count: usize) {
    let client = Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap();
    serve(vec![client.quota(count).half_close()]);
}

#[test]
fn retention_deletes() {
    let mut daemon = start(small_files().set("retain.max-files", 3));
    let before = until_sound(&daemon, "before");
    assert_eq!((before.field("/retention").as_str(), before.row("retention")), (Some("max-files 3"), "max-files 3"));
    let begin = Instant::now();
    feed(&daemon, 300);
    until(&daemon, "deletions", |view| {
        let pruned = view.number("/totals/archiver/pruned");
        let oldest = view.metric("echostored_oldest_closed_file_timestamp_seconds");
        vec![
            ("healthy", view.is_sound(true)),
            ("what was deleted", pruned > 5 && view.metric("echostored_files_pruned_total") == pruned as f64),
            ("the same, on the screen", view.row("archived").contains(&format!(" {pruned} deleted,"))),
            ("what is left", view.number("/archiver/closed") == 3 && view.metric("echostored_closed_files") == 3.0),
            ("the same, on the screen", view.row("closed").starts_with("3 files, ")),
            (
                "its bytes",
                view.number("/archiver/closed_bytes") > 4_000 && view.metric("echostored_closed_files_bytes") > 4_000.0,
            ),
            ("the oldest", view.number("/archiver/oldest_closed") > 0 && oldest > 1.7e9),
        ]
    });
    // Five lines in ten seconds at most; each file has its line in the manifest.
    let (lines, most) = (said(&daemon, "deleted"), 5 * (2 + begin.elapsed().as_secs() / 10));
    assert!((1..=most).contains(&(lines.len() as u64)), "{} lines", lines.len());
    is_said(&daemon, "deleted", lines.len(), &["deleted messages-", ": retain.max-files = 3"]);
    assert!(lines.iter().all(|line| line["file"].as_str().is_some_and(|file| file.starts_with("messages-"))));
    daemon.stop();
}

/// Something stands in the way of the file that is compressed to.
#[test]
fn compression_fails() {
    let mut daemon = start(small_files().set("compress.method", "zstd"));
    feed(&daemon, 100);
    until(&daemon, "before", |view| {
        let compressed = view.metric("echostored_files_compressed_total");
        vec![
            ("healthy", view.is_sound(true)),
            ("compressed", view.number("/totals/archiver/compressed") > 0 && compressed > 0.0),
            ("all", view.number("/archiver/uncompressed") == 0 && view.number("/archiver/unsealed") == 0),
        ]
    });
    let obstacle = daemon.store().join(".archiver.tmp");
    // The last file may just be under way.
    wait_until(DEADLINE, "an obstacle", || fs::create_dir(&obstacle).is_ok());
    feed(&daemon, 100);
    until(&daemon, "faults", |view| {
        let last = "echostored_last_trouble_timestamp_seconds{counter=\"archiver.archive_faults\"}";
        let waiting = view.metric("echostored_files_waiting{for=\"compress\"}");
        vec![
            // Messages are stored all the same.
            ("healthy", view.is_sound(true)),
            ("faults", view.number("/totals/archiver/archive_faults") >= 3),
            (
                "on the screen",
                view.row("archived").ends_with(" faults") && !view.row("archived").ends_with(" 0 faults"),
            ),
            ("their metric", view.metric("echostored_archive_faults_total") >= 3.0),
            ("what waits", view.number("/archiver/uncompressed") >= 1 && waiting >= 1.0),
            ("what waits, on the screen", view.row("closed").contains(" to compress")),
            ("when", view.field("/last/archiver.archive_faults").is_string() && view.metric(last) > 1.7e9),
            ("when, on the screen", view.row("archiver.archive_faults").contains(" ago")),
        ]
    });
    is_said(&daemon, "archiving-failed", 1, &["cannot compress messages-", "Is a directory", "it is tried again"]);
    fs::remove_dir(&obstacle).unwrap();
    until(&daemon, "after", |view| {
        let waiting = view.metric("echostored_files_waiting{for=\"compress\"}");
        vec![
            ("healthy", view.is_sound(true)),
            ("nothing waits", view.number("/archiver/uncompressed") == 0 && waiting == 0.0),
            ("nothing waits, on the screen", !view.row("closed").contains("to compress")),
        ]
    });
    until_said(&daemon, "archiving-again", 1);
    is_said(&daemon, "archiving-again", 1, &["compressing goes well again"]);
    is_said(&daemon, "archiving-failed", 1, &[]);
    daemon.stop();
}
