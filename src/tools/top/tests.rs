//! Whole pictures, of many sizes and of reports that no daemon makes.
use std::time::Duration;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::history::Sample;
use super::keys::Key;
use super::look::Look;
use super::session::{Session, Then};
use super::text;
use crate::ipc::histogram::TIMES;
use crate::ipc::report::{Archiver, Backlog, Disk, Exporter, Histogram, Live, Report, Worker, Writer};

const PLAIN: Look = Look { colour: false, unicode: false };
const SECOND: Duration = Duration::from_secs(1);

/// A daemon at work, at `second`: 500 messages a second on each of `workers`.
fn report(second: u64, workers: usize) -> Report {
    let worker = |number: usize| {
        let mut worker = Worker {
            number,
            pid: 100 + number as u32,
            generation: 1,
            ready: true,
            connections: 25,
            ..Worker::default()
        };
        (worker.pipe_size, worker.pipe_bytes, worker.counts.messages) = (65_536, 8_192, 500 * second);
        worker
    };
    let mut report = Report {
        time: format!("2026-11-22T08:42:{second:02}.000000Z"),
        version: "0.1.0".into(),
        pid: 99,
        uptime_seconds: 11_520 + second,
        ready: true,
        generation: 1,
        listeners: vec!["127.0.0.1:7007".into()],
        directory: "/var/lib/echostored".into(),
        segment: Some("messages-0000000042-20261122T084200Z.log".into()),
        echo: "stored".into(),
        framing: "line".into(),
        connections: 25 * workers as u64,
        live: Some(Live {
            bytes: 41 << 20,
            max_bytes: Some(64 << 20),
            next_rotation: Some("2026-11-23T00:00:00Z".into()),
        }),
        disk: Some(Disk { size_bytes: 252 << 30, free_bytes: 56 << 30, used_percent: 77 }),
        workers: (1..=workers).map(worker).collect(),
        writer: Some(Writer { ready: true, uptime_seconds: 11_520, ..Writer::default() }),
        archiver: Some(Archiver {
            ready: true,
            uptime_seconds: 11_520,
            backlog: Some(Backlog::default()),
            ..Archiver::default()
        }),
        ..Report::default()
    };
    report.totals.writer.messages = 500 * second * workers as u64;
    report.totals.writer.bytes = 100 * report.totals.writer.messages;
    let mut counts = vec![0; TIMES.len() + 1];
    (counts[3], counts[4], counts[8]) = (900 * second, 90 * second, 10 * second);
    report.histograms.echo_microseconds = Histogram { le: TIMES.to_vec(), counts, sum: 0 };
    report
}

fn sample(second: u64, report: Report) -> Sample {
    Sample { at: Duration::from_secs(second), report }
}

/// A session that has seen `reports`, a second apart.
fn session(look: Look, reports: impl IntoIterator<Item = Report>) -> Session {
    let mut reports = (0..).zip(reports);
    let (second, first) = reports.next().expect("a report");
    let mut session = Session::new(sample(second, first), SECOND, look);
    reports.for_each(|(second, report)| session.history.push(sample(second, report)));
    session
}

fn working(look: Look, workers: usize) -> Session {
    session(look, (0..=20).map(|second| report(second, workers)))
}

/// What a terminal of this size shows.
fn picture(session: &Session, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| session.draw(Duration::from_secs(20), frame.buffer_mut())).unwrap();
    terminal.backend().buffer().clone()
}

fn shown(session: &Session, width: u16, height: u16) -> String {
    text(&picture(session, width, height))
}

