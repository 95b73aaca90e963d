//! A real terminal: a tmux server of the test's own, with one pane.
use super::support::home::{self, Home};
use super::support::{DEADLINE, processes, skip, wait_until};
use std::path::PathBuf;
use std::process::{Command, Output};

/// The pane. The server ends with it.
pub struct Terminal {
    home: Home,
}

/// The exact screen, nothing else: no status line, no file of the user.
const SETTINGS: &str = "set -g status off\nset -g remain-on-exit on\nset -g default-terminal screen-256color\n";

impl Terminal {
    /// One of 80 columns and 24 lines that runs a shell's `script`, in which `$top` is `echostored top`; `None`: no tmux.
    pub fn open(script: &str, arguments: &str, environment: &[(&str, &str)]) -> Option<Self> {
        if let Err(error) = Command::new("tmux").arg("-V").output() {
            skip(&format!("tmux: {error}; apt-get install tmux"));
            return None;
        }
        let home = Home::new();
        home.write("tmux.conf", SETTINGS);
        let set: String = environment.iter().map(|(name, value)| format!("export {name}='{value}'; ")).collect();
        let top = format!("{} top {arguments}", home::binary().display());
        let terminal = Self { home };
        let script = format!("unset NO_COLOR COLORTERM; export LC_ALL=C.UTF-8; {set}top='{top}'; {script}\n");
        let file = terminal.home.write("script", &script);
        let run = format!("exec sh {}", file.display());
        terminal.told(&["new-session", "-d", "-x", "80", "-y", "24", &run]);
        Some(terminal)
    }

    fn socket(&self) -> PathBuf {
        self.home.join("tmux")
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.socket()).arg("-f").arg(self.home.join("tmux.conf"));
        command.args(arguments).env_remove("TMUX").output().unwrap()
    }

    /// Something that must be done.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.tmux(arguments);
        assert!(output.status.success(), "tmux {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What stands on the screen.
    pub fn shown(&self) -> String {
        self.told(&["capture-pane", "-p"])
    }

    /// The same with its escape sequences.
    pub fn escapes(&self) -> String {
        self.told(&["capture-pane", "-e", "-p"])
    }

    /// A variable of tmux.
    pub fn value(&self, name: &str) -> String {
        self.told(&["display-message", "-p", &format!("#{{{name}}}")]).trim_end().to_owned()
    }

    /// Presses keys.
    pub fn press(&self, keys: &[&str]) {
        self.told(&[&["send-keys"], keys].concat());
    }

    /// Changes its size.
    pub fn resize(&self, width: u16, height: u16) {
        self.told(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Waits until `wanted` stands on the screen; the screen.
    pub fn wait(&self, wanted: &str) -> String {
        self.wait_for(wanted, |shown| shown.contains(wanted))
    }

    /// Waits for a screen that is as wanted.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut shown = String::new();
        let seen = super::support::came_true(DEADLINE, || {
            shown = self.shown();
            wanted(&shown)
        });
        assert!(seen, "not on the screen within {DEADLINE:?}: {what}\n{shown}");
        shown
    }

    /// The process of this `echostored top`, or `None` if there is none.
    pub fn process(&self) -> Option<i32> {
        let pane = self.value("pane_pid").parse().unwrap();
        let is_top = |pid: &i32| processes::title(*pid).is_some_and(|title| title.contains("echostored top"));
        processes::family(pane).into_iter().rfind(is_top)
    }

    /// Takes the terminal away, as a closed window or a lost connection does.
    pub fn hang_up(&self) {
        self.told(&["kill-server"]);
    }

    /// The end of the program that the pane was made for, and the terminal as it was before: the other screen, a cursor, lines
    /// and echo. `before` stood there, and `after` now does.
    pub fn is_restored(&self, before: &str, after: &str) {
        let shown = self.wait(after);
        assert!(shown.contains(before) && !shown.contains("recent events"), "{shown}");
        assert_eq!((self.value("alternate_on").as_str(), self.value("cursor_flag").as_str()), ("0", "1"));
        let modes = Command::new("stty").arg("-a").arg("-F").arg(self.value("pane_tty")).output().unwrap();
        let modes = String::from_utf8_lossy(&modes.stdout).into_owned();
        let words: Vec<&str> = modes.split_ascii_whitespace().collect();
        assert!(["icanon", "echo", "isig"].iter().all(|mode| words.contains(mode)), "{modes}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
        let socket = self.socket();
        if !std::thread::panicking() {
            wait_until(DEADLINE, "the end of tmux", || !self.tmux(&["ls"]).status.success() || !socket.exists());
        }
    }
}
