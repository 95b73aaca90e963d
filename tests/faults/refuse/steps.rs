//! The writer dies at each step of a refusal, once: before and behind the frames' leaving the pipe, and while the segment is
//! left in which a batch was given up.
use super::{SIZE, check, client, load, setup};
use crate::support::client::{Client, End, History};
use crate::support::daemon::{Daemon, Setup};
use crate::support::drive::{drive, serve};
use crate::support::home::Home;
use crate::support::load::Load;
use crate::support::small::Small;
use crate::support::{DEADLINE, processes, wait_until};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const STEPS: [&str; 3] = ["refuse-committed", "refuse-consumed", "half-refuse"];
/// The states of the rotation by which a segment is left.
const LEAVING: [&str; 5] = ["rotate-created", "rotate-synced", "rotate-linked", "rotate-swapped", "rotate-published"];

/// A daemon that dies once at the `passage`-th time that its writer comes by `point`, unless the file is there, which also
/// tells that it has happened.
fn doomed(home: &Home, point: &str, passage: usize) -> (Setup, PathBuf) {
    println!("{point}@{passage}");
    let happened = home.join("crashed");
    let setup = setup("stored").environment("ECHOSTORED_CRASH", &format!("{point}@{passage}"));
    (setup.environment("ECHOSTORED_CRASH_ONCE", happened.to_str().unwrap()), happened)
}

/// It goes on refusing, and then storing.
fn goes_on(mut daemon: Daemon, small: &Small, load: Load, happened: &Path) {
    wait_until(DEADLINE, "the crash", || happened.exists());
    let broken = load.broken();
    wait_until(DEADLINE, "refusals by the next writer", || load.broken() > broken + 10);
    daemon.remember();
    small.give_room();
    load.progress(100);
    let histories = load.finish();
    check(&mut daemon, &histories);
}

#[test]
fn at_every_step_of_a_refusal() {
    for point in STEPS {
        for passage in [1, 2, 9] {
            let home = Home::new();
            let Some(small) = Small::new(&home, SIZE) else { return };
            let (setup, happened) = doomed(&home, point, passage);
            let daemon = setup.start_in(home);
            let load = load(&daemon);
            goes_on(daemon, &small, load, &happened);
        }
    }
}

/// Whether some pipe that this process holds has bytes in it.
fn has_sent(pid: i32) -> bool {
    processes::descriptors(pid).iter().filter(|held| held.is_pipe()).any(|held| {
        let path = format!("/proc/{pid}/fd/{}", held.number);
        let Ok(pipe) = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path) else {
            return false;
        };
        let mut set = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        poll(&mut set, PollTimeout::ZERO).is_ok() && set[0].any() == Some(true)
    })
}

/// The writer dies behind a refusal that it has not told. The worker, which does not know, sends the same connection's
/// next message; then there is room, and a new writer. That message must not be stored: the one before it is not.
#[test]
fn the_next_message_of_a_refused_connection_is_refused_though_there_is_room() {
    let home = Home::new();
    let Some(small) = Small::new(&home, SIZE) else { return };
    let (setup, happened) = doomed(&home, "refuse-consumed", 1);
    let mut daemon = setup.set("server.workers", 1).start_in(home);
    small.leave_room(0);
    let mut clients = [client(&daemon, 60_000).quota(1)];
    // Nobody replaces the writer until it goes on.
    daemon.signal(Signal::SIGSTOP);
    drive(&mut clients, "a refusal", |clients| clients[0].history.sent == 1 && happened.exists());
    clients[0].allow(1);
    let worker = daemon.workers()[0];
    drive(&mut clients, "the next message in the pipe", |clients| clients[0].history.sent == 2 && has_sent(worker));
    small.give_room();
    daemon.signal(Signal::SIGCONT);
    drive(&mut clients, "the close", |clients| clients[0].ended());
    let mut histories: Vec<History> = clients.into_iter().map(Client::leave).collect();
    assert_eq!((histories[0].end, histories[0].echoed_bytes), (Some(End::Eof), 0));
    histories.extend(serve(vec![client(&daemon, 60_000).quota(3)]));
    daemon.remember();
    check(&mut daemon, &histories);
}

/// A batch waits with a part of it in the file; then the policy changes, and it is given up.
#[test]
fn at_every_state_of_leaving_a_segment() {
    for point in LEAVING {
        let home = Home::new();
        let Some(small) = Small::new(&home, SIZE) else { return };
        let (setup, happened) = doomed(&home, point, 1);
        std::fs::write(&happened, "not yet").unwrap();
        let mut daemon = setup.set("store.on-disk-full", "wait").start_in(home);
        let load = load(&daemon);
        wait_until(DEADLINE, "a full disk", || daemon.log().contains("nothing is echoed until it can"));
        std::fs::remove_file(&happened).unwrap();
        daemon.reconfigure(|setup| setup.set("store.on-disk-full", "reject"));
        daemon.signal(Signal::SIGHUP);
        goes_on(daemon, &small, load, &happened);
    }
}
