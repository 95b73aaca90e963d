//! The least that an echo server can do, as well as a simple one can: what storing costs is measured against it.
//!
//! A few processes, each with an epoll loop, share one listener, as the workers of echostored do. For small messages a turn
//! is one `read` and one `write`: nothing is looked at, kept or counted. Only what a client does not take at once waits,
//! and nothing more is read from it meanwhile.
use echostored::sys::process::{fork_role, raise_file_limit, reap};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

const BUFFER: usize = 256 << 10;
const LISTENER: u64 = u64::MAX;

/// A client, and the part of its echo that it has not taken.
struct Connection {
    stream: TcpStream,
    due: Vec<u8>,
}

/// Serves for ever.
pub fn run(address: SocketAddr, processes: usize) -> io::Result<()> {
    raise_file_limit()?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it (tcp(7)), as they do from the daemon's listener.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    let listener = TcpListener::from(socket);
    for _ in 0..processes {
        fork_role(&[listener.as_raw_fd()], |_| match Loop::new(&listener).and_then(|mut own| own.run()) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("echo-only: {error}");
                1
            }
        })?;
    }
    println!("listening on {}", listener.local_addr()?);
    // The children ask for TERM at our death.
    while reap()?.is_none() {
        std::thread::sleep(Duration::from_secs(1));
    }
    Err(io::Error::other("a process has ended"))
}

struct Loop<'a> {
    listener: &'a TcpListener,
    epoll: Epoll,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    buffer: Vec<u8>,
}

impl<'a> Loop<'a> {
    fn new(listener: &'a TcpListener) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let own = Self { listener, epoll, connections: Vec::new(), buffer: vec![0; BUFFER] };
        own.watch_listener()?;
        Ok(own)
    }

    fn watch_listener(&self) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        Ok(self.epoll.add(self.listener, EpollEvent::new(flags, LISTENER))?)
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = vec![EpollEvent::empty(); 1024];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => 0,
                result => result?,
            };
            for event in &events[..count] {
                match usize::try_from(event.data()) {
                    Ok(index) if event.data() != LISTENER => self.serve(index),
                    _ => self.accept()?,
                }
            }
        }
    }

    /// One at a time; then to the end of the kernel's list of waiters, so that the processes share the connections evenly.
    fn accept(&mut self) -> io::Result<()> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        let index = usize::try_from(stream.as_raw_fd()).map_err(io::Error::other)?;
        self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        if index >= self.connections.len() {
            self.connections.resize_with(index + 1, || None);
        }
        self.connections[index] = Some(Connection { stream, due: Vec::new() });
        self.epoll.delete(self.listener)?;
        self.watch_listener()
    }

    fn serve(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
        let was_due = !connection.due.is_empty();
        let result = if was_due { connection.go_on() } else { connection.echo(&mut self.buffer) };
        let is_due = !connection.due.is_empty();
        if !matches!(result, Ok(true)) {
            self.connections[index] = None;
        } else if is_due != was_due {
            let wanted = if is_due { EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            if self.epoll.modify(&connection.stream, &mut EpollEvent::new(wanted, index as u64)).is_err() {
                self.connections[index] = None;
            }
        }
    }
}

/// `None`: it would block.
fn now(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

impl Connection {
    /// Reads once and writes it back; false: the client is gone.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let Some(count) = now(self.stream.read(buffer))? else { return Ok(true) };
        let written = if count == 0 { 0 } else { now(self.stream.write(&buffer[..count]))?.unwrap_or(0) };
        self.due.extend_from_slice(&buffer[written..count]);
        Ok(count > 0)
    }

    /// Writes what waits; memory that was needed for it is given back.
    fn go_on(&mut self) -> io::Result<bool> {
        let written = now(self.stream.write(&self.due))?.unwrap_or(0);
        if written == self.due.len() {
            self.due = Vec::new();
        } else {
            self.due.drain(..written);
        }
        Ok(true)
    }
}
