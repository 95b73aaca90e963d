//! Cursors: `<store id, 16 hexadecimal digits>:<sequence>:<offset>`, the place behind the last record that was handled. The offset
//! counts the bytes of the segment as they were written, whether it is compressed or not.
use std::fmt;

/// A place in a store: a segment's number, and an offset in its bytes at which a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment's number.
    pub sequence: u64,
    /// Bytes of it that are behind.
    pub offset: u64,
}

/// A place in a certain store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The store's id; 0 for a copy that does not tell.
    pub store: u64,
    /// The place.
    pub place: Place,
}

impl Cursor {
    /// Accepts exactly what `Display` makes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (store, sequence, offset) = (parts.next()?, parts.next()?, parts.next()?);
        let place = Place { sequence: sequence.parse().ok()?, offset: offset.parse().ok()? };
        let cursor = Self { store: u64::from_str_radix(store, 16).ok()?, place };
        (parts.next().is_none() && cursor.to_string() == text).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{}:{}", self.store, self.place.sequence, self.place.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_spelling_only() {
        let cursor = Cursor { store: 0x1234_5678_9abc_def0, place: Place { sequence: 42, offset: 8192 } };
        assert_eq!(cursor.to_string(), "123456789abcdef0:42:8192");
        for bad in [
            "",
            "123456789abcdef0",
            "123456789abcdef0:42",
            "123456789abcdef0:42:",
            "123456789abcdef0:42:8192:",
            "123456789abcdef0:42:8192:0",
            "123456789ABCDEF0:42:8192",
            "23456789abcdef0:42:8192",
            "123456789abcdef0:042:8192",
            "123456789abcdef0:+42:8192",
            "123456789abcdef0:42:-1",
            "123456789abcdef0:42:18446744073709551616",
            " 123456789abcdef0:42:8192",
            "123456789abcdef0:42:8192\n",
        ] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(store: u64, sequence: u64, offset: u64) {
            let cursor = Cursor { store, place: Place { sequence, offset } };
            prop_assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = Cursor::parse(&text);
        }
    }
}
