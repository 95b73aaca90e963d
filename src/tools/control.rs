//! `echostored status`, `reload`, `rotate`: ask the running daemon over its control socket, and wait for its answer.
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::config;
use crate::exit;
use crate::ipc::command::{self, Reply, Request};
use crate::ipc::report::{ArchiverCounts, Backlog, Report, WorkerCounts};
use crate::ipc::sandbox::InForce;

/// The daemon answers within 30 s that something takes too long. One that does not is itself hung.
const PATIENCE: Duration = Duration::from_secs(40);
/// No reply is longer, in bytes.
const MAX_REPLY: u64 = 16 << 20;
/// The longest path that connect(2) takes.
const MAX_PATH: usize = 107;

/// How often a daemon that has no place for another command is asked, and the time between.
const TRIES: u32 = 20;
const REST: Duration = Duration::from_millis(100);

/// How the answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// For people.
    Text,
    /// The reply itself, one line of JSON.
    Json,
}

/// Asks the daemon at `socket`, else the one of the configuration file `config`; returns the exit code: 0, that of the
/// daemon's refusal, 1 if none answers, 78 if `config` cannot be read.
pub fn run(request: Request, socket: Option<PathBuf>, config: &Path, shown: Shown) -> u8 {
    let path = match socket {
        Some(path) => path,
        None => match config::load_control(config) {
            Ok(control) => command::place(&control),
            Err(error) => return fail(exit::CONFIG, &format!("{error}, or the daemon's socket with --socket PATH")),
        },
    };
    let mut tries = 1..TRIES;
    let (line, reply) = loop {
        let line = match ask(request, &path) {
            Ok(line) => line,
            Err(error) => return fail(exit::FAILED, &no_answer(request, &path, &error)),
        };
        match Reply::parse(&line) {
            Some(Reply::Failed { error, .. }) if error == command::BUSY && tries.next().is_some() => sleep(REST),
            reply => break (line, reply),
        }
    };
    match reply {
        Some(Reply::Failed { code, error }) => fail(code.max(exit::FAILED), &error),
        Some(_) if shown == Shown::Json => print(&line),
        Some(reply) => show(&reply),
        None => fail(exit::FAILED, &format!("{}: what answers there is no echostored of this version", path.display())),
    }
}

fn fail(code: u8, message: &str) -> u8 {
    eprintln!("echostored: {}", printable(message));
    code
}

/// Sends the request and reads the reply's line.
fn ask(request: Request, path: &Path) -> io::Result<String> {
    let mut stream = connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // One that is busy has answered and left already: its answer counts.
    let sent = stream.write_all(format!("{}\n", request.word()).as_bytes());
    let mut line = String::new();
    match BufReader::new(stream).take(MAX_REPLY).read_line(&mut line) {
        _ if line.ends_with('\n') => Ok(line),
        Err(error) => Err(error),
        Ok(_) => Err(sent.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let (parent, name) = (path.parent(), path.file_name());
    match (parent, name) {
        (Some(parent), Some(name)) if path.as_os_str().len() > MAX_PATH => {
            let directory = File::open(parent)?;
            UnixStream::connect(Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name))
        }
        _ => UnixStream::connect(path),
    }
}

/// What was tried, where, why it failed, what to do.
fn no_answer(request: Request, path: &Path, error: &io::Error) -> String {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied, TimedOut, UnexpectedEof, WouldBlock};
    let running =
        "is it running? (systemctl status echostored) If control.socket was just changed, it is still at the old one";
    let (why, remedy) = match error.kind() {
        NotFound => ("there is no such socket".to_owned(), running),
        ConnectionRefused => ("nobody listens".to_owned(), running),
        PermissionDenied => ("permission denied".to_owned(), "root may, and members of its group"),
        WouldBlock | TimedOut => (format!("no answer within {PATIENCE:?}"), "its log may tell why"),
        UnexpectedEof => ("it went away without an answer".to_owned(), "its log may tell why"),
        _ => (error.to_string(), "its log may tell why"),
    };
    let (word, path) = (request.word(), path.display());
    format!("cannot ask the daemon for {word} at {path}: {why}; {remedy}. Another socket: --socket PATH")
}

