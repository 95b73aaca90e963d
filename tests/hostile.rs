//! A worker that was broken into sends what it likes up its pipe, and says what it likes to the supervisor: the test plays
//! it, through that worker's own descriptors, with all that it knows (its link's secret, the next number). Nobody else's
//! records are harmed, and the writer neither dies nor says what is not so.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::fcntl::{SpliceFFlags, tee};
use nix::libc;
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use support::checker::{self, Expect};
use support::client::{Client, History, Messages};
use support::control::status;
use support::daemon::{Daemon, Setup};
use support::drive::{drive, serve};
use support::framing::{Format, Framing};
use support::home::Home;
use support::{DEADLINE, processes, wait_until};

const KILLED: Expect = Expect { max_size: None, empty_files: true, gaps: false };
/// Larger than any record of these daemons (messages of 64 KiB, at most four bytes for each, and a head).
const TOO_LARGE: usize = 600_000;

fn connect(daemon: &Daemon) -> Client {
    Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 300)).unwrap().quota(0)
}

/// Sends so many more messages, and hears all of them.
fn talk(client: &mut Client, messages: usize) {
    client.allow(messages);
    drive(std::slice::from_mut(client), "its echoes", |clients| clients[0].served());
    assert!(!client.ended(), "its connection was closed");
}

fn sockets(pid: i32) -> usize {
    processes::descriptors(pid).iter().filter(|held| held.target.starts_with("socket:")).count()
}

/// A connection, and the worker that has it.
fn settle(daemon: &Daemon) -> (Client, i32) {
    let before: Vec<(i32, usize)> = daemon.workers().into_iter().map(|pid| (pid, sockets(pid))).collect();
    let mut client = connect(daemon);
    talk(&mut client, 1);
    let grown = before.iter().find(|(pid, count)| sockets(*pid) > *count);
    (client, grown.expect("some worker has it").0)
}

/// A connection that `worker` has; others that came on the way are over.
fn settle_at(daemon: &Daemon, worker: i32, over: &mut Vec<History>) -> Client {
    for _ in 0..200 {
        let (client, at) = settle(daemon);
        if at == worker {
            return client;
        }
        over.push(client.leave());
        wait_until(DEADLINE, "its end", || status(daemon)["connections"].as_u64().is_some_and(|count| count <= 1));
    }
    panic!("worker {worker} gets no connection");
}

/// What a worker knows of its link, and the way into it.
struct Link {
    pipe: File,
    secret: u64,
    next: u64,
}

/// Opens a pipe that a process holds once more.
fn open_again(pid: i32, number: i32, write: bool) -> File {
    let mut options = File::options();
    options.read(!write).write(write).custom_flags(libc::O_NONBLOCK);
    options.open(format!("/proc/{pid}/fd/{number}")).unwrap()
}

impl Link {
    /// Takes it from an honest frame, which the writer, stopped for that long, leaves in the pipe.
    fn steal(daemon: &Daemon, worker: i32, client: &mut Client) -> Self {
        let held = processes::descriptors(worker);
        let number = held.iter().find(|held| held.is_pipe() && held.writes()).expect("its data pipe").number;
        let (pipe, source) = (open_again(worker, number, true), open_again(worker, number, false));
        let writer = daemon.writer();
        processes::signal(writer, Signal::SIGSTOP);
        wait_until(DEADLINE, "a stopped writer", || processes::stopped(writer));
        client.allow(1);
        let (mut copy, sink) = nix::unistd::pipe().map(|(read, write)| (File::from(read), write)).unwrap();
        wait_until(DEADLINE, "a frame", || {
            drive(std::slice::from_mut(client), "sent", |_| true);
            let _ = support::drive::turn(std::slice::from_mut(client));
            tee(&source, &sink, 1 << 16, SpliceFFlags::SPLICE_F_NONBLOCK).is_ok_and(|count| count >= 32)
        });
        let mut header = [0; 16];
        copy.read_exact(&mut header).unwrap();
        let [secret, number] = [0, 8].map(|at| u64::from_le_bytes(header[at..at + 8].try_into().unwrap()));
        processes::signal(writer, Signal::SIGCONT);
        drive(std::slice::from_mut(client), "its echo", |clients| clients[0].served());
        Self { pipe, secret, next: number + 1 }
    }

