//! Drives clients: one thread, many connections, every wait with a deadline.
use super::DEADLINE;
use super::client::{Client, History, Messages};
use super::framing::Framing;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

/// Polls all and returns after an event, or after `timeout` ms.
pub fn wait(clients: &mut [&mut Client], timeout: u16) {
    let mut set: Vec<PollFd> =
        clients.iter().map(|client| PollFd::new(client.stream().as_fd(), client.interest())).collect();
    let _ = poll(&mut set, PollTimeout::from(timeout));
}

/// One turn of all: waits at most 10 ms for an event. An error is a broken invariant.
pub fn turn(clients: &mut [Client]) -> Result<(), String> {
    let alive: Vec<usize> = (0..clients.len()).filter(|index| !clients[*index].ended()).collect();
    let mut set: Vec<PollFd> =
        alive.iter().map(|index| PollFd::new(clients[*index].stream().as_fd(), clients[*index].interest())).collect();
    match poll(&mut set, PollTimeout::from(10_u8)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(format!("poll: {error}")),
    }
    let ready: Vec<PollFlags> = set.iter().map(|entry| entry.revents().unwrap_or(PollFlags::empty())).collect();
    alive.iter().zip(ready).try_for_each(|(index, ready)| clients[*index].turn(ready))
}

/// Drives all until `done`, or fails.
pub fn drive(clients: &mut [Client], what: &str, done: impl Fn(&[Client]) -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done(clients) {
        turn(clients).unwrap_or_else(|broken| panic!("{broken}"));
        if Instant::now() > end {
            let waiting: Vec<String> =
                clients.iter().filter(|client| !client.served()).take(10).map(Client::waiting).collect();
            panic!("not within {DEADLINE:?}: {what}; first of those that wait:\n{}", waiting.join("\n"));
        }
    }
}

/// Drives all until each is served, and gives their histories.
pub fn serve(mut clients: Vec<Client>) -> Vec<History> {
    drive(&mut clients, "every message is echoed", |clients| clients.iter().all(Client::served));
    clients.into_iter().map(Client::leave).collect()
}

/// A client that does not read: it has sent until nothing more goes in, so the daemon holds echoes that it cannot deliver.
pub fn held_up(address: SocketAddr) -> Vec<Client> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    // Fixed, and so not grown by the kernel: otherwise all echoes might fit.
    socket.set_recv_buffer_size(1 << 16).unwrap();
    socket.connect(&address.into()).unwrap();
    let messages = Messages::generated(Framing::Line, 30_000, 60_000);
    let client = Client::connect_with(socket.into(), Framing::Line, messages).unwrap();
    let mut clients = vec![client.window(usize::MAX).deaf()];
    let (mut sent, mut blocked) = (0, 0);
    let end = Instant::now() + DEADLINE;
    // Each blocked turn waits 10 ms for room, so this is a second in which none came.
    while sent == 0 || blocked < 100 {
        turn(&mut clients).unwrap();
        let now = clients[0].history.sent_bytes;
        blocked = if now == sent { blocked + 1 } else { 0 };
        sent = now;
        assert!(
            Instant::now() < end && sent < 256 << 20,
            "{sent} bytes went in: what a client that does not read may send is not bounded"
        );
    }
    clients
}

/// It reads what is left, to the end.
pub fn hear_out(mut clients: Vec<Client>) -> Vec<History> {
    for client in &mut clients {
        client.finish(false);
        client.set_reading(true);
    }
    drive(&mut clients, "the end", |clients| clients.iter().all(Client::ended));
    clients.into_iter().map(Client::leave).collect()
}
