//! `bench`: a load for a server, and what it makes of it.
//!
//! Promises: every byte that comes back is compared with what was sent, and a wrong, missing or foreign one ends the run with exit code
//! 1; every message that was sent is awaited. Made so that the server is what is measured: a turn of a connection is a read and a
//! write, however many messages they have; the messages are made in place.
mod connect;
mod connection;
mod figures;
mod load;
mod message;
mod options;
mod progress;
mod store;

pub use options::Options;

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::exit::{self, Fatal};
use crate::sys::event::Wake;
use crate::sys::ready::{self, Watched};
use crate::sys::signals::Signals;
use crate::sys::{AsFd, process};
use crate::tools::carrier::{Carrier, Means};
use connection::Connection;
use figures::Figures;
use load::{Account, Load, Measured, Plan, Shared};
use message::{Block, Run, Shape};
use progress::Progress;

/// How often the bar moves.
const REDRAW: Duration = Duration::from_millis(200);
/// Steps of the bar for each second.
const STEPS: f64 = 1000.0;

/// Runs a load; returns the exit code.
pub fn run(options: &Options) -> u8 {
    match measure(options) {
        Ok(figures) => report(options, &figures),
        Err(Fatal { code, message }) => {
            eprintln!("echostored: {message}");
            code
        }
    }
}

fn report(options: &Options, figures: &Figures) -> u8 {
    let text = match options.json {
        true => serde_json::to_string(figures).unwrap_or_default() + "\n",
        false => figures.to_string(),
    };
    if let Err(error) = std::io::stdout().write_all(text.as_bytes())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        eprintln!("echostored: cannot write to standard output: {error}");
        return exit::FAILED;
    }
    let wrong = figures.store.as_ref().filter(|verdict| !verdict.is_good());
    if let Some(verdict) = wrong {
        let first = verdict.first.as_deref().unwrap_or_default();
        let deleted = match verdict.deleted {
            0 => String::new(),
            count => format!("; {count} files were deleted before they were read (is it retention? see [retain])"),
        };
        eprintln!("echostored: the store is not what was echoed: {first}{deleted}");
    }
    if wrong.is_some() { exit::FAILED } else { exit::OK }
}

fn measure(options: &Options) -> Result<Figures, Fatal> {
    let usage = |why: String| Fatal::new(exit::USAGE, format!("--size {}: {why}", options.size));
    let shape = Shape::new(options.framing, options.size).map_err(usage)?;
    if options.store.is_some() && !shape.has_id() {
        let least = Shape::least_with_id(options.framing);
        return Err(usage(format!("--store needs messages that can be told apart: {least} bytes or more")));
    }
    let failed = |message: String| Fatal::new(exit::FAILED, message);
    let live = options.store.as_deref().map(store::live).transpose();
    let live = live.map_err(|error| Fatal::new(exit::STORE, error.to_string()))?;
    let means = Means::prepare(&options.security, &options.server).map_err(failed)?;
    let places = connect::places(&options.server).map_err(failed)?;
    let signals =
        Signals::new(&[Signal::SIGINT, Signal::SIGTERM]).map_err(|error| Fatal::system("watch for signals", error))?;
    let run = message::run(process::random_word().map_err(|error| Fatal::system("get random bytes", error))?);
    let count = usize::try_from(options.connections).unwrap_or(usize::MAX);
    let streams = connect::connect(&places, &means, count, options.timeout, &signals).map_err(|why| match why {
        connect::Failed::Cannot(message) => failed(message),
        connect::Failed::Stopped => failed("stopped before all connections were made".to_owned()),
    })?;
    let shared = Shared::default();
    let (parts, accounts) = threads(options, &shape, &run, streams, &shared, &signals).map_err(failed)?;
    let mut figures = Figures::new(options, &parts);
    if shared.stop.load(Ordering::Relaxed) > 1 {
        report(options, &figures);
        return Err(failed("stopped before all echoes had come".to_owned()));
    }
    if let (Some(directory), Some(from)) = (&options.store, live) {
        figures.store = Some(store::check(directory, from, &shape, &run, &accounts).map_err(failed)?);
    }
    Ok(figures)
}

/// Shares the connections out to threads, and waits for them.
fn threads(
    options: &Options,
    shape: &Shape,
    run: &Run,
    streams: Vec<Carrier>,
    shared: &Shared,
    signals: &Signals,
) -> Result<(Vec<Measured>, Vec<Account>), String> {
    let plan = Plan {
        start: Instant::now(),
        warm_up: options.warm_up,
        duration: options.count.is_none().then_some(options.duration),
        timeout: options.timeout,
        per_connection: options.per_connection,
    };
    let size = shape.size as u64;
    let connections: Vec<Connection> =
        (0..).zip(streams).map(|(at, stream)| Connection::new(at, stream, size, options.in_flight)).collect();
    let most = connections.len().div_ceil(usize::try_from(options.threads).unwrap_or(1));
    let (running, done) = (AtomicU64::new(0), Wake::new().map_err(|error| format!("cannot make an eventfd: {error}"))?);
    let mut connections = connections.into_iter().peekable();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        while connections.peek().is_some() {
            let part: Vec<Connection> = connections.by_ref().take(most).collect();
            let shares = part.iter().map(|connection| options.share(connection.number)).collect();
            let load = Load::new(part, shares, Block::new(shape.clone(), *run), plan, shared)
                // The scope waits for those that run.
                .inspect_err(|_| shared.stop.store(2, Ordering::Relaxed))?;
            running.fetch_add(1, Ordering::Relaxed);
            let (running, done) = (&running, &done);
            threads.push(scope.spawn(move || {
                let result = load.run();
                if result.is_err() {
                    shared.stop.store(2, Ordering::Relaxed);
                }
                running.fetch_sub(1, Ordering::Release);
                done.ring();
                result
            }));
        }
        attend(options, plan, shared, signals, &running, &done);
        let mut all = (Vec::new(), Vec::new());
        for thread in threads {
            let (measured, accounts) = thread.join().map_err(|_| "a thread failed".to_owned())??;
            all.0.push(measured);
            all.1.extend(accounts);
        }
        Ok(all)
    })
}

/// Moves the bar and hears signals until all threads have ended.
fn attend(options: &Options, plan: Plan, shared: &Shared, signals: &Signals, running: &AtomicU64, done: &Wake) {
    let length = plan.duration.map(|duration| ((plan.warm_up + duration).as_secs_f64() * STEPS) as u64);
    let mut progress = Progress::new(!options.json, length.or(options.count).unwrap_or(0));
    while running.load(Ordering::Acquire) > 0 {
        let echoed = shared.echoed.load(Ordering::Relaxed);
        let steps = length.map_or(echoed, |_| (plan.start.elapsed().as_secs_f64() * STEPS) as u64);
        progress.at(steps, echoed);
        let input = |fd| Watched { fd, input: true, output: false };
        if ready::wait(&[input(signals.as_fd()), input(done.as_fd())], Some(REDRAW)).is_err() {
            break;
        }
        done.clear();
        while let Ok(Some(_)) = signals.next() {
            shared.stop.fetch_add(1, Ordering::Relaxed);
        }
    }
    progress.finish();
}
