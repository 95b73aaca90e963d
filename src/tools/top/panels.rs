//! The parts of the picture, each drawn into its place. Pure.
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Sparkline, SparklineBar, Widget};

use super::counters::Section;
use super::events::Event;
use super::look::Level;
use super::screen::Canvas;
use super::view::{Latency, Rate, Row, View};
use super::workers::chosen;
use crate::tools::figures::percent;

/// Names of lines.
const NAME: u16 = 12;
/// A value, before its curve.
const VALUE: u16 = 12;
/// What a row of a worker has beside its bars; and its process id, where there is room.
const FIXED: u16 = 63;
const PID: u16 = 14;
/// A counter with its time.
const COUNTER: u16 = 40;

/// What `values` are as eighths of a line, `height` lines high; something is at least one. The highest fills it.
fn eighths(values: &[Option<u64>], height: u16) -> (u64, Vec<Option<u64>>) {
    let full = u64::from(height) * 8;
    let most = values.iter().flatten().max().copied().unwrap_or(0).max(1);
    let scaled =
        |value: u64| ((value as f64 / most as f64 * full as f64).round() as u64).clamp(u64::from(value > 0), full);
    (full, values.iter().map(|value| value.map(scaled)).collect())
}

fn curve(canvas: &mut Canvas<'_>, area: Rect, values: &[Option<u64>]) {
    if area.is_empty() {
        return;
    }
    let (full, values) = eighths(values, area.height);
    let bars: Vec<SparklineBar> = values.into_iter().map(SparklineBar::from).collect();
    let sparkline = Sparkline::default().data(bars).max(full).bar_set(canvas.look.bars()).style(canvas.look.figure());
    sparkline.absent_value_symbol(" ").render(area, canvas.buffer);
}

/// The curves, one below the other; where there are fewer lines than curves, the first ones.
pub fn rates(canvas: &mut Canvas<'_>, area: Rect, rates: &[Rate]) {
    let each = (area.height / rates.len().max(1) as u16).max(1);
    for (y, rate) in (0..area.height).step_by(usize::from(each)).zip(rates) {
        let height = each.min(area.height - y);
        let place = Rect { y: area.y + y, height, ..area };
        let label = place.width.min(NAME + VALUE);
        canvas.line(
            Rect { width: label, ..place },
            0,
            &[(&format!("{:<12}", rate.name), Style::new()), (&format!("{:>11} ", rate.now), canvas.look.title())],
        );
        let width = (place.width - label).min(600);
        let graph = Rect { x: place.x + label, width, ..place };
        // The newest at the right edge.
        let shown = &rate.values[rate.values.len().saturating_sub(usize::from(width))..];
        let indent = width - shown.len() as u16;
        curve(canvas, Rect { x: graph.x + indent, width: width - indent, ..graph }, shown);
        if height > 1 {
            let most =
                shown.iter().flatten().max().map_or(String::new(), |most| format!("top {}", rate.written.text(*most)));
            canvas.line(Rect { width: label, ..place }, 1, &[(&format!("{most:>23}"), canvas.look.quiet())]);
        }
    }
}

/// Its figures; below, bars by bucket, and their bounds.
pub fn latency(canvas: &mut Canvas<'_>, area: Rect, latency: &Latency) {
    canvas.rule(area, &[(&latency.title, canvas.look.title())]);
    let (height, count) = (area.height.saturating_sub(2), latency.bars.len() as u16);
    let each = (area.width.saturating_sub(1)).checked_div(count).unwrap_or(0).min(9);
    if height == 0 || each == 0 {
        return;
    }
    // A gap behind each, where there is room.
    let (filled, gap) = if each > 1 { (each - 1, 1) } else { (1, 0) };
    let mut values = Vec::new();
    for (_, count) in &latency.bars {
        values.extend(std::iter::repeat_n(Some(*count), usize::from(filled)));
        values.extend(std::iter::repeat_n(None, gap));
    }
    let bars = Rect { x: area.x + 1, y: area.y + 1, width: area.width - 1, height };
    curve(canvas, bars, &values);
    let step = usize::from(7u16.div_ceil(each)).max(1);
    for (index, (bound, _)) in latency.bars.iter().enumerate().step_by(step) {
        let x = index as u16 * each;
        let place = Rect {
            x: bars.x + x,
            y: area.y + area.height - 1,
            width: (each * step as u16 - 1).min(bars.width - x),
            height: 1,
        };
        canvas.line(place, 0, &[(bound, canvas.look.quiet())]);
    }
}

