//! The picture: the view, drawn into a buffer of any size. Pure.
//!
//! Promise: no size panics; what matters most is shown first: state, rates, then what stores.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget};

use super::layout::{Part, Wish, heights};
use super::look::{Level, Look};
use super::panels;
use super::view::{Head, View};

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// All counters, instead of the picture.
    pub counters: bool,
    /// The help lies above.
    pub help: bool,
    /// So many lines of a page that is too long are passed by.
    pub scroll: usize,
}

/// From this width on, workers and events stand beside the rest.
const WIDE: u16 = 150;

/// A place to draw, and how.
pub struct Canvas<'a> {
    /// Where.
    pub buffer: &'a mut Buffer,
    /// Colours and symbols.
    pub look: Look,
}

impl Canvas<'_> {
    /// Writes pieces into line `y` of `area`, from its left edge on; what does not fit is cut off.
    pub fn line(&mut self, area: Rect, y: u16, pieces: &[(&str, Style)]) {
        if y >= area.height {
            return;
        }
        let spans = pieces.iter().map(|(text, style)| Span::styled(self.look.text(text), *style));
        let line: Line<'_> = spans.collect();
        self.buffer.set_line(area.x, area.y + y, &line, area.width);
    }

    /// A title, and a rule to the right edge.
    pub fn rule(&mut self, area: Rect, pieces: &[(&str, Style)]) {
        let mut all = vec![(self.look.rule(), self.look.quiet()), (" ", Style::new())];
        all.extend_from_slice(pieces);
        let width: usize = all.iter().map(|(text, _)| text.chars().count()).sum();
        let rest = self.look.rule().repeat(usize::from(area.width).saturating_sub(width + 1));
        all.extend([(" ", Style::new()), (rest.as_str(), self.look.quiet())]);
        self.line(area, 0, &all);
    }
}

/// Draws all of it. `None`: there is no report yet.
pub fn draw(view: Option<&View>, page: Page, look: Look, buffer: &mut Buffer) {
    let area = buffer.area;
    let mut canvas = Canvas { buffer, look };
    match view {
        None => canvas.line(area, 0, &[("asking the daemon", Style::new())]),
        Some(view) if page.counters => {
            let (above, keys) = split_bottom(area);
            head(&mut canvas, part(above, 0, 1), &view.head);
            panels::counters(&mut canvas, part(above, 1, above.height.saturating_sub(1)), &view.counters, page.scroll);
            self::keys(&mut canvas, keys, view, page);
        }
        Some(view) => picture(&mut canvas, area, view, page),
    }
    if page.help {
        help(&mut canvas, area);
    }
}

/// The lines from `y` on, so many.
fn part(area: Rect, y: u16, height: u16) -> Rect {
    let y = y.min(area.height);
    Rect { y: area.y + y, height: height.min(area.height - y), ..area }
}

fn split_bottom(area: Rect) -> (Rect, Rect) {
    let above = area.height.saturating_sub(u16::from(area.height > 4));
    (part(area, 0, above), part(area, above, area.height - above))
}

/// What the parts ask for, with so many workers, lines about the store, and events: two that stand at the top, three for the
/// left, two for the right.
fn wishes(workers: usize, store: usize, events: usize) -> [Wish; 7] {
    let few = |number: usize, most: usize| u16::try_from(number.min(most)).unwrap_or(u16::MAX);
    let wish = |part, least, enough, most, rank| Wish { part, least, enough, most, rank };
    [
        wish(Part::Head, 1, 1, 1, 0),
        wish(Part::State, 1, 1, 1, 1),
        wish(Part::Rates, 1, 3, 24, 2),
        wish(Part::Latency, 1, 4, 18, 3),
        wish(Part::Store, 1, few(store, 6), few(store, 20), 4),
        wish(Part::Workers, 2, 1 + few(workers, 3), 1 + few(workers, 500), 5),
        wish(Part::Events, 2, 5, 1 + few(events.max(4), 200), 6),
    ]
}

fn picture(canvas: &mut Canvas<'_>, area: Rect, view: &View, page: Page) {
    let wishes = wishes(view.workers.len(), view.store.len(), view.events.len());
    let (above, keys) = split_bottom(area);
    self::keys(canvas, keys, view, page);
    if area.width < WIDE {
        return column(canvas, above, &wishes, view);
    }
    let (top, rest) = wishes.split_at(2);
    let (left, right) = rest.split_at(3);
    column(canvas, part(above, 0, 2), top, view);
    let below = part(above, 2, above.height.saturating_sub(2));
    let half = below.width / 2;
    column(canvas, Rect { width: half - 1, ..below }, left, view);
    column(canvas, Rect { x: below.x + half + 1, width: below.width - half - 1, ..below }, right, view);
}

