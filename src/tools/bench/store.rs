//! Whether the store has what was echoed: each message of the run once, byte by byte, in its connection's order, and nothing of the
//! run that was not sent.
//!
//! Reads only the files from the one on that was live when the run began. Memory: a few words for each connection, and for each hole.
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::load::Account;
use super::message::{Block, ID, Id, Run, Shape};
use crate::store::parse::{Parser, Record};
use crate::store::reader::{self, Listing, Piece, Segment, Unusable};

/// What is echoed as `received` may be on its way to the file.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(100);

/// What was found; all but the first three are 0 in a good store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Files that were read.
    pub files: u64,
    /// Messages that were echoed.
    pub echoed: u64,
    /// Records of this run.
    pub checked: u64,
    /// Echoed and not stored.
    pub missing: u64,
    /// Stored again.
    pub doubled: u64,
    /// Stored behind a later one of their connection, or with another number or connection than their neighbours tell.
    pub disordered: u64,
    /// Not the bytes that were sent.
    pub altered: u64,
    /// Never sent.
    pub foreign: u64,
    /// Files that were deleted before they were read, by their numbers.
    pub deleted: u64,
    /// The first thing that is wrong.
    pub first: Option<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.missing + self.doubled + self.disordered + self.altered + self.foreign == 0
    }

    fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.first.get_or_insert_with(what);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, echoed, checked, missing, doubled, disordered, altered, foreign, .. } = self;
        write!(f, "store: {echoed} echoed, {checked} found in {files} files; missing {missing}, doubled {doubled}, ")?;
        write!(f, "disordered {disordered}, altered {altered}, foreign {foreign}")
    }
}

/// The file that records go to before a run, by its number; 0: there is none. A newer one that is empty may be no more than a rotation
/// under way.
///
/// # Errors
/// It is no store that can be read.
pub fn live(directory: &Path) -> Result<u64, Unusable> {
    let listing = Listing::new(directory)?;
    let at = listing.live().unwrap_or(0);
    Ok(listing.segments.get(at).map_or(0, |segment| segment.name.sequence))
}

/// Checks the files from number `from` on against what was sent.
///
/// # Errors
/// A file cannot be read.
pub fn check(directory: &Path, from: u64, shape: &Shape, run: &Run, accounts: &[Account]) -> Result<Verdict, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let verdict = once(directory, from, &mut Ledger::new(shape, run, accounts))?;
        if verdict.missing == 0 || verdict.deleted > 0 || Instant::now() >= until {
            return Ok(verdict);
        }
        std::thread::sleep(AGAIN);
    }
}

fn once(directory: &Path, from: u64, ledger: &mut Ledger<'_>) -> Result<Verdict, String> {
    let listing = Listing::new(directory).map_err(|error| error.to_string())?;
    // Of files before the first one nothing is known, if there was none when the run began.
    let mut next = (from > 0).then_some(from);
    for segment in listing.segments.iter().filter(|segment| segment.name.sequence >= from) {
        let sequence = segment.name.sequence;
        match file(&listing, segment, ledger) {
            Ok(()) => {
                ledger.verdict.deleted += next.map_or(0, |next| sequence.saturating_sub(next));
                ledger.verdict.files += 1;
                next = Some(sequence + 1);
            }
            // Counted with the next one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(format!("cannot read {}: {error}", directory.join(&segment.file).display()));
            }
        }
    }
    Ok(ledger.close())
}

fn file(listing: &Listing, segment: &Segment, ledger: &mut Ledger<'_>) -> io::Result<()> {
    let mut lines = listing.open(segment)?;
    let mut parser = segment.format.map(Parser::new);
    while let Some(piece) = lines.next_piece()? {
        // A line that is too long to be a record is none of ours.
        let Piece::Lines { bytes, .. } = piece else { continue };
        let parser = parser.get_or_insert_with(|| Parser::new(reader::detect(bytes)));
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            // What is no record, `verify` finds. Of ours it would be missing.
            if let Ok(record) = parser.parse(reader::without_lf(line)) {
                ledger.take(&record, &segment.file);
            }
        }
    }
    Ok(())
}

/// What was found of one connection.
#[derive(Debug, Default)]
struct Found {
    /// All below was found, but for `holes`.
    next: u64,
    /// Begin and end of what was passed by.
    holes: BTreeMap<u64, u64>,
    /// What the store calls the connection.
    name: Option<String>,
}

