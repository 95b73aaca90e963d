//! What the service manager keeps over a daemon's end, and what the next one makes of it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use nix::sys::signal::Signal;
use std::net::TcpListener;
use support::checker::{self, Expect};
use support::client::History;
use support::daemon::{Daemon, Setup, free_address};
use support::framing::Format;
use support::harm::{kill_worker, verify};
use support::load::{Load, OnBreak, Shape};
use support::seed::{Chance, seed};
use support::{DEADLINE, processes, wait_until};

fn reconnecting() -> Shape {
    Shape { on_break: OnBreak::Reconnect, ..Shape::default() }
}

fn kept_listener(daemon: &Daemon) -> String {
    format!("listener.{}", daemon.address.to_string().replace(':', "_"))
}

/// The names of a running daemon with these links.
fn names(daemon: &Daemon, links: &[u64]) -> Vec<String> {
    let run = ["v2.commit", "v2.register", "v2.private-read", "v2.private-write"].map(str::to_owned);
    let links = links.iter().flat_map(|id| [format!("v2.data.{id}"), format!("v2.staging.{id}")]);
    let mut names: Vec<String> = run.into_iter().chain(links).chain([kept_listener(daemon)]).collect();
    names.sort();
    names
}

fn wait_for_names(daemon: &Daemon, expected: &[String]) {
    wait_until(DEADLINE, "the descriptors that are kept", || daemon.manager().kept() == expected);
}

fn settle(mut daemon: Daemon, histories: &[History]) {
    daemon.stop();
    verify(&daemon);
    let expect = Expect { empty_files: true, ..Expect::default() };
    checker::check(&daemon.store(), Format::Text, histories, expect);
}

#[test]
fn what_is_kept_follows_the_links_and_the_addresses() {
    let mut daemon = Setup::default().start();
    wait_for_names(&daemon, &names(&daemon, &[1, 2]));
    kill_worker(&mut daemon, &mut Chance::new(seed()));
    wait_until(DEADLINE, "the dead worker's link is dropped", || {
        let kept = daemon.manager().kept();
        kept.len() == 9 && kept.contains(&"v2.data.3".to_owned())
    });
    let (first, second) = (daemon.address, free_address());
    daemon.reconfigure(|setup| setup.listen(&[first, second]));
    daemon.signal(Signal::SIGHUP);
    let other = format!("listener.{}", second.to_string().replace(':', "_"));
    wait_until(DEADLINE, "the new listener", || daemon.manager().kept().contains(&other));
    wait_for_names(&daemon, &{
        let mut all = names(&daemon, &[4, 5]);
        all.push(other.clone());
        all.sort();
        all
    });
    daemon.reconfigure(|setup| setup.listen(&[second]));
    daemon.signal(Signal::SIGHUP);
    let gone = kept_listener(&daemon);
    wait_until(DEADLINE, "the old listener is dropped", || !daemon.manager().kept().contains(&gone));
    daemon.stop();
    // All is stored: only who connects now still waits for somebody.
    wait_for_names(&daemon, &[other]);
}

#[test]
fn a_restart_refuses_nobody_and_loses_nothing() {
    for echo in ["received", "stored", "synced"] {
        let mut daemon = Setup::default().set("server.echo", echo).start();
        daemon.restarted_by_manager();
        let lasting = Load::start(daemon.address, reconnecting());
        let coming = Load::start(daemon.address, Shape { messages_a_connection: Some(5), ..reconnecting() });
        for _ in 0..10 {
            lasting.progress(100);
            coming.progress(100);
            daemon.stop();
            daemon.start_again();
        }
        lasting.progress(100);
        coming.progress(100);
        assert_eq!((lasting.refused(), coming.refused()), (0, 0), "refused connections");
        let histories: Vec<History> = lasting.finish().into_iter().chain(coming.finish()).collect();
        assert!(!daemon.log().contains("going on where the last run was killed"), "each stop was clean");
        settle(daemon, &histories);
    }
}

/// Frames are in the pipes, none of them stored, echoed already: everything is killed.
fn killed_with_full_pipes(setup: Setup) -> (Daemon, Vec<History>) {
    let mut daemon = setup.set("server.echo", "received").start();
    daemon.restarted_by_manager();
    let load = Load::start(daemon.address, Shape { on_break: OnBreak::Leave, ..Shape::default() });
    load.progress(100);
    processes::signal(daemon.writer(), Signal::SIGSTOP);
    load.progress(1000);
    daemon.kill_all();
    (daemon, load.finish())
}