/// The parts of `wishes`, one below the other.
fn column(canvas: &mut Canvas<'_>, area: Rect, wishes: &[Wish], view: &View) {
    let mut y = 0;
    for (wish, height) in wishes.iter().zip(heights(wishes, area.height)) {
        let place = part(area, y, height);
        y += height;
        if height == 0 || place.width == 0 {
            continue;
        }
        match wish.part {
            Part::Head => head(canvas, place, &view.head),
            Part::State => state(canvas, place, view),
            Part::Rates => panels::rates(canvas, place, &view.rates),
            Part::Latency => panels::latency(canvas, place, &view.latency),
            Part::Store => panels::store(canvas, place, &view.store),
            Part::Workers => panels::workers(canvas, place, view),
            Part::Events => panels::events(canvas, place, &view.events),
        }
    }
}

fn state(canvas: &mut Canvas<'_>, area: Rect, view: &View) {
    let (level, look) = (view.head.state.0, canvas.look);
    let style = if level == Level::Good { look.quiet() } else { look.level(level) };
    canvas.line(area, 0, &[(&view.state, style)]);
}

fn head(canvas: &mut Canvas<'_>, area: Rect, head: &Head) {
    let look = canvas.look;
    let (level, state) = &head.state;
    let clock = format!(" {} UTC", head.clock);
    let mark = if *level > Level::Good { format!("{} ", level.mark()) } else { String::new() };
    let mut pieces = vec![(mark.as_str(), look.level(*level)), (state, look.level(*level).patch(look.title()))];
    if head.paused {
        pieces.extend([("  ", Style::new()), ("PAUSED", look.level(Level::Warn))]);
    }
    let width = |pieces: &[(&str, Style)]| pieces.iter().map(|(text, _)| text.chars().count()).sum::<usize>();
    // The clock shows that it lives; only the state matters more.
    let room = usize::from(area.width).checked_sub(clock.len()).filter(|room| *room >= mark.len() + state.len());
    let words = room.unwrap_or(area.width.into());
    for about in &head.about {
        let more = [("  ", Style::new()), (about.as_str(), Style::new())];
        // A number that is cut off is another number.
        if width(&pieces) + width(&more) > words {
            break;
        }
        pieces.extend(more);
    }
    canvas.line(Rect { width: words as u16, ..area }, 0, &pieces);
    if let Some(room) = room {
        let right = Rect { x: area.x + room as u16, width: area.width - room as u16, ..area };
        canvas.line(right, 0, &[(&clock, look.title())]);
    }
}

fn keys(canvas: &mut Canvas<'_>, area: Rect, view: &View, page: Page) {
    let (key, quiet) = (canvas.look.title(), canvas.look.quiet());
    let pause = if view.head.paused { " go on  " } else { " pause  " };
    let other = if page.counters { " overview  " } else { " counters  " };
    let interval = format!(" every {}", view.interval);
    let pieces = [
        ("q", key),
        (" quit  ", quiet),
        ("p", key),
        (pause, quiet),
        ("c", key),
        (other, quiet),
        ("h", key),
        (" help  ", quiet),
        ("+-", key),
        (&interval, quiet),
    ];
    canvas.line(area, 0, &pieces);
}

const HELP: [(&str, &str); 15] = [
    ("q, Ctrl-C", "quit"),
    ("Esc", "close this, else quit"),
    ("p, space", "hold the picture, or go on"),
    ("c, Tab", "all counters, with their last times"),
    ("+ -", "ask less often, more often"),
    ("j k, arrows", "scroll the counters"),
    ("Ctrl-L", "draw all of it again"),
    ("", ""),
    ("!  #", "worth a look; somebody has to act"),
    ("messages/s", "stored, between two reports"),
    ("bars", "echoes by latency: up to the time below"),
    ("pipe", "how full a worker's data pipe is"),
    ("oldest", "message that waits to be stored"),
    ("share", "of the messages since the last report"),
    ("p50, p99", "as quick, or quicker: half, 99 of 100"),
];

fn help(canvas: &mut Canvas<'_>, area: Rect) {
    let (width, height) = (area.width.min(56), area.height.min(HELP.len() as u16 + 2));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, canvas.buffer);
    // Where there is no room for a frame, what it frames matters more.
    let framed = width > 20 && height > 6;
    let inside = if framed {
        let block = Block::bordered().title(" help ").border_set(if canvas.look.unicode {
            ratatui::symbols::border::PLAIN
        } else {
            ASCII_BORDER
        });
        let inner = block.inner(place);
        block.render(place, canvas.buffer);
        inner
    } else {
        place
    };
    for (y, (key, what)) in (0..).zip(HELP) {
        canvas.line(inside, y, &[(&format!(" {key:<12}"), canvas.look.title()), (what, Style::new())]);
    }
}

const ASCII_BORDER: ratatui::symbols::border::Set<'_> = ratatui::symbols::border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};
