use super::*;
use crate::sys::pipe;

fn outbox(limit: usize, max_size: Option<u64>) -> (Outbox<char>, OwnedFd) {
    let (read, write) = pipe::pipe().unwrap();
    let terms = Terms { id: 1, secret: 7, frame_limit: limit, record_limit: 1 << 20 };
    (Outbox::new(write, terms, max_size, Echo::Stored), read)
}

fn headers(pipe: &OwnedFd, limit: usize) -> Vec<(Kind, u32, u32)> {
    let mut bytes = Vec::new();
    pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
    let (mut at, mut sequence, mut found) = (0, 1, Vec::new());
    while let Ok(Some(header)) = Header::decode(&bytes[at..], 7, sequence, limit) {
        found.push((header.kind, header.records, header.length));
        at += header.frame_len();
        sequence += 1;
    }
    assert_eq!(at, bytes.len());
    found
}

fn released(outbox: &mut Outbox<char>, through: u64) -> Vec<Release<char>> {
    let mut all = Vec::new();
    outbox.acknowledge(through, |release| all.push(release));
    all
}

#[test]
fn a_turn_is_one_frame_and_its_ack_releases_each_connection_once() {
    let (mut outbox, pipe) = outbox(4096, None);
    for (connection, upto) in [('a', 10), ('a', 20), ('b', 5)] {
        outbox.add(connection, upto, |out| out.extend(b"record\n"));
    }
    outbox.flush(|_| panic!("nothing is released without an ack")).unwrap();
    assert_eq!(headers(&pipe, 4096), [(Kind::Records, 3, 21)]);
    assert!(!outbox.is_empty());
    assert_eq!(released(&mut outbox, 0), []);
    assert_eq!(released(&mut outbox, 1), [('a', 20), ('b', 5)]);
    assert!(outbox.is_empty());
}

#[test]
fn frames_keep_below_the_segment_limit() {
    let (mut outbox, pipe) = outbox(4096, Some(100));
    for _ in 0..10 {
        outbox.add('a', 1, |out| out.extend([b'x'; 39].iter().chain(b"\n")));
    }
    outbox.add('a', 1, |out| out.extend([b'x'; 200].iter().chain(b"\n")));
    outbox.flush(|_| {}).unwrap();
    assert_eq!(headers(&pipe, 4096), [vec![(Kind::Records, 2, 80); 5], vec![(Kind::Records, 1, 201)]].concat());
}

#[test]
fn a_large_record_goes_in_fragments_and_is_released_by_the_last() {
    let (mut outbox, pipe) = outbox(4096, None);
    outbox.add('a', 1, |out| out.extend(b"small\n"));
    outbox.add('b', 2, |out| out.extend([b'x'; 9999].iter().chain(b"\n")));
    assert!(!outbox.has_room());
    outbox.flush(|_| {}).unwrap();
    assert!(outbox.has_room());
    let part = 4096 - HEADER as u32;
    let expected = [
        (Kind::Records, 1, 6),
        (Kind::Fragment, 0, part),
        (Kind::Fragment, 0, part),
        (Kind::LastFragment, 1, 10000 - 2 * part),
    ];
    assert_eq!(headers(&pipe, 4096), expected);
    assert_eq!(released(&mut outbox, 3), [('a', 1)]);
    assert_eq!(released(&mut outbox, 4), [('b', 2)]);
}

#[test]
fn a_full_pipe_holds_the_rest_back() {
    let (mut outbox, pipe) = outbox(1 << 16, None);
    let mut added = 0;
    while outbox.has_room() {
        outbox.add('a', added, |out| out.extend([b'x'; 9999].iter().chain(b"\n")));
        outbox.flush(|_| {}).unwrap();
        added += 1;
    }
    assert!(added < 10);
    let mut bytes = Vec::new();
    pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
    outbox.flush(|_| {}).unwrap();
    assert!(outbox.has_room());
    pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
    assert_eq!(bytes.len() as u64, added * (HEADER as u64 + 10000));
}

fn refused(outbox: &mut Outbox<char>, through: u64) -> Vec<char> {
    let mut all = Vec::new();
    outbox.refuse(through, |connection| all.push(connection));
    all
}

fn sent(pipe: &OwnedFd) -> Vec<Header> {
    let mut bytes = Vec::new();
    pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
    let mut found: Vec<Header> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let sequence = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap());
        let header = Header::decode(&bytes[at..], 7, sequence, 1 << 16).unwrap().unwrap();
        at += header.frame_len();
        found.push(header);
    }
    found
}

