//! The shim of `tests/shim/shim.c` between the daemon and the kernel: compiled once, ruled over by a few shared words.
use crate::support::daemon::Setup;
use crate::support::home::{self, Home};
use crate::support::skip;
use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The words of `struct block`, by place.
#[derive(Clone, Copy)]
enum Word {
    Armed,
    Calls,
    Fired,
    Violations,
    Clock,
    Released,
    Total,
}

const WORDS: usize = 64;

/// The hand on one daemon's system calls.
pub struct Shim {
    block: File,
    path: PathBuf,
}

impl Shim {
    /// A shim that does nothing yet, its words in `home`. `None`, and says so, where there is no C compiler.
    pub fn new(home: &Home) -> Option<Self> {
        library()?;
        let path = home.write("shim", "");
        let block = File::options().read(true).write(true).open(&path).unwrap();
        block.set_len((WORDS * size_of::<u64>()) as u64).unwrap();
        let shim = Self { block, path };
        shim.arm(true);
        Some(shim)
    }

    /// Has the daemon run over the shim, by `rule` (`ROLE:CALL:FAULT:K`, see there) if there is one.
    pub fn equip(&self, setup: Setup, rule: Option<&str>) -> Setup {
        let library = library().expect("there is one: `new` has looked");
        let setup = setup.environment("LD_PRELOAD", library.to_str().unwrap());
        let setup = setup.environment("ECHOSTORED_SHIM_BLOCK", self.path.to_str().unwrap());
        match rule {
            Some(rule) => setup.environment("ECHOSTORED_SHIM", rule),
            None => setup,
        }
    }

    /// Whether the rule counts from now on.
    pub fn arm(&self, armed: bool) {
        self.set(Word::Armed, u64::from(armed));
    }

    /// Calls that hang go on, and none hangs any more.
    pub fn release(&self) {
        self.set(Word::Released, 1);
    }

    /// Sets the daemon's clock this many seconds ahead of the real one.
    pub fn set_clock(&self, ahead: i64) {
        self.set(Word::Clock, ahead.cast_unsigned());
    }

    /// Calls that the rule is about, so far.
    pub fn calls(&self) -> u64 {
        self.get(Word::Calls)
    }

    /// How often the fault has happened.
    pub fn fired(&self) -> u64 {
        self.get(Word::Fired)
    }

    /// Syncs of files, and writes to files, whose sync had failed.
    pub fn violations(&self) -> u64 {
        self.get(Word::Violations)
    }

    /// Calls of any kind by any process.
    pub fn total(&self) -> u64 {
        self.get(Word::Total)
    }

    fn get(&self, word: Word) -> u64 {
        let mut bytes = [0; 8];
        self.block.read_exact_at(&mut bytes, 8 * word as u64).unwrap();
        u64::from_ne_bytes(bytes)
    }

    fn set(&self, word: Word, value: u64) {
        self.block.write_all_at(&value.to_ne_bytes(), 8 * word as u64).unwrap();
    }
}

/// The compiled shim, at a path that the daemon's user can read.
fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<(PathBuf, TempDir)>> = OnceLock::new();
    let made = LIBRARY.get_or_init(|| {
        let place = tempfile::Builder::new().prefix("echostored-shim-").tempdir().unwrap();
        std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let library = place.path().join("shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shim/shim.c");
        let compile = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O2", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .output();
        match compile {
            Err(error) => {
                skip(&format!("no C compiler (cc) for the shim: {error}"));
                None
            }
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                home::give_away(&library);
                Some((library, place))
            }
        }
    });
    if made.is_none() {
        skip("no C compiler for the shim");
    }
    made.as_ref().map(|(library, _)| library.as_path())
}
