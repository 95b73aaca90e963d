use super::*;
use crate::tools::send::Framing;
use std::borrow::Cow;

const RUN_NAME: Run = *b"abcdefgh";

/// The verdict on records of (connection, number from 0, number that the store gave).
fn verdict(accounts: &[Account], stored: &[(u64, u64, u64)]) -> Verdict {
    let shape = Shape::new(Framing::Line, 64).unwrap();
    let mut ledger = Ledger::new(&shape, &RUN_NAME, accounts);
    let mut block = Block::new(shape, RUN_NAME);
    for &(connection, number, n) in stored {
        let message = Cow::Owned(block.stream(connection, number * 64, 63).to_vec());
        let name = format!("C{connection}");
        ledger.take(&Record { time: "", peer: "", subject: None, connection: &name, n, message }, "a file");
    }
    ledger.close()
}

fn in_order(connection: u64, numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, u64, u64)> {
    numbers.into_iter().map(|number| (connection, number, number + 1)).collect()
}

const TEN: Account = Account { begun: 12, echoed: 10 };

#[test]
fn what_was_echoed_is_there_and_what_was_not_may_be() {
    for stored in [10, 11, 12] {
        let verdict = verdict(&[TEN], &in_order(0, 0..stored));
        assert!(verdict.is_good() && verdict.first.is_none(), "{verdict}");
        assert_eq!((verdict.echoed, verdict.checked), (10, stored));
    }
}

#[test]
fn each_fault_is_counted_as_what_it_is() {
    let of = |stored: &[(u64, u64, u64)]| {
        let Verdict { missing, doubled, disordered, altered, foreign, .. } = verdict(&[TEN], stored);
        [missing, doubled, disordered, altered, foreign]
    };
    assert_eq!(of(&[]), [10, 0, 0, 0, 0]);
    assert_eq!(of(&in_order(0, [0, 1, 2, 4, 5, 8, 9])), [3, 0, 0, 0, 0]);
    assert_eq!(of(&in_order(0, 0..9)), [1, 0, 0, 0, 0], "the last one");
    assert_eq!(of(&in_order(0, (0..10).chain([9, 0]))), [0, 2, 0, 0, 0]);
    assert_eq!(of(&in_order(0, [0, 2, 3, 1, 4, 5, 6, 7, 8, 9])), [0, 0, 1, 0, 0]);
    assert_eq!(
        of(&in_order(0, [0, 5, 2, 1, 3, 4, 6, 7, 8, 9, 4])),
        [0, 1, 4, 0, 0],
        "a hole is filled from its middle"
    );
    assert_eq!(of(&in_order(0, 0..13)), [0, 0, 0, 0, 1], "never sent");
    assert_eq!(of(&[in_order(0, 0..10), in_order(7, [0])].concat()), [0, 0, 0, 0, 1], "no such connection");
    let mut other_number = in_order(0, 0..10);
    other_number[3].2 = 9;
    assert_eq!(of(&other_number), [0, 0, 1, 0, 0]);
}

#[test]
fn connections_are_told_apart_and_named() {
    let stored = [in_order(1, 0..10), in_order(0, 0..7)].concat();
    let verdict = verdict(&[TEN, TEN], &stored);
    assert_eq!((verdict.missing, verdict.echoed, verdict.checked), (3, 20, 17));
    assert_eq!(verdict.first.as_deref(), Some("\"abcdefgh-00000-000000000007\" was echoed and is not stored"));
}

#[test]
fn other_runs_and_other_clients_are_nobodys_fault() {
    let shape = Shape::new(Framing::Line, 64).unwrap();
    let mut ledger = Ledger::new(&shape, &RUN_NAME, &[]);
    for message in [&b"abcdefgx-00000-000000000000"[..], b"hello", b""] {
        let message = Cow::Borrowed(message);
        ledger.take(&Record { time: "", peer: "", subject: None, connection: "A", n: 1, message }, "a file");
    }
    assert_eq!(ledger.close(), Verdict::default());
}
