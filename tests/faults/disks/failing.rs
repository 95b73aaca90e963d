//! A disk that fails while the kernel writes back: ext4 on a sparse image, on a tmpfs that is too small for it.
//!
//! The first `fdatasync` after that returns EIO, the next one would return 0: the kernel has marked the pages clean.
use super::*;
use crate::support::{processes, skip};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

/// Segments that failed, or were just begun, hold nothing.
const KILLED: Expect = Expect { max_size: None, empty_files: true, gaps: false };

/// The tmpfs under the image.
struct Thin {
    place: PathBuf,
}

impl Thin {
    const OPTIONS: Option<&str> = Some("size=12M");

    fn new(home: &Home) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("mounting needs root");
            return None;
        }
        let place = home.make_dir("thin");
        mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), Self::OPTIONS).unwrap();
        Some(Self { place })
    }

    /// A disk that keeps what it promised.
    fn grow(&self) {
        mount(None::<&str>, &self.place, None::<&str>, MsFlags::MS_REMOUNT, Some("size=256M")).unwrap();
    }
}

impl Drop for Thin {
    fn drop(&mut self) {
        let _ = umount2(&self.place, MntFlags::MNT_DETACH);
    }
}

/// Watches the syncs and writes of the daemon from outside.
struct Trace {
    strace: Child,
    output: PathBuf,
}

impl Trace {
    fn of(daemon: &Daemon) -> Option<Self> {
        let output = daemon.home().join("trace");
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-qq", "-e", "trace=fdatasync,fsync,pwritev,pwrite64", "-o"]).arg(&output);
        let writer = daemon.writer();
        let tasks = fs::read_dir(format!("/proc/{writer}/task")).unwrap().count();
        for pid in [daemon.supervisor(), writer] {
            command.args(["-p", &pid.to_string()]);
        }
        let strace = match command.stdin(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(strace) => strace,
            Err(_) => {
                skip("no strace");
                return None;
            }
        };
        let attached = || {
            let tasks = fs::read_dir(format!("/proc/{writer}/task")).unwrap();
            let tracer = |path: PathBuf| fs::read_to_string(path.join("status")).unwrap_or_default();
            tasks.filter(|task| !tracer(task.as_ref().unwrap().path()).contains("TracerPid:\t0\n")).count()
        };
        wait_until(DEADLINE, "strace is attached", || attached() == tasks);
        Some(Self { strace, output })
    }

    /// Watches no more. A segment that failed once was never synced or written again; returns how many failed.
    fn assert_never_again(mut self) -> usize {
        processes::signal(self.strace.id().cast_signed(), Signal::SIGINT);
        self.strace.wait().unwrap();
        let text = fs::read_to_string(&self.output).unwrap();
        let (mut failed, mut unfinished) = (HashSet::new(), HashMap::new());
        for line in text.lines() {
            let (thread, call) = line.split_once(' ').expect("a thread's id");
            let path = call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path);
            let path = match path {
                Some(path) if call.contains(" resumed>") || path.starts_with("... ") => unfinished.remove(thread),
                // Other names are given to a new file each time.
                Some(path) if path.contains("/messages-") => {
                    assert!(!failed.contains(path), "after it had failed: {line}");
                    Some(path)
                }
                _ => None,
            };
            let Some(path) = path else { continue };
            if call.ends_with("<unfinished ...>") {
                unfinished.insert(thread, path);
            } else if call.contains("sync") && call.contains(") = -1 E") {
                failed.insert(path);
            }
        }
        failed.len()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        processes::end(self.strace.id().cast_signed());
        let _ = self.strace.wait();
    }
}

struct Rig {
    daemon: Daemon,
    trace: Trace,
    disk: Disk,
    thin: Thin,
}

impl Rig {
    /// `journal`: its blocks are there, so that only data can fail.
    fn new(journal: bool) -> Option<Self> {
        let home = Home::new();
        let thin = Thin::new(&home)?;
        // The larger journal has blocks that were never written for as long as the tmpfs has room.
        let arguments: &[&str] =
            if journal { &["-b", "4096", "-J", "size=4"] } else { &["-b", "4096", "-J", "size=16"] };
        let make = Make { bytes: 64 << 20, arguments, ..Make::EXT4 };
        let disk = Disk::store_on(&home, make, thin.place.join("disk.img"))?;
        // The loop driver takes a short write of its file for a whole one (seen on Linux 6.18: `fdatasync` returned 0, the block
        // was never stored). A request of one page is written or fails.
        let name = disk.device().replace("/dev/", "");
        fs::write(format!("/sys/block/{name}/queue/max_sectors_kb"), "4").unwrap();
        if journal {
            let filler = File::create(disk.place().join(".filler")).unwrap();
            for length in 0..500 {
                filler.set_len(length).unwrap();
                filler.sync_all().unwrap();
            }
            let there = fs::metadata(disk.image()).unwrap().blocks() * 512;
            assert!(there > 4 << 20, "{there} bytes of the image are there: the journal is not");
        }
        let daemon = Setup::default().set("server.echo", "synced").start_in(home);
        let trace = Trace::of(&daemon)?;
        Some(Self { daemon, trace, disk, thin })
    }
}