#[test]
fn a_refusal_gives_up_all_that_is_under_way_and_the_next_frame_is_fresh() {
    let (mut outbox, pipe) = outbox(4096, None);
    for connection in ['a', 'b', 'c'] {
        outbox.add(connection, 10, |out| out.extend(b"record\n"));
        outbox.flush(|_| {}).unwrap();
    }
    // Still in the open frame.
    outbox.add('d', 10, |out| out.extend(b"record\n"));
    assert_eq!(released(&mut outbox, 1), [('a', 10)]);
    assert_eq!(refused(&mut outbox, 2), ['b', 'c', 'd']);
    assert!(outbox.is_empty());
    // The writer refuses what was made before it was heard, and repeats itself.
    assert_eq!(refused(&mut outbox, 3), []);
    for _ in 0..2 {
        outbox.add('e', 10, |out| out.extend(b"record\n"));
        outbox.flush(|_| {}).unwrap();
    }
    let fresh: Vec<(u64, bool)> = sent(&pipe).iter().map(|header| (header.sequence, header.fresh)).collect();
    assert_eq!(fresh, [(1, false), (2, false), (3, false), (4, true), (5, false)]);
    assert_eq!(refused(&mut outbox, 3), []);
    assert_eq!(released(&mut outbox, 4), [('e', 10)]);
    // Full again.
    assert_eq!(refused(&mut outbox, 5), ['e']);
    assert!(outbox.is_empty());
}

#[test]
fn a_large_record_is_given_up_between_its_fragments() {
    let (mut outbox, pipe) = outbox(1 << 16, None);
    pipe::resize(pipe.as_fd(), 4096).unwrap();
    outbox.add('a', 1, |out| out.extend([b'x'; 199_999].iter().chain(b"\n")));
    outbox.flush(|_| {}).unwrap();
    assert!(outbox.is_blocked());
    assert_eq!(refused(&mut outbox, 1), ['a']);
    assert!(!outbox.is_empty(), "the frame that is partly in the pipe still goes there");
    assert!(!outbox.has_room());
    let mut bytes = Vec::new();
    while !outbox.is_empty() {
        pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
        outbox.flush(|_| {}).unwrap();
    }
    pipe::read_to(pipe.as_fd(), &mut bytes, 1 << 20).unwrap();
    assert_eq!(bytes.len(), 1 << 16, "one whole frame and nothing behind it");
    outbox.add('b', 1, |out| out.extend(b"small\n"));
    outbox.flush(|_| {}).unwrap();
    let next = sent(&pipe);
    assert_eq!((next[0].kind, next[0].sequence, next[0].fresh), (Kind::Records, 2, true));
}

#[test]
fn received_releases_what_is_in_the_pipe() {
    let (read, write) = pipe::pipe().unwrap();
    let terms = Terms { id: 1, secret: 7, frame_limit: 4096, record_limit: 1 << 20 };
    let mut outbox = Outbox::new(write, terms, None, Echo::Received);
    outbox.add('a', 9, |out| out.extend(b"record\n"));
    let mut all = Vec::new();
    outbox.flush(|release| all.push(release)).unwrap();
    assert_eq!(all, [('a', 9)]);
    assert!(!outbox.is_empty(), "the ack still tells when the worker may leave");
    assert_eq!(released(&mut outbox, 1), []);
    assert!(sent(&read)[0].promised, "the writer is told that it must not be refused");
}

#[test]
fn little_waits_for_the_ack_of_what_is_under_way() {
    let (mut outbox, _read) = outbox(1 << 20, None);
    let add = |outbox: &mut Outbox<char>, count: usize| outbox.add('a', 9, |out| out.extend(vec![b'x'; count]));
    add(&mut outbox, 100);
    assert!(!outbox.gathers(), "nothing is under way");
    outbox.flush(|_| ()).unwrap();
    add(&mut outbox, 100);
    assert!(outbox.gathers());
    add(&mut outbox, LITTLE);
    assert!(!outbox.gathers(), "it is not little any more");
    outbox.flush(|_| ()).unwrap();
    add(&mut outbox, 100);
    outbox.acknowledge(2, |_| ());
    assert!(!outbox.gathers(), "nobody would wake the worker");
}
