//! A directory of its own for each daemon, and the unprivileged user that owns it.
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// `nobody`: root hides limits (pipe sizes, permissions), so a daemon under test never runs as root.
const UNPRIVILEGED: u32 = 65534;

/// The user and group that the daemon runs as, if the tests run as root.
pub fn user() -> Option<(u32, u32)> {
    nix::unistd::geteuid().is_root().then_some((UNPRIVILEGED, UNPRIVILEGED))
}

/// A fresh directory owned by [`user`]; kept, with its path printed, when the test fails.
pub struct Home {
    directory: Option<TempDir>,
}

impl Home {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("echostored-").tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        give_away(directory.path());
        Self { directory: Some(directory) }
    }

    pub fn path(&self) -> &Path {
        self.directory.as_ref().expect("taken only by drop").path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// A directory in here that the daemon may write.
    pub fn make_dir(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir(&path).unwrap();
        give_away(&path);
        path
    }

    /// A file in here that the daemon may read.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, content).unwrap();
        give_away(&path);
        path
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = self.directory.take().expect("dropped once").keep();
            eprintln!("kept: {}", kept.display());
            eprintln!("replay: {}", replay());
        }
    }
}

/// Makes the daemon's user the owner.
pub fn give_away(path: &Path) {
    if let Some((uid, gid)) = user() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

/// The command that runs the failed test again, with the same seed.
fn replay() -> String {
    let thread = std::thread::current();
    let (seed, test) = (super::seed::seed(), thread.name().unwrap_or("").to_owned());
    format!("ECHOSTORED_TEST_SEED={seed} cargo test --test {} {test}", env!("CARGO_CRATE_NAME"))
}

/// The binary under test, at a path that the unprivileged user can reach.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<(PathBuf, Option<TempDir>)> = OnceLock::new();
    let (path, _) = BINARY.get_or_init(|| {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_echostored"));
        if user().is_none()
            || built.ancestors().skip(1).all(|dir| dir.metadata().is_ok_and(|meta| meta.mode() & 0o001 != 0))
        {
            return (built, None);
        }
        let place = tempfile::Builder::new().prefix("echostored-binary-").tempdir().unwrap();
        std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let copy = place.path().join("echostored");
        // A link costs nothing; this directory outlives the test binary, since statics are never dropped.
        std::fs::hard_link(&built, &copy).or_else(|_| std::fs::copy(&built, &copy).map(drop)).unwrap();
        (copy, Some(place))
    });
    path
}
