//! A TCP relay that cuts connections.
use crate::support::seed::{Chance, seed};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How a connection is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// RST on both sides.
    Reset,
    /// FIN on both sides, as a proxy that ends does. The server takes what it has for all there was.
    Close,
}

/// Relays to one server; lives as long as the test binary.
pub struct Proxy {
    pub address: SocketAddr,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    /// Cuts the first `count` connections, each after some bytes; every second one only after the server has answered with bytes
    /// that are then lost.
    pub fn start(server: SocketAddr, count: usize, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, cuts) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let done = Arc::clone(&cuts);
        std::thread::spawn(move || {
            let mut chance = Chance::new(seed());
            // One after the other, as they come from one sender.
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { continue };
                let turn = done.load(Ordering::SeqCst);
                let cut = (turn < count).then(|| (1 + chance.below(200_000), turn % 2 == 0));
                relay(client, server, cut, manner);
                if cut.is_some() {
                    done.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { address, cuts }
    }

    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

/// Moves bytes both ways until one side ends, or until it is cut: after so many bytes from the client, and perhaps not before the server
/// has answered more, which is kept back.
fn relay(mut client: TcpStream, mut server: TcpStream, cut: Option<(u64, bool)>, manner: Manner) {
    let mut moved = 0;
    loop {
        let mut both = [PollFd::new(client.as_fd(), PollFlags::POLLIN), PollFd::new(server.as_fd(), PollFlags::POLLIN)];
        poll(&mut both, PollTimeout::NONE).unwrap();
        let [from_client, from_server] = both.map(|one| one.revents().is_some_and(|news| !news.is_empty()));
        let late = cut.is_some_and(|(after, _)| moved >= after);
        if from_client {
            match pump(&mut client, &mut server) {
                Some(0) => drop(server.shutdown(Shutdown::Write)),
                Some(count) => moved += count,
                None => return,
            }
            if moved == 0 {
                return;
            }
        }
        if from_server && late {
            break;
        }
        if from_server && !matches!(pump(&mut server, &mut client), Some(1..)) {
            return;
        }
        if cut.is_some_and(|(after, answered)| moved >= after && !answered) {
            break;
        }
        if !from_client && !from_server {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    if manner == Manner::Reset {
        for side in [&client, &server] {
            SockRef::from(side).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

/// Once; `None`: one of them is gone.
fn pump(from: &mut TcpStream, to: &mut TcpStream) -> Option<u64> {
    let mut buffer = [0; 4096];
    match from.read(&mut buffer) {
        Ok(count) => to.write_all(&buffer[..count]).ok().map(|()| count as u64),
        Err(error) if error.kind() == ErrorKind::Interrupted => Some(1),
        Err(_) => None,
    }
}
