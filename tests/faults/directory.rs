//! The store's directory deleted, renamed, replaced or mounted over while the daemon runs.
mod away;
mod deleted;
mod inside;

use super::support::client::{Client, History, Messages};
use super::support::daemon::{Daemon, Setup};
use super::support::drive::serve;
use super::support::framing::{Format, Framing};
use super::support::{DEADLINE, checker, wait_until};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

fn client(daemon: &Daemon) -> Client {
    Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap()
}

/// So many messages, sent, echoed, and the connection ended.
fn echoes(daemon: &Daemon, count: usize) -> History {
    serve(vec![client(daemon).quota(count).half_close()]).remove(0)
}

fn says(daemon: &Daemon, words: &str) {
    wait_until(DEADLINE, words, || daemon.log().contains(words));
}

fn times(daemon: &Daemon, words: &str) -> usize {
    daemon.log().matches(words).count()
}

fn epoch(store: &Path) -> u32 {
    let text = fs::read_to_string(store.join(".store")).unwrap();
    toml::from_str::<toml::Table>(&text).unwrap()["epoch"].as_integer().unwrap().try_into().unwrap()
}

/// By connection: its peer and the numbers of its records, in the order of the files.
fn numbers(store: &Path) -> HashMap<String, (String, Vec<u64>)> {
    let mut found: HashMap<String, (String, Vec<u64>)> = HashMap::new();
    for file in checker::files(store) {
        checker::for_each_record(Format::Text, &file.path, |record, _| {
            let origin = record.origin.expect("text");
            found.entry(origin.connection).or_insert((origin.peer, Vec::new())).1.push(origin.n);
        });
    }
    found
}

/// What every history still has in the store is one run without gap or repeat, which reaches at least to its last echo;
/// how many records that is.
fn check_runs(store: &Path, histories: &[History]) -> usize {
    let found = numbers(store);
    for (connection, (peer, numbers)) in &found {
        let run = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
        assert!(run, "{connection}: a gap or a repeat in {numbers:?}");
        let history = histories.iter().find(|history| history.peer.to_string() == *peer);
        let history = history.unwrap_or_else(|| panic!("{connection}: {peer} was no client"));
        let (last, echoed) = (*numbers.last().unwrap(), history.echoed as u64);
        assert!(last >= echoed, "{connection}: {echoed} messages were echoed, the last that is stored is {last}");
        assert!(last <= history.sent as u64, "{connection}: {last} is stored, {} were sent", history.sent);
    }
    found.values().map(|(_, numbers)| numbers.len()).sum()
}

fn verified(daemon: &Daemon, store: &Path) {
    use super::support::daemon::{command, run};
    let verdict = run(daemon.home(), command(&["verify", "--directory", store.to_str().unwrap()]));
    assert_eq!(verdict.code, 0, "{}", verdict.stdout);
}

fn setup(echo: &str) -> Setup {
    Setup::default().set("server.echo", echo)
}