/// A line for each, those first that matter most.
pub fn store(canvas: &mut Canvas<'_>, area: Rect, rows: &[Row]) {
    let look = canvas.look;
    for (y, row) in (0..area.height).zip(rows) {
        let style = look.level(row.level);
        let name = format!("{:<9}", row.name);
        let mut pieces = vec![(row.level.mark(), style), (&name, look.title())];
        let bar = row.share.map(|share| look.bar(share, (area.width / 8).min(20)));
        if let Some((filled, empty)) = &bar {
            // Symbols of the look's own.
            let line = [(filled.as_str(), look.figure()), (empty, look.quiet()), (" ", Style::new())];
            pieces.extend(line);
        }
        pieces.push((&row.text, style));
        canvas.line(area, y, &pieces);
    }
}

/// A line for each: share of the messages, connections, data pipe, oldest message.
pub fn workers(canvas: &mut Canvas<'_>, area: Rect, view: &View) {
    let look = canvas.look;
    let (level, oldest) = &view.oldest;
    let title = format!("{} workers", view.workers.len());
    canvas
        .rule(area, &[(&title, look.title()), (", oldest message waits ", Style::new()), (oldest, look.level(*level))]);
    let (rows, left_out) = chosen(&view.workers, usize::from(area.height.saturating_sub(1)));
    let named = area.width >= FIXED + PID + 20;
    let spare = area.width.saturating_sub(FIXED + if named { PID } else { 0 }).min(60);
    let (share, pipe) = (spare * 3 / 5, spare * 2 / 5);
    for (y, row) in (1..).zip(&rows) {
        let style = look.level(row.level);
        let (messages, fill) = (look.bar(row.share, share), look.bar(row.pipe, pipe));
        let name = format!("{:>3} {:<8} ", row.number, row.state);
        let of = format!(" {:>5}", percent(row.share));
        let connections = format!(" {:>7} conn  pipe ", row.connections);
        let filled = format!(" {:>5}", percent(row.pipe));
        let pid = if named { format!("  pid {}", row.pid) } else { String::new() };
        let rest = format!("  {:>7}  {} died{pid}", row.oldest, row.restarts);
        let pieces = [
            (row.level.mark(), style),
            (&name, style),
            (&messages.0, look.figure()),
            (&messages.1, look.quiet()),
            (&of, Style::new()),
            (&connections, Style::new()),
            (&fill.0, look.figure()),
            (&fill.1, look.quiet()),
            (&filled, Style::new()),
            (&rest, style),
        ];
        canvas.line(area, y, &pieces);
    }
    if left_out > 0 {
        let more = format!("    and {left_out} more, less busy");
        canvas.line(area, 1 + rows.len() as u16, &[(&more, look.quiet())]);
    }
}

/// The newest first.
pub fn events(canvas: &mut Canvas<'_>, area: Rect, events: &[Event]) {
    let look = canvas.look;
    canvas.rule(area, &[("recent events", look.title())]);
    if events.is_empty() {
        canvas.line(area, 1, &[(" none since this began to look", look.quiet())]);
    }
    for (y, event) in (1..area.height).zip(events) {
        let style = look.level(event.level);
        let time = format!(" {} ", event.time);
        canvas.line(area, y, &[(event.level.mark(), style), (&time, look.quiet()), (&event.text, style)]);
    }
}

/// All of them in columns, from `scroll` lines on.
pub fn counters(canvas: &mut Canvas<'_>, area: Rect, sections: &[Section], scroll: usize) {
    let look = canvas.look;
    let mut lines: Vec<Vec<(String, Style)>> = Vec::new();
    for section in sections {
        lines.push(vec![(section.name.to_owned(), look.title())]);
        for (name, value, last) in &section.rows {
            let level = if last.is_empty() { Level::Plain } else { Level::Warn };
            lines.push(vec![
                (format!(" {name:<18} "), Style::new()),
                (format!("{value:>11} "), look.level(level)),
                (last.clone(), look.quiet()),
            ]);
        }
    }
    let (columns, height) = ((area.width / COUNTER).max(1), usize::from(area.height));
    let room = usize::from(columns) * height;
    let begin = scroll.min(lines.len().saturating_sub(room));
    for (index, line) in lines.iter().skip(begin).take(room).enumerate() {
        let column = (index / height.max(1)) as u16;
        let width = if columns == 1 { area.width } else { COUNTER - 1 };
        let place = Rect { x: area.x + column * COUNTER, width, ..area };
        let pieces: Vec<(&str, Style)> = line.iter().map(|(text, style)| (text.as_str(), *style)).collect();
        canvas.line(place, (index % height.max(1)) as u16, &pieces);
    }
}
