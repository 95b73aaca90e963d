//! Clients that mean harm: each is held within its bounds, and the others go on.
//!
//! `ECHOSTORED_TEST_HOSTILE=10000 cargo test --release --test hostile_clients -- --nocapture --test-threads 1` is the long form: so many
//! connections at once, 20 times as many in a storm.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::daemon::{Daemon, Setup, as_user};
use support::{DEADLINE, came_true, control, processes, raise_open_files, wait_until};

/// Connections at once.
fn size() -> usize {
    std::env::var("ECHOSTORED_TEST_HOSTILE").map_or(1000, |text| text.parse().expect("a number"))
}

/// The `n`-th client: of one of many addresses of this machine, so that ports suffice.
fn connect(n: usize, to: SocketAddr) -> std::io::Result<TcpStream> {
    let [_, b, c, _] = u32::try_from(n / 200).unwrap().to_be_bytes();
    let ip = Ipv4Addr::new(127, 1, 1 + b + c, u8::try_from(1 + n % 200).unwrap());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((ip, 0)).into())?;
    socket.connect_timeout(&to.into(), DEADLINE)?;
    Ok(socket.into())
}

/// One line, there and back.
fn round_trip(stream: &mut TcpStream) -> Duration {
    let begin = Instant::now();
    stream.write_all(b"hello\n").unwrap();
    let mut heard = [0; 6];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello\n");
    begin.elapsed()
}

fn honest(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// An honest client's round trips while `harm` is done: how long the slowest of 100 was.
fn others_meanwhile<T>(daemon: &Daemon, harm: impl FnOnce() -> T) -> (T, Duration) {
    let done = AtomicBool::new(false);
    let mut stream = honest(daemon);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut times = Vec::new();
            while !done.load(Ordering::Relaxed) || times.is_empty() {
                times.push(round_trip(&mut stream));
                std::thread::sleep(Duration::from_millis(1));
            }
            times.sort_unstable();
            times[(times.len() - 1) * 99 / 100]
        });
        let result = harm();
        done.store(true, Ordering::Relaxed);
        (result, asking.join().expect("the honest client was served"))
    })
}

/// KiB of memory that the workers hold for themselves. How much of the program is in memory, too, depends on what has run.
fn memory(daemon: &Daemon) -> u64 {
    let of = |pid: &i32| -> u64 { processes::status(*pid, "RssAnon")[0].parse().unwrap() };
    daemon.workers().iter().map(of).sum()
}

/// Clock ticks (100 a second) that the workers have used.
fn ticks(daemon: &Daemon) -> u64 {
    let of = |pid: &i32| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    daemon.workers().iter().map(of).sum()
}

fn counted(daemon: &Daemon, name: &str) -> u64 {
    control::status(daemon)["totals"]["workers"][name].as_u64().unwrap()
}

/// All that came is gone, nobody has died, and it serves.
fn has_recovered(mut daemon: Daemon, workers: &[i32]) {
    let left = || control::status(&daemon)["connections"].as_u64().unwrap();
    wait_until(DEADLINE, "all connections are gone", || left() == 0);
    assert_eq!(daemon.workers(), workers, "a worker has died");
    round_trip(&mut honest(&daemon));
    daemon.stop();
}

#[test]
fn slowloris_is_cut_and_nobody_else_notices() {
    raise_open_files();
    let count = size();
    let setup = Setup::default().set("limits.first-message-timeout", "4s").set("limits.idle-timeout", "6s");
    let daemon = setup.set("limits.max-connections", i64::try_from(count + 100).unwrap()).start();
    let (workers, before) = (daemon.workers(), memory(&daemon));
    let (_, alone) = others_meanwhile(&daemon, || std::thread::sleep(Duration::from_secs(1)));
    let ((most, took), beside) = others_meanwhile(&daemon, || {
        let mut streams: Vec<TcpStream> = (0..count).map(|n| connect(n, daemon.address).unwrap()).collect();
        // Every other one has said something before.
        streams.iter_mut().step_by(2).for_each(|stream| stream.write_all(b"hello\n").unwrap());
        let (begin, mut most) = (Instant::now(), 0);
        while !streams.is_empty() {
            assert!(begin.elapsed() < 2 * DEADLINE, "{} still dribble", streams.len());
            streams.retain_mut(|stream| stream.write_all(b".").is_ok());
            most = most.max(memory(&daemon));
            std::thread::sleep(Duration::from_secs(1));
        }
        (most, begin.elapsed())
    });
    let each = (most.saturating_sub(before) << 10) / count as u64;
    println!(
        "{count} connections: p99 {alone:?} alone, {beside:?} beside them; {each} bytes each; all cut in {took:?}"
    );
    assert_eq!(counted(&daemon, "late") + counted(&daemon, "idle"), count as u64);
    assert!(counted(&daemon, "late") >= count as u64 / 3 && counted(&daemon, "idle") >= count as u64 / 3);
    // What is read into is taken from a stock; unfinished messages are a few bytes in buffers of a page or so.
    assert!(each < 20 << 10, "{each} bytes each");
    assert!(beside < Duration::from_millis(500), "{beside:?} for the others");
    has_recovered(daemon, &workers);
}

