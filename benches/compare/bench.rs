//! What all parts need: the binary, the places, how long and how often.
use crate::load::{Amount, Generator, Load};
use crate::options::Options;
use crate::places::{Place, Places};
use crate::servers::{self, Kind, Server};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Ready to measure.
pub struct Bench<'a> {
    pub options: &'a Options,
    pub places: Places,
    pub binary: PathBuf,
    pub generator: Generator,
    _home: tempfile::TempDir,
}

impl<'a> Bench<'a> {
    /// Finds or builds the binary, and takes a copy: a build meanwhile must not change what is measured.
    pub fn prepare(options: &'a Options) -> Result<Self, String> {
        let places = Places::choose(options.memory.clone(), options.disk.clone())?;
        let home = servers::home(&places.disk)?;
        let original = match &options.binary {
            Some(path) => path.clone(),
            None => build()?,
        };
        if has_crash_points(&original) {
            let why = "has the crash points of the tests: its figures would not be those of what users run";
            return Err(format!("{} {why}; run cargo build --release", original.display()));
        }
        let binary = home.path().join("echostored");
        fs::copy(&original, &binary).map_err(|error| format!("cannot copy {}: {error}", original.display()))?;
        let log = home.path().join("generator.log");
        let generator = Generator { binary: binary.clone(), log, per_connection: false };
        Ok(Self { options, places, binary, generator, _home: home })
    }

    pub fn span(&self) -> Duration {
        self.options.span()
    }

    /// Starts a server and makes the memory warm that it will use again and again: the first use of fresh pages is slow on
    /// virtual machines.
    pub fn start(&self, kind: Kind, place: Place) -> Result<Server, String> {
        eprintln!("compare: starting {} on {}", kind.name(), self.places.file_system(place));
        let server = Server::start(kind, place, &self.places, &self.binary)?;
        self.warm_up(&server, place)?;
        Ok(server)
    }

    /// Twice what the store retains, by large messages; on a disk one second will do.
    pub fn warm_up(&self, server: &Server, place: Place) -> Result<(), String> {
        if self.options.quick || matches!(server.kind, Kind::Rsyslog | Kind::Redis) {
            return Ok(());
        }
        let load = Load { connections: 4, in_flight: 4, size: 65536 };
        let second = Duration::from_secs(1);
        let amount = match place {
            Place::Memory => Amount::Messages(2 * servers::echostored::RETAINED / load.size as u64),
            Place::Disk => Amount::Time(second),
        };
        self.generator.start(server, load, amount)?.finish(second).map(drop)
    }

    /// A moment of the same load, unmeasured, then the measurement.
    pub fn measure(&self, server: &Server, load: Load) -> Result<crate::load::Measured, String> {
        if !self.options.quick && !matches!(server.kind, Kind::Rsyslog | Kind::Redis) {
            let moment = self.span().div_f64(10.0);
            self.generator.start(server, load, Amount::Time(moment))?.finish(moment)?;
        }
        self.generator.measure(server, load, self.span())
    }
}

/// As users get it. `cargo bench` itself has just built one with the crash points of the tests, in the same place.
fn build() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("compare: building echostored");
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--bin", "echostored", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .status()
        .map_err(|error| format!("cannot run cargo: {error}; name a release binary with --binary PATH"))?;
    if !status.success() {
        return Err(format!("cargo build --release failed ({status}); name a release binary with --binary PATH"));
    }
    Ok(release_binary())
}

/// Where `cargo build --release` puts it.
pub fn release_binary() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target"),
        |target| Path::new(env!("CARGO_MANIFEST_DIR")).join(target),
    );
    target.join("release/echostored")
}

/// Whether it is a build for tests.
pub fn has_crash_points(binary: &Path) -> bool {
    fs::read(binary).is_ok_and(|code| memchr::memmem::find(&code, b"ECHOSTORED_CRASH").is_some())
}
