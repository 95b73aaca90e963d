//! Escaping: any message becomes one line that cannot attack a terminal, and comes back byte for byte.
//!
//! Escaped are `\`, C0 control bytes, DEL, C1 controls (U+0080..U+009F), the bidirectional controls (U+061C, U+200E,
//! U+200F, U+202A..U+202E, U+2066..U+2069) and every byte that is not part of valid UTF-8. Each message has exactly one
//! escaped form. Nothing to escape, the common case, costs one scan and one copy. Must never allocate while escaping
//! other than by the growth of `out`.
use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// So much is looked at, and then copied, at once.
const PIECE: usize = 8 << 10;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Where and why an escaped text is not the escaped form of any message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEscape {
    /// Byte in the escaped text, from 0; at most its length.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Appends the `text` form: `\\`, `\t`, `\r`, `\n`, else `\xNN` (lower-case) for each byte. At most 4 bytes for one.
pub fn append_text(out: &mut Vec<u8>, message: &[u8]) {
    let mut rest = message;
    loop {
        // In pieces: what was looked at is still in the processor's first cache when it is copied.
        let piece = &rest[..rest.len().min(PIECE)];
        let plain = plain_prefix::<false>(piece);
        out.extend_from_slice(&piece[..plain]);
        rest = &rest[plain..];
        if plain == PIECE {
            continue;
        }
        // As long as it is all ASCII, whatever else there may be, nothing has to be known of UTF-8.
        match rest.split_first() {
            None => return,
            Some((byte, behind)) if byte.is_ascii() => {
                text_sequence(out, &[*byte]);
                rest = behind;
            }
            Some(_) => break,
        }
    }
    // The faster of the two where all is valid.
    if let Ok(text) = std::str::from_utf8(rest) {
        return append_valid::<false>(out, text, text_sequence);
    }
    for chunk in rest.utf8_chunks() {
        append_valid::<false>(out, chunk.valid(), text_sequence);
        text_sequence(out, chunk.invalid());
    }
}

/// The message of a `text` form; borrowed where nothing was escaped. Strict: what [`append_text`] would not have written is an
/// error, so that every message has one form only.
pub fn unescape_text(text: &[u8]) -> Result<Cow<'_, [u8]>, BadEscape> {
    if plain_prefix::<false>(text) == text.len() {
        return Ok(Cow::Borrowed(text));
    }
    let mut message = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(plain) = memchr::memchr(b'\\', &text[at..]) {
        message.extend_from_slice(&text[at..at + plain]);
        at += plain;
        let (byte, length) = match text[at + 1..] {
            [b'\\', ..] => (b'\\', 2),
            [b't', ..] => (b'\t', 2),
            [b'r', ..] => (b'\r', 2),
            [b'n', ..] => (b'\n', 2),
            [b'x', high, low, ..] => match (nibble(high), nibble(low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => {
                    return Err(BadEscape { at, what: "\\x without two lower-case hexadecimal digits" });
                }
            },
            _ => {
                return Err(BadEscape { at, what: "unknown escape" });
            }
        };
        message.push(byte);
        at += length;
    }
    message.extend_from_slice(&text[at..]);

    // The one test that covers raw controls, raw invalid UTF-8, and escapes of what needs none.
    let mut canonical = Vec::with_capacity(text.len());
    append_text(&mut canonical, &message);
    match first_difference(&canonical, text) {
        Some(at) => Err(BadEscape { at, what: "not in its one escaped form" }),
        None if message.len() == text.len() => Ok(Cow::Borrowed(text)),
        None => Ok(Cow::Owned(message)),
    }
}

/// Appends the inside of a JSON string (RFC 8259 section 7), without the quotes: `\"`, `\\`, else `\uXXXX` (lower-case) for
/// what is escaped. At most 6 bytes for one.
pub fn append_json(out: &mut Vec<u8>, text: &str) {
    let plain = plain_prefix::<true>(text.as_bytes());
    out.extend_from_slice(&text.as_bytes()[..plain]);
    if plain < text.len() {
        append_valid::<true>(out, &text[plain..], json_sequence);
    }
}

/// Appends standard base64 with padding (RFC 4648 section 4): 4 bytes for each 3 begun.
pub fn append_base64(out: &mut Vec<u8>, message: &[u8]) {
    let start = out.len();
    out.resize(start + message.len().div_ceil(3) * 4, 0);
    let written = BASE64.encode_slice(message, &mut out[start..]).expect("room for four bytes for each three begun");
    out.truncate(start + written);
}

/// The bytes of standard base64 with padding, or `None`.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// The first byte at which the two differ, the shorter one's end included; `None` if they are equal.
pub(super) fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    let common = one.iter().zip(other).position(|(a, b)| a != b);
    Some(common.unwrap_or(one.len().min(other.len())))
}

