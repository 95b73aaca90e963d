//! What commands ask of the running daemon over its control socket, and what it answers: one line each way. Pure, but
//! for where the socket is.
//!
//! Promise: a request is one of four words; whatever else comes in is refused and never kept beyond [`MAX_REQUEST`]
//! bytes. A reply is one line of JSON; its fields are told in `docs/status.md`.
use super::report::{Guest, Report};
use crate::config::Control;
use crate::exit;
use serde::{Deserialize, Serialize};
use std::env;
use std::path::{Path, PathBuf};

/// The longest request, in bytes, with its line end.
pub const MAX_REQUEST: usize = 64;
/// The socket's name where the configuration has no path for it.
const NAME: &str = "control.sock";
/// The directory for it where the service manager gives none.
const DIRECTORY: &str = "/run/echostored";

/// Refused for want of a place, before anything was done: to be asked again.
pub const BUSY: &str = "too many commands at once; try again";

/// Where the socket is: as the configuration says, else in the first directory of `$RUNTIME_DIRECTORY`
/// (systemd.exec(5)), else in `/run/echostored`.
pub fn place(control: &Control) -> PathBuf {
    control.socket.clone().unwrap_or_else(|| default_place(env::var("RUNTIME_DIRECTORY").ok().as_deref()))
}

fn default_place(runtime_directory: Option<&str>) -> PathBuf {
    let first = runtime_directory.and_then(|paths| paths.split(':').next()).map(Path::new);
    first.filter(|path| path.is_absolute()).unwrap_or(Path::new(DIRECTORY)).join(NAME)
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// How it is.
    Status,
    /// Take up the configuration again.
    Reload,
    /// Begin a new segment.
    Rotate,
    /// Who is connected, the busiest first.
    Connections,
}

impl Request {
    const ALL: [Self; 4] = [Self::Status, Self::Reload, Self::Rotate, Self::Connections];

    /// Its word, as sent.
    pub fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Reload => "reload",
            Self::Rotate => "rotate",
            Self::Connections => "connections",
        }
    }
}

/// What has come of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The line's end has not come yet.
    Unfinished,
    /// All of it. What follows the line is ignored.
    Request(Request),
    /// No request of ours, nor the beginning of one.
    Malformed,
}

/// Reads what came so far.
pub fn read(bytes: &[u8]) -> Incoming {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return if bytes.len() < MAX_REQUEST { Incoming::Unfinished } else { Incoming::Malformed };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let known = Request::ALL.into_iter().find(|request| request.word().as_bytes() == line);
    known.map_or(Incoming::Malformed, Incoming::Request)
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// It was not done.
    Failed {
        /// The command's exit code.
        code: u8,
        /// For the operator.
        error: String,
    },
    /// The new configuration serves.
    Reloaded {
        /// Workers that serve it.
        workers: usize,
        /// What is allowed in it but unwise.
        warnings: Vec<String>,
    },
    /// Nothing older stands in the live segment.
    Rotated {
        /// False: it was empty, and goes on.
        rotated: bool,
        /// Its file's name.
        segment: String,
    },
    /// Who is connected.
    Connections {
        /// The busiest first.
        busiest: Vec<Guest>,
        /// Numbers of workers that did not answer in time.
        missing: Vec<usize>,
    },
    /// How it is.
    Status(Box<Report>),
}

#[derive(Serialize, Deserialize)]
struct Line<Body> {
    ok: bool,
    #[serde(flatten)]
    body: Body,
}

impl Reply {
    /// A refusal.
    pub fn failed(code: u8, error: impl Into<String>) -> Self {
        Self::Failed { code, error: error.into() }
    }

    /// The answer to what is no request.
    pub fn malformed() -> Self {
        let words = Request::ALL.map(Request::word).join(", ");
        Self::failed(exit::USAGE, format!("not a request: expected one line with one of {words}"))
    }

    /// The line, with its end.
    pub fn line(&self) -> String {
        let line = Line { ok: !matches!(self, Self::Failed { .. }), body: self };
        // Only a map with keys that are no strings could fail, and there is none.
        serde_json::to_string(&line).unwrap_or_else(|_| r#"{"ok":false,"code":1,"error":"no reply"}"#.into()) + "\n"
    }

    /// Reads a line; `None` if it is no reply of ours. Fields that are not known are passed over.
    pub fn parse(line: &str) -> Option<Self> {
        let reply = serde_json::from_str::<Line<Self>>(line).ok()?.body;
        // Every object would do for a report, were there no version in it.
        Some(reply).filter(|reply| !matches!(reply, Self::Status(report) if report.schema == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_runtime_directory_counts() {
        let cases = [
            (None, "/run/echostored/control.sock"),
            (Some(""), "/run/echostored/control.sock"),
            (Some("relative"), "/run/echostored/control.sock"),
            (Some("/run/a"), "/run/a/control.sock"),
            (Some("/run/a/b:/run/c"), "/run/a/b/control.sock"),
        ];
        for (given, place) in cases {
            assert_eq!(default_place(given), Path::new(place), "{given:?}");
        }
        assert_eq!(place(&Control { socket: Some("/x".into()) }), Path::new("/x"));
    }

    #[test]
    fn requests() {
        for request in Request::ALL {
            let line = format!("{}\n", request.word());
            for end in 0..line.len() {
                assert_eq!(read(&line.as_bytes()[..end]), Incoming::Unfinished);
            }
            assert_eq!(read(line.as_bytes()), Incoming::Request(request));
            assert_eq!(read(format!("{}\r\nmore", request.word()).as_bytes()), Incoming::Request(request));
        }
        for bytes in [&b"\n"[..], b"Status\n", b" status\n", b"stop\n", b"\xff\n", &[b'a'; MAX_REQUEST], &[0; 4096]] {
            assert_eq!(read(bytes), Incoming::Malformed, "{bytes:?}");
        }
    }

    #[test]
    fn replies_go_both_ways() {
        let replies = [
            Reply::failed(78, "c.toml:2:1: \"x\"\n\u{1b}"),
            Reply::Reloaded { workers: 2, warnings: vec!["w".into()] },
            Reply::Rotated { rotated: false, segment: "messages-0000000001-20261122T084200Z.log".into() },
            Reply::Connections {
                busiest: vec![Guest { peer: "unix:1:2".into(), ..Guest::default() }],
                missing: vec![2],
            },
            Reply::Status(Box::new(Report { schema: 1, ..Report::default() })),
        ];
        for reply in replies {
            let line = reply.line();
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert_eq!(Reply::parse(&line), Some(reply));
        }
        for foreign in ["{}", r#"{"ok":true}"#, r#"{"ok":true,"version":"1"}"#, "[]"] {
            assert_eq!(Reply::parse(foreign), None);
        }
        assert_eq!(Reply::failed(78, "e").line(), "{\"ok\":false,\"code\":78,\"error\":\"e\"}\n");
        assert_eq!(
            Reply::parse(r#"{"ok":true,"workers":1,"warnings":[],"of":"a later version"}"#),
            Some(Reply::Reloaded { workers: 1, warnings: vec![] })
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text: String) {
            read(&bytes);
            Reply::parse(&text);
        }
    }
}