#[test]
fn an_endless_line_ends() {
    let daemon = Setup::default().start();
    let (workers, before) = (daemon.workers(), memory(&daemon));
    let (sent, beside) = others_meanwhile(&daemon, || {
        let mut stream = connect(0, daemon.address).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let (line, mut sent) = (vec![b'x'; 1 << 20], 0_u64);
        // Nobody has to listen to all of it: a second after the refusal the connection is gone.
        while stream.write_all(&line).is_ok() {
            sent += 1;
            assert!(sent < 100 << 10, "{sent} MiB without an end of line");
        }
        sent
    });
    println!("{sent} MiB until the end; p99 {beside:?} for others");
    assert!(memory(&daemon) < before + (8 << 10), "{} KiB, {before} KiB before", memory(&daemon));
    assert_eq!(counted(&daemon, "oversize"), 1);
    has_recovered(daemon, &workers);
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let claims: [(&str, &[u8], &str); 4] = [
        ("length-prefixed", b"\xff\xff\xff\xff", "oversize"),
        ("length-prefixed", b"\x80\0\0\0some", "oversize"),
        ("octet-counted", b"4294967296 some", "oversize"),
        ("octet-counted", b"99999999999999999999999999 some", "malformed"),
    ];
    for (framing, claim, count) in claims {
        let daemon = Setup::default().set("server.framing", framing).set("server.max-message-size", "16MiB").start();
        let (workers, before) = (daemon.workers(), memory(&daemon));
        for n in 0..20 {
            let mut stream = connect(n, daemon.address).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.write_all(claim).unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).expect("an orderly end");
            assert_eq!(heard, b"");
        }
        let closed = counted(&daemon, "oversize") + counted(&daemon, "malformed");
        assert_eq!(closed, 20, "{framing} {claim:?}, {count}");
        assert!(memory(&daemon) < before + (4 << 10), "{} KiB, {before} KiB before", memory(&daemon));
        let mut daemon = daemon;
        wait_until(DEADLINE, "all are gone", || control::status(&daemon)["connections"] == 0);
        assert_eq!(daemon.workers(), workers);
        daemon.stop();
    }
}

