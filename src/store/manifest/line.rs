//! What a manifest's lines say.
use super::text::set_chain;
use crate::store::failed::GoodTo;
use crate::store::names::SegmentName;
use serde::{Deserialize, Serialize};
use std::io;

/// What a closed segment holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seal {
    /// The segment's name, without the suffix of a compressed form.
    #[serde(rename = "seal")]
    pub segment: String,
    /// Its lines.
    pub records: u64,
    /// Its bytes, not compressed.
    pub bytes: u64,
    /// The lowest time of a record, as it stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest: Option<String>,
    /// The highest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<String>,
    /// A write or sync failed: what followed this byte was moved away, or could not be saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_to: Option<u64>,
    /// Bytes that were set aside beside it when it was closed, in a file of its name with `.torn` behind it: no whole records,
    /// whose messages were never acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<u64>,
    /// Somebody else changed it while it was live, when so many of its bytes had been acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<u64>,
    /// BLAKE3 of its bytes, not compressed, as 64 hexadecimal digits.
    pub blake3: String,
}

/// A segment that was compressed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Packed {
    /// The segment's name.
    #[serde(rename = "packed")]
    pub segment: String,
    /// What its compressed file is called.
    pub file: String,
    /// Bytes of that file.
    pub bytes: u64,
    /// BLAKE3 of that file, as 64 hexadecimal digits.
    pub blake3: String,
}

/// A segment that retention deleted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Pruned {
    /// The segment's name.
    #[serde(rename = "pruned")]
    pub segment: String,
    /// The rule.
    pub reason: String,
    /// When, UTC.
    pub time: String,
}

/// A segment that somebody else deleted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Gone {
    /// The segment's name.
    #[serde(rename = "gone")]
    pub segment: String,
    /// When that was seen, UTC.
    pub time: String,
}

/// The writer's word on a segment that failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failed {
    /// The segment's name.
    #[serde(rename = "failed")]
    pub segment: String,
    /// See [`GoodTo::good_to`].
    pub good_to: u64,
    /// See [`GoodTo::moved_to`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<String>,
    /// See [`GoodTo::lost`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<(u64, u64)>,
}

impl From<GoodTo> for Failed {
    fn from(GoodTo { segment, good_to, moved_to, lost }: GoodTo) -> Self {
        Self { segment, good_to, moved_to, lost }
    }
}

impl From<Failed> for GoodTo {
    fn from(Failed { segment, good_to, moved_to, lost }: Failed) -> Self {
        Self { segment, good_to, moved_to, lost }
    }
}

/// The lines that were folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Anchor {
    /// Every segment up to this number is gone.
    #[serde(rename = "anchor")]
    pub through: u64,
    /// How many were sealed.
    pub files: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them somebody else deleted.
    pub gone: u64,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// See [`Seal`].
    Seal(Seal),
    /// See [`Packed`].
    Packed(Packed),
    /// See [`Pruned`].
    Pruned(Pruned),
    /// See [`Gone`].
    Gone(Gone),
    /// See [`Failed`].
    Failed(Failed),
    /// See [`Anchor`].
    Anchor(Anchor),
}

impl Line {
    /// Reads a line without its LF; the chain is not looked at. `None`: it is no line of a manifest, or names what is no
    /// segment.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let kind = &text[..text.iter().skip(2).position(|&byte| byte == b'"')? + 2];
        let line = match kind {
            br#"{"seal"# => Self::Seal(serde_json::from_slice(text).ok()?),
            br#"{"packed"# => Self::Packed(serde_json::from_slice(text).ok()?),
            br#"{"pruned"# => Self::Pruned(serde_json::from_slice(text).ok()?),
            br#"{"gone"# => Self::Gone(serde_json::from_slice(text).ok()?),
            br#"{"failed"# => Self::Failed(serde_json::from_slice(text).ok()?),
            br#"{"anchor"# => Self::Anchor(serde_json::from_slice(text).ok()?),
            _ => return None,
        };
        let sound = line.segment().is_none_or(|name| SegmentName::parse(name).is_some());
        sound.then_some(line)
    }

    /// The segment that it is about.
    pub fn segment(&self) -> Option<&str> {
        match self {
            Self::Seal(Seal { segment, .. })
            | Self::Packed(Packed { segment, .. })
            | Self::Pruned(Pruned { segment, .. })
            | Self::Gone(Gone { segment, .. })
            | Self::Failed(Failed { segment, .. }) => Some(segment),
            Self::Anchor(_) => None,
        }
    }

    /// Adds the line with its LF to `text`; returns the chain for the line behind it, `before` being the one for this.
    pub(crate) fn append(&self, text: &mut Vec<u8>, before: &str) -> io::Result<String> {
        let start = text.len();
        serde_json::to_writer(&mut *text, self)?;
        let own = set_chain(text, start, before, matches!(self, Self::Anchor(_)));
        Ok(if let Self::Anchor(_) = self { before.to_owned() } else { own })
    }
}
