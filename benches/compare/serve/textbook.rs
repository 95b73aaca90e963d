//! The textbook's storing echo server: `fork` for each connection, one pipe that all children share, one process at its end.
//!
//! As in the book, a child reads, echoes, and writes what it read into the pipe; nobody looks whether it is stored. Made
//! better where that costs the shape nothing: reads of as much as a pipe takes at once (pipe(7), `PIPE_BUF`: no more, or the
//! children's messages would mix), and big reads at the pipe's end. The file begins anew when it is as large as a segment of
//! echostored.
use echostored::sys::pipe::blocking_pipe;
use echostored::sys::process::{fork_role, reap};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;

/// `PIPE_BUF` of Linux.
const MESSAGE: usize = 4096;
const READ: usize = 64 << 10;
const LARGEST_FILE: u64 = 64 << 20;

/// Serves for ever.
pub fn run(address: SocketAddr, file: &Path) -> io::Result<()> {
    let mut stored = File::options().create(true).write(true).truncate(true).open(file)?;
    let (output, input) = blocking_pipe()?;
    let listener = listen(address)?;
    let mut output = File::from(output);
    fork_role(&[output.as_raw_fd(), stored.as_raw_fd()], |_| code(store(&mut output, &mut stored)))?;
    drop(output);
    let mut input = File::from(input);
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept()?;
        fork_role(&[client.as_raw_fd(), input.as_raw_fd()], |_| code(serve(&client, &mut input)))?;
        drop(client);
        while reap()?.is_some() {}
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// A client that went away is no failure.
fn code(result: io::Result<()>) -> u8 {
    u8::from(result.is_err_and(|error| error.kind() != io::ErrorKind::ConnectionReset))
}

/// A child's life: one client.
fn serve(mut client: &TcpStream, pipe: &mut File) -> io::Result<()> {
    let mut buffer = [0; MESSAGE];
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..count])?;
        pipe.write_all(&buffer[..count])?;
    }
}

/// The storing process: until all ends of the pipe are closed.
fn store(pipe: &mut File, file: &mut File) -> io::Result<()> {
    let (mut buffer, mut length) = (vec![0; READ], 0);
    loop {
        let count = pipe.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        file.write_all(&buffer[..count])?;
        length += count as u64;
        if length > LARGEST_FILE {
            file.set_len(0)?;
            file.rewind()?;
            length = 0;
        }
    }
}
