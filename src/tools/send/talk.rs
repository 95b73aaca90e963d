//! What `send` says on standard error: a line that stands still on a terminal, else a line for each change; and, if asked for, the ranges on
//! standard output. Never draws without news, but once more a second after the last one.
use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two drawings.
const REDRAW: Duration = Duration::from_millis(200);
const SECOND: Duration = Duration::from_secs(1);

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Messages read.
    pub read: u64,
    /// Messages echoed.
    pub echoed: u64,
    /// Whether there is a connection.
    pub up: bool,
}

/// The mouth.
#[derive(Debug)]
pub struct Talk {
    quiet: bool,
    /// On a terminal.
    bar: Option<ProgressBar>,
    /// When the bar was drawn, and what it said.
    drawn: Option<(Instant, Count)>,
    /// Messages a second.
    rate: u64,
}

impl Talk {
    /// `quiet`: errors only.
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.with_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self { quiet, bar, drawn: None, rate: 0 }
    }

    /// Something that the user may want to know.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.error(text);
        }
    }

    /// Something that the user must know.
    pub fn error(&self, text: &str) {
        // Standard error may be closed; the exit code still tells.
        let print = || drop(writeln!(stderr(), "echostored: {text}"));
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Draws the bar, if it is there and it is time.
    pub fn progress(&mut self, now: Instant, count: Count) {
        let Some(bar) = &self.bar else { return };
        let due = self.next(count).is_some_and(|after| self.drawn.is_none_or(|(at, _)| now >= at + after));
        if !due {
            return;
        }
        if let Some((at, before)) = self.drawn {
            self.rate = rate(count.echoed.saturating_sub(before.echoed), now - at);
        }
        let state = if count.up { "" } else { " · not connected" };
        bar.set_message(format!("{} read · {} echoed · {}/s{state}", count.read, count.echoed, self.rate));
        self.drawn = Some((now, count));
    }

    /// When it must be drawn again without any news.
    pub fn deadline(&self, count: Count) -> Option<Instant> {
        self.bar.as_ref()?;
        let (at, after) = (self.drawn?.0, self.next(count)?);
        Some(at + after)
    }

    /// How long after the last drawing the next one is due; `None`: there is nothing new to show.
    fn next(&self, count: Count) -> Option<Duration> {
        match self.drawn {
            Some((_, drawn)) if drawn == count => (self.rate > 0).then_some(SECOND),
            _ => Some(REDRAW),
        }
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn rate(count: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / millis
}

/// Prints lines on standard output, at once. A reader that goes away is no failure.
pub fn print(lines: &str) {
    let mut out = stdout();
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_per_second() {
        assert_eq!(rate(50, Duration::from_millis(200)), 250);
        assert_eq!(rate(1, Duration::ZERO), 1000);
    }

    #[test]
    fn without_news_it_is_drawn_once_more_and_then_never() {
        let mut talk = Talk { quiet: false, bar: Some(ProgressBar::hidden()), drawn: None, rate: 0 };
        let (start, count) = (Instant::now(), Count { read: 10, echoed: 10, up: true });
        talk.progress(start, Count::default());
        talk.progress(start + REDRAW / 2, count);
        assert_eq!(talk.deadline(count), Some(start + REDRAW), "too early: drawn later");
        talk.progress(start + REDRAW, count);
        assert_eq!((talk.rate, talk.deadline(count)), (50, Some(start + REDRAW + SECOND)));
        talk.progress(start + REDRAW + SECOND, count);
        assert_eq!((talk.rate, talk.deadline(count)), (0, None));
    }
}
