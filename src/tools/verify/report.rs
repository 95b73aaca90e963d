//! What `verify` has to say, as lines for people or as one JSON object for programs (`docs/verify.md`).
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use super::Summary;
use super::progress::Progress;

/// More problems than this are counted, not printed; those of records have a share of their own, so that one bad file does not
/// hide what is wrong with the others.
const PRINTED: u64 = 100;
const FILES_PRINTED: u64 = 1000;
/// The version of the JSON object's fields.
const SCHEMA: u32 = 1;

/// What a problem is about; programs go by these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A name.
    Name,
    /// A sequence number.
    Sequence,
    /// A closed file that is not there.
    Missing,
    /// One that somebody else deleted.
    Gone,
    /// The link to the live file.
    Current,
    /// The manifest itself.
    Manifest,
    /// One that somebody else changed while it was live.
    Harmed,
    /// A file is not what was sealed.
    Seal,
    /// A file that should be sealed.
    Unsealed,
    /// A file that cannot be read, or not be unpacked.
    Unreadable,
    /// A line that is no record.
    Record,
    /// A line without an end.
    Torn,
    /// A connection's numbers.
    Numbering,
}

impl Kind {
    /// All, in the order of the page.
    pub const ALL: [Self; 13] = [
        Self::Name,
        Self::Sequence,
        Self::Missing,
        Self::Gone,
        Self::Current,
        Self::Manifest,
        Self::Harmed,
        Self::Seal,
        Self::Unsealed,
        Self::Unreadable,
        Self::Record,
        Self::Torn,
        Self::Numbering,
    ];

    fn is_of_a_record(self) -> bool {
        matches!(self, Self::Record | Self::Numbering)
    }
}

/// Where something is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Place<'a> {
    /// The file's name.
    pub file: &'a str,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The byte in the file, not compressed, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte: Option<u64>,
    /// The last bad byte, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
}

impl<'a> Place<'a> {
    /// A file as a whole.
    pub fn file(file: &'a str) -> Self {
        Self { file, line: None, byte: None, end: None }
    }

    /// A line in it, and a byte.
    pub fn line(file: &'a str, line: u64, byte: u64) -> Self {
        Self { line: Some(line), byte: Some(byte), ..Self::file(file) }
    }

    /// With the last bad byte.
    pub fn to(self, end: u64) -> Self {
        Self { end: Some(end), ..self }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file)?;
        let numbers = [self.line, self.byte];
        numbers.iter().flatten().try_for_each(|number| write!(f, ":{number}"))
    }
}

/// One thing, as JSON.
fn thing(place: Option<Place<'_>>, kind: Option<Kind>, what: fmt::Arguments<'_>) -> serde_json::Value {
    let mut value = serde_json::to_value(place).unwrap_or_default();
    if !value.is_object() {
        value = serde_json::json!({});
    }
    if let Some(kind) = kind {
        value["kind"] = serde_json::to_value(kind).unwrap_or_default();
    }
    value["what"] = what.to_string().into();
    value
}

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// As lines, at once.
    Text,
    /// As one object, at the end.
    Json,
}

/// Where problems go.
pub struct Report<'o, O> {
    out: &'o mut O,
    shown: Shown,
    /// Told beside the lines.
    pub progress: Progress,
    of_records: u64,
    of_files: u64,
    notes: u64,
    told: [Vec<serde_json::Value>; 2],
}

impl<'o, O: Write> Report<'o, O> {
    /// Nothing was found yet.
    pub fn new(out: &'o mut O, shown: Shown, progress: Progress) -> Self {
        Self { out, shown, progress, of_records: 0, of_files: 0, notes: 0, told: Default::default() }
    }

    /// How many problems there are.
    pub fn problems(&self) -> u64 {
        self.of_records + self.of_files
    }

    /// Something is wrong.
    pub fn problem(&mut self, kind: Kind, place: Place<'_>, what: fmt::Arguments<'_>) -> io::Result<()> {
        let (count, most) = match kind.is_of_a_record() {
            true => (&mut self.of_records, PRINTED),
            false => (&mut self.of_files, FILES_PRINTED),
        };
        *count += 1;
        if *count > most {
            return Ok(());
        }
        match self.shown {
            Shown::Json => self.told[0].push(thing(Some(place), Some(kind), what)),
            Shown::Text => self.line(format_args!("{place}: {what}"))?,
        }
        Ok(())
    }

    /// Something that is worth to know.
    pub fn note(&mut self, place: Option<Place<'_>>, what: fmt::Arguments<'_>) -> io::Result<()> {
        self.notes += 1;
        if self.notes > FILES_PRINTED {
            return Ok(());
        }
        match (self.shown, place) {
            (Shown::Json, _) => self.told[1].push(thing(place, None, what)),
            (Shown::Text, Some(place)) => self.line(format_args!("note: {place}: {what}"))?,
            (Shown::Text, None) => self.line(format_args!("note: {what}"))?,
        }
        Ok(())
    }

    fn line(&mut self, line: fmt::Arguments<'_>) -> io::Result<()> {
        let out = &mut *self.out;
        self.progress.beside(|| {
            writeln!(out, "{line}")?;
            out.flush()
        })
    }

    /// Tells the summary.
    pub fn finish(mut self, directory: &Path, summary: &Summary) -> io::Result<()> {
        self.progress.finish();
        match self.shown {
            Shown::Text => self.finish_text(summary),
            Shown::Json => self.finish_json(directory, summary),
        }
    }

    fn finish_text(&mut self, summary: &Summary) -> io::Result<()> {
        let more = self.of_records.saturating_sub(PRINTED) + self.of_files.saturating_sub(FILES_PRINTED);
        if more > 0 {
            writeln!(self.out, "{more} more problems")?;
        }
        if self.notes > FILES_PRINTED {
            writeln!(self.out, "{} more notes", self.notes - FILES_PRINTED)?;
        }
        let Summary { files, sealed, records, connections, bytes, problems, .. } = summary;
        write!(self.out, "{files} files")?;
        if *sealed > 0 {
            write!(self.out, " ({sealed} sealed)")?;
        }
        write!(self.out, ", {records} records, {connections} connections, {bytes} bytes: ")?;
        if *problems == 0 {
            writeln!(self.out, "ok")?
        } else {
            writeln!(self.out, "{problems} problems")?
        }
        self.out.flush()
    }

    fn finish_json(&mut self, directory: &Path, summary: &Summary) -> io::Result<()> {
        let [problems, notes] = std::mem::take(&mut self.told);
        let object = Object {
            schema: SCHEMA,
            ok: summary.problems == 0,
            directory: &directory.to_string_lossy(),
            summary,
            problems,
            notes,
        };
        serde_json::to_writer(&mut *self.out, &object)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

#[derive(Serialize)]
struct Object<'a> {
    schema: u32,
    ok: bool,
    directory: &'a str,
    #[serde(flatten)]
    summary: &'a Summary,
    problems: Vec<serde_json::Value>,
    notes: Vec<serde_json::Value>,
}
