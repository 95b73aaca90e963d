//! Parsing: the bytes of a record become its fields again, by a strict grammar.
//!
//! Accepted is exactly what [`super::record::append`] writes, so that a flipped bit is seen wherever it can be. Bytes come from
//! disks: must never panic, whatever they are.
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use serde::Deserialize;

use super::escape;
use super::record::{self, Source, Stamp};
use crate::config::Format;

mod parser;
pub use parser::Parser;

/// The fields of one record. Of a `raw` record only `message` is known: the texts are empty and `n` is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Time of receipt, RFC 3339, UTC, microseconds.
    pub time: &'a str,
    /// The sender: an address, or `unix:PID:UID`.
    pub peer: &'a str,
    /// The subject of the client's certificate, where there is one; never in `text`.
    pub subject: Option<Cow<'a, str>>,
    /// Unique for ever in the store.
    pub connection: &'a str,
    /// Which message of its connection, from 1.
    pub n: u64,
    /// The bytes as they were sent, without framing.
    pub message: Cow<'a, [u8]>,
}

/// Why a line is not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Byte in the line, from 0; at most its length.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for Malformed {}

const BAD_TIME: &str = "not a time (YYYY-MM-DDTHH:MM:SS.ffffffZ)";
const BAD_PEER: &str = "not a peer (ADDRESS:PORT or unix:PID:UID)";
const BAD_CONNECTION: &str = "not a connection id (ASCII letters and digits)";
const BAD_NUMBER: &str = "not a message number (from 1, without leading zeros)";

/// The record that `line` (without its LF) is.
pub fn parse(format: Format, line: &[u8]) -> Result<Record<'_>, Malformed> {
    match format {
        Format::Text => parse_text(line),
        Format::Jsonl => parse_jsonl(line),
        Format::Raw => {
            Ok(Record { time: "", peer: "", subject: None, connection: "", n: 0, message: Cow::Borrowed(line) })
        }
    }
}

/// The format of a file that begins with `first_line` (without its LF): `jsonl` if it begins as such a record does, `text` if it
/// is such a record, else `raw`.
pub fn detect(first_line: &[u8]) -> Format {
    if first_line.starts_with(br#"{"time":"#) {
        Format::Jsonl
    } else if parse_text(first_line).is_ok() {
        Format::Text
    } else {
        Format::Raw
    }
}

fn parse_text(line: &[u8]) -> Result<Record<'_>, Malformed> {
    let (time, peer_at) = field(line, 0, b' ').ok_or(bad(line.len().min(Stamp::LEN), BAD_TIME))?;
    Stamp::parse(time.as_bytes()).ok_or(bad(0, BAD_TIME))?;
    let (peer, connection_at) = field(line, peer_at, b' ').ok_or(bad(peer_at, BAD_PEER))?;
    check_peer(peer).ok_or(bad(peer_at, BAD_PEER))?;
    let (connection, n_at) = field(line, connection_at, b'-').ok_or(bad(connection_at, BAD_CONNECTION))?;
    check_connection(connection).ok_or(bad(connection_at, BAD_CONNECTION))?;
    let (digits, message_at) = field(line, n_at, b' ').ok_or(bad(n_at, BAD_NUMBER))?;
    let n = number(digits).ok_or(bad(n_at, BAD_NUMBER))?;
    let escaped = &line[message_at..];
    let message = escape::unescape_text(escaped).map_err(|error| bad(message_at + error.at, error.what))?;
    Ok(Record { time, peer, subject: None, connection, n, message })
}

/// The ASCII text from `from` up to `end`, and where the next field begins. The lengths of all fields but the message are
/// bounded, so that a long line without separators is not scanned again for each.
fn field(line: &[u8], from: usize, end: u8) -> Option<(&str, usize)> {
    let rest = line.get(from..)?;
    let window = &rest[..rest.len().min(record::PEER_MAX + 1)];
    let length = memchr::memchr(end, window)?;
    Some((std::str::from_utf8(&rest[..length]).ok()?, from + length + 1))
}