/// True of printable ASCII that stands for itself.
#[inline(always)]
fn is_plain<const JSON: bool>(byte: u8) -> bool {
    (byte.wrapping_sub(0x20) < 0x5f) & (byte != b'\\') & !(JSON & (byte == b'"'))
}

/// How many bytes at the start are printable ASCII that stands for itself.
#[inline]
fn plain_prefix<const JSON: bool>(bytes: &[u8]) -> usize {
    prefix(bytes, is_plain::<JSON>)
}

/// How many bytes at the start are as `wanted`.
#[inline(always)]
fn prefix(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> usize {
    // Without an early exit inside it, the compiler turns the test of one chunk into vector instructions.
    const LANES: usize = 32;
    let all = |chunk: &[u8]| chunk.iter().fold(true, |all, &byte| all & wanted(byte));
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + LANES) {
        if !all(chunk) {
            break;
        }
        at += LANES;
    }
    // What is left over is looked at together with bytes that were looked at already.
    if at > 0 && bytes.len() - at < LANES && all(&bytes[bytes.len() - LANES..]) {
        return bytes.len();
    }
    let rest = &bytes[at..];
    at + rest.iter().position(|&byte| !wanted(byte)).unwrap_or(rest.len())
}

/// Copies valid UTF-8 and gives each sequence that must not stand for itself to `put`.
fn append_valid<const JSON: bool>(out: &mut Vec<u8>, text: &str, put: impl Fn(&mut Vec<u8>, &[u8])) {
    let bytes = text.as_bytes();
    let (mut copied, mut at) = (0, 0);
    loop {
        at += prefix(&bytes[at..], is_quiet::<JSON>);
        if at == bytes.len() {
            break;
        }
        let length = special::<JSON>(&bytes[at..]);
        if length > 0 {
            out.extend_from_slice(&bytes[copied..at]);
            put(out, &bytes[at..at + length]);
            copied = at + length;
        }
        at += length.max(1);
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// True of bytes that begin no sequence that must be escaped: most letters of most scripts are passed by this alone.
#[inline(always)]
fn is_quiet<const JSON: bool>(byte: u8) -> bool {
    let ascii = (byte >= 0x20) & (byte != 0x7f) & (byte != b'\\') & !(JSON & (byte == b'"'));
    ascii & (byte != 0xc2) & (byte != 0xd8) & (byte != 0xe2)
}

/// Length of the sequence at the start of valid UTF-8 that must be escaped, or 0.
fn special<const JSON: bool>(bytes: &[u8]) -> usize {
    match *bytes {
        [0x00..=0x1f | 0x7f | b'\\', ..] => 1,
        [b'"', ..] if JSON => 1,
        [0xc2, 0x80..=0x9f, ..] => 2,                     // C1
        [0xd8, 0x9c, ..] => 2,                            // U+061C
        [0xe2, 0x80, 0x8e | 0x8f | 0xaa..=0xae, ..] => 3, // U+200E, U+200F, U+202A..U+202E
        [0xe2, 0x81, 0xa6..=0xa9, ..] => 3,               // U+2066..U+2069
        _ => 0,
    }
}

fn text_sequence(out: &mut Vec<u8>, sequence: &[u8]) {
    for &byte in sequence {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

fn json_sequence(out: &mut Vec<u8>, sequence: &[u8]) {
    let code = match *sequence {
        [quoted @ (b'"' | b'\\')] => return out.extend_from_slice(&[b'\\', quoted]),
        [ascii] => u16::from(ascii),
        [lead, second] => u16::from(lead & 0x1f) << 6 | u16::from(second & 0x3f),
        [lead, second, third] => u16::from(lead & 0x0f) << 12 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f),
        _ => return,
    };
    out.extend_from_slice(b"\\u");
    out.extend([12, 8, 4, 0].map(|shift| HEX[usize::from(code >> shift & 15)]));
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