const GOING_ON: &str = "going on where the last run was killed; its pipes hold ";

#[test]
fn what_was_echoed_out_of_the_pipes_is_stored_by_the_next_daemon() {
    let (mut daemon, histories) = killed_with_full_pipes(Setup::default());
    daemon.start_again();
    let log = daemon.log();
    let bytes = log.split(GOING_ON).nth(1).expect("it is told").split(' ').next().unwrap();
    assert!(bytes.parse::<u64>().unwrap() > 1000, "{bytes} bytes");
    wait_for_names(&daemon, &names(&daemon, &[3, 4]));
    settle(daemon, &histories);
}

#[test]
fn a_start_that_fails_in_between_loses_nothing() {
    let (mut daemon, histories) = killed_with_full_pipes(Setup::default());
    let own = daemon.address;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = taken.local_addr().unwrap();
    daemon.reconfigure(|setup| setup.listen(&[own, other]));
    for _ in 0..2 {
        assert_eq!(daemon.launch(), Err(69));
    }
    daemon.reconfigure(|setup| setup.listen(&[own]).set("store.directory", "/proc/nowhere"));
    assert_eq!(daemon.launch(), Err(74));
    let store = daemon.store();
    daemon.reconfigure(|setup| setup.set("store.directory", store.to_str().unwrap()));
    daemon.start_again();
    assert!(daemon.log().contains(GOING_ON), "{}", daemon.log());
    settle(daemon, &histories);
}

/// Killed between the clean end and its being told to the manager: there is nothing to go on with.
#[test]
fn what_was_kept_past_a_clean_end_is_let_go() {
    let mut daemon = Setup::default().start();
    wait_for_names(&daemon, &names(&daemon, &[1, 2]));
    let load = Load::start(daemon.address, Shape::default());
    load.progress(100);
    let histories = load.finish();
    let kept = daemon.manager().copies();
    daemon.stop();
    daemon.activated_by(kept);
    daemon.start_again();
    let log = daemon.log();
    assert!(!log.contains(GOING_ON) && !log.contains(" are lost, since ") && log.contains("resumed at byte"), "{log}");
    settle(daemon, &histories);
}

/// Each time at a step of the taking up; what a killed supervisor has forked drains and ends by itself.
#[test]
fn killed_again_before_it_serves() {
    for point in ["run-taken-up", "link-entered", "link-kept"] {
        let (mut daemon, histories) = killed_with_full_pipes(Setup::default());
        for passage in 1..=2 {
            let at = if point == "run-taken-up" { point.to_owned() } else { format!("{point}@{passage}") };
            daemon.setup = daemon.setup.clone().without_environment().environment("ECHOSTORED_CRASH", &at);
            let mut ended = 75;
            wait_until(DEADLINE, "the lock", || {
                daemon.spawn();
                ended = daemon.wait_exit(DEADLINE);
                ended != 75
            });
            assert_eq!(ended, -(Signal::SIGKILL as i32), "{point}@{passage}:\n{}", daemon.log());
        }
        daemon.setup = daemon.setup.clone().without_environment();
        wait_until(DEADLINE, "a start", || daemon.launch().is_ok());
        settle(daemon, &histories);
    }
}

