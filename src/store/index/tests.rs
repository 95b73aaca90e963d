use super::*;
use std::io::Write;

fn name(sequence: u64) -> SegmentName {
    SegmentName { prefix: "messages".into(), sequence, start: 0 }
}

fn read(index: &Index, sequence: u64, offset: u64, cut: Option<u64>) -> Result<Vec<u8>, OpenError> {
    let mut bytes = Vec::new();
    index.open_segment(&name(sequence), offset, cut)?.lines.source_mut().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_segment_is_read_from_any_line_in_any_form() {
    let place = tempfile::tempdir().unwrap();
    let text = b"one\ntwo\nthree\n";
    let write = |file: String, bytes: &[u8]| std::fs::write(place.path().join(file), bytes).unwrap();
    write(name(1).build(), text);
    write(Form::Zstd.of(&name(2).build()), &zstd::encode_all(&text[..], 1).unwrap());
    write(Form::Gzip.of(&name(3).build()), &gzip(text));
    write(Form::Gzip.of(&name(1).build()), b"not whole yet");
    std::fs::create_dir(place.path().join(name(4).build())).unwrap();
    let index = Index::open(place.path()).unwrap();
    assert_eq!(index.segments, [1, 2, 3, 4].map(name));
    for sequence in 1..=3 {
        for offset in [0, 4, 8, 14] {
            assert_eq!(read(&index, sequence, offset, None).unwrap(), text[usize::try_from(offset).unwrap()..]);
        }
        assert_eq!(read(&index, sequence, 4, Some(8)).unwrap(), b"two\n");
        assert!(matches!(read(&index, sequence, 15, None), Err(OpenError::Beyond(14))));
        assert!(matches!(read(&index, sequence, 9, Some(8)), Err(OpenError::Beyond(8))));
        assert!(matches!(read(&index, sequence, 5, None), Err(OpenError::InLine)));
        assert_eq!(index.has_bytes(&name(sequence)), Some(true));
    }
    assert!(matches!(read(&index, 4, 0, None), Err(OpenError::Gone)));
    assert!(matches!(read(&index, 5, 0, None), Err(OpenError::Gone)));
    assert_eq!(index.has_bytes(&name(5)), None);
}

#[test]
fn half_a_line_is_read_again() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join(name(1).build());
    std::fs::write(&path, "one\nhalf").unwrap();
    let index = Index::open(place.path()).unwrap();
    let mut opened = index.open_segment(&name(1), 0, None).unwrap();
    let next = |opened: &mut Opened| match opened.lines.next_piece().unwrap() {
        Some(crate::store::reader::Piece::Lines { bytes, .. }) => bytes.to_vec(),
        _ => Vec::new(),
    };
    assert_eq!((next(&mut opened), next(&mut opened)), (b"one\n".to_vec(), Vec::new()));
    // A batch that was given up, and another in its place.
    std::fs::write(&path, "one\nother\n").unwrap();
    opened.look_again();
    assert_eq!((next(&mut opened), opened.lines.offset()), (b"other\n".to_vec(), 10));
}

#[test]
fn the_manifest_is_read_without_its_chain() {
    let text = format!(
        "{{\"seal\":\"{0}\",\"records\":3,\"bytes\":14,\"blake3\":\"\",\"chain\":\"x\"}}\n{{\"seal\":\"../x\",\"records\":3,\"bytes\":14,\"blake3\":\"\"}}\ngarbage\n{{\"failed\":\"{0}\",\"good-to\":4,\"moved-to\":\"{1}\",\"chain\":\"x\"}}\n{{\"seal\":\"torn",
        name(1).build(),
        name(2).build()
    );
    let facts = Facts::parse(text.as_bytes(), true);
    assert_eq!((facts.seals.len(), facts.seals[&1].records, facts.failed[0].good_to), (1, 3, 4));
    assert!(Facts::parse(text.as_bytes(), false).seals.is_empty());
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join(MANIFEST), text).unwrap();
    std::fs::write(place.path().join(name(1).build()), "one\ntwo\nthree\n").unwrap();
    let index = Index::open(place.path()).unwrap();
    let cut = |index: &Index| {
        let failures = index.failures(&index.facts(false).unwrap()).unwrap();
        failures.cut(&name(1).build(), |name| index.exists(name))
    };
    assert_eq!(cut(&index), None);
    std::fs::write(place.path().join(name(2).build()), "").unwrap();
    assert_eq!(cut(&index), Some(4));
}

#[test]
fn the_path_may_lead_elsewhere_by_now() {
    let place = tempfile::tempdir().unwrap();
    let (path, old) = (place.path().join("store"), place.path().join("old"));
    let make = || {
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join(".store"), "").unwrap();
    };
    make();
    let index = Index::open(&path).unwrap();
    assert_eq!(index.now(), Now::Same);
    std::fs::rename(&path, &old).unwrap();
    assert_eq!(index.now(), Now::Nothing);
    make();
    assert_eq!(index.now(), Now::Another);
    assert!(matches!(Index::open(place.path()), Err(Unusable::NotAStore(_))));
}
