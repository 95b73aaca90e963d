//! Lets through what can be written without waiting, and counts the rest.
use super::catalogue::LINES_DROPPED;
use super::line::Line;
use crate::config::Level;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where lines go.
pub(super) trait Way {
    /// Writes the line, if that can be done at once. False: it was not written.
    fn take(&self, line: &Line<'_>) -> bool;
    /// What did not take a line.
    fn name(&self) -> &'static str;
}

/// The count of those that did not get through.
#[derive(Debug)]
pub(super) struct Outlet {
    untold: AtomicU64,
    dropped: AtomicU64,
}

impl Outlet {
    /// One that has dropped nothing yet.
    pub const fn new() -> Self {
        Self { untold: AtomicU64::new(0), dropped: AtomicU64::new(0) }
    }

    /// Begins to count anew.
    pub fn forget(&self) {
        self.untold.store(0, Ordering::Relaxed);
        self.dropped.store(0, Ordering::Relaxed);
    }

    /// How many were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Lets `line` through, after one that tells of those before it that were dropped; or drops it.
    pub fn put(&self, way: &impl Way, line: &Line<'_>) {
        let untold = self.untold.swap(0, Ordering::Relaxed);
        if untold > 0 {
            let message = format!("{untold} lines before this one were not logged: {} did not take them", way.name());
            let fields = [("lines", untold.into())];
            let notice =
                Line { level: Level::Warn, event: Some(&LINES_DROPPED), fields: &fields, message: &message, ..*line };
            if !way.take(&notice) {
                self.untold.fetch_add(untold, Ordering::Relaxed);
                return self.drop_one();
            }
        }
        if !way.take(line) {
            self.drop_one();
        }
    }

    fn drop_one(&self) {
        self.untold.fetch_add(1, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}
