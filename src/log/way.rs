//! The ways a line can go: standard error, or the journal's own socket.
use super::FORMAT;
use super::line::Line;
use super::outlet::{Outlet, Way};
use crate::config::LogFormat;
use crate::sys::poll::has_room;
use crate::sys::{AsFd, AsRawFd, OwnedFd, RawFd, datagram};
use chrono::Utc;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where journald takes lines with fields (systemd-journald.service(8)).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Whether standard error is the journal's stream.
static STREAM: AtomicBool = AtomicBool::new(false);
static SOCKET: OnceLock<OwnedFd> = OnceLock::new();

/// Looks whether standard error is the stream that `JOURNAL_STREAM` names by device and inode (systemd.exec(5)); again
/// after it was replaced.
pub fn look_at_stream() {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let stat = crate::sys::file::stat(io::stderr().as_fd());
    let is = stream.zip(stat.ok()).is_some_and(|(stream, stat)| stream == format!("{}:{}", stat.st_dev, stat.st_ino));
    STREAM.store(is, Ordering::Relaxed);
}

pub(super) fn is_journal() -> bool {
    STREAM.load(Ordering::Relaxed)
}

/// If standard error is the journal's stream: from now on lines go to the journal with their fields. Before the first fork: no role
/// may make a socket. Where there is no such socket (a mount namespace of its own, a container), standard error does as well.
pub fn join_journal() {
    if is_journal()
        && SOCKET.get().is_none()
        && let Ok(socket) = datagram::connect(JOURNAL.as_ref())
    {
        let _ = SOCKET.set(socket);
    }
}

/// The socket to the journal, which all roles keep.
pub fn journal_socket() -> Option<RawFd> {
    SOCKET.get().map(AsRawFd::as_raw_fd)
}

/// Puts a line on the way that is set up.
pub(super) fn put(outlet: &Outlet, line: &Line<'_>) {
    let json = FORMAT.load(Ordering::Relaxed) == LogFormat::Json as u8;
    let stream = Stream { out: io::stderr(), json, journal: is_journal() };
    match SOCKET.get() {
        Some(socket) => outlet.put(&Journal { socket, otherwise: stream }, line),
        None => outlet.put(&stream, line),
    }
}

/// A stream of lines.
///
/// Processes that share a pipe may see its last free page at the same moment. Their lines go into it together; only if
/// they do not fit there would the last of them wait.
struct Stream<T> {
    out: T,
    json: bool,
    /// The stream is the journal's: it takes the priority off a line.
    journal: bool,
}

impl<T: AsFd> Way for Stream<T>
where
    for<'a> &'a T: Write,
{
    fn take(&self, line: &Line<'_>) -> bool {
        let text = match (self.json, self.journal) {
            (true, journal) => line.json(&line.priority_prefix(journal), Utc::now()),
            (false, true) => line.prefixed(),
            (false, false) => line.text(Utc::now()),
        };
        has_room(self.out.as_fd()) && (&self.out).write_all(text.as_bytes()).is_ok()
    }

    fn name(&self) -> &'static str {
        "standard error"
    }
}

/// The journal, and where lines go that it refuses.
struct Journal<'a, T> {
    socket: &'a OwnedFd,
    otherwise: Stream<T>,
}

impl<T: AsFd> Way for Journal<'_, T>
where
    for<'a> &'a T: Write,
{
    fn take(&self, line: &Line<'_>) -> bool {
        let json = self.otherwise.json.then(Utc::now);
        match datagram::send_all(self.socket, &line.datagram(json)) {
            Ok(()) => true,
            // It is behind; its stream would be, too.
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(_) => self.otherwise.take(line),
        }
    }

    fn name(&self) -> &'static str {
        "the journal"
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::STOPPED;
    use super::*;
    use crate::config::Level;
    use std::io::{PipeReader, PipeWriter, Read};
    use std::os::unix::net::UnixDatagram;

    fn line(message: &str) -> Line<'_> {
        Line { level: Level::Info, event: Some(&STOPPED), fields: &[], role: "r", message }
    }

    fn stream(out: PipeWriter) -> Stream<PipeWriter> {
        Stream { out, json: false, journal: true }
    }

    /// What is in the pipe now.
    fn read(pipe: &mut PipeReader) -> String {
        let mut bytes = vec![0; 1 << 20];
        let count = pipe.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[test]
    fn a_full_pipe_takes_no_line_and_the_next_one_tells_how_many() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (outlet, stream, text) = (Outlet::new(), stream(writer), "x".repeat(99));
        let mut put = 0;
        while outlet.dropped() == 0 {
            outlet.put(&stream, &line(&text));
            put += 1;
            assert!(put < 100_000, "the pipe is never full");
        }
        for _ in 0..6 {
            outlet.put(&stream, &line(&text));
        }
        assert_eq!(outlet.dropped(), 7);
        assert_eq!(read(&mut reader), format!("<6>r: {text}\n").repeat(put - 1), "whole lines, and no other");
        outlet.put(&stream, &line("after"));
        outlet.put(&stream, &line("and after"));
        let told = "<4>r: 7 lines before this one were not logged: standard error did not take them\n";
        assert_eq!(read(&mut reader), format!("{told}<6>r: after\n<6>r: and after\n"));
        assert_eq!(outlet.dropped(), 7, "the total stays");
    }

    #[test]
    fn nobody_at_the_other_end_is_counted_too() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let (outlet, stream) = (Outlet::new(), stream(writer));
        outlet.put(&stream, &line("x"));
        outlet.put(&stream, &line("x"));
        assert_eq!(outlet.dropped(), 2);
    }

    /// A journal that reads when it is told to, and the way to it.
    fn journal() -> (tempfile::TempDir, UnixDatagram, OwnedFd) {
        let home = tempfile::tempdir().unwrap();
        let daemon = UnixDatagram::bind(home.path().join("socket")).unwrap();
        daemon.set_nonblocking(true).unwrap();
        let socket = datagram::connect(&home.path().join("socket")).unwrap();
        (home, daemon, socket)
    }

    fn heard(daemon: &UnixDatagram) -> Vec<String> {
        let mut bytes = vec![0; 1 << 16];
        std::iter::from_fn(|| daemon.recv(&mut bytes).ok().map(|count| String::from_utf8_lossy(&bytes[..count]).into()))
            .collect()
    }

    #[test]
    fn a_journal_that_is_behind_stops_nobody_and_one_that_is_gone_is_not_needed() {
        let (_home, daemon, socket) = journal();
        let (mut reader, writer) = io::pipe().unwrap();
        let (outlet, way) = (Outlet::new(), Journal { socket: &socket, otherwise: stream(writer) });
        let mut put = 0;
        while outlet.dropped() < 3 {
            outlet.put(&way, &line("x"));
            put += 1;
            assert!(put < 100_000, "the socket is never full");
        }
        assert_eq!(heard(&daemon).len(), put - 3);
        outlet.put(&way, &line("after"));
        let told = heard(&daemon);
        assert!(
            told[0].starts_with("MESSAGE=r: 3 lines before this one were not logged: the journal did not"),
            "{told:?}"
        );
        assert!(told[0].contains("\nECHOSTORED_LINES=3\n") && told[0].contains("\nECHOSTORED_EVENT=lines-dropped\n"));
        assert!(told[1].starts_with("MESSAGE=r: after\nPRIORITY=6\n"), "{told:?}");
        drop(daemon);
        outlet.put(&way, &line("alone"));
        assert_eq!((read(&mut reader).as_str(), outlet.dropped()), ("<6>r: alone\n", 3));
    }
}
