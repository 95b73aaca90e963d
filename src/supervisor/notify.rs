//! What the service manager is told: the door of sd-notify, sd_notify(3). Without `NOTIFY_SOCKET` nothing happens.
//!
//! The crate's states, but a socket of our own: the crate's send blocks when the manager does not read, and then nobody
//! would watch the roles. What finds no room is told later; of two states the later one counts.
use crate::sys::fdpass::{self, Address};
use crate::sys::{AsFd, AsRawFd, OwnedFd, RawFd};
use sd_notify::NotifyState;
use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// States that wait for room are kept up to so many: a manager that has not read for this long needs only the newest.
const STATES: usize = 4;

/// Speaks to the service manager.
#[derive(Debug, Default)]
pub struct Notify {
    to: Option<(UnixDatagram, Address)>,
    last_status: String,
    /// What must not be lost, in order.
    untold: VecDeque<Untold>,
}

#[derive(Debug)]
enum Untold {
    /// READY, RELOADING, STOPPING.
    State(String),
    /// A descriptor to be kept under a name.
    Store(String, OwnedFd),
    /// What is kept under a name is of no more use.
    Remove(String),
}

impl Notify {
    /// Looks whether somebody listens: a path, or an abstract name after `@`.
    pub fn new() -> Self {
        Self { to: open().unwrap_or(None), ..Self::default() }
    }

    /// Whether a status is of use to anybody.
    pub fn wanted(&self) -> bool {
        self.to.is_some()
    }

    /// Everything serves.
    pub fn ready(&mut self, status: &str) {
        self.last_status = status.to_owned();
        self.must_tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A reload begins; [`ready`](Self::ready) ends it. Both fields in one datagram, as sd_notify(3) demands.
    pub fn reloading(&mut self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.must_tell(&[NotifyState::Reloading, now]);
        }
    }

