//! What others use: rsyslog and Redis, as Debian packages them, with configurations that are kind to them.
use super::{Kind, Server, attached, await_ready, find_program, spawn, write};
use crate::places::free_address;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// rsyslog, TCP in, file out. Large queue, batches and buffer; no name look-ups; a record like echostored's: time, peer, message.
pub fn rsyslog(home: tempfile::TempDir) -> Result<Server, String> {
    let (address, path) = (free_address()?, home.path().to_owned());
    let config = format!(
        r#"global(workDirectory="{home}" net.enableDNS="off" maxMessageSize="64k")
main_queue(queue.type="FixedArray" queue.size="200000" queue.dequeueBatchSize="4096")
module(load="imtcp" maxSessions="20000")
template(name="record" type="string" string="%timegenerated:::date-rfc3339% %fromhost-ip% %rawmsg%\n")
input(type="imtcp" address="{ip}" port="{port}")
action(type="omfile" file="{home}/messages" template="record" ioBufferSize="256k")
"#,
        home = path.display(),
        ip = address.ip(),
        port = address.port()
    );
    write(&path.join("rsyslog.conf"), &config)?;
    let mut command = attached(program("rsyslogd")?.as_os_str(), &path.join("log"))?;
    // In the foreground, with files of its own.
    command.arg("-n").arg("-f").arg(path.join("rsyslog.conf")).arg("-i").arg(path.join("pid"));
    serve(Kind::Rsyslog, home, address, config, command, path.join("messages"))
}

/// Redis, each answer after an `fdatasync`. No snapshots, and no rewriting of the file while it is measured.
pub fn redis(home: tempfile::TempDir) -> Result<Server, String> {
    let (address, path) = (free_address()?, home.path().to_owned());
    let config = format!(
        "bind {}\nport {}\ndir {}\nappendonly yes\nappendfsync always\nsave \"\"\nauto-aof-rewrite-percentage 0\n\
         daemonize no\nmaxclients 10000\n",
        address.ip(),
        address.port(),
        path.display()
    );
    write(&path.join("redis.conf"), &config)?;
    let mut command = attached(program("redis-server")?.as_os_str(), &path.join("log"))?;
    command.arg(path.join("redis.conf"));
    serve(Kind::Redis, home, address, config, command, path)
}

fn program(name: &str) -> Result<PathBuf, String> {
    find_program(name).ok_or_else(|| format!("no {name} on this machine"))
}

fn serve(
    kind: Kind,
    home: tempfile::TempDir,
    address: std::net::SocketAddr,
    config: String,
    command: Command,
    store: PathBuf,
) -> Result<Server, String> {
    let begin = Instant::now();
    let mut child = spawn(command)?;
    await_ready(&mut child, &home.path().join("log"), || TcpStream::connect(address).is_ok())
        .map_err(|error| format!("{}: {error}", kind.name()))?;
    Ok(Server { kind, address, config, ready: begin.elapsed(), store, child, _home: home })
}
