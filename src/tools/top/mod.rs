//! `echostored top`: how the running daemon does, drawn anew each second.
//!
//! The daemon is asked for its `status` as `echostored status` asks; no role is asked. What is shown is decided by pure
//! parts: `history` → `view` → `screen`; only this file and `terminal` touch the world.
mod counters;
mod events;
mod history;
mod keys;
mod layout;
mod look;
mod panels;
mod screen;
mod session;
mod store;
mod terminal;
#[cfg(test)]
mod tests;
mod view;
mod workers;

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use self::history::Sample;
use self::keys::Key;
use self::look::Look;
use self::session::{Session, Then};
use self::terminal::{News, Terminal};
use super::control::{self, fail};
use super::tail::Colour;
use crate::exit::{self, Fatal};
use crate::ipc::command::{Reply, Request};
use crate::store::clock;
use crate::sys::event::Wake;
use crate::sys::ready::{self, Watched};

pub use session::{LONGEST, SHORTEST};

/// The size where there is no terminal.
const SIZE: (u16, u16) = (80, 24);
/// An escape that nothing has followed for so long is the key: also over a slow line.
const LONE: Duration = Duration::from_millis(250);
/// What is told for how long is told anew so often.
const MOMENT: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The daemon's socket.
    pub socket: Option<PathBuf>,
    /// Else it is taken from this configuration file.
    pub config: PathBuf,
    /// From one question to the next.
    pub interval: Duration,
    /// Colours.
    pub colour: Colour,
    /// One picture as plain text.
    pub once: bool,
}

/// Runs until it is told to end; returns the exit code: 0, and those of `status` if the daemon cannot be asked.
pub fn run(options: &Options) -> u8 {
    let done = if options.once { once(options) } else { watch(options) };
    done.unwrap_or_else(|Fatal { code, message }| fail(code, &message))
}

/// A question and its answer.
fn ask(path: &std::path::Path, begin: Instant) -> Result<Sample, Fatal> {
    match control::answer(Request::Status, path)? {
        (_, Reply::Status(report)) => Ok(Sample { at: begin.elapsed(), report: *report }),
        _ => Err(Fatal::new(
            exit::FAILED,
            format!("{}: what answers there is no echostored of this version", path.display()),
        )),
    }
}