    /// The daemon stops.
    pub fn stopping(&mut self, status: &str) {
        self.must_tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// One line for `systemctl status`, of our own words and numbers only; sent when it changed.
    pub fn status(&mut self, status: &str) {
        if status != self.last_status && self.flush() && self.send(&text(&[NotifyState::Status(status)]), &[]) {
            self.last_status = status.to_owned();
        }
    }

    /// All roles make progress. False if there is no room: a later one will do.
    pub fn watchdog(&mut self) -> bool {
        self.flush() && self.send(&text(&[NotifyState::Watchdog]), &[])
    }

    /// A start or stop under way may take at least this much longer from now on. Lost if there is no room.
    pub fn extend_timeout(&mut self, by: Duration) {
        let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        let _ = self.flush() && self.send(&text(&[NotifyState::ExtendTimeoutUsec(micros)]), &[]);
    }

    /// Has the manager keep a descriptor over this process's end, and give it to the next one (`FDSTORE=1`). It closes
    /// none by itself, as it would once the other end of a pipe is gone (`FDPOLL=0`).
    pub fn store(&mut self, name: &str, fd: &impl AsFd) {
        if !self.wanted() {
            return;
        }
        match fd.as_fd().try_clone_to_owned() {
            Ok(fd) => {
                self.untold.push_back(Untold::Store(name.to_owned(), fd));
                self.flush();
            }
            Err(error) => {
                crate::warn!(NOT_KEPT_BY_MANAGER, "the service manager cannot be given {name} to keep: {error}")
            }
        }
    }

    /// Has it close what it keeps under `name`.
    pub fn remove(&mut self, name: &str) {
        if !self.wanted() {
            return;
        }
        let before = self.untold.len();
        self.untold.retain(|untold| !matches!(untold, Untold::Store(kept, _) if kept == name));
        if before == self.untold.len() {
            self.untold.push_back(Untold::Remove(name.to_owned()));
        }
        self.flush();
    }

    /// Tells what found no room before; false if there still is none.
    pub fn flush(&mut self) -> bool {
        while let Some(first) = self.untold.front() {
            if !self.tell(first) {
                return false;
            }
            self.untold.pop_front();
        }
        true
    }

    fn tell(&self, untold: &Untold) -> bool {
        match untold {
            Untold::State(state) => self.send(state, &[]),
            Untold::Store(name, fd) => {
                let state = [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
                self.send(&text(&state), &[fd.as_raw_fd()])
            }
            Untold::Remove(name) => self.send(&text(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]), &[]),
        }
    }

    fn must_tell(&mut self, state: &[NotifyState<'_>]) {
        if self.wanted() {
            let states = self.untold.iter().filter(|untold| matches!(untold, Untold::State(_))).count();
            let mut surplus = (states + 1).saturating_sub(STATES);
            self.untold.retain(|untold| {
                let goes = surplus > 0 && matches!(untold, Untold::State(_));
                surplus -= usize::from(goes);
                !goes
            });
            self.untold.push_back(Untold::State(text(state)));
            self.flush();
        }
    }

    /// False: no room. Other errors are ignored: nobody is left to hear of them, and the service must not fail for them.
    fn send(&self, message: &str, fds: &[RawFd]) -> bool {
        let Some((socket, address)) = &self.to else { return true };
        match fdpass::send_to(socket.as_fd(), message.as_bytes(), fds, address) {
            // Too many descriptors on their way to somebody who does not read (unix(7)) are no room, too; nor is no memory.
            Err(error) => {
                let again = [nix::libc::ETOOMANYREFS, nix::libc::ENOBUFS, nix::libc::ENOMEM];
                !(crate::sys::would_block(&error) || error.raw_os_error().is_some_and(|error| again.contains(&error)))
            }
            Ok(()) => true,
        }
    }
}

fn text(state: &[NotifyState<'_>]) -> String {
    state.iter().map(|part| format!("{part}\n")).collect()
}

fn open() -> io::Result<Option<(UnixDatagram, Address)>> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
    let address = Address::parse(&name)?;
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(Some((socket, address)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn pair() -> (Notify, UnixDatagram) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("echostored-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager.set_nonblocking(true).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = Address::parse(format!("@{name}").as_ref()).unwrap();
        (Notify { to: Some((socket, address)), ..Notify::default() }, manager)
    }

    fn heard(manager: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 512];
        std::iter::from_fn(|| {
            manager.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned())
        })
        .collect()
    }

    #[test]
    fn a_manager_that_does_not_read_blocks_nobody_and_hears_the_state_later() {
        let (mut notify, manager) = pair();
        for n in 0..1000 {
            notify.status(&format!("status {n}"));
        }
        assert!(!notify.watchdog());
        notify.extend_timeout(Duration::from_secs(10));
        notify.stopping("stopping");
        assert!(!heard(&manager).iter().any(|text| text.contains("STOPPING")));
        assert!(notify.flush());
        assert_eq!(heard(&manager), ["STOPPING=1\nSTATUS=stopping\n"]);
        assert!(notify.watchdog());
        notify.extend_timeout(Duration::from_secs(10));
        assert_eq!(heard(&manager), ["WATCHDOG=1\n", "EXTEND_TIMEOUT_USEC=10000000\n"]);
        notify.reloading();
        let text = heard(&manager).concat();
        assert!(text.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{text}");
    }

    #[test]
    fn descriptors_wait_for_room_and_one_not_yet_told_is_taken_back() {
        let (mut notify, manager) = pair();
        let file = std::fs::File::open("/dev/null").unwrap();
        notify.store("a", &file);
        let mut buffer = [0; 512];
        let (length, fds) = fdpass::receive(manager.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"FDSTORE=1\nFDNAME=a\nFDPOLL=0\n"[..], 1));
        for n in 0..1000 {
            notify.status(&format!("status {n}"));
        }
        for n in 0..20 {
            notify.store("b", &file);
            notify.remove("b");
            notify.stopping(&n.to_string());
        }
        notify.store("c", &file);
        notify.remove("a");
        heard(&manager);
        assert!(notify.flush());
        let told = heard(&manager);
        assert_eq!(told.len(), STATES + 2, "{told:?}");
        assert!(told[3].contains("STATUS=19") && told[4].contains("FDNAME=c"), "{told:?}");
        assert_eq!(told[5], "FDSTOREREMOVE=1\nFDNAME=a\n");
    }
}
