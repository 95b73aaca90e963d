//! What the operator reads when a configuration is bad: exact texts, so that a change of one is a decision.
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use echostored::config::{self, ConfigError};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/config-errors.txt");

struct Case {
    title: String,
    input: String,
    message: String,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("--- ") {
            cases.push(Case { title: title.to_owned(), input: String::new(), message: String::new() });
        } else if let Some(case) = cases.last_mut() {
            match line.strip_prefix(">>> ") {
                Some(message) => case.message = message.to_owned(),
                None => case.input.push_str(&format!("{line}\n")),
            }
        }
    }
    cases
}

fn message(input: &str) -> String {
    match config::parse(input, Path::new("c.toml"), Path::new("/work")) {
        Ok(_) => "accepted".to_owned(),
        Err(e) => e.to_string(),
    }
}

/// `UPDATE_GOLDEN=1 cargo test --test config_errors` writes the messages anew; read the difference before you keep it.
#[test]
fn every_bad_configuration_has_its_message() {
    let text = fs::read_to_string(GOLDEN).unwrap();
    let cases = cases(&text);
    assert!(cases.len() >= 80, "{} cases", cases.len());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let head = &text[..text.find("\n--- ").unwrap() + 1];
        let body = cases.iter().map(|c| format!("--- {}\n{}>>> {}\n", c.title, c.input, message(&c.input)));
        fs::write(GOLDEN, format!("{head}{}", body.collect::<String>())).unwrap();
        return;
    }
    for case in cases {
        assert_eq!(message(&case.input), case.message, "{}", case.title);
    }
}

#[test]
fn control_characters_of_the_file_never_reach_the_terminal() {
    for (input, expected) in [
        (
            "[log]\nlevel = \"a\\u001b[2J\"\n",
            "c.toml:2:9: log.level: invalid value \"a\\u001b[2J\": expected one of \"error\", \"warn\", \"notice\", \"info\", \"debug\"",
        ),
        (
            "[log]\n\"\\u001b[2J\" = 1\n",
            "c.toml:2:1: log.\"\\u{1b}[2J\": unknown key: [log] may hold level, format, access",
        ),
        (
            "[store]\ndirectory = \"a\\u0000b\"\n",
            "c.toml:2:13: store.directory: invalid value \"a\\u0000b\" (a path cannot hold NUL): expected the path of a directory, \
             such as \"/var/lib/echostored\"",
        ),
    ] {
        assert_eq!(message(input), expected);
    }
    for c in (0u8..32).chain([127]).map(char::from) {
        for input in [
            format!("[log]\nlevel = \"a{c}\"\n"),
            format!("[log]\nlevel = {c}\n"),
            format!("[{c}]\n"),
            format!("[log]\n\"{c}\" = 1\n"),
        ] {
            assert!(!message(&input).contains(char::is_control), "{input:?}: {:?}", message(&input));
        }
    }
}

fn load_error(path: &Path) -> ConfigError {
    config::load(path).expect_err("a bad file")
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let remedy = "give another with --config FILE";

    let missing = at("missing.toml");
    let expected = format!("cannot read configuration {}: No such file or directory; {remedy}", missing.display());
    assert_eq!(load_error(&missing).to_string(), expected);

    let expected = format!("cannot read configuration {}: is a directory; {remedy}", directory.path().display());
    assert_eq!(load_error(directory.path()).to_string(), expected);

    // Neither may this wait for somebody to write into the FIFO, nor read /dev/zero for ever.
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    for special in [at("fifo"), "/dev/zero".into()] {
        let expected = format!("cannot read configuration {}: not a regular file; {remedy}", special.display());
        assert_eq!(load_error(&special).to_string(), expected);
    }

    let large = at("large.toml");
    fs::write(&large, "#".repeat(1 << 20)).unwrap();
    assert!(config::load(&large).is_ok(), "1 MiB is allowed");
    fs::write(&large, "#".repeat((1 << 20) + 1)).unwrap();
    let expected = format!("cannot read configuration {}: larger than 1MiB; {remedy}", large.display());
    assert_eq!(load_error(&large).to_string(), expected);

    let latin = at("latin.toml");
    fs::write(&latin, b"[store]\nprefix = \"m\xfcll\"\n").unwrap();
    let expected = format!("{}:2:12: not UTF-8: byte 0xfc; TOML is UTF-8 throughout", latin.display());
    assert_eq!(load_error(&latin).to_string(), expected);
}

#[test]
fn a_file_that_everyone_may_write_is_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    fs::write(&path, "").unwrap();
    for (mode, warns) in [(0o644, false), (0o664, false), (0o666, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = config::load(&path).unwrap().warnings;
        let shown = path.display();
        let expected = format!("{shown}: everyone may write to this configuration (mode 0666): chmod o-w {shown}");
        assert_eq!(warnings, if warns { vec![expected] } else { vec![] });
    }
}

#[test]
fn check_says_it_with_exit_code_78() {
    let directory = tempfile::tempdir().unwrap();
    let check = |text: &str, more: &[&str]| {
        fs::write(directory.path().join("c.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_echostored"));
        let out =
            command.current_dir(directory.path()).args(["check", "--config", "c.toml"]).args(more).output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let bad = "[server]\nworkers = \"many\"\n";
    let message = "server.workers: invalid value \"many\": expected \"auto\" or a whole number from 1 to 64\n";
    for more in [&[][..], &["--print"]] {
        let (code, stdout, stderr) = check(bad, more);
        assert_eq!((code, stdout.as_str()), (Some(78), ""));
        assert!(stderr.ends_with(&format!("c.toml:2:11: {message}")), "{stderr}");
    }
    let (code, stdout, stderr) = check("", &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.ends_with("c.toml: ok\n"), "{stdout}");
    let (code, stdout, stderr) = check("[server]\nworkers = 7\n", &["--print"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("\nworkers = 7\n") && stdout.contains("\n[log]\nlevel = \"info\"\n"), "{stdout}");
}