/// Another format, another layout, a part that is missing: the frames cannot be stored, and that is said with their number.
#[test]
fn what_cannot_be_gone_on_with_is_told() {
    const LOST: &str = " bytes that the last run had not stored are lost, since ";
    type Change<'a> = &'a dyn Fn(&mut Daemon);
    let cases: [(&str, Change<'_>); 5] = [
        ("in another format", &|daemon| daemon.reconfigure(|setup| setup.set("store.format", "jsonl"))),
        ("or of another version", &|daemon| {
            for name in daemon.manager().kept() {
                daemon.manager().rename_kept(&name, &name.replace("v2.", "v1."));
            }
        }),
        ("or of another version", &|daemon| {
            daemon.manager().overwrite_kept("v2.commit", &u64::MAX.to_ne_bytes());
        }),
        ("part of what it left is missing", &|daemon| {
            daemon.manager().rename_kept("v2.register", "v1.register");
        }),
        ("or the store was used by another one since", &|daemon| {
            let store = daemon.store().join(".store");
            let text = std::fs::read_to_string(&store).unwrap();
            let other: Vec<&str> = text.lines().filter(|line| !line.starts_with("run = ")).collect();
            std::fs::write(&store, other.join("\n")).unwrap();
        }),
    ];
    for (why, change) in cases {
        let (mut daemon, _) = killed_with_full_pipes(Setup::default());
        change(&mut daemon);
        daemon.start_again();
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains(LOST)).unwrap_or_else(|| panic!("{why}: not told:\n{log}"));
        let bytes = line.split(LOST).next().unwrap().rsplit(' ').next().unwrap();
        assert!(line.contains(why) && bytes.parse::<u64>().unwrap() > 1000, "{line}");
        // Nothing of it is kept any longer.
        wait_for_names(&daemon, &names(&daemon, &[1, 2]));
        daemon.stop();
        verify(&daemon);
    }
}

/// The manager hears nothing from here on: neither that the first run ended well, nor anything of the second.
#[test]
fn a_run_that_ended_well_is_not_gone_on_with_later() {
    use support::client::{Client, Messages};
    use support::drive::serve;
    use support::framing::Framing;
    let client = |daemon: &Daemon| {
        Client::connect(daemon.address, Framing::Line, Messages::generated(Framing::Line, 20, 200)).unwrap().quota(50)
    };
    let mut daemon = Setup::default().start();
    daemon.restarted_by_manager();
    let mut histories = serve(vec![client(&daemon)]);
    wait_for_names(&daemon, &names(&daemon, &[1, 2]));
    daemon.manager().go_deaf();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit(DEADLINE), 0);
    let ready = |daemon: &Daemon, count: usize| {
        wait_until(DEADLINE, "it serves", || daemon.log().matches("ready: ").count() == count);
    };
    daemon.spawn();
    ready(&daemon, 2);
    histories.extend(serve(vec![client(&daemon)]));
    daemon.kill_all();
    daemon.spawn();
    ready(&daemon, 3);
    histories.extend(serve(vec![client(&daemon)]));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit(DEADLINE), 0);
    assert!(!daemon.log().contains(GOING_ON), "with a run that ended well:\n{}", daemon.log());
    verify(&daemon);
    let expect = Expect { empty_files: true, ..Expect::default() };
    checker::check(&daemon.store(), Format::Text, &histories, expect);
}

/// A start that fails, or is killed, behind the new epoch and before the claim.
#[test]
fn a_start_that_fails_right_after_the_epoch_loses_nothing() {
    let (mut daemon, histories) = killed_with_full_pipes(Setup::default());
    let probe = daemon.store().join(".link-probe");
    std::fs::create_dir(&probe).unwrap();
    assert_eq!(daemon.launch(), Err(74));
    std::fs::remove_dir(&probe).unwrap();
    daemon.start_again();
    assert!(daemon.log().contains(GOING_ON), "{}", daemon.log());
    settle(daemon, &histories);
}

/// A link of a batch under way that the manager did not keep: the daemon must serve again all the same.
#[test]
fn a_link_that_was_not_kept_does_not_keep_the_service_down() {
    let setup = Setup::default().set("server.echo", "received").environment("ECHOSTORED_CRASH", "after-intent@5");
    let mut daemon = setup.start();
    daemon.restarted_by_manager();
    wait_for_names(&daemon, &names(&daemon, &[1, 2]));
    let writer = daemon.writer();
    daemon.remember();
    daemon.signal(Signal::SIGSTOP);
    let load = Load::start(daemon.address, Shape { on_break: OnBreak::Leave, ..Shape::default() });
    wait_until(DEADLINE, "the writer is dead", || processes::status(writer, "State")[0] == "Z");
    daemon.kill_all();
    let _ = load.finish();
    for id in [1, 2] {
        for what in ["data", "staging"] {
            daemon.manager().rename_kept(&format!("v2.{what}.{id}"), &format!("v1.{what}.{id}"));
        }
    }
    daemon.setup = daemon.setup.clone().without_environment();
    let mut ends = Vec::new();
    for _ in 0..3 {
        match daemon.launch() {
            Ok(()) => break,
            Err(code) => ends.push(code),
        }
    }
    assert_eq!(ends, Vec::<i32>::new(), "{}", daemon.log());
}

