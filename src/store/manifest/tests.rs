use super::*;
use crate::store::failed::GoodTo;
use crate::sys::AsFd;
use crate::sys::file::open_directory;
use proptest::prelude::*;

fn name(sequence: u64) -> String {
    SegmentName { prefix: "messages".into(), sequence, start: 0 }.build()
}

fn seal(sequence: u64) -> Line {
    Line::Seal(Seal {
        segment: name(sequence),
        records: 10,
        bytes: 100,
        lowest: Some("2026-11-22T08:42:00.000000Z".into()),
        highest: None,
        good_to: None,
        torn: None,
        acknowledged: None,
        blake3: "ab".repeat(32),
    })
}

fn pruned(sequence: u64) -> Line {
    Line::Pruned(Pruned { segment: name(sequence), reason: "max-files".into(), time: "2026-11-22T08:42:00Z".into() })
}

fn gone(sequence: u64) -> Line {
    Line::Gone(Gone { segment: name(sequence), time: "2026-11-22T08:42:00Z".into() })
}

/// A directory whose manifest has these lines.
fn written(lines: Vec<Line>) -> (tempfile::TempDir, Manifest) {
    let place = tempfile::tempdir().unwrap();
    let directory = open_directory(place.path()).unwrap();
    let mut manifest = Manifest::default();
    for line in lines {
        manifest.append(directory.as_fd(), vec![line], true).unwrap();
    }
    assert_eq!(Manifest::read(directory.as_fd()).unwrap(), manifest);
    (place, manifest)
}

fn text(place: &tempfile::TempDir) -> Vec<u8> {
    std::fs::read(place.path().join(MANIFEST)).unwrap()
}

