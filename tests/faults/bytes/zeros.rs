//! After a power cut a file may have zeros in its middle and good records behind them: those are kept, and `verify` names
//! the bad bytes.
use super::super::support::framing::Format;
use super::super::support::seed::{Chance, seed};
use super::{Killed, LENGTH, contents, record_ends, sample, tool};
use std::collections::HashMap;

/// What a report says of the file's bytes: line → (byte, from, to).
fn bad_ranges(report: &str, file: &str) -> HashMap<usize, (usize, usize, usize)> {
    let number = |text: &str| text.parse::<usize>().unwrap();
    let lines = report.lines().filter(|line| line.contains(" are no record"));
    let range = |line: &str| {
        let mut place = line.strip_prefix(file).expect("the file").split(':').skip(1);
        let (number_, byte) = (number(place.next().unwrap()), number(place.next().unwrap()));
        let (from, to) = line.split("bytes ").nth(1).unwrap().split(' ').next().unwrap().split_once('-').unwrap();
        (number_, (byte, number(from), number(to)))
    };
    lines.map(range).collect()
}

#[test]
fn records_behind_zeros_are_kept_and_the_bad_range_is_named() {
    let mut chance = Chance::new(seed());
    let killed = Killed::new(Format::Text, LENGTH);
    for sector in [512, 4096] {
        for at in sample(&mut chance, 4, LENGTH / sector - 2) {
            let mut bytes = killed.bytes().to_vec();
            let (from, to) = ((at + 1) * sector, (at + 2) * sector);
            bytes[from..to].fill(0);
            let place = format!("zeros from {from} to {to}");
            let ends = record_ends(Format::Text, &bytes);
            assert_eq!(*ends.last().unwrap(), bytes.len(), "{place}: the last record is good");

            let mut daemon = killed.setup().start_in(killed.restore(&bytes));
            daemon.stop();
            let now = contents(&daemon.store());
            assert!(now[&killed.live] == bytes, "{place}: the file was changed");
            assert!(!now.contains_key(&(killed.live.clone() + ".torn")), "{place}: something was set aside");

            // The one line that the zeros are part of: behind the last record before them, up to the first one after.
            let begin = bytes[..from].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let end = to + bytes[to..].iter().position(|byte| *byte == b'\n').unwrap();
            let line = bytes[..begin].iter().filter(|byte| **byte == b'\n').count() + 1;
            let verdict = tool(daemon.home(), "verify", &[]);
            assert_eq!(verdict.code, 1, "{place}: {}", verdict.stdout);
            let bad = bad_ranges(&verdict.stdout, &killed.live);
            assert_eq!(bad.len(), 1, "{place}: {}", verdict.stdout);
            let (byte, first, last) = bad[&line];
            assert_eq!((first, last), (begin, end), "{place}: {}", verdict.stdout);
            assert!((begin..=end).contains(&byte), "{place}: byte {byte}");

            let printed = tool(daemon.home(), "cat", &["--format", "text"]);
            assert_eq!(printed.code, 1, "{place}");
            let expected = [&bytes[..begin], &bytes[end + 1..]].concat();
            assert!(printed.stdout.as_bytes() == expected, "{place}: cat left out, or changed, another record");
            assert!(printed.stderr.contains(&format!("{}:{line}:", killed.live)), "{place}: {}", printed.stderr);
        }
    }
}
