//! `echostored tail` in the background, and what it has printed.
use super::daemon::as_user;
use super::{DEADLINE, home, wait_until};
use nix::sys::signal::Signal;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How it has ended.
#[derive(Debug)]
pub struct Printed {
    /// The exit code, or the negative number of the signal.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// A running `tail`.
pub struct Follower {
    child: Option<Child>,
    seen: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
    complaints: Arc<Mutex<Vec<u8>>>,
}

impl Follower {
    /// `echostored tail -f --directory DIRECTORY ARGUMENTS`, as the unprivileged user.
    pub fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(home::binary());
        command.args(["tail", "-f", "--directory"]).arg(directory).args(arguments);
        as_user(&mut command);
        Self::spawn(command)
    }

    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (seen, complaints) = (Arc::default(), Arc::default());
        let out = collect(child.stdout.take().unwrap(), Arc::clone(&seen));
        let err = collect(child.stderr.take().unwrap(), Arc::clone(&complaints));
        Self { child: Some(child), seen, readers: vec![out, err], complaints }
    }

    pub fn pid(&self) -> i32 {
        self.child.as_ref().expect("it runs").id().cast_signed()
    }

    /// All that it has printed so far.
    pub fn printed(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }

    pub fn length(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// What it has said on standard error.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.complaints.lock().unwrap()).into_owned()
    }

    /// Waits until it has printed so many bytes; how long that took.
    pub fn await_length(&self, length: usize) -> Duration {
        let begin = Instant::now();
        wait_until(2 * DEADLINE, &format!("{length} bytes, {} so far", self.length()), || self.length() >= length);
        begin.elapsed()
    }

    /// Ends it by a signal.
    pub fn end(mut self, signal: Signal) -> Printed {
        super::processes::signal(self.pid(), signal);
        self.ended()
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> Printed {
        let child = self.child.as_mut().expect("it runs");
        let mut status = None;
        wait_until(DEADLINE, "the end of tail", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        self.child = None;
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        let status = status.expect("just seen");
        let code = status.code().unwrap_or_else(|| -status.signal().expect("neither code nor signal"));
        Printed { code, stdout: self.printed(), stderr: self.said() }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn collect(mut from: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 {
                break;
            }
            into.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    })
}
