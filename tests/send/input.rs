//! What is read, and how it goes out.
use super::{Sender, message, send, separator, stored};
use crate::support::daemon::Setup;
use crate::support::framing::Framing;
use crate::support::{DEADLINE, processes, stays_false, wait_until};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

#[test]
fn every_framing_carries_every_byte() {
    for framing in Framing::ALL.into_iter().filter(|framing| *framing != Framing::Chunk) {
        let mut daemon = Setup::default().set("server.framing", framing.name()).start();
        let count = 5000;
        let mut input: Vec<u8> =
            (0..count).flat_map(|n| [message(framing, n), vec![separator(framing)]].concat()).collect();
        // A last message without its end is one, too.
        input.pop();
        let address = daemon.address.to_string();
        let ended = send(&[&address, "--framing", framing.name(), "--window", "100", "--exactly"], &input);
        assert_eq!((ended.code, ended.stdout.as_str()), (0, "total 0\n"), "{}", ended.stderr);
        let said = ended.stderr.strip_prefix("echostored: 5000 messages echoed in ").expect(&ended.stderr);
        assert!(said.ends_with(" s\n") && said.lines().count() == 1, "{}", ended.stderr);
        daemon.stop();
        assert!(stored(&daemon, framing, count).iter().all(|times| *times == 1), "{framing:?}: once each");
    }
}

#[test]
fn empty_messages_carriage_returns_and_one_long_message_are_kept() {
    let mut daemon = Setup::default().set("server.max-message-size", "16MiB").set("store.format", "raw").start();
    let long = vec![b'x'; 16 << 20];
    let input = [b"\n\nfirst\r\n" as &[u8], &long, b"\n"].concat();
    let ended = send(&[&daemon.address.to_string(), "--quiet"], &input);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    daemon.stop();
    let stored = std::fs::read(daemon.current()).unwrap();
    assert!(stored == [b"\n\nfirst\n" as &[u8], &long, b"\n"].concat(), "{} bytes are stored", stored.len());
}

#[test]
fn a_message_that_no_server_takes_ends_it_after_what_came_before() {
    let mut daemon = Setup::default().start();
    let input = [b"one\ntwo\n" as &[u8], &vec![b'x'; (16 << 20) + 1], b"\nlast\n"].concat();
    let ended = send(&[&daemon.address.to_string()], &input);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("line 3 is longer than 16 MiB"), "{}", ended.stderr);
    assert!(ended.stderr.contains("echostored: 2 messages echoed"), "{}", ended.stderr);
    daemon.stop();
}

/// A line is sent when it is there, and nothing runs while none is.
#[test]
fn a_typed_line_goes_out_at_once_and_idle_costs_nothing() {
    let mut daemon = Setup::default().set("store.format", "raw").start();
    let mut sender = Sender::start(&[&format!("localhost:{}", daemon.address.port())]);
    let mut input = sender.input();
    let mut longest = Duration::ZERO;
    for n in 1..=20u64 {
        input.write_all(b"typed\n").unwrap();
        let typed = Instant::now();
        wait_until(DEADLINE, "the line in the store", || daemon.current().metadata().unwrap().len() == n * 6);
        longest = longest.max(typed.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "a line took {longest:?}");
    let switches = || {
        let count = |field| processes::status(sender.pid(), field)[0].parse::<u64>().unwrap();
        count("voluntary_ctxt_switches") + count("nonvoluntary_ctxt_switches")
    };
    let mut before = switches();
    // The last echo may still be on its way.
    wait_until(DEADLINE, "a sleeping sender", || {
        std::thread::sleep(Duration::from_millis(300));
        std::mem::replace(&mut before, switches()) == before
    });
    stays_false(Duration::from_secs(2), "an idle sender runs", || switches() != before);
    drop(input);
    let ended = sender.end(DEADLINE);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    daemon.stop();
}

/// A connection that ends while nothing is due is made again with the next line, not before.
#[test]
fn an_idle_connection_is_made_again_when_there_is_more() {
    let mut daemon = Setup::default().set("store.format", "raw").start();
    let mut sender = Sender::start(&[&daemon.address.to_string(), "--retries", "3"]);
    let mut input = sender.input();
    for round in 1..=3usize {
        input.write_all(b"line\n").unwrap();
        wait_until(DEADLINE, "the line in the store", || {
            daemon.current().metadata().is_ok_and(|meta| meta.len() == round as u64 * 5)
        });
        daemon.stop();
        let ended = || sender.said().matches("has ended").count();
        wait_until(DEADLINE, "the loss is told", || ended() == round);
        // Longer than three retries would last.
        stays_false(Duration::from_secs(1), "trying without need", || sender.said().contains("trying again"));
        daemon.start_again();
    }
    drop(input);
    let ended = sender.end(DEADLINE);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("3 messages echoed") && ended.stderr.contains("; 2 reconnects"), "{}", ended.stderr);
    daemon.stop();
}

