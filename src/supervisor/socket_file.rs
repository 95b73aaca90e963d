//! A Unix socket as a file: made so that nobody sees it half made, never taken from a program that answers, removed
//! only if it still is ours.
use crate::sys::{AsFd, AsRawFd, OwnedFd, file, process, socket};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The file of a socket that this process listens on.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

/// Why there is no socket at a path.
#[derive(Debug)]
pub enum Obstacle {
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

impl SocketFile {
    /// Listens at `path`, in a directory that is made if it is not there; who may write to the file by `mode` may connect.
    pub fn make(path: &Path, mode: u32) -> Result<(UnixListener, Self), Obstacle> {
        let (parent, name) = parts(path)?;
        if !parent.exists() {
            // By the mask: nothing that somebody else puts there meanwhile gets a mode from us.
            let mask = if mode & 0o006 == 0 { None } else { Some(process::set_umask(0o022)) };
            let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
            mask.map(process::set_umask);
            made?;
        }
        // `.`: with DynamicUser= systemd gives a symlink.
        let directory = file::open_directory(&parent.join("."))?;
        is_free(&directory, name)?;
        let new = format!(".{name}.{}", std::process::id());
        file::unlink_at(directory.as_fd(), &new)?;
        // Until the mode is set only its owner may connect; it listens before it has its name.
        let named = UnixListener::bind(below(&directory, &new)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            file::set_mode_at(directory.as_fd(), &new, mode)?;
            let stat = file::stat_at(directory.as_fd(), &new)?;
            file::rename_at(directory.as_fd(), &new, name)?;
            Ok((listener, Self { path: path.to_owned(), file: (stat.st_dev, stat.st_ino) }))
        });
        named.map_err(|error| {
            let _ = file::unlink_at(directory.as_fd(), &new);
            Obstacle::System(error)
        })
    }

    /// Whether `path` leads to it, and it is still there.
    pub fn is_at(&self, path: &Path) -> bool {
        identity(path) == Some(self.file)
    }

    /// Where it was made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it another mode, if it is still ours (chmod(2)).
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let (parent, name) = parts(&self.path)?;
        let directory = file::open_directory(&parent.join("."))?;
        let stat = file::stat_at(directory.as_fd(), name)?;
        if (stat.st_dev, stat.st_ino) != self.file {
            return Err(io::ErrorKind::NotFound.into());
        }
        file::set_mode_at(directory.as_fd(), name, mode)
    }
}

impl Drop for SocketFile {
    /// Another program may have taken the name since.
    fn drop(&mut self) {
        if self.is_at(&self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
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
