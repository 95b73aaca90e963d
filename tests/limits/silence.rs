//! Clients that say nothing, or next to nothing.
use crate::support::daemon::Setup;
use crate::support::{DEADLINE, came_true, processes, wait_until};
use crate::{Answer, ask, connect_from, counted, ends_within, enter, hear};
use nix::sys::signal::Signal;
use std::io::Write;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(1000);

#[test]
fn an_idle_client_is_closed_and_a_busy_one_is_not() {
    let mut daemon = Setup::default().set("limits.idle-timeout", "1s").start();
    let idle = enter("127.0.0.2", &daemon).unwrap();
    let begin = Instant::now();
    let (mut dribbling, busy) = (enter("127.0.0.3", &daemon).unwrap(), enter("127.0.0.4", &daemon).unwrap());
    let (mut cut, mut idle_for) = (false, None);
    while begin.elapsed() < 4 * SHORT {
        assert_eq!(ask(&busy), Answer::Echo);
        // Bytes are no message.
        cut |= dribbling.write_all(b".").is_err();
        if idle_for.is_none() && ends_within(&idle, Duration::from_millis(20)) {
            idle_for = Some(begin.elapsed());
        }
        std::thread::sleep(Duration::from_millis(80));
    }
    let idle_for = idle_for.expect("the idle one is closed");
    assert!(idle_for >= SHORT * 9 / 10, "closed after {idle_for:?}");
    assert!(cut || ends_within(&dribbling, DEADLINE), "single bytes keep it alive");
    assert_eq!([counted(&daemon, "idle"), counted(&daemon, "late"), counted(&daemon, "incomplete")], [2, 0, 1]);
    assert!(daemon.log().contains("sent no whole message for limits.idle-timeout; closing"));
    daemon.stop();
}

#[test]
fn the_first_message_has_a_time_of_its_own() {
    let mut daemon = Setup::default().set("limits.first-message-timeout", "1s").start();
    let talked = enter("127.0.0.2", &daemon).unwrap();
    let silent = connect_from("127.0.0.2", daemon.address);
    let mut slow = connect_from("127.0.0.2", daemon.address);
    let begin = Instant::now();
    slow.write_all(b"half a mes").unwrap();
    assert!(ends_within(&silent, DEADLINE) && ends_within(&slow, DEADLINE));
    assert!(begin.elapsed() >= SHORT * 8 / 10, "closed after {:?}", begin.elapsed());
    // Who has said something may then be silent.
    assert!(!ends_within(&talked, 2 * SHORT));
    assert_eq!(ask(&talked), Answer::Echo);
    assert_eq!([counted(&daemon, "late"), counted(&daemon, "idle"), counted(&daemon, "incomplete")], [2, 0, 1]);
    assert!(daemon.log().contains("sent no whole message for limits.first-message-timeout; closing"));
    daemon.stop();
}

/// It waits for its echo, which is our fault.
#[test]
fn who_waits_for_its_echo_is_not_idle() {
    let setup = Setup::default().set("limits.idle-timeout", "700ms").set("limits.first-message-timeout", "700ms");
    let mut daemon = setup.start();
    let mut stream = connect_from("127.0.0.2", daemon.address);
    let writer = daemon.writer();
    processes::signal(writer, Signal::SIGSTOP);
    wait_until(DEADLINE, "a stopped writer", || processes::stopped(writer));
    stream.write_all(b"hello\n").unwrap();
    assert!(!ends_within(&stream, 3 * SHORT), "cut while it waited for its echo");
    processes::signal(writer, Signal::SIGCONT);
    assert_eq!(hear(&stream, b"hello\n"), Answer::Echo);
    // Its time begins with the echo.
    assert!(!ends_within(&stream, Duration::from_millis(350)), "cut right after its echo");
    assert!(ends_within(&stream, DEADLINE), "now it is idle");
    assert_eq!(counted(&daemon, "idle"), 1);
    daemon.stop();
}

#[test]
fn who_waits_for_its_rate_is_not_idle() {
    let mut daemon = Setup::default().set("limits.idle-timeout", "400ms").set("limits.max-rate-per-ip", 1).start();
    let mut stream = connect_from("127.0.0.2", daemon.address);
    stream.write_all(b"one\ntwo\nthree\nfour\n").unwrap();
    assert_eq!(hear(&stream, b"one\ntwo\nthree\nfour\n"), Answer::Echo);
    assert!(ends_within(&stream, DEADLINE), "now it is idle");
    daemon.stop();
}

/// As soon as they are closed they are forgotten: the descriptors are free, and those of an address, too.
#[test]
fn those_that_were_cut_leave_nothing_behind() {
    let setup = Setup::default().set("limits.idle-timeout", "500ms").set("limits.max-connections-per-ip", 20);
    let mut daemon = setup.start();
    for _ in 0..3 {
        let streams: Vec<_> = (0..20).map(|_| connect_from("127.0.0.2", daemon.address)).collect();
        wait_until(DEADLINE, "all are cut", || streams.iter().all(|stream| ends_within(stream, SHORT)));
        drop(streams);
        let empty = || crate::support::control::status(&daemon)["connections"] == 0;
        assert!(came_true(DEADLINE, empty), "connections are left");
    }
    assert_eq!(counted(&daemon, "idle"), 60);
    daemon.stop();
}
