//! What wakes a follower: names that appear in the store, writes to the segment that is being read, the end. Where the kernel
//! gives no inotify, or lost events, it looks by itself.
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use super::stop::Stop;
use super::trail::Trail;
use crate::store::index::{Index, Now};
use crate::store::names::Form;
use crate::sys::AsFd;
use crate::sys::inotify::{Happened, Watch, Watcher};
use crate::sys::poll::{Event, Interest, Poller};

/// Between two looks where there is no inotify.
const POLL: Duration = Duration::from_millis(100);
/// Between two looks for what no event tells: another directory in the store's place, a lost event.
const LOOK: Duration = Duration::from_secs(2);
/// Younger changes of a directory may be followed by others at the same time of its clock.
const SAME_TICK: i128 = 1_000_000_000;

const HAPPENED: u64 = 0;
const STOP: u64 = 1;
const OUTPUT: u64 = 2;

/// Waits for news of one store.
pub struct Eyes {
    poller: Poller,
    watcher: Option<Watcher>,
    /// The file that is watched, and which segment it is.
    live: Option<(u64, Watch)>,
    looked: Instant,
    /// The time of the directory's last change when it was listed.
    listed: Option<i128>,
    events: Vec<Event>,
}

/// Why the waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// There may be something to read.
    Look,
    /// It is to end.
    End,
    /// The store's directory is another one, or gone.
    Moved(Now),
}

impl Eyes {
    /// Opens its eyes; who has listed the store before lists it again after this.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn new(index: &Index, stop: &Stop, output: Option<&File>) -> io::Result<Self> {
        let poller = Poller::new(4)?;
        poller.add(&stop.wake, STOP, Interest::Input)?;
        if let Some(output) = output {
            // A regular file cannot be waited for (epoll_ctl(2)), and never hangs up.
            let _ = poller.add(output, OUTPUT, Interest::OutputEdge);
        }
        let mut eyes =
            Self { poller, watcher: None, live: None, looked: Instant::now(), listed: None, events: Vec::new() };
        eyes.open(index);
        Ok(eyes)
    }

    fn open(&mut self, index: &Index) {
        let watcher = Watcher::new().and_then(|watcher| watcher.directory(index.as_fd()).map(|_| watcher));
        self.watcher = watcher.ok().filter(|watcher| self.poller.add(watcher, HAPPENED, Interest::Input).is_ok());
    }

    /// Watches the segment that is being read. True: only from now on, so that it has to be read again.
    pub fn watch(&mut self, trail: &Trail) -> bool {
        let (Some(watcher), wanted) = (&self.watcher, trail.growing()) else { return false };
        let sequence = wanted.map(|opened| opened.name.sequence);
        if sequence == self.live.map(|(sequence, _)| sequence) {
            return false;
        }
        if let Some((_, watch)) = self.live.take() {
            watcher.forget(watch);
        }
        let Some((opened, file)) = wanted.and_then(|opened| Some((opened, opened.growing()?))) else { return false };
        match watcher.file(file.as_fd()) {
            Ok(watch) => self.live = Some((opened.name.sequence, watch)),
            // The limit of watches: look by itself from now on.
            Err(_) => self.watcher = None,
        }
        true
    }

    /// Waits for news, at most for `limit`, and takes new names to the trail.
    ///
    /// # Errors
    /// As `epoll_wait(2)`.
    pub fn wait(&mut self, trail: &mut Trail, limit: Option<Duration>) -> io::Result<News> {
        let pace = if self.watcher.is_some() { LOOK } else { POLL };
        let rest = pace.saturating_sub(self.looked.elapsed());
        self.poller.wait(Some(limit.unwrap_or(rest).min(rest)), &mut self.events)?;
        if self.events.iter().any(|event| event.token == STOP || (event.token == OUTPUT && event.hangup)) {
            return Ok(News::End);
        }
        let mut happened = Vec::new();
        if let Some(watcher) = self.watcher.as_ref().filter(|_| self.events.iter().any(|event| event.token == HAPPENED))
        {
            watcher.read(&mut happened)?;
        }
        let mut lost = false;
        for event in happened {
            match event {
                Happened::Appeared(name) => {
                    if let Some((name, _)) = name.to_str().and_then(Form::parse) {
                        trail.offer(name);
                    }
                }
                Happened::Changed => {}
                Happened::Overflow => lost = true,
            }
        }
        if self.looked.elapsed() >= pace {
            self.looked = Instant::now();
            let now = trail.index.now();
            if now != Now::Same {
                return Ok(News::Moved(now));
            }
            lost |= self.may_have_changed(trail);
        }
        if lost {
            trail.refresh()?;
        }
        Ok(News::Look)
    }

    /// Whether names have changed since the last look; notes when.
    fn may_have_changed(&mut self, trail: &Trail) -> bool {
        let changed = trail.index.changed();
        let before = std::mem::replace(&mut self.listed, changed);
        let now = i128::from(crate::store::clock::now_micros()) * 1000;
        changed.is_none() || before != changed || changed.is_some_and(|changed| now - changed < SAME_TICK)
    }
}
