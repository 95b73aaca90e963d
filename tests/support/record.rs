//! One record, read by code of the tests' own: the three formats of the store.
use super::framing::Format;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A record as an operator finds it.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// `None` in `raw`.
    pub origin: Option<Origin>,
    pub message: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    pub time: String,
    pub peer: String,
    pub connection: String,
    pub n: u64,
}

/// Parses one line, without its line feed.
pub fn parse(format: Format, line: &[u8]) -> Result<Record, String> {
    match format {
        Format::Raw => Ok(Record { origin: None, message: line.to_vec() }),
        Format::Text => parse_text(line),
        Format::Jsonl => parse_jsonl(line),
    }
}

fn parse_text(line: &[u8]) -> Result<Record, String> {
    let line = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
    let mut fields = line.splitn(4, ' ');
    let mut field = |name: &str| fields.next().ok_or_else(|| format!("no {name}"));
    let (time, peer, id, message) = (field("time")?, field("peer")?, field("id")?, field("message")?);
    let (connection, n) = id.split_once('-').ok_or("no - in the id")?;
    let origin = origin(time, peer, connection, n)?;
    Ok(Record { origin: Some(origin), message: unescape(message)? })
}

fn parse_jsonl(line: &[u8]) -> Result<Record, String> {
    if let Some(byte) = line.iter().find(|byte| byte.is_ascii_control()) {
        return Err(format!("raw control byte {byte:#04x}"));
    }
    let value: serde_json::Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let object = value.as_object().ok_or("not an object")?;
    if object.len() != 5 || !line.starts_with(b"{\"time\":") {
        return Err("not the five fields, time first".to_owned());
    }
    let text = |key: &str| object.get(key).and_then(|value| value.as_str());
    let message = match (text("message"), text("message_base64")) {
        (Some(plain), None) => plain.as_bytes().to_vec(),
        (None, Some(encoded)) => {
            let bytes = STANDARD.decode(encoded).map_err(|error| error.to_string())?;
            if std::str::from_utf8(&bytes).is_ok() {
                return Err("message_base64 for a message that is UTF-8".to_owned());
            }
            bytes
        }
        _ => return Err("neither message nor message_base64".to_owned()),
    };
    let n = object.get("n").and_then(serde_json::Value::as_u64).ok_or("n is no number")?.to_string();
    let field = |key: &str| text(key).ok_or_else(|| format!("no {key}"));
    Ok(Record { origin: Some(origin(field("time")?, field("peer")?, field("connection")?, &n)?), message })
}

fn origin(time: &str, peer: &str, connection: &str, n: &str) -> Result<Origin, String> {
    if !matches(time, "dddd-dd-ddTdd:dd:dd.ddddddZ") {
        return Err(format!("time {time:?}"));
    }
    let number: u64 = n.parse().map_err(|_| format!("n {n:?}"))?;
    if number == 0 || number.to_string() != n {
        return Err(format!("n {n:?}"));
    }
    if peer.strip_prefix("unix:").is_none_or(|pid| pid.parse::<u32>().is_err()) {
        peer.parse::<std::net::SocketAddr>().map_err(|error| format!("peer {peer:?}: {error}"))?;
    }
    if connection.is_empty() || connection.contains([' ', '-']) {
        return Err(format!("connection id {connection:?}"));
    }
    Ok(Origin { time: time.to_owned(), peer: peer.to_owned(), connection: connection.to_owned(), n: number })
}

/// Whether `text` has the shape: `d` stands for a digit, all else for itself.
pub fn matches(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(a, b)| if b == b'd' { a.is_ascii_digit() } else { a == b })
}

/// Undoes the escapes of `text`; an error for what must have been escaped and was not, and for escapes that need not be.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b'\\' => {
                let (byte, length) = escape(&rest[1..])?;
                bytes.push(byte);
                1 + length
            }
            b' '..=b'~' => {
                bytes.push(first);
                1
            }
            _ => {
                let c = rest.chars().next().expect("a byte, so a character");
                if dangerous(c) {
                    return Err(format!("unescaped {c:?}"));
                }
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Ok(bytes)
}

/// The byte that stands behind a backslash, and how long its sign is.
fn escape(sign: &str) -> Result<(u8, usize), String> {
    match sign.bytes().next() {
        Some(b'\\') => Ok((b'\\', 1)),
        Some(b't') => Ok((b'\t', 1)),
        Some(b'r') => Ok((b'\r', 1)),
        Some(b'n') => Ok((b'\n', 1)),
        Some(b'x') => {
            let digits = sign.get(1..3).filter(|digits| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            let byte = u8::from_str_radix(digits.ok_or("\\x without two lower-case digits")?, 16)
                .map_err(|error| error.to_string())?;
            match byte {
                b' '..=b'~' | b'\t' | b'\r' | b'\n' => Err(format!("needless \\x{byte:02x}")),
                _ => Ok((byte, 3)),
            }
        }
        other => Err(format!("escape \\{other:?}")),
    }
}

/// What could attack a terminal or hide text: control characters, C1, bidirectional controls.
fn dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
