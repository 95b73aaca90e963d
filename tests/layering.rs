//! Holds the layers: reads the paths that the sources name, and fails on one that goes up or across.
//!
//! `main`, `lib`, `cli`, `roles` → the roles and `tools` → `ipc`, `store` → `protocol`, `config`, `log`, `sys`, `tls`, `exit`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "layering/paths.rs"]
mod paths;

use paths::{code, module, paths};
use std::fs;
use std::path::{Path, PathBuf};

const ROLES: [&str; 5] = ["supervisor", "worker", "writer", "archiver", "exporter"];
const TOP: [&str; 5] = ["main", "lib", "cli", "roles", "fuzzing"];
const MIDDLE: [&str; 2] = ["ipc", "store"];
const BOTTOM: [&str; 6] = ["protocol", "config", "log", "sys", "tls", "exit"];
const STATIONS: [&str; 7] = ["socket", "frame", "record", "pipe", "file", "ack", "echo"];

/// How high a room stands; `None`: not in the plan.
fn height(room: &str) -> Option<u8> {
    [(&TOP as &[&str], 3), (&ROLES, 2), (&["tools"], 2), (&MIDDLE, 1), (&BOTTOM, 0)]
        .iter()
        .find(|(rooms, _)| rooms.contains(&room))
        .map(|(_, height)| *height)
}

/// What is wrong with one file, `path` being relative to `src`.
fn violations(path: &str, source: &str) -> Vec<String> {
    let (module, code) = (module(Path::new(path)), code(source));
    let room = module.first().map_or("lib", String::as_str);
    let Some(own) = height(room) else { return vec![format!("{path}: {room} is no room of the plan")] };
    let mut wrong = Vec::new();
    for full in paths(&module, &code) {
        let (first, named) = (full.first().map_or("", String::as_str), full.join("::"));
        if let Some(complaint) = forbidden(room, own, &full, first) {
            wrong.push(format!("{path}: {named}: {complaint}"));
        }
    }
    let has_unsafe =
        code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe" || word == "unsafe_code");
    if has_unsafe && room != "sys" {
        wrong.push(format!("{path}: unsafe outside of sys"));
    }
    wrong
}

/// What a room of the lowest layer may know beside itself: the configuration's types are plain data, `protocol` is pure.
fn beside(room: &str) -> &'static [&'static str] {
    match room {
        "protocol" => &["config"],
        "config" => &["exit", "sys"],
        "log" => &["config", "exit", "sys"],
        "sys" => &["exit"],
        "tls" => &["config", "exit"],
        _ => &[],
    }
}

/// Why this path must not stand in this room.
fn forbidden(room: &str, own: u8, full: &[String], first: &str) -> Option<String> {
    let second = full.get(1).map_or("", String::as_str);
    match (room, first) {
        ("worker", "std") if second == "fs" => return Some("a worker has no files".to_owned()),
        ("exporter", "std") if ["fs", "process"].contains(&second) => {
            return Some("the exporter has no files".to_owned());
        }
        ("exporter", "store" | "protocol") if second != "clock" => {
            return Some("the exporter has no store and cannot read a message".to_owned());
        }
        ("writer", "std") if second == "net" => return Some("the writer has no network".to_owned()),
        ("protocol", "std") if ["fs", "net", "io", "os", "process", "thread", "time", "env"].contains(&second) => {
            return Some("protocol is pure".to_owned());
        }
        ("supervisor", "protocol") => return Some("the supervisor cannot read a message".to_owned()),
        // A record and the time in it.
        ("worker", "store") if !["record", "stamp", "clock"].contains(&second) => {
            return Some("a worker only formats records".to_owned());
        }
        _ => {}
    }
    let other = height(first)?;
    if first == room {
        return None;
    }
    let across = match own {
        0 => !beside(room).contains(&first),
        // The commit record names a segment, a seat the store's era; the store in its turn knows nothing of ipc.
        1 => !(room == "ipc" && ["segment", "directory"].contains(&second)),
        2 => true,
        _ => false,
    };
    if other > own || (other == own && across) { Some(format!("{room} must not know {first}")) } else { None }
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.file_stem().unwrap() != "tests" {
            found.push(path);
        }
    }
}

/// All files below `src`, but those that are only tests.
fn all_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    found.sort();
    let relative = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let all = found.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap()));
    all.filter(|(path, _)| !path.split('/').any(|part| part == "tests")).collect()
}

/// The stations that the heads of these files name, in their order; an error names the head that is wrong.
fn stations(sources: &[(String, String)]) -> Result<Vec<(usize, String)>, String> {
    let mut found = Vec::new();
    for (path, source) in sources {
        for line in source.lines().filter(|line| line.contains("Station ") && line.starts_with("//!")) {
            let Some((number, rest)) = line.strip_prefix("//! Station ").and_then(|rest| rest.split_once("/7, "))
            else {
                return Err(format!("{path}: {line:?} is no head of a station"));
            };
            if source.lines().next() != Some(line) {
                return Err(format!("{path}: a station's head is its file's first line"));
            }
            let name = rest.split(':').next().unwrap_or("").to_owned();
            found.push((number.parse().map_err(|_| format!("{path}: station {number:?}"))?, name));
        }
    }
    found.sort();
    Ok(found)
}

