//! What a machine is made of: a bootstrapped Debian, kept between runs, and the package under test.
use crate::support::remove_all;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

/// Beside the smallest Debian: what boots, and what the tests and the package need.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,iproute2,procps,netcat-openbsd";

/// Cargo's target directory.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("below the target directory")
}

/// Where roots are kept and machines live.
pub fn place() -> PathBuf {
    let place = target().join("system");
    fs::create_dir_all(&place).unwrap();
    place
}

/// Why no machine can be booted here, and what to do about it.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("booting a container needs root".to_owned());
    }
    for (program, package) in [("systemd-nspawn", "systemd-container"), ("nsenter", "util-linux")] {
        if !installed(program) {
            return Some(format!("no {program}: apt-get install {package}"));
        }
    }
    None
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|dir| dir.join(program).is_file())
}

/// The package under test: `ECHOSTORED_DEB`, else the newest that was built. One that is older than what it is made of would test the
/// wrong thing.
pub fn package() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("ECHOSTORED_DEB") {
        let path = fs::canonicalize(&named).map_err(|error| format!("ECHOSTORED_DEB, {}: {error}", named.display()))?;
        return Ok(path);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Wherever cargo's target directory is.
    let place = source.join("target/debian");
    let entries = fs::read_dir(&place).into_iter().flatten().map(|entry| entry.unwrap().path());
    let newest = entries.filter(|path| path.extension().is_some_and(|it| it == "deb")).max_by_key(|path| changed(path));
    let newest = newest.ok_or_else(|| format!("no package in {}: run packaging/build", place.display()))?;
    let parts = ["src", "packaging", "config", "Cargo.lock"].map(|part| newest_below(&source.join(part)));
    let last = parts.into_iter().flatten().max().expect("there are sources");
    let stale = last.0 > changed(&newest);
    assert!(!stale, "{} is older than {}: run packaging/build", newest.display(), last.1.display());
    Ok(newest)
}

fn changed(path: &Path) -> SystemTime {
    path.metadata().unwrap().modified().unwrap()
}

/// The file that was changed last.
fn newest_below(path: &Path) -> Option<(SystemTime, PathBuf)> {
    if !path.is_dir() {
        return Some((changed(path), path.to_owned()));
    }
    fs::read_dir(path).unwrap().filter_map(|entry| newest_below(&entry.unwrap().path())).max()
}

/// The bootstrapped root, made if there is none yet; an error says why that cannot be.
pub fn root() -> Result<PathBuf, String> {
    let suite = suite()?;
    let root = place().join(format!("base-{suite}"));
    let made_of = root.join("etc/echostored-base");
    if fs::read_to_string(&made_of).is_ok_and(|packages| packages == PACKAGES) {
        return Ok(root);
    }
    if !installed("debootstrap") {
        return Err("no debootstrap: apt-get install debootstrap".to_owned());
    }
    let begun = place().join("base-begun");
    remove_all(&begun);
    eprintln!("bootstrapping Debian {suite}: some minutes, once");
    bootstrap(&suite, &begun)?;
    fs::write(begun.join("etc/echostored-base"), PACKAGES).unwrap();
    remove_all(&root);
    fs::rename(&begun, &root).unwrap();
    Ok(root)
}

/// The release that this machine runs: the package's binary fits its libc.
fn suite() -> Result<String, String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        release.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.trim_matches('"').to_owned()))
    };
    match (field("ID").as_deref(), field("VERSION_CODENAME")) {
        (Some("debian"), Some(codename)) => Ok(codename),
        _ => Err("this machine runs no Debian, so its binary need not run on one".to_owned()),
    }
}

fn bootstrap(suite: &str, at: &Path) -> Result<(), String> {
    let include = format!("--include={PACKAGES}");
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", &include, suite]).arg(at).args(mirror(suite));
    for (variable, option) in [("http_proxy", "Acquire::http::Proxy"), ("https_proxy", "Acquire::https::Proxy")] {
        let proxy = Command::new("apt-config").args(["shell", "P", option]).output().map(|output| text(&output));
        if let Some(proxy) =
            proxy.ok().and_then(|line| Some(line.trim().strip_prefix("P='")?.strip_suffix('\'')?.to_owned()))
        {
            command.env(variable, proxy);
        }
    }
    let output = command.output().map_err(|error| format!("debootstrap: {error}"))?;
    let said = text(&output);
    let end: Vec<&str> = said.lines().rev().take(3).collect();
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("debootstrap {suite} failed: {}", end.join(" < "))),
    }
}

/// Where this machine's own apt has this release from; debootstrap's usual one if that is not to be learned.
fn mirror(suite: &str) -> Option<String> {
    let arguments = ["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Identifier: Packages"];
    let listed = text(&Command::new("apt-get").args(arguments).output().ok()?);
    listed.lines().find_map(|line| Some(line.strip_suffix(suite)?.strip_suffix(' ')?.to_owned()))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A copy of the bootstrapped root, for one machine.
pub fn copy(root: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).args([root, to]).status().unwrap();
    assert!(copied.success(), "cannot copy {} to {}", root.display(), to.display());
}

/// Waits until no other test process has a machine here, and holds the place until dropped.
pub fn hold() -> Flock<File> {
    let lock = File::create(place().join("lock")).unwrap();
    Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap()
}

/// Removes what machines left whose test process was killed. The place must be held.
pub fn sweep() {
    for entry in fs::read_dir(place()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("machine-") {
            remove_all(&entry.path());
        }
    }
}
