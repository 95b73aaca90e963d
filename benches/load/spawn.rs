//! Measures a daemon of our own: one for each echo mode, its store on tmpfs, so that the disk is not what is measured.
use super::options::{Options, Workload};
use super::{Row, measure};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The workloads of the design's section 11.
const WORKLOADS: [Workload; 3] = [
    Workload { connections: 50, in_flight: 1, size: 128 },
    Workload { connections: 50, in_flight: 64, size: 128 },
    Workload { connections: 4, in_flight: 4, size: 65536 },
];
/// Closed files that are kept: the store must not fill the memory.
const KEPT: usize = 3;

/// Runs all workloads in all modes and prints one table.
pub fn table(options: &Options) {
    // `cargo bench` itself builds the binary as the tests want it, and puts it where `cargo build --release` does.
    let has_crash_points =
        fs::read(&options.binary).is_ok_and(|code| memchr::memmem::find(&code, b"ECHOSTORED_CRASH").is_some());
    if has_crash_points {
        eprintln!(
            "note: {} has crash points; for figures, copy a fresh release build and name it with --binary",
            options.binary.display()
        );
    }
    println!("{}", Row::HEAD);
    for mode in &options.modes {
        let daemon = Daemon::start(&options.binary, mode);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| prune(&daemon.directory.path().join("store"), &done));
            // The first use of memory is slow on virtual machines: twice the size that is kept, unmeasured.
            measure(daemon.address, Workload { connections: 4, in_flight: 4, size: 65536 }, Duration::from_secs(1), 1);
            for workload in WORKLOADS {
                let measured = measure(daemon.address, workload, options.span, options.threads);
                println!("{}", Row { mode, workload, measured: &measured });
            }
            done.store(true, Ordering::SeqCst);
        });
    }
}

/// Stands in for retention, which is not what is measured here.
fn prune(store: &Path, done: &AtomicBool) {
    while !done.load(Ordering::SeqCst) {
        let entries = fs::read_dir(store).unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
        files.sort();
        let closed = files.len().saturating_sub(KEPT + 1);
        files[..closed].iter().for_each(|path| drop(fs::remove_file(path)));
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Daemon {
    child: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Daemon {
    fn start(binary: &Path, mode: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("echostored-load-").tempdir_in("/dev/shm").unwrap();
        let (path, address) = (directory.path(), TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let config = format!(
            "[server]\nlisten = [\"{address}\"]\necho = \"{mode}\"\nmax-message-size = \"1MiB\"\n[store]\ndirectory = \"{0}/store\"\n[daemon]\npid-file = \"{0}/pid\"\n[control]\nsocket = \"{0}/control.sock\"\n",
            path.display()
        );
        fs::write(path.join("echostored.toml"), config).unwrap();
        let notify = UnixDatagram::bind(path.join("notify")).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(path.join("echostored.toml")).env("NOTIFY_SOCKET", path.join("notify"));
        let log = fs::File::create(path.join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap_or_else(|error| {
            panic!(
                "cannot run {}: {error}; build it with `cargo build --release`, or name another with --binary",
                binary.display()
            )
        });
        let mut daemon = Self { child, address, directory };
        let mut buffer = [0; 4096];
        loop {
            match notify.recv(&mut buffer) {
                Ok(length) if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "READY=1") => {
                    return daemon;
                }
                Ok(_) => {}
                Err(_) => {
                    let log = fs::read_to_string(daemon.directory.path().join("log")).unwrap_or_default();
                    panic!("the daemon is not ready: {:?}\n{log}", daemon.child.try_wait());
                }
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        // In order, so that no role outlives the directory.
        let _ = kill(nix::unistd::Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