/// Warnings go to stderr; of a reload there is nothing else to say.
fn show(reply: &Reply) -> u8 {
    match reply {
        Reply::Failed { code, error } => fail(*code, error),
        Reply::Reloaded { warnings, .. } => {
            warnings.iter().for_each(|warning| eprintln!("warning: {}", printable(warning)));
            exit::OK
        }
        Reply::Rotated { rotated: true, segment } => print(&format!("{}\n", printable(segment))),
        Reply::Rotated { rotated: false, segment } => {
            eprintln!("nothing to rotate: {} is empty", printable(segment));
            exit::OK
        }
        Reply::Status(report) => print(&text(report)),
    }
}

fn print(text: &str) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A closed pipe (`| head`) is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(exit::FAILED, &format!("cannot write to standard output: {error}"))
        }
        _ => exit::OK,
    }
}

/// Nothing that a terminal obeys.
fn printable(text: &str) -> String {
    text.chars().map(|c| if crate::log::is_hostile(c) { '\u{fffd}' } else { c }).collect()
}

/// The status for people.
fn text(report: &Report) -> String {
    let Report { totals, writer, workers, archiver, .. } = report;
    let state = match () {
        () if report.stopping => "stopping",
        () if !report.ready => "not ready",
        () => "ready",
    };
    let segment = report.segment.as_deref().unwrap_or("none yet");
    let stored = &totals.writer;
    let rows = [
        ("status", report.status.clone()),
        (
            "daemon",
            format!("{state}, pid {}, up {}, version {}", report.pid, time(report.uptime_seconds), report.version),
        ),
        ("configuration", format!("{}, generation {}", report.config, report.generation)),
        ("listening", report.listeners.join(", ")),
        ("store", report.directory.clone()),
        ("live file", segment.to_owned()),
        ("mode", format!("echo {}, framing {}", report.echo, report.framing)),
        ("stored", format!("{} messages, {} bytes, {} rotations", stored.messages, stored.bytes, stored.rotations)),
        ("disk", format!("{} syncs, {} faults, {} messages refused", stored.syncs, stored.faults, stored.refused)),
        ("closed", archiver.as_ref().map_or_else(|| "not known".to_owned(), |archiver| closed(&archiver.backlog))),
        ("archived", archived(&totals.archiver)),
        ("accepted", format!("{} connections", totals.workers.accepted)),
        ("turned away", turned_away(&totals.workers)),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<14}{}", printable(&value));
    }
    let head = ["process", "pid", "up", "generation", "state", "connections", "messages", "bytes"];
    let mut table = vec![head.map(str::to_owned)];
    for worker in workers {
        let state = if worker.leaving { "leaving" } else { serving(worker.ready) };
        let counts = [worker.connections, worker.counts.messages, worker.counts.bytes].map(|count| count.to_string());
        let [connections, messages, bytes] = counts;
        let (pid, generation) = (worker.pid.to_string(), worker.generation.to_string());
        let name = format!("worker {}", worker.number);
        table.push([name, pid, time(worker.uptime_seconds), generation, state.into(), connections, messages, bytes]);
    }
    if let Some(writer) = writer {
        let (messages, bytes) = (writer.counts.messages.to_string(), writer.counts.bytes.to_string());
        let (pid, state) = (writer.pid.to_string(), serving(writer.ready).to_owned());
        table.push(["writer".into(), pid, time(writer.uptime_seconds), "".into(), state, "".into(), messages, bytes]);
    }
    if let Some(archiver) = archiver {
        let (pid, state) = (archiver.pid.to_string(), serving(archiver.ready).to_owned());
        let blank = String::new;
        table.push(["archiver".into(), pid, time(archiver.uptime_seconds), blank(), state, blank(), blank(), blank()]);
    }
    text + "\n" + &aligned(&table) + "\n" + &aligned(&sandboxes(report))
}