    /// A frame by its fields.
    fn frame(&self, secret: u64, sequence: u64, fields: [u32; 4], body: &[u8]) -> Vec<u8> {
        let words = [secret, sequence].map(u64::to_le_bytes).concat();
        [words, fields.map(u32::to_le_bytes).concat(), body.to_vec()].concat()
    }

    /// One with the right secret and number: length, records, kind, offset.
    fn next(&self, fields: [u32; 4], body: &[u8]) -> Vec<u8> {
        self.frame(self.secret, self.next, fields, body)
    }

    fn records(&self, body: &[u8]) -> Vec<u8> {
        self.next([u32::try_from(body.len()).unwrap(), 1, 0, 0], body)
    }
}

/// What no worker of ours sends.
fn attacks(link: &Link) -> Vec<(&'static str, Vec<u8>)> {
    let body = b"2026-01-01T00:00:00.000000Z 1.2.3.4:5 x-1 hello\n";
    let length = u32::try_from(body.len()).unwrap();
    let large = u32::try_from(TOO_LARGE).unwrap();
    let unfinished = &body[..body.len() - 1];
    vec![
        ("garbage", (0..=255).cycle().take(4096).collect()),
        ("zeros", vec![0; 64]),
        ("a wrong secret", link.frame(link.secret ^ 1, link.next, [length, 1, 0, 0], body)),
        ("a replayed frame", link.frame(link.secret, link.next - 1, [length, 1, 0, 0], body)),
        ("a gap", link.frame(link.secret, link.next + 1, [length, 1, 0, 0], body)),
        ("the greatest number", link.frame(link.secret, u64::MAX, [length, 1, 0, 0], body)),
        ("a huge length", link.next([u32::MAX, 1, 0, 0], body)),
        ("no length", link.next([0, 1, 0, 0], b"")),
        ("no records", link.next([length, 0, 0, 0], body)),
        ("more records than bytes", link.next([length, u32::MAX, 0, 0], body)),
        ("an unknown kind", link.next([length, 1, 7, 0], body)),
        ("an unknown flag", link.next([length, 1, 1 << 31, 0], body)),
        ("an offset of whole records", link.next([length, 1, 0, 9], body)),
        ("a record without its end", link.next([length - 1, 1, 0, 0], unfinished)),
        ("a fragment that begins in the middle", link.next([length, 0, 1, 4096], body)),
        ("a last fragment without a first", link.next([length, 1, 2, 4096], body)),
        ("a last fragment without its end", link.next([length - 1, 1, 2, 0], unfinished)),
        ("a fragment at the greatest offset", link.next([length, 0, 1, u32::MAX], body)),
        ("a fragment beyond the largest record", link.next([large, 0, 1, 0], &vec![b'x'; TOO_LARGE])),
        ("records in the midst of a record in fragments", {
            let second = link.frame(link.secret, link.next + 1, [length, 1, 0, 0], body);
            [link.next([length - 1, 0, 1, 0], unfinished), second].concat()
        }),
        ("a good frame and garbage behind it", [link.records(body), vec![0xff; 64]].concat()),
    ]
}

/// The one that is attacked, and the others' histories.
struct Scene {
    daemon: Daemon,
    /// Of another worker than the attacked one.
    bystander: Client,
    beside: i32,
    writer: i32,
    over: Vec<History>,
}

impl Scene {
    fn set(setup: Setup) -> Self {
        let daemon = setup.start();
        let (bystander, beside) = settle(&daemon);
        let writer = daemon.writer();
        Self { daemon, bystander, beside, writer, over: Vec::new() }
    }

    /// The worker that is to be broken into, with a client of its own, and its link.
    fn take_over(&mut self) -> (i32, Client, Link) {
        let mut victim = 0;
        wait_until(DEADLINE, "another worker that serves", || {
            victim = self.daemon.workers().into_iter().find(|pid| *pid != self.beside).unwrap_or(0);
            victim > 0
                && status(&self.daemon)["workers"].as_array().unwrap().iter().all(|worker| worker["ready"] == true)
        });
        let mut client = settle_at(&self.daemon, victim, &mut self.over);
        let link = Link::steal(&self.daemon, victim, &mut client);
        (victim, client, link)
    }

