use super::*;
use crate::archiver::seal::Sealing;
use crate::store::content::Content;
use crate::sys::AsFd;
use crate::sys::file::open_directory;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

fn name() -> SegmentName {
    SegmentName { prefix: "m".into(), sequence: 7, start: 0 }
}

/// A segment of so many lines.
fn store(lines: usize) -> (tempfile::TempDir, Vec<u8>) {
    let place = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..lines).flat_map(|n| format!("line {n} {}\n", n * n).into_bytes()).collect();
    fs::write(place.path().join(name().build()), &bytes).unwrap();
    (place, bytes)
}

fn seal(directory: BorrowedFd<'_>, form: Form, cut: Option<u64>) -> Seal {
    let mut sealing = Sealing::begin(directory, &name(), form, cut, None, None).unwrap();
    loop {
        if let Some(seal) = sealing.step().unwrap() {
            return seal;
        }
    }
}

/// Whether it was compressed.
fn run(directory: BorrowedFd<'_>, form: Form, seal: &Seal) -> io::Result<bool> {
    let mut job = Compressing::begin(directory, &name(), form, seal)?;
    loop {
        match job.step()? {
            Progress::More => {}
            Progress::Changed => return Ok(false),
            Progress::Whole(packed) => {
                let written = file::open_at(directory, TEMPORARY, Access::Read, 0)?;
                assert_eq!(packed.bytes, written.metadata()?.len());
                let hash = blake3::Hasher::new().update_reader(written)?.finalize();
                assert_eq!(packed.blake3, hash.to_hex().to_string());
                return job.place(directory);
            }
        }
    }
}

#[test]
fn both_methods_keep_bytes_mode_and_time_and_leave_one_file() {
    for form in [Form::Gzip, Form::Zstd] {
        let (place, bytes) = store(100_000);
        let plain = place.path().join(name().build());
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        fs::File::options().write(true).open(&plain).unwrap().set_modified(time).unwrap();
        fs::set_permissions(&plain, PermissionsExt::from_mode(0o604)).unwrap();
        let directory = open_directory(place.path()).unwrap();
        let before = seal(directory.as_fd(), Form::Plain, None);
        assert_eq!((before.records, before.bytes), (100_000, bytes.len() as u64));
        assert!(run(directory.as_fd(), form, &before).unwrap());
        let names: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [&*form.of(&name().build())]);
        let metadata = place.path().join(&names[0]).metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.modified().unwrap()), (0o604, time));
        assert_eq!(seal(directory.as_fd(), form, None), before, "sealed again from the compressed file");
        let mut back = Vec::new();
        let file = fs::File::open(place.path().join(&names[0])).unwrap();
        Content::new(file, form, u64::MAX).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == bytes);
    }
}

#[test]
fn what_is_not_as_sealed_stays() {
    let (place, bytes) = store(1000);
    let plain = place.path().join(name().build());
    let directory = open_directory(place.path()).unwrap();
    let sealed = seal(directory.as_fd(), Form::Plain, None);
    let mut flipped = bytes.clone();
    flipped[77] ^= 1;
    let longer = [&bytes[..], b"more\n"].concat();
    for changed in [&flipped, &longer, &bytes[..bytes.len() - 1].to_vec(), &Vec::new()] {
        fs::write(&plain, changed).unwrap();
        assert!(!run(directory.as_fd(), Form::Zstd, &sealed).unwrap());
        assert!(fs::read(&plain).unwrap() == *changed);
        drop_temporary(directory.as_fd()).unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}

#[test]
fn what_was_moved_away_is_left_out() {
    let (place, bytes) = store(1000);
    let directory = open_directory(place.path()).unwrap();
    let end = 17 + bytes[17..].iter().position(|&byte| byte == b'\n').unwrap() as u64 + 1;
    let sealed = seal(directory.as_fd(), Form::Plain, Some(end));
    assert_eq!((sealed.bytes, sealed.good_to), (end, Some(end)));
    assert!(run(directory.as_fd(), Form::Gzip, &sealed).unwrap());
    assert_eq!(seal(directory.as_fd(), Form::Gzip, Some(end)), sealed);
}

#[test]
fn an_interrupted_one_is_done_again_and_other_forms_go_first() {
    let (place, _) = store(1000);
    let directory = open_directory(place.path()).unwrap();
    let sealed = seal(directory.as_fd(), Form::Plain, None);
    for planted in [TEMPORARY.to_owned(), Form::Gzip.of(&name().build()), Form::Zstd.of(&name().build())] {
        fs::write(place.path().join(planted), "half").unwrap();
    }
    assert!(run(directory.as_fd(), Form::Zstd, &sealed).unwrap());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    assert_eq!(seal(directory.as_fd(), Form::Zstd, None), sealed);
}
