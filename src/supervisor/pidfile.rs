//! The pid file of `run --daemon`: locked while the daemon lives, removed at its end.
use crate::exit::{self, Fatal};
use crate::sys::file::{self, Access};
use crate::sys::user::{self, Identity};
use crate::sys::{AsFd, OwnedFd};
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

/// A pid file that is ours.
#[derive(Debug)]
pub struct PidFile {
    file: File,
    directory: OwnedFd,
    name: String,
}

impl PidFile {
    /// Makes and locks it, and writes our pid. Its directory is made for the daemon's user if it is not there, so that
    /// the daemon can remove the file when it is no longer root.
    ///
    /// # Errors
    /// Exit 75: another daemon holds it. Exit 78: it cannot be made there, or what is there is no pid file.
    pub fn claim(path: &Path, owner: Option<&Identity>) -> Result<Self, Fatal> {
        let show = path.display();
        let cannot = |error: &io::Error| {
            Fatal::new(
                exit::CONFIG,
                format!("cannot make daemon.pid-file {show}: {error}; set another, in a directory of the daemon's own"),
            )
        };
        let invalid = || cannot(&io::ErrorKind::InvalidInput.into());
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(invalid)?.to_owned();
        let parent: PathBuf = path.parent().ok_or_else(invalid)?.to_owned();
        let directory = open_directory(&parent, owner).map_err(|error| cannot(&error))?;
        let mut file =
            file::open_at(directory.as_fd(), &name, Access::Create, 0o644).map_err(|error| cannot(&error))?;
        if !file::try_lock(&file).map_err(|error| cannot(&error))? {
            let mut pid = String::new();
            let _ = (&mut file).take(32).read_to_string(&mut pid);
            let message = format!(
                "daemon.pid-file {show} is held by another daemon (pid {}); stop it, or set another",
                pid.trim()
            );
            return Err(Fatal::new(exit::LOCKED, message));
        }
        let mut found = String::new();
        let read = (&mut file).take(32).read_to_string(&mut found);
        if read.is_err() || (!found.trim().is_empty() && found.trim().parse::<u32>().is_err()) {
            let message = format!("will not take {show} as daemon.pid-file: it holds something else; set another");
            return Err(Fatal::new(exit::CONFIG, message));
        }
        let fill = || -> io::Result<()> {
            file::set_mode(&file, 0o644)?;
            if let Some(owner) = owner.filter(|_| user::is_root()) {
                user::give_to(&file, owner)?;
            }
            file.set_len(0)?;
            file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
        };
        fill().map_err(|error| cannot(&error))?;
        Ok(Self { file, directory, name })
    }

    /// Removes it; where the directory does not let us, empties it.
    pub fn remove(self) {
        if file::unlink_at(self.directory.as_fd(), &self.name).is_err() {
            let _ = self.file.set_len(0);
        }
    }
}

fn open_directory(path: &Path, owner: Option<&Identity>) -> io::Result<OwnedFd> {
    if path.exists() {
        return file::open_directory(path);
    }
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    let directory = file::open_directory(path)?;
    if let Some(owner) = owner.filter(|_| user::is_root()) {
        user::give_to(&directory, owner)?;
    }
    Ok(directory)
}
