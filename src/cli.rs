//! The command line.
use crate::config::{self, Config, Format, defaults};
use crate::ipc::command::Request;
use crate::supervisor::Options;
use crate::tools::control::Shown;
use crate::{exit, roles, sys, tools};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf, absolute};

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
    /// Show how the running daemon is: processes, connections, what is stored
    Status {
        #[command(flatten)]
        daemon: DaemonPlace,
        /// Print it as one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Have the running daemon take up its configuration again; returns when the new workers serve
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
    /// Print the records of a store, oldest first
    Cat {
        #[command(flatten)]
        store: StorePlace,
        /// The format to print; as stored if not given. `raw`: the exact bytes of each message, and a newline
        #[arg(long, value_enum)]
        format: Option<Printed>,
    },
    /// Check a store: names, sequence, seals, every record, every connection's numbering
    Verify {
        #[command(flatten)]
        store: StorePlace,
        /// Print one JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
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
    let cli = Cli::parse();
    match cli.command {
        Command::Run { config, daemon } => run(&config.config, daemon),
        Command::Check { config, print } => tools::check::run(&config.config, print),
        Command::Status { daemon, json } => daemon.ask(Request::Status, if json { Shown::Json } else { Shown::Text }),
        Command::Reload { daemon } => daemon.ask(Request::Reload, Shown::Text),
        Command::Rotate { daemon } => daemon.ask(Request::Rotate, Shown::Text),
        Command::Cat { store, format } => {
            store.directory().map_or_else(|code| code, |at| tools::cat::run(&at, format.map(Into::into)))
        }
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
    fn ask(self, request: Request, shown: Shown) -> u8 {
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
