//! The catalogue of messages: whole, in use, and the same in the code, in the documents and in the journal's catalogue.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use echostored::config::Level;
use echostored::log::catalogue::{CHAPTERS, Event, Role};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::home::Home;
use support::skip;

const PAGE: &str = "docs/messages.md";
const JOURNAL: &str = "packaging/journal/echostored.catalog";
/// What follows this in the page is not written by hand.
const MARK: &str = "cargo test --test messages`. -->\n";

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn events() -> impl Iterator<Item = &'static Event> {
    CHAPTERS.iter().flat_map(|(_, events)| *events)
}

fn constant(event: &Event) -> String {
    event.name.to_uppercase().replace('-', "_")
}

fn level(event: &Event) -> &'static str {
    match event.level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Notice => "notice",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

fn roles(event: &Event) -> String {
    event.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
}

fn page() -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut page = String::new();
    for (title, events) in CHAPTERS {
        write!(page, "\n## {title}\n\n| event | level | role | a line | means | do | MESSAGE_ID |\n|---|---|---|---|---|---|---|\n")
            .unwrap();
        for event in events {
            writeln!(
                page,
                "| `{}` | {} | {} | `{}` | {} | {} | `{:032x}` |",
                event.name,
                level(event),
                roles(event),
                cell(event.example),
                cell(event.means),
                cell(event.remedy),
                event.id
            )
            .unwrap();
        }
    }
    page
}

/// <https://systemd.io/CATALOG>.
fn journal() -> String {
    let mut catalog = "# What the lines of echostored mean, and what to do, for `journalctl -x`.\n\
        # Written from src/log/catalogue by `UPDATE_GOLDEN=1 cargo test --test messages`.\n"
        .to_owned();
    for event in events() {
        write!(
            catalog,
            "\n-- {:032x}\nSubject: echostored: {}\nDefined-By: echostored\nSupport: man:echostored(8)\n\n{}\n\nWhat to do: {}\n",
            event.id, event.name, event.means, event.remedy
        )
        .unwrap();
    }
    catalog
}

fn in_step(name: &str, kept: &str, written: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(place(name), format!("{kept}{written}")).unwrap();
    }
    let is = fs::read_to_string(place(name)).unwrap_or_default();
    let rest = is.strip_prefix(kept).unwrap();
    for (line, (is, should)) in rest.lines().zip(written.lines()).enumerate() {
        assert_eq!(is, should, "{name}, line {} of what is written by a program", line + 1);
    }
    assert!(rest == written, "{name} is not in step: UPDATE_GOLDEN=1 cargo test --test messages");
}

#[test]
fn the_page_is_the_catalogue() {
    let is = fs::read_to_string(place(PAGE)).unwrap();
    let head = is.find(MARK).unwrap() + MARK.len();
    in_step(PAGE, &is[..head], &page());
}

#[test]
fn the_journals_catalogue_is_the_catalogue() {
    in_step(JOURNAL, "", &journal());
}

#[test]
fn the_journal_reads_its_catalogue() {
    let home = Home::new();
    let directory = home.path().join("usr/lib/systemd/catalog");
    fs::create_dir_all(&directory).unwrap();
    fs::create_dir_all(home.path().join("var/lib/systemd/catalog")).unwrap();
    fs::write(directory.join("echostored.catalog"), journal()).unwrap();
    let journalctl =
        |what: &str| Command::new("journalctl").arg(format!("--root={}", home.path().display())).arg(what).output();
    let Ok(made) = journalctl("--update-catalog") else { return skip("there is no journalctl") };
    assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
    let listed = String::from_utf8(journalctl("--list-catalog").unwrap().stdout).unwrap();
    for event in events() {
        let line = format!("{:032x} echostored: echostored: {}", event.id, event.name);
        assert!(listed.lines().any(|listed| listed == line), "{line} is not in\n{listed}");
    }
    assert_eq!(listed.lines().count(), events().count());
}

#[test]
fn each_event_has_a_name_and_an_id_of_its_own() {
    let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
    let kebab = Regex::new("^[a-z]+(-[a-z]+)*$").unwrap();
    for event in events() {
        assert!(kebab.is_match(event.name) && names.insert(event.name), "{}", event.name);
        assert!(ids.insert(event.id), "{}: another one has its id", event.name);
        // The version and the variant of a random UUID (RFC 9562): nobody has typed one in.
        assert_eq!((event.id >> 76 & 0xf, event.id >> 62 & 0x3), (4, 2), "{}: its id is not a random one", event.name);
        assert!(!event.roles.is_empty() && event.level != Level::Debug, "{}", event.name);
        for text in [event.example, event.means, event.remedy] {
            assert!(!text.is_empty() && !text.contains('\n'), "{}: {text:?}", event.name);
        }
        for sentence in [event.means, event.remedy] {
            assert!(sentence.ends_with('.'), "{}: {sentence}", event.name);
        }
    }
}

