use std::os::unix::fs::symlink;

use super::*;

fn numbers(listing: &Listing) -> Vec<u64> {
    listing.segments.iter().map(|segment| segment.name.sequence).collect()
}

#[test]
fn segments_are_sorted_by_sequence_and_the_last_with_bytes_is_live() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &str| fs::write(directory.path().join(name), bytes).unwrap();
    write("b-0000000010-20200101T000000Z.log", "ten\n");
    write("a-0000000011-20190101T000000Z.log", "");
    write("b-0000000009-20210101T000000Z.log", "");
    write("b-0000000009-20210101T000000Z.log.torn", "no\n");
    for other in [".lock", ".store", ".clean", "MANIFEST.jsonl"] {
        write(other, "no\n");
    }
    let listing = Listing::new(directory.path()).unwrap();
    assert_eq!(numbers(&listing), [9, 10, 11]);
    assert_eq!((listing.live(), listing.foreign.len(), listing.current), (Some(1), 0, None));
    let mut lines = listing.open(&listing.segments[1]).unwrap();
    assert_eq!(lines.next_piece().unwrap(), Some(Piece::Lines { offset: 0, number: 1, bytes: b"ten\n" }));
}

#[test]
fn a_name_that_became_a_symlink_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b-0000000010-20200101T000000Z.log");
    fs::write(&path, "").unwrap();
    let listing = Listing::new(directory.path()).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(listing.open(&listing.segments[0]).unwrap_err().kind(), io::ErrorKind::NotFound);
    symlink("/etc/passwd", &path).unwrap();
    assert!(listing.open(&listing.segments[0]).is_err());
}

#[test]
fn the_store_itself_may_be_reached_by_a_symlink() {
    // As systemd lays out a state directory of a dynamic user.
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("private")).unwrap();
    fs::write(directory.path().join("private/.store"), "").unwrap();
    symlink("private", directory.path().join("store")).unwrap();
    assert!(Listing::new(&directory.path().join("store")).is_ok());
}

#[test]
fn formats_by_the_first_line_or_the_two_after_it() {
    let text = "2026-11-22T08:42:00.123456Z [::1]:5 A-1 x\n";
    for (lines, format) in [
        (text.to_owned(), Format::Text),
        (format!("{text}x\ny\n"), Format::Text),
        (format!("x\n{text}{text}"), Format::Text),
        (format!("x\n{text}y\n"), Format::Raw),
        (format!("x\n{text}"), Format::Raw),
        ("{\"time\":\n".to_owned(), Format::Jsonl),
        ("\n".to_owned(), Format::Raw),
        (String::new(), Format::Raw),
    ] {
        assert_eq!(detect(lines.as_bytes()), format, "{lines}");
    }
}