/// One place for what may stand as a peer. The length is bounded because leading zeros are not, in a port or a scope.
fn check_peer(peer: &str) -> Option<()> {
    let sound = match peer.strip_prefix("unix:") {
        // Records of before have no user.
        Some(process) => match process.split_once(':') {
            Some((pid, uid)) => is_pid(pid) && is_uid(uid),
            None => is_pid(process),
        },
        None => peer.len() <= record::PEER_MAX && peer.parse::<SocketAddr>().is_ok(),
    };
    sound.then_some(())
}

/// 0 stands for a process that could not be seen.
fn is_pid(digits: &str) -> bool {
    digits == "0" || number(digits).is_some_and(|pid| i32::try_from(pid).is_ok())
}

fn is_uid(digits: &str) -> bool {
    digits == "0" || number(digits).is_some_and(|uid| u32::try_from(uid).is_ok())
}

fn check_connection(connection: &str) -> Option<()> {
    let sound = (1..=record::CONNECTION_MAX).contains(&connection.len())
        && connection.bytes().all(|byte| byte.is_ascii_alphanumeric());
    sound.then_some(())
}

fn number(digits: &str) -> Option<u64> {
    let sound = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if sound { digits.parse().ok() } else { None }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Jsonl<'a> {
    time: &'a str,
    peer: &'a str,
    #[serde(borrow)]
    subject: Option<JsonText<'a>>,
    connection: &'a str,
    n: u64,
    #[serde(borrow)]
    message: Option<JsonText<'a>>,
    message_base64: Option<&'a str>,
}

/// Borrowed where nothing is escaped (serde does that for a bare `Cow` only, not inside an `Option`).
#[derive(Deserialize)]
struct JsonText<'a>(#[serde(borrow)] Cow<'a, str>);

fn parse_jsonl(line: &[u8]) -> Result<Record<'_>, Malformed> {
    let json: Jsonl = serde_json::from_slice(line).map_err(|error| json_error(line, &error))?;
    let at = |part: &str| part.as_ptr().addr().saturating_sub(line.as_ptr().addr()).min(line.len());
    let Jsonl { time, peer, connection, n, .. } = json;
    let stamp = Stamp::parse(time.as_bytes()).ok_or(bad(at(time), BAD_TIME))?;
    check_peer(peer).ok_or(bad(at(peer), BAD_PEER))?;
    check_connection(connection).ok_or(bad(at(connection), BAD_CONNECTION))?;
    if n == 0 {
        return Err(bad(at(connection) + connection.len() + br#"","n":"#.len(), BAD_NUMBER));
    }
    let subject = json.subject.map(|JsonText(text)| text);
    if subject.as_ref().is_some_and(|subject| subject.len() > record::SUBJECT_MAX) {
        return Err(bad(at(peer) + peer.len(), "a subject that is too long"));
    }
    let message = match (json.message, json.message_base64) {
        (Some(JsonText(Cow::Borrowed(text))), None) => Cow::Borrowed(text.as_bytes()),
        (Some(JsonText(Cow::Owned(text))), None) => Cow::Owned(text.into_bytes()),
        (None, Some(text)) => Cow::Owned(escape::decode_base64(text).ok_or(bad(at(text), "not base64"))?),
        _ => {
            return Err(bad(line.len(), "neither, or both, of message and message_base64"));
        }
    };

    // JSON allows other spaces, orders of keys and escapes; a record has one form.
    let mut canonical = Vec::with_capacity(line.len() + 1);
    let source = Source::named(Format::Jsonl, peer, subject.as_deref(), connection);
    record::append(&mut canonical, Format::Jsonl, &stamp, &source, n, &message);
    canonical.pop();
    match escape::first_difference(&canonical, line) {
        Some(at) => Err(bad(at, "JSON, but not in a record's one form")),
        None => Ok(Record { time, peer, subject, connection, n, message }),
    }
}

const fn bad(at: usize, what: &'static str) -> Malformed {
    Malformed { at, what }
}

fn json_error(line: &[u8], error: &serde_json::Error) -> Malformed {
    let what = match error.classify() {
        serde_json::error::Category::Data => "JSON, but not a record's keys and values",
        _ => "not JSON",
    };
    Malformed { at: error.column().saturating_sub(1).min(line.len()), what }
}

#[cfg(test)]
mod tests;
