//! Real power cuts: a user-mode-Linux guest runs the daemon and its clients, and the host ends the guest's whole kernel at a
//! random moment. The clients' histories are what the guest had written to its console by then.
//!
//! The image is checked on the host. What the guest had handed to its disk is in the image, flushed or not: a flush that is
//! missing below the file system is not seen here. `ECHOSTORED_TEST_UML_CUTS` raises (or lowers) the number of cuts.
use super::rounds::Rounds;
use crate::support::client::{Client, History, Messages};
use crate::support::daemon::Setup;
use crate::support::disk::{Disk, Make};
use crate::support::drive;
use crate::support::framing::Framing;
use crate::support::home::{self, Home};
use crate::support::seed::{Chance, count, seed};
use crate::support::{DEADLINE, came_true, harm, skip};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const KERNEL: &str = "linux.uml";
const CLIENTS: usize = 6;
const SMALLEST: usize = 16;
const LARGEST: usize = 300;
/// Tells the guest what its disk is; unset on the host.
const GUEST: &str = "ECHOSTORED_TEST_GUEST";

/// What the guest's kernel runs first. The host's files are its root, read-only.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin RUST_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir /run/tmp
ip link set lo up
export TMPDIR=/run/tmp
"#;

/// What the guest's kernel needs on a processor that it does not know; see there.
fn make_preload(home: &Home) -> Result<(), String> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shim/uml.c");
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-shared", "-fPIC", "-o"]).arg(home.join("uml.so")).arg(source);
    let made = compile.output().map_err(|_| "no C compiler (cc)".to_owned())?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// A guest that runs; its kernel ends with the value.
struct Guest {
    kernel: Child,
    console: PathBuf,
}

impl Guest {
    fn boot(home: &Home, disk: &Disk, kind: &str, seed: u64) -> Self {
        let console = home.join("console");
        let (init, program) = (home.join("init"), std::env::current_exe().unwrap());
        let environment = format!("export {GUEST}={kind} ECHOSTORED_TEST_SEED={seed}\n");
        let run = format!("exec {} --ignored --exact power::uml::guest --nocapture\n", program.display());
        fs::write(&init, format!("{INIT}{environment}{run}")).unwrap();
        fs::set_permissions(&init, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new(KERNEL);
        command.args(["mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"]);
        command.args(["con=null", "con0=null,fd:1", "con1=null", "ssl=null"]);
        command.arg(format!("init={}", init.display())).arg(format!("ubd0={}", disk.image().display()));
        let out = File::create(&console).unwrap();
        // A process group of its own: the kernel has helpers, which would keep the disk.
        command.env("HOME", home.path()).env("LD_PRELOAD", home.join("uml.so")).process_group(0).stdin(Stdio::null());
        let kernel = command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        Self { kernel, console }
    }

    /// What the console has said, whole lines of it.
    fn said(&self) -> String {
        let text = String::from_utf8_lossy(&fs::read(&self.console).unwrap()).into_owned();
        text[..text.rfind('\n').map_or(0, |at| at + 1)].replace('\r', "")
    }

    fn cut(&mut self) {
        assert!(self.kernel.try_wait().unwrap().is_none(), "the guest ended by itself:\n{}", self.said());
        killpg(Pid::from_raw(self.kernel.id().cast_signed()), Signal::SIGKILL).unwrap();
        self.kernel.wait().unwrap();
    }

    /// The last that is known of each client.
    fn histories(&self, seed: u64) -> Vec<History> {
        let said = self.said();
        let mut histories: Vec<History> =
            said.lines().filter_map(|line| history(line.strip_prefix("client ")?, seed)).collect();
        assert_eq!(histories.len(), CLIENTS, "{said}");
        let counts = |line: &str| -> Option<Vec<usize>> {
            let counts = line.strip_prefix("echoed ")?.strip_suffix(" .")?;
            counts.split(' ').map(|count| count.parse().ok()).collect()
        };
        for counts in said.lines().filter_map(counts).filter(|counts| counts.len() == CLIENTS) {
            histories.iter_mut().zip(counts).for_each(|(history, count)| history.echoed = count);
        }
        histories
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.kernel.id().cast_signed()), Signal::SIGKILL);
        let _ = self.kernel.wait();
    }
}

