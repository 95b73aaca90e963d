//! Keys, out of the bytes that a terminal sends. Pure.
//!
//! Promise: no bytes panic; what is no key of ours is passed over, escape sequences as a whole.

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// To end.
    Quit,
    /// To close what lies above, else to end.
    Back,
    /// To hold the picture, or go on.
    Pause,
    /// To show or hide the help.
    Help,
    /// To change to the other page.
    Page,
    /// To ask less often.
    Slower,
    /// To ask more often.
    Faster,
    /// To move the page by so many lines.
    Scroll(i32),
    /// To draw all of it again.
    Redraw,
}

const ESCAPE: u8 = 0x1b;

/// The keys in `bytes`, and how many of these are done with. A sequence that may go on is left, and so is a lone escape:
/// whether it is the key is known after a moment, when nothing has followed it.
pub fn read(bytes: &[u8]) -> (Vec<Key>, usize) {
    let (mut keys, mut at) = (Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        if byte != ESCAPE {
            keys.extend(of_byte(byte));
            at += 1;
            continue;
        }
        let Some((key, length)) = sequence(&bytes[at..]) else { break };
        keys.extend(key);
        at += length;
    }
    (keys, at)
}

fn of_byte(byte: u8) -> Option<Key> {
    Some(match byte {
        // Ctrl-C and Ctrl-D; in raw mode they are no signals.
        b'q' | b'Q' | 0x03 | 0x04 => Key::Quit,
        b'p' | b' ' => Key::Pause,
        b'h' | b'?' => Key::Help,
        b'c' | b'\t' => Key::Page,
        b'+' | b'=' => Key::Slower,
        b'-' | b'_' => Key::Faster,
        b'j' => Key::Scroll(1),
        b'k' => Key::Scroll(-1),
        // Ctrl-L.
        0x0c => Key::Redraw,
        _ => return None,
    })
}

/// A sequence, and its length; `None`: it is not whole.
fn sequence(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    match bytes.get(1)? {
        b'[' => {
            // Parameters, then one byte that ends it (ECMA-48, 5.4).
            let end = bytes[2..].iter().position(|byte| !(0x20..0x40).contains(byte))? + 2;
            let key = match &bytes[2..=end] {
                b"A" => Some(Key::Scroll(-1)),
                b"B" => Some(Key::Scroll(1)),
                b"5~" => Some(Key::Scroll(-10)),
                b"6~" => Some(Key::Scroll(10)),
                _ => None,
            };
            Some((key, end + 1))
        }
        b'O' => {
            let key = match bytes.get(2)? {
                b'A' => Some(Key::Scroll(-1)),
                b'B' => Some(Key::Scroll(1)),
                _ => None,
            };
            Some((key, 3))
        }
        // The key itself, and then another one.
        &ESCAPE => Some((Some(Key::Back), 1)),
        // A key with Alt.
        _ => Some((None, 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_known() {
        use Key::{Back, Faster, Help, Page, Pause, Quit, Redraw, Scroll, Slower};
        let cases: [(&[u8], &[Key], usize); 12] = [
            (b"q", &[Quit], 1),
            (b"\x03", &[Quit], 1),
            (b"p h?\tc", &[Pause, Pause, Help, Help, Page, Page], 6),
            (b"+-\x0c", &[Slower, Faster, Redraw], 3),
            (b"\x1b", &[], 0),
            (b"\x1b\x1b", &[Back], 1),
            (b"\x1b[Aq", &[Scroll(-1), Quit], 4),
            (b"\x1b[", &[], 0),
            (b"\x1b[6~\x1bOB", &[Scroll(10), Scroll(1)], 7),
            (b"\x1b[1;5Cx", &[], 7),
            (b"\x1bq", &[], 2),
            (b"jk\xff\x00", &[Scroll(1), Scroll(-1)], 4),
        ];
        for (bytes, keys, done) in cases {
            assert_eq!(read(bytes), (keys.to_vec(), done), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).1 <= bytes.len());
        }
    }
}