    /// The bystander is served as before, by the same worker, through the same writer.
    fn nobody_else_is_harmed(&mut self, what: &str) {
        talk(&mut self.bystander, 50);
        assert_eq!(self.daemon.writer(), self.writer, "{what}: the writer died:\n{}", self.daemon.log());
        assert!(processes::runs(self.beside), "{what}: the worker beside it died");
        self.daemon.remember();
    }

    /// Everything that was echoed is stored, and nothing that was not sent.
    fn end(mut self) {
        self.over.push(self.bystander.leave());
        self.daemon.stop();
        checker::check(&self.daemon.store(), Format::Text, &self.over, KILLED);
    }
}

#[test]
fn what_no_worker_sends_is_refused_and_its_sender_replaced() {
    let mut scene = Scene::set(Setup::default());
    let count = attacks(&Link { pipe: File::open("/dev/null").unwrap(), secret: 0, next: 9 }).len();
    for index in 0..count {
        let (worker, client, mut link) = scene.take_over();
        let (what, bytes) = attacks(&link).swap_remove(index);
        link.pipe.write_all(&bytes).unwrap();
        wait_until(DEADLINE, &format!("{what}: the sender's end"), || !processes::runs(worker));
        wait_until(DEADLINE, &format!("{what}: it is counted"), || {
            status(&scene.daemon)["totals"]["writer"]["broken_links"] == index + 1
        });
        scene.over.push(client.leave());
        scene.nobody_else_is_harmed(what);
    }
    let log = scene.daemon.log();
    assert_eq!(log.matches("sent what no worker sends; it is killed").count(), count, "{log}");
    scene.end();
}

/// What the worker's death cuts off is dropped; it was echoed to nobody.
#[test]
fn what_is_never_finished_is_dropped_with_its_sender() {
    let mut scene = Scene::set(Setup::default());
    let head = 8192_u32;
    let body = vec![b'x'; head as usize];
    for (index, what) in ["half a header", "half a frame", "a record that never ends"].into_iter().enumerate() {
        let (worker, client, mut link) = scene.take_over();
        let bytes = match index {
            0 => link.records(b"x\n")[..20].to_vec(),
            1 => link.next([2 * head, 1, 0, 0], &body),
            _ => (0..8_u32)
                .flat_map(|n| link.frame(link.secret, link.next + u64::from(n), [head, 0, 1, n * head], &body))
                .collect(),
        };
        link.pipe.write_all(&bytes).unwrap();
        scene.nobody_else_is_harmed(what);
        drop(link);
        processes::signal(worker, Signal::SIGKILL);
        wait_until(DEADLINE, &format!("{what} is dropped"), || {
            status(&scene.daemon)["totals"]["writer"]["torn_frames"] == index + 1
        });
        scene.over.push(client.leave());
        scene.nobody_else_is_harmed(what);
    }
    assert_eq!(status(&scene.daemon)["totals"]["writer"]["broken_links"], 0);
    scene.end();
}

/// What cannot be told from an honest worker's: records of its own making, whole ones, in frames of its own. They stand
/// beside the others', never in them.
#[test]
fn a_forged_record_stands_for_itself() {
    let mut scene = Scene::set(Setup::default());
    let (worker, client, mut link) = scene.take_over();
    let forged = b"2026-01-01T00:00:00.000000Z 192.0.2.1:1 forged-1 never sent\n";
    link.pipe.write_all(&link.records(forged)).unwrap();
    let current = scene.daemon.current();
    let stored =
        || fs::read(&current).unwrap().split_inclusive(|byte| *byte == b'\n').filter(|line| *line == forged).count();
    wait_until(DEADLINE, "it is stored", || stored() == 1);
    scene.nobody_else_is_harmed("a forged record");
    assert!(processes::runs(worker) && stored() == 1);
    // Its end is to tell of the worker's.
    drop(link);
    // Without it the store is what the clients know.
    scene.over.push(client.leave());
    scene.over.push(scene.bystander.leave());
    scene.daemon.stop();
    let store = scene.daemon.store();
    let file = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "log")).unwrap();
    let kept: Vec<u8> = fs::read(&file)
        .unwrap()
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| *line != forged)
        .flatten()
        .copied()
        .collect();
    File::options().write(true).truncate(true).open(&file).unwrap().write_all(&kept).unwrap();
    checker::check(&store, Format::Text, &scene.over, KILLED);
}

