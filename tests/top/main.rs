//! `echostored top` on a real terminal: what it shows is true, keys do what they say, and the terminal is given back.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod terminal;

use nix::sys::signal::Signal;
use std::time::Duration;
use support::control::{socket, tell, tell_at};
use support::daemon::{Daemon, Setup, command, run};
use support::load::{Load, OnBreak, Shape};
use support::{DEADLINE, came_true, processes, stays_false, wait_until};
use terminal::Terminal;

/// Steady, and far from what the machine could do.
const LOAD: Shape = Shape { connections: 6, window: 4, rest: Duration::from_millis(5), ..SHAPE };
const SHAPE: Shape = Shape {
    connections: 8,
    window: 16,
    framing: support::framing::Framing::Line,
    smallest: 16,
    largest: 300,
    on_break: OnBreak::Reconnect,
    messages_a_connection: None,
    rest: Duration::ZERO,
};

fn of(daemon: &Daemon) -> String {
    format!("--config {}", daemon.config_path().display())
}

/// The figure behind a name on the screen.
fn figure(shown: &str, name: &str) -> Option<u64> {
    let line = shown.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.replace(',', "").parse().ok()
}

/// The clock at the right of the first line.
fn clock(shown: &str) -> Option<String> {
    let (words, _) = shown.lines().next()?.split_once(" UTC")?;
    words.split_ascii_whitespace().next_back().map(str::to_owned)
}

