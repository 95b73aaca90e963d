//! What the service manager passes at the start, by name: sockets that it listens on itself (sd_listen_fds(3)), and
//! descriptors that a supervisor before this one had it keep (`FDSTORE=1`, sd_notify(3)).
//!
//! Promise: taken once, before anything else is opened; a name that another layout has made is told from one that nobody
//! knows.
use crate::exit::{self, Fatal};
use crate::sys::{OwnedFd, RawFd, process};
use std::net::SocketAddr;

/// The version of all that crosses from one supervisor to the next: register, commit record, frames, staging. To be
/// raised with any of them: what has another version is not understood, only counted and let go.
const LAYOUT: u32 = 2;

/// What a socket unit calls the sockets that clients connect to (`FileDescriptorName=`).
pub const ECHO: &str = "echo";
/// The same with TLS.
pub const TLS: &str = "tls";

/// What a kept descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A listener that a supervisor has bound itself. Of no layout: a socket is a socket.
    Listener(SocketAddr),
    /// The commit record's memory.
    Commit,
    /// The register's memory.
    Register,
    /// Read end of the writer's private pipe.
    PrivateRead,
    /// Write end of the writer's private pipe.
    PrivateWrite,
    /// Read end of a link's data pipe. (A write end that is kept would keep its end from ever being seen.)
    Data(u64),
    /// A link's staging memory.
    Staging(u64),
}

impl Kept {
    /// Its name: sd_notify(3) allows printable ASCII without `:`.
    pub fn name(self) -> String {
        let what = match self {
            Self::Listener(address) => return format!("listener.{}", address.to_string().replace(':', "_")),
            Self::Commit => "commit".to_owned(),
            Self::Register => "register".to_owned(),
            Self::PrivateRead => "private-read".to_owned(),
            Self::PrivateWrite => "private-write".to_owned(),
            Self::Data(id) => format!("data.{id}"),
            Self::Staging(id) => format!("staging.{id}"),
        };
        format!("v{LAYOUT}.{what}")
    }

    /// The inverse of [`name`](Self::name); `None` also for another layout.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(address) = name.strip_prefix("listener.") {
            return address.replace('_', ":").parse().ok().map(Self::Listener);
        }
        let what = name.strip_prefix(&format!("v{LAYOUT}."))?;
        let numbered = |kind: &str| what.strip_prefix(kind)?.parse().ok();
        match what {
            "commit" => Some(Self::Commit),
            "register" => Some(Self::Register),
            "private-read" => Some(Self::PrivateRead),
            "private-write" => Some(Self::PrivateWrite),
            _ => numbered("data.").map(Self::Data).or_else(|| numbered("staging.").map(Self::Staging)),
        }
    }
}

/// Whether a supervisor of some other version has made this name.
fn is_of_another_layout(name: &str) -> bool {
    name.strip_prefix('v')
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(number, _)| number.parse::<u32>().is_ok())
}

/// Everything that was passed.
#[derive(Debug, Default)]
pub struct Passed {
    /// Sockets that the manager listens on.
    pub sockets: Vec<OwnedFd>,
    /// The same, of those that speak TLS.
    pub tls: Vec<OwnedFd>,
    /// What a supervisor before had it keep.
    pub kept: Vec<(Kept, OwnedFd)>,
    /// The same of another layout.
    pub strange: Vec<(String, OwnedFd)>,
}

impl Passed {
    /// Takes it all, as the environment says.
    ///
    /// # Errors
    /// Exit 78: the manager contradicts itself, or passes something under a name that means nothing here.
    pub fn take() -> Result<Self, Fatal> {
        let listed = sd_notify::listen_fds_with_names().map_err(|error| {
            let message = format!(
                "cannot understand LISTEN_FDS and LISTEN_FDNAMES: {error}; they are the service manager's to set, see sd_listen_fds(3)"
            );
            Fatal::new(exit::CONFIG, message)
        })?;
        let listed: Vec<(RawFd, String)> = listed.collect();
        let numbers: Vec<RawFd> = listed.iter().map(|(number, _)| *number).collect();
        let mut passed = Self::default();
        for (number, fd) in process::adopt_passed(&numbers) {
            let name = listed.iter().find(|(listed, _)| *listed == number).map_or("", |(_, name)| name);
            passed.sort(name, fd)?;
        }
        Ok(passed)
    }

    fn sort(&mut self, name: &str, fd: OwnedFd) -> Result<(), Fatal> {
        if let Some(kept) = Kept::parse(name) {
            self.kept.push((kept, fd));
        } else if is_of_another_layout(name) {
            self.strange.push((name.to_owned(), fd));
        } else if name == ECHO || is_default(name) {
            self.sockets.push(fd);
        } else if name == TLS {
            self.tls.push(fd);
        } else {
            let message = format!(
                "the service manager passes a descriptor named {name:?}, which means nothing here; set FileDescriptorName={ECHO}, or {TLS}, in the socket unit"
            );
            return Err(Fatal::new(exit::CONFIG, message));
        }
        Ok(())
    }

    /// The numbers of all of them.
    pub fn numbers(&self) -> Vec<RawFd> {
        use crate::sys::AsRawFd;
        let kept = self.kept.iter().map(|(_, fd)| fd).chain(self.strange.iter().map(|(_, fd)| fd));
        self.sockets.iter().chain(&self.tls).chain(kept).map(AsRawFd::as_raw_fd).collect()
    }
}

/// Whether this is what a socket is called whose unit does not say: the unit's own name (systemd.socket(5)), or nothing
/// from a manager that knows no names.
fn is_default(name: &str) -> bool {
    name.ends_with(".socket") || name == "unknown"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal_and_come_back() {
        let listener = |text: &str| Kept::Listener(text.parse().unwrap());
        let all = [
            listener("127.0.0.1:7007"),
            listener("[::1]:7007"),
            listener("[fe80::1%3]:65535"),
            Kept::Commit,
            Kept::Register,
            Kept::PrivateRead,
            Kept::PrivateWrite,
            Kept::Data(0),
            Kept::Data(u64::MAX),
            Kept::Staging(7),
        ];
        for kept in all {
            let name = kept.name();
            assert!(name.len() <= 255 && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'), "{name}");
            assert_eq!(Kept::parse(&name), Some(kept));
        }
    }

    #[test]
    fn another_layout_is_told_from_what_nobody_knows() {
        for name in ["v1.commit", "v0.data.1", "v2.something", "v2.data.x"] {
            assert!(Kept::parse(name).is_none() && is_of_another_layout(name), "{name}");
        }
        for name in ["echo", "v.commit", "vx.commit", "commit", "listener.nonsense", ""] {
            assert!(Kept::parse(name).is_none() && !is_of_another_layout(name), "{name}");
        }
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut passed = Passed::default();
        for name in ["echo", "my-own.socket", "unknown", "v9.commit", "v2.commit", "tls"] {
            passed.sort(name, null()).unwrap();
        }
        assert_eq!((passed.sockets.len(), passed.tls.len(), passed.strange.len(), passed.kept.len()), (3, 1, 1, 1));
        assert_eq!(passed.sort("metrics", null()).unwrap_err().code, exit::CONFIG);
    }
}
