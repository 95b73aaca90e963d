//! What the service manager is told: the door of sd-notify, sd_notify(3). Without `NOTIFY_SOCKET` nothing happens.
//!
//! The crate's states, but a socket of our own: the crate's send blocks when the manager does not read, and then nobody
//! would watch the roles. What finds no room is told later; of two states the later one counts.
use sd_notify::NotifyState;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Speaks to the service manager.
#[derive(Debug, Default)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    last_status: String,
    /// States that must not be lost, in order: READY, RELOADING, STOPPING.
    untold: Vec<String>,
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
        if status != self.last_status && self.flush() && self.send(&text(&[NotifyState::Status(status)])) {
            self.last_status = status.to_owned();
        }
    }

    /// All roles make progress. False if there is no room: a later one will do.
    pub fn watchdog(&mut self) -> bool {
        self.flush() && self.send(&text(&[NotifyState::Watchdog]))
    }

    /// A start or stop under way may take at least this much longer from now on. Lost if there is no room.
    pub fn extend_timeout(&mut self, by: Duration) {
        let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        let _ = self.flush() && self.send(&text(&[NotifyState::ExtendTimeoutUsec(micros)]));
    }

    /// Tells what found no room before; false if there still is none.
    pub fn flush(&mut self) -> bool {
        while let Some(first) = self.untold.first() {
            if !self.send(first) {
                return false;
            }
            self.untold.remove(0);
        }
        true
    }

    fn must_tell(&mut self, state: &[NotifyState<'_>]) {
        if self.wanted() {
            // A manager that has not read for this long needs only the newest.
            self.untold.drain(..self.untold.len().saturating_sub(3));
            self.untold.push(text(state));
            self.flush();
        }
    }

    /// False: no room. Other errors are ignored: nobody is left to hear of them, and the service must not fail for them.
    fn send(&self, message: &str) -> bool {
        let Some((socket, address)) = &self.to else { return true };
        !matches!(socket.send_to_addr(message.as_bytes(), address), Err(error) if crate::sys::would_block(&error))
    }
}

fn text(state: &[NotifyState<'_>]) -> String {
    state.iter().map(|part| format!("{part}\n")).collect()
}

fn open() -> io::Result<Option<(UnixDatagram, SocketAddr)>> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
    let address = match name.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(Some((socket, address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Notify, UnixDatagram) {
        let address = SocketAddr::from_abstract_name(format!("echostored-test-{}", std::process::id())).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
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
}
