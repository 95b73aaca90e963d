//! What keys and answers do to what is shown. Pure: moments come in as arguments.
use std::time::Duration;

use super::history::{History, Sample};
use super::keys::Key;
use super::look::Look;
use super::screen::{self, Page};
use super::view::view;
use ratatui::buffer::Buffer;

/// The shortest time from one question to the next.
pub const SHORTEST: Duration = Duration::from_millis(200);
/// The longest.
pub const LONGEST: Duration = Duration::from_secs(60);
/// Those that the keys choose from.
const STEPS: [u64; 9] = [200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000];
/// No page has more lines.
const LINES: usize = 60;

/// What comes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    On,
    /// It goes on with a screen that is drawn as a whole.
    Redraw,
    /// It ends.
    End,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    /// What has come so far.
    pub history: History,
    /// What it was when the picture was held, and when.
    held: Option<Box<(History, Duration)>>,
    page: Page,
    /// From one question to the next.
    pub interval: Duration,
    look: Look,
}

impl Session {
    /// A new one, with the first report.
    pub fn new(first: Sample, interval: Duration, look: Look) -> Self {
        let mut history = History::default();
        history.push(first);
        Self { history, held: None, page: Page::default(), interval: interval.clamp(SHORTEST, LONGEST), look }
    }

    /// A key was pressed.
    pub fn key(&mut self, key: Key, now: Duration) -> Then {
        match key {
            Key::Quit => return Then::End,
            Key::Back if !self.page.help => return Then::End,
            Key::Back => self.page.help = false,
            Key::Redraw => return Then::Redraw,
            Key::Help => self.page.help = !self.page.help,
            Key::Page => self.page = Page { counters: !self.page.counters, help: false, scroll: 0 },
            Key::Pause => {
                let hold = || Box::new((self.history.clone(), now));
                self.held = if self.held.is_some() { None } else { Some(hold()) };
            }
            Key::Slower => self.interval = step(self.interval, true),
            Key::Faster => self.interval = step(self.interval, false),
            Key::Scroll(lines) => {
                let by = usize::try_from(lines.unsigned_abs()).unwrap_or(LINES);
                let scroll = self.page.scroll;
                self.page.scroll = if lines < 0 { scroll.saturating_sub(by) } else { (scroll + by).min(LINES) };
            }
        }
        Then::On
    }

    /// Draws what is to be seen now.
    pub fn draw(&self, now: Duration, buffer: &mut Buffer) {
        let (history, now) = self.held.as_ref().map_or((&self.history, now), |held| (&held.0, held.1));
        let view = view(history, now, self.interval, self.held.is_some());
        screen::draw(view.as_ref(), self.page, self.look, buffer);
    }
}

fn step(interval: Duration, longer: bool) -> Duration {
    let now = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    let next = if longer { STEPS.iter().find(|step| **step > now) } else { STEPS.iter().rfind(|step| **step < now) };
    next.map_or(interval, |step| Duration::from_millis(*step))
}