/// Connects as fast as it can, from four threads; how many came through, in what time.
fn storm(daemon: &Daemon, count: usize, deed: impl Fn(usize, TcpStream) + Sync) -> (usize, Duration) {
    let begin = Instant::now();
    let come = |first: usize| {
        let one = |n: usize| connect(n, daemon.address).map(|stream| deed(n, stream)).is_ok();
        (first..count).step_by(4).filter(|n| one(*n)).count()
    };
    let come = &come;
    let through = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|first| scope.spawn(move || come(first))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    (through, begin.elapsed())
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_storm_of_resets_leaves_nothing_behind() {
    let daemon = Setup::default().start();
    let (workers, before) = (daemon.workers(), memory(&daemon));
    let count = 5 * size();
    let ((through, took), beside) = others_meanwhile(&daemon, || {
        storm(&daemon, count, |n, mut stream| {
            // At the door, in a message, or with an echo on its way.
            let words: [&[u8]; 3] = [b"", b"half", b"whole\nwhole\nhalf"];
            let _ = stream.write_all(words[n % 3]);
            reset(stream);
        })
    });
    println!("{through} of {count} connected and reset in {took:?}; p99 {beside:?} for others");
    assert!(through > count / 2 && beside < Duration::from_secs(1), "{through}, {beside:?}");
    assert!(memory(&daemon) < before + (16 << 10), "{} KiB, {before} KiB before", memory(&daemon));
    has_recovered(daemon, &workers);
}

#[test]
fn a_storm_of_connections_is_got_through() {
    let daemon = Setup::default().set("limits.max-connections-per-ip", 2000).start();
    let (workers, before) = (daemon.workers(), memory(&daemon));
    let count = 20 * size();
    let ((through, took), beside) = others_meanwhile(&daemon, || storm(&daemon, count, |_, stream| reset(stream)));
    let rate = through as f64 / took.as_secs_f64();
    println!("{through} of {count} connected in {took:?}, {rate:.0}/s; p99 {beside:?} for others");
    assert!(through > count / 2 && beside < Duration::from_secs(2), "{through}, {beside:?}");
    assert!(memory(&daemon) < before + (16 << 10), "{} KiB, {before} KiB before", memory(&daemon));
    has_recovered(daemon, &workers);
}

/// Descriptors of a worker are used up: it waits, asks now and then, and goes on when there are some.
#[test]
fn without_descriptors_it_waits_and_does_not_spin() {
    let daemon = Setup::default().start();
    let workers = daemon.workers();
    for pid in &workers {
        let held = processes::descriptors(*pid).len();
        let limit = format!("--nofile={0}:{0}", held + 20);
        let mut command = Command::new("prlimit");
        command.args(["--pid", &pid.to_string(), &limit]);
        // Nobody may do this to another user's process without a capability.
        as_user(&mut command);
        match command.status() {
            Ok(status) => assert!(status.success(), "prlimit: {status}"),
            Err(error) => return support::skip(&format!("no prlimit: {error}")),
        }
    }
    let mut inside = honest(&daemon);
    round_trip(&mut inside);
    let crowd: Vec<TcpStream> = (0..200).map(|n| connect(n, daemon.address).unwrap()).collect();
    wait_until(DEADLINE, "no descriptor is left", || counted(&daemon, "accept_pauses") >= 2);
    assert!(daemon.log().contains("cannot accept a connection"));
    let (before, begin) = (ticks(&daemon), Instant::now());
    let mut slowest = Duration::ZERO;
    while begin.elapsed() < Duration::from_secs(2) {
        slowest = slowest.max(round_trip(&mut inside));
        std::thread::sleep(Duration::from_millis(20));
    }
    let used = ticks(&daemon) - before;
    println!("{used} ticks in 2 s; slowest round trip of who is inside {slowest:?}");
    assert!(used < 40, "{used} ticks of CPU in two seconds");
    drop(crowd);
    let mut next = honest(&daemon);
    round_trip(&mut next);
    assert!(came_true(DEADLINE, || control::status(&daemon)["connections"] == 2));
    drop((inside, next));
    has_recovered(daemon, &workers);
}

/// Those that hold all the memory with echoes that they never read keep nobody out who wants next to nothing.
#[test]
fn a_crowd_that_never_reads_is_bounded_and_cut() {
    raise_open_files();
    let daemon = Setup::default().set("limits.write-timeout", "3s").set("limits.max-buffered", "8MiB").start();
    let (workers, before) = (daemon.workers(), memory(&daemon));
    let count = size() / 10;
    let line = [vec![b'x'; 60_000], b"\n".to_vec()].concat();
    let (most, beside) = others_meanwhile(&daemon, || {
        let deaf = |n| {
            let stream = connect(n, daemon.address).unwrap();
            SockRef::from(&stream).set_recv_buffer_size(1 << 14).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        };
        let mut streams: Vec<TcpStream> = (0..count).map(deaf).collect();
        let (begin, mut most) = (Instant::now(), 0);
        while begin.elapsed() < Duration::from_secs(8) || streams.len() > count * 9 / 10 {
            assert!(begin.elapsed() < 2 * DEADLINE, "{} are still there", streams.len());
            // As much as goes in, never a byte out.
            streams.retain_mut(|stream| match stream.write(&line) {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            });
            most = most.max(memory(&daemon));
            std::thread::sleep(Duration::from_millis(20));
        }
        most
    });
    println!("{count} that never read: {} KiB more; p99 {beside:?} for others", most.saturating_sub(before));
    assert!(most < before + (64 << 10), "{most} KiB, {before} KiB before");
    assert!(beside < Duration::from_secs(2), "{beside:?} for the others");
    assert!(counted(&daemon, "timed_out") > 0);
    has_recovered(daemon, &workers);
}
