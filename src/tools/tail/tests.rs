use super::*;
use crate::store::failed::{self, GoodTo};
use crate::store::manifest::{Line, Manifest, Seal};
use crate::store::names::{Form, SegmentName};
use crate::store::stamp::Stamp;
use crate::tools::golden::{Golden, name, numbered, record};
use crate::tools::select::{Peer, pattern};

/// Exit code, output, complaints.
fn run(request: &Request) -> (u8, String, String) {
    let (mut out, mut complaints) = (Vec::new(), Vec::new());
    let look = Look { format: request.format, ..Look::default() };
    let mut show = Show::new(look, request.selection.clone(), &mut out, &mut complaints);
    let code = read(request, &mut show, None, None).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(complaints).unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const ID: u64 = 0xabc;

/// Four segments of three records each, the second and third compressed; the third sealed.
fn store() -> Golden {
    let store = Golden::with(&[&part(0), &part(1), &part(2), &part(3)]);
    store.write(".store", format!("version = 1\nepoch = 1\nid = {ID}\n").as_bytes());
    for sequence in [2, 3] {
        compress(&store, sequence);
    }
    seal(&store, 3, ("2026-11-22T08:42:00.123456Z", "2026-11-22T08:42:00.123456Z"));
    store
}

fn part(index: u64) -> Vec<u8> {
    numbered("A", &[3 * index + 1, 3 * index + 2, 3 * index + 3])
}

fn all() -> String {
    (0..4).map(|index| text(&part(index))).collect()
}

fn compress(store: &Golden, sequence: u64) {
    let plain = store.path().join(name(sequence));
    let bytes = zstd::encode_all(&std::fs::read(&plain).unwrap()[..], 1).unwrap();
    store.write(&Form::Zstd.of(&name(sequence)), &bytes);
    std::fs::remove_file(plain).unwrap();
}

fn seal(store: &Golden, sequence: u64, (lowest, highest): (&str, &str)) {
    let directory = File::open(store.path()).unwrap();
    let bytes = part(sequence - 1).len() as u64;
    let seal = Seal {
        segment: name(sequence),
        records: 3,
        bytes,
        lowest: Some(lowest.into()),
        highest: Some(highest.into()),
        good_to: None,
        torn: None,
        acknowledged: None,
        blake3: String::new(),
    };
    Manifest::read(directory.as_fd()).unwrap().append(directory.as_fd(), vec![Line::Seal(seal)], false).unwrap();
}

fn cursor_at(sequence: u64, offset: u64) -> String {
    Cursor { store: ID, place: Place { sequence, offset } }.to_string()
}

#[test]
fn the_last_records_of_any_number_of_segments() {
    let store = store();
    let lines: Vec<String> = all().split_inclusive('\n').map(str::to_owned).collect();
    for wanted in 0..=13 {
        let request = Request { last: Some(wanted), ..Request::all(store.path()) };
        let from = lines.len().saturating_sub(usize::try_from(wanted).unwrap());
        assert_eq!(run(&request), (0, lines[from..].concat(), String::new()), "{wanted}");
    }
    // While a rotation goes on, the newest one is empty.
    store.segment(5, b"");
    for wanted in [0, 1, 5] {
        let request = Request { last: Some(wanted), ..Request::all(store.path()) };
        assert_eq!(run(&request).1, lines[12 - usize::try_from(wanted).unwrap()..].concat());
    }
}

#[test]
fn the_last_of_those_that_are_selected() {
    let store = store();
    store.segment(4, &[part(3), record(Format::Text, "B", 1, b"other"), b"torn".to_vec()].concat());
    let grep = |regex: &str, last| Request {
        selection: Selection { grep: Some(pattern(regex).unwrap()), ..Selection::default() },
        last: Some(last),
        ..Request::all(store.path())
    };
    let other = text(&record(Format::Text, "B", 1, b"other"));
    assert_eq!(run(&grep("^other$", 5)).1, other);
    assert_eq!(run(&grep("l+", 3)).1, text(&part(3)));
    assert_eq!(run(&grep("ell", 7)).1, text(&[numbered("A", &[6]), part(2), part(3)].concat()));
    assert_eq!(run(&grep("nothing", 7)), (0, String::new(), String::new()));
    let peer = |text| Selection { peer: Some(Peer::parse(text).unwrap()), ..Selection::default() };
    let request = |selection| Request { selection, ..Request::all(store.path()) };
    assert_eq!(run(&request(peer("127.0.0.1"))).1, all() + &other);
    assert_eq!(run(&request(peer("127.0.0.2"))).1, "");
}

#[test]
fn segments_that_the_manifest_rules_out_are_not_opened() {
    let store = store();
    // Nobody could read it.
    store.write(&Form::Zstd.of(&name(3)), b"damaged");
    let since = |time: &str| Selection { since: Stamp::parse(time.as_bytes()), ..Selection::default() };
    let request = |selection| Request { selection, ..Request::all(store.path()) };
    let (code, out, complaints) = run(&request(since("2026-11-22T08:42:00.000000Z")));
    assert_eq!((code, out), (1, text(&[part(0), part(1), part(3)].concat())));
    assert!(complaints.starts_with(&Form::Zstd.of(&name(3))) && complaints.lines().count() == 1, "{complaints}");
    let nothing = (0, String::new(), String::new());
    assert_eq!(run(&request(since("2026-11-22T08:42:00.123457Z"))), nothing);
    let last = Request { last: Some(5), ..request(since("2026-11-22T08:42:00.123457Z")) };
    assert_eq!(run(&last), nothing);
}

#[test]
fn every_cursor_goes_on_where_it_stands() {
    let store = store();
    let mut rest = all();
    for sequence in 1..=4 {
        let lines = part(sequence - 1);
        for offset in (0..=lines.len()).filter(|at| *at == 0 || lines[at - 1] == b'\n') {
            let request = Request { from: Some(cursor_at(sequence, offset as u64)), ..Request::all(store.path()) };
            let left = rest[offset..].to_owned();
            assert_eq!(run(&request), (0, left, String::new()), "{sequence} {offset}");
        }
        rest.drain(..lines.len());
    }
}

#[test]
fn cursors_that_do_not_fit_are_refused_in_one_line() {
    let store = store();
    let length = part(0).len() as u64;
    for (cursor, why) in [
        ("what".to_owned(), "\"what\" is no cursor"),
        (cursor_at(1, length + 1), &format!("that segment has {length} bytes")),
        (cursor_at(3, length + 1), &format!("that segment has {length} bytes")),
        (cursor_at(1, 7), "no record begins there"),
        (cursor_at(2, 7), "no record begins there"),
        (cursor_at(5, 0), "the newest segment is number 4"),
        ("0000000000000def:1:0".to_owned(), "is of another store; this one is 0000000000000abc"),
    ] {
        let (code, out, complaint) = run(&Request { from: Some(cursor), ..Request::all(store.path()) });
        assert_eq!((code, out, complaint.lines().count()), (1, String::new(), 1));
        assert!(complaint.contains(why), "{complaint}");
    }
    // A copy that does not tell which store it is.
    std::fs::remove_file(store.path().join(".store")).unwrap();
    let request = Request { from: Some("0000000000000def:4:0".into()), ..Request::all(store.path()) };
    assert_eq!(run(&request).1, text(&part(3)));
}

#[test]
fn what_was_deleted_since_the_cursor_is_told() {
    let store = store();
    seal(&store, 2, ("2026-11-22T08:42:00.123456Z", "2026-11-22T08:42:00.123456Z"));
    let length = part(0).len() as u64;
    let request = |cursor| Request { from: Some(cursor), ..Request::all(store.path()) };
    std::fs::remove_file(store.path().join(name(1))).unwrap();
    let left = text(&[part(1), part(2), part(3)].concat());
    let told = |what: &str| (0, left.clone(), format!("{what}\n"));
    assert_eq!(run(&request(cursor_at(1, 7))), told("1 segment, number 1, was deleted since the cursor"));
    std::fs::remove_file(store.path().join(Form::Zstd.of(&name(2)))).unwrap();
    std::fs::remove_file(store.path().join(Form::Zstd.of(&name(3)))).unwrap();
    let told = |what: &str| (0, text(&part(3)), format!("{what}\n"));
    assert_eq!(run(&request(cursor_at(1, 7))), told("3 segments, number 1 to 3, were deleted since the cursor"));
    let two = "2 segments, number 2 to 3, were deleted since the cursor, with at most 6 records";
    assert_eq!(run(&request(cursor_at(2, 7))), told(two));
    let one = "1 segment, number 3, was deleted since the cursor, with 3 records";
    assert_eq!(run(&request(cursor_at(2, length))), told(one));
    assert_eq!(run(&request(cursor_at(3, length))), (0, text(&part(3)), String::new()));
}

#[test]
fn a_raw_store_cannot_be_selected_from_by_fields() {
    let store = Golden::with(&[b"one\ntwo\n"]);
    let selection = Selection { peer: Some(Peer::Unix(None)), ..Selection::default() };
    for last in [None, Some(3)] {
        let (code, out, complaint) = run(&Request { selection: selection.clone(), last, ..Request::all(store.path()) });
        assert_eq!((code, out), (1, String::new()));
        assert_eq!(
            complaint,
            format!("{}: is stored as raw, which has no time and peer: only --grep can select from it\n", name(1))
        );
    }
    let selection = Selection { grep: Some(pattern("w").unwrap()), ..Selection::default() };
    assert_eq!(run(&Request { selection, last: Some(3), ..Request::all(store.path()) }).1, "two\n");
}

#[test]
fn the_cursor_file_is_kept_and_gone_on_from() {
    let store = store();
    let path = store.path().join("../").join(format!("{}.cursor", store.path().file_name().unwrap().display()));
    let request = Request { cursor_file: Some(path.clone()), ..Request::all(store.path()) };
    assert_eq!(run(&request), (0, all(), String::new()));
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(kept, format!("{}\n", cursor_at(4, part(3).len() as u64)));
    assert_eq!(run(&request), (0, String::new(), String::new()));
    store.segment(4, &[part(3), part(4), b"half".to_vec()].concat());
    assert_eq!(run(&request), (0, text(&part(4)), String::new()));
    std::fs::write(&path, "no cursor\n").unwrap();
    let (code, out, complaint) = run(&request);
    assert_eq!((code, out), (1, String::new()));
    assert!(complaint.contains("is no cursor") && complaint.contains(".cursor"), "{complaint}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "no cursor\n");
    std::fs::remove_file(path).unwrap();
}

/// What a failed sync does to the store: the end of the third segment stands in the fourth; while, and after, it is read.
#[test]
fn what_was_printed_before_its_segment_failed_is_not_printed_again() {
    let line = numbered("A", &[1]).len() as u64;
    for printed in 1..=3 {
        for (lost, copied) in [(vec![], vec![2, 3]), (vec![(line, 2 * line)], vec![3])] {
            let store = Golden::with(&[&numbered("A", &(1..=printed).collect::<Vec<_>>())]);
            let (mut out, mut complaints) = (Vec::new(), Vec::new());
            let mut show = Show::new(Look::default(), Selection::default(), &mut out, &mut complaints);
            let mut trail = Trail::begin(Index::open(store.path()).unwrap(), Facts::default(), None)
                .unwrap_or_else(|e| panic!("{e}"));
            trail.following = true;
            let mut on = |_: &mut Show<&mut Vec<u8>, &mut Vec<u8>>, _| Ok(ControlFlow::Continue(()));
            assert!(trail.advance(&mut show, &mut on).unwrap().is_continue());
            // Two more were acknowledged; the first record was safe.
            store.segment(1, &numbered("A", &[1, 2, 3]));
            let directory = File::open(store.path()).unwrap();
            let note = GoodTo { segment: name(1), good_to: line, moved_to: Some(name(2)), lost: lost.clone() };
            failed::append(directory.as_fd(), &[note]).unwrap();
            store.segment(2, &[numbered("A", &copied), numbered("A", &[4])].concat());
            File::options().write(true).open(store.path().join(name(1))).unwrap().set_len(line).unwrap();
            trail.refresh().unwrap();
            assert!(trail.advance(&mut show, &mut on).unwrap().is_continue());
            let mut expected: Vec<u64> = (1..=printed).chain(copied.iter().copied().filter(|n| *n > printed)).collect();
            expected.push(4);
            if printed == 2 && !lost.is_empty() {
                // The only one that was printed beyond could not be saved.
                expected = vec![1, 2, 3, 4];
            }
            assert_eq!(text(&out), text(&numbered("A", &expected)), "{printed} {lost:?}");
            assert_eq!(text(&complaints), "");
        }
    }
}

#[test]
fn a_follower_leaves_a_segment_only_when_it_is_final() {
    let store = Golden::with(&[&numbered("A", &[1])]);
    let (mut out, mut complaints) = (Vec::new(), Vec::new());
    let mut show = Show::new(Look::default(), Selection::default(), &mut out, &mut complaints);
    let mut trail =
        Trail::begin(Index::open(store.path()).unwrap(), Facts::default(), None).unwrap_or_else(|e| panic!("{e}"));
    trail.following = true;
    let mut on = |_: &mut Show<&mut Vec<u8>, &mut Vec<u8>>, _| Ok(ControlFlow::Continue(()));
    let mut go = |trail: &mut Trail| {
        assert!(trail.advance(&mut show, &mut on).unwrap().is_continue());
        trail.place().unwrap().sequence
    };
    let offer = |trail: &mut Trail, sequence| trail.offer(SegmentName::parse(&name(sequence)).unwrap());
    assert_eq!(go(&mut trail), 1);
    store.segment(2, b"");
    offer(&mut trail, 2);
    assert_eq!(go(&mut trail), 1); // made, but not live
    store.segment(1, &numbered("A", &[1, 2]));
    std::fs::remove_file(store.path().join("current")).unwrap();
    store.link(2);
    assert_eq!(go(&mut trail), 2);
    // Several at once; some are away before they were read, and a compressed one was never seen as a plain one.
    store.segment(2, &numbered("A", &[3]));
    for sequence in 3..=7 {
        store.segment(sequence, &numbered("A", &[sequence + 1]));
    }
    compress(&store, 7);
    for gone in [4, 5] {
        std::fs::remove_file(store.path().join(name(gone))).unwrap();
    }
    (3..=7).for_each(|sequence| offer(&mut trail, sequence));
    assert_eq!(go(&mut trail), 7);
    assert_eq!(text(&out), text(&numbered("A", &[1, 2, 3, 4, 7, 8])));
    assert_eq!(text(&complaints), "2 segments, number 4 to 5, were deleted before they were read\n");
}

/// Takes bytes as a buffer does, and looks at each write whether the cursor stands behind what was handed on.
struct Checked<'a> {
    cursor: &'a Path,
    written: u64,
    flushed: u64,
    looked: &'a std::cell::Cell<u64>,
}

impl Write for Checked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(text) = Keeper::read(self.cursor)? {
            // All segments are of one length, as the first.
            let Place { sequence, offset } = Cursor::parse(&text).unwrap().place;
            assert!((sequence - 1) * part(0).len() as u64 + offset <= self.flushed, "{text}, {} bytes", self.flushed);
            self.looked.set(self.looked.get() + 1);
        }
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed = self.written;
        Ok(())
    }
}

#[test]
fn the_cursor_is_written_behind_what_was_handed_on() {
    let store = Golden::with(&[&part(0), &part(1), &part(2)]);
    let place = tempfile::tempdir().unwrap();
    let (cursor, looked) = (place.path().join("cursor"), std::cell::Cell::new(0));
    let out = Checked { cursor: &cursor, written: 0, flushed: 0, looked: &looked };
    let mut show = Show::new(Look::default(), Selection::default(), out, io::sink());
    let request = Request { cursor_file: Some(cursor.clone()), ..Request::all(store.path()) };
    assert_eq!(read(&request, &mut show, None, None).unwrap(), 0);
    assert_eq!(looked.get(), 2);
}
