//! What the daemon costs when it does nothing: time until it is ready, wake-ups, memory, the size of its file.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::daemon::{Daemon, Setup, as_user, free_address};
use support::home::{self, Home};
use support::{DEADLINE, processes, raise_open_files, skip, wait_until};

/// What `cargo build --release` makes, beside the tests' own.
fn release() -> Option<PathBuf> {
    let binary = Path::new(env!("CARGO_BIN_EXE_echostored")).parent()?.parent()?.join("release/echostored");
    let found = binary.is_file();
    if !found {
        skip(&format!("no {}", binary.display()));
    }
    found.then_some(binary)
}

#[test]
fn the_stripped_binary_has_at_most_8_mb() {
    let Some(binary) = release() else { return };
    let home = Home::new();
    let stripped = home.join("stripped");
    match Command::new("strip").arg("-o").arg(&stripped).arg(&binary).status() {
        Ok(status) => assert!(status.success(), "strip: {status}"),
        Err(error) => return skip(&format!("no strip: {error}")),
    }
    let bytes = std::fs::metadata(&stripped).unwrap().len();
    println!("{bytes} bytes stripped");
    // 6 MB, a megabyte for TLS, half of one for what draws on a terminal, and a little for metrics and the texts of messages.
    assert!(bytes <= 8_000_000, "{bytes} bytes");
}

/// From the exec to `READY=1`, over a store that is there already.
fn time_to_ready(binary: &Path, home: &Home, config: &Path, socket: &UnixDatagram) -> Duration {
    let mut command = Command::new(binary);
    command.arg("run").arg("--config").arg(config).env("NOTIFY_SOCKET", home.join("notify"));
    as_user(&mut command);
    let begin = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut heard = [0; 4096];
    let ready = loop {
        let length = socket.recv(&mut heard).expect("a notification");
        if heard[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            break begin.elapsed();
        }
    };
    processes::signal(child.id().cast_signed(), nix::sys::signal::Signal::SIGTERM);
    wait_until(DEADLINE, "the end", || child.try_wait().unwrap().is_some_and(|status| status.success()));
    ready
}

#[test]
fn it_is_ready_within_50_ms() {
    // The target with room for a busy machine; the figure itself is printed.
    let most = Duration::from_millis(5 * 50);
    let home = Home::new();
    home.make_dir("run");
    let setup = Setup::default().listen(&[free_address()]);
    let config = home.write("echostored.toml", &setup.text(&home));
    let socket = UnixDatagram::bind(home.join("notify")).unwrap();
    home::give_away(&home.join("notify"));
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    // nobody may not be allowed to reach the build's folder.
    let Some(binary) = release() else { return };
    let copy = home.join("echostored");
    std::fs::copy(binary, &copy).unwrap();
    let mut times: Vec<Duration> = (0..21).map(|_| time_to_ready(&copy, &home, &config, &socket)).collect();
    // The first one makes the store.
    times.remove(0);
    times.sort_unstable();
    println!("ready after {:?} (median of {}; {:?} to {:?})", times[10], times.len(), times[0], times[19]);
    assert!(times[10] <= most, "{:?}", times[10]);
}

/// Voluntary context switches of all threads so far, and clock ticks used.
fn activity(pid: i32) -> (u64, u64) {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let switches = |task: &Path| -> u64 {
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let numbers: Vec<&str> = stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace().collect();
    let ticks = numbers[11].parse::<u64>().unwrap() + numbers[12].parse::<u64>().unwrap();
    (tasks.map(|task| switches(&task.unwrap().path())).sum(), ticks)
}

/// All roles, with their titles.
fn roles(daemon: &Daemon) -> Vec<(i32, String)> {
    let named = |pid| Some((pid, processes::title(pid)?));
    processes::family(daemon.supervisor()).into_iter().filter_map(named).collect()
}

/// Holds that each role sleeps but for two wake-ups a second, and uses hardly any CPU: a tick is 10 ms, and what a virtual
/// machine's host takes away may be counted as used.
fn is_quiet(daemon: &Daemon, span: Duration) {
    // What follows the start, or the load, is done first: two looks at the same second are not the matter here.
    std::thread::sleep(Duration::from_secs(2));
    let roles = roles(daemon);
    let before: Vec<(u64, u64)> = roles.iter().map(|(pid, _)| activity(*pid)).collect();
    let begin = Instant::now();
    std::thread::sleep(span);
    let seconds = begin.elapsed().as_secs_f64();
    let most = (2.0 * seconds).ceil() as u64 + 3;
    for ((pid, title), before) in roles.iter().zip(before) {
        let after = activity(*pid);
        let (wakes, ticks) = (after.0 - before.0, after.1 - before.1);
        println!("{title}: {wakes} wake-ups and {ticks} ticks of CPU in {seconds:.1} s");
        assert!(wakes <= most, "{title} woke {wakes} times in {seconds} s");
        assert!(ticks <= most, "{title} used {ticks} ticks of CPU in {seconds} s");
    }
}

#[test]
fn an_idle_daemon_sleeps() {
    let mut daemon = Setup::default().start();
    is_quiet(&daemon, Duration::from_secs(6));
    daemon.stop();
}

/// Memory that is a process's alone, in KiB, of all roles together.
fn private_memory(daemon: &Daemon) -> u64 {
    let of = |(pid, _): &(i32, String)| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let private =
            text.lines().filter(|line| line.starts_with("Private_Dirty:") || line.starts_with("Private_Clean:"));
        private.map(|line| line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
    };
    roles(daemon).iter().map(of).sum()
}

#[test]
fn an_idle_connection_takes_at_most_a_kibibyte() {
    const CONNECTIONS: usize = 2000;
    raise_open_files();
    let mut daemon = Setup::default().start();
    let connect =
        |count| -> Vec<TcpStream> { (0..count).map(|_| TcpStream::connect(daemon.address).unwrap()).collect() };
    let served = |streams: &[TcpStream]| {
        for mut stream in streams {
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.write_all(b"hello world\n").unwrap();
            stream.read_exact(&mut [0; 12]).unwrap();
        }
    };
    // Code that is run for the first time becomes private memory too: not what is asked for here.
    let warm = connect(20);
    served(&warm);
    let before = private_memory(&daemon);
    let idle = connect(CONNECTIONS);
    // Each was accepted, has had its echo, and sleeps.
    served(&idle);
    let after = private_memory(&daemon);
    let each = (after.saturating_sub(before) * 1024) / CONNECTIONS as u64;
    println!("{each} bytes for each of {CONNECTIONS} idle connections ({before} KiB before, {after} KiB after)");
    assert!(each <= 1024, "{each} bytes each");
    is_quiet(&daemon, Duration::from_secs(4));
    drop((warm, idle));
    daemon.stop();
}
