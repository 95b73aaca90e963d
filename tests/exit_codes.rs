//! Every exit code, and what its message must tell the operator.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use support::daemon::{Ended, Setup, command, free_address, run};
use support::home::Home;

/// `echostored run` on this configuration, to its end.
fn run_with(home: &Home, setup: &Setup) -> Ended {
    let path = home.write("echostored.toml", &setup.text(home));
    let mut command = command(&["run", "--config"]);
    command.arg(path);
    run(home, command)
}

fn tool(home: &Home, arguments: &[&str], path: &Path) -> Ended {
    let mut command = command(arguments);
    command.arg(path);
    run(home, command)
}

fn says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is not in {:?}", ended.stderr);
    }
}

#[test]
fn check_accepts_prints_and_refuses() {
    let home = Home::new();
    let path = home.write("good.toml", &Setup::default().set("server.echo", "synced").text(&home));
    says(&tool(&home, &["check", "--config"], &path), 0, &[]);
    let printed = tool(&home, &["check", "--print", "--config"], &path);
    says(&printed, 0, &[]);
    let effective: toml::Table = toml::from_str(&printed.stdout).expect("--print gives TOML");
    assert_eq!(effective["server"]["echo"].as_str(), Some("synced"));
    assert_eq!(effective["rotate"]["max-size"].as_str(), Some("64MiB"), "defaults are printed, too");
    // What it prints is a configuration, and says the same.
    let again = home.write("again.toml", &printed.stdout);
    assert_eq!(tool(&home, &["check", "--print", "--config"], &again).stdout, printed.stdout);
    let bad = home.write("bad.toml", "[server]\necho = \"stored\"\nframming = \"line\"\n");
    says(&tool(&home, &["check", "--config"], &bad), 78, &["bad.toml:3:1", "framming"]);
    says(&tool(&home, &["check", "--config"], &home.join("absent.toml")), 78, &["absent.toml"]);
}

#[test]
fn usage_is_2() {
    let home = Home::new();
    for arguments in [&["no-such-command"] as &[&str], &["run", "--no-such-option"], &[]] {
        assert_eq!(run(&home, command(arguments)).code, 2, "{arguments:?}");
    }
    assert_eq!(run(&home, command(&["--version"])).code, 0);
    assert_eq!(run(&home, command(&["--help"])).code, 0);
}

#[test]
fn a_configuration_error_is_78() {
    let home = Home::new();
    let ended = run_with(
        &home,
        &Setup::default().listen(&[free_address()]).set("store.format", "raw").set("server.framing", "nul"),
    );
    says(&ended, 78, &["raw", "line"]);
    assert!(!home.join("store").exists(), "nothing is made for a bad configuration");
    says(&run_with(&home, &Setup::default().set("rotate.interval", "7h")), 78, &["interval"]);
}

#[test]
fn an_address_in_use_is_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    says(&run_with(&Home::new(), &Setup::default().listen(&[address])), 69, &[&address.to_string()]);
    // An address that this machine does not have (RFC 5737).
    says(
        &run_with(&Home::new(), &Setup::default().listen(&["192.0.2.1:7007".parse().unwrap()])),
        69,
        &["192.0.2.1:7007"],
    );
}

#[test]
fn a_store_that_cannot_be_used_is_74() {
    type Make = fn(&Home);
    let cases: [(&str, Make); 4] = [
        ("a file in its place", |home| drop(home.write("store", ""))),
        ("a symbolic link", |home| {
            home.make_dir("elsewhere");
            symlink(home.join("elsewhere"), home.join("store")).unwrap();
        }),
        ("a directory that everybody may write", |home| {
            let path = home.make_dir("store");
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
        }),
        ("a directory that it may not write", |home| {
            let path = home.make_dir("store");
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o500)).unwrap();
        }),
    ];
    for (name, make) in cases {
        let home = Home::new();
        make(&home);
        println!("{name}");
        let ended = run_with(&home, &Setup::default().listen(&[free_address()]));
        says(&ended, 74, &[&home.join("store").display().to_string()]);
    }
}

#[test]
fn a_second_daemon_is_75_and_names_the_owner() {
    let mut daemon = Setup::default().start();
    let owner = daemon.supervisor().to_string();
    // Even on the same address: the store is locked before anything is bound.
    let ended = tool(daemon.home(), &["run", "--config"], &daemon.config_path());
    says(&ended, 75, &[&owner, &daemon.store().display().to_string()]);
    let lock = std::fs::read_to_string(daemon.store().join(".lock")).unwrap();
    assert_eq!(lock.trim(), owner, "the lock holds the pid");
    let mode = |name: &str| daemon.store().join(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(".lock"), mode("."), mode("current")), (0o600, 0o750, 0o640));
    daemon.stop();
}

#[test]
fn verify_of_a_damaged_store_is_1() {
    let mut daemon = Setup::default().start();
    let messages = support::client::Messages::generated(support::framing::Framing::Line, 20, 100);
    let client = support::client::Client::connect(daemon.address, support::framing::Framing::Line, messages).unwrap();
    support::drive::serve(vec![client.quota(10)]);
    daemon.stop();
    says(&tool(daemon.home(), &["verify", "--directory"], &daemon.store()), 0, &[]);
    let file = support::checker::files(&daemon.store()).remove(0).path;
    let text = std::fs::read(&file).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    // The fourth record is gone: the fifth's n is one too large.
    std::fs::write(&file, [&lines[..3], &lines[4..]].concat().concat()).unwrap();
    let ended = tool(daemon.home(), &["verify", "--directory"], &daemon.store());
    let told = format!("{}{}", ended.stdout, ended.stderr);
    let offset = lines[..3].iter().map(|line| line.len()).sum::<usize>().to_string();
    assert_eq!(ended.code, 1, "{ended:?}");
    for word in [file.file_name().unwrap().to_str().unwrap(), &offset, "4"] {
        assert!(told.contains(word), "{word:?} is not in {told:?}");
    }
}
