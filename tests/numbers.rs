//! The numbers agree: what workers and writer count, what stands in the files, and what the clients have heard, over random
//! runs with deaths of workers and writers.
//!
//! `ECHOSTORED_TEST_NUMBERS` is the number of runs (20), `ECHOSTORED_TEST_SEED` plays them again:
//!
//! ```sh
//! ECHOSTORED_TEST_NUMBERS=1000 cargo test --release --test numbers -- --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use serde_json::Value;
use std::time::Duration;
use support::checker::{self, Expect};
use support::client::History;
use support::daemon::{Daemon, Setup};
use support::framing::{Format, Framing};
use support::harm::{kill_worker, kill_writer, some_time};
use support::load::{Load, OnBreak, Shape};
use support::seed::{Chance, count, seed};
use support::{DEADLINE, came_true, control};

const MODES: [&str; 3] = ["received", "stored", "synced"];
const FRAMINGS: [(&str, Framing); 3] =
    [("line", Framing::Line), ("nul", Framing::Nul), ("length-prefixed", Framing::LengthPrefixed)];

/// One run.
#[derive(Debug)]
struct Run {
    mode: &'static str,
    framing: (&'static str, Framing),
    workers: u64,
    connections: usize,
    window: usize,
    messages: u64,
    /// Messages a connection, which then ends.
    short_lives: Option<usize>,
    kills_of_workers: u64,
    kills_of_writers: u64,
}

impl Run {
    fn drawn(chance: &mut Chance) -> Self {
        let mut pick = |n: u64| usize::try_from(chance.below(n)).unwrap();
        let (workers, writers) = [(0, 0), (0, 0), (0, 2), (2, 0), (1, 1)][pick(5)];
        Self {
            mode: MODES[pick(3)],
            framing: FRAMINGS[pick(3)],
            workers: 1 + pick(3) as u64,
            connections: 1 + pick(8),
            window: 1 + pick(32),
            messages: 1 + pick(1500) as u64,
            short_lives: (pick(3) == 0).then_some(1 + pick(40)),
            kills_of_workers: workers,
            kills_of_writers: writers,
        }
    }

    /// The daemon's numbers and the clients'.
    fn play(&self, chance: &mut Chance) -> Outcome {
        let setup = Setup::default()
            .set("server.workers", i64::try_from(self.workers).unwrap())
            .set("server.echo", self.mode)
            .set("server.framing", self.framing.0)
            .set("rotate.max-size", "64KiB");
        let mut daemon = setup.start();
        let shape = Shape {
            connections: self.connections,
            window: self.window,
            framing: self.framing.1,
            messages_a_connection: self.short_lives,
            on_break: if self.kills_of_workers > 0 { OnBreak::Reconnect } else { OnBreak::Fail },
            ..Shape::default()
        };
        let load = Load::start(daemon.address, shape);
        load.progress(self.messages);
        for kill in 0..self.kills_of_workers + self.kills_of_writers {
            some_time(chance, Duration::from_millis(15));
            if kill < self.kills_of_workers {
                kill_worker(&mut daemon, chance)
            } else {
                kill_writer(&mut daemon)
            }
            load.progress((self.connections * self.window) as u64 + 1);
        }
        let histories = load.finish();
        let told = settled(&daemon);
        daemon.stop();
        let report = checker::check(
            &daemon.store(),
            Format::Text,
            &histories,
            Expect { empty_files: true, ..Expect::default() },
        );
        Outcome { told, histories, records: report.records as u64 }
    }
}

/// The last numbers: nobody is connected any more, and none of them moves.
fn settled(daemon: &Daemon) -> Value {
    let mut last = Value::Null;
    let still = came_true(DEADLINE, || {
        let told = control::status(daemon);
        let of = |told: &Value| [told["totals"].clone(), told["histograms"]["echo_microseconds"].clone()];
        let counted = at(&told, "/totals/workers/echoes") > 0 && at(&told, "/connections") == 0;
        let counted = counted && at(&told, "/orphaned_bytes") == 0 && !waits(&told);
        let same = !last.is_null() && counted && of(&told)[..] == of(&last)[..] && told["degraded"] == false;
        last = told;
        same
    });
    assert!(still, "the numbers never settle: {last}");
    last
}

/// Something that was received is not stored yet.
fn waits(told: &Value) -> bool {
    let workers = told["workers"].as_array().unwrap();
    workers.iter().any(|worker| at(worker, "/pipe_bytes") + at(worker, "/oldest_unacknowledged_milliseconds") > 0)
}

fn at(told: &Value, pointer: &str) -> u64 {
    told.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {told}"))
}

struct Outcome {
    told: Value,
    histories: Vec<History>,
    records: u64,
}

impl Outcome {
    fn total(&self, name: &str) -> u64 {
        at(&self.told, &format!("/totals/{name}"))
    }

