//! `tail` and `cat`: the records of a store from a place on, in order, each once; and with `-f` those that come.
//!
//! Works on a live store and on a copy, compressed or not. The last line of the newest segment, as long as it has no LF, is
//! not a record yet and not printed.
//!
//! A follower prints a record as soon as it is in the file, over any number of rotations; it ends by a signal, or when
//! nobody reads its output any more.
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::select::Selection;
use super::show::{Look, Show};
use crate::config::Format;
use crate::exit::{self, Fatal};
use crate::store::index::{Facts, Index, Now};
use crate::sys::pipe;

pub(crate) mod cursor;
mod eyes;
mod keeper;
pub(crate) mod last;
mod moved;
mod stop;
mod trail;

use cursor::{Cursor, Place};
use eyes::{Eyes, News};
use keeper::Keeper;
use stop::Stop;
use trail::Trail;

/// What is gathered before a write; larger pieces go out as they are.
const OUTPUT: usize = 256 << 10;
/// Asked for where the output is a pipe: fewer changes between us and its reader.
const PIPE: usize = 1 << 20;

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal that has them, unless `NO_COLOR` is set.
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

/// What to print, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The store.
    pub directory: PathBuf,
    /// As stored if `None`.
    pub format: Option<Format>,
    /// Only with `text`.
    pub colour: Colour,
    /// Which records.
    pub selection: Selection,
    /// Only the last so many of them; `None`: from the oldest, or the cursor.
    pub last: Option<u64>,
    /// Begin behind this cursor.
    pub from: Option<String>,
    /// Begin behind the cursor in this file, if it is there, and keep it there.
    pub cursor_file: Option<PathBuf>,
    /// Print the last cursor on standard error at the end.
    pub show_cursor: bool,
    /// Wait for more.
    pub follow: bool,
}

impl Request {
    /// Every record of a store, as stored.
    pub fn all(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            format: None,
            colour: Colour::Never,
            selection: Selection::default(),
            last: None,
            from: None,
            cursor_file: None,
            show_cursor: false,
            follow: false,
        }
    }
}

/// Why it ended before its end.
enum Failed {
    Fatal(Fatal),
    Output(io::Error),
}

impl From<Fatal> for Failed {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Prints on standard output; returns the exit code. A reader that goes away (`EPIPE`) ends it well.
pub fn run(request: &Request) -> u8 {
    let start = || -> io::Result<(File, Option<Stop>)> {
        // Not `io::stdout()`: its line buffer would cost a second copy.
        let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let stop = (request.follow || request.cursor_file.is_some() || request.show_cursor).then(Stop::listen);
        Ok((output, stop.transpose()?))
    };
    let (output, stop) = match start() {
        Ok(started) => started,
        Err(error) => return failed(&error),
    };
    let _ = pipe::resize(output.as_fd(), PIPE);
    let terminal = output.is_terminal();
    let look = Look { format: request.format, colour: request.colour.wanted(terminal), terminal };
    let writer = BufWriter::with_capacity(OUTPUT, &output);
    let mut show = Show::new(look, request.selection.clone(), writer, io::stderr());
    match read(request, &mut show, stop.as_ref(), Some(&output)) {
        Ok(code) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => failed(&error),
    }
}

fn failed(error: &io::Error) -> u8 {
    eprintln!("echostored: cannot write to standard output: {error}");
    exit::FAILED
}

impl Colour {
    /// Whether there are to be colours.
    pub fn wanted(self, terminal: bool) -> bool {
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && variable("NO_COLOR").is_empty() && variable("TERM") != "dumb",
        }
    }
}

/// The same to any output; returns the exit code.
///
/// # Errors
/// The output cannot be written.
pub fn read<O: Write, C: Write>(
    request: &Request,
    show: &mut Show<O, C>,
    stop: Option<&Stop>,
    output: Option<&File>,
) -> io::Result<u8> {
    match session(request, show, stop, output) {
        Ok(()) if show.failed => Ok(exit::FAILED),
        Ok(()) => Ok(exit::OK),
        Err(Failed::Output(error)) => Err(error),
        Err(Failed::Fatal(Fatal { code, message })) => {
            show.flush()?;
            show.say(format_args!("echostored: {message}"));
            Ok(code)
        }
    }
}

fn session<O: Write, C: Write>(
    request: &Request,
    show: &mut Show<O, C>,
    stop: Option<&Stop>,
    output: Option<&File>,
) -> Result<(), Failed> {
    let index = Index::open(&request.directory).map_err(|error| Fatal::new(exit::STORE, error.to_string()))?;
    let store = index.id().unwrap_or(0);
    let cursor = cursor(request)?;
    let facts = facts(&index, cursor.is_some() || request.last.is_some() || show.selection.needs_time())?;
    let place = match cursor {
        Some(cursor) => Some(placed(cursor, store)?),
        None => match request.last {
            Some(wanted) => {
                let last = last::place_of_last(&index, &facts, &show.selection, wanted)
                    .map_err(|error| Fatal::new(exit::FAILED, format!("cannot read the store's notes: {error}")))?;
                last.unread.iter().for_each(|unread| show.fail(format_args!("{unread}")));
                last.place
            }
            None => None,
        },
    };
    let mut trail = Trail::begin(index, facts, place)?;
    if cursor.is_some() {
        trail.tell_missed(show);
    }
    let mut keeper = Keeper::new(request.cursor_file.clone(), store);
    match stop.filter(|_| request.follow) {
        Some(stop) => follow(&mut trail, &mut keeper, show, stop, output)?,
        None => drop(advance(&mut trail, &mut keeper, show, stop)?),
    }
    show.flush()?;
    save(&mut keeper, trail.place())?;
    if let Some(place) = trail.place().filter(|_| request.show_cursor) {
        show.say(format_args!("-- cursor: {}", Cursor { store: keeper.store(), place }));
    }
    Ok(())
}

