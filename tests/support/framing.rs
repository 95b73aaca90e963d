//! The five framings, from the client's side: how a message looks on the wire.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Line,
    Nul,
    OctetCounted,
    LengthPrefixed,
    Chunk,
}

impl Framing {
    pub const ALL: [Self; 5] = [Self::Line, Self::Nul, Self::OctetCounted, Self::LengthPrefixed, Self::Chunk];

    /// The value of `server.framing`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Nul => "nul",
            Self::OctetCounted => "octet-counted",
            Self::LengthPrefixed => "length-prefixed",
            Self::Chunk => "chunk",
        }
    }

    /// The byte that a message cannot hold.
    pub fn terminator(self) -> Option<u8> {
        match self {
            Self::Line => Some(b'\n'),
            Self::Nul => Some(0),
            _ => None,
        }
    }

    /// The bytes that carry `message`.
    pub fn wire(self, message: &[u8]) -> Vec<u8> {
        let mut wire = Vec::with_capacity(message.len() + 8);
        match self {
            Self::OctetCounted => wire.extend_from_slice(format!("{} ", message.len()).as_bytes()),
            Self::LengthPrefixed => wire.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes()),
            _ => {}
        }
        wire.extend_from_slice(message);
        wire.extend(self.terminator());
        wire
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Jsonl,
    Raw,
}

impl Format {
    pub const ALL: [Self; 3] = [Self::Text, Self::Jsonl, Self::Raw];

    /// The value of `store.format`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Jsonl => "jsonl",
            Self::Raw => "raw",
        }
    }

    /// `raw` cannot tell where a message with a line feed ends.
    pub fn goes_with(self, framing: Framing) -> bool {
        self != Self::Raw || framing == Framing::Line
    }
}