    /// Events and sum of a histogram.
    fn histogram(&self, name: &str) -> (u64, u64) {
        let counts = self.told["histograms"][name]["counts"].as_array().unwrap();
        let events = counts.iter().map(|count| count.as_u64().unwrap()).sum();
        (events, at(&self.told, &format!("/histograms/{name}/sum")))
    }

    /// What must be true of every run; the first thing that is not.
    fn judge(&self, run: &Run) -> Result<(), String> {
        let sum = |of: fn(&History) -> usize| self.histories.iter().map(|history| of(history) as u64).sum::<u64>();
        let (heard, heard_bytes) = (sum(|history| history.echoed), sum(|history| history.echoed_bytes));
        let (received, echoes) = (self.total("workers/messages"), self.total("workers/echoes"));
        let (stored, echoed) = (self.total("writer/messages"), self.total("workers/echoed"));
        let (events, _) = self.histogram("echo_microseconds");
        let (batches, batched) = self.histogram("batch_messages");
        let restarts = [at(&self.told, "/restarts/workers"), at(&self.told, "/restarts/writer")];
        let equal = |what: &str, a: u64, b: u64| if a == b { Ok(()) } else { Err(format!("{what}: {a} and {b}")) };
        let ordered = |what: &str, a: u64, b: u64| if a <= b { Ok(()) } else { Err(format!("{what}: {a} > {b}")) };
        // Whatever dies: what is counted as stored is what stands in the files.
        equal("stored and in the files", stored, self.records)?;
        equal("deaths of workers", restarts[0], run.kills_of_workers)?;
        equal("deaths of writers", restarts[1], run.kills_of_writers)?;
        ordered("heard and released", heard, echoes)?;
        ordered("released and stored", echoes, stored)?;
        ordered("stored and received", stored, received)?;
        // Of a worker that was killed: what was under way to the writer, or to its clients.
        let under_way = run.kills_of_workers * (run.connections * run.window) as u64;
        ordered("received, not stored", received - stored, under_way)?;
        ordered("stored, not heard", stored - heard, under_way)?;
        if run.kills_of_workers == 0 {
            equal("received and stored", received, stored)?;
            equal("released and heard", echoes, heard)?;
            equal("echoed bytes and heard bytes", echoed, heard_bytes)?;
            equal("echoes in the histogram", events, echoes)?;
            equal("accepted and connected", self.total("workers/accepted"), self.histories.len() as u64)?;
        }
        if run.kills_of_writers == 0 {
            equal("messages in the histogram of batches", batched, stored)?;
            equal("batches in their histogram", batches, self.total("writer/batches"))?;
        }
        ordered("messages in the histogram of batches", batched, stored)
    }
}

#[test]
fn the_numbers_agree() {
    let mut chance = Chance::new(seed());
    let runs = count("ECHOSTORED_TEST_NUMBERS", 20);
    let (mut messages, mut kills) = (0, 0);
    for number in 0..runs {
        let run = Run::drawn(&mut chance);
        let outcome = run.play(&mut chance);
        if let Err(wrong) = outcome.judge(&run) {
            panic!("run {number} of seed {}: {wrong}\n{run:?}\n{}", seed(), outcome.told);
        }
        messages += outcome.records;
        kills += run.kills_of_workers + run.kills_of_writers;
    }
    println!("{runs} runs, {messages} messages, {kills} deaths: all numbers agree; seed {}", seed());
}
