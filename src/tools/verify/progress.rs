//! How far `verify` is: a bar on a terminal's standard error, and nothing elsewhere.
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

const LOOK: &str = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

/// The bar, or none.
#[derive(Debug)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// No bar.
    pub fn hidden() -> Self {
        Self(None)
    }

    /// A bar of so many bytes, if standard error is a terminal.
    pub fn on_terminal(bytes: u64) -> Self {
        let style = ProgressStyle::with_template(LOOK).ok().filter(|_| std::io::stderr().is_terminal());
        Self(style.map(|style| ProgressBar::new(bytes).with_style(style)))
    }

    /// So many bytes of the files are done.
    pub fn at(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes);
        }
    }

    /// Prints something without the bar being in its way.
    pub fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
