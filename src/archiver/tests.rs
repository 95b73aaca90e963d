mod bench;

use super::*;
use crate::config::{Compress, Method, OnDiskFull, Retain};
use crate::ipc::control::Message;
use crate::store::failed::{self, GoodTo};
use crate::store::manifest::MANIFEST;
use crate::store::names::Form;
use crate::sys::file::open_directory;
use bench::{Bench, content, name};
use std::fs;

fn zstd(config: &mut Config) {
    config.compress = Compress { method: Method::Zstd };
}

#[test]
fn closed_segments_are_sealed_and_compressed_and_the_live_one_is_left_alone() {
    let mut bench = Bench::new(3, zstd);
    bench.settle();
    assert_eq!(bench.there(), [(1, ".zst"), (2, ".zst"), (3, ".zst"), (4, "")]);
    let manifest = bench.manifest();
    assert_eq!(manifest.seals.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    let seal = &manifest.seals[&2];
    assert_eq!((seal.records, seal.bytes), (100, content(2).len() as u64));
    assert_eq!(seal.lowest.as_deref(), Some("2026-11-22T08:02:00.000000Z"));
    assert_eq!(seal.highest.as_deref(), Some("2026-11-22T08:02:59.000000Z"));
    assert_eq!(seal.blake3, blake3::hash(content(2).as_bytes()).to_hex().as_str());
    let counts =
        [Count::Sealed, Count::Compressed, Count::Closed, Count::Unsealed, Count::Uncompressed, Count::ArchiveFaults];
    assert_eq!(counts.map(|count| bench.count(count)), [3, 3, 3, 0, 0, 0]);
    assert!(!bench.path(compress::TEMPORARY).exists());
}

#[test]
fn nothing_is_touched_that_is_not_settled() {
    let mut bench = Bench::new(5, |config| {
        zstd(config);
        config.retain = Retain { max_files: Some(1), ..Retain::default() };
    });
    let untold = Bench::over(tempfile::tempdir().unwrap(), |_| {});
    drop(untold);
    // Nothing was told, and then only that 1 and 2 are settled.
    bench.archiver.shelf = Shelf::new(open_directory(bench.place.path()).unwrap());
    bench.settle();
    assert_eq!(bench.there(), (1..=6).map(|sequence| (sequence, "")).collect::<Vec<_>>());
    assert!(!bench.path(MANIFEST).exists());
    bench.archiver.shelf.settle(3);
    bench.settle();
    // 3, 4 and 5 count as closed files all the same.
    assert_eq!(bench.there(), [(3, ""), (4, ""), (5, ""), (6, "")]);
    assert_eq!(bench.manifest().pruned.len(), 2);
    assert_eq!(fs::read_to_string(bench.plain(3)).unwrap(), content(3));
}

#[test]
fn the_live_file_is_never_touched_whatever_is_said() {
    let mut bench = Bench::new(2, |config| {
        zstd(config);
        config.retain = Retain { max_total_size: Some(1), ..Retain::default() };
        config.store.on_disk_full = OnDiskFull::Prune;
    });
    bench.archiver.shelf.settle(1000);
    bench.settle();
    for _ in 0..5 {
        bench.turn(true);
    }
    assert_eq!(bench.there(), [(3, "")]);
}

#[test]
fn what_was_pruned_has_its_line_and_its_companion_goes_too() {
    let mut bench = Bench::new(6, |config| {
        config.retain = Retain { max_files: Some(2), ..Retain::default() };
    });
    fs::write(bench.path(format!("{}.torn", name(1).build())), "x").unwrap();
    bench.settle();
    assert_eq!(bench.there(), [(5, ""), (6, ""), (7, "")]);
    let manifest = bench.manifest();
    assert_eq!(manifest.pruned.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(manifest.pruned.values().all(|pruned| pruned.reason == "max-files"));
    assert!(manifest.gone.is_empty());
    assert!(!bench.path(format!("{}.torn", name(1).build())).exists());
    assert_eq!(bench.count(Count::Pruned), 4);
}

#[test]
fn a_deletion_that_was_interrupted_is_finished() {
    let mut bench = Bench::new(3, |_| {});
    bench.settle();
    let line = Line::Pruned(crate::store::manifest::Pruned {
        segment: name(2).build(),
        reason: "max-files".into(),
        time: crate::store::clock::now_text(),
    });
    let mut manifest = bench.manifest();
    manifest.append(bench.archiver.shelf.fd(), vec![line], true).unwrap();
    let mut bench = bench.dies(|_| {});
    bench.settle();
    assert_eq!(bench.there(), [(1, ""), (3, ""), (4, "")]);
    assert!(bench.manifest().gone.is_empty());
}

/// Somebody has put a file back that was deleted: no rule asks for its deletion again.
#[test]
fn what_was_brought_back_stays() {
    let mut bench = Bench::new(3, |_| {});
    bench.settle();
    let (segment, reason) = (name(2).build(), "max-files".to_owned());
    let line = Line::Pruned(crate::store::manifest::Pruned { segment, reason, time: "2026-01-01T00:00:00Z".into() });
    let mut manifest = bench.manifest();
    manifest.append(bench.archiver.shelf.fd(), vec![line], true).unwrap();
    let mut bench = bench.dies(|_| {});
    bench.settle();
    assert_eq!(bench.there(), [(1, ""), (2, ""), (3, ""), (4, "")]);
}

/// Somebody is just unpacking a file, and nothing is compressed any more: the compressed one is all there is.
#[test]
fn a_compressed_file_stays_until_the_plain_one_is_whole() {
    let mut bench = Bench::new(3, zstd);
    bench.settle();
    assert_eq!(bench.there()[1], (2, ".zst"));
    let plain = bench.path(name(2).build());
    std::fs::write(&plain, &content(2)[..10]).unwrap();
    let mut bench = bench.dies(|config| config.compress.method = crate::config::Method::None);
    bench.settle();
    assert!(bench.path(format!("{}.zst", name(2).build())).exists());
    std::fs::write(&plain, content(2)).unwrap();
    let mut bench = bench.dies(|_| {});
    bench.settle();
    assert_eq!(bench.there()[1], (2, ""));
}

/// What somebody else has put there is not paid for by deletions.
#[test]
fn foreign_files_count_for_no_rule() {
    let mut bench = Bench::new(3, |config| config.retain.max_total_size = Some(1 << 16));
    std::fs::write(bench.path("notes.tar"), vec![0; 1 << 17]).unwrap();
    bench.settle();
    assert_eq!(bench.there(), [(1, ""), (2, ""), (3, ""), (4, "")]);
}

#[test]
fn what_somebody_else_deletes_is_gone_once() {
    let mut bench = Bench::new(3, |_| {});
    bench.settle();
    fs::remove_file(bench.plain(2)).unwrap();
    bench.settle();
    assert_eq!(bench.manifest().gone.iter().copied().collect::<Vec<_>>(), [2]);
    fs::remove_file(bench.plain(1)).unwrap();
    let mut bench = bench.dies(|_| {});
    bench.settle();
    let manifest = bench.manifest();
    assert_eq!((manifest.gone.iter().copied().collect::<Vec<_>>(), manifest.lines), (vec![1, 2], 5));
}

#[test]
fn interrupted_compressions_are_done_again_by_any_method() {
    let plant = |bench: &Bench| {
        for form in [Form::Gzip, Form::Zstd] {
            fs::write(bench.path(form.of(&name(1).build())), "half").unwrap();
        }
        fs::write(bench.path(compress::TEMPORARY), "half").unwrap();
    };
    for (method, suffix) in [(Method::None, ""), (Method::Gzip, ".gz"), (Method::Zstd, ".zst")] {
        let mut bench = Bench::new(1, |config| config.compress = Compress { method });
        plant(&bench);
        bench.settle();
        assert_eq!(bench.there(), [(1, suffix), (2, "")], "{method:?}");
        assert!(!bench.path(compress::TEMPORARY).exists());
        assert_eq!(bench.count(Count::ArchiveFaults), 0);
    }
}

#[test]
fn a_file_that_cannot_be_read_rests_and_the_others_go_on() {
    let mut bench = Bench::new(3, zstd);
    fs::remove_file(bench.plain(1)).unwrap();
    fs::write(bench.path(Form::Zstd.of(&name(1).build())), "no zstd at all").unwrap();
    bench.settle();
    assert_eq!(bench.there(), [(1, ".zst"), (2, ".zst"), (3, ".zst"), (4, "")]);
    assert_eq!(bench.manifest().seals.len(), 2);
    // Some seconds, and the wait doubles.
    assert!((2..=4).contains(&bench.count(Count::ArchiveFaults)), "{}", bench.count(Count::ArchiveFaults));
    assert_eq!(bench.count(Count::Unsealed), 1);
}

#[test]
fn a_file_that_is_not_as_sealed_stays_for_ever() {
    let mut bench = Bench::new(3, |_| {});
    bench.settle();
    let mut bytes = fs::read(bench.plain(2)).unwrap();
    bytes[5] ^= 1;
    fs::write(bench.plain(2), &bytes).unwrap();
    let mut bench = bench.dies(zstd);
    bench.settle();
    assert_eq!(bench.there(), [(1, ".zst"), (2, ""), (3, ".zst"), (4, "")]);
    assert!(fs::read(bench.plain(2)).unwrap() == bytes);
    assert_eq!(bench.count(Count::Uncompressed), 0);
}

#[test]
fn a_store_that_was_moved_away_is_not_touched() {
    let mut bench = Bench::new(3, zstd);
    let path = bench.place.path().to_owned();
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    bench.settle();
    assert!(!aside.join(MANIFEST).exists());
    fs::create_dir(&path).unwrap();
    bench.settle();
    assert!(!aside.join(MANIFEST).exists() && !path.join(MANIFEST).exists());
    fs::remove_dir(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    bench.settle();
    assert_eq!(bench.manifest().seals.len(), 3);
}

#[test]
fn room_is_made_one_segment_for_each_time_and_only_by_that_policy() {
    for policy in [OnDiskFull::Wait, OnDiskFull::Prune] {
        let mut bench = Bench::new(3, |config| config.store.on_disk_full = policy);
        bench.settle();
        bench.turn(true);
        bench.turn(true);
        if policy == OnDiskFull::Wait {
            assert_eq!((bench.there().len(), bench.heard().len()), (4, 0));
            continue;
        }
        assert_eq!(bench.there(), [(3, ""), (4, "")]);
        assert!(matches!(bench.heard()[..], [ToSupervisor::Pruned, ToSupervisor::Pruned]));
        assert_eq!(bench.manifest().pruned[&1].reason, "on-disk-full");
        for _ in 0..3 {
            bench.turn(true);
        }
        assert_eq!((bench.there().len(), bench.heard().len()), (1, 1));
    }
}

#[test]
fn a_compression_under_way_makes_room_first() {
    let mut bench = Bench::new(1, |config| {
        zstd(config);
        config.store.on_disk_full = OnDiskFull::Prune;
    });
    // What does not compress, so that some of it is written at once.
    let noise: Vec<u8> = (0u64..200_000).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
    fs::write(bench.plain(1), noise).unwrap();
    while bench.archiver.compressing.as_mut().is_none_or(|job| job.written() == 0) {
        assert!(bench.turn(false));
    }
    bench.turn(true);
    assert_eq!((bench.there(), bench.heard().len()), (vec![(1, ""), (2, "")], 1));
    assert!(!bench.path(compress::TEMPORARY).exists());
    bench.turn(true);
    assert_eq!(bench.there(), [(2, "")]);
}

#[test]
fn a_number_that_is_there_twice_is_nobodys_unless_one_was_sealed() {
    let other = |sequence| SegmentName { prefix: "n".into(), ..name(sequence) };
    let mut bench = Bench::new(3, |config| {
        config.retain = Retain { max_files: Some(1), ..Retain::default() };
        zstd(config);
    });
    fs::write(bench.path(other(3).build()), "foreign\n").unwrap();
    bench.settle();
    assert_eq!(bench.there(), [(2, ".zst"), (3, ""), (3, ""), (4, "")]);
    fs::write(bench.path(other(2).build()), "foreign\n").unwrap();
    bench.settle();
    let mut bench = bench.dies(|config| config.retain = Retain::default());
    bench.settle();
    assert_eq!(bench.there(), [(2, ".zst"), (2, ""), (3, ""), (3, ""), (4, "")]);
    assert!(bench.manifest().gone.is_empty());
}

#[test]
fn a_segment_that_failed_waits_until_its_end_is_elsewhere() {
    let mut bench = Bench::new(3, zstd);
    let word = |moved_to: Option<u64>| GoodTo {
        segment: name(2).build(),
        good_to: content(2).find('\n').unwrap() as u64 + 1,
        moved_to: moved_to.map(|sequence| name(sequence).build()),
        lost: Vec::new(),
    };
    failed::append(bench.archiver.shelf.fd(), &[word(None)]).unwrap();
    bench.settle();
    assert_eq!(bench.there(), [(1, ".zst"), (2, ""), (3, ".zst"), (4, "")]);
    assert_eq!(bench.manifest().failed[&2].moved_to, None);
    failed::append(bench.archiver.shelf.fd(), &[word(Some(3))]).unwrap();
    bench.settle();
    assert_eq!(bench.there()[1], (2, ".zst"));
    let manifest = bench.manifest();
    let seal = &manifest.seals[&2];
    assert_eq!((seal.records, seal.good_to), (1, Some(word(None).good_to)));
    assert_eq!((manifest.failed[&2].moved_to.clone(), manifest.lines), (Some(name(3).build()), 8));
    // One that failed may be pruned.
    failed::append(bench.archiver.shelf.fd(), &[word(None)]).unwrap();
    let mut bench = bench.dies(|config| config.retain = Retain { max_files: Some(1), ..Retain::default() });
    bench.settle();
    assert_eq!(bench.there(), [(3, ".zst"), (4, "")]);
}

#[test]
fn leaving_drops_what_is_under_way() {
    let mut bench = Bench::new(1, zstd);
    while bench.archiver.compressing.is_none() {
        bench.turn(false);
    }
    // The supervisor's word comes between two pieces.
    fs::write(bench.plain(1), vec![b'x'; 4 << 20]).unwrap();
    assert!(bench.path(compress::TEMPORARY).exists());
    bench.theirs.send(ToArchiver::Leave);
    let begin = Instant::now();
    assert_eq!(bench.archiver.obey(&mut false).unwrap(), Some(exit::OK));
    assert!(begin.elapsed() < Duration::from_secs(1) && !bench.path(compress::TEMPORARY).exists());
    assert!(ToArchiver::decode(&ToArchiver::Leave.encode().0, vec![]).is_some());
}

#[test]
fn the_age_is_that_of_the_last_record_and_a_future_one_is_nobodys() {
    let old = Retain { max_age: Some(Duration::from_secs(3600)), ..Retain::default() };
    let mut bench = Bench::new(4, |config| config.retain = old);
    let stamped = |micros: i64| {
        let stamp = crate::store::record::Stamp::new(crate::store::clock::now_micros() + micros);
        format!("{} 127.0.0.1:1 c-1 x\n", std::str::from_utf8(stamp.as_bytes()).unwrap())
    };
    const HOUR: i64 = 3_600_000_000;
    // Old; as new as can be told; old but behind a newer one; new.
    for (sequence, micros) in [(1, -2 * HOUR), (2, -HOUR / 2), (3, -3 * HOUR), (4, 1000 * HOUR)] {
        fs::write(bench.plain(sequence), stamped(micros)).unwrap();
    }
    bench.settle();
    assert_eq!(bench.there(), [(2, ""), (3, ""), (4, ""), (5, "")]);
}

#[test]
fn what_was_set_aside_is_told() {
    let mut bench = Bench::new(2, |_| {});
    fs::write(bench.place.path().join(name(1).build() + ".torn"), "2026-11-22T08:4").unwrap();
    bench.settle();
    let seals = bench.manifest().seals;
    assert_eq!([1, 2].map(|sequence| seals[&sequence].torn), [Some(15), None]);
}