/// A link of which only the pipe was kept, with frames in it: they are lost, but not in silence.
#[test]
fn a_link_that_was_kept_in_part_is_told() {
    let (mut daemon, _) = killed_with_full_pipes(Setup::default());
    for id in [1, 2] {
        daemon.manager().rename_kept(&format!("v2.staging.{id}"), &format!("v1.staging.{id}"));
    }
    daemon.start_again();
    assert!(daemon.log().contains(" are lost"), "{}", daemon.log());
}

/// The manager does not restart after exit 78, and lets go of all that it keeps.
#[test]
fn a_faulty_configuration_after_a_kill_is_told_with_what_it_costs() {
    let (mut daemon, _) = killed_with_full_pipes(Setup::default());
    daemon.reconfigure(|setup| setup.set("server.echo", "nonsense"));
    assert_eq!(daemon.launch(), Err(78));
    assert!(daemon.log().contains(" are lost"), "{}", daemon.log());
}

/// A second signal, while the writer takes nothing: the supervisor gives up, what was echoed waits for the next start.
#[test]
fn a_stop_that_gives_up_loses_nothing() {
    let mut daemon = Setup::default().set("server.echo", "received").start();
    daemon.restarted_by_manager();
    let load = Load::start(daemon.address, Shape { on_break: OnBreak::Leave, ..Shape::default() });
    load.progress(100);
    processes::signal(daemon.writer(), Signal::SIGSTOP);
    load.progress(1000);
    daemon.remember();
    daemon.signal(Signal::SIGTERM);
    wait_until(DEADLINE, "a stop", || daemon.notified("STOPPING=1"));
    std::thread::sleep(std::time::Duration::from_millis(100));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit(DEADLINE), 1);
    let histories = load.finish();
    daemon.start_again();
    assert!(daemon.log().contains(GOING_ON), "{}", daemon.log());
    settle(daemon, &histories);
}

/// The first thing that an operator does: from the loopback to every interface, the port as it was.
#[test]
fn a_restart_widens_an_address() {
    let mut daemon = Setup::default().start();
    daemon.restarted_by_manager();
    wait_for_names(&daemon, &names(&daemon, &[1, 2]));
    let wide = std::net::SocketAddr::from(([0, 0, 0, 0], daemon.address.port()));
    daemon.reconfigure(|setup| setup.listen(&[wide]));
    daemon.stop();
    assert_eq!(daemon.launch(), Ok(()), "{}", daemon.log());
    let widened = format!("listener.0.0.0.0_{}", wide.port());
    wait_until(DEADLINE, "the new listener alone is kept", || {
        let kept = daemon.manager().kept();
        kept.contains(&widened) && !kept.contains(&kept_listener(&daemon))
    });
    std::net::TcpStream::connect(daemon.address).unwrap();
    daemon.stop();
}

/// Another program is in the way too: the kept listener is as it was.
#[test]
fn a_restart_that_cannot_widen_an_address_keeps_the_old_one() {
    let mut daemon = Setup::default().start();
    daemon.restarted_by_manager();
    wait_for_names(&daemon, &names(&daemon, &[1, 2]));
    let wide = std::net::SocketAddr::from(([0, 0, 0, 0], daemon.address.port()));
    let _other = TcpListener::bind(("127.0.0.2", daemon.address.port())).unwrap();
    let narrow = daemon.address;
    daemon.reconfigure(|setup| setup.listen(&[wide]));
    daemon.stop();
    assert_eq!(daemon.launch(), Err(69));
    std::net::TcpStream::connect(narrow).unwrap();
    daemon.reconfigure(|setup| setup.listen(&[narrow]));
    daemon.start_again();
    daemon.stop();
}

/// By a reload it cannot be done: the old workers listen on.
#[test]
fn a_reload_that_widens_an_address_says_what_to_do() {
    let mut daemon = Setup::default().start();
    let wide = std::net::SocketAddr::from(([0, 0, 0, 0], daemon.address.port()));
    daemon.reconfigure(|setup| setup.listen(&[wide]));
    daemon.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "a verdict", || daemon.log().contains("reloaded ") || daemon.log().contains("not reloaded"));
    assert!(daemon.log().contains("restart it instead"), "{}", daemon.log());
    daemon.stop();
}
