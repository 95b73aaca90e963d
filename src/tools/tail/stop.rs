//! `INT` and `TERM`: the reading ends in order, with its cursor kept, instead of at once.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::exit;
use crate::sys::event::Wake;
use crate::sys::poll::{Interest, Poller};
use crate::sys::signals::Signals;

/// How long a reader of our output that does not read may hold up the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether to end.
pub struct Stop {
    asked: Arc<AtomicBool>,
    /// Readable once it is asked for.
    pub wake: Arc<Wake>,
}

impl Stop {
    /// Begins to listen for the signals, in a thread of its own.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn listen() -> io::Result<Self> {
        let signals = Signals::new(&[Signal::SIGINT, Signal::SIGTERM])?;
        let stop = Self { asked: Arc::default(), wake: Arc::new(Wake::new()?) };
        let (asked, wake) = (Arc::clone(&stop.asked), Arc::clone(&stop.wake));
        let mut poller = Poller::new(1)?;
        poller.add(&signals, 0, Interest::Input)?;
        std::thread::spawn(move || {
            let mut events = Vec::new();
            while matches!(signals.next(), Ok(None)) {
                if poller.wait(None, &mut events).is_err() {
                    break;
                }
            }
            asked.store(true, Ordering::Release);
            wake.ring();
            // Still here: it waits for whoever reads our output. What that has not taken stands behind the cursor.
            std::thread::sleep(PATIENCE);
            std::process::exit(exit::OK.into());
        });
        Ok(stop)
    }

    /// Whether the end was asked for.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }
}
