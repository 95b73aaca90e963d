//! One line in its three forms: text, JSON, and the journal's fields. Pure.
use super::catalogue::Event;
use crate::config::Level;
use chrono::{DateTime, Utc};
use std::fmt::{self, Display, Write};
use std::time::Duration;

/// Bytes of the longest line: what a pipe with room takes at once, `PIPE_BUF` (pipe(7)).
pub(super) const LINE_MAX: usize = 4096;

/// Bytes of the longest field, escaped: twice a file's name and more. All fields of a line are a part of it, so that the message has room.
const FIELD_MAX: usize = 400;

const CUT: &str = "…";

/// A field's value.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// A number.
    Number(i128),
    /// A duration, given in seconds.
    Seconds(Duration),
    /// Anything that can be shown.
    Text(&'a dyn Display),
    /// Words.
    Words(&'a str),
}

macro_rules! numbers {
    ($($number:ty),+) => { $(impl From<$number> for Value<'_> {
        fn from(number: $number) -> Self { Self::Number(number.into()) }
    })+ };
}
numbers!(u8, u16, u32, u64, i32, i64);

impl From<usize> for Value<'_> {
    fn from(number: usize) -> Self {
        Self::Number(number as i128)
    }
}

impl From<Duration> for Value<'_> {
    fn from(duration: Duration) -> Self {
        Self::Seconds(duration)
    }
}

impl<'a, T: Display> From<&'a T> for Value<'a> {
    fn from(text: &'a T) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(words: &'a str) -> Self {
        Self::Words(words)
    }
}

impl Display for Value<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(to),
            Self::Seconds(duration) => write!(to, "{:.6}", duration.as_secs_f64()),
            Self::Text(text) => text.fmt(to),
            Self::Words(words) => words.fmt(to),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, to)
    }
}

/// What is to be logged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub level: Level,
    /// None: for developers.
    pub event: Option<&'static Event>,
    pub fields: &'a [(&'static str, Value<'a>)],
    pub role: &'a str,
    pub message: &'a str,
}

