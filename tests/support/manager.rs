//! Stands in for the service manager: the other end of sd_notify(3), with a descriptor store.
use super::home::Home;
use super::wait_until;
use echostored::sys::fdpass;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Collects every line of every message, in order.
pub struct Manager {
    shared: Arc<Shared>,
    path: PathBuf,
}

#[derive(Default)]
struct Shared {
    lines: Mutex<Vec<(Instant, String)>>,
    /// What it was asked to keep, by name.
    kept: Mutex<Vec<(String, OwnedFd)>>,
    /// Reads no more.
    deaf: AtomicBool,
    gone: AtomicBool,
}

impl Manager {
    /// Listens on the socket `notify` in `home`.
    pub fn listen(home: &Home) -> Self {
        let path = home.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || theirs.collect(&socket));
        Self { shared, path }
    }

    pub fn heard(&self) -> Vec<String> {
        self.shared.lines.lock().unwrap().iter().map(|(_, line)| line.clone()).collect()
    }

    /// When it heard this line.
    pub fn times(&self, wanted: &str) -> Vec<Instant> {
        self.shared.lines.lock().unwrap().iter().filter(|(_, line)| line == wanted).map(|(at, _)| *at).collect()
    }

    /// A new start: what was heard before no longer counts.
    pub fn forget(&self) {
        self.shared.lines.lock().unwrap().clear();
    }

    /// Lets go of all that it keeps, as it does when a service is stopped for good; also of what it has not read yet.
    pub fn let_go(&self) {
        let mark = format!("MARK={}", std::process::id());
        let before = self.heard().iter().filter(|line| **line == mark).count();
        UnixDatagram::unbound().unwrap().send_to(mark.as_bytes(), &self.path).unwrap();
        wait_until(Duration::from_secs(30), "the manager has read all", || {
            self.heard().iter().filter(|line| **line == mark).count() > before
        });
        self.shared.kept.lock().unwrap().clear();
    }

    /// The names of what it keeps, sorted.
    pub fn kept(&self) -> Vec<String> {
        let mut names: Vec<String> = self.shared.kept.lock().unwrap().iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// What it keeps, to be passed on.
    pub fn copies(&self) -> Vec<(String, OwnedFd)> {
        self.shared.kept.lock().unwrap().iter().map(|(name, fd)| (name.clone(), fd.try_clone().unwrap())).collect()
    }

    /// Keeps something under another name from now on.
    pub fn rename_kept(&self, from: &str, to: &str) {
        let mut kept = self.shared.kept.lock().unwrap();
        kept.iter_mut().filter(|(name, _)| name == from).for_each(|(name, _)| to.clone_into(name));
    }

    /// Overwrites the first bytes of a kept memory.
    pub fn overwrite_kept(&self, name: &str, bytes: &[u8]) {
        let kept = self.shared.kept.lock().unwrap();
        let (_, memory) = kept.iter().find(|(kept, _)| kept == name).expect("it is kept");
        let memory = std::fs::File::from(memory.try_clone().unwrap());
        std::os::unix::fs::FileExt::write_all_at(&memory, bytes, 0).unwrap();
    }

    /// Stops reading, as a frozen manager does: the socket's queue fills.
    pub fn go_deaf(&self) {
        self.shared.deaf.store(true, Ordering::SeqCst);
        // The collector notices within its time-out and then stays away; one that is just reading may take one more.
        wait_until(Duration::from_secs(5), "nobody reads", || Arc::strong_count(&self.shared) == 1);
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn collect(self: Arc<Self>, socket: &UnixDatagram) {
        let mut buffer = [0; 4096];
        while !self.gone.load(Ordering::SeqCst) && !self.deaf.load(Ordering::SeqCst) {
            if let Ok((length, fds)) = fdpass::receive(socket.as_fd(), &mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                self.keep(&text, fds);
                self.lines.lock().unwrap().extend(text.lines().map(|line| (Instant::now(), line.to_owned())));
            }
        }
        if self.deaf.load(Ordering::SeqCst) {
            // Bound, but unread, for as long as the process lives: a closed socket would answer with ECONNREFUSED.
            std::mem::forget(socket.try_clone());
        }
    }

    fn keep(&self, text: &str, fds: Vec<OwnedFd>) {
        let Some(name) = text.lines().find_map(|line| line.strip_prefix("FDNAME=")) else { return };
        let mut kept = self.kept.lock().unwrap();
        if text.contains("FDSTOREREMOVE=1") {
            kept.retain(|(other, _)| other != name);
        } else {
            assert!(text.contains("FDSTORE=1") && text.contains("FDPOLL=0"), "{text:?}");
            kept.extend(fds.into_iter().map(|fd| (name.to_owned(), fd)));
        }
    }
}