#[test]
fn a_signal_ends_the_reading_and_the_rest_is_told() {
    let mut daemon = Setup::default().set("store.format", "raw").start();
    for (input, code, told) in [("one\n", 0, "1 messages echoed"), ("one\ntw", 1, "line 2 was not read to its end")] {
        let before = daemon.current().metadata().unwrap().len();
        let mut sender = Sender::start(&[&daemon.address.to_string()]);
        let mut pipe = sender.input();
        pipe.write_all(input.as_bytes()).unwrap();
        wait_until(DEADLINE, "the line in the store", || daemon.current().metadata().unwrap().len() == before + 4);
        sender.signal(Signal::SIGTERM);
        let ended = sender.end(DEADLINE);
        assert_eq!(ended.code, code, "{}", ended.stderr);
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
    daemon.stop();
}

#[test]
fn what_is_wrong_with_the_command_is_told() {
    let cases: [(&[&str], &str); 6] = [
        (&["--framing", "chunk"], "an echo tells nothing of a message"),
        (&["--framing", "lines"], "length-prefixed"),
        (&["--window", "0"], "1..=100000"),
        (&["host:0"], "1 to 65535"),
        (&["--timeout", "30"], "a time needs a unit"),
        (&["--retries", "-1"], "-1"),
    ];
    for (arguments, told) in cases {
        let ended = send(arguments, b"");
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
        let words = ended.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(told), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn nothing_to_send_is_no_failure_and_an_unreadable_input_is() {
    let nowhere = crate::support::daemon::free_address().to_string();
    let ended = send(&[&nowhere], b"");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let directory = File::open("/").unwrap();
    let ended = Sender::start_with(&[&nowhere], directory).end(DEADLINE);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("cannot read standard input: Is a directory"), "{}", ended.stderr);
}

/// A regular file as input, which epoll(7) would refuse.
#[test]
fn a_file_is_sent() {
    let mut daemon = Setup::default().set("store.format", "raw").start();
    let mut file = tempfile::tempfile().unwrap();
    let lines: Vec<u8> = (0..100_000).flat_map(|n: u32| format!("line {n}\n").into_bytes()).collect();
    file.write_all(&lines).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let ended = Sender::start_with(&[&daemon.address.to_string()], file).end(DEADLINE);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    daemon.stop();
    assert!(std::fs::read(daemon.current()).unwrap() == lines);
}

/// On a terminal one line shows how far it is, and is gone at the end.
#[test]
fn a_terminal_shows_how_far_it_is() {
    let mut daemon = Setup::default().start();
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = crate::support::daemon::command(&["send", &daemon.address.to_string()]);
    command.env("TERM", "xterm").stdin(std::process::Stdio::piped()).stderr(terminal.slave.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    drop((command, terminal.slave));
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\ntwo\nthree\n").unwrap();
    let mut screen = File::from(terminal.master.as_fd().try_clone_to_owned().unwrap());
    let mut seen = Vec::new();
    let mut read = |until: &str| {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains(until) {
            // EIO: the last of them who had the other side is gone.
            match screen.read(&mut buffer) {
                Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&seen).into_owned()
    };
    assert!(read("3 read · 3 echoed").contains("3 read · 3 echoed"));
    drop(input);
    let said = read("echostored: 3 messages echoed");
    assert!(said.contains("\u{1b}[2K") && said.contains("echostored: 3 messages echoed"), "{said:?}");
    assert!(child.wait().unwrap().success());
    daemon.stop();
}
