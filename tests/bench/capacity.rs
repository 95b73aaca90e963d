//! How much the load itself is able to do: it must not be what is measured.
//!
//! `ECHOSTORED_TEST_BENCH=target/release/echostored cargo test --test bench capacity -- --ignored --nocapture` on a quiet machine with two
//! CPUs or more, after `cargo build --release`.
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

/// One thread, level-triggered: what is read is written, and what does not fit waits.
fn echo_loop(listener: &TcpListener, connections: usize) {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let mut streams: Vec<(TcpStream, Vec<u8>)> = Vec::new();
    for token in 0..connections {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, token as u64)).unwrap();
        streams.push((stream, Vec::new()));
    }
    let (mut buffer, mut events, mut open) = (vec![0; 128 << 10], vec![EpollEvent::empty(); 64], connections);
    while open > 0 {
        let count = epoll.wait(&mut events, EpollTimeout::NONE).unwrap();
        for event in &events[..count] {
            let token = event.data();
            let (stream, waiting) = &mut streams[usize::try_from(token).unwrap()];
            if waiting.is_empty() {
                match stream.read(&mut buffer) {
                    Ok(0) => {
                        epoll.delete(&*stream).unwrap();
                        stream.shutdown(std::net::Shutdown::Both).unwrap_or_default();
                        open -= 1;
                        continue;
                    }
                    Ok(count) => waiting.extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => panic!("{error}"),
                }
            }
            match stream.write(waiting) {
                Ok(count) => drop(waiting.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            let flag = if waiting.is_empty() { EpollFlags::EPOLLIN } else { EpollFlags::EPOLLOUT };
            epoll.modify(&*stream, &mut EpollEvent::new(flag, token)).unwrap();
        }
    }
}

#[test]
#[ignore = "a measurement: for a quiet machine"]
fn against_a_trivial_echo_loop() {
    for (connections, in_flight) in [(50, 1), (50, 64), (4, 1000), (50, 1000)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || echo_loop(&listener, connections));
        let [connections, in_flight] = [connections, in_flight].map(|number: usize| number.to_string());
        let load = ["--connections", &connections, "--in-flight", &in_flight, "--duration", "3s", "--warm-up", "500ms"];
        let binary =
            std::env::var_os("ECHOSTORED_TEST_BENCH").unwrap_or_else(|| env!("CARGO_BIN_EXE_echostored").into());
        let ended = Command::new(binary).args(["bench", &address, "--json"]).args(load).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let figures: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
        server.join().unwrap();
        let number = |key: &str| figures[key].as_f64().unwrap();
        println!(
            "{connections} x {in_flight} x 128: {:.0} echoes/s; {:.2} s of CPU in {:.2} s: {:.0} a second of its CPU; p50 {} us, p99 {} us",
            number("messages_per_second"),
            number("cpu_seconds"),
            number("seconds"),
            number("messages") / number("cpu_seconds"),
            figures["latency_us"]["p50"],
            figures["latency_us"]["p99"],
        );
    }
}