#[test]
fn eighty_columns_and_24_lines_hold_what_matters() {
    let shown = shown(&working(PLAIN, 2), 80, 24);
    println!("{shown}");
    let wanted = [
        "healthy  up 3h 12m  echo stored  echostored 0.1.0",
        "08:42:20 UTC\n",
        "messages/s        1,000 ",
        "bytes/s        97.7 KiB ",
        "connections          50 ",
        "echo latency, last 10s: p50 183 us, p99 500 us, up to 10.0 ms",
        " writer   storing, up 3h 12m, 0 restarts",
        "41.0 MiB of 64.0 MiB, next 11-23 00:00",
        "77 % used, 56.0 GiB free of 252 GiB",
        " archiver working, up 3h 12m",
        " closed   0 files",
        "2 workers, oldest message waits 0 ms",
        "   1 serving",
        "   2 serving",
        " 50 %",
        "recent events",
        "q quit  p pause  c counters  h help  +- every 1s",
    ];
    for part in wanted {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
}

#[test]
fn what_happens_is_told_and_health_comes_first() {
    let mut reports: Vec<Report> = (0..=5).map(|second| report(second, 2)).collect();
    reports[4].workers[1].pid = 777;
    (reports[4].workers[1].restarts, reports[4].restarts.workers) = (1, 1);
    reports[5] = Report { time: reports[5].time.clone(), uptime_seconds: 11_525, ..reports[4].clone() };
    reports[5].full = true;
    reports[5].health = vec!["the disk is full: nothing is stored".into()];
    let mut session = session(PLAIN, reports);
    let shown_now = shown(&session, 80, 24);
    for part in [
        "# NOT HEALTHY",
        "# 08:42:05 the disk is full: nothing is stored",
        "! 08:42:04 worker 2 died and was replaced +1 (pid 777, before 102)",
        "FULL, nothing is stored",
    ] {
        assert!(shown_now.contains(part), "{part:?} is not in\n{shown_now}");
    }
    session.history.lost(Duration::from_secs(6), "2026-11-22T08:42:06Z", "nobody listens\u{1b}[2J");
    let shown_now = shown(&session, 80, 24);
    for part in
        ["# NO ANSWER", "no answer for 14s (below is old): nobody listens?[2J", "08:42:06 the daemon does not answer"]
    {
        assert!(shown_now.contains(part), "{part:?} is not in\n{shown_now}");
    }
}

#[test]
fn keys_change_what_is_seen() {
    let mut session = working(PLAIN, 2);
    let now = Duration::from_secs(20);
    let before = shown(&session, 80, 24);
    assert_eq!(session.key(Key::Pause, now), Then::On);
    let held = shown(&session, 80, 24);
    assert!(held.contains("healthy  PAUSED  up"), "{held}");
    session.history.push(sample(21, report(21, 2)));
    assert_eq!(shown(&session, 80, 24), held);
    session.key(Key::Pause, now);
    let after = shown(&session, 80, 24);
    assert!(after.contains("08:42:21 UTC") && after != before, "{after}");
    session.key(Key::Help, now);
    assert!(shown(&session, 80, 24).contains("| p, space    hold the picture, or go on"));
    assert_eq!(session.key(Key::Back, now), Then::On, "the help is closed first");
    assert_eq!(shown(&session, 80, 24), after);
    session.key(Key::Page, now);
    let counters = shown(&session, 80, 24);
    assert!(counters.contains(" bad proxy headers") && counters.contains(" archive faults"), "{counters}");
    session.key(Key::Scroll(10), now);
    assert_eq!(shown(&session, 80, 24).lines().count(), 24);
    session.key(Key::Slower, now);
    assert_eq!(session.interval, Duration::from_secs(2));
    (0..9).for_each(|_| assert_eq!(session.key(Key::Faster, now), Then::On));
    assert_eq!(session.interval, Duration::from_millis(200));
    assert!(shown(&session, 80, 24).contains("every 200 ms"));
    assert_eq!(
        (session.key(Key::Redraw, now), session.key(Key::Back, now), session.key(Key::Quit, now)),
        (Then::Redraw, Then::End, Then::End)
    );
}

#[test]
fn every_counter_can_be_scrolled_to() {
    let mut session = working(PLAIN, 2);
    session.key(Key::Page, SECOND);
    let mut seen = String::new();
    for _ in 0..60 {
        seen += &shown(&session, 40, 10);
        session.key(Key::Scroll(1), SECOND);
    }
    for name in ["accepted", "refused", "broken links", "archive faults", "log lines dropped"] {
        assert!(seen.contains(name), "{name}");
    }
}

#[test]
fn without_colour_nothing_is_coloured() {
    let mut reports: Vec<Report> = (0..3).map(|second| report(second, 2)).collect();
    reports[2].health = vec!["stalled: a message waits".into()];
    for look in [PLAIN, Look { colour: false, unicode: true }, Look { colour: true, unicode: true }] {
        let session = session(look, reports.clone());
        let buffer = picture(&session, 80, 24);
        let coloured = buffer
            .content()
            .iter()
            .any(|cell| cell.fg != ratatui::style::Color::Reset || cell.bg != ratatui::style::Color::Reset);
        assert_eq!(coloured, look.colour);
        assert!(text(&buffer).starts_with("# NOT HEALTHY"));
    }
}

/// All that a report can have, at its worst.
fn hostile(seed: u64) -> Report {
    let mut all = report(3, 64);
    let counts = all.totals;
    let max = |value: serde_json::Value| -> serde_json::Value { everything_highest(value, seed) };
    all.totals = serde_json::from_value(max(serde_json::to_value(counts).unwrap())).unwrap();
    all.histograms = serde_json::from_value(max(serde_json::to_value(&all.histograms).unwrap())).unwrap();
    all.live = serde_json::from_value(max(serde_json::to_value(&all.live).unwrap())).unwrap();
    all.disk = serde_json::from_value(max(serde_json::to_value(all.disk).unwrap())).unwrap();
    for worker in &mut all.workers {
        worker.counts = serde_json::from_value(max(serde_json::to_value(worker.counts).unwrap())).unwrap();
        (worker.number, worker.connections, worker.restarts) = (usize::MAX, seed, seed);
        (worker.pipe_bytes, worker.pipe_size, worker.heartbeat_milliseconds) = (u64::MAX, 1, seed);
        (worker.oldest_unacknowledged_milliseconds, worker.uptime_seconds) = (u64::MAX, seed);
    }
    all.writer = all.writer.map(|writer| Writer {
        uptime_seconds: seed,
        restarts: seed,
        heartbeat_milliseconds: seed,
        ..writer
    });
    all.archiver = all.archiver.map(|mut archiver| {
        archiver.backlog =
            serde_json::from_value(max(serde_json::to_value(archiver.backlog.unwrap_or_default()).unwrap())).unwrap();
        Archiver { uptime_seconds: seed, restarts: seed, ..archiver }
    });
    (all.uptime_seconds, all.connections, all.generation, all.log_lines_dropped) = (seed, seed, seed, seed);
    (all.oldest_unacknowledged_milliseconds, all.last_sync_microseconds) = (seed, seed);
    all.last_sync = Some("\u{1b}]0;x\u{7}é".into());
    all.last.insert("workers.denied".into(), "é".repeat(40));
    all.health = vec!["stalled: \u{202e}".repeat(30)];
    all.segment = Some("\u{1b}[2J日本".repeat(20));
    all
}

fn everything_highest(value: serde_json::Value, highest: u64) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(_) => highest.into(),
        Value::Array(all) => all.into_iter().map(|one| everything_highest(one, highest)).collect(),
        Value::Object(all) => all.into_iter().map(|(name, one)| (name, everything_highest(one, highest))).collect(),
        other => other,
    }
}

