//! In steady state neither worker nor writer allocates anything for a message.
//!
//! The binary under test counts the allocations of each of its processes (`src/sys/allocations.rs`), with all their
//! threads. `ECHOSTORED_TEST_TRACES=N` shows the backtraces of N of those that should not be.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;
use support::daemon::Setup;
use support::framing::{Format, Framing};
use support::home::Home;
use support::load::{Load, Shape};

/// As in `src/sys/allocations.rs`.
const PLACES: usize = 62;
const WORDS: usize = 2 + 2 * PLACES;

/// Messages before the counting begins: buffers grow to the size that they keep.
const WARM_UP: u64 = 20_000;
const MESSAGES: u64 = 60_000;
/// Larger ones, of which a worker reads one in several pieces.
const LARGE_MESSAGES: u64 = 600;
/// What timers may need of worker or writer in a second (a look at the store's place, a sync).
const A_SECOND: u64 = 20;

/// The file in which the processes count.
struct Board(PathBuf);

impl Board {
    fn new(home: &Home) -> Self {
        Self(home.write("allocations", &"\0".repeat(8 * WORDS)))
    }

    fn word(&self, index: usize) -> u64 {
        let mut word = [0; 8];
        File::open(&self.0).unwrap().read_exact_at(&mut word, 8 * index as u64).unwrap();
        u64::from_ne_bytes(word)
    }

    /// Allocations so far of the process.
    fn of(&self, pid: i32) -> u64 {
        let place = (0..PLACES).find(|place| self.word(2 + 2 * place) == u64::from(pid.cast_unsigned()));
        self.word(2 + 2 * place.expect("it counts") + 1)
    }

    /// The next allocations are told in the daemon's log.
    fn trace(&self, count: u64) {
        File::options().write(true).open(&self.0).unwrap().write_all_at(&count.to_ne_bytes(), 8).unwrap();
    }
}

fn go_on(load: &Load, messages: u64) {
    let goal = load.echoed() + messages;
    while load.echoed() < goal {
        load.progress((goal - load.echoed()).min(200));
    }
}

fn is_free_of_allocations(echo: &str, framing: Framing, format: Format) {
    counts(echo, format, Shape { framing, ..Shape::default() }, WARM_UP, MESSAGES);
}

/// Runs the load over a daemon of this kind, and counts the allocations: less than one for a thousand messages, or
/// ten of the large ones, beside those of the timers.
fn counts(echo: &str, format: Format, shape: Shape, warm_up: u64, messages: u64) {
    let framing = shape.framing;
    let home = Home::new();
    let board = Board::new(&home);
    let setup = Setup::default()
        .set("server.echo", echo)
        .set("server.framing", framing.name())
        .set("store.format", format.name())
        // A rotation may allocate.
        .set("rotate.max-size", "1GiB")
        .environment("ECHOSTORED_ALLOCATIONS", board.0.to_str().unwrap());
    let mut daemon = setup.start_in(home);
    let load = Load::start(daemon.address, shape);
    go_on(&load, warm_up);
    let (workers, writer) = (daemon.workers(), daemon.writer());
    let count = || (workers.iter().map(|pid| board.of(*pid)).sum::<u64>(), board.of(writer));
    let (before, from, begin) = (count(), load.echoed(), Instant::now());
    let traces = std::env::var("ECHOSTORED_TEST_TRACES").ok().map(|count| count.parse().unwrap());
    traces.into_iter().for_each(|count| board.trace(count));
    go_on(&load, messages);
    let (after, echoed, seconds) = (count(), load.echoed() - from, begin.elapsed().as_secs() + 1);
    load.finish();
    daemon.stop();
    let (in_workers, in_writer) = (after.0 - before.0, after.1 - before.1);
    let name = format!("{echo}, {}, {}, up to {} bytes", framing.name(), format.name(), shape.largest);
    println!(
        "{name}: {in_workers} allocations in the workers, {in_writer} in the writer, {echoed} messages, {seconds} s"
    );
    if traces.is_some() {
        println!("{}", daemon.log());
    }
    assert!(before.0 > 0 && before.1 > 0, "{name}: nothing was counted in {before:?}");
    let most = messages / if shape.largest > 10_000 { 10 } else { 1000 } + A_SECOND * seconds;
    assert!(in_workers <= most, "{name}: {in_workers} allocations in the workers for {echoed} messages");
    assert!(in_writer <= most, "{name}: {in_writer} allocations in the writer for {echoed} messages");
}

#[test]
fn stored_text() {
    Framing::ALL.into_iter().for_each(|framing| is_free_of_allocations("stored", framing, Format::Text));
}

#[test]
fn stored_jsonl() {
    Framing::ALL.into_iter().for_each(|framing| is_free_of_allocations("stored", framing, Format::Jsonl));
}

#[test]
fn stored_raw() {
    is_free_of_allocations("stored", Framing::Line, Format::Raw);
}

#[test]
fn synced() {
    is_free_of_allocations("synced", Framing::Line, Format::Text);
}

#[test]
fn received() {
    is_free_of_allocations("received", Framing::Line, Format::Text);
}

#[test]
fn large_messages() {
    let shape = Shape { smallest: 30_000, largest: 60_000, window: 4, ..Shape::default() };
    counts("stored", Format::Text, shape, LARGE_MESSAGES, LARGE_MESSAGES);
}