/// Whether the locale has characters beyond ASCII (locale(7)).
fn unicode() -> bool {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Two reports, an interval apart, and one picture of them.
fn once(options: &Options) -> Result<u8, Fatal> {
    let path = control::place(options.socket.clone(), &options.config)?;
    let begin = Instant::now();
    let look = Look { colour: false, unicode: unicode() };
    let mut session = Session::new(ask(&path, begin)?, options.interval, look);
    thread::sleep(session.interval);
    session.history.push(ask(&path, begin)?);
    let size = |name, otherwise| {
        let given = env::var(name).ok().and_then(|text| text.parse().ok());
        given.filter(|size| (1..=1000).contains(size)).unwrap_or(otherwise)
    };
    let mut buffer = Buffer::empty(Rect::new(0, 0, size("COLUMNS", SIZE.0), size("LINES", SIZE.1)));
    session.draw(begin.elapsed(), &mut buffer);
    Ok(control::print(&text(&buffer)))
}

/// The lines of a picture, without what is blank at their ends.
fn text(buffer: &Buffer) -> String {
    let rows = buffer.content().chunks(usize::from(buffer.area.width).max(1));
    let row = |cells: &[ratatui::buffer::Cell]| -> String { cells.iter().map(ratatui::buffer::Cell::symbol).collect() };
    rows.map(|cells| row(cells).trim_end().to_owned() + "\n").collect()
}

/// Asks in a thread of its own: a daemon that hangs must not hold up the keys.
struct Asker {
    questions: Sender<()>,
    answers: Receiver<Result<Sample, Fatal>>,
    /// Since when an answer is awaited.
    asked: Option<Duration>,
}

impl Asker {
    fn new(path: PathBuf, begin: Instant, wake: Arc<Wake>) -> Self {
        let (questions, asked) = channel();
        let (told, answers) = channel();
        thread::spawn(move || {
            for () in asked {
                if told.send(ask(&path, begin)).is_err() {
                    break;
                }
                wake.ring();
            }
        });
        Self { questions, answers, asked: None }
    }

    fn ask(&mut self, now: Duration) {
        if self.asked.is_none() && self.questions.send(()).is_ok() {
            self.asked = Some(now);
        }
    }

    /// What came, if anything has.
    fn answer(&mut self) -> Option<Result<Sample, Fatal>> {
        match self.answers.try_recv() {
            Ok(answer) => {
                self.asked = None;
                Some(answer)
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }
}

fn watch(options: &Options) -> Result<u8, Fatal> {
    let stdout = io::stdout();
    if !stdout.is_terminal() || env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        let what = "top draws on a terminal, and standard output is none, or TERM says that it cannot be drawn on";
        return Err(Fatal::new(
            exit::FAILED,
            format!("{what}; for one look: echostored status, or echostored top --once"),
        ));
    }
    let path = control::place(options.socket.clone(), &options.config)?;
    let broken = |error| Fatal::system("use the terminal", error);
    let keys = if io::stdin().is_terminal() {
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    } else {
        File::open("/dev/tty")
    };
    let keys = keys.map_err(broken)?;
    let begin = Instant::now();
    // While the screen is still as it was: an error must be readable.
    let first = ask(&path, begin)?;
    let colour = options.colour.wanted(true);
    let session = Session::new(first, options.interval, Look { colour, unicode: unicode() });
    let news = News::listen().map_err(|error| Fatal::system("listen for signals", error))?;
    let asker = Asker::new(path, begin, Arc::clone(&news.wake));
    let terminal = Terminal::take(colour).map_err(broken)?;
    Ok(Watch { session, asker, news, keys, pending: Vec::new(), terminal, begin }.run())
}

/// All that is under way.
struct Watch {
    session: Session,
    asker: Asker,
    news: News,
    keys: File,
    /// Input that may go on.
    pending: Vec<u8>,
    terminal: Terminal,
    begin: Instant,
}

impl Watch {
    fn run(mut self) -> u8 {
        let mut next = self.begin.elapsed() + self.session.interval;
        loop {
            if let Some(code) = self.news.end() {
                return code;
            }
            let now = self.begin.elapsed();
            if now >= next {
                self.asker.ask(now);
                next = now + self.session.interval;
            }
            match self.asker.answer() {
                Some(Ok(sample)) => self.session.history.push(sample),
                Some(Err(error)) => self.session.history.lost(now, &clock::now_text(), &error.message),
                None => {
                    if let Some(asked) = self.asker.asked {
                        self.session.history.waiting(now, asked, &clock::now_text());
                    }
                }
            }
            let session = &self.session;
            if self.terminal.draw(|buffer| session.draw(now, buffer)).is_err() {
                return exit::FAILED;
            }
            let interval = self.session.interval;
            match self.wait(next.saturating_sub(now)) {
                Ok(Then::On) => {}
                Ok(Then::Redraw) if self.terminal.forget().is_ok() => {}
                Ok(Then::End) => return exit::OK,
                // Nobody is there any more.
                Ok(Then::Redraw) | Err(_) => return exit::FAILED,
            }
            if self.session.interval != interval {
                next = next.min(self.begin.elapsed() + self.session.interval);
            }
        }
    }

    /// Waits for keys, an answer, a signal, at most for `span`.
    fn wait(&mut self, span: Duration) -> io::Result<Then> {
        let lone = !self.pending.is_empty();
        let span = span.min(MOMENT).min(if lone { LONE } else { MOMENT });
        let watch = |fd| Watched { fd, input: true, output: false };
        let watched = [watch(self.keys.as_fd()), watch(self.news.wake.as_fd())];
        let ready = ready::wait(&watched, Some(span))?;
        if ready[1] {
            self.news.wake.clear();
        }
        if ready[0] {
            return self.read();
        }
        let escape = self.pending == [0x1b];
        if lone && !ready[1] {
            self.pending.clear();
            if escape {
                return Ok(self.session.key(Key::Back, self.begin.elapsed()));
            }
        }
        Ok(Then::On)
    }

    fn read(&mut self) -> io::Result<Then> {
        let mut bytes = [0; 256];
        let length = self.keys.read(&mut bytes)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pending.extend_from_slice(&bytes[..length]);
        let (keys, done) = keys::read(&self.pending);
        self.pending.drain(..done);
        // No sequence of ours is so long.
        if self.pending.len() > 64 {
            self.pending.clear();
        }
        let mut then = Then::On;
        for key in keys {
            match self.session.key(key, self.begin.elapsed()) {
                Then::End => return Ok(Then::End),
                Then::Redraw => then = Then::Redraw,
                Then::On => {}
            }
        }
        Ok(then)
    }
}
