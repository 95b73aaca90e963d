//! The deployment that docs/deployment.md shows: a real HAProxy, by the configuration that is shipped, before two daemons.
use super::peer_and_message;
use crate::support::daemon::{Daemon, Setup, command, free_address};
use crate::support::{DEADLINE, checker, skip, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The shipped configuration, with these addresses instead of its own.
fn configuration(front: SocketAddr, hosts: [SocketAddr; 2]) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/haproxy/echostored.cfg");
    let text = std::fs::read_to_string(shipped).unwrap();
    let [one, two] = hosts.map(|address| address.to_string());
    let pairs = [
        ("bind 192.0.2.10:7007", format!("bind {front}")),
        ("192.0.2.11:7007\n", one + "\n"),
        ("192.0.2.12:7007\n", two + "\n"),
    ];
    pairs.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.rsplitn(2, from).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(to)
    })
}

fn start(daemon: &Daemon, text: &str) -> Option<Proxy> {
    let path = daemon.home().write("haproxy.cfg", text);
    let check = Command::new("haproxy").args(["-c", "-f"]).arg(&path).output();
    match check {
        Err(error) => {
            skip(&format!("haproxy: {error}; apt-get install haproxy"));
            return None;
        }
        Ok(said) => assert!(said.status.success(), "{said:?}"),
    }
    // In the foreground, one process.
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Some(Proxy(command.spawn().unwrap()))
}

/// All lines that `send` was given, once it has heard all echoes; how many were sent again.
fn sent(mut send: Child) -> (String, String) {
    drop(send.stdin.take());
    let said = send.wait_with_output().unwrap();
    assert!(said.status.success(), "{said:?}");
    (String::from_utf8_lossy(&said.stdout).into_owned(), String::from_utf8_lossy(&said.stderr).into_owned())
}

fn lines(store: PathBuf) -> Vec<String> {
    let files = checker::files(&store);
    files
        .iter()
        .flat_map(|file| std::fs::read_to_string(&file.path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Six clients at once, spread evenly, each to be named by its own address: these.
fn greet(front: SocketAddr) -> Vec<String> {
    let clients: Vec<TcpStream> = (0..6)
        .map(|n| {
            let mut stream = TcpStream::connect(front).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            writeln!(stream, "client {n}").unwrap();
            let mut echo = String::new();
            BufReader::new(&stream).read_line(&mut echo).unwrap();
            assert_eq!(echo, format!("client {n}\n"));
            stream
        })
        .collect();
    clients.iter().map(|stream| stream.local_addr().unwrap().to_string()).collect()
}

#[test]
fn two_hosts_behind_haproxy_lose_nothing_when_one_goes() {
    let setup = || Setup::default().set("proxy.from", vec!["127.0.0.1"]);
    let (mut one, mut two) = (setup().start(), setup().start());
    let front = free_address();
    let Some(_proxy) = start(&one, &configuration(front, [one.address, two.address])) else { return };
    wait_until(DEADLINE, "the proxy", || TcpStream::connect(front).is_ok());
    let peers = greet(front);
    // A sender that goes on while the host that serves it stops, and another takes over.
    let mut send = command(&["send", &front.to_string(), "--exactly"]);
    let mut send = send.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = send.stdin.take().unwrap();
    let (mut count, mut rounds) = (0, 0);
    for stops in [true, false] {
        for _ in 0..200 {
            writeln!(input, "line {count}").unwrap();
            count += 1;
        }
        let all = |daemons: &[&Daemon]| daemons.iter().map(|daemon| lines(daemon.store()).len()).sum::<usize>();
        wait_until(DEADLINE, "the lines", || all(&[&one, &two]) >= count + 6);
        let serves_one = lines(one.store()).last().is_some_and(|line| line.ends_with(&format!("line {}", count - 1)));
        let host = if serves_one { &mut one } else { &mut two };
        if stops {
            host.stop();
        } else {
            host.kill_all();
        }
        host.start_again();
        rounds += 1;
    }
    writeln!(input, "the last line").unwrap();
    send.stdin = Some(input);
    let (again, said) = sent(send);
    assert_eq!(rounds, 2);
    one.stop();
    two.stop();
    let stored = [lines(one.store()), lines(two.store())];
    for n in 0..count {
        let times = stored.iter().flatten().filter(|line| line.ends_with(&format!(" line {n}"))).count();
        assert!(times == 1 || (times == 2 && again != "total 0\n"), "line {n}: {times} times; {again}{said}");
    }
    assert!(stored.iter().flatten().any(|line| line.ends_with(" the last line")));
    for (n, peer) in peers.iter().enumerate() {
        let message = format!("client {n}");
        let told = stored.iter().flatten().map(|line| peer_and_message(line)).filter(|(_, told)| *told == message);
        assert_eq!(told.collect::<Vec<_>>(), [(&**peer, &*message)]);
    }
    for store in &stored {
        assert!(store.iter().filter(|line| line.contains(" client ")).count() == 3, "not spread: {stored:?}");
    }
    for daemon in [&one, &two] {
        crate::support::harm::verify(daemon);
    }
}