#[test]
fn the_figures_are_true() {
    let mut daemon = Setup::default().start();
    let Some(terminal) = Terminal::open("exec $top", &of(&daemon), &[]) else { return };
    let load = Load::start(daemon.address, LOAD);
    // The first whole interval under load.
    terminal.wait_for("a rate", |shown| figure(shown, "connections") == Some(6));
    let (mut last, mut rates, mut begun) = (None, Vec::new(), 0);
    wait_until(DEADLINE, "eight reports", || {
        let shown = terminal.shown();
        if clock(&shown) != last {
            last = clock(&shown);
            rates.extend(figure(&shown, "messages/s"));
            // What was echoed before the first of them belongs to no rate but that.
            begun = if rates.len() == 1 { load.echoed() } else { begun };
        }
        rates.len() == 9
    });
    let echoed = load.echoed() - begun;
    let told: u64 = rates[1..].iter().sum();
    println!("{rates:?}: {told} told, {echoed} echoed");
    assert!(told > echoed / 2 && told < echoed * 2, "{rates:?}: {told} told, {echoed} echoed");
    let shown = terminal.shown();
    for part in [
        "healthy",
        "echo stored",
        "2 workers",
        "echo latency, last",
        " writer   storing",
        " 1 serving",
        " 2 serving",
        "% used",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    load.finish();
    drop(terminal);
    daemon.stop();
}

#[test]
fn keys_do_what_they_say() {
    let mut daemon = Setup::default().start();
    let Some(terminal) = Terminal::open("echo before; $top; echo after $?; exec cat", &of(&daemon), &[]) else {
        return;
    };
    terminal.wait("healthy");
    terminal.press(&["p"]);
    terminal.wait("PAUSED");
    // Not one that is half drawn.
    let mut held = terminal.shown();
    wait_until(DEADLINE, "a whole picture", || std::mem::replace(&mut held, terminal.shown()) == held);
    stays_false(Duration::from_secs(3), "a held picture changes", || terminal.shown() != held);
    terminal.press(&["p"]);
    terminal.wait_for("it goes on", |shown| !shown.contains("PAUSED") && clock(shown) != clock(&held));
    terminal.press(&["?"]);
    terminal.wait("hold the picture, or go on");
    // The key alone: nothing follows it.
    terminal.press(&["Escape"]);
    terminal.wait_for("the help is closed", |shown| !shown.contains("hold the picture"));
    terminal.press(&["c"]);
    terminal.wait("handshake failures");
    terminal.press(&["Tab"]);
    terminal.wait("recent events");
    terminal.press(&["+"]);
    terminal.wait("every 2s");
    terminal.press(&["q"]);
    terminal.is_restored("before", "after 0");
    daemon.stop();
}

#[test]
fn it_lives_through_every_size() {
    let mut daemon = Setup::default().start();
    let Some(terminal) = Terminal::open("exec $top", &of(&daemon), &[]) else { return };
    terminal.wait("recent events");
    for (width, height) in [(40, 10), (1, 1), (200, 60), (3, 30), (80, 2)] {
        terminal.resize(width, height);
        let fits = |shown: &str| shown.trim_start().starts_with(if width == 1 { "h" } else { "hea" });
        terminal.wait_for(&format!("a picture of {width}x{height}"), fits);
    }
    terminal.resize(80, 24);
    let whole = |shown: &str| shown.contains("healthy") && shown.contains("recent events") && shown.contains("q quit");
    terminal.wait_for("the whole picture again", whole);
    drop(terminal);
    daemon.stop();
}

#[test]
fn deaths_and_restarts_are_events() {
    let mut daemon = Setup::default().start();
    let Some(terminal) = Terminal::open("exec $top --interval 500ms", &of(&daemon), &[]) else { return };
    terminal.wait("none since this began to look");
    processes::end(daemon.workers()[0]);
    terminal.wait_for("the worker", |shown| shown.contains("! ") && shown.contains(" died and was replaced +1 (pid "));
    processes::end(daemon.writer());
    terminal.wait("the writer died and was replaced");
    assert_eq!(tell(&daemon, &["reload"]).code, 0);
    terminal.wait("reloaded: generation 2");
    daemon.stop();
    terminal.wait("# NO ANSWER");
    terminal.wait("(below is old): cannot ask the daemon for status at ");
    daemon.start_again();
    terminal.wait("healthy");
    terminal.wait("the daemon was restarted: pid");
    // One that hangs is no reason not to hear the keys.
    daemon.signal(Signal::SIGSTOP);
    terminal.wait("it takes the question, and says nothing");
    terminal.press(&["h"]);
    terminal.wait("hold the picture, or go on");
    terminal.press(&["h"]);
    daemon.signal(Signal::SIGCONT);
    terminal.wait("the daemon answers again");
    drop(terminal);
    daemon.stop();
}

#[test]
fn signals_end_it_and_restore_the_terminal() {
    let mut daemon = Setup::default().start();
    for (signal, code) in [(Signal::SIGTERM, 0), (Signal::SIGINT, 0), (Signal::SIGHUP, 1)] {
        let script = "echo before; $top; echo after $?; exec cat";
        let Some(terminal) = Terminal::open(script, &of(&daemon), &[]) else { return };
        terminal.wait("recent events");
        processes::signal(terminal.process().expect("it runs"), signal);
        terminal.is_restored("before", &format!("after {code}"));
    }
    daemon.stop();
}

#[test]
fn a_terminal_that_goes_away_ends_it() {
    let mut daemon = Setup::default().start();
    for script in ["exec $top", "trap '' HUP; exec $top", "trap '' HUP TERM INT; exec $top --interval 1m"] {
        let Some(terminal) = Terminal::open(script, &of(&daemon), &[]) else { return };
        terminal.wait("recent events");
        let top = terminal.process().expect("it runs");
        terminal.hang_up();
        assert!(came_true(DEADLINE / 3, || !processes::runs(top)), "{script}: it outlives its terminal");
    }
    daemon.stop();
}

/// Whether there are colours among the escape sequences (SGR, ECMA-48 8.3.117): 30 to 49, 90 to 107.
fn coloured(escapes: &str) -> bool {
    let sequences = escapes.split("\u{1b}[").skip(1).filter_map(|rest| rest.split_once('m'));
    let numbers = sequences.flat_map(|(numbers, _)| numbers.split([';', ':'])).filter_map(|number| number.parse().ok());
    numbers
        .into_iter()
        .any(|number: u32| (30..=38).contains(&number) || (40..=48).contains(&number) || (90..=107).contains(&number))
}

#[test]
fn colours_are_there_unless_they_are_unwanted() {
    let mut daemon = Setup::default().start();
    let cases: [(&str, Option<&str>, bool); 5] = [
        ("", None, true),
        ("", Some("1"), false),
        ("", Some(""), true),
        ("--color always", Some("1"), true),
        ("--color never", None, false),
    ];
    for (arguments, unwanted, expected) in cases {
        let environment: Vec<_> = unwanted.map(|value| ("NO_COLOR", value)).into_iter().collect();
        let Some(terminal) = Terminal::open("exec $top", &format!("{} {arguments}", of(&daemon)), &environment) else {
            return;
        };
        terminal.wait("healthy");
        assert_eq!(coloured(&terminal.escapes()), expected, "{arguments} {environment:?}");
    }
    daemon.stop();
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let mut daemon = Setup::default().start();
    let ended = tell(&daemon, &["top"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.contains("echostored status"), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn who_cannot_be_asked_is_told_as_by_status() {
    let mut daemon = Setup::default().start();
    let nowhere = daemon.home().join("nowhere");
    let ask = |word: &str| {
        let mut command = command(&[word]);
        command.args((word == "top").then_some("--once")).arg("--socket").arg(&nowhere);
        run(daemon.home(), command)
    };
    let (top, status) = (ask("top"), ask("status"));
    assert_eq!((top.code, &top.stdout, &top.stderr), (status.code, &status.stdout, &status.stderr));
    assert_eq!(top.code, 1);
    assert_eq!(tell_at(&daemon, &nowhere, "status").code, 1);
    let unreadable = |word: &[&str]| {
        let mut command = command(word);
        command.arg("--config").arg(&nowhere);
        run(daemon.home(), command)
    };
    let (top, status) = (unreadable(&["top", "--once"]), unreadable(&["status"]));
    assert_eq!((top.code, &top.stderr), (78, &status.stderr));
    for interval in ["199ms", "61s", "0", "1", "-1s"] {
        assert_eq!(tell(&daemon, &["top", "--once", &format!("--interval={interval}")]).code, 2, "{interval}");
    }
    daemon.stop();
}

#[test]
fn once_is_one_picture_as_plain_text() {
    let mut daemon = Setup::default().start();
    let load = Load::start(daemon.address, LOAD);
    let picture = |size: Option<(&str, &str)>, locale: &str| {
        let mut command = command(&["top", "--once", "--interval", "500ms", "--socket"]);
        command.arg(socket(&daemon)).env("LC_ALL", locale).env_remove("COLUMNS").env_remove("LINES");
        command.envs(size.map(|(columns, _)| ("COLUMNS", columns))).envs(size.map(|(_, lines)| ("LINES", lines)));
        let ended = run(daemon.home(), command);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        assert!(!ended.stdout.contains('\u{1b}'));
        ended.stdout
    };
    let longest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
    load.progress(100);
    wait_until(DEADLINE, "a rate", || {
        let usual = picture(None, "C");
        assert!(usual.lines().count() == 24 && longest(&usual) == 80 && usual.is_ascii(), "{usual}");
        figure(&usual, "messages/s").is_some_and(|rate| rate > 0)
    });
    let unicode = picture(Some(("120", "40")), "C.UTF-8");
    assert!(unicode.lines().count() == 40 && longest(&unicode) == 120 && unicode.contains('█'), "{unicode}");
    let nonsense = picture(Some(("0", "x")), "C");
    assert_eq!((nonsense.lines().count(), longest(&nonsense)), (24, 80));
    load.finish();
    daemon.stop();
}
