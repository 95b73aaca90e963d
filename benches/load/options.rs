//! What the load program is asked for.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Connections × messages in flight on each × bytes of a message.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub connections: usize,
    pub in_flight: usize,
    pub size: usize,
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{} x {} x {}", self.connections, self.in_flight, self.size))
    }
}

/// The command line.
pub struct Options {
    pub address: SocketAddr,
    pub workload: Workload,
    /// How long one workload is measured.
    pub span: Duration,
    pub threads: usize,
    /// Start a daemon for each mode, and run the three workloads.
    pub spawn: bool,
    pub binary: PathBuf,
    pub modes: Vec<String>,
}

impl Options {
    /// Ends the program with code 2 if it cannot be understood.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let workload = Workload { connections: 50, in_flight: 64, size: 128 };
        let binary = concat!(env!("CARGO_MANIFEST_DIR"), "/target/release/echostored").into();
        let modes = ["received", "stored", "synced"].map(str::to_owned).to_vec();
        let address = "127.0.0.1:7007".parse().expect("an address");
        let mut options =
            Self { address, workload, span: Duration::from_secs(5), threads: 1, spawn: false, binary, modes };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| usage(&format!("{argument} wants a value")));
            match argument.as_str() {
                "--addr" => options.address = parsed(&value()),
                "--connections" => options.workload.connections = parsed(&value()),
                "--in-flight" => options.workload.in_flight = parsed(&value()),
                "--size" => options.workload.size = parsed(&value()),
                "--seconds" => options.span = Duration::from_secs_f64(parsed(&value())),
                "--threads" => options.threads = parsed(&value()),
                "--spawn" => options.spawn = true,
                "--binary" => options.binary = value().into(),
                "--modes" => options.modes = value().split(',').map(str::to_owned).collect(),
                // What `cargo bench` itself adds.
                "--bench" => {}
                _ => usage(&format!("unknown option {argument}")),
            }
        }
        let Workload { connections, in_flight, size } = options.workload;
        if connections == 0 || in_flight == 0 || size < 2 || options.threads == 0 {
            usage("connections, in-flight and threads are at least 1, size is at least 2");
        }
        options
    }
}

fn parsed<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| usage(&format!("{text:?} is no value")))
}

fn usage(error: &str) -> ! {
    eprintln!("{error}");
    eprintln!("load [--addr A] [--connections N] [--in-flight N] [--size BYTES] [--seconds S] [--threads N]");
    eprintln!("load --spawn [--binary PATH] [--modes received,stored,synced] [--seconds S] [--threads N]");
    std::process::exit(2);
}
