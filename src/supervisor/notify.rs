//! What the service manager is told: the door of sd-notify, sd_notify(3). Without `NOTIFY_SOCKET` nothing happens.
use sd_notify::NotifyState;

/// Speaks to the service manager.
#[derive(Debug)]
pub struct Notify {
    wanted: bool,
    last_status: String,
}

impl Notify {
    /// Looks whether somebody listens.
    pub fn new() -> Self {
        Self { wanted: std::env::var_os("NOTIFY_SOCKET").is_some(), last_status: String::new() }
    }

    /// Whether a status is of use to anybody.
    pub fn wanted(&self) -> bool {
        self.wanted
    }

    /// Everything serves.
    pub fn ready(&mut self, status: &str) {
        self.last_status = status.to_owned();
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A reload begins; [`ready`](Self::ready) ends it. Both fields in one datagram, as sd_notify(3) demands.
    pub fn reloading(&mut self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// The daemon stops.
    pub fn stopping(&mut self, status: &str) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// One line for `systemctl status`, of our own words and numbers only; sent when it changed.
    pub fn status(&mut self, status: &str) {
        if status != self.last_status {
            self.last_status = status.to_owned();
            self.tell(&[NotifyState::Status(status)]);
        }
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if self.wanted {
            // Nobody is left to hear of an error here, and the service must not fail for it.
            let _ = sd_notify::notify(state);
        }
    }
}
