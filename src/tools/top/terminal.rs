//! The terminal: taken, and given back as it was, however the program ends.
//!
//! Promise: after [`Terminal`] is dropped, after a panic, and after a signal, the screen and the modes are those of before,
//! also if the terminal has stopped to take output. One that is broken is left alone.
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::style::{ResetColor, force_color_output};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{execute, queue};

use crate::exit;
use crate::sys::event::Wake;
use crate::sys::poll::{Interest, Poller, has_room};
use crate::sys::signals::Signals;

/// How long a terminal that takes no output may hold up the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is drawn is collected up to so many bytes, so that it goes out at once.
const OUTPUT: usize = 64 << 10;

/// The terminal, while it is ours.
pub struct Terminal(ratatui::Terminal<CrosstermBackend<BufWriter<File>>>);

impl Terminal {
    /// Takes it: raw input, the other screen, no cursor.
    ///
    /// # Errors
    /// It cannot be set, or written to.
    pub fn take(colour: bool) -> io::Result<Self> {
        // NO_COLOR has been asked already.
        force_color_output(colour);
        let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        enable_raw_mode()?;
        let taken = Guard;
        let mut output = BufWriter::with_capacity(OUTPUT, output);
        execute!(output, EnterAlternateScreen, Hide)?;
        let terminal = ratatui::Terminal::new(CrosstermBackend::new(output))?;
        std::mem::forget(taken);
        Ok(Self(terminal))
    }

    /// Draws; only what differs goes out.
    ///
    /// # Errors
    /// It cannot be written to: it is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.0.draw(|frame| draw(frame.buffer_mut())).map(drop)
    }

    /// The next [`Terminal::draw`] draws all.
    ///
    /// # Errors
    /// As there.
    pub fn forget(&mut self) -> io::Result<()> {
        self.0.clear()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives it back if taking it fails half-way.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
    }
}

/// As it was. Whatever fails: more cannot be done.
fn give_back() {
    let _ = disable_raw_mode();
    let mut output = io::stdout();
    // One that takes nothing would hold us for ever.
    if has_room(&output) {
        let _ = queue!(output, ResetColor, LeaveAlternateScreen, Show);
        let _ = output.flush();
    }
}

/// Signals, as they come in another thread: the first may be held up by the terminal.
pub struct News {
    ended: Arc<AtomicBool>,
    hung_up: Arc<AtomicBool>,
    /// Readable after each.
    pub wake: Arc<Wake>,
}

impl News {
    /// Begins to listen. To be called before other threads are there, which inherit what is blocked.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn listen() -> io::Result<Self> {
        use Signal::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
        let signals = Signals::new(&[SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT])?;
        let news = Self { ended: Arc::default(), hung_up: Arc::default(), wake: Arc::new(Wake::new()?) };
        let (ended, hung_up, wake) = (Arc::clone(&news.ended), Arc::clone(&news.hung_up), Arc::clone(&news.wake));
        let mut poller = Poller::new(1)?;
        poller.add(&signals, 0, Interest::Input)?;
        std::thread::spawn(move || {
            let mut events = Vec::new();
            loop {
                match signals.next() {
                    Ok(Some(SIGWINCH | SIGCONT)) => wake.ring(),
                    Ok(None) if poller.wait(None, &mut events).is_ok() => {}
                    Ok(signal) => {
                        hung_up.store(signal == Some(SIGHUP), Ordering::Release);
                        break;
                    }
                    Err(_) => break,
                }
            }
            ended.store(true, Ordering::Release);
            wake.ring();
            // Still here: the first thread waits for a terminal that takes nothing.
            std::thread::sleep(PATIENCE);
            give_back();
            std::process::exit(exit::OK.into());
        });
        Ok(news)
    }

    /// Whether to end, and if so with which exit code.
    pub fn end(&self) -> Option<u8> {
        let code = if self.hung_up.load(Ordering::Acquire) { exit::FAILED } else { exit::OK };
        self.ended.load(Ordering::Acquire).then_some(code)
    }
}