/// The cursor to begin with, if there is one.
fn cursor(request: &Request) -> Result<Option<Cursor>, Fatal> {
    let (text, whence) = match (&request.from, &request.cursor_file) {
        (Some(text), _) => (text.clone(), String::new()),
        (None, Some(path)) => {
            let unreadable =
                |error| Fatal::new(exit::FAILED, format!("cannot read the cursor file {}: {error}", path.display()));
            match Keeper::read(path).map_err(unreadable)? {
                Some(text) => (text, format!(" in {}", path.display())),
                None => return Ok(None),
            }
        }
        (None, None) => return Ok(None),
    };
    let refuse = || {
        let text = text.escape_debug();
        let form = "STORE:SEGMENT:OFFSET, as --show-cursor prints it";
        Fatal::new(exit::FAILED, format!("\"{text}\"{whence} is no cursor ({form})"))
    };
    Cursor::parse(&text).map(Some).ok_or_else(refuse)
}

/// The cursor's place, if it is one of this store; a copy that does not tell which store it is takes any.
fn placed(cursor: Cursor, store: u64) -> Result<Place, Fatal> {
    if store == 0 || cursor.store == 0 || cursor.store == store {
        return Ok(cursor.place);
    }
    let message = format!(
        "the cursor {cursor} is of another store; this one is {store:016x}. Begin without it to read from the oldest record"
    );
    Err(Fatal::new(exit::FAILED, message))
}

fn facts(index: &Index, seals: bool) -> Result<Facts, Fatal> {
    index.facts(seals).map_err(|error| {
        Fatal::new(exit::STORE, format!("cannot read the manifest of {}: {error}", index.path().display()))
    })
}

fn save(keeper: &mut Keeper, place: Option<Place>) -> Result<(), Fatal> {
    keeper.save(place).map_err(|message| Fatal::new(exit::FAILED, message))
}

/// Prints what there is, keeping the cursor meanwhile.
fn advance<O: Write, C: Write>(
    trail: &mut Trail,
    keeper: &mut Keeper,
    show: &mut Show<O, C>,
    stop: Option<&Stop>,
) -> Result<ControlFlow<()>, Failed> {
    let mut trouble = Ok(());
    let flow = trail.advance(show, &mut |show, place| {
        if keeper.due(Some(place)) == Some(Duration::ZERO) {
            show.flush()?;
            trouble = save(keeper, Some(place));
        }
        let end = trouble.is_err() || stop.is_some_and(Stop::asked);
        Ok(if end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    trouble?;
    show.flush()?;
    Ok(flow)
}

fn follow<O: Write, C: Write>(
    trail: &mut Trail,
    keeper: &mut Keeper,
    show: &mut Show<O, C>,
    stop: &Stop,
    output: Option<&File>,
) -> Result<(), Failed> {
    let blind = |error| Fatal::system("wait for news of the store", error);
    let mut eyes = Eyes::new(&trail.index, stop, output).map_err(blind)?;
    trail.following = true;
    trail.refresh().map_err(blind)?;
    let mut gone = false;
    loop {
        if advance(trail, keeper, show, Some(stop))?.is_break() {
            return Ok(());
        }
        if eyes.watch(trail) {
            continue;
        }
        if keeper.due(trail.place()) == Some(Duration::ZERO) {
            save(keeper, trail.place())?;
        }
        let path = trail.index.path().display().to_string();
        match eyes.wait(trail, keeper.due(trail.place())).map_err(blind)? {
            News::Look => gone = false,
            News::End => return Ok(()),
            News::Moved(Now::Another) => {
                // What was written there until now.
                if advance(trail, keeper, show, Some(stop))?.is_break() {
                    return Ok(());
                }
                if let Some(new) = another(trail, keeper) {
                    show.say(format_args!("{path} was replaced by another directory; going on with that"));
                    *trail = new;
                    eyes = Eyes::new(&trail.index, stop, output).map_err(blind)?;
                    trail.refresh().map_err(blind)?;
                }
            }
            News::Moved(_) if !gone => {
                gone = true;
                show.say(format_args!("{path} is gone; waiting for another in its place"));
            }
            News::Moved(_) => {}
        }
    }
}

/// The store that is at the path by now; `None`: it is none yet. Behind the cursor, if it is the same one.
fn another(trail: &Trail, keeper: &mut Keeper) -> Option<Trail> {
    let open = || Index::open(trail.index.path()).ok();
    let index = open()?;
    let store = index.id().unwrap_or(0);
    let facts = index.facts(false).ok()?;
    let place = trail.place().filter(|_| store > 0 && store == keeper.store());
    let mut new = Trail::begin(index, facts, place).or_else(|fatal| match open() {
        Some(index) => Trail::begin(index, Facts::default(), None),
        None => Err(fatal),
    });
    if let Ok(new) = &mut new {
        new.following = true;
        keeper.change_store(store);
    }
    new.ok()
}

#[cfg(test)]
mod tests;