/// `NUMBER PEER`. What it has sent is not known: anything that it would have sent may be stored.
fn history(line: &str, seed: u64) -> Option<History> {
    let (client, peer) = line.split_once(' ')?;
    let (framing, client) = (Framing::Line, client.parse().ok()?);
    let messages = Messages::Generated { framing, client, seed, smallest: SMALLEST, largest: LARGEST };
    Some(History {
        peer: peer.parse().ok()?,
        messages,
        cut_by_reads: false,
        sent: usize::MAX,
        echoed: 0,
        sent_bytes: 0,
        echoed_bytes: 0,
        echoed_by: Vec::new(),
        end: None,
    })
}

/// A kernel in user space boots slowly where others want the CPU.
const BOOT: Duration = DEADLINE.saturating_mul(5);

fn cuts(make: Make, usual: usize) {
    if Command::new(KERNEL).arg("--version").output().is_err() {
        return skip(&format!("no {KERNEL} (package user-mode-linux)"));
    }
    let wanted = count("ECHOSTORED_TEST_UML_CUTS", usual);
    let home = Home::new();
    if let Err(why) = make_preload(&home) {
        return skip(&why);
    }
    let Some(disk) = Disk::store(&home, make) else { return };
    let mut chance = Chance::new(seed());
    let mut rounds = Rounds::default();
    let mut daemon = Setup::default().start_in(home);
    daemon.stop();
    let (mut echoed, mut checked, mut torn) = (0, 0, 0);
    for round in 0..wanted {
        let first = Rounds::newest(&disk);
        disk.unmount();
        // Other messages in each round: a port may be used again.
        let seed = seed() + round as u64;
        let mut guest = Guest::boot(daemon.home(), &disk, make.kind, seed);
        let began = came_true(BOOT, || guest.said().contains("echoed "));
        assert!(began, "no echo in the guest:\n{}", guest.said());
        harm::some_time(&mut chance, Duration::from_millis(1500));
        guest.cut();
        disk.mount();
        let histories = guest.histories(seed);
        let heard: usize = histories.iter().map(|history| history.echoed).sum();
        assert!(heard > 0, "no load");
        echoed += heard;
        rounds.add(first, histories);
        rounds.clear(&disk);
        daemon.start_again();
        assert!(daemon.log().contains("the last end was not a clean one"), "nothing was cut");
        harm::verify(&daemon);
        checked += rounds.check(&disk).records;
        // The next guest finds a clean end, or a second unclean one.
        if chance.below(2) == 0 {
            daemon.stop()
        } else {
            daemon.kill_all()
        }
        torn = daemon.log().matches("are no whole record").count();
    }
    println!(
        "{wanted} power cuts of a guest on {}: {echoed} messages echoed, {checked} records checked, {torn} torn ends, 0 \
         violations; seed {}",
        make.kind,
        seed()
    );
}

#[test]
fn a_guest_on_ext4_loses_nothing_that_synced_echoed() {
    cuts(Make::EXT4, 8);
}

#[test]
fn a_guest_on_xfs_loses_nothing_that_synced_echoed() {
    cuts(Make::XFS, 4);
}

/// The guest's side: a daemon on the disk, and clients that tell the console what they hear, until the power is cut.
#[test]
#[ignore = "runs inside the guest"]
fn guest() {
    let Ok(kind) = std::env::var(GUEST) else { return };
    let home = Home::new();
    let store = home.make_dir("store");
    mount(Some("/dev/ubda"), &store, Some(kind.as_str()), MsFlags::empty(), None::<&str>).unwrap();
    let _ = fs::remove_dir(Path::new(&store).join("lost+found"));
    home::give_away(&store);
    let setup = Setup::default().set("server.echo", "synced").set("rotate.max-size", "32KiB");
    let daemon = setup.start_in(home);
    let connect = |_| {
        let messages = Messages::generated(Framing::Line, SMALLEST, LARGEST);
        Client::connect(daemon.address, Framing::Line, messages).unwrap()
    };
    let mut clients: Vec<Client> = (0..CLIENTS).map(connect).collect();
    // The test runner's line ends here.
    println!();
    for client in &clients {
        let Messages::Generated { client: number, .. } = client.history.messages else { continue };
        println!("client {number} {}", client.history.peer);
    }
    let mut last = 0;
    loop {
        drive::turn(&mut clients).unwrap();
        let counts: Vec<usize> = clients.iter().map(|client| client.history.echoed).collect();
        if counts.iter().sum::<usize>() > last {
            last = counts.iter().sum();
            let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
            println!("echoed {} .", counts.join(" "));
        }
    }
}