/// All sources but the catalogue and what only tests.
fn sources(directory: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("log/catalogue") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(place("src")).unwrap().display().to_string();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            found.insert(name, code);
        }
    }
}

fn all_sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    sources(&place("src"), &mut found);
    found
}

/// Who runs this code; `None`: several.
fn runs(file: &str) -> Option<Role> {
    match file.split('/').next().unwrap() {
        "supervisor" | "tls" => Some(Role::Supervisor),
        "worker" => Some(Role::Worker),
        "writer" => Some(Role::Writer),
        "archiver" if file == "archiver/runner.rs" => Some(Role::HookRunner),
        "archiver" => Some(Role::Archiver),
        _ => None,
    }
}

/// The string literals that follow a name in a source, each the nearest one.
fn following(code: &str, name: &str) -> Vec<String> {
    let literal = Regex::new(r#"(?s)"((?:[^"\\]|\\.)*)""#).unwrap();
    let word = Regex::new(&format!(r"\b{name}\b")).unwrap();
    let literals = word.find_iter(code).filter_map(|found| literal.captures(&code[found.end()..]));
    literals.map(|found| found[1].replace("\\\"", "\"").replace("\\\\", "\\")).collect()
}

/// Whether a line can be made from this format string; `…` in it stands for anything.
fn fits(example: &str, format: &str) -> bool {
    let holes = Regex::new(r"\{[^}]*\}").unwrap();
    let pattern: Vec<String> = holes.split(format).map(regex::escape).collect();
    let Some(begin) = example.split('…').next().filter(|begin| *begin != example) else {
        return Regex::new(&format!("(?s)^{}$", pattern.join(".*"))).unwrap().is_match(example);
    };
    // What stands before the first `…` begins such a line.
    let mut whole = String::new();
    pattern.iter().enumerate().any(|(index, part)| {
        whole.push_str(if index > 0 { ".*" } else { "" });
        let plain = holes.split(format).nth(index).unwrap();
        (0..=plain.len())
            .filter(|end| plain.is_char_boundary(*end))
            .any(|end| Regex::new(&format!("(?s)^{whole}{}$", regex::escape(&plain[..end]))).unwrap().is_match(begin))
            || {
                whole.push_str(part);
                false
            }
    })
}

#[test]
fn each_event_is_said_by_its_roles_as_its_example_shows() {
    let sources = all_sources();
    for event in events() {
        let name = constant(event);
        let word = Regex::new(&format!(r"\b{name}\b")).unwrap();
        let users: Vec<_> = sources.iter().filter(|(_, code)| word.is_match(code)).collect();
        assert!(!users.is_empty(), "nobody says {name}");
        for (file, _) in &users {
            assert!(runs(file).is_none_or(|role| event.roles.contains(&role)), "{file} says {name}: not its role");
        }
        for role in event.roles {
            let said = users.iter().any(|(file, _)| runs(file).is_none_or(|by| by == *role));
            assert!(said, "no {} says {name}", role.name());
        }
        let formats: Vec<String> = users.iter().flat_map(|(_, code)| following(code, &name)).collect();
        assert!(
            formats.iter().any(|format| fits(event.example, format)),
            "{name}: {:?} is none of {formats:#?}",
            event.example
        );
    }
}

#[test]
fn only_lines_for_developers_are_of_no_event() {
    for (file, code) in all_sources().iter().filter(|(file, _)| *file != "log/mod.rs") {
        for line in code.lines().filter(|line| line.contains("None, &[],")) {
            assert!(line.contains("\"breakout {"), "{file}: {line}");
        }
    }
}

#[test]
fn an_example_that_does_not_fit_is_found() {
    assert!(fits("a 12 b 13 c", "a {} b {x:?} c") && fits("a 12 b…", "a {} b {x:?} c") && fits("a 1…", "a {} b"));
    assert!(!fits("a 12 b 13", "a {} b {x:?} c") && !fits("b 12…", "a {} b") && !fits("a b 12…", "a c {}"));
}
