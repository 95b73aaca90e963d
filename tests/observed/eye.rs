//! Looks at a daemon: its status over the control socket, and its page of metrics.
use crate::http::get;
use crate::seen::Seen;
use crate::support::control::{connect, hear, socket, status};
use crate::support::daemon::Daemon;
use crate::support::{DEADLINE, came_true, wait_until};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;

pub struct Eye<'a> {
    seen: &'a Seen,
    socket: PathBuf,
}

impl<'a> Eye<'a> {
    /// On this daemon, once it serves metrics.
    pub fn new(seen: &'a Seen, daemon: &Daemon) -> Self {
        // As people ask; below, the same without a program.
        seen.report(&status(daemon));
        Self::at(seen, socket(daemon))
    }

    /// The same by the daemon's control socket.
    pub fn at(seen: &'a Seen, socket: PathBuf) -> Self {
        let eye = Self { seen, socket };
        eye.until("all roles serve", |told| told["exporter"]["ready"] == true && told["archiver"]["ready"] == true);
        eye
    }

    /// What `status` tells now.
    pub fn look(&self) -> Value {
        let report = hear(connect(&self.socket, b"status\n"));
        assert_eq!(report["ok"], true, "{report}");
        self.seen.report(&report);
        report
    }

    /// Looks until it is so, without a scrape.
    pub fn until_told(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut report = Value::Null;
        let came = came_true(DEADLINE, || {
            report = self.look();
            is_so(&report)
        });
        assert!(came, "not within {DEADLINE:?}: {what}\n{report:#}");
        report
    }

    /// Looks until it is so, and at a page that is not older than that. It has to stay so for a moment.
    pub fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let report = self.until_told(what, is_so);
        // A page counts the scrapes before its report was made, and one answer may serve for a moment.
        let before = report["totals"]["exporter"]["scrapes"].as_f64().unwrap();
        wait_until(DEADLINE, "a new page", || {
            let page = self.scrape();
            page.is_some_and(|page| scrapes(&page) > before)
        });
        report
    }

    /// A counter of all workers grows beyond nothing.
    pub fn until_counted(&self, what: &str) {
        self.until(what, |told| told["totals"]["workers"][what].as_u64() > Some(0));
    }

    /// Where the pages are, if there is an exporter.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.look()["exporter"]["listener"].as_str().map(|place| place.parse().unwrap())
    }

    fn scrape(&self) -> Option<String> {
        let page = get(self.metrics()?, "/metrics").ok().filter(|page| page.code == 200)?.body;
        self.seen.page(&page);
        Some(page)
    }
}

fn scrapes(page: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix("echostored_exporter_scrapes_total "));
    line.expect("the exporter counts").parse().unwrap()
}
