//! The life of closed files: each step is kept from being done, and then is.
use crate::clients::{connect_from, say};
use crate::eye::Eye;
use crate::seen::Seen;
use crate::support::control;
use crate::support::daemon::{Daemon, Setup};
use crate::support::home::Home;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Some ten files of 4 KiB.
fn feed(daemon: &Daemon) {
    let client = connect_from("127.0.0.1", daemon.address);
    (0..40).for_each(|_| say(&client, &format!("{}\n", ".".repeat(1000))));
}

pub fn play(seen: &Seen) {
    let home = Home::new();
    let well = home.join("well");
    let hook = vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("[ -e {} ]", well.display())];
    let setup = Setup::default().set("rotate.max-size", "4KiB").set("rotate.interval", "1h");
    let setup = setup.set("rotate.on-close", hook);
    let mut daemon = crate::start_in(home, setup.set("compress.method", "zstd"));
    let eye = Eye::new(seen, &daemon);
    let until = |what: &str, is_so: &dyn Fn(&Value) -> bool| eye.until(what, |told| is_so(&told["archiver"]));
    let some = |value: &Value| value.as_u64() > Some(0);
    // One that can be read only, and a directory where the other should be.
    let (manifest, temporary) = (daemon.store().join("MANIFEST.jsonl"), daemon.store().join(".archiver.tmp"));
    fs::write(&manifest, "").unwrap();
    fs::set_permissions(&manifest, PermissionsExt::from_mode(0o444)).unwrap();
    fs::create_dir_all(temporary.join("in the way")).unwrap();
    feed(&daemon);
    until("files that cannot be sealed", &|told| {
        ["closed", "closed_bytes", "oldest_closed", "unsealed", "unhooked", "archive_faults"]
            .iter()
            .all(|count| some(&told[count]))
    });
    fs::remove_file(&manifest).unwrap();
    until("files that cannot be compressed", &|told| some(&told["sealed"]) && some(&told["uncompressed"]));
    fs::remove_dir_all(&temporary).unwrap();
    until("a hook that fails", &|told| {
        told["uncompressed"] == 0 && some(&told["compressed"]) && some(&told["hook_failures_in_a_row"])
    });
    fs::write(&well, "").unwrap();
    until("the hook is done", &|told| {
        told["unhooked"] == 0 && told["unsealed"] == 0 && told["hook_failures_in_a_row"] == 0 && some(&told["hooked"])
    });
    daemon.reconfigure(|setup| setup.set("retain.max-files", 2));
    assert_eq!(control::tell(&daemon, &["reload"]).code, 0);
    until("two files are left", &|told| some(&told["pruned"]) && told["closed"] == 2);
    daemon.stop();
}
