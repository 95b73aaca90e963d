//! What the command line of `send` says. Pure.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::units;
use crate::tools::carrier::Security;

/// The port of an address that names none.
const PORT: u16 = 7007;
const MAX_WINDOW: u64 = 100_000;

/// The arguments of `send`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The server: HOST:PORT, HOST, [IPv6]:PORT, or unix:PATH (unix:@NAME for an abstract name). Without a port, 7007
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:7007", value_parser = Target::parse)]
    pub server: Target,
    /// The server's framing: line, nul, octet-counted or length-prefixed
    ///
    /// For all but nul the input is lines. With line they go as they are; with octet-counted and length-prefixed a message is a line
    /// without its LF, a CR being a part of it. With nul the input, too, is what NUL separates. A last message without its end is
    /// one, too.
    #[arg(long, default_value = "line", value_parser = Framing::parse)]
    pub framing: Framing,
    /// How many messages may be sent and not yet echoed; never more than 8 MiB of them, but for a single one
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=MAX_WINDOW))]
    pub window: u64,
    /// How long to wait for the next echo before the connection counts as broken; "0": for ever
    ///
    /// A server whose disk is full may take its time (store.on-disk-full = "wait"): what is then sent again is stored twice.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::parse_time)]
    pub timeout: Duration,
    /// Give up after N attempts to connect again without any echo between them; 0: at the first fault [default: never]
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// Print on standard output which messages were sent again, and may be stored twice
    ///
    /// A line FIRST-LAST for each range of lines, as soon as it is known, and at the end `total N`.
    #[arg(long)]
    pub exactly: bool,
    /// Say nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
    /// With or without TLS.
    #[command(flatten)]
    pub security: Security,
}

/// The framings that a sender can match with their echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// LF ends a message.
    Line,
    /// NUL ends a message.
    Nul,
    /// A decimal length and a space go before each message.
    OctetCounted,
    /// A 32-bit big-endian length goes before each message.
    LengthPrefixed,
}

impl Framing {
    /// Reads the name that `server.framing` has for it.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "line" => Ok(Self::Line),
            "nul" => Ok(Self::Nul),
            "octet-counted" => Ok(Self::OctetCounted),
            "length-prefixed" => Ok(Self::LengthPrefixed),
            "chunk" => {
                Err("with chunk the server cuts messages wherever its reads end, so an echo tells nothing of a \
                            message; use another framing on both sides"
                    .to_owned())
            }
            _ => Err("known are line, nul, octet-counted, length-prefixed".to_owned()),
        }
    }

    /// The name that `server.framing` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Nul => "nul",
            Self::OctetCounted => "octet-counted",
            Self::LengthPrefixed => "length-prefixed",
        }
    }

    /// What separates messages in the input.
    pub fn separator(self) -> u8 {
        if self == Self::Nul { 0 } else { b'\n' }
    }

    /// What a message is called where its place in the input is told.
    pub fn unit(self) -> &'static str {
        if self == Self::Nul { "message" } else { "line" }
    }

    /// The bytes before a message of this length, on the wire.
    pub fn header(self, length: usize) -> Vec<u8> {
        match self {
            Self::Line | Self::Nul => Vec::new(),
            Self::OctetCounted => format!("{length} ").into_bytes(),
            // The input refuses what is longer than 16 MiB.
            Self::LengthPrefixed => u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes().to_vec(),
        }
    }

    /// The bytes behind it.
    pub fn trailer(self) -> &'static [u8] {
        match self {
            Self::Line => b"\n",
            Self::Nul => b"\0",
            Self::OctetCounted | Self::LengthPrefixed => b"",
        }
    }

    /// From how many bytes of this wire message on a server may store it, if the connection then ends in order: without its
    /// terminator it is a last message all the same.
    pub fn storable(self, wire: &[u8]) -> usize {
        let body = wire.strip_suffix(self.trailer()).unwrap_or(wire);
        let body = if self == Self::Line { body.strip_suffix(b"\r").unwrap_or(body) } else { body };
        body.len().max(1)
    }
}

/// Where to send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host, by name or address, and a port.
    Host(String, u16),
    /// A Unix socket; an abstract name begins with NUL.
    Unix(PathBuf),
}

impl Target {
    /// Reads `ADDR`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.strip_prefix('@') {
                _ if path.is_empty() || path == "@" => Err("the path is missing".to_owned()),
                Some(name) => Ok(Self::Unix(format!("\0{name}").into())),
                None => Ok(Self::Unix(path.into())),
            };
        }
        let (host, port) = split(text)?;
        let plausible = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
        if host.is_empty() || !host.chars().all(plausible) {
            return Err("HOST:PORT, [IPv6]:PORT or unix:PATH is expected".to_owned());
        }
        match port.map(str::parse::<u16>) {
            None => Ok(Self::Host(host.to_owned(), PORT)),
            Some(Ok(port)) if port > 0 => Ok(Self::Host(host.to_owned(), port)),
            Some(_) => Err("a port is a number from 1 to 65535".to_owned()),
        }
    }
}

/// Host and port, without brackets.
fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the closing bracket is missing")?;
        return match after.strip_prefix(':') {
            None if after.is_empty() => Ok((host, None)),
            None => Err("a port stands behind the bracket, after a colon".to_owned()),
            port => Ok((host, port)),
        };
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address without a port.
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display().to_string().replace('\0', "@").escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let good = [
            ("127.0.0.1:7007", "127.0.0.1:7007"),
            ("host", "host:7007"),
            ("host.example:1", "host.example:1"),
            ("::1", "[::1]:7007"),
            ("[::1]", "[::1]:7007"),
            ("[fe80::1%eth0]:9", "[fe80::1%eth0]:9"),
            ("unix:/run/x", "unix:/run/x"),
            ("unix:@name", "unix:@name"),
        ];
        for (text, shown) in good {
            assert_eq!(Target::parse(text).map(|target| target.to_string()), Ok(shown.to_owned()), "{text}");
        }
        for text in
            ["", ":7007", "host:", "host:0", "host:65536", "host:x", "[::1", "[::1]7", "http://host", "unix:", "a b"]
        {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_server_may_take_for_a_whole_message() {
        let cases: [(Framing, &[u8], usize); 6] = [
            (Framing::Line, b"hello\n", 5),
            (Framing::Line, b"hello\r\n", 5),
            (Framing::Line, b"\n", 1),
            (Framing::Nul, b"a\r\0", 2),
            (Framing::OctetCounted, b"2 a\n", 4),
            (Framing::LengthPrefixed, b"\0\0\0\0", 4),
        ];
        for (framing, wire, storable) in cases {
            assert_eq!(framing.storable(wire), storable, "{framing:?} {wire:?}");
        }
    }

    #[test]
    fn chunk_is_refused_with_its_reason() {
        assert!(Framing::parse("chunk").unwrap_err().contains("wherever its reads end"));
        assert!(Framing::parse("lines").unwrap_err().contains("length-prefixed"));
    }
}
