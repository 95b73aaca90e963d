//! How far it is: a bar on a terminal's standard error, and nothing elsewhere.
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const LOOK: &str = "{bar:30} {msg}";

/// The bar, or none.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    last: Option<(Instant, u64)>,
}

impl Progress {
    /// A bar of so many steps, if it is wanted and standard error is a terminal.
    pub fn new(wanted: bool, steps: u64) -> Self {
        let style = ProgressStyle::with_template(LOOK).ok().filter(|_| wanted && std::io::stderr().is_terminal());
        Self { bar: style.map(|style| ProgressBar::new(steps).with_style(style)), last: None }
    }

    /// So many steps are done, and so many messages echoed.
    pub fn at(&mut self, steps: u64, echoed: u64) {
        let Some(bar) = &self.bar else { return };
        let now = Instant::now();
        let rate = self.last.map_or(0, |(at, before)| rate(echoed.saturating_sub(before), now - at));
        self.last = Some((now, echoed));
        bar.set_message(format!("{echoed} echoed, {rate}/s"));
        bar.set_position(steps);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn rate(count: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / millis
}