/// The answer of the second `fdatasync` would be a lie: nobody asks. A new segment is tried until the disk is well again.
#[test]
fn a_failed_sync_is_believed_and_the_service_goes_on_when_the_disk_is_well() {
    let Some(Rig { mut daemon, trace, disk, thin }) = Rig::new(true) else { return };
    let load = Load::start(daemon.address, light());
    wait_until(DEADLINE, "a sync that fails", || told(&daemon, "it is not used again") > 0);
    // Some attempts to begin a new segment fail as well.
    assert!(!came_true(Duration::from_secs(3), || told(&daemon, "storing again") > 0), "the disk was well again");
    assert_silence(&load);
    let echoed = load.echoed();
    thin.grow();
    wait_until(DEADLINE, "echoes go on", || load.echoed() > echoed + 1000);
    let histories = load.finish();
    daemon.stop();
    let failed = trace.assert_never_again();
    assert!(failed > 0, "{failed} files failed");
    println!(
        "{failed} files failed; {} messages echoed",
        histories.iter().map(|history| history.echoed).sum::<usize>()
    );
    // Not what the page cache says, but what is on the disk.
    disk.unmount();
    disk.mount();
    is_whole(&daemon, &histories, KILLED);
}

/// Nothing is echoed, the log names the remedy once, and after the repair everything that was echoed is there.
#[test]
fn a_journal_that_aborts_ends_the_echoes_and_loses_none() {
    let Some(Rig { mut daemon, trace, disk, thin }) = Rig::new(false) else { return };
    let load = Load::start(daemon.address, Shape { on_break: OnBreak::Leave, ..light() });
    let root = disk.place().join(".probe");
    let aborted = || File::create(&root).is_err_and(|error| error.raw_os_error() == Some(nix::libc::EROFS));
    wait_until(DEADLINE, "a read-only disk", aborted);
    wait_until(DEADLINE, "the daemon tells", || told(&daemon, "cannot begin a new segment") > 0);
    assert_silence(&load);
    // Longer than a retry takes: each cause (no space, then read-only) is told once, and not with each.
    let again = || {
        let log = daemon.log();
        let lines = log.lines().filter_map(|line| line.split_once("cannot begin a new segment"));
        let mut causes: Vec<&str> = lines.map(|(_, cause)| cause).collect();
        causes.sort_unstable();
        causes.windows(2).any(|pair| pair[0] == pair[1])
    };
    assert!(!came_true(Duration::from_secs(3), again), "told again");
    let remedies = told(&daemon, "remount it writable") + told(&daemon, "the disk fails, the kernel's log");
    assert!(remedies > 0, "no remedy is told");
    assert!(trace.assert_never_again() > 0, "nothing failed");
    daemon.kill_all();
    let histories = load.finish();
    thin.grow();
    repair(&disk);
    daemon.start_again();
    is_whole(&daemon, &histories, KILLED);
    daemon.stop();
}

fn repair(disk: &Disk) {
    disk.unmount();
    let checked = Command::new("e2fsck").args(["-f", "-p"]).arg(disk.image()).output().unwrap();
    // 1: errors were corrected.
    assert!(checked.status.code().is_some_and(|code| code <= 1), "e2fsck: {checked:?}");
    disk.mount();
}

/// An error that the kernel finds in the file system (`errors=remount-ro`). Such a one cannot be remounted writable.
#[test]
fn a_disk_gone_read_only_takes_no_echo_and_what_it_has_is_there_after_the_repair() {
    for echo in ["synced", "stored"] {
        let home = Home::new();
        let Some(disk) = Disk::store(&home, Make { options: "loop,errors=remount-ro", ..Make::EXT4 }) else { return };
        let mut daemon = Setup::default().set("server.echo", echo).set("store.sync-interval", "50ms").start_in(home);
        let shape = Shape { on_break: OnBreak::Leave, rest: Duration::from_millis(2), ..light() };
        let load = Load::start(daemon.address, shape);
        load.progress(1000);
        let trigger = disk.device().replace("/dev/", "/sys/fs/ext4/") + "/trigger_fs_error";
        // Not in the midst of a sync: the kernel may answer that one with 0 and have stored nothing.
        let writer = daemon.writer();
        processes::signal(writer, Signal::SIGSTOP);
        wait_until(DEADLINE, "the writer stands still", || processes::stopped(writer));
        let moment = Instant::now();
        fs::write(&trigger, "1").unwrap();
        processes::signal(writer, Signal::SIGCONT);
        wait_until(DEADLINE, "the daemon tells", || told(&daemon, "Read-only file system") > 0);
        assert_silence(&load);
        let before = daemon.log().lines().count();
        // The write, the sync beside it, and the new segment fail one after the other: a line or two for each, once.
        let flood = || daemon.log().lines().count() > before + 5;
        assert!(!came_true(Duration::from_secs(3), flood), "told with each attempt");
        assert!(told(&daemon, "remount it writable") > 0, "no remedy is told");
        daemon.kill_all();
        let histories = load.finish();
        repair(&disk);
        daemon.start_again();
        harm::verify(&daemon);
        if echo == "synced" {
            checker::check(&daemon.store(), Format::Text, &histories, KILLED);
        } else {
            // As in a power cut: what no sync has covered is gone with the page cache.
            let report = checker::check_what_is_left(&daemon.store(), Format::Text, &histories, KILLED);
            for (history, stored) in histories.iter().zip(report.stored) {
                assert!(stored >= history.echoed_until(moment - Duration::from_millis(500)), "{}", history.peer);
            }
        }
        daemon.stop();
        drop((disk, daemon));
    }
}