/// What keeps each process from doing more than its work.
fn sandboxes(report: &Report) -> Vec<[String; 2]> {
    let row = |name: &str, sandbox: InForce| [name.to_owned(), sandbox.to_string()];
    let mut table = vec![["process", "sandbox"].map(str::to_owned), row("supervisor", report.sandbox)];
    table.extend(report.workers.iter().map(|worker| row(&format!("worker {}", worker.number), worker.sandbox)));
    table.extend(report.writer.iter().map(|writer| row("writer", writer.sandbox)));
    table.extend(report.archiver.iter().map(|archiver| row("archiver", archiver.sandbox)));
    table
}

/// The closed files, and what waits.
fn closed(backlog: &Backlog) -> String {
    let Backlog { closed, closed_bytes, unsealed, uncompressed, unhooked } = backlog;
    let mut text = format!("{closed} files, {closed_bytes} bytes");
    for (count, what) in [(unsealed, "to seal"), (uncompressed, "to compress"), (unhooked, "to hand on")] {
        if *count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

fn archived(counts: &ArchiverCounts) -> String {
    let ArchiverCounts { sealed, compressed, pruned, hooked, hook_failures, archive_faults } = counts;
    let hooks = format!("{hooked} handed on ({hook_failures} failures)");
    format!("{sealed} sealed, {compressed} compressed, {pruned} deleted, {hooks}, {archive_faults} faults")
}

/// Those whom `[limits]` has closed or held up.
fn turned_away(counts: &WorkerCounts) -> String {
    let WorkerCounts { denied, too_many, idle, late, timed_out, delayed, .. } = counts;
    let ended = format!("{idle} idle, {late} late with their first message, {timed_out} not reading");
    format!("{denied} denied, {too_many} too many of an address; closed: {ended}; {delayed} delays by rate")
}

fn serving(ready: bool) -> &'static str {
    if ready { "serving" } else { "starting" }
}

/// The two greatest units: `3d 4h`, `5m 6s`.
fn time(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let part = |index: usize| {
        let above = index.checked_sub(1).and_then(|above| units.get(above)).filter(|_| index > first);
        let rest = above.map_or(seconds, |(size, _)| seconds % size);
        format!("{}{}", rest / units[index].0, units[index].1)
    };
    (first..units.len().min(first + 2)).map(part).collect::<Vec<_>>().join(" ")
}

/// Columns as wide as they must be: words to the left, numbers to the right.
fn aligned<const N: usize>(table: &[[String; N]]) -> String {
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let number = |column: usize| {
        let is = |row: &[String; N]| row[column].bytes().all(|byte| byte.is_ascii_digit());
        table.iter().skip(1).all(is)
    };
    let right: [bool; N] = std::array::from_fn(number);
    let mut text = String::new();
    for row in table {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if right[column] { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let cases =
            [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3_661, "1h 1m"), (90_000, "1d 1h"), (8_640_000, "100d 0h")];
        for (seconds, text) in cases {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let table = [["process", "pid", "state"], ["worker 10", "7", "serving"], ["writer", "1234", ""]];
        let table: Vec<[String; 3]> = table.iter().map(|row| row.map(str::to_owned)).collect();
        assert_eq!(aligned(&table), "process     pid  state\nworker 10     7  serving\nwriter     1234\n");
    }

    #[test]
    fn nothing_in_a_status_reaches_the_terminal_as_a_command() {
        let report = Report { directory: "/a\u{1b}[2J\n".into(), status: "\u{7}".into(), ..Report::default() };
        let text = text(&report);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains("store         /a\u{fffd}[2J\u{fffd}\n"), "{text}");
    }
}
