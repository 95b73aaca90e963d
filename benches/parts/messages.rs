//! Messages of all kinds and sizes.
use echostored::config::Framing;

/// Bytes of a message, without what the framing adds.
pub const SIZES: [usize; 3] = [16, 128, 64 << 10];

/// A message of (about) so many bytes.
type Content = fn(usize) -> Vec<u8>;

/// What messages are made of.
pub const CONTENTS: [(&str, Content); 4] =
    [("ASCII", ascii), ("UTF-8", utf8), ("with escapes", with_escapes), ("binary", binary)];

/// Printable ASCII that stands for itself in every format.
pub fn ascii(size: usize) -> Vec<u8> {
    b"the quick brown fox jumps over the lazy dog, 0123456789; ".iter().copied().cycle().take(size).collect()
}

/// Letters of several scripts, whole characters only.
fn utf8(size: usize) -> Vec<u8> {
    let mut text = String::new();
    for letter in "Grüße aus Köln, Привет мир, 你好世界 ".chars().cycle() {
        if text.len() + letter.len_utf8() > size {
            return text.into_bytes();
        }
        text.push(letter);
    }
    text.into_bytes()
}

/// One byte in sixteen has to be escaped.
fn with_escapes(size: usize) -> Vec<u8> {
    b"C:\\path of a file\tand a tab, 16".iter().copied().cycle().take(size).collect()
}

/// All bytes, in no order (xorshift).
fn binary(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// An ASCII message as it comes over the connection.
pub fn wire(framing: Framing, size: usize) -> Vec<u8> {
    let body = ascii(size);
    match framing {
        Framing::Line => [&body[..], b"\n"].concat(),
        Framing::Nul => [&body[..], b"\0"].concat(),
        Framing::OctetCounted => [format!("{size} ").as_bytes(), &body].concat(),
        Framing::LengthPrefixed => [&u32::try_from(size).unwrap().to_be_bytes()[..], &body].concat(),
        Framing::Chunk => body,
    }
}
