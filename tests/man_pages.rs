//! The manual pages: complete, in step with the code, and without a warning of the formatter.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use echostored::config::KEYS;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::skip;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(source(name)).unwrap()
}

/// What the program prints.
fn printed(arguments: &[&str]) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_echostored")).args(arguments).output().unwrap();
    assert!(said.status.success(), "{arguments:?}: {said:?}");
    String::from_utf8(said.stdout).unwrap()
}

/// Roff as it is read: `\-` is a hyphen, `\e` a backslash, and fonts are nothing.
fn plain(roff: &str) -> String {
    [("\\-", "-"), ("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\&", ""), ("\\*(Aq", "'"), ("\\e", "\\")]
        .iter()
        .fold(roff.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// One key as the page tells it, or as the code does.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    key: String,
    default: String,
    allowed: String,
    restart: Option<String>,
}

/// The keys of the section KEYS, in its order: `.SS [table]`, `\fBname\fR = default`, `Allowed: …`, `Needs a restart: …`.
fn told(page: &str) -> Vec<Told> {
    let keys = page.split("\n.SH ").find(|section| section.starts_with("KEYS\n")).expect("a section KEYS");
    let (mut table, mut all) = (String::new(), Vec::<Told>::new());
    for line in keys.lines() {
        let text = plain(line);
        if let Some(name) = text.strip_prefix(".SS [").and_then(|rest| rest.strip_suffix(']')) {
            table = name.to_owned();
        } else if let Some((name, default)) = text.split_once(" = ").filter(|_| line.starts_with("\\fB")) {
            let key = format!("{table}.{name}");
            all.push(Told { key, default: default.to_owned(), allowed: String::new(), restart: None });
        } else if let Some(allowed) = text.strip_prefix("Allowed: ").and_then(|rest| rest.strip_suffix('.')) {
            all.last_mut().expect("a key").allowed = allowed.to_owned();
        } else if let Some(why) = text.strip_prefix("Needs a restart: ").and_then(|rest| rest.strip_suffix('.')) {
            all.last_mut().expect("a key").restart = Some(why.to_owned());
        }
    }
    all
}

#[test]
fn the_page_of_the_configuration_has_every_key_as_the_code_has_it() {
    let expected = KEYS.iter().map(|key| Told {
        key: key.dotted(),
        default: key.default.to_owned(),
        allowed: key.allowed.to_owned(),
        restart: key.restart.map(str::to_owned),
    });
    let (told, expected) = (told(&read("packaging/man/echostored.toml.5")), expected.collect::<Vec<_>>());
    for (told, expected) in told.iter().zip(&expected) {
        assert_eq!(told, expected);
    }
    assert_eq!(told.len(), expected.len());
}

/// The words of `text` that begin with `--`.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '-');
    words.filter(|word| word.len() > 2 && word.starts_with("--")).map(str::to_owned).collect()
}

#[test]
fn the_page_of_the_program_has_every_command_and_option() {
    let page = plain(&printed(&["man"]));
    let help = printed(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").expect("a list of commands");
    let commands = commands.split("\n\n").next().unwrap().lines();
    let names: Vec<&str> = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(names.contains(&"run") && names.len() >= 6, "{names:?}");
    for name in names {
        let section = page.split("\n.S").find(|section| section.starts_with(&format!("S {name}\n")));
        let section = section.unwrap_or_else(|| panic!("no section {name}"));
        let mut expected = options(&printed(&[name, "--help"]));
        expected.remove("--help");
        let told = options(section);
        assert!(expected.is_subset(&told), "{name}: {expected:?}, told: {told:?}");
    }
}

#[test]
fn the_page_of_the_program_has_every_exit_code() {
    let source = read("src/exit.rs");
    let codes =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(" = ")?.1.strip_suffix(';'));
    let page = read("packaging/man/echostored.8.in");
    let section = page.split(".SH ").find(|section| section.starts_with("\"EXIT STATUS\"")).unwrap();
    let told = section.lines().filter_map(|line| line.strip_prefix("\\fB")?.strip_suffix("\\fR"));
    assert_eq!(told.collect::<Vec<_>>(), codes.collect::<Vec<_>>());
}

#[test]
fn the_formatter_warns_of_nothing() {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("echostored.8");
    fs::write(&program, printed(&["man"])).unwrap();
    let broken = place.path().join("broken.8");
    fs::write(&broken, ".TH X 8\n.SH NAME\nx \\- y\n.nosuchmacro\n").unwrap();
    let warnings = |page: &Path| {
        let mut command = Command::new("man");
        command.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(page).env("LC_ALL", "C.UTF-8");
        command.output().map(|said| (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned()))
    };
    for page in [program, source("packaging/man/echostored.toml.5")] {
        match warnings(&page) {
            Ok((true, said)) => assert_eq!(said, "", "{}", page.display()),
            Ok((false, said)) => return skip(&format!("man: {said}; apt-get install man-db groff")),
            Err(error) => return skip(&format!("man: {error}; apt-get install man-db groff")),
        }
    }
    assert!(!warnings(&broken).unwrap().1.is_empty(), "an unknown macro goes unnoticed: this tests nothing");
}
