//! Bad input: one clear line, the right exit code, nothing changed.
use super::support::daemon::command;
use super::support::home::Home;
use super::support::shelf;
use super::{run, said};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

fn line(n: u64) -> String {
    format!("2026-11-22T08:42:00.123456Z 127.0.0.1:5 A-{n} hello\n")
}

/// A store of two segments, of which the first is compressed, as a copy without a daemon.
fn store(home: &Home) -> PathBuf {
    let store = home.make_dir("store");
    let write = |name: &str, text: String| home.write(&format!("store/{name}"), &text);
    write(".store", "version = 1\nepoch = 1\nid = 2748\n".into());
    write("messages-0000000001-20261122T084200Z.log", (1..=2000).map(line).collect());
    write("messages-0000000002-20261122T084300Z.log", (2001..=2002).map(line).collect());
    shelf::compress(&store.join("messages-0000000001-20261122T084200Z.log"));
    store
}

fn all_bytes(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn one_line_the_right_code_and_nothing_changed() {
    let home = Home::new();
    let store = store(&home);
    let before = all_bytes(&store);
    for (arguments, code, why) in [
        (&["tail", "--from", "0000000000000001:1:0"][..], 1, "is of another store; this one is 0000000000000abc"),
        (&["tail", "--from", "nonsense\u{1b}[2J"], 1, "\"nonsense\\u{1b}[2J\" is no cursor"),
        (&["cat", "--from", "0000000000000abc:1:3"], 1, "no record begins there"),
        (&["cat", "--from", "0000000000000abc:2:99999"], 1, "that segment has"),
        (&["cat", "--from", "0000000000000abc:7:0"], 1, "the newest segment is number 2"),
    ] {
        let (ended, out, complaint) = said(&run(&store, arguments));
        assert_eq!((ended, out.as_str(), complaint.lines().count()), (code, "", 1), "{arguments:?}: {complaint}");
        assert!(complaint.starts_with("echostored: ") && complaint.contains(why), "{complaint}");
    }
    for (arguments, why) in [
        (&["tail", "--grep", "a("][..], "unclosed group"),
        (&["tail", "--since", "yesterday"], "YYYY-MM-DD[ HH:MM[:SS]]"),
        (&["cat", "--peer", "host"], "ADDRESS:PORT"),
        (&["tail", "-n", "3", "--from", "x"], "cannot be used with"),
    ] {
        let (ended, out, complaint) = said(&run(&store, arguments));
        assert_eq!((ended, out.as_str()), (2, ""));
        assert!(complaint.lines().next().is_some_and(|line| line.contains(why)), "{complaint}");
    }
    assert_eq!(all_bytes(&store), before);
}

#[test]
fn no_store_and_a_truncated_segment() {
    let home = Home::new();
    let other = home.make_dir("other");
    home.write("other/notes.txt", "no store");
    for command in ["tail", "cat"] {
        for (place, why) in [(other.clone(), "is not an echostored store"), (home.join("missing"), "No such file")] {
            let (code, out, complaint) = said(&run(&place, &[command]));
            assert_eq!((code, out.as_str(), complaint.lines().count()), (74, "", 1));
            assert!(complaint.contains(why), "{complaint}");
        }
    }
    let store = store(&home);
    let packed = store.join("messages-0000000001-20261122T084200Z.log.zst");
    let bytes = fs::read(&packed).unwrap();
    for length in [0, 3, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&packed, &bytes[..length]).unwrap();
        let (code, out, complaint) = said(&run(&store, &["cat"]));
        assert_eq!((code, complaint.lines().count()), (1, 1), "{length}: {complaint}");
        assert!(complaint.starts_with("messages-0000000001-20261122T084200Z.log.zst: cannot read: "), "{complaint}");
        assert!(out.ends_with(&(line(2001) + &line(2002))), "the other segment is printed");
        // What can be read is printed: it is looked back as far as that.
        for (arguments, printed) in [
            (&["tail", "-n", "1000"][..], line(2001) + &line(2002)),
            (&["tail", "--grep", "A-2002|hello"], line(2001) + &line(2002)),
            (&["tail", "--grep", "nothing"], String::new()),
        ] {
            let (code, out, complaint) = said(&run(&store, arguments));
            assert_eq!((code, out, complaint.lines().count()), (1, printed, 1), "{length}: {complaint}");
            assert!(complaint.contains("cannot read: ") && complaint.contains("before it is left out"), "{complaint}");
        }
        let (code, _, complaint) = said(&run(&store, &["cat", "--from", "0000000000000abc:1:50000"]));
        assert_eq!((code, complaint.lines().count()), (1, 1), "{length}: {complaint}");
    }
    assert_eq!(said(&run(&store, &["tail", "-n", "2"])), (0, line(2001) + &line(2002), String::new()));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    let store = store(&home);
    home.write("store/messages-0000000002-20261122T084300Z.log", &(1..=100_000).map(line).collect::<String>());
    for arguments in [&["cat"][..], &["cat", "--format", "jsonl"], &["tail", "-n", "90000"]] {
        let mut command = command(arguments);
        command.arg("--directory").arg(&store).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let ended = said(&child.wait_with_output().unwrap());
        assert_eq!(ended, (0, String::new(), String::new()));
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    let home = Home::new();
    let store = store(&home);
    let coloured = |arguments: &[&str]| run(&store, arguments).stdout.contains(&0x1b);
    assert!(!coloured(&["tail"]) && !coloured(&["tail", "--color", "never"]));
    assert!(coloured(&["tail", "--color", "always"]));
    assert!(!coloured(&["tail", "--color", "always", "--format", "jsonl"]));
    assert!(!coloured(&["tail", "--color", "always", "--format", "raw"]));
}
