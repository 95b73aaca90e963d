//! The command line.
use crate::config::{self, Config, Format, defaults, units};
use crate::ipc::command::Request as Ask;
use crate::store::clock;
use crate::store::stamp::Stamp;
use crate::supervisor::Options;
use crate::sys::allocations;
use crate::tools::control::Shown;
use crate::tools::select::{self, Peer, Selection};
use crate::tools::tail::{Colour, Request};
use crate::{exit, roles, sys, tools};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

/// What `tail` prints if nothing else is said.
const LAST: u64 = 10;

/// A TCP message recorder: if you hear the echo, it is stored.
///
/// Clients send messages over TCP; each is stored in plain, timestamped, rotated files, and echoed once it is stored.
#[derive(Debug, Parser)]
#[command(name = "echostored", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (in the foreground, as systemd wants it)
    Run {
        #[command(flatten)]
        config: ConfigFile,
        /// Detach from the terminal; returns once the daemon serves, by [daemon] of the configuration
        #[arg(long)]
        daemon: bool,
    },
    /// Check a configuration file, without looking at the system
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Print the effective configuration, every key of it
        #[arg(long)]
        print: bool,
    },
    /// Show how the running daemon is: processes, connections, what is stored, what went wrong
    ///
    /// Exits with 0 if the daemon serves as it should, else with 1: for health checks.
    Status {
        #[command(flatten)]
        daemon: DaemonPlace,
        /// Show who is connected instead: the busiest connections, counted for a second
        #[arg(long)]
        connections: bool,
        /// Print it as one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Show how the running daemon does, drawn anew each second: rates, latency, workers, the store, what happens
    ///
    /// Keys: q quits, p holds the picture, c shows all counters, h the help, + and - change the interval. Without a terminal, --once
    /// prints one picture as plain text.
    Top {
        #[command(flatten)]
        daemon: DaemonPlace,
        /// How often the daemon is asked: 200ms to 1m
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
        interval: Duration,
        /// Colours; auto: unless NO_COLOR is set
        #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
        color: Color,
        /// Ask twice, an interval apart, and print one picture as plain text, of 80 columns and 24 lines, or $COLUMNS and $LINES
        #[arg(long)]
        once: bool,
    },
    /// Have the running daemon take up its configuration again; returns when all serve by it
    ///
    /// Connections go on. A configuration with a mistake changes nothing: the mistake is printed with its file, line and
    /// column, and the exit code is 78. Prints only warnings.
    Reload {
        #[command(flatten)]
        daemon: DaemonPlace,
    },
    /// Have the running daemon begin a new file; prints its name once it is live
    ///
    /// An empty file is not rotated.
    Rotate {
        #[command(flatten)]
        daemon: DaemonPlace,
    },
    /// Print the last records of a store, and with -f those that come
    ///
    /// Works on the store of a running daemon, and on a copy of it. Without -n, --since, --until and a cursor: the last 10.
    Tail {
        #[command(flatten)]
        store: StorePlace,
        /// Only the last so many of the records that are selected
        #[arg(short = 'n', long = "lines", value_name = "N", conflicts_with_all = ["from", "cursor_file"])]
        lines: Option<u64>,
        /// Wait for more, over rotations and restarts of the daemon
        #[arg(short, long, conflicts_with = "until")]
        follow: bool,
        #[command(flatten)]
        reading: Reading,
    },
    /// Print the records of a store, oldest first
    Cat {
        #[command(flatten)]
        store: StorePlace,
        #[command(flatten)]
        reading: Reading,
    },
    /// Check a store: names, sequence, seals, every record, every connection's numbering
    Verify {
        #[command(flatten)]
        store: StorePlace,
        /// Print one JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Send messages from standard input, and wait until every one has been echoed
    ///
    /// Each line is a message. Its echo says that it is stored; what was not echoed when a connection ends is sent again over the next
    /// one, in order. So every message is stored at least once: one that was stored, and whose echo was lost, twice. Exits with 0 only if
    /// every message was echoed; otherwise with 1, and says how many were not, and from which line on.
    ///
    /// INT or TERM ends the reading; 5 s are left for the echoes that are due. A second one ends it at once.
    Send(tools::send::Options),
    /// Put a server under load, and print how many messages a second it echoes, and how long an echo takes
    ///
    /// Each connection sends messages that no other has, and never more of them than --in-flight without their echoes. Every echoed byte is
    /// compared: a wrong, missing or foreign one ends it with exit code 1. All messages that were sent are awaited at the end. The
    /// server stores what it is sent: give it a directory for the purpose, with [retain].
    ///
    /// INT or TERM ends it early, with the figures so far; a second one does not wait for the echoes that are due.
    Bench(tools::bench::Options),
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page in roff
    Man,
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// Configuration file
    #[arg(long, short, value_name = "FILE", default_value = defaults::CONFIG_FILE)]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct DaemonPlace {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Take the socket from this configuration file
    #[arg(long, short, value_name = "FILE", default_value = defaults::CONFIG_FILE)]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct StorePlace {
    /// The store's directory, or a copy of it
    #[arg(long, short, value_name = "DIR", conflicts_with = "config")]
    directory: Option<PathBuf>,
    /// Take the directory from this configuration file
    #[arg(long, short, value_name = "FILE", default_value = defaults::CONFIG_FILE)]
    config: PathBuf,
}

/// What `tail` and `cat` have in common.
#[derive(Debug, Args)]
struct Reading {
    /// The format to print; as stored if not given. `raw`: the exact bytes of each message, and a newline
    #[arg(long, value_enum)]
    format: Option<Printed>,
    /// Only what was received then or later: RFC 3339, YYYY-MM-DD[ HH:MM[:SS]] in UTC, or an age such as 90s, 1h30m, 2d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Stamp>,
    /// Only what was received before
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Stamp>,
    /// Only from there: ADDRESS, ADDRESS:PORT, [IPV6]:PORT, ADDRESS/BITS, unix or unix:PID
    #[arg(long, value_name = "ADDRESS", value_parser = Peer::parse)]
    peer: Option<Peer>,
    /// Only messages in which this regular expression matches, in their exact bytes
    #[arg(long, value_name = "REGEX", value_parser = select::pattern)]
    grep: Option<regex::bytes::Regex>,
    /// Begin behind this cursor; what was deleted since is told
    #[arg(long, value_name = "CURSOR")]
    from: Option<String>,
    /// Begin behind the cursor in this file, or with the oldest record if there is none, and keep it there
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    cursor_file: Option<PathBuf>,
    /// Print the last cursor on standard error at the end
    #[arg(long)]
    show_cursor: bool,
    /// Colours in `text`; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl From<Color> for Colour {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

impl Reading {
    fn run(self, directory: PathBuf, tail: Option<(Option<u64>, bool)>) -> u8 {
        let Self { format, since, until, peer, grep, from, cursor_file, show_cursor, color } = self;
        let selection = Selection { since, until, peer, grep };
        let bounded = selection.needs_time() || from.is_some() || cursor_file.is_some();
        let (lines, follow) = tail.unwrap_or_default();
        let last = lines.or((tail.is_some() && !bounded).then_some(LAST));
        tools::tail::run(&Request {
            directory,
            format: format.map(Into::into),
            colour: color.into(),
            selection,
            last,
            from,
            cursor_file,
            show_cursor,
            follow,
        })
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let (least, most) = (tools::top::SHORTEST, tools::top::LONGEST);
    let interval = units::parse_time(text)?;
    if (least..=most).contains(&interval) { Ok(interval) } else { Err(format!("an interval is {least:?} to {most:?}")) }
}

fn moment(text: &str) -> Result<Stamp, String> {
    select::moment(text, clock::now_micros())
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Printed {
    Text,
    Jsonl,
    Raw,
}

impl From<Printed> for Format {
    fn from(printed: Printed) -> Self {
        match printed {
            Printed::Text => Self::Text,
            Printed::Jsonl => Self::Jsonl,
            Printed::Raw => Self::Raw,
        }
    }
}

/// Does what the command line says; returns the exit code.
pub fn main() -> u8 {
    allocations::begin();
    let cli = Cli::parse();
    match cli.command {
        Command::Run { config, daemon } => run(&config.config, daemon),
        Command::Check { config, print } => tools::check::run(&config.config, print),
        Command::Status { daemon, connections, json } => {
            let ask = if connections { Ask::Connections } else { Ask::Status };
            daemon.ask(ask, if json { Shown::Json } else { Shown::Text })
        }
        Command::Top { daemon: DaemonPlace { socket, config }, interval, color, once } => {
            tools::top::run(&tools::top::Options { socket, config, interval, colour: color.into(), once })
        }
        Command::Reload { daemon } => daemon.ask(Ask::Reload, Shown::Text),
        Command::Rotate { daemon } => daemon.ask(Ask::Rotate, Shown::Text),
        Command::Tail { store, lines, follow, reading } => {
            store.directory().map_or_else(|code| code, |at| reading.run(at, Some((lines, follow))))
        }
        Command::Cat { store, reading } => store.directory().map_or_else(|code| code, |at| reading.run(at, None)),
        Command::Send(options) => tools::send::run(options),
        Command::Bench(options) => tools::bench::run(&options),
        Command::Verify { store, json } => {
            let shown = if json { tools::verify::Shown::Json } else { tools::verify::Shown::Text };
            store.directory().map_or_else(|code| code, |at| tools::verify::run(&at, shown))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "echostored", &mut script);
            print(&script)
        }
        Command::Man => tools::man::page(Cli::command()).map_or(exit::FAILED, |page| print(&page)),
    }
}

fn run(config: &Path, daemon: bool) -> u8 {
    let paths = || -> std::io::Result<Options> {
        Ok(Options { config: absolute(config)?, working_directory: std::env::current_dir()?, daemon })
    };
    match paths() {
        Ok(options) => {
            sys::title::reserve();
            roles::run(options)
        }
        Err(error) => {
            eprintln!("echostored: cannot tell the working directory: {error}; change to one that exists");
            exit::FAILED
        }
    }
}

impl DaemonPlace {
    fn ask(self, request: Ask, shown: Shown) -> u8 {
        tools::control::run(request, self.socket, &self.config, shown)
    }
}

impl StorePlace {
    fn directory(self) -> Result<PathBuf, u8> {
        if let Some(directory) = self.directory {
            return Ok(directory);
        }
        match config::load(&self.config) {
            Ok(loaded) => Ok(Config::from(loaded).store.directory),
            Err(error) => {
                eprintln!("echostored: {error}, or the store with --directory DIR");
                Err(exit::CONFIG)
            }
        }
    }
}

impl From<config::Loaded> for Config {
    fn from(loaded: config::Loaded) -> Self {
        loaded.config
    }
}

fn print(bytes: &[u8]) -> u8 {
    // A closed pipe (`| head`) is no failure.
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => exit::FAILED,
        _ => exit::OK,
    }
}