/// Counts the records of a run.
pub struct Ledger<'a> {
    accounts: &'a [Account],
    run: &'a Run,
    block: Block,
    body: std::ops::Range<usize>,
    size: u64,
    found: HashMap<u64, Found>,
    verdict: Verdict,
}

impl<'a> Ledger<'a> {
    /// For messages of this shape and run; `accounts`: what was sent and echoed on each connection.
    pub fn new(shape: &Shape, run: &'a Run, accounts: &'a [Account]) -> Self {
        let (block, body, size) = (Block::new(shape.clone(), *run), shape.body(), shape.size as u64);
        Self { accounts, run, block, body, size, found: HashMap::new(), verdict: Verdict::default() }
    }

    /// Takes a record; `file` is where it stands.
    pub fn take(&mut self, record: &Record<'_>, file: &str) {
        let message: &[u8] = &record.message;
        if !message.starts_with(self.run) {
            return;
        }
        self.verdict.checked += 1;
        let what = |why: &str| {
            let id = &message[..message.len().min(ID)];
            format!("{file}: \"{}\" of {}: {why}", id.escape_ascii(), record.peer)
        };
        let sent = Id::of(self.run, message).and_then(|id| {
            let account = self.accounts.get(usize::try_from(id.connection).ok()?)?;
            (id.number < account.begun).then_some(id)
        });
        let Some(id) = sent else {
            self.verdict.foreign += 1;
            return self.verdict.wrong(|| what("was not sent"));
        };
        // The framed message, of which the body is stored.
        let expected = self.block.stream(id.connection, id.number * self.size, self.body.end);
        if expected[self.body.clone()] != *message {
            self.verdict.altered += 1;
            self.verdict.wrong(|| what("not the bytes that were sent"));
        }
        let found = self.found.entry(id.connection).or_default();
        match found.note(id.number) {
            Noted::New if found.fits(record, id.number) => {}
            Noted::New | Noted::Late => {
                self.verdict.disordered += 1;
                self.verdict.wrong(|| what("not in its connection's order"));
            }
            Noted::Again => {
                self.verdict.doubled += 1;
                self.verdict.wrong(|| what("stored twice"));
            }
        }
    }

    /// All is read: what is missing?
    pub fn close(&mut self) -> Verdict {
        let mut verdict = std::mem::take(&mut self.verdict);
        for (connection, account) in (0..).zip(self.accounts) {
            verdict.echoed += account.echoed;
            let none = Found::default();
            let found = self.found.get(&connection).unwrap_or(&none);
            let (missing, first) = found.missing(account.echoed);
            verdict.missing += missing;
            if let Some(first) = first {
                let run = self.run.escape_ascii();
                verdict.wrong(|| format!("\"{run}-{connection:05}-{first:012}\" was echoed and is not stored"));
            }
        }
        verdict
    }
}

enum Noted {
    New,
    Again,
    /// Behind a later one.
    Late,
}

impl Found {
    fn note(&mut self, number: u64) -> Noted {
        if number >= self.next {
            if number > self.next {
                self.holes.insert(self.next, number);
            }
            self.next = number + 1;
            return Noted::New;
        }
        let hole = self.holes.range(..=number).next_back().map(|(from, to)| (*from, *to));
        let Some((from, to)) = hole.filter(|(_, to)| number < *to) else { return Noted::Again };
        self.holes.remove(&from);
        if from < number {
            self.holes.insert(from, number);
        }
        if number + 1 < to {
            self.holes.insert(number + 1, to);
        }
        Noted::Late
    }

    /// Whether connection and number are those that the store must give it. `raw` has none.
    fn fits(&mut self, record: &Record<'_>, number: u64) -> bool {
        if record.n == 0 {
            return true;
        }
        match &self.name {
            Some(name) if name != record.connection => false,
            Some(_) => record.n == number + 1,
            None => {
                self.name = Some(record.connection.to_owned());
                record.n == number + 1
            }
        }
    }

    /// How many of the first `echoed` are missing, and the first of them.
    fn missing(&self, echoed: u64) -> (u64, Option<u64>) {
        let holes = self.holes.iter().map(|(from, to)| (*from, *to)).chain([(self.next, u64::MAX)]);
        let mut missing = holes.map(|(from, to)| (from, to.min(echoed))).filter(|(from, to)| from < to).peekable();
        let first = missing.peek().map(|(from, _)| *from);
        (missing.map(|(from, to)| to - from).sum(), first)
    }
}

#[cfg(test)]
mod tests;
