use super::*;
use proptest::prelude::*;

fn window(messages: &[&[u8]]) -> Window {
    let mut window = Window::new(Framing::Line, 100, 1000);
    messages.iter().for_each(|message| window.push(message));
    window
}

fn ranges(window: &mut Window) -> (Vec<(u64, u64)>, u64) {
    window.lost();
    let mut found = Vec::new();
    found.extend(window.resent().known());
    found.extend(window.resent().last());
    (found, window.resent().total())
}

#[test]
fn echoes_are_matched_byte_by_byte() {
    let mut window = window(&[b"one", b"", b"three"]);
    assert_eq!(window.unsent(), b"one\n\nthree\n");
    assert!(!window.ends_message(2) && window.ends_message(4) && window.ends_message(5) && !window.ends_message(6));
    window.sent(7);
    assert!(window.first_is_sent());
    assert_eq!(window.hear(b"on"), Ok(false));
    assert_eq!(window.hear(b"e\n\n"), Ok(true));
    assert_eq!((window.first(), window.len(), window.first_length()), (3, 1, 6));
    assert!(window.ends_message(4));
    window.sent(4);
    assert!(window.in_flight());
    assert_eq!(window.hear(b"three\n"), Ok(true));
    assert!(window.is_empty() && !window.in_flight() && !window.first_is_sent());
}

#[test]
fn a_foreign_byte_is_found_in_its_line() {
    let mut all = window(&[b"one", b"two"]);
    all.sent(8);
    assert_eq!(all.hear(b"one\ntxo\n"), Err(Foreign::Differs { line: 2, byte: 2, sent: b'w', came: b'x' }));
    assert_eq!((all.first(), all.len()), (2, 1), "the line before is echoed");
    let mut unsent = window(&[b"one", b"two"]);
    unsent.sent(4);
    assert_eq!(unsent.hear(b"one\ntwo\n"), Err(Foreign::Unasked(b"two\n".to_vec())), "it was not sent yet");
    assert_eq!(window(&[]).hear(b"SSH-2.0"), Err(Foreign::Unasked(b"SSH-2.0".to_vec())));
}

#[test]
fn the_window_is_bounded_but_takes_one_message_of_any_size() {
    let mut window = Window::new(Framing::Line, 2, 100);
    assert!(window.fits(5000));
    window.push(&[b'x'; 5000]);
    assert!(!window.fits(1));
    window.sent(5001);
    window.hear(&window.wire.clone()).unwrap();
    assert!(window.wire.capacity() <= 100, "the long message's memory is given back");
    window.push(b"a");
    assert!(window.fits(98) && !window.fits(99));
    window.push(b"b");
    assert!(!window.fits(1));
}

#[test]
fn only_what_an_earlier_connection_took_as_a_whole_counts_as_sent_again() {
    let mut window = window(&[b"one", b"two", b"three", b"four"]);
    window.sent(10);
    window.lost();
    assert_eq!(window.resent().total(), 0, "nothing is sent again yet");
    // one and two were whole; of three there were two bytes.
    window.sent(19);
    window.hear(b"one\n").unwrap();
    assert_eq!(ranges(&mut window), (vec![(1, 2)], 2));
    // Now three and four were, too.
    assert_eq!(window.unsent(), b"two\nthree\nfour\n");
    window.sent(9);
    assert_eq!(ranges(&mut window), (vec![(1, 3)], 3));
}

#[test]
fn a_message_without_its_terminator_may_be_stored() {
    let mut window = window(&[b"one\r", b"two"]);
    window.sent(3);
    window.lost();
    window.sent(9);
    assert_eq!(ranges(&mut window), (vec![(1, 1)], 1));
}

/// A connection: how much of what it could it sends and hears, and whether the echo of the rest is lost.
fn connections() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((any::<u8>(), any::<u8>()), 1..20)
}

proptest! {
    /// A server that stores what comes whole: everything is stored at least once, and what is stored twice is told.
    #[test]
    fn what_is_stored_twice_is_told(lengths in prop::collection::vec(0usize..6, 1..30), connections in connections()) {
        let mut window = Window::new(Framing::OctetCounted, 1000, 10_000);
        let messages: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(n, length)| [n.to_string().into_bytes(), vec![b'-'; *length]].concat()).collect();
        messages.iter().for_each(|message| window.push(message));
        let mut times = vec![0u32; messages.len()];
        let mut ranges = Vec::new();
        for (sent, heard) in connections.into_iter().chain([(255, 255)]) {
            let due = window.unsent().to_vec();
            let sent = due.len() * usize::from(sent) / 255;
            let mut at = 0;
            for (n, message) in messages.iter().enumerate().skip(usize::try_from(window.first()).unwrap() - 1) {
                at += format!("{} ", message.len()).len() + message.len();
                times[n] += u32::from(sent >= at);
            }
            window.sent(sent);
            window.hear(&due[..sent * usize::from(heard) / 255]).unwrap();
            window.lost();
            ranges.extend(window.resent().known());
        }
        ranges.extend(window.resent().last());
        prop_assert!(window.is_empty());
        let told = |n: usize| ranges.iter().any(|(from, to)| (*from..=*to).contains(&(n as u64 + 1)));
        for (n, times) in times.iter().enumerate() {
            prop_assert!(*times >= 1, "message {} is not stored", n + 1);
            prop_assert_eq!(*times > 1, told(n), "message {}, ranges {:?}", n + 1, ranges);
        }
        prop_assert_eq!(window.resent().total(), ranges.iter().map(|(from, to)| to - from + 1).sum::<u64>());
    }
}