fn expected_stations() -> Vec<(usize, String)> {
    STATIONS.iter().enumerate().map(|(index, name)| (index + 1, (*name).to_owned())).collect()
}

#[test]
fn the_layers_hold() {
    let wrong: Vec<String> = all_sources().iter().flat_map(|(path, source)| violations(path, source)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_seven_stations_are_there_once_each() {
    assert_eq!(stations(&all_sources()), Ok(expected_stations()));
}

#[test]
fn every_module_has_a_head() {
    for (path, source) in all_sources() {
        assert!(source.starts_with("//!"), "{path} does not say what it promises");
    }
}

#[test]
fn the_role_folders_are_there() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for role in ROLES {
        assert!(src.join(role).is_dir(), "src/{role} shows the role");
    }
}

#[test]
fn violations_are_found() {
    let bad = [
        ("worker/accept.rs", "use crate::writer::commit::Commit;"),
        ("worker/accept.rs", "use crate::{ipc, supervisor::children};"),
        ("worker/mod.rs", "use super::writer::x;"),
        ("worker/a/b.rs", "fn f() { super::super::super::writer::g() }"),
        ("worker/echo.rs", "use crate::store::{record, names::Name};"),
        ("ipc/link.rs", "use crate::store::names;"),
        ("worker/echo.rs", "use std::{io, fs::File};"),
        ("exporter/page.rs", "use std::fs;"),
        ("exporter/page.rs", "use crate::store::names;"),
        ("exporter/mod.rs", "use crate::supervisor;"),
        ("writer/inbox.rs", "let x = std::net::TcpStream::connect(a);"),
        ("supervisor/mod.rs", "use crate::protocol::frame;"),
        ("supervisor/mod.rs", "use crate::{config, protocol};"),
        ("store/live.rs", "use crate::worker;"),
        ("store/live.rs", "use crate::roles;"),
        ("store/live.rs", "use crate::ipc::wiring;"),
        ("protocol/frame.rs", "use crate::sys::pipe;\nuse crate::store::names;"),
        ("protocol/frame.rs", "use std::fs;"),
        ("config/mod.rs", "use crate::{protocol::frame as f, exit};"),
        ("tools/cat.rs", "use echostored::writer;"),
        ("ipc/link.rs", "unsafe { f() }"),
        ("lib.rs", "#![allow(unsafe_code)]"),
        ("helpers/mod.rs", ""),
    ];
    for (path, source) in bad {
        assert!(!violations(path, source).is_empty(), "{path}: {source}");
    }
}

#[test]
fn good_sources_pass() {
    let good = [
        (
            "worker/accept.rs",
            "use crate::ipc::{link::{WorkerEnds, self}, seat};\nuse crate::store::record::format;\nuse super::echo;",
        ),
        (
            "worker/accept.rs",
            "// use crate::writer;\n/* unsafe */ let s = \"crate::writer \\\" unsafe\"; let c = '\"'; use crate::sys::poll;",
        ),
        ("worker/accept.rs", "fn f<'a>(x: &'a str) {}\n#[cfg(test)]\nmod tests { use crate::writer; }"),
        (
            "writer/inbox.rs",
            "use crate::store::live;\nuse std::fs::File;\nuse crate::protocol::{ack, frame::{Header}};",
        ),
        ("sys/pipe.rs", "unsafe { libc::pipe(p) }"),
        ("roles.rs", "use crate::{supervisor, worker, writer};"),
        ("main.rs", "use echostored::cli;"),
        ("store/names.rs", "use crate::config::Format;\nuse std::fs;"),
    ];
    for (path, source) in good {
        assert_eq!(violations(path, source), Vec::<String>::new(), "{path}: {source}");
    }
}

#[test]
fn wrong_stations_are_found() {
    let head = |number: usize, name: &str| {
        (format!("{name}.rs"), format!("//! Station {number}/7, {name}: does it.\nfn f() {{}}\n"))
    };
    let good: Vec<_> = STATIONS.iter().enumerate().map(|(index, name)| head(index + 1, name)).collect();
    assert_eq!(stations(&good), Ok(expected_stations()));
    assert_ne!(stations(&good[1..]), Ok(expected_stations()), "one is missing");
    assert_ne!(stations(&[&good[..], &[head(3, "record")]].concat()), Ok(expected_stations()), "one is there twice");
    assert!(
        stations(&[("x.rs".to_owned(), "//! Other.\n//! Station 1/7, socket: x\n".to_owned())]).is_err(),
        "not the first line"
    );
}
