//! The units of `packaging/systemd`: what systemd-analyze says of them, and what must be the same in all of them.
//!
//! Without systemd-analyze its tests say SKIPPED. Under a real systemd they run in `tests/system`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use echostored::config::Config;
use echostored::exit;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::skip;
use tempfile::TempDir;

const UNITS: [&str; 4] =
    ["echostored.service", "echostored-isolated.service", "echostored-isolated.socket", "echostored@.service"];

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd").join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The units in a directory of their own, with a program that is there; the template also as an instance.
fn units() -> TempDir {
    let place = TempDir::new().unwrap();
    for name in UNITS {
        let text = read(&source(name)).replace("/usr/bin/echostored", env!("CARGO_BIN_EXE_echostored"));
        fs::write(place.path().join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("echostored@.service", place.path().join("echostored@one.service")).unwrap();
    place
}

/// What `systemd-analyze` prints, on both outputs; `None`, and SKIPPED, where there is none.
fn analyze(arguments: &[&str], place: &TempDir, names: &[&str]) -> Option<String> {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).args(names.iter().map(|name| place.path().join(name))).env("SYSTEMD_COLORS", "0");
    match command.output() {
        Ok(said) => Some(String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()),
        Err(error) => {
            skip(&format!("systemd-analyze: {error}; apt-get install systemd"));
            None
        }
    }
}

/// It tells of what it ignores and returns 0: what counts is that it prints nothing.
fn verify(place: &TempDir, names: &[&str]) -> Option<String> {
    analyze(&["verify", "--man=no"], place, names)
}

#[test]
fn nothing_is_wrong_with_a_unit() {
    let place = units();
    for name in UNITS.into_iter().chain(["echostored@one.service"]) {
        let Some(said) = verify(&place, &[name]) else { return };
        assert_eq!(said, "", "{name}");
    }
    let broken = place.path().join(UNITS[0]);
    fs::write(&broken, read(&broken).replace("KillMode=", "KilMode=")).unwrap();
    assert!(verify(&place, &[UNITS[0]]).unwrap().contains("KilMode"), "a wrong key goes unnoticed: this tests nothing");
}

/// The unit that an example says it is for.
fn unit_of(example: &str) -> &str {
    let (_, rest) = example.split_once("# To /etc/systemd/system/").expect("says where it goes");
    rest.split_once(".d/").expect("a directory of drop-ins").0
}

/// The systemd that an example needs, if it says so.
fn needed(example: &str) -> Option<u32> {
    example.strip_prefix("# systemd ")?.split(' ').next()?.parse().ok()
}

#[test]
fn nothing_is_wrong_with_a_unit_and_an_example() {
    let Some(version) = analyze(&["--version"], &units(), &[]) else { return };
    let version: u32 = version.split([' ', '.', '\n']).nth(1).unwrap().parse().unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(source("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "conf") {
            continue;
        }
        let (place, example) = (units(), read(&path));
        let unit = unit_of(&example);
        let drop_ins = place.path().join(format!("{unit}.d"));
        fs::create_dir(&drop_ins).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        fs::copy(&path, drop_ins.join(name)).unwrap();
        let said = verify(&place, &[unit]).unwrap();
        if needed(&example).is_some_and(|least| version < least) {
            let told = !said.is_empty() && said.lines().all(|line| line.contains(name));
            assert!(told, "{name} is for a newer systemd, so it must be what is told of, and nothing else: {said}");
        } else {
            assert_eq!(said, "", "{name}");
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen} examples");
}

/// The number that `systemd-analyze security` ends with, in tenths.
fn exposure(place: &TempDir, name: &str) -> Option<u32> {
    let said = analyze(&["security", "--offline=true", "--no-pager"], place, &[name])?;
    let (_, rest) = said.rsplit_once("Overall exposure level for ").unwrap_or_else(|| panic!("{name}: {said}"));
    let number = rest.split_once(": ").unwrap().1.split(' ').next().unwrap();
    Some(number.replace('.', "").parse().unwrap_or_else(|_| panic!("{name}: {said}")))
}

#[test]
fn the_units_are_as_closed_as_they_are_said_to_be() {
    let place = units();
    for (name, most) in [(UNITS[0], 11), (UNITS[1], 2), (UNITS[3], 11)] {
        let Some(tenths) = exposure(&place, name) else { return };
        assert!(tenths <= most, "{name}: {}.{}", tenths / 10, tenths % 10);
    }
    let open = place.path().join(UNITS[1]);
    fs::write(&open, read(&open).replace("CapabilityBoundingSet=", "#")).unwrap();
    assert!(exposure(&place, UNITS[1]).unwrap() > 2, "an open unit goes unnoticed: this tests nothing");
}

/// The settings of a unit's section, without comments.
fn settings(unit: &str, section: &str) -> Vec<String> {
    let text = read(&source(unit));
    let (_, rest) = text.split_once(&format!("\n[{section}]\n")).unwrap_or_else(|| panic!("{unit}: no [{section}]"));
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// What `other` has that echostored.service has not, and the other way round.
fn differences(other: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let ours: BTreeSet<String> = settings(UNITS[0], "Service").into_iter().collect();
    let theirs: BTreeSet<String> = settings(other, "Service").into_iter().collect();
    (theirs.difference(&ours).cloned().collect(), ours.difference(&theirs).cloned().collect())
}

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn the_services_differ_only_where_they_must() {
    let (more, less) = differences("echostored-isolated.service");
    let closed = [
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "IPAddressDeny=any",
        "NoExecPaths=/",
        "ExecPaths=/usr/bin/echostored /usr/lib -/usr/lib64 -/usr/lib32",
    ];
    assert_eq!((more, less), (set(&closed), set(&["RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"])));

    let (more, less) = differences("echostored@.service");
    let own = [
        "ExecStart=/usr/bin/echostored run --config /etc/echostored/%i.toml",
        "ExecReload=/usr/bin/echostored reload --config /etc/echostored/%i.toml",
        "StateDirectory=echostored-%i",
        "RuntimeDirectory=echostored-%i",
    ];
    let shared = [
        "ExecStart=/usr/bin/echostored run",
        "ExecReload=/usr/bin/echostored reload",
        "StateDirectory=echostored",
        "RuntimeDirectory=echostored",
    ];
    assert_eq!((more, less), (set(&own), set(&shared)));
}

/// The value of `key`, which stands once.
fn value(unit: &str, section: &str, key: &str) -> String {
    let lines = settings(unit, section);
    let mut values = lines.iter().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("{unit}: no {key}=")).to_owned();
    assert_eq!(values.next(), None, "{unit}: {key}= twice");
    value
}

#[test]
fn the_two_services_exclude_each_other() {
    let others = value(UNITS[0], "Unit", "Conflicts");
    assert_eq!(others.split(' ').collect::<Vec<_>>(), &UNITS[1..3]);
    for unit in &UNITS[1..3] {
        assert_eq!(value(unit, "Unit", "Conflicts"), UNITS[0]);
    }
}

#[test]
fn what_no_restart_mends_is_not_restarted() {
    let expected = format!("{} {}", exit::USAGE, exit::CONFIG);
    assert_eq!(value(UNITS[0], "Service", "RestartPreventExitStatus"), expected);
}

#[test]
fn the_sockets_are_those_of_the_default_configuration() {
    let lines = settings(UNITS[2], "Socket");
    let listen: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("ListenStream=")).collect();
    let expected: Vec<String> = Config::default().server.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, expected);
}

#[test]
fn the_example_of_an_instance_fits_its_unit() {
    let path = source("examples/instance.toml");
    let checked =
        Command::new(env!("CARGO_BIN_EXE_echostored")).args(["check", "--config"]).arg(&path).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let example: toml::Table = read(&path).parse().unwrap();
    let directory = |key| value("echostored@.service", "Service", key).replace("%i", "lab");
    let store = example["store"]["directory"].as_str().unwrap();
    assert_eq!(store, format!("/var/lib/{}", directory("StateDirectory")));
    let socket = example["control"]["socket"].as_str().unwrap();
    assert_eq!(socket, format!("/run/{}/control.sock", directory("RuntimeDirectory")));
    let defaults: Vec<String> = Config::default().server.listen.iter().map(ToString::to_string).collect();
    let listen = example["server"]["listen"].as_array().unwrap();
    assert!(listen.iter().all(|it| !defaults.contains(&it.as_str().unwrap().to_owned())), "both cannot run at once");
}