#[test]
fn what_is_appended_is_read() {
    let failed = GoodTo { segment: name(2), good_to: 7, moved_to: Some(name(3)), lost: vec![(1, 2)] };
    let (place, manifest) = written(vec![seal(1), Line::Failed(failed.into()), pruned(1), gone(2)]);
    assert_eq!((manifest.flaws.len(), manifest.torn, manifest.lines), (0, 0, 4));
    assert!(manifest.was_pruned(1) && !manifest.was_pruned(2));
    assert_eq!(manifest.failed[&2].good_to, 7);
    let first = String::from_utf8(text(&place)).unwrap().lines().next().unwrap().to_owned();
    assert!(first.starts_with(&format!(r#"{{"seal":"{}","records":10,"bytes":100,"lowest":"#, name(1))), "{first}");
}

#[test]
fn any_change_of_a_line_breaks_the_chain() {
    let (place, _) = written((1..=4).map(seal).collect());
    let whole = text(&place);
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        let manifest = Manifest::parse(&changed);
        assert!(!manifest.flaws.is_empty(), "byte {at}");
    }
    let lines: Vec<&[u8]> = whole.split_inclusive(|&byte| byte == b'\n').collect();
    for order in [&[0, 2, 3][..], &[1, 2, 3], &[0, 2, 1, 3], &[0, 0, 1, 2, 3]] {
        let changed: Vec<u8> = order.iter().flat_map(|&at: &usize| lines[at]).copied().collect();
        assert!(!Manifest::parse(&changed).flaws.is_empty(), "{order:?}");
    }
}

#[test]
fn a_torn_line_is_passed_over_and_the_chain_goes_on() {
    let (place, _) = written(vec![seal(1), seal(2)]);
    let whole = text(&place);
    std::fs::write(place.path().join(MANIFEST), &whole[..whole.len() - 20]).unwrap();
    let directory = open_directory(place.path()).unwrap();
    let mut manifest = Manifest::read(directory.as_fd()).unwrap();
    assert!(manifest.torn > 0 && manifest.seals.len() == 1 && manifest.flaws.is_empty());
    manifest.append(directory.as_fd(), vec![seal(2)], false).unwrap();
    let manifest = Manifest::read(directory.as_fd()).unwrap();
    assert_eq!((manifest.seals.len(), manifest.torn, manifest.flaws.len()), (2, 0, 0));
    assert_eq!((manifest.remnants.len(), manifest.remnants[0].line), (1, 2));
    // Nothing says so of the last line, nor of what is no beginning of a line.
    let text = text(&place);
    let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(Manifest::parse(&lines[..2].concat()).flaws[0].what, "not a line of a manifest");
    for foreign in
        [&b"\n"[..], b"hello\n", b"{\"seal\":\"\x07\n", b"{\"seal\":\"x\"}\n", &lines[0][..lines[0].len() - 1]]
    {
        let manifest = Manifest::parse(&[lines[0], foreign, lines[2]].concat());
        assert!(!manifest.flaws.is_empty(), "{foreign:?}");
    }
    let manifest = Manifest::parse(&[lines[0], b"{\"seal\":\"mess\0\0\0\n", b"{\"pr\n", lines[2]].concat());
    assert_eq!((manifest.remnants.len(), manifest.flaws.len(), manifest.seals.len()), (2, 0, 2));
}

#[test]
fn lines_of_what_is_away_are_folded_and_the_chain_holds() {
    let lines = vec![seal(1), seal(2), seal(3), pruned(1), seal(4), gone(2), pruned(3), seal(5)];
    let (place, mut manifest) = written(lines);
    let directory = open_directory(place.path()).unwrap();
    assert!(!manifest.fold(directory.as_fd(), 5, |sequence| sequence > 3).unwrap());
    assert!(manifest.fold(directory.as_fd(), 3, |sequence| sequence > 3).unwrap());
    let anchor = Anchor { through: 3, files: 3, records: 30, bytes: 300, gone: 0 };
    assert_eq!(manifest.anchor, anchor);
    assert_eq!(manifest, Manifest::read(directory.as_fd()).unwrap());
    assert_eq!((manifest.flaws.len(), manifest.seals.keys().copied().collect::<Vec<_>>()), (0, vec![4, 5]));
    manifest.append(directory.as_fd(), vec![pruned(4), pruned(5)], true).unwrap();
    assert!(manifest.fold(directory.as_fd(), 1, |_| false).unwrap());
    assert_eq!(manifest.anchor, Anchor { through: 5, files: 5, records: 50, bytes: 500, gone: 1 });
    assert_eq!((manifest.lines, manifest.flaws.len()), (1, 0));
}

#[test]
fn an_anchor_cannot_be_changed_either() {
    let (place, mut manifest) = written(vec![seal(1), pruned(1), seal(2), pruned(2), seal(3)]);
    let directory = open_directory(place.path()).unwrap();
    assert!(manifest.fold(directory.as_fd(), 1, |sequence| sequence > 2).unwrap());
    let whole = text(&place);
    assert_eq!((Manifest::parse(&whole).flaws.len(), Manifest::parse(&whole).lines), (0, 2));
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            assert!(!Manifest::parse(&changed).flaws.is_empty(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn what_is_no_manifest_is_an_error_and_does_not_block() {
    let place = tempfile::tempdir().unwrap();
    let directory = open_directory(place.path()).unwrap();
    let path = place.path().join(MANIFEST);
    let refused = || Manifest::read(directory.as_fd()).is_err();
    std::fs::create_dir(&path).unwrap();
    assert!(refused());
    std::fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(refused());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(refused());
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(refused());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in any::<Vec<u8>>(), lines in any::<Vec<(u8, u8)>>()) {
        Manifest::parse(&bytes);
        // Lines of the true form, cut and joined anywhere.
        let (place, _) = written(vec![seal(1), pruned(1), gone(2)]);
        let whole = text(&place);
        let mut mixed = Vec::new();
        for (from, length) in lines {
            let rest = &whole[usize::from(from) * 3 % whole.len()..];
            mixed.extend_from_slice(&rest[..usize::from(length).min(rest.len())]);
        }
        let manifest = Manifest::parse(&mixed);
        prop_assert!(manifest.flaws.len() as u64 <= manifest.flaw_count);
    }
}

#[test]
fn only_segments_of_a_store_are_named() {
    for foreign in [
        &br#"{"seal":"../x.log","records":1,"bytes":1,"blake3":""}"#[..],
        br#"{"pruned":"x","reason":"","time":""}"#,
        br#"{"segment":"x"}"#,
        b"{\"",
        b"",
        b"\0",
    ] {
        assert_eq!(Line::parse(foreign), None);
    }
}

/// A power cut may take just the LF: the line counts, and the next one is chained to it.
#[test]
fn a_line_that_lacks_only_its_newline_counts() {
    let (place, _) = written(vec![seal(1), seal(2)]);
    let whole = text(&place);
    std::fs::write(place.path().join(MANIFEST), &whole[..whole.len() - 1]).unwrap();
    let directory = open_directory(place.path()).unwrap();
    let mut manifest = Manifest::read(directory.as_fd()).unwrap();
    assert_eq!((manifest.seals.len(), manifest.flaws.len()), (2, 0));
    manifest.append(directory.as_fd(), vec![seal(3)], false).unwrap();
    let manifest = Manifest::read(directory.as_fd()).unwrap();
    assert_eq!((manifest.seals.len(), manifest.flaws.len(), manifest.remnants.len()), (3, 0, 0));
}