/// Sessions that a daemon may lead to, and some that none does.
fn sessions(look: Look) -> Vec<Session> {
    let mut fallen: Vec<Report> = (0..4).map(|second| report(second, 2)).collect();
    fallen.reverse();
    let mut with_exporter = working(look, 1);
    let exporter = Exporter { pid: 1, uptime_seconds: u64::MAX, restarts: u64::MAX, ..Exporter::default() };
    let exporter = Some(exporter);
    let metrics = "\u{1b}[2J".repeat(20);
    with_exporter.history.push(sample(21, Report { exporter, metrics, ..report(21, 1) }));
    vec![
        session(look, [Report::default()]),
        session(look, [Report::default(), Report::default()]),
        session(look, [report(0, 64), report(1, 0)]),
        session(look, [hostile(u64::MAX), hostile(0), hostile(u64::MAX), hostile(u64::MAX)]),
        session(look, [report(0, 2), hostile(u64::MAX)]),
        session(look, fallen),
        with_exporter,
        working(look, 64),
    ]
}

#[test]
fn no_size_and_no_report_panics_and_nothing_reaches_the_terminal_as_a_command() {
    let sizes = [
        (1, 1),
        (2, 1),
        (1, 9),
        (20, 5),
        (40, 10),
        (79, 23),
        (80, 24),
        (131, 40),
        (132, 3),
        (132, 40),
        (200, 60),
        (500, 200),
    ];
    for look in [PLAIN, Look { colour: true, unicode: true }] {
        for (number, mut session) in sessions(look).into_iter().enumerate() {
            for keys in [&[][..], &[Key::Help], &[Key::Page], &[Key::Scroll(50)], &[Key::Help]] {
                keys.iter().for_each(|key| assert_ne!(session.key(*key, SECOND), Then::End));
                for (width, height) in sizes {
                    let shown = shown(&session, width, height);
                    let bad = |c: char| crate::log::is_hostile(c) && c != '\n';
                    assert!(!shown.contains(bad), "{number} at {width}x{height}: {shown:?}");
                    assert!(look.unicode || shown.is_ascii(), "{number} at {width}x{height}: {shown:?}");
                }
            }
        }
    }
}

#[test]
fn a_small_screen_still_says_how_it_is() {
    let session = working(PLAIN, 2);
    let small = shown(&session, 20, 5);
    assert!(small.starts_with("healthy 08:42:20 UTC\n") && small.contains("messages/s"), "{small}");
    assert!(shown(&session, 7, 1).starts_with("healthy"));
    let large = shown(&working(PLAIN, 64), 200, 60);
    println!("{large}");
    assert!(large.contains("pid 150") && large.contains("64 workers"), "{large}");
    let few = shown(&working(PLAIN, 64), 80, 24);
    assert!(few.contains("and 62 more, less busy"), "{few}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_size_is_drawn(width in 0u16..300, height in 0u16..100, counters: bool, help: bool) {
        let mut session = working(PLAIN, 5);
        if counters { session.key(Key::Page, SECOND); }
        if help { session.key(Key::Help, SECOND); }
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        session.draw(SECOND, &mut buffer);
    }
}
