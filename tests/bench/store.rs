//! Stores that do not hold what was echoed. The server is the test's own: it writes the store as it likes.
use super::servers::serve;
use super::support::home::Home;
use super::{bench, failed, json, text};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{Read, Write};

const SIZE: usize = 128;

/// Runs a load of 20 messages on one connection; `store` makes the file of them, each without its LF.
fn checked(store: impl Fn(&[String]) -> Vec<(usize, String)> + Clone + Send + 'static) -> (super::Ended, Value) {
    let home = Home::new();
    let directory = home.make_dir("store");
    std::fs::write(directory.join(".store"), "").unwrap();
    let file = directory.join("messages-0000000001-20261122T084200Z.log");
    let address = serve(move |mut stream| {
        let (mut sent, mut buffer) = (Vec::new(), [0; SIZE]);
        while sent.len() < 20 {
            if stream.read_exact(&mut buffer).is_err() {
                return;
            }
            sent.push(String::from_utf8(buffer[..SIZE - 1].to_vec()).unwrap());
            if sent.len() < 20 {
                stream.write_all(&buffer).unwrap();
            }
        }
        let mut lines = String::new();
        for (n, message) in store(&sent) {
            writeln!(lines, "2026-11-22T08:42:00.123456Z 127.0.0.1:5 01A-{n} {message}").unwrap();
        }
        std::fs::write(&file, lines).unwrap();
        stream.write_all(&buffer).unwrap();
    });
    let ended = bench(&address, &["--connections", "1", "--count", "20", "--json", "--store", text(&directory)]);
    let figures = json(&ended);
    (ended, figures["store"].clone())
}

fn all(sent: &[String]) -> Vec<(usize, String)> {
    (1..).zip(sent.iter().cloned()).collect()
}

fn numbers(store: &Value) -> Value {
    let keys = ["echoed", "checked", "missing", "doubled", "disordered", "altered", "foreign"];
    keys.iter().map(|key| store[key].clone()).collect()
}

#[test]
fn a_good_one_is_good() {
    let (ended, store) = checked(all);
    assert_eq!((ended.code, numbers(&store)), (0, json!([20, 20, 0, 0, 0, 0, 0])), "{}", ended.stderr);
}

#[test]
fn a_removed_record_is_missing() {
    let (ended, store) = checked(|sent| {
        let mut records = all(sent);
        records.remove(6);
        records
    });
    assert_eq!(numbers(&store), json!([20, 19, 1, 0, 0, 0, 0]));
    failed(&ended, 1, &["-00000-000000000006\" was echoed and is not stored"]);
}

#[test]
fn a_second_copy_is_doubled() {
    let (ended, store) = checked(|sent| {
        let mut records = all(sent);
        records.insert(9, records[8].clone());
        records
    });
    assert_eq!(numbers(&store), json!([20, 21, 0, 1, 0, 0, 0]));
    failed(&ended, 1, &["-00000-000000000008", "stored twice"]);
}

#[test]
fn another_order_other_bytes_and_what_was_never_sent_are_told() {
    let (ended, store) = checked(|sent| {
        let mut records = all(sent);
        records.swap(2, 3);
        records
    });
    assert_eq!(numbers(&store), json!([20, 20, 0, 0, 1, 0, 0]));
    failed(&ended, 1, &["not in its connection's order"]);
    let (ended, store) = checked(|sent| {
        let mut records = all(sent);
        records[12].1.replace_range(100..101, "!");
        records.push((21, records[19].1.replace("-000000000019", "-000000000020")));
        records
    });
    assert_eq!(numbers(&store), json!([20, 21, 0, 0, 0, 1, 1]));
    failed(&ended, 1, &["-000000000012", "not the bytes that were sent"]);
}
