//! A user may have pipes of `fs.pipe-user-pages-soft` pages; beyond, each new pipe is silently 8 KiB. The daemon works at any size.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use support::checker::{self, Expect};
use support::daemon::{Daemon, Setup};
use support::framing::{Format, Framing};
use support::load::{Load, Shape};
use support::{DEADLINE, processes, wait_until};

/// A data pipe of 1 MiB and an ack pipe of one page.
const PAGES_A_WORKER: u64 = 257;

/// Uses up the pages of the daemon's user: daemons with many workers. `None` if this machine has no such limit.
fn hogs() -> Option<Vec<Daemon>> {
    let soft: u64 = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").unwrap().trim().parse().unwrap();
    // What is left when no more pipe can be made large goes to pipes of the default 64 KiB.
    let workers = soft / PAGES_A_WORKER + 20;
    if soft == 0 || workers > 120 {
        support::skip(&format!("fs.pipe-user-pages-soft is {soft}, too many to use up"));
        return None;
    }
    let half = i64::try_from(workers / 2 + 1).unwrap();
    Some((0..2).map(|_| Setup::default().set("server.workers", half).start()).collect())
}

/// The sizes of all pipes that this process holds.
fn pipe_sizes(pid: i32) -> Vec<i32> {
    let pipes = processes::descriptors(pid).into_iter().filter(processes::Descriptor::is_pipe);
    pipes
        .map(|held| {
            let path = format!("/proc/{pid}/fd/{}", held.number);
            let pipe = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).unwrap();
            fcntl(&pipe, FcntlArg::F_GETPIPE_SZ).unwrap()
        })
        .collect()
}

/// A daemon that has small pipes only. Who has not becomes a hog: somebody else of the same user has given pages back.
fn cramped(setup: &Setup, hogs: &mut Vec<Daemon>) -> Daemon {
    for _ in 0..30 {
        let daemon = setup.clone().start();
        let sizes = pipe_sizes(daemon.supervisor());
        if !sizes.is_empty() && sizes.iter().all(|size| *size <= 8192) {
            return daemon;
        }
        hogs.push(daemon);
    }
    panic!("the limit is not reached");
}

#[test]
fn it_works_with_pipes_of_eight_kibibytes() {
    let Some(mut hogs) = hogs() else { return };
    for (framing, smallest, largest, window) in [
        (Framing::Line, 10, 300, 32),
        (Framing::LengthPrefixed, 100, 30_000, 4),
        (Framing::LengthPrefixed, 1000, 100_000, 2),
    ] {
        let setup = Setup::default().set("server.framing", framing.name()).set("server.max-message-size", "1MiB");
        let mut daemon = cramped(&setup.set("rotate.max-size", "8MiB"), &mut hogs);
        let shape = Shape { framing, smallest, largest, window, connections: 6, ..Shape::default() };
        let load = Load::start(daemon.address, shape);
        for _ in 0..5 {
            load.progress(50);
            let victim = daemon.writer();
            processes::signal(victim, Signal::SIGKILL);
            wait_until(DEADLINE, "another writer", || daemon.roles("writer").iter().any(|pid| *pid != victim));
            daemon.remember();
        }
        load.progress(50);
        assert_eq!(load.broken(), 0);
        let histories = load.finish();
        daemon.stop();
        checker::check(&daemon.store(), Format::Text, &histories, Expect { empty_files: true, ..Expect::default() });
    }
    // The second hog itself: its first workers have large pipes, its last ones small ones.
    let second = hogs.swap_remove(1);
    serves_with_large_and_with_small_pipes(second);
    hogs.iter_mut().for_each(Daemon::stop);
}

fn serves_with_large_and_with_small_pipes(mut hog: Daemon) {
    let shape = Shape { connections: 200, window: 4, smallest: 10, largest: 9000, ..Shape::default() };
    let load = Load::start(hog.address, shape);
    load.progress(1000);
    let histories = load.finish();
    hog.stop();
    checker::check(&hog.store(), Format::Text, &histories, Expect::default());
}