impl Line<'_> {
    /// `time level role: message`, with its LF, in at most [`LINE_MAX`] bytes.
    pub fn text(&self, time: DateTime<Utc>) -> String {
        let time = time.format("%Y-%m-%dT%H:%M:%SZ");
        self.with_message(&format!("{time} {} {}: ", name(self.level), self.role))
    }

    /// `<priority>role: message`, as the journal's stream takes it (sd-daemon(3)).
    pub fn prefixed(&self) -> String {
        self.with_message(&format!("<{}>{}: ", priority(self.level), self.role))
    }

    /// What the journal's stream takes off a JSON line; nothing elsewhere.
    pub fn priority_prefix(&self, journal: bool) -> String {
        if journal { format!("<{}>", priority(self.level)) } else { String::new() }
    }

    fn with_message(&self, before: &str) -> String {
        let mut line = before.to_owned();
        line.push_str(&clean(self.message));
        cut(&mut line, LINE_MAX - 1);
        line + "\n"
    }

    /// A JSON object with its LF, in at most [`LINE_MAX`] bytes; `before` stands before it.
    pub fn json(&self, before: &str, time: DateTime<Utc>) -> String {
        let time = time.format("%Y-%m-%dT%H:%M:%S%.6fZ");
        let (level, role) = (name(self.level), escaped(self.role, FIELD_MAX));
        let mut line = format!(r#"{before}{{"time":"{time}","level":"{level}","role":"{role}""#);
        if let Some(event) = self.event {
            let _ = write!(line, r#","event":"{}","message_id":"{:032x}""#, event.name, event.id);
        }
        let mut fields = String::new();
        for (key, value) in self.fields {
            let _ = match value {
                Value::Number(_) | Value::Seconds(_) => write!(fields, r#","{key}":{value}"#),
                _ => write!(fields, r#","{key}":"{}""#, escaped(&value.to_string(), FIELD_MAX)),
            };
        }
        line.push_str(r#","message":""#);
        let room = LINE_MAX.saturating_sub(line.len() + fields.len() + "\"}\n".len());
        line.push_str(&escaped(self.message, room));
        line + "\"" + &fields + "}\n"
    }

    /// The fields of the journal's native protocol, one a line: no value has an LF. `json`: the message is the JSON object, as of
    /// this time.
    pub fn datagram(&self, json: Option<DateTime<Utc>>) -> Vec<u8> {
        let mut message = match json {
            Some(time) => self.json("", time).trim_end().to_owned(),
            None => format!("{}: {}", self.role, clean(self.message)),
        };
        cut(&mut message, LINE_MAX);
        let mut fields = format!(
            "MESSAGE={message}\nPRIORITY={}\nSYSLOG_IDENTIFIER=echostored\nECHOSTORED_ROLE={}\n",
            priority(self.level),
            clean(self.role)
        );
        if let Some(event) = self.event {
            let _ = write!(fields, "MESSAGE_ID={:032x}\nECHOSTORED_EVENT={}\n", event.id, event.name);
        }
        for (key, value) in self.fields {
            let mut text = clean(&value.to_string());
            cut(&mut text, FIELD_MAX);
            let _ = writeln!(fields, "ECHOSTORED_{}={text}", key.to_ascii_uppercase());
        }
        fields.into_bytes()
    }
}

/// Controls, and what turns the direction of text: a log is looked at in terminals.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if is_hostile(c) { '\u{fffd}' } else { c }).collect()
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let most = most.saturating_sub(CUT.len());
        text.truncate((0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0));
        text.push_str(CUT);
    }
}

/// Clean, as the inside of a JSON string, in at most `most` bytes. What has to be escaped for another reason is clean away.
fn escaped(text: &str, most: usize) -> String {
    let bytes = |c: char| c.len_utf8() + usize::from(matches!(c, '"' | '\\'));
    let text = clean(text);
    let whole = text.chars().map(bytes).sum::<usize>() <= most;
    let (mut out, most) = (String::new(), if whole { most } else { most.saturating_sub(CUT.len()) });
    for c in text.chars() {
        if out.len() + bytes(c) > most {
            break;
        }
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    if whole { out } else { out + CUT }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Notice => 5,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Notice => "notice",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::WRITER_ENDED;
    use super::*;

    fn line<'a>(fields: &'a [(&'static str, Value<'a>)], message: &'a str) -> Line<'a> {
        Line { level: Level::Warn, event: Some(&WRITER_ENDED), fields, role: "supervisor", message }
    }

    fn time() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_336_920, 123_456_789).unwrap()
    }

    #[test]
    fn a_line_is_one_line_and_never_longer_than_a_pipe_takes_at_once() {
        assert!(line(&[], "a\nb\x1b").prefixed().ends_with(": a\u{fffd}b\u{fffd}\n"));
        assert!(line(&[], "\u{202e}a\u{2066}\u{9b}").text(time()).ends_with(": \u{fffd}a\u{fffd}\u{fffd}\n"));
        for shift in 0..3 {
            let message = "x".repeat(shift) + &"€".repeat(LINE_MAX);
            let long = line(&[], &message).text(time());
            assert!((LINE_MAX - 3..=LINE_MAX).contains(&long.len()), "{} bytes", long.len());
            assert!(long.ends_with("€…\n"));
        }
    }

    #[test]
    fn a_json_line_is_json_whatever_is_in_it() {
        let file = "f\"\\\n".repeat(LINE_MAX);
        for message in ["plain", "a\"b\\c\nd\u{202e}", &"\"€".repeat(LINE_MAX), &"\\".repeat(LINE_MAX)] {
            let fields =
                [("pid", 12_i32.into()), ("file", (&file).into()), ("open", Duration::from_millis(1500).into())];
            let json = line(&fields, message).json("<4>", time());
            assert!(json.len() <= LINE_MAX && json.ends_with("}\n"), "{} bytes", json.len());
            let json: serde_json::Value = serde_json::from_str(json.strip_prefix("<4>").unwrap()).unwrap();
            assert_eq!(json["time"], "2026-11-22T08:42:00.123456Z");
            assert_eq!(json["message_id"], format!("{:032x}", WRITER_ENDED.id));
            assert_eq!((&json["level"], &json["event"]), (&"warning".into(), &"writer-ended".into()));
            assert_eq!((json["pid"].as_i64(), json["open"].as_f64()), (Some(12), Some(1.5)));
            let text = json["message"].as_str().unwrap();
            assert!(text.starts_with(&clean(message)[..1]) && !text.contains('\n'));
            assert_eq!(text.ends_with(CUT), message.len() > LINE_MAX / 2, "{text}");
        }
    }

    #[test]
    fn the_journal_gets_a_field_a_line() {
        let fields = [("peer", "192.0.2.7:5\nPRIORITY=0".into()), ("bytes", 7_u64.into())];
        let datagram = String::from_utf8(line(&fields, "gone\nMESSAGE_ID=1").datagram(None)).unwrap();
        let id = format!("MESSAGE_ID={:032x}", WRITER_ENDED.id);
        let expected = [
            "MESSAGE=supervisor: gone\u{fffd}MESSAGE_ID=1",
            "PRIORITY=4",
            "SYSLOG_IDENTIFIER=echostored",
            "ECHOSTORED_ROLE=supervisor",
            &id,
            "ECHOSTORED_EVENT=writer-ended",
            "ECHOSTORED_PEER=192.0.2.7:5\u{fffd}PRIORITY=0",
            "ECHOSTORED_BYTES=7",
        ];
        assert_eq!(datagram.lines().collect::<Vec<_>>(), expected);
        assert!(datagram.ends_with('\n'));
        let json = String::from_utf8(line(&fields, "gone\nMESSAGE_ID=1").datagram(Some(time()))).unwrap();
        let lines: Vec<&str> = json.lines().collect();
        assert_eq!(lines[1..], expected[1..], "the same fields");
        let object: serde_json::Value = serde_json::from_str(lines[0].strip_prefix("MESSAGE=").unwrap()).unwrap();
        assert_eq!((&object["event"], &object["bytes"]), (&"writer-ended".into(), &7.into()));
    }
}
