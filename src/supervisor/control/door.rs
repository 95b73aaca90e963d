//! The control socket as a file: made so that nobody sees it half made, never taken from a daemon that answers, removed
//! only if it still is ours.
use crate::config::Control;
use crate::exit::{self, Fatal};
use crate::ipc::command;
use crate::sys::{AsFd, AsRawFd, OwnedFd, file, socket};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Its user and group may connect.
const MODE: u32 = 0o660;

/// The listening socket and its file.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of its file.
    file: (u64, u64),
}

/// Why there is no socket at a path.
#[derive(Debug)]
enum Obstacle {
    /// Somebody answers there.
    Taken,
    /// What is there is no socket.
    Foreign,
    /// The system says no.
    System(io::Error),
}

impl From<io::Error> for Obstacle {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl Door {
    /// Opens it where `control` says. `None`, told in the log: it cannot be had at the default place, and the daemon
    /// goes on without.
    ///
    /// # Errors
    /// Exit 78: it cannot be had at the place that the configuration names.
    pub fn open(control: &Control) -> Result<Option<Self>, Fatal> {
        let path = command::place(control);
        match Self::make(&path) {
            Ok(door) => Ok(Some(door)),
            Err(obstacle) if control.socket.is_some() => Err(obstacle.fatal(&path)),
            Err(obstacle) => {
                let Fatal { message, .. } = obstacle.fatal(&path);
                crate::notice!("{message}; until then status, reload and rotate do not reach this daemon");
                Ok(None)
            }
        }
    }

    /// Whether it is the one that `control` asks for, and its file is still there.
    pub fn is_at(&self, control: &Control) -> bool {
        identity(&command::place(control)) == Some(self.file)
    }

    /// The next command, if one waits.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    fn make(path: &Path) -> Result<Self, Obstacle> {
        let (parent, name) = parts(path)?;
        if !parent.exists() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        // `.`: with DynamicUser= systemd gives a symlink.
        let directory = file::open_directory(&parent.join("."))?;
        is_free(&directory, name)?;
        let new = format!(".{name}.{}", std::process::id());
        file::unlink_at(directory.as_fd(), &new)?;
        // Until the mode is set only its owner may connect; it listens before it has its name.
        let named = UnixListener::bind(below(&directory, &new)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            file::set_mode_at(directory.as_fd(), &new, MODE)?;
            let stat = file::stat_at(directory.as_fd(), &new)?;
            file::rename_at(directory.as_fd(), &new, name)?;
            Ok(Self { listener, path: path.to_owned(), file: (stat.st_dev, stat.st_ino) })
        });
        named.map_err(|error| {
            let _ = file::unlink_at(directory.as_fd(), &new);
            Obstacle::System(error)
        })
    }
}

impl Drop for Door {
    /// Another daemon may have taken the name since.
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
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

fn parts(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent().zip(name).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// A path for bind(2) and connect(2), whose own take only 107 bytes, and one that leads to the directory that was
/// looked at.
fn below(directory: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

/// Nothing there, or a socket at which nobody listens any more.
fn is_free(directory: &OwnedFd, name: &str) -> Result<(), Obstacle> {
    match file::stat_at(directory.as_fd(), name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(stat) if !file::is_socket(&stat) => return Err(Obstacle::Foreign),
        Ok(_) => {}
    }
    match socket::knock(&below(directory, name)) {
        // Its queue is full: somebody has it open.
        Err(error) if crate::sys::would_block(&error) => Err(Obstacle::Taken),
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => Err(Obstacle::Taken),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    file::stat_path(path).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

impl Obstacle {
    fn fatal(self, path: &Path) -> Fatal {
        let path = path.display();
        let why = match self {
            Self::Taken => "another daemon answers there; set another control.socket, or stop it".to_owned(),
            Self::Foreign => "what is there is no socket; move it away, or set another control.socket".to_owned(),
            Self::System(error) => {
                format!("{error}; set control.socket to a path in a directory that the daemon's user may write to")
            }
        };
        Fatal::new(exit::CONFIG, format!("cannot make the control socket {path}: {why}"))
    }
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
