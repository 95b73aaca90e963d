//! What is no store, and what cannot be read: one clear line, the right exit code, nothing changed, never a wait.
use crate::store::{Store, filled};
use crate::support::daemon::{command, run};
use crate::support::home::Home;
use nix::sys::stat::Mode;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn what_is_no_store() {
    let home = Home::new();
    home.make_dir("empty");
    home.write("file", "x");
    for (place, why) in
        [("empty", "is not an echostored store"), ("absent", "No such file"), ("file", "Not a directory")]
    {
        for json in [&["--json"][..], &[]] {
            let path = home.join(place);
            let arguments = [&["verify", "--directory", path.to_str().unwrap()], json].concat();
            let ended = run(&home, command(&arguments));
            assert_eq!((ended.code, ended.stdout.as_str()), (74, ""), "{ended:?}");
            assert!(ended.stderr.contains(why) && ended.stderr.lines().count() == 1, "{ended:?}");
        }
    }
    assert_eq!(run(&home, command(&["verify", "--no-such-option"])).code, 2);
}

#[test]
fn a_manifest_that_is_none() {
    let store = Store::copy(&filled(1), "");
    let whole = fs::read(store.manifest()).unwrap();
    let path = store.manifest();
    let refused = |why: &str| {
        let before = fs::symlink_metadata(&path).unwrap().modified().unwrap();
        store.is_bad(&["MANIFEST.jsonl: cannot read: ", why]);
        assert_eq!(fs::symlink_metadata(&path).unwrap().modified().unwrap(), before);
    };
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("not a regular file");
    fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, Mode::S_IRWXU | Mode::S_IRGRP | Mode::S_IROTH).unwrap();
    refused("not a regular file");
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    refused("");
    fs::remove_file(&path).unwrap();
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    refused("longer than any manifest");
    let binary: Vec<u8> = (0..=255u8).cycle().take(100_000).collect();
    fs::write(&path, binary).unwrap();
    store.is_bad(&["MANIFEST.jsonl:1:0: not a line of a manifest"]);
    fs::write(&path, whole).unwrap();
    store.is_whole();
}

#[test]
fn files_that_cannot_be_read_or_unpacked() {
    let daemon = filled(2);
    let store = Store::copy(&daemon, ".zst");
    let file = store.files()[0].clone();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 5]).unwrap();
    let told = store.is_bad(&[super::name(&file), "cannot be unpacked beyond byte "]);
    assert_eq!(told.lines().filter(|line| line.contains(super::name(&file))).count(), 1, "{told}");
    // Bytes that nobody has sealed: the same.
    fs::remove_file(store.manifest()).unwrap();
    store.is_bad(&[super::name(&file), "cannot be unpacked beyond byte "]);
    fs::write(&file, b"").unwrap();
    store.is_bad(&[super::name(&file), "empty, where something compressed should be"]);
    fs::write(&file, b"no zstd").unwrap();
    store.is_bad(&[super::name(&file), "cannot be unpacked beyond byte 0 "]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    store.is_bad(&[super::name(&file), "not the name of a regular file of records"]);

    // By a user who may not read it.
    let path = daemon.store().join(super::name(&store.files()[1]).strip_suffix(".zst").unwrap());
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let ended = run(daemon.home(), command(&["verify", "--directory", daemon.store().to_str().unwrap()]));
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains(": cannot open: Permission denied"), "{ended:?}");
}
