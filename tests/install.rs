//! `packaging/install`, into a directory instead of the system, and what the packages are made from. The real installing is
//! tested under a real systemd, in `tests/system`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::home::user;
use tempfile::TempDir;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The script, with `DESTDIR` there, called from another directory.
fn install(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("bash");
    command.arg(source("packaging/install")).args(arguments).env("DESTDIR", root).current_dir("/");
    command.output().unwrap()
}

fn must(said: &Output) -> String {
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout.clone()).unwrap()
}

const BINARY: [&str; 2] = ["--binary", env!("CARGO_BIN_EXE_echostored")];

/// Every file below `root`, with its permission bits.
fn files(root: &Path) -> BTreeSet<(String, u32)> {
    let mut found = BTreeSet::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert((name, entry.metadata().unwrap().permissions().mode() & 0o7777));
            }
        }
    }
    found
}

/// What is expected of `prefix`, the examples aside.
fn expected(prefix: &str, units: &str, sysusers: &str, catalog: &str) -> BTreeSet<(String, u32)> {
    let mut names = vec![
        "etc/echostored/echostored.toml".to_owned(),
        format!("{sysusers}/echostored.conf"),
        format!("{catalog}/echostored.catalog"),
        format!("{prefix}/share/man/man8/echostored.8"),
        format!("{prefix}/share/man/man5/echostored.toml.5"),
        format!("{prefix}/share/bash-completion/completions/echostored"),
        format!("{prefix}/share/zsh/site-functions/_echostored"),
        format!("{prefix}/share/fish/vendor_completions.d/echostored.fish"),
    ];
    let all =
        ["echostored.service", "echostored-isolated.service", "echostored-isolated.socket", "echostored@.service"];
    names.extend(all.map(|unit| format!("{units}/{unit}")));
    let mut all: BTreeSet<(String, u32)> = names.into_iter().map(|name| (name, 0o644)).collect();
    all.insert((format!("{prefix}/bin/echostored"), 0o755));
    all
}

#[test]
fn installs_twice_keeps_the_configuration_and_removes_the_rest() {
    let root = TempDir::new().unwrap();
    must(&install(root.path(), &BINARY));
    let installed = files(root.path());
    let (examples, rest): (BTreeSet<_>, BTreeSet<_>) =
        installed.iter().cloned().partition(|(name, _)| name.starts_with("usr/local/share/doc/echostored/examples/"));
    assert_eq!(
        rest,
        expected(
            "usr/local",
            "usr/local/lib/systemd/system",
            "usr/local/lib/sysusers.d",
            "usr/local/lib/systemd/catalog"
        )
    );
    assert!(examples.len() >= 7, "{examples:?}");

    let unit =
        fs::read_to_string(root.path().join("usr/local/lib/systemd/system/echostored-isolated.service")).unwrap();
    assert!(unit.contains("\nExecStart=/usr/local/bin/echostored run\n") && !unit.contains("/usr/bin/echostored"));
    assert!(unit.contains("\nExecPaths=/usr/local/bin/echostored "), "a program elsewhere must be allowed to run");

    let config = root.path().join("etc/echostored/echostored.toml");
    fs::write(&config, "# mine\n").unwrap();
    fs::write(root.path().join("usr/local/bin/other"), "").unwrap();
    let said = must(&install(root.path(), &BINARY));
    assert!(said.contains("kept /etc/echostored/echostored.toml"), "{said}");
    let said = must(&install(root.path(), &["--uninstall"]));
    assert!(said.contains("/etc/echostored stays"), "{said}");
    let left: Vec<String> = files(root.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["etc/echostored/echostored.toml", "usr/local/bin/other"]);
    assert_eq!(fs::read_to_string(&config).unwrap(), "# mine\n");
    let said = must(&install(root.path(), &["--uninstall"]));
    assert!(said.contains("nothing is removed"), "{said}");
}

#[test]
fn a_prefix_where_systemd_does_not_look_has_its_units_in_etc() {
    let root = TempDir::new().unwrap();
    must(&install(root.path(), &[&BINARY[..], &["--prefix=/opt/echo"]].concat()));
    let found: BTreeSet<_> = files(root.path()).into_iter().filter(|(name, _)| !name.contains("/share/doc/")).collect();
    assert_eq!(found, expected("opt/echo", "etc/systemd/system", "etc/sysusers.d", "usr/local/lib/systemd/catalog"));
}

/// The script by standard input, so that no other user needs to reach it; as another user, if this one is root.
fn as_nobody(arguments: &[&str]) -> Output {
    let mut command = Command::new("bash");
    command.args(["-s", "--"]).args(arguments).env_remove("DESTDIR").current_dir("/");
    if let Some((uid, gid)) = user() {
        command.uid(uid).gid(gid);
    }
    command.stdin(Stdio::from(fs::File::open(source("packaging/install")).unwrap()));
    command.output().unwrap()
}

#[test]
fn who_may_not_is_told_so() {
    for arguments in [&[][..], &["--uninstall"]] {
        let said = as_nobody(arguments);
        assert_eq!(said.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&said.stderr).contains("must be root"), "{said:?}");
    }
    let help = as_nobody(&["--help"]);
    for option in ["--binary", "--prefix", "--no-start", "--uninstall", "DESTDIR"] {
        assert!(must(&help).contains(option), "{option}");
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let root = TempDir::new().unwrap();
    for (arguments, code) in [
        (&["--bogus"][..], 2),
        (&["--binary"], 1),
        (&["--binary", "/nonexistent"], 1),
        (&["--prefix", "relative"], 1),
        (&["--prefix", "/a|b"], 1),
        (&["--binary", "/bin/false"], 1),
    ] {
        let said = install(root.path(), arguments);
        assert_eq!(said.status.code(), Some(code), "{arguments:?}: {said:?}");
        assert!(!said.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(files(root.path()), BTreeSet::new());
}

#[test]
fn the_scripts_are_scripts() {
    let scripts = [("bash", "packaging/build"), ("bash", "packaging/install"), ("bash", ".ci/run")];
    let debian = ["postinst", "prerm", "postrm"].map(|name| ("sh", format!("packaging/debian/{name}")));
    let rpm = ["post", "preun", "postun"].map(|name| ("sh", format!("packaging/rpm/{name}")));
    let all = scripts.map(|(shell, name)| (shell, name.to_owned())).into_iter().chain(debian).chain(rpm);
    for (shell, name) in all {
        let said = Command::new(shell).arg("-n").arg(source(&name)).output().unwrap();
        assert!(said.status.success() && said.stderr.is_empty(), "{name}: {said:?}");
    }
    let root = TempDir::new().unwrap();
    must(&install(root.path(), &BINARY));
    let place = root.path().join("usr/local/share/bash-completion/completions/echostored");
    let said =
        Command::new("bash").args(["-c", "source \"$0\" && complete -p echostored"]).arg(place).output().unwrap();
    assert!(must(&said).contains("echostored"));
}

#[test]
fn the_packages_are_of_this_version() {
    let changelog = fs::read_to_string(source("packaging/debian/changelog")).unwrap();
    let first = changelog.lines().next().unwrap();
    assert!(first.starts_with(&format!("echostored ({}-1) ", env!("CARGO_PKG_VERSION"))), "{first}");
}
