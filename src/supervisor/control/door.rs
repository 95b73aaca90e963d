//! The control socket: at which place, and what is told when it cannot be made there.
use super::super::socket_file::{Obstacle, SocketFile};
use crate::config::Control;
use crate::exit::{self, Fatal};
use crate::ipc::command;
use crate::sys::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Its user and group may connect.
const MODE: u32 = 0o660;

/// The listening socket and its file.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    file: SocketFile,
}

impl Door {
    /// Opens it where `control` says. `None`, told in the log: it cannot be had at the default place, and the daemon
    /// goes on without.
    ///
    /// # Errors
    /// Exit 78: it cannot be had at the place that the configuration names.
    pub fn open(control: &Control) -> Result<Option<Self>, Fatal> {
        let path = command::place(control);
        match SocketFile::make(&path, MODE) {
            Ok((listener, file)) => Ok(Some(Self { listener, file })),
            Err(obstacle) if control.socket.is_some() => Err(fatal(obstacle, &path)),
            Err(obstacle) => {
                let Fatal { message, .. } = fatal(obstacle, &path);
                crate::notice!(
                    NO_CONTROL_SOCKET,
                    "{message}; until then status, reload and rotate do not reach this daemon"
                );
                Ok(None)
            }
        }
    }

    /// Whether it is the one that `control` asks for, and its file is still there.
    pub fn is_at(&self, control: &Control) -> bool {
        self.file.is_at(&command::place(control))
    }

    /// The next command, if one waits.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> crate::sys::BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// The directory that the socket is to be in.
pub fn directory(control: &Control) -> Option<PathBuf> {
    command::place(control).parent().map(Path::to_owned)
}

fn fatal(obstacle: Obstacle, path: &Path) -> Fatal {
    let path = path.display();
    let why = match obstacle {
        Obstacle::Taken => "another daemon answers there; set another control.socket, or stop it".to_owned(),
        Obstacle::Foreign => "what is there is no socket; move it away, or set another control.socket".to_owned(),
        Obstacle::System(error) => {
            format!("{error}; set control.socket to a path in a directory that the daemon's user may write to")
        }
    };
    Fatal::new(exit::CONFIG, format!("cannot make the control socket {path}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn at(path: &Path) -> Control {
        Control { socket: Some(path.to_owned()) }
    }

    fn refusal(path: &Path) -> String {
        Door::open(&at(path)).unwrap_err().message
    }

    #[test]
    fn it_is_made_for_owner_and_group_and_removed_with_its_daemon() {
        let home = tempfile::tempdir().unwrap();
        // Longer than what bind(2) takes.
        let path = home.path().join("d".repeat(120)).join("control.sock");
        let door = Door::open(&at(&path)).unwrap().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o660);
        assert!(door.is_at(&at(&path)) && !door.is_at(&at(&home.path().join("x"))));
        assert!(refusal(&path).contains("another daemon answers there"));
        drop(door);
        assert!(!path.exists());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_directory_may_be_a_symlink() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("private")).unwrap();
        std::os::unix::fs::symlink("private", home.path().join("run")).unwrap();
        let path = home.path().join("run/c");
        let door = Door::open(&at(&path)).unwrap().unwrap();
        assert!(door.is_at(&at(&path)) && path.exists());
        drop(door);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_daemons_socket_is_taken_over_and_a_foreign_file_is_not() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("c");
        drop(UnixListener::bind(&path).unwrap());
        let door = Door::open(&at(&path)).unwrap().unwrap();
        // Somebody else's now: it stays.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(!door.is_at(&at(&path)));
        drop(door);
        assert!(refusal(&path).contains("is no socket"));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::os::unix::fs::symlink(&path, home.path().join("l")).unwrap();
        assert!(refusal(&home.path().join("l")).contains("is no socket"));
        assert!(refusal(&path.join("below")).contains("set control.socket to a path"));
    }
}