/// The writer dies with a batch of it under way, and garbage comes behind that: the next writer repeats the batch, and
/// only then meets the garbage.
#[test]
fn garbage_behind_a_batch_that_must_be_repeated() {
    let home = Home::new();
    let happened = home.join("crashed");
    let setup = Setup::default()
        .set("server.workers", 1)
        .environment("ECHOSTORED_CRASH", "after-intent@2")
        .environment("ECHOSTORED_CRASH_ONCE", happened.to_str().unwrap());
    let mut daemon = setup.start_in(home);
    let mut client = connect(&daemon);
    talk(&mut client, 1);
    let worker = daemon.workers()[0];
    let number = processes::descriptors(worker).iter().find(|held| held.is_pipe() && held.writes()).unwrap().number;
    let mut pipe = open_again(worker, number, true);
    let supervisor = daemon.supervisor();
    daemon.signal(Signal::SIGSTOP);
    wait_until(DEADLINE, "a stopped supervisor", || processes::stopped(supervisor));
    client.allow(1);
    wait_until(DEADLINE, "the writer's death", || {
        let _ = support::drive::turn(std::slice::from_mut(&mut client));
        happened.exists()
    });
    pipe.write_all(&[0xee; 200]).unwrap();
    drop(pipe);
    daemon.signal(Signal::SIGCONT);
    wait_until(DEADLINE, "the worker's end", || !processes::runs(worker));
    let again = connect(&daemon).quota(20);
    let mut histories = serve(vec![again]);
    histories.push(client.leave());
    let log = daemon.log();
    assert!(log.contains("repeating a batch of 1 frames"), "{log}");
    assert_eq!(status(&daemon)["totals"]["writer"]["broken_links"], 1, "{log}");
    daemon.remember();
    daemon.stop();
    let report = checker::check(&daemon.store(), Format::Text, &histories, KILLED);
    assert_eq!(report.stored, [20, 2]);
}

/// A descriptor of another process (pidfd_getfd(2)); needs the right to trace it.
#[allow(unsafe_code)]
fn borrow(pid: i32, number: i32) -> Option<OwnedFd> {
    // SAFETY: both calls take numbers; what they return is a new descriptor of ours alone, or an error.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let process = OwnedFd::from_raw_fd(i32::try_from(process).ok().filter(|fd| *fd >= 0)?);
        let fd = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        Some(OwnedFd::from_raw_fd(i32::try_from(fd).ok().filter(|fd| *fd >= 0)?))
    }
}

/// Its end of the channel to the supervisor: what it must not say there ends it, however much of it comes.
#[test]
fn what_no_worker_says_ends_it() {
    let mut scene = Scene::set(Setup::default());
    // Ready once more; words of the writer; what is no word.
    let words: [&[u8]; 4] = [&[0], &[4, 1, 0, 0, 0, 0, 0, 0, 0], &[6], &[200, 1, 2]];
    for word in words {
        let (worker, client, _) = scene.take_over();
        let packets = |held: &processes::Descriptor| {
            let fd = held.target.starts_with("socket:").then(|| borrow(worker, held.number)).flatten()?;
            let kind = socket2::SockRef::from(&fd).r#type().ok()?;
            (kind == socket2::Type::SEQPACKET).then_some(fd)
        };
        let Some(channel) = processes::descriptors(worker).iter().find_map(packets) else {
            return support::skip("no right to another process's descriptors (pidfd_getfd)");
        };
        for _ in 0..100 {
            let _ = nix::sys::socket::send(channel.as_raw_fd(), word, nix::sys::socket::MsgFlags::MSG_NOSIGNAL);
        }
        drop(channel);
        wait_until(DEADLINE, &format!("{word:?} ends it"), || !processes::runs(worker));
        scene.over.push(client.leave());
        scene.nobody_else_is_harmed("a word");
    }
    scene.end();
}
